package system_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zumodra/hub/bench/chaos"
	"github.com/zumodra/hub/bench/scenario"
	"github.com/zumodra/hub/bench/system"
	"github.com/zumodra/hub/internal/cassandra"
	"github.com/zumodra/hub/internal/testcluster"
)

// TestAClusterUnderChaos: two nodes and an edge on a CQL server, under load while all that can be done to them is done, each in
// a network of its own where that is to be had.
func TestAClusterUnderChaos(t *testing.T) {
	hosts := os.Getenv(cassandra.HostsEnv)
	if hosts == "" {
		t.Skip(cassandra.HostsEnv + " is not set: use make test-integration")
	}
	cfg := system.Config{System: scenario.System{Store: "cassandra", Nodes: 2, Edges: 1, Isolated: true}, Tags: []string{"chaos"},
		CQLHosts: strings.Split(hosts, ","), Keyspace: "hubbench_test"}
	// Without namespaces the rest is still to be seen.
	if c, err := testcluster.New(testcluster.Config{Bin: "hub", Dir: t.TempDir(), Embedded: true, Isolated: true}); errors.Is(err, testcluster.ErrNoNetwork) {
		t.Logf("no partitions: %v", err)
		cfg.Isolated = false
	} else {
		must(t, err)
		c.Close()
	}
	ctx, s := start(t, cfg)
	if names := slices.Sorted(maps.Keys(s.Processes())); !slices.Equal(names, []string{"edge1", "node1", "node2"}) {
		t.Fatalf("processes %v", names)
	}
	if len(s.URLs()) != 3 || s.URLs()[0] != s.Edges()[0] {
		t.Errorf("URLs %v, edges %v", s.URLs(), s.Edges())
	}
	before := s.Processes()
	actions := []scenario.Action{
		action(time.Second, scenario.Kill, "edge1", time.Second),
		action(5*time.Second, scenario.Kill, "node2", 2*time.Second),
		action(6*time.Second, scenario.Store, "1", time.Second),
		action(20*time.Second, scenario.Drain, "core1", 500*time.Millisecond),
	}
	clock := action(2*time.Second, scenario.Clock, "1", 4*time.Second)
	clock.Value = "+45s"
	actions = append(actions, clock)
	if cfg.Isolated {
		cut, slow := action(35*time.Second, scenario.Partition, "node1", 9*time.Second), action(3*time.Second, scenario.Slow, "edge1", 3*time.Second)
		cut.With, slow.Value = "2", "20mbit"
		actions = append(actions, cut, slow)
	}
	c := gather(ctx, t, s, 8)
	marks := chaotic(ctx, t, s, actions...)
	var over atomic.Bool
	talked := make(chan struct{})
	go func() { defer close(talked); c.talk(func(int) bool { return !over.Load() }) }()
	texts := marks()
	over.Store(true)
	<-talked
	t.Log(strings.Join(texts, "\n"))
	for name, pid := range s.Processes() {
		if pid == before[name] {
			t.Errorf("%s is the process that it was", name)
		}
	}
	r := c.judge()
	t.Log(r)
	if !r.OK() {
		t.Error("promises were broken")
	}
}

// TestServersOfTheStoreCanBeStopped: a server of the store that the system has started itself is paused and goes on, and Attach sees the same.
func TestServersOfTheStoreCanBeStopped(t *testing.T) {
	if os.Getenv("HUB_CLUSTER_CYCLES") == "" {
		t.Skip("HUB_CLUSTER_CYCLES is not set: use make test-cluster")
	}
	ctx, s := start(t, system.Config{System: scenario.System{Store: "cassandra"}, First: 40, Dir: filepath.Join(t.TempDir(), "system")})
	pid := s.Processes()["cql1"]
	if pid == 0 {
		t.Fatalf("processes %v", s.Processes())
	}
	if err := chaos.Check([]scenario.Action{action(0, scenario.Drain, "cql1", 0)}, s); err == nil {
		t.Error("a server of the store can be drained")
	}
	c := gather(ctx, t, s, 4)
	var over atomic.Bool
	marks := chaotic(ctx, t, s, action(time.Second, scenario.Stop, "cql1", time.Second), action(4*time.Second, scenario.Kill, "cql1", time.Second))
	talked := make(chan struct{})
	go func() { defer close(talked); c.talk(func(int) bool { return !over.Load() }) }()
	marks()
	over.Store(true)
	<-talked
	if now := s.Processes()["cql1"]; now == 0 || now == pid {
		t.Errorf("process %d, was %d", now, pid)
	}
	if r := c.judge(); !r.OK() {
		t.Error(r)
	}
}
