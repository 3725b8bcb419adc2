package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/bench/chaos"
	"github.com/zumodra/hub/bench/measure"
	"github.com/zumodra/hub/bench/scenario"
)

// fake is a system of three nodes that writes down what is done to it.
type fake struct {
	began  time.Time
	takes  map[string]time.Duration // by what is written
	fails  map[string]error
	cannot scenario.Do

	mu   sync.Mutex
	log  []string
	busy map[string]bool
	t    *testing.T
}

func newFake(t *testing.T) *fake {
	return &fake{t: t, began: time.Now(), takes: map[string]time.Duration{}, fails: map[string]error{}, busy: map[string]bool{}}
}

func (f *fake) Node(name string) (string, error) {
	if full := "node" + name; slices.Contains([]string{"node1", "node2", "node3"}, full) {
		return full, nil
	}
	return "", fmt.Errorf("there is no %q, but 1, 2, 3", name)
}

func (f *fake) Can(x chaos.Fault) error {
	if x.Do == f.cannot {
		return errors.New("the system cannot " + string(x.Do))
	}
	return nil
}

func (f *fake) Do(ctx context.Context, x chaos.Fault) error   { return f.act(ctx, "do", x) }
func (f *fake) Undo(ctx context.Context, x chaos.Fault) error { return f.act(ctx, "undo", x) }

func (f *fake) act(ctx context.Context, how string, x chaos.Fault) error {
	text := how + " " + x.String()
	f.mu.Lock()
	f.log = append(f.log, fmt.Sprintf("%v %s", time.Since(f.began), text))
	if f.busy[x.Node+string(x.Do)] {
		f.t.Errorf("%s while the like is under way", text)
	}
	f.busy[x.Node+string(x.Do)] = true
	f.mu.Unlock()
	if d := f.takes[text]; d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			f.t.Errorf("%s was cut short", text)
		}
	}
	f.mu.Lock()
	f.busy[x.Node+string(x.Do)] = false
	f.mu.Unlock()
	return f.fails[text]
}

func at(s int, do scenario.Do, node string, span int) scenario.Action {
	return scenario.Action{At: scenario.Duration(time.Duration(s) * time.Second), Do: do, Node: node, For: scenario.Duration(time.Duration(span) * time.Second)}
}

func with(a scenario.Action, with, value string) scenario.Action {
	a.With, a.Value = with, value
	return a
}

// play runs the actions, ending the run after end, and returns what was done and what was marked.
func play(t *testing.T, f *fake, end time.Duration, actions ...scenario.Action) (marks []string, err error) {
	t.Helper()
	r, err := chaos.New(actions, f)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), end)
	defer cancel()
	err = r.Run(ctx, f.began, func(m measure.Mark) {
		text := fmt.Sprintf("%gs %s", m.At, m.Text)
		if m.Err != "" {
			text += ": " + m.Err
		}
		marks = append(marks, text)
	})
	return marks, err
}

func equal(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant:\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestActionsAreDoneAndUndoneInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		marks, err := play(t, f, time.Hour, at(9, scenario.Restart, "2", 0), at(2, scenario.Kill, "1", 5), at(3, scenario.Store, "1", 2),
			with(at(4, scenario.Clock, "3", 10), "", "-90s"), with(at(6, scenario.Slow, "1", 2), "", "20ms 1.5mbit"))
		if err != nil {
			t.Error(err)
		}
		equal(t, "done", f.log, "2s do kill -9 node1", "3s do node1 reaches no store", "4s do clock of node3 -1m30s", "5s undo node1 reaches no store",
			"6s do slow node1 20ms 1500000 bit/s", "7s undo kill -9 node1", "8s undo slow node1 20ms 1500000 bit/s", "9s do restart node2",
			"14s undo clock of node3 -1m30s")
		equal(t, "marks", marks, "2s kill -9 node1", "3s node1 reaches no store", "4s clock of node3 -1m30s", "5s node1 reaches the store again",
			"6s slow node1 20ms 1500000 bit/s", "7s node1 runs again", "8s node1 is fast again", "9s restart node2", "14s clock of node3 is right again")
		if d := time.Since(f.began); d != 14*time.Second {
			t.Errorf("the run lasted %v", d)
		}
	})
}

func TestTheEndUndoesAllButTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.takes["do kill -9 node3"] = 3 * time.Second // the run ends meanwhile
		_, err := play(t, f, 10*time.Second, at(1, scenario.Stop, "1", 0), at(2, scenario.Kill, "2", 0), at(9, scenario.Kill, "3", 60),
			with(at(3, scenario.Partition, "1", 0), "2,3", ""), with(at(4, scenario.Partition, "2", 4), "3", ""), with(at(11, scenario.Clock, "1", 0), "", "1s"))
		if err != nil {
			t.Error(err)
		}
		done, undone := f.log[:6], slices.Sorted(slices.Values(f.log[6:]))
		equal(t, "done", done, "1s do stop node1", "2s do kill -9 node2", "3s do partition node1 | node2,node3", "4s do partition node2 | node3",
			"8s undo partition node2 | node3", "9s do kill -9 node3")
		equal(t, "at the end", undone, "10s undo partition node1 | node2,node3", "10s undo stop node1", "12s undo kill -9 node3")
	})
}

func TestAStoppedProcessCanBeKilledAndStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		_, err := play(t, f, time.Minute, at(1, scenario.Stop, "1", 0), at(2, scenario.Kill, "1", 0), at(3, scenario.Start, "1", 0), at(4, scenario.Drain, "1", 2))
		if err != nil {
			t.Error(err)
		}
		equal(t, "done", f.log, "1s do stop node1", "2s do kill -9 node1", "3s do start node1", "4s do drain node1", "6s undo drain node1")
	})
}

func TestOneThingAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.takes["undo kill -9 node1"] = 20 * time.Second // it is slow to come back
		marks, err := play(t, f, time.Hour, at(1, scenario.Kill, "1", 1), at(5, scenario.Drain, "1", 1), at(6, scenario.Kill, "2", 1))
		if err != nil {
			t.Error(err)
		}
		equal(t, "done", f.log, "1s do kill -9 node1", "2s undo kill -9 node1", "6s do kill -9 node2", "7s undo kill -9 node2",
			"22s do drain node1", "23s undo drain node1")
		if !slices.Contains(marks, "22s done: node1 runs again") {
			t.Errorf("no mark says when it was back: %q", marks)
		}
	})
}

func TestErrorsAreToldAndTheRestGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.fails["do stop node1"] = errors.New("no such process")
		marks, err := play(t, f, time.Hour, at(1, scenario.Stop, "1", 1), at(3, scenario.Stop, "1", 1))
		if err == nil || !strings.Contains(err.Error(), "no such process") {
			t.Errorf("error %v", err)
		}
		if len(f.log) != 4 || !slices.Contains(marks, "1s failed: stop node1: no such process") {
			t.Errorf("%q %q", f.log, marks)
		}
	})
}

func TestWhatCannotBeDoneIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		words   string
		actions []scenario.Action
	}{
		"unknown node":           {`there is no "9", but 1, 2, 3`, []scenario.Action{at(1, scenario.Kill, "9", 0)}},
		"unknown action":         {"unknown action; there are [kill", []scenario.Action{at(1, "explode", "1", 0)}},
		"not able":               {"the system cannot slow", []scenario.Action{with(at(1, scenario.Slow, "1", 0), "", "1mbit")}},
		"negative":               {"negative", []scenario.Action{at(-1, scenario.Kill, "1", 0)}},
		"start for a while":      {"it takes no for", []scenario.Action{at(1, scenario.Restart, "1", 4)}},
		"start of what runs":     {"it runs", []scenario.Action{at(1, scenario.Start, "1", 0)}},
		"kill twice":             {"lasts still", []scenario.Action{at(1, scenario.Kill, "1", 0), at(2, scenario.Kill, "1", 0)}},
		"overlap":                {"lasts still", []scenario.Action{at(1, scenario.Kill, "1", 5), at(3, scenario.Stop, "1", 1)}},
		"start of what comes":    {"lasts still", []scenario.Action{at(1, scenario.Kill, "1", 5), at(3, scenario.Start, "1", 0)}},
		"one link cut twice":     {"lasts still", []scenario.Action{with(at(1, scenario.Partition, "1", 5), "2", ""), with(at(2, scenario.Partition, "3", 5), "1", ""), with(at(3, scenario.Partition, "2", 5), "3,1", "")}},
		"partition from itself":  {"both sides", []scenario.Action{with(at(1, scenario.Partition, "1", 5), "2,1", "")}},
		"partition from nothing": {"with belongs", []scenario.Action{at(1, scenario.Partition, "1", 5)}},
		"kill with":              {"with belongs", []scenario.Action{with(at(1, scenario.Kill, "1", 5), "2", "")}},
		"clock without value":    {"value belongs", []scenario.Action{at(1, scenario.Clock, "1", 5)}},
		"clock of nonsense":      {"no jump", []scenario.Action{with(at(1, scenario.Clock, "1", 5), "", "soon")}},
		"slow of nonsense":       {"no latency and rate", []scenario.Action{with(at(1, scenario.Slow, "1", 5), "", "20ms 1mbit 2mbit")}},
		"slow of nothing":        {"no latency and rate", []scenario.Action{with(at(1, scenario.Slow, "1", 5), "", "-4mbit")}},
	} {
		f := newFake(t)
		if name == "not able" {
			f.cannot = scenario.Slow
		}
		if err := chaos.Check(c.actions, f); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want %q", name, err, c.words)
		}
		if _, err := chaos.New(c.actions, f); err == nil {
			t.Errorf("%s: New takes it", name)
		}
	}
	// All that is wrong is told at once.
	err := chaos.Check([]scenario.Action{at(1, scenario.Kill, "7", 0), at(1, scenario.Kill, "8", 0)}, newFake(t))
	if err == nil || !strings.Contains(err.Error(), `"7"`) || !strings.Contains(err.Error(), `"8"`) {
		t.Errorf("%v", err)
	}
}
