package system_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/zumodra/hub/bench/chaos"
	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/bench/measure"
	"github.com/zumodra/hub/bench/scenario"
	"github.com/zumodra/hub/bench/system"
	"github.com/zumodra/hub/internal/testcluster"
)

// patience bounds each test: whoever waits for longer is stuck.
const patience = 10 * time.Minute

var bins string // directory of what hub has built

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "hub-bench-system-")
	if err != nil {
		panic(err)
	}
	bins = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// hub is one that is built with the tags, once for all tests.
func hub(ctx context.Context, t *testing.T, tags ...string) string {
	t.Helper()
	bin := filepath.Join(bins, "hub-"+strings.Join(tags, "-"))
	if _, err := os.Stat(bin); err != nil {
		must(t, testcluster.Build(ctx, bin, "-tags", strings.Join(tags, ",")))
	}
	return bin
}

func start(t *testing.T, cfg system.Config) (context.Context, *system.System) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	cfg.Bin = hub(ctx, t, cfg.Tags...)
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	s, err := system.Start(ctx, cfg)
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			for name, file := range s.Logs() {
				b, _ := os.ReadFile(file)
				t.Logf("--- %s\n%s", name, b[max(0, len(b)-4000):])
			}
		}
		s.Close()
	})
	return ctx, s
}

// chaotic is a run of actions beside something else.
func chaotic(ctx context.Context, t *testing.T, s *system.System, actions ...scenario.Action) (marks func() []string) {
	t.Helper()
	r, err := chaos.New(actions, s)
	must(t, err)
	var texts []string
	done := make(chan error, 1)
	go func() {
		done <- r.Run(ctx, time.Now(), func(m measure.Mark) { texts = append(texts, strings.TrimSpace(m.Text+" "+m.Err)) })
	}()
	return func() []string {
		if err := <-done; err != nil {
			t.Error(err)
		}
		return texts
	}
}

func action(at time.Duration, do scenario.Do, node string, span time.Duration) scenario.Action {
	return scenario.Action{At: scenario.Duration(at), Do: do, Node: node, For: scenario.Duration(span)}
}

// TestAKilledNodeKeepsItsPromises: the one node with the embedded store is killed under load and started again, then stopped.
func TestAKilledNodeKeepsItsPromises(t *testing.T) {
	ctx, s := start(t, system.Config{})
	if len(s.URLs()) != 1 || len(s.Edges()) != 0 || len(s.AdminKey()) < 32 {
		t.Errorf("URLs %v, edges %v", s.URLs(), s.Edges())
	}
	before := s.Processes()["node1"]
	if before == 0 || syscall.Kill(before, 0) != nil {
		t.Fatalf("processes %v", s.Processes())
	}
	c := gather(ctx, t, s, 8)
	if n, err := s.Sessions(ctx); err != nil || n["node1"] != 8 {
		t.Errorf("sessions %v, %v", n, err)
	}
	must(t, s.GC(ctx))

	var over atomic.Bool
	marks := chaotic(ctx, t, s, action(300*time.Millisecond, scenario.Kill, "1", 200*time.Millisecond), action(3*time.Second, scenario.Stop, "node1", 500*time.Millisecond),
		action(5*time.Second, scenario.Restart, "1", 0))
	talked := make(chan struct{})
	go func() { defer close(talked); c.talk(func(int) bool { return !over.Load() }) }()
	texts := marks()
	over.Store(true)
	<-talked
	if !slices.Contains(texts, "kill -9 node1") || !slices.Contains(texts, "node1 runs again") || !slices.Contains(texts, "node1 goes on") {
		t.Errorf("marks %q", texts)
	}
	if after := s.Processes()["node1"]; after == before || after == 0 {
		t.Errorf("it is process %d, was %d", after, before)
	}
	r := c.judge()
	t.Log(r)
	if !r.OK() {
		t.Error("promises were broken")
	}
	pid := s.Processes()["node1"]
	s.Close()
	if syscall.Kill(pid, 0) == nil {
		t.Error("the node outlives the system")
	}
}

