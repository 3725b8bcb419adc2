package blob_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/blob"
)

// world is a store and references in memory whose every operation waits for its turn: the model checker below gives
// turns in every possible order. One content is enough. What a process will do depends on nothing but what its
// operations answered, so world and answers are the whole state, and one that was seen before need not be gone on from.
type world struct {
	copies     map[uint64]bool // generations that are stored
	refs       map[string]uint64
	generation uint64
	holds      map[string]blob.Key // puts that returned and were not released
	answers    map[int]string      // by process
}

func (w *world) state() string { return fmt.Sprint(w.copies, w.refs, w.generation, w.holds, w.answers) }

// actor is one process's view of the world.
type actor struct {
	*world
	process
}

type process struct {
	id   int
	turn func() // returns when the scheduler lets this process do its next operation
}

func (a actor) answered(what any) { a.answers[a.id] += fmt.Sprintf(" %v", what) }

var content = []byte("the same content")
var sum = blob.Sum(sha256.Sum256(content))

func (a actor) BlobGeneration(context.Context, chat.TenantID, [32]byte) (uint64, error) {
	a.turn()
	a.answered(a.generation)
	return a.generation, nil
}

func (a actor) AdvanceBlobGeneration(_ context.Context, _ chat.TenantID, _ [32]byte, from uint64) error {
	a.turn()
	if a.generation == from {
		a.generation++
	}
	a.answered("advanced")
	return nil
}

func (a actor) AddBlobRef(_ context.Context, _ chat.TenantID, _ [32]byte, g uint64, ref string) error {
	a.turn()
	a.refs[ref] = g
	a.answered("added")
	return nil
}

func (a actor) RemoveBlobRef(_ context.Context, _ chat.TenantID, _ [32]byte, g uint64, ref string) error {
	a.turn()
	if have, ok := a.refs[ref]; ok && have == g {
		delete(a.refs, ref)
	}
	a.answered("removed")
	return nil
}

func (a actor) HasBlobRefs(_ context.Context, _ chat.TenantID, _ [32]byte, g uint64) (bool, error) {
	a.turn()
	used := false
	for _, have := range a.refs {
		used = used || have == g
	}
	a.answered(used)
	return used, nil
}

func (a actor) Stage(context.Context, chat.TenantID, io.Reader, int64) (blob.Staged, error) {
	return stagedContent{a}, nil
}

type stagedContent struct{ a actor }

func (stagedContent) Sum() blob.Sum { return sum }
func (stagedContent) Size() int64   { return int64(len(content)) }
func (stagedContent) Discard()      {}

func (s stagedContent) Publish(_ context.Context, g uint64) (blob.Info, error) {
	s.a.turn()
	s.a.copies[g] = true
	s.a.answered("published")
	return blob.Info{Key: blob.Key{Tenant: "acme", Sum: sum, Generation: g}}, nil
}

func (a actor) Delete(_ context.Context, k blob.Key) error {
	a.turn()
	delete(a.copies, k.Generation)
	a.answered("deleted")
	return nil
}

var errUnused = errors.New("not part of the model")

func (actor) Stat(context.Context, blob.Key) (blob.Info, error)   { return blob.Info{}, errUnused }
func (actor) Open(context.Context, blob.Key) (blob.Reader, error) { return nil, errUnused }
func (actor) List(context.Context, func(blob.Info) bool) error    { return errUnused }
func (actor) Clean(context.Context, time.Time) (int, error)       { return 0, errUnused }
func (actor) Health(context.Context) error                        { return errUnused }
func (actor) Close() error                                        { return errUnused }
func (w *world) library(p process) (*blob.Library, actor) {
	a := actor{w, p}
	return blob.NewLibrary(a, a), a
}

func key(g uint64) blob.Key { return blob.Key{Tenant: "acme", Sum: sum, Generation: g} }

func (w *world) lost() (lost []string) {
	for ref, k := range w.holds {
		if !w.copies[k.Generation] {
			lost = append(lost, ref)
		}
	}
	return lost
}

// program is what a process runs against the world, operation by operation.
type program func(w *world, p process) error

func put(ref string) program {
	return func(w *world, p process) error {
		l, _ := w.library(p)
		i, err := l.Put(context.Background(), "acme", ref, bytes.NewReader(content), 0)
		if err == nil {
			w.holds[ref] = i.Key
		}
		return err
	}
}

func release(ref string, g uint64) program {
	return func(w *world, p process) error {
		l, _ := w.library(p)
		delete(w.holds, ref) // from when it is asked for
		return l.Release(context.Background(), key(g), ref)
	}
}

func sweep(g uint64) program {
	return func(w *world, p process) error {
		p.turn() // a sweep begins with a listing
		if w.answers[p.id] += fmt.Sprint(w.copies[g]); !w.copies[g] {
			return nil
		}
		l, _ := w.library(p)
		_, err := l.Sweep(context.Background(), key(g))
		return err
	}
}

// naive is what everybody would write first.
func naive(g uint64) program {
	return func(w *world, p process) error {
		_, a := w.library(p)
		if used, _ := a.HasBlobRefs(context.Background(), "acme", sum, g); used {
			return nil
		}
		return a.Delete(context.Background(), key(g))
	}
}

