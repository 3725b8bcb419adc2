package lease_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/lease"
	"github.com/zumodra/hub/cluster/placement"
)

// node is a Manager, what it was told, and its way to the store.
type node struct {
	*lease.Manager
	name  string
	store *faults
	clock atomic.Int64 // of writes

	mu      sync.Mutex
	serving map[int]uint64 // by what the hooks said
	flushes [][]int
	lost    int
	onFlush func(context.Context, []int)
}

type world struct {
	t     *testing.T
	rows  *memory
	start time.Time
	nodes []*node
}

func newWorld(t *testing.T) *world { return &world{t: t, rows: newMemory(), start: time.Now()} }

// add starts a node.
func (w *world) add(name string, change func(*lease.Config)) *node {
	w.t.Helper()
	n := &node{name: name, store: &faults{memory: w.rows, single: len(w.nodes)%2 == 1}, serving: map[int]uint64{}}
	cfg := lease.Config{Name: name, Store: n.store,
		Clock: func() int64 { return max(n.clock.Load(), time.Since(w.start).Microseconds()) },
		Raise: func(c int64) { n.clock.Store(max(n.clock.Load(), c)) },
		Gained: func(shard int, epoch uint64) {
			n.mu.Lock()
			defer n.mu.Unlock()
			if n.serving[shard] != 0 {
				w.t.Errorf("%s gained shard %d twice", name, shard)
			}
			n.serving[shard] = epoch
		},
		Release: func(ctx context.Context, shards []int) {
			for _, s := range shards {
				if _, ok := n.Term(s); ok {
					w.t.Errorf("%s serves shard %d while it releases it", name, s)
				}
			}
			if n.onFlush != nil {
				n.onFlush(ctx, shards)
			}
			n.drop(shards)
			n.mu.Lock()
			n.flushes = append(n.flushes, shards)
			n.mu.Unlock()
		},
		Lost: func(shards []int) {
			n.drop(shards)
			n.mu.Lock()
			n.lost += len(shards)
			n.mu.Unlock()
		},
		Released: func(_ []int, to chat.NodeID) {
			for _, o := range w.nodes {
				if o.Self() == to {
					o.Refresh()
				}
			}
		}}
	if change != nil {
		change(&cfg)
	}
	m, err := lease.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	n.Manager = m
	if err := m.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.nodes = append(w.nodes, n)
	return n
}

// told is what the hooks were told: shards lost, shards served, and the sizes of what was flushed.
func (n *node) told() (lost, serving int, flushes []int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, f := range n.flushes {
		flushes = append(flushes, len(f))
	}
	return n.lost, len(n.serving), flushes
}

func (n *node) epoch(shard int) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.serving[shard]
}

func (n *node) drop(shards []int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range shards {
		delete(n.serving, s)
	}
}

// see tells nodes who is there.
func see(who []*node, whom ...*node) {
	var list []placement.Node
	for _, n := range whom {
		list = append(list, placement.Node{Name: n.name, ID: n.Self()})
	}
	for _, n := range who {
		n.SetMembers(list)
	}
}

func (w *world) close() {
	for _, n := range w.nodes {
		n.Close()
	}
}

// held counts the shards that a node serves, and checks that nobody else does.
func (w *world) held(n *node) (count int) {
	w.t.Helper()
	for s := range chat.Shards {
		epoch, ok := n.Term(s)
		if !ok {
			continue
		}
		count++
		if !n.MayAck(s, epoch) || n.MayAck(s, epoch+1) || n.MayAck(s, 0) {
			w.t.Errorf("shard %d: MayAck and Term differ", s)
		}
		for _, o := range w.nodes {
			if _, both := o.Term(s); both && o != n {
				w.t.Fatalf("%s and %s serve shard %d", n.name, o.name, s)
			}
		}
	}
	return count
}

// all waits until every shard is served, by exactly the nodes given, and returns how long it took.
func (w *world) all(limit time.Duration, nodes ...*node) time.Duration {
	w.t.Helper()
	start := time.Now()
	for {
		total := 0
		for _, n := range nodes {
			c := w.held(n)
			if c == 0 {
				total = -chat.Shards
			}
			total += c
		}
		if total == chat.Shards {
			return time.Since(start)
		}
		if time.Since(start) > limit {
			for _, n := range w.nodes {
				w.t.Logf("%s: %+v", n.name, n.Status())
			}
			w.t.Fatalf("%d shards served after %v", total, time.Since(start))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// balanced waits until each of the nodes holds what the plan gives it.
func (w *world) balanced(limit time.Duration, nodes ...*node) time.Duration {
	w.t.Helper()
	start := time.Now()
	for {
		done := true
		for _, n := range nodes {
			st := n.Status()
			done = done && st.Held == st.Wanted && st.Missing == 0 && st.Wanted > 0 && st.Wanted < chat.Shards == (len(nodes) > 1)
		}
		if done {
			break
		}
		if time.Since(start) > limit {
			for _, n := range w.nodes {
				w.t.Logf("%s: %+v", n.name, n.Status())
			}
			w.t.Fatal("not balanced")
		}
		time.Sleep(50 * time.Millisecond)
	}
	took := time.Since(start)
	w.all(time.Second, nodes...)
	return took
}

func inBubble(t *testing.T, f func(*testing.T, *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		f(t, w)
	})
}
