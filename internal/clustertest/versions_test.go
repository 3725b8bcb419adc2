package clustertest

import (
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/internal/testcluster"
)

// Builds that speak other versions of the protocol between nodes: see cluster/transport and cluster/wire.
const (
	nextVersion  = "hub_wire_next"  // versions 1 and 2, and frames and fields that version 1 does not know
	laterVersion = "hub_wire_later" // versions 3 and 4
)

// adminCluster is what `hub admin cluster` prints of a node: a line by its name.
func adminCluster(t *testing.T, bin string, n *testcluster.Node) map[string][]string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), bin, "admin", "cluster", "--admin", n.AdminURL()).CombinedOutput()
	if err != nil {
		t.Fatalf("hub admin cluster: %v\n%s", err, out)
	}
	lines := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(strings.Replace(line, " (this one)", "", 1)); len(f) > 2 {
			lines[f[0]] = f
		}
	}
	return lines
}

// speaks checks what a node says of one: the protocol and the version, which are the last columns.
func speaks(t *testing.T, lines map[string][]string, name, protocol, version string) {
	t.Helper()
	f := lines[name]
	if len(f) < 2 || f[len(f)-2] != protocol || f[len(f)-1] != version {
		t.Errorf("hub admin cluster says of %s: %q; want protocol %s and version %s", name, f, protocol, version)
	}
}

// TestReq161_TwoVersionsSideBySide: a node of this version and two of the next form one cluster under load: they speak what both know,
// and skip what they do not. Then the one is upgraded. One that has no version in common with them stays outside and says so, and so do
// they.
func TestReq161_TwoVersionsSideBySide(t *testing.T) {
	several(t)
	this, next, later := binary(t, ""), binary(t, nextVersion), binary(t, laterVersion)
	var cfg testcluster.Config
	c := ownCluster(t, 3, "", func(own *testcluster.Config) {
		own.Gated = false
		own.Bins = map[int]string{1: next, 2: next}
		cfg = *own
	})
	old := node(c, 0)
	k := startTalk(t, c)
	k.progress(100)
	lines := adminCluster(t, this, old)
	speaks(t, lines, "n1", "1", "test")
	speaks(t, lines, "n2", "1", "test"+nextVersion)
	lines = adminCluster(t, this, node(c, 1))
	speaks(t, lines, "n1", "1", "test")
	speaks(t, lines, "n2", "1-2", "test"+nextVersion)
	speaks(t, lines, "n3", "2", "test"+nextVersion)

	from := time.Now()
	cfg.Bin, cfg.Bins = later, nil
	stranger := stranger(t, c, cfg, "later")
	stays(t, stranger, "no common protocol version: 3 to 4 here, 1 to", "no common protocol version: 1 to 2 here, 3 to 4 there",
		"no common protocol version: 1 to 1 here, 3 to 4 there")
	for _, n := range c.Nodes() {
		await(t, n.Name+" says why it refuses it", func() bool { return strings.Contains(n.Log(), "no common protocol version") })
	}
	must(t, stranger.Stop(patience))
	k.progress(30)
	measured(t, "a version without anything in common", "%v", k.outage(from, time.Now()))
	await(t, "the old one was sent frames that it does not know", func() bool { return metric(t, old, "hub_cluster_frames_unknown_total") > 0 })

	k.event("the old one is upgraded", func() {
		must(t, old.Stop(patience))
		old.SetBin(next)
		must(t, old.Start())
		await(t, "it is ready", func() bool { code, _ := old.Readiness(t.Context()); return code == http.StatusOK })
	})
	k.progress(100)
	await(t, "all have streams to it", func() bool {
		l := adminCluster(t, this, node(c, 1))["n1"]
		return len(l) > 2 && l[len(l)-2] == "2"
	})
	speaks(t, adminCluster(t, this, node(c, 1)), "n1", "2", "test"+nextVersion)
	if r := k.refused.Load(); r > 0 {
		t.Errorf("%d sends failed for users of the SDK", r)
	}
	k.finish()
}
