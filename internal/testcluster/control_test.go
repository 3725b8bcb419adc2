package testcluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/internal/testcluster"
)

// servers of a store that are none.
type servers struct{ pids []int }

func (s *servers) Nodes() int    { return len(s.pids) }
func (s *servers) PID(i int) int { return s.pids[i] }
func (s *servers) StartNode(_ context.Context, i int) error {
	s.pids[i] = 100 + i
	return nil
}
func (s *servers) KillNode(i int) error { s.pids[i] = 0; return nil }
func (s *servers) PauseNode(int) error  { return errors.New("paused") }
func (s *servers) ResumeNode(int) error { return nil }

// TestControl: another process kills, starts, cuts off and reaches the nodes of a cluster, by names, and a file tells how it stands.
func TestControl(t *testing.T) {
	bin, store := fakehub(t), echo(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir := t.TempDir()
	cfg := testcluster.Config{Bin: bin, Dir: dir, CQLHosts: []string{store}, Keyspace: "k", Nodes: 2, Isolated: true, Doors: true, Operator: true, NoDev: true, Clocks: true,
		Names: map[int]string{0: "node1", 1: "node2"}}
	c, err := testcluster.Start(ctx, cfg)
	isolated := !errors.Is(err, testcluster.ErrNoNetwork)
	if !isolated {
		cfg.Isolated, cfg.Gated = false, true
		c, err = testcluster.Start(ctx, cfg)
	}
	must(t, err)
	defer c.Close()
	sv := &servers{pids: []int{100}}
	k := testcluster.NewControl(c, sv)
	stop, err := k.Serve()
	must(t, err)
	defer stop()
	file := filepath.Join(dir, "system.json")
	must(t, k.WriteTo(file))
	read := func() (d testcluster.Description) {
		t.Helper()
		b, err := os.ReadFile(file)
		must(t, err)
		must(t, json.Unmarshal(b, &d))
		return d
	}
	d := read()
	if len(d.Nodes) != 2 || d.Nodes[1].Name != "node2" || d.Nodes[1].PID == 0 || len(d.Store) != 1 || d.Store[0] != (testcluster.StoreServer{Name: "cql1", PID: 100}) {
		t.Fatalf("%+v", d)
	}
	for _, f := range []string{d.SecretFile, d.AdminKeyFile} {
		b, err := os.ReadFile(f)
		if text, _ := os.ReadFile(file); err != nil || len(b) < 32 || strings.Contains(string(text), string(b)) {
			t.Errorf("%s: %v, %d bytes", f, err, len(b))
		}
	}
	if !slices.Contains(d.Can, testcluster.CanStore) || !slices.Contains(d.Can, testcluster.CanClock) || slices.Contains(d.Can, testcluster.CanCut) != isolated {
		t.Errorf("it can %v", d.Can)
	}
	post := func(path string) string {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.Control+path, nil)
		must(t, err)
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		must(t, err)
		if resp.StatusCode == http.StatusOK {
			return "ok"
		}
		return string(b)
	}
	// ready as the outside sees it.
	ready := func(i int) bool {
		short, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(short, http.MethodGet, d.Nodes[i].Admin+"/readyz", nil)
		must(t, err)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}
	until := func(i int, want bool) {
		t.Helper()
		for ready(i) != want {
			if ctx.Err() != nil {
				t.Fatalf("node%d is ready: %v", i+1, !want)
			}
		}
	}
	until(1, true)
	for _, step := range []struct {
		path, answer string
		ready        bool // node2 afterwards
	}{
		{"/kill/node2", "ok", false}, {"/kill/node2", "ok", false}, {"/start/node2", "ok", true}, {"/start/node2", "runs already", true},
		{"/pause/node2", "ok", false}, {"/resume/node2", "ok", true}, {"/store/node2?arg=cut", "ok", false}, {"/store/node2?arg=heal", "ok", true},
		{"/drain/node2", "ok", false}, {"/pause/node2", "does not run", false}, {"/start/node2", "ok", true}, {"/clock/node2?arg=60s", "ok", true},
		{"/clock/node2?arg=soon", "invalid duration", true}, {"/slow/node2?arg=fast", "no delay and rate", true}, {"/kill/n2", `no "n2" among [node1 node2]`, true},
		{"/explode/node2", "unknown operation", true}, {"/drain/cql1", "not for servers", true}, {"/pause/cql1", "paused", true}, {"/kill/cqlx", "no server", true},
		{"/cut/node2?arg=node9", `no "node9"`, true},
	} {
		if got := post(step.path); !strings.Contains(got, step.answer) {
			t.Errorf("%s: %s, want %s", step.path, got, step.answer)
		}
		until(1, step.ready)
	}
	if got := post("/kill/cql1"); got != "ok" || read().Store[0].PID != 0 {
		t.Errorf("%s %+v", got, read().Store)
	}
	if got := post("/start/cql1"); got != "ok" || read().Store[0].PID != 100 {
		t.Errorf("%s %+v", got, read().Store)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "node2", "clock")); err != nil || string(b) != "1m0s" {
		t.Errorf("clock %q %v", b, err)
	}
	if now := read().Nodes[1].PID; now == d.Nodes[1].PID || now != c.Nodes()[1].PID() {
		t.Errorf("process %d, was %d", now, d.Nodes[1].PID)
	}
	if !isolated {
		if got := post("/cut/node1?arg=node2"); !strings.Contains(got, "no network") {
			t.Error(got)
		}
		return
	}
	if got := post("/slow/node2?arg=0s+50000000"); got != "ok" {
		t.Error(got)
	}
	until(1, true)
	if got := post("/slow/node2?arg=0s+0"); got != "ok" {
		t.Error(got)
	}
	if got := post("/cut/node1?arg=node2"); got != "ok" {
		t.Error(got)
	}
	for {
		short, cancel := context.WithTimeout(ctx, 3*time.Second)
		err := c.Settled(short)
		cancel()
		if err != nil && strings.Contains(err.Error(), "its members are") {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("partitioned, and settled: %v", err)
		}
	}
	if got := post("/mend/node1?arg=node2"); got != "ok" {
		t.Error(got)
	}
	must(t, c.Settled(ctx))
}
