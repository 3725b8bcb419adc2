package clustertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/internal/testcluster"
)

// TestReq163_Partition: a node is cut off from the others, in one direction and both, from the store, and from everything, and
// joins again. What it acknowledged stands; what it cannot decide it refuses.
func TestReq163_Partition(t *testing.T) {
	cycles(t)
	c := sharedCluster(t, laboratory)
	k := startTalk(t, c)
	both := func(n *testcluster.Node) {
		for _, other := range c.Running() {
			if other != n {
				must(t, c.Cut(n, other))
				must(t, c.Cut(other, n))
			}
		}
	}
	steps := []struct {
		name string
		cut  func(n *testcluster.Node)
		lone bool // the node reaches no owner that reaches the store: it must come to refuse writes
		one  bool // makes sense with one node
	}{
		{"from the store only", func(n *testcluster.Node) { must(t, n.CutStore()) }, alone(), true},
		{"from the other nodes", both, false, false},
		{"towards the other nodes", func(n *testcluster.Node) {
			for _, other := range c.Running() {
				if other != n {
					must(t, c.Cut(n, other))
				}
			}
		}, false, false},
		{"towards one other node", func(n *testcluster.Node) {
			for _, other := range c.Running() {
				if other != n {
					must(t, c.Cut(n, other))
					return
				}
			}
		}, false, false},
		{"from everything", func(n *testcluster.Node) { both(n); must(t, n.CutStore()) }, true, false},
	}
	for i, s := range steps {
		if alone() && !s.one {
			continue
		}
		victim := c.Running()[i%len(c.Running())]
		remove := func() {}
		if i == 0 || i == len(steps)-1 {
			remove = k.removal(i)
		}
		k.progress(30)
		cut := time.Now()
		s.cut(victim)
		if s.lone {
			k.refuses(victim)
		}
		wait(time.Until(cut.Add(beyond)))
		measured(t, fmt.Sprintf("%s cut off %s for %v", victim.Name, s.name, time.Since(cut).Round(time.Second)), "meanwhile: %v", k.outage(cut, time.Now()))
		k.event("healed: since then", func() {
			victim.HealStore()
			must(t, c.Heal())
			remove()
		})
		revive(t, c)
		k.progress(30)
	}
	k.finish()
}

// refuses waits until a node refuses a write, and checks that it goes on to.
func (k *talk) refuses(n *testcluster.Node) {
	t := k.t
	t.Helper()
	from := time.Now()
	cv := k.order[0]
	try := func() (int, string) {
		key := fmt.Sprintf("%s/probe/%s/%x", cv.tenant, n.Name, rand.Uint64())
		k.check.Sent(check.Send{Conversation: cv.id, Sender: "probe " + key, Key: key}) // each its own sender: one that was not answered may be stored later
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		a, err := n.Call(ctx, http.MethodPost, "messages/", cv.members[0].token, map[string]any{"conversation": cv.id, "content": key})
		if err != nil {
			return 0, err.Error()
		}
		return a.Code, string(a.Body)
	}
	await(t, n.Name+" refuses a write", func() bool { code, _ := try(); return code == 0 || code == http.StatusServiceUnavailable })
	measured(t, n.Name+" refuses writes", "after %v", time.Since(from).Round(time.Millisecond))
	for range 3 {
		if code, body := try(); code/100 == 2 {
			t.Errorf("%s, cut off from the store, accepts a write: %d %s", n.Name, code, body)
		}
	}
}

// TestReq160_ClockJump: the wall clock of one node jumps by a minute, forth and back. Leases do not go by it, and what it
// writes, or others write after it, is not lost.
func TestReq160_ClockJump(t *testing.T) {
	cycles(t)
	c := sharedCluster(t, laboratory)
	k := startTalk(t, c)
	n := c.Running()[rand.IntN(len(c.Running()))]
	for _, d := range []time.Duration{time.Minute, -time.Minute, 0} {
		k.progress(30)
		k.event(fmt.Sprintf("the clock of %s is off by %v", n.Name, d), func() { must(t, n.SetClock(d)); wait(time.Second) })
		k.progress(100)
	}
	// A node dies while its clock is ahead: whoever takes over must win against what it wrote.
	must(t, n.SetClock(time.Minute))
	k.progress(100)
	k.event("kill -9 of the one that is ahead", func() {
		n.Kill()
		if alone() {
			must(t, n.Start())
		}
	})
	must(t, n.SetClock(0))
	if !n.Runs() {
		must(t, n.Start())
	}
	revive(t, c)
	k.progress(100)
	k.finish()
}
