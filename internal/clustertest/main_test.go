package clustertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/internal/cassandra"
	"github.com/zumodra/hub/internal/testcluster"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/scylla/scyllatest"
)

// patience is how long anything may take before it is declared stuck.
const patience = 90 * time.Second

// process is what all tests share and TestMain clears away.
var process struct {
	dir    string
	bins   map[string]string // by tags
	shared *testcluster.Cluster
	kind   string // of shared
	dirty  bool   // the shared cluster was left in an unknown state
	atEnd  []func()
	table  table
}

func TestMain(m *testing.M) {
	code := func() int {
		dir, err := os.MkdirTemp("", "hub-clustertest-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		process.dir, process.bins = dir, map[string]string{}
		code := m.Run()
		endShared()
		for _, f := range process.atEnd {
			f()
		}
		process.table.print(os.Stdout)
		return code
	}()
	os.Exit(code)
}

// alone: the binary knows no cluster; one node shows that the tests work.
func alone() bool { return os.Getenv("HUB_CLUSTER_ALONE") != "" }

// cycles to run; a test that asks is skipped where none are wanted.
func cycles(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv("HUB_CLUSTER_CYCLES"))
	if err != nil {
		t.Skip("HUB_CLUSTER_CYCLES is not set: use make test-cluster")
	}
	return n
}

// several skips a test that makes no sense with one node.
func several(t *testing.T) {
	t.Helper()
	cycles(t)
	if alone() {
		t.Skip("for several nodes")
	}
}

// binary builds the hub, once.
func binary(t *testing.T, tags string) string {
	t.Helper()
	if bin := os.Getenv("HUB_CLUSTER_BIN"); bin != "" && tags == "" {
		return bin
	}
	if bin := process.bins[tags]; bin != "" {
		return bin
	}
	bin := filepath.Join(process.dir, "hub-"+tags)
	args := []string{"-tags", tags, "-ldflags", "-X main.version=test" + tags}
	if os.Getenv("HUB_CLUSTER_RACE") != "" {
		args = append(args, "-race")
	}
	if err := testcluster.Build(t.Context(), bin, args...); err != nil {
		t.Fatal(err)
	}
	process.bins[tags] = bin
	return bin
}

// lasting is a test whose keyspace stays until the process ends.
type lasting struct{ testing.TB }

func (lasting) Cleanup(f func()) { process.atEnd = append(process.atEnd, f) }

// config for a cluster of n nodes.
func config(t testing.TB, bin, keyspace, dir string, n int) testcluster.Config {
	cfg := testcluster.Config{Bin: bin, Dir: dir, CQLHosts: scyllatest.Hosts(t), Keyspace: keyspace, Nodes: n, Lease: lease,
		Args: []string{"--user-rate", "0"}, Gated: true}
	if n := os.Getenv(cassandra.NodesEnv); n != "" && n != "1" {
		cfg.Lease = 2 * lease // three servers on one machine take their time to agree on a compare-and-set
	}
	if alone() {
		cfg.Alone, cfg.Nodes = true, 1
	}
	return cfg
}

// artefacts is where a test's cluster writes; it stays if the test fails.
func artefacts(t *testing.T) string {
	t.Helper()
	base := os.Getenv("HUB_CLUSTER_ARTEFACTS")
	if base != "" {
		if err := os.MkdirAll(base, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp(base, strings.ReplaceAll(t.Name(), "/", "-")+"-") //nolint:usetesting // stays after a failure
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs and history are kept in %s", dir)
		} else {
			_ = os.RemoveAll(dir)
		}
	})
	return dir
}

