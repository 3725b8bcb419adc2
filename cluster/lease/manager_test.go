package lease_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/lease"
	"github.com/zumodra/hub/cluster/placement"
)

func TestNodesShareTheShards(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.add("a", nil)
		see(w.nodes, a)
		w.balanced(3*time.Second, a)
		for s := range chat.Shards {
			if a.Owner(s) != a.Self() || a.epoch(s) != 1 {
				t.Fatalf("shard %d: owner %v, epoch %d", s, a.Owner(s), a.epoch(s))
			}
		}
		b, c := w.add("b", nil), w.add("c", nil)
		see(w.nodes, a, b, c)
		time.Sleep(time.Second)
		if n := w.held(a); n != chat.Shards {
			t.Errorf("a gave up shards before the joins were settled: %d", n)
		}
		w.balanced(15*time.Second, a, b, c)
		time.Sleep(6 * time.Second) // all have read the owners
		for s := range chat.Shards {
			if o := a.Owner(s); o != b.Owner(s) || o != c.Owner(s) || o == 0 {
				t.Fatalf("shard %d: %v, %v, %v", s, o, b.Owner(s), c.Owner(s))
			}
		}
		// Between the joins a has flushed exactly what it gave away, and nobody else anything.
		if st := a.Stats(); st.Released != uint64(chat.Shards-w.held(a)) || st.Lost != 0 {
			t.Errorf("%+v", st)
		}
		_, _, flushes := a.told()
		if slices.Max(flushes) > 64 {
			t.Errorf("%v shards released at once", flushes)
		}
		for _, n := range []*node{b, c} {
			if lost, serving, flushes := n.told(); lost+len(flushes) != 0 || serving != w.held(n) {
				t.Errorf("%d lost, %d of %d served, %v flushed", lost, serving, w.held(n), flushes)
			}
		}
	})
}

// A node that is killed is replaced when its lease has run out, with greater epochs, and never before.
func TestKill(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b, c := w.add("a", nil), w.add("b", nil), w.add("c", nil)
		see(w.nodes, a, b, c)
		w.balanced(5*time.Second, a, b, c)
		for range 5 {
			time.Sleep(1700 * time.Millisecond)
			if w.held(a)+w.held(b)+w.held(c) != chat.Shards {
				t.Fatal("somebody does not renew")
			}
		}
		old := map[int]uint64{}
		for s := range chat.Shards {
			if e, ok := c.Term(s); ok {
				old[s] = e
			}
		}
		c.Close()
		for s := range old {
			if _, ok := c.Term(s); ok || c.MayAck(s, old[s]) {
				t.Fatal("a closed manager serves")
			}
		}
		w.nodes = w.nodes[:2]
		time.Sleep(300 * time.Millisecond)
		see(w.nodes, a, b)
		took := w.all(10*time.Second, a, b)
		t.Logf("taken over after %v", took)
		if took < 3*time.Second || took > 9*time.Second {
			t.Errorf("taken over after %v", took)
		}
		for s, e := range old {
			for _, n := range w.nodes {
				if now, ok := n.Term(s); ok && now != e+1 {
					t.Errorf("shard %d: epoch %d after %d", s, now, e)
				}
			}
		}
		if d := a.Stats().DeclaredDead + b.Stats().DeclaredDead; d != 1 {
			t.Errorf("declared dead %d times", d)
		}
		for _, n := range w.nodes {
			if n.clock.Load() < int64(time.Second/time.Microsecond) {
				t.Errorf("%s did not raise its clock of writes: %d", n.name, n.clock.Load())
			}
		}
		// It comes back under its name and gets its shards back.
		d := w.add("c", nil)
		see(w.nodes, a, b, d)
		w.balanced(30*time.Second, a, b, d)
		if n := w.held(d); n != len(old) {
			t.Errorf("%d shards, %d in its former life", n, len(old))
		}
	})
}

func TestLeave(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b, c := w.add("a", nil), w.add("b", nil), w.add("c", nil)
		see(w.nodes, a, b, c)
		w.balanced(5*time.Second, a, b, c)
		acked := 0
		c.onFlush = func(_ context.Context, shards []int) { // what is under way may be acknowledged
			time.Sleep(100 * time.Millisecond)
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, s := range shards {
				if c.MayAck(s, c.serving[s]) {
					acked++
				}
			}
		}
		want := w.held(c)
		took := make(chan time.Duration)
		go func() { took <- w.all(5*time.Second, a, b) }()
		if err := c.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		// The others' plan still has c in it: it is enough that c says for whom it released.
		if d := <-took; d > 500*time.Millisecond {
			t.Errorf("took %v", d)
		}
		if _, serving, _ := c.told(); acked != want || serving != 0 {
			t.Errorf("%d of %d could be acknowledged, %d not flushed", acked, want, serving)
		}
		if !slices.Equal(w.rows.states(), []lease.State{lease.Alive, lease.Alive, lease.Released}) {
			t.Error(w.rows.states())
		}
		select {
		case <-c.Dead():
			t.Error("dead")
		default:
		}
		see(w.nodes[:2], a, b)
		time.Sleep(30 * time.Second)
		w.all(0, a, b)
		if err := a.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		see(w.nodes[1:2], b)
		w.all(time.Second, b)
		if err := b.Leave(t.Context()); err != nil { // nobody is left
			t.Error(err)
		}
		if n := w.rows.holders(); len(n) != 0 {
			t.Errorf("%v", n)
		}
		d := w.add("d", nil)
		see([]*node{d}, d)
		w.all(3*time.Second, d)
	})
}

