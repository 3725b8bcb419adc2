package clustertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/zumodra/hub/client"
	"github.com/zumodra/hub/internal/cassandra"
	"github.com/zumodra/hub/internal/testcluster"
)

// lease of the clusters under test, and how long something lasts that outlasts it.
const (
	lease  = 3 * time.Second
	beyond = 3 * lease
)

// revive waits until the cluster is whole, starting again what ended by itself, as a supervisor would: a node whose incarnation
// was declared dead may choose to end.
func revive(t *testing.T, c *testcluster.Cluster) {
	t.Helper()
	from := time.Now()
	var why error
	await(t, "the cluster is whole again", func() bool {
		for _, n := range c.Running() {
			if err := n.Exit(); err != nil {
				t.Logf("%s ended by itself: %v; it is started again", n.Name, err)
				n.Kill()
				must(t, n.Start())
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := c.Settled(ctx)
		if err != nil && (why == nil || err.Error() != why.Error()) {
			t.Logf("after %v: %v", time.Since(from).Round(time.Millisecond), err)
		}
		why = err
		return err == nil
	})
	measured(t, "the cluster is whole again", "after %v", time.Since(from).Round(time.Millisecond))
}

// TestReq162_CrashOfAnyNode: kill -9 of a random node under load, again and again.
func TestReq162_CrashOfAnyNode(t *testing.T) {
	n := cycles(t)
	c := sharedCluster(t, plain)
	k := startTalk(t, c)
	for i := range n {
		victim := c.Nodes()[rand.IntN(len(c.Nodes()))]
		remove := func() {}
		if i%5 == 0 {
			remove = k.removal(i)
		}
		k.progress(30)
		wait(rand.N(300 * time.Millisecond))
		k.event(fmt.Sprintf("kill -9 %s (%d of %d)", victim.Name, i+1, n), func() {
			victim.Kill()
			if alone() {
				must(t, victim.Start())
			}
			remove()
		})
		if !victim.Runs() {
			must(t, victim.Start())
		}
		revive(t, c)
		k.progress(30)
	}
	k.finish()
}

// stubborn makes a member of a new conversation that stays with a node, whatever happens to it, and speaks to it all the time:
// what it says while the node is paused waits in the node's socket.
func (k *talk) stubborn(node *testcluster.Node) (say func(n int)) {
	t := k.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	other := k.members[0]
	m := &member{talk: k, tenant: other.tenant, name: fmt.Sprintf("%sstubborn%d", k.prefix, len(k.members)), done: make(chan error, 1)}
	m.token = introduce(t, k.c, node, m.tenant, m.name)
	m.obs = k.check.Observer(m.full(), m.full())
	var err error
	m.c, err = client.New(client.Config{URL: node.URL(), TokenSource: client.StaticToken(m.token), HTTPClient: k.c.HTTP(),
		Handler: func(e client.Event) { k.observe(m, e) }, Logger: k.logs.With("user", m.full()), FromStart: true, Window: 64,
		Backoff: client.Backoff{Min: 50 * time.Millisecond, Max: time.Second}, AckTimeout: time.Minute, PingInterval: time.Minute, PongTimeout: time.Minute})
	must(t, err)
	made, err := m.c.CreateDirect(ctx, client.UserID(other.name))
	must(t, err)
	cv := &conv{id: made.ID, tenant: m.tenant, members: []*member{m, other}, burst: true}
	k.members, k.order = append(k.members, m), append(k.order, cv)
	for _, u := range cv.members {
		u.convs = append(u.convs, cv)
		u.c.Follow(cv.id, 0)
	}
	m.run()
	must(t, m.c.WaitOnline(ctx))
	k.sends.Go(func() { k.say(other, cv, fmt.Sprintf("%s/%s/to-%s", other.tenant, other.name, m.name)) })
	sent := 0
	return func(n int) {
		for range n {
			sent++
			key := fmt.Sprintf("%s/%s/stubborn/%d", m.tenant, m.name, sent)
			// Several under way: they reach the log in their order or the checker complains; but with more than one in the
			// window the SDK does not promise it across refusals, so each is a sender of its own.
			k.sends.Go(func() { k.sayAs(key, m, cv, key) })
		}
	}
}

// TestReq160_PausedOwner: a node is stopped for longer than its lease and wakes up with commands in its sockets. It must not
// acknowledge what it no longer decides.
func TestReq160_PausedOwner(t *testing.T) { pausedOwner(t, plain, 2) }

// TestReq160_PausedOwnerStrict is the same with strict fencing: the store, not the node, sees to it. All that these clusters do
// besides (takeovers, hand-overs, edits) goes through its transactions.
func TestReq160_PausedOwnerStrict(t *testing.T) { pausedOwner(t, strict, 1) }

func pausedOwner(t *testing.T, kind string, times int) {
	cycles(t)
	c := sharedCluster(t, kind)
	k := startTalk(t, c)
	for i := range times {
		victim := c.Nodes()[rand.IntN(len(c.Nodes()))]
		say := k.stubborn(victim)
		remove := k.removal(i)
		k.progress(30)
		say(5)
		must(t, victim.Pause())
		from := time.Now()
		say(20)
		if !alone() {
			remove()
			wait(time.Until(from.Add(beyond)))
			k.writable()
			measured(t, "SIGSTOP "+victim.Name, "%v", k.outage(from, time.Now()))
		} else {
			wait(beyond)
		}
		k.event("SIGCONT "+victim.Name, func() {
			must(t, victim.Resume())
			if alone() {
				remove()
			}
		})
		revive(t, c)
		k.progress(30)
	}
	k.finish()
}

// TestReq161_NodesComeAndGo: a node is added and drained, and all are rolled, under load. No send fails, and none is lost.
func TestReq161_NodesComeAndGo(t *testing.T) {
	several(t)
	c := sharedCluster(t, plain)
	k := startTalk(t, c)
	more, err := c.Add()
	must(t, err)
	defer c.Remove(more)
	remove := k.removal(1)
	k.event("a node is added", func() {
		must(t, more.Start())
		remove()
		from := time.Now()
		settled(t, c)
		measured(t, "shards are spread over it", "after %v", time.Since(from).Round(time.Millisecond))
	})
	k.progress(100)
	k.event("it is drained", func() {
		from := time.Now()
		must(t, more.Stop(patience))
		measured(t, "it has ended", "after %v", time.Since(from).Round(time.Millisecond))
	})
	settled(t, c)
	for _, n := range c.Running() {
		k.event("rolled: "+n.Name, func() {
			from := time.Now()
			must(t, n.Stop(patience))
			measured(t, "drained", "after %v", time.Since(from).Round(time.Millisecond))
			must(t, n.Start())
			settled(t, c)
		})
		k.progress(50)
	}
	if r := k.refused.Load(); r > 0 {
		t.Errorf("%d sends failed for users of the SDK", r)
	}
	k.finish()
}

// TestReq162_StoreStops: the store's only server hangs for less and for more than a lease. With three, one dies, which is no
// outage, and then two, without which no node acknowledges anything.
func TestReq162_StoreStops(t *testing.T) {
	cycles(t)
	server, ok := cassandra.FromEnv()
	if !ok {
		t.Skip("the tests were not started with a store of their own: use make test-cluster")
	}
	c := sharedCluster(t, plain)
	k := startTalk(t, c)
	k.progress(30)
	if os.Getenv(cassandra.NodesEnv) != "1" {
		k.event("one server of the store dies", func() { must(t, server.Kill(t.Context(), 0)) })
		k.progress(100)
		k.event("and returns", func() { must(t, server.Start(t.Context(), 0)) })
		k.progress(100)
		for i := range 2 {
			must(t, server.Kill(t.Context(), i))
		}
		for _, n := range c.Running() {
			k.refuses(n)
		}
		k.event("two servers of the store died and return: since then", func() {
			for i := range 2 {
				must(t, server.Start(t.Context(), i))
			}
		})
		revive(t, c)
		k.progress(100)
	} else {
		for _, d := range []time.Duration{time.Second, beyond} {
			must(t, server.Pause(t.Context(), 0))
			wait(d)
			k.event(fmt.Sprintf("the store hung for %v: since its return", d), func() { must(t, server.Resume(t.Context(), 0)) })
			revive(t, c)
			k.progress(30)
		}
	}
	k.finish()
}
