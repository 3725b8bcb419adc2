package actors_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/actors/internal/faultstore"
	"github.com/zumodra/hub/chat"
)

// grid is several hubs over one store, which share its shards and ask one another. A test moves shards.
type grid struct {
	t     testing.TB
	store *faultstore.Store
	nodes []*member

	mu    sync.Mutex
	owner [chat.Shards]chat.NodeID
	epoch [chat.Shards]uint64
	shut  bool           // owners take nothing new: their shards are about to move
	asked map[string]int // questions that went from one node to another
	// hold, if set, may keep a parcel on its way. mu is held.
	hold func(from, to chat.NodeID, p chat.Parcel, hand func()) bool
}

// member is one node. Questions to it are handled in their order.
type member struct {
	*rig
	id   chat.NodeID
	grid *grid
	gone bool // nobody reaches it
	in   chan func()

	mu    sync.Mutex
	lines map[int][]*attempt // commands to a shard go one after the other
}

// newGrid starts n nodes. Each owns every n-th shard.
func newGrid(t testing.TB, n int, c actors.Config) *grid {
	t.Helper()
	c.Patience = cmp.Or(c.Patience, time.Minute) // which only a hang should end
	g := &grid{t: t, store: faultstore.New(), asked: map[string]int{}}
	for s := range g.owner {
		g.owner[s], g.epoch[s] = chat.NodeID(s%n+1), 1
	}
	quit := make(chan struct{})
	var handlers sync.WaitGroup
	t.Cleanup(func() {
		close(quit)
		handlers.Wait()
	})
	for i := range n {
		m := &member{id: chat.NodeID(i + 1), grid: g, in: make(chan func(), 1<<14), lines: map[int][]*attempt{}}
		g.nodes = append(g.nodes, m)
		handlers.Go(func() {
			for {
				select {
				case f := <-m.in:
					f()
				case <-quit:
					return
				}
			}
		})
	}
	for _, m := range g.nodes {
		c := c
		c.Store, c.People, c.Cluster = g.store, g.store, link{m}
		r := newRig(t, c)
		g.mu.Lock()
		m.rig = r
		g.mu.Unlock()
	}
	return g
}

func (g *grid) ownerOf(shard int) *member {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.nodes[g.owner[shard]-1]
}

// at is the node that owns a conversation, and apart one that does not.
func (g *grid) at(c chat.ConversationID) *member { return g.ownerOf(keyOf(c).Shard()) }
func (g *grid) home(u chat.UserID) *member       { return g.ownerOf(as(u).Key().Shard()) }
func (g *grid) apart(c chat.ConversationID) *member {
	return g.nodes[int(g.at(c).id)%len(g.nodes)]
}

func (g *grid) questions(name string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked[name]
}

// link is the cluster as one node sees it.
type link struct{ *member }

func (l link) Self() chat.NodeID { return l.id }

func (l link) Term(shard int) (uint64, bool) {
	g := l.grid
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.epoch[shard], g.owner[shard] == l.id && !g.shut
}

func (l link) MayAck(shard int, epoch uint64) bool {
	g := l.grid
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.owner[shard] == l.id && (epoch == 0 || g.epoch[shard] == epoch)
}

func (l link) Owner(shard int) chat.NodeID {
	g := l.grid
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.owner[shard]
}

func (l link) Edges() (out []chat.NodeID) {
	for _, m := range l.grid.nodes {
		out = append(out, m.id)
	}
	return out
}

// Parcel brings what directories send one another to hubs that take it.
func (l link) Parcel(node chat.NodeID, p chat.Parcel, done func(error)) {
	to := l.grid.nodes[node-1]
	l.grid.mu.Lock()
	r := to.rig
	hand := func() { to.in <- func() { r.Receive(l.id, p, done) } }
	held := r != nil && l.grid.hold != nil && l.grid.hold(l.id, node, p, hand)
	l.grid.mu.Unlock()
	switch {
	case r == nil: // it is about to start
		done(chat.ErrUnavailable)
	case !held:
		hand()
	}
}