// sharedCluster is the one of all tests of a kind that leave it as they found it. A test that failed leaves none: the next
// gets another. The one of another kind ends: the machine is small.
func sharedCluster(t *testing.T, kind string) *testcluster.Cluster {
	t.Helper()
	cycles(t)
	if process.shared != nil && (process.dirty || process.kind != kind) {
		endShared()
	}
	if process.shared == nil {
		dir, err := os.MkdirTemp(os.Getenv("HUB_CLUSTER_ARTEFACTS"), "hub-cluster-"+kind+"-") //nolint:usetesting // outlasts the test
		if err != nil {
			t.Fatal(err)
		}
		process.atEnd = append(process.atEnd, func() {
			if !process.table.failed {
				_ = os.RemoveAll(dir)
			} else {
				fmt.Println("logs of a shared cluster are kept in", dir)
			}
		})
		tags := ""
		if kind == laboratory {
			tags = "chaos"
		}
		cfg := config(t, binary(t, tags), scyllatest.Keyspace(lasting{t}), dir, 3)
		cfg.Clocks, cfg.Isolated = kind == laboratory, kind == laboratory
		if kind == strict {
			cfg.Args = append(cfg.Args, "--fencing", "strict", "--cql-migrate")
		}
		process.shared, process.kind = start(t, cfg), kind
		if state, err := storage.ReadFencing(t.Context(), scyllatest.OpenKeyspace(t, cfg.Keyspace)); err != nil || (state.Mode == storage.FencingStrict) != (kind == strict) {
			t.Fatalf("%+v, %v", state, err)
		}
	}
	c := process.shared
	t.Cleanup(func() {
		if t.Failed() {
			process.dirty, process.table.failed = true, true
			t.Logf("the end of the nodes' logs:\n%s", c.Logs(4000))
		}
	})
	settled(t, c)
	return c
}

// Kinds of shared clusters.
const (
	plain      = "plain"
	strict     = "strict"     // with strict fencing
	laboratory = "laboratory" // with a network and clocks of its own
)

func endShared() {
	if process.shared != nil {
		process.shared.Close()
		process.shared, process.dirty = nil, false
	}
}

// ownCluster is for this test alone.
func ownCluster(t *testing.T, n int, tags string, change func(*testcluster.Config)) *testcluster.Cluster {
	t.Helper()
	endShared()
	cfg := config(t, binary(t, tags), scyllatest.Keyspace(t), artefacts(t), n)
	if change != nil {
		change(&cfg)
	}
	c := start(t, cfg)
	t.Cleanup(func() {
		if t.Failed() {
			process.table.failed = true
			t.Logf("the end of the nodes' logs:\n%s", c.Logs(4000))
		}
		c.Close()
	})
	return c
}

func start(t *testing.T, cfg testcluster.Config) *testcluster.Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	began := time.Now()
	c, err := testcluster.Start(ctx, cfg)
	if errors.Is(err, testcluster.ErrNoNetwork) {
		t.Skip(err)
	}
	if err != nil {
		for i := range cfg.Nodes {
			b, _ := os.ReadFile(filepath.Join(cfg.Dir, fmt.Sprintf("n%d.log", i+1)))
			t.Logf("n%d: %s", i+1, b[max(0, len(b)-4000):])
		}
		t.Fatal(err)
	}
	t.Logf("%d nodes serve after %v", len(c.Nodes()), time.Since(began).Round(time.Millisecond))
	return c
}

func settled(t *testing.T, c *testcluster.Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Settled(ctx); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wait is a pause of the scenario: what happens in it is not awaited by any assertion.
func wait(d time.Duration) { <-time.After(d) }

// await polls until the condition holds.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

// table of what was measured, printed at the end of the process.
type table struct {
	mu     sync.Mutex
	rows   [][]string
	failed bool
}

// row adds a line: test, event, figures.
func (tb *table) row(cells ...string) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.rows = append(tb.rows, cells)
}

func (tb *table) print(w *os.File) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if len(tb.rows) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%-34s  %-44s  %s\n", "test", "event", "measured")
	for _, r := range tb.rows {
		fmt.Fprintf(w, "%-34s  %-44s  %s\n", r[0], r[1], strings.Join(r[2:], "  "))
	}
	fmt.Fprintln(w)
}

func measured(t *testing.T, event, format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	t.Logf("%s: %s", event, line)
	process.table.row(strings.TrimPrefix(t.Name(), "Test"), event, line)
}