// play runs the programs in the order that choices say, and after them always the first that can; it answers the order,
// and how many could have gone on at each step. It stops where check says so after a step.
func play(t *testing.T, w *world, choices []int, ps []program, check func(step int) bool) (taken, could []int) {
	t.Helper()
	type running struct {
		next func() (struct{}, bool)
		stop func()
	}
	stopped := errors.New("stopped")
	var rs []running
	for id, p := range ps {
		next, stop := iter.Pull(iter.Seq[struct{}](func(yield func(struct{}) bool) {
			defer func() {
				if r := recover(); r != nil && r != any(stopped) {
					panic(r)
				}
			}()
			err := p(w, process{id, func() {
				if !yield(struct{}{}) {
					panic(stopped)
				}
			}})
			if err != nil {
				t.Error(err)
			}
		}))
		next() // to its first operation
		rs = append(rs, running{next, stop})
		defer stop()
	}
	for len(rs) > 0 {
		c := 0
		if len(taken) < len(choices) {
			c = choices[len(taken)]
		}
		taken, could = append(taken, c), append(could, len(rs))
		if _, more := rs[c].next(); !more {
			rs = append(rs[:c:c], rs[c+1:]...)
		}
		if !check(len(taken)) {
			break
		}
	}
	return taken, could
}

// explore plays every order and returns how many states there are, and the first order that loses something.
func explore(t *testing.T, start func() *world, ps ...program) (states int, bad []int) {
	t.Helper()
	seen := map[string]bool{}
	for choices := []int{}; ; {
		w := start()
		w.answers = map[int]string{}
		known := false
		taken, could := play(t, w, choices, ps, func(step int) bool {
			if len(w.lost()) > 0 {
				return false
			}
			if step < len(choices) {
				return true // on the way to where the last order is left
			}
			s := w.state()
			known = seen[s]
			seen[s] = true
			return !known
		})
		if len(w.lost()) > 0 {
			return len(seen), taken
		}
		if !known {
			w.tidy(t, taken)
		}
		i := len(taken) - 1
		for ; i >= 0 && taken[i]+1 >= could[i]; i-- {
		}
		if i < 0 {
			return len(seen), nil
		}
		choices = append(taken[:i:i], taken[i]+1)
	}
}

// tidy checks that what is left over goes with later sweeps, and nothing else does.
func (w *world) tidy(t *testing.T, taken []int) {
	t.Helper()
	l, _ := w.library(process{turn: func() {}})
	for g := range w.generation + 1 {
		if w.copies[g] {
			if _, err := l.Sweep(context.Background(), key(g)); err != nil {
				t.Fatal(err)
			}
		}
	}
	used := map[uint64]bool{}
	for _, g := range w.refs {
		used[g] = true
	}
	if len(w.lost()) > 0 || fmt.Sprint(used) != fmt.Sprint(w.copies) {
		t.Fatalf("order %v: copies %v, references %v", taken, w.copies, w.refs)
	}
}

func orphan() *world { // one copy that nobody refers to
	return &world{copies: map[uint64]bool{0: true}, refs: map[string]uint64{}, holds: map[string]blob.Key{}}
}

func referred() *world { // one copy that somebody refers to
	w := orphan()
	w.refs["old"], w.holds["old"] = 0, key(0)
	return w
}

func nothing() *world {
	w := orphan()
	delete(w.copies, 0)
	return w
}

// TestEveryInterleaving runs puts, releases and sweeps of one content in every order of their operations, each of them
// stopping for any time in between. No order loses content that somebody holds, nor leaves a copy that no later sweep
// removes.
func TestEveryInterleaving(t *testing.T) {
	for _, c := range []struct {
		name  string
		start func() *world
		ps    []program
	}{
		{"PutSweep", orphan, []program{put("a"), sweep(0)}},
		{"PutOfNewSweep", nothing, []program{put("a"), sweep(0)}},
		{"PutReleaseSweep", referred, []program{put("a"), release("old", 0), sweep(0)}},
		{"PutSweepOfTheNext", orphan, []program{put("a"), sweep(0), sweep(1)}},
		{"PutSweepSweep", orphan, []program{put("a"), sweep(0), sweep(0)}},
		{"PutPutSweep", orphan, []program{put("a"), put("b"), sweep(0)}},
		{"PutPutReleaseSweep", referred, []program{put("a"), put("b"), release("old", 0), sweep(0)}},
		{"PutPutSweepSweep", orphan, []program{put("a"), put("b"), sweep(0), sweep(1)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			states, bad := explore(t, c.start, c.ps...)
			if bad != nil {
				t.Fatalf("order %v loses content", bad)
			}
			t.Logf("%d states", states)
		})
	}
}

// TestTheNaiveSweepLoses shows that the model can fail: a sweep that looks and then deletes.
func TestTheNaiveSweepLoses(t *testing.T) {
	if _, bad := explore(t, orphan, put("a"), naive(0)); bad == nil {
		t.Fatal("no order loses content: the model checks nothing")
	}
}