// Ask tries until somebody answers or the time is up.
func (l link) Ask(ctx context.Context, shard int, q chat.Question, done func(chat.Answer, error)) {
	a := &attempt{link: l, ctx: ctx, shard: shard, q: q, done: done}
	context.AfterFunc(ctx, func() {
		a.end(nil, fmt.Errorf("%w: nobody answered: %w", chat.ErrUnavailable, ctx.Err()))
	})
	if _, ok := q.(chat.CarryOut); !ok {
		a.try()
		return
	}
	l.mu.Lock()
	line := append(l.lines[shard], a)
	l.lines[shard] = line
	l.mu.Unlock()
	if len(line) == 1 {
		a.try()
	}
}

type attempt struct {
	link
	ctx   context.Context
	shard int
	q     chat.Question
	done  func(chat.Answer, error)
	once  sync.Once
}

func (a *attempt) end(answer chat.Answer, err error) {
	a.once.Do(func() {
		var next *attempt
		a.mu.Lock()
		if i := slices.Index(a.lines[a.shard], a); i >= 0 {
			line := slices.Delete(a.lines[a.shard], i, i+1)
			if a.lines[a.shard] = line; i == 0 && len(line) > 0 {
				next = line[0]
			}
		}
		a.mu.Unlock()
		a.done(answer, err)
		if next != nil {
			next.try()
		}
	})
}

func (a *attempt) try() {
	if a.ctx.Err() != nil {
		return
	}
	to := a.grid.ownerOf(a.shard)
	a.grid.mu.Lock()
	gone := to.gone
	if to != a.member {
		a.grid.asked[a.q.Name()]++
	}
	a.grid.mu.Unlock()
	if gone {
		a.again()
		return
	}
	to.in <- func() {
		var times sync.Once
		to.Answer(a.ctx, a.shard, a.q, func(answer chat.Answer, err error) {
			first := false
			times.Do(func() { first = true })
			if !first {
				a.grid.t.Errorf("%s was answered twice", a.q.Name())
			}
			if errors.Is(err, chat.ErrMoved) || errors.Is(err, chat.ErrShutdown) {
				a.again()
				return
			}
			a.end(answer, err)
		})
	}
}

func (a *attempt) again() { time.AfterFunc(2*time.Millisecond, a.try) }

// move gives every shard another owner, once what is in memory has left it. It needs a short Config.Idle.
func (g *grid) move() {
	g.mu.Lock()
	g.shut = true
	g.mu.Unlock()
	eventually(g.t, "all left memory", func() bool {
		// Who was let in before comes into memory at any time, but is told nothing once the owners are others.
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, m := range g.nodes {
			if m.InMemory() > 0 {
				return false
			}
		}
		for s := range g.owner {
			g.owner[s] = g.owner[s]%chat.NodeID(len(g.nodes)) + 1
			g.epoch[s]++
		}
		g.shut = false
		return true
	})
}

// take gives the shards of a node that nobody reaches any more to another one.
func (g *grid) take(from, to *member) (shards []int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	from.gone = true
	for s := range g.owner {
		if g.owner[s] == from.id {
			g.owner[s] = to.id
			g.epoch[s]++
			shards = append(shards, s)
		}
	}
	return shards
}

func (g *grid) reach(m *member, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m.gone = !ok
}

// everywhere runs a test with each node as the one that a client is connected to.
func (g *grid) everywhere(f func(m *member)) {
	g.t.Helper()
	for _, m := range g.nodes {
		f(m)
	}
}

// online opens a session of a user on a node, for all conversations.
func (g *grid) online(m *member, u chat.UserID, s chat.SessionID) (leave func()) {
	m.session(u, chat.ConversationID{}, s)
	return func() {
		m.Unregister(as(u).Key(), chat.ConversationID{}, s)
		m.Exit(as(u).Key())
	}
}