// TestAnAckBeforeTheCommitIsFound: a hub that acknowledges what it does not keep is found out, the same hub without the defect
// is not, under the same load and without any fault.
func TestAnAckBeforeTheCommitIsFound(t *testing.T) {
	for name, tags := range map[string][]string{"as it is": nil, "ackfirst": {"ackfirst"}} {
		t.Run(name, func(t *testing.T) {
			ctx, s := start(t, system.Config{Tags: tags})
			c := gather(ctx, t, s, 32)
			c.talk(func(int) bool { return c.acked.Load() < 2500 })
			r := c.judge()
			t.Log(r)
			if tags == nil && !r.OK() {
				t.Error("a hub without the defect is accused")
			}
			if tags != nil && r.Counts[check.Lost] == 0 {
				t.Error("messages were acknowledged and not kept, and nobody has noticed")
			}
		})
	}
}

func TestWhatCannotBeStartedIsRefused(t *testing.T) {
	for words, sys := range map[string]scenario.System{
		"unknown store":     {Store: "paper"},
		"is for one node":   {Nodes: 2},
		"at most 64":        {Store: "cassandra", Nodes: 60, Edges: 5},
		"need the store ca": {Edges: 1},
	} {
		if _, err := system.Start(t.Context(), system.Config{System: sys}); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%+v: %v", sys, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := system.Start(ctx, system.Config{Bin: "/bin/false", Dir: t.TempDir()}); err == nil {
		t.Error("a hub that ends at once is a system")
	}
}

// TestChaosThatTheSystemCannotDo is refused before anything is done, with what would be possible.
func TestChaosThatTheSystemCannotDo(t *testing.T) {
	_, s := start(t, system.Config{})
	cut := action(0, scenario.Partition, "1", 0)
	cut.With = "2"
	slow, clock := action(0, scenario.Slow, "1", 0), action(0, scenario.Clock, "1", 0)
	slow.Value, clock.Value = "1mbit", "60s"
	for words, a := range map[string]scenario.Action{
		`no node "2"; there are node1`:  cut,
		"in an isolated system alone":   slow,
		"hub built with -tags chaos":    clock,
		"store cassandra alone":         action(0, scenario.Store, "1", 0),
		`no node "edge1"; there are no`: action(0, scenario.Kill, "edge1", 0),
		`no node "cql1"`:                action(0, scenario.Kill, "cql1", 0),
	} {
		if err := chaos.Check([]scenario.Action{a}, s); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s %s: %v, want %q", a.Do, a.Node, err, words)
		}
	}
}

// TestAttach: another process finds a running cluster by its file, and does to it what the one that runs it can do.
func TestAttach(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dir := t.TempDir()
	c, err := testcluster.Start(ctx, testcluster.Config{Bin: hub(ctx, t), Dir: dir, Embedded: true})
	must(t, err)
	defer c.Close()
	k := testcluster.NewControl(c, nil)
	file := filepath.Join(dir, "system.json")
	must(t, k.WriteTo(file))

	watched, err := system.Attach(ctx, file)
	must(t, err)
	if err := chaos.Check([]scenario.Action{action(0, scenario.Kill, "1", 0)}, watched); err == nil {
		t.Error("a system that nobody controls can be killed")
	}
	stop, err := k.Serve()
	must(t, err)
	defer stop()
	must(t, k.WriteTo(file))
	s, err := system.Attach(ctx, file)
	must(t, err)
	defer s.Close()
	before := s.Processes()["node1"]
	if err := chaos.Check([]scenario.Action{action(0, scenario.Store, "1", 0)}, s); err == nil {
		t.Error("an embedded store can be cut off")
	}
	chaotic(ctx, t, s, action(0, scenario.Kill, "node1", 100*time.Millisecond))()
	if after := s.Processes()["node1"]; after == 0 || after == before || after != c.Nodes()[0].PID() {
		t.Errorf("process %d, before %d, really %d", after, before, c.Nodes()[0].PID())
	}
	crowd := gather(ctx, t, s, 4)
	crowd.talk(func(n int) bool { return n < 3 })
	if r := crowd.judge(); !r.OK() {
		t.Error(r)
	}

	c.Close()
	if _, err := system.Attach(ctx, file); err == nil || !strings.Contains(err.Error(), "no node of") {
		t.Errorf("attached to what has ended: %v", err)
	}
	if _, err := system.Attach(ctx, filepath.Join(dir, "nothing.json")); err == nil {
		t.Error("attached to nothing")
	}
}
