package actors_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/chat"
)

// tab is what nodes were told that users spent elsewhere.
type tab struct {
	mu      sync.Mutex
	total   map[chat.UserKey]float64
	parcels map[chat.NodeID]int // by who was told
	held    []func()            // for the node that is slow
}

// bill is n nodes of which one, if not 0, takes what it is told only by release.
func bill(t *testing.T, n int, slow chat.NodeID) (*grid, *tab) {
	x := &tab{total: map[chat.UserKey]float64{}, parcels: map[chat.NodeID]int{}}
	g := newGrid(t, n, actors.Config{Charged: func(k chat.UserKey, n float64) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.total[k] += n
	}})
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hold = func(_, to chat.NodeID, p chat.Parcel, hand func()) bool {
		if _, ok := p.(*chat.Charges); !ok {
			return false
		}
		x.mu.Lock()
		defer x.mu.Unlock()
		x.parcels[to]++
		if to == slow {
			x.held = append(x.held, hand)
		}
		return to == slow
	}
	return g, x
}

func (x *tab) of(u chat.UserID) float64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.total[as(u).Key()]
}

func (x *tab) waiting() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.held)
}

// release lets through what is held now.
func (x *tab) release() {
	x.mu.Lock()
	held := x.held
	x.held = nil
	x.mu.Unlock()
	for _, hand := range held {
		hand()
	}
}

// What a user spends of the rate limit on one node is told to the others, all of it, and not to that one.
func TestReq118_SpendingIsToldToOtherNodes(t *testing.T) {
	g, x := bill(t, 3, 0)
	for range 30 {
		g.nodes[0].Spent(as("1").Key())
	}
	g.nodes[1].Spent(as("2").Key())
	eventually(t, "both other nodes know", func() bool { return x.of("1") == 60 && x.of("2") == 2 })
}

// A node that is slow is told one thing at a time, and in the end all; it is no matter for the others.
func TestReq118_SlowNodesAreToldInSum(t *testing.T) {
	g, x := bill(t, 3, 2)
	const rounds, each = 40, 10
	for round := range rounds {
		for range each {
			g.nodes[0].Spent(as("1").Key())
			g.nodes[0].Spent(as("2").Key())
		}
		eventually(t, "the fast node", func() bool { return x.of("1") == float64((round+1)*each) })
		if n := x.waiting(); n > 1 {
			t.Fatalf("%d parcels are on their way to a node", n)
		}
	}
	eventually(t, "the gathering to end", func() bool {
		s := g.nodes[0].Stats().Charges
		return s.UnderWay == 1 && s.Waiting == 2
	})
	eventually(t, "all is told", func() bool {
		x.release()
		return x.of("1") == 2*rounds*each && x.of("2") == 2*rounds*each
	})
	eventually(t, "nothing is under way", func() bool { return g.nodes[0].Stats().Charges.UnderWay == 0 })
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.parcels[2] > 2+1 { // the first may have been followed by one that was on the way when it returned
		t.Errorf("the slow node got %d parcels", x.parcels[2])
	}
	if s := g.nodes[0].Stats().Charges; s.Dropped+s.Lost > 0 || s.Waiting > 0 {
		t.Errorf("%+v", s)
	}
}

// What waits for a node that takes nothing is bounded; what goes beyond is dropped and counted.
func TestChargesAreBounded(t *testing.T) {
	g, x := bill(t, 2, 2)
	m := g.nodes[0]
	m.Spent(as("1").Key())
	eventually(t, "a parcel on its way", func() bool { return x.waiting() == 1 })
	const users = 40_000
	for i := range users {
		m.Spent(as(chat.UserID(fmt.Sprint("u", i))).Key())
	}
	eventually(t, "the bound", func() bool {
		s := m.Stats().Charges
		return s.Dropped > 0 && s.Waiting+int(s.Dropped) == users
	})
	s := m.Stats().Charges
	if s.Waiting > 2*16<<10 || x.waiting() != 1 {
		t.Errorf("%+v", s)
	}
	eventually(t, "the rest is told", func() bool {
		x.release()
		x.mu.Lock()
		defer x.mu.Unlock()
		return len(x.total)+int(m.Stats().Charges.Dropped) == users+1
	})
}

// A node that has left is owed nothing, and one that does not confirm is told what comes after.
func TestChargesToNodesThatFail(t *testing.T) {
	g, x := bill(t, 2, 2)
	m := g.nodes[0]
	m.Spent(as("1").Key())
	eventually(t, "a parcel on its way", func() bool { return x.waiting() == 1 })
	m.Spent(as("1").Key())
	eventually(t, "what waits", func() bool { return m.Stats().Charges.Waiting == 1 })
	if err := g.nodes[1].Close(bg); err != nil { // it refuses from now on
		t.Fatal(err)
	}
	eventually(t, "both were refused", func() bool {
		x.release()
		s := m.Stats().Charges
		return s.Lost == 2 && s.UnderWay == 0 && s.Waiting == 0
	})
}