// pause stops a node as SIGSTOP does, as far as that can be done within a process: its calls of the store stand still.
func (n *node) pause() (resume func()) {
	c := make(chan struct{})
	n.store.paused.Store(&c)
	return func() {
		n.store.paused.Store(nil)
		close(c)
	}
}

// A node that was stopped for longer than its lease serves nothing when it wakes up, learns that it was declared dead,
// and never serves again.
func TestPause(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.add("a", nil), w.add("b", nil)
		see(w.nodes, a, b)
		w.balanced(5*time.Second, a, b)
		had := w.held(b)
		resume := b.pause()
		see([]*node{a}, a)
		w.all(15*time.Second, a)
		if n := w.held(b); n != 0 {
			t.Fatalf("%d served by a paused node", n)
		}
		resume()
		<-b.Dead()
		time.Sleep(time.Minute)
		if lost, _, _ := b.told(); w.held(b) != 0 || w.held(a) != chat.Shards || lost != had || !b.Status().Dead {
			t.Error(w.held(a), w.held(b), lost, had)
		}
		if err := b.Leave(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A node that is cut off from the store stops serving before anybody else may, and goes on under the same epochs if it
// is back before it is declared dead.
func TestCutOff(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.add("a", nil), w.add("b", nil)
		see(w.nodes, a, b)
		w.balanced(5*time.Second, a, b)
		had := w.held(b)
		b.store.cut.Store(true)
		time.Sleep(3 * time.Second)
		if w.held(b) != had {
			t.Error("stopped at once")
		}
		start := time.Now()
		for w.held(b) != 0 {
			if time.Sleep(50 * time.Millisecond); time.Since(start) > 4*time.Second {
				t.Fatal("serves without a lease")
			}
		}
		b.store.cut.Store(false)
		w.all(3*time.Second, a, b)
		if lost, _, _ := b.told(); w.held(b) != had || lost != 0 {
			t.Error(w.held(b), had, lost)
		}
		// For longer than its lease, though all see it.
		b.store.cut.Store(true)
		if took := w.all(10*time.Second, a); took < 3*time.Second {
			t.Error(took)
		}
		b.store.cut.Store(false)
		<-b.Dead()
		time.Sleep(time.Minute)
		w.all(0, a)
	})
}

// A member that never reaches the store does not keep shards from the others.
func TestMemberWithoutALease(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.add("a", nil)
		a.SetMembers([]placement.Node{{Name: "a", ID: a.Self()}, {Name: "b", ID: 5}})
		w.all(3*time.Second, a)
		time.Sleep(time.Minute)
		w.all(0, a)
		b := w.add("b", func(c *lease.Config) { c.Self = 5 })
		see([]*node{b}, a, b)
		w.balanced(15*time.Second, a, b)
	})
}

// When nobody reaches the store for a while nobody is declared dead for it.
func TestOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.add("a", nil), w.add("b", nil)
		see(w.nodes, a, b)
		w.balanced(5*time.Second, a, b)
		for _, n := range w.nodes {
			n.store.cut.Store(true)
		}
		see([]*node{a}, a)
		see([]*node{b}, b)
		time.Sleep(30 * time.Second)
		if w.held(a)+w.held(b) != 0 {
			t.Error("somebody serves")
		}
		for _, n := range w.nodes {
			n.store.cut.Store(false)
		}
		w.all(5*time.Second, a, b)
		time.Sleep(time.Minute)
		w.all(0, a, b)
		if a.Stats().DeclaredDead+b.Stats().DeclaredDead != 0 {
			t.Error("declared dead")
		}
	})
}

// Two nodes that do not see each other but both reach the store: each wants everything, nobody gets what the other
// holds. When they see each other again nothing happens.
func TestSplit(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.add("a", nil), w.add("b", nil)
		see(w.nodes, a, b)
		w.balanced(5*time.Second, a, b)
		had := w.held(a)
		see([]*node{a}, a)
		see([]*node{b}, b)
		for range 60 {
			time.Sleep(time.Second)
			if w.held(a) != had || w.held(b) != chat.Shards-had {
				t.Fatal(w.held(a), w.held(b))
			}
		}
		see(w.nodes, a, b)
		time.Sleep(time.Minute)
		w.balanced(0, a, b)
		if st := a.Stats(); st.Released+b.Stats().Released != 0 {
			t.Error("shards moved")
		}
		if r := w.rows.reads.Load(); r > 2*5*70+100 {
			t.Errorf("%d reads of the owners", r)
		}
	})
}

