package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/zumodra/hub/bench/measure"
	"github.com/zumodra/hub/bench/scenario"
)

// Driver does things to a system. Its methods may be called from several goroutines at once, but never for one thing of one
// node (its process, its clock …) from two.
type Driver interface {
	// Node is the full name of what a scenario calls by name ("2" is a node2); the error lists the names that there are.
	Node(name string) (string, error)
	// Can reports why the system cannot do it, and what it can.
	Can(Fault) error
	// Do it, and wait until it is done: a node that is started serves.
	Do(context.Context, Fault) error
	// Undo ends what Do did: starts what was killed or drained, heals, sets right.
	Undo(context.Context, Fault) error
}

// doTime bounds each thing that is done or undone. The end of Run's context does not cut it short: what is half done could not
// be undone.
const doTime = 2 * time.Minute

// Runner carries out the chaos of one run.
type Runner struct {
	driver Driver
	list   []planned
}

// New reads and checks the actions. The error tells of each that cannot be done, and why.
func New(actions []scenario.Action, d Driver) (*Runner, error) {
	list, err := plan(actions, d)
	if err != nil {
		return nil, err
	}
	return &Runner{driver: d, list: list}, nil
}

// Check reports what New would refuse.
func Check(actions []scenario.Action, d Driver) error {
	_, err := plan(actions, d)
	return err
}

// Run carries out the actions, whose times count from began, and returns when all of them are done and undone: those that last
// to the end when ctx has ended, which also ends all others. mark is told of the begin and the end of each, from one goroutine
// at a time. The error joins those of the driver; the run goes on after one, and what failed is undone nevertheless.
func (r *Runner) Run(ctx context.Context, began time.Time, mark func(measure.Mark)) error {
	s := &session{Runner: r, began: began, mark: mark}
	var wg sync.WaitGroup
	for _, line := range r.lines() {
		wg.Go(func() { s.play(ctx, line) })
	}
	wg.Wait()
	return errors.Join(s.errs...)
}

// lines are the actions by the thing that they are about, or things that hang together.
func (r *Runner) lines() [][]*planned {
	var lines [][]*planned
	at := map[string]int{}
	for i := range r.list {
		p := &r.list[i]
		thing := p.things()[0]
		if p.Do == scenario.Partition {
			thing = "links" // pairs of two actions may be the same
		}
		n, ok := at[thing]
		if !ok {
			n = len(lines)
			at[thing] = n
			lines = append(lines, nil)
		}
		lines[n] = append(lines[n], p)
	}
	return lines
}

// session is one Run.
type session struct {
	*Runner
	began time.Time

	mu   sync.Mutex
	mark func(measure.Mark)
	errs []error
}

// play does the actions of one line in order and undoes each in time.
func (s *session) play(ctx context.Context, line []*planned) {
	var open []due // soonest first
	undo := func(d due) { s.tell(ctx, d.undone(), s.driver.Undo, d.Fault) }
	for len(line) > 0 || len(open) > 0 {
		next, isUndo := time.Time{}, false
		if len(line) > 0 {
			next = s.began.Add(line[0].at)
		}
		if len(open) > 0 && !open[0].at.IsZero() && (next.IsZero() || !open[0].at.After(next)) {
			next, isUndo = open[0].at, true
		}
		if !wait(ctx, next) {
			break
		}
		if isUndo {
			undo(open[0])
			open = open[1:]
			continue
		}
		p := line[0]
		line = line[1:]
		s.tell(ctx, p.String(), s.driver.Do, p.Fault)
		if p.lasts() {
			d := due{Fault: p.Fault}
			if p.span > 0 {
				d.at = time.Now().Add(p.span)
			}
			open = insert(replaced(open, p.Fault), d)
		} else if p.Do == scenario.Start {
			open = replaced(open, p.Fault)
		}
	}
	for _, d := range open {
		if dead := d.Do == scenario.Kill || d.Do == scenario.Drain; dead && d.at.IsZero() {
			continue // is to stay dead
		}
		undo(d)
	}
}

// due is something to undo; zero: at the end.
type due struct {
	Fault
	at time.Time
}

// replaced takes out what a later action on a process has made void: a stop by a kill, and that by a start.
func replaced(open []due, by Fault) []due {
	if by.things()[0] != "the process of "+by.Node {
		return open
	}
	return nil // a line of a process is about nothing else
}

func insert(open []due, d due) []due {
	i := len(open)
	for i > 0 && !d.at.IsZero() && (open[i-1].at.IsZero() || open[i-1].at.After(d.at)) {
		i--
	}
	open = append(open, due{})
	copy(open[i+1:], open[i:])
	open[i] = d
	return open
}

// wait until t; zero: for ever. False: ctx ended.
func wait(ctx context.Context, t time.Time) bool {
	if t.IsZero() {
		<-ctx.Done()
		return false
	}
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}

// tell does something and marks its begin, and its end if that is later or failed.
func (s *session) tell(ctx context.Context, text string, do func(context.Context, Fault) error, f Fault) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), doTime)
	defer cancel()
	at := time.Since(s.began)
	s.note(measure.Mark{At: at.Seconds(), Text: text})
	err := do(ctx, f)
	after := time.Since(s.began)
	if err == nil && after-at < time.Second {
		return
	}
	m := measure.Mark{At: after.Seconds(), Text: "done: " + text}
	if err != nil {
		m.Text, m.Err = "failed: "+text, err.Error()
	}
	s.note(m)
	if err != nil {
		s.mu.Lock()
		s.errs = append(s.errs, fmt.Errorf("chaos: %s: %w", text, err))
		s.mu.Unlock()
	}
}

func (s *session) note(m measure.Mark) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mark(m)
}