// Under errors, lost answers and swaps that land late everything is served by one node in the end, and at no time by two.
func TestUnknownOutcomes(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				var n atomic.Uint64
				n.Store(seed << 32)
				unsure := func() fault {
					x := n.Add(1) * 0x9e3779b97f4a7c15
					x ^= x >> 29
					x *= 0xbf58476d1ce4e5b9
					x ^= x >> 32
					d := time.Duration(x>>8%50) * time.Millisecond
					switch x % 10 {
					case 0:
						return fault{drop: true}
					case 1:
						return fault{unknown: true}
					case 2:
						return fault{late: 20 * d}
					case 3:
						return fault{before: 20 * d, after: 20 * d}
					}
					return fault{before: d / 10, after: d / 10}
				}
				a, b := w.add("a", nil), w.add("b", nil)
				for _, n := range w.nodes {
					n.store.swap.Store(&unsure)
				}
				see(w.nodes, a, b)
				w.all(time.Minute, a, b)
				c := w.add("c", nil)
				c.store.swap.Store(&unsure)
				see(w.nodes, a, b, c)
				w.balanced(2*time.Minute, a, b, c)
				if err := a.Leave(t.Context()); err != nil {
					t.Error(err)
				}
				see(w.nodes[1:], b, c)
				w.all(time.Minute, b, c)
				b.Close()
				see([]*node{c}, c)
				w.all(time.Minute, c)
				if err := c.Leave(t.Context()); err != nil {
					t.Error(err)
				}
				time.Sleep(2 * time.Second) // what is late has landed
				for _, n := range w.nodes {
					if w.held(n) != 0 || len(n.Dead()) != 0 {
						t.Error(n.name)
					}
				}
			})
		})
	}
}

// A shard whose row another process took by hand is lost.
func TestTakenByHand(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.add("a", nil)
		see(w.nodes, a)
		w.balanced(3*time.Second, a)
		w.rows.mu.Lock()
		w.rows.owners[7] = lease.Owner{Shard: 7, Node: 99, Epoch: 5}
		w.rows.epochs[7] = 5
		w.rows.mu.Unlock()
		a.Refresh()
		time.Sleep(150 * time.Millisecond)
		if lost, _, _ := a.told(); lost != 1 || a.MayAck(7, 1) {
			t.Error(lost)
		}
		// 99 has no lease: it is not alive.
		time.Sleep(time.Second)
		if e, ok := a.Term(7); !ok || e != 6 {
			t.Error(e, ok)
		}
	})
}

func TestFloor(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.add("a", func(c *lease.Config) { c.Floor = 41 })
		see(w.nodes, a)
		w.balanced(3*time.Second, a)
		if e, _ := a.Term(3); e != 42 {
			t.Error(e)
		}
	})
}

// Rows of ended lives go in the end.
func TestOldLeasesAreRemoved(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.add("a", func(c *lease.Config) { c.Keep = 5 * time.Minute })
		see(w.nodes, a)
		w.balanced(3*time.Second, a)
		for i := range 3 {
			b := w.add("b", nil) // never sees anybody
			if i == 1 {
				if err := b.Leave(t.Context()); err != nil {
					t.Error(err)
				}
			}
			b.Close()
		}
		time.Sleep(time.Minute)
		if !slices.Equal(w.rows.states(), []lease.State{lease.Alive, lease.Released, lease.Dead, lease.Dead}) {
			t.Error(w.rows.states())
		}
		time.Sleep(10 * time.Minute)
		if !slices.Equal(w.rows.states(), []lease.State{lease.Alive}) {
			t.Error(w.rows.states())
		}
		w.all(0, a)
	})
}

func TestStartEndsWithItsContext(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		f := &faults{memory: w.rows}
		f.cut.Store(true)
		m, err := lease.New(lease.Config{Name: "a", Store: f})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := m.Start(ctx); err == nil {
			t.Error("started")
		}
		if err := m.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		m.Close()
		if _, err := lease.New(lease.Config{}); err == nil {
			t.Error("no name, no store")
		}
	})
}

func TestTermAllocatesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.add("a", nil)
		see(w.nodes, a)
		w.balanced(3*time.Second, a)
		if n := testing.AllocsPerRun(100, func() { a.Term(1); a.MayAck(1, 1); a.Owner(1) }); n != 0 {
			t.Error(n)
		}
	})
}

func BenchmarkTerm(b *testing.B) {
	w := &world{rows: newMemory(), start: time.Now()}
	f := &faults{memory: w.rows}
	start := time.Now()
	m, err := lease.New(lease.Config{Name: "a", Store: f, Settle: time.Millisecond, Now: func() time.Duration { return time.Since(start) }})
	if err != nil {
		b.Fatal(err)
	}
	if err := m.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	m.SetMembers([]placement.Node{{Name: "a", ID: m.Self()}})
	for {
		if _, ok := m.Term(chat.Shards - 1); ok {
			break
		}
		time.Sleep(time.Millisecond)
	}
	b.Run("Term", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m.Term(7)
		}
	})
	b.Run("MayAck", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m.MayAck(7, 1)
		}
	})
	b.Run("clock", func(b *testing.B) {
		for b.Loop() {
			_ = time.Since(start)
		}
	})
}
