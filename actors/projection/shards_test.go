package projection_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/actors/projection"
	"github.com/zumodra/hub/chat"
)

// cluster is several nodes with a Runner each, on one world.
type cluster struct {
	*world
	nodes  []*node
	holder [chat.Shards]atomic.Pointer[node]
}

// node implements projection.Conversations for its shards.
type node struct {
	*world
	c      *cluster
	runner *projection.Runner
	looked int // conversations of which it asked
}

func newCluster(t *testing.T, n int, names ...string) *cluster {
	c := &cluster{world: newWorld(t, projection.Config{Page: 64, Batch: 16}, names...)}
	for range n {
		c.join()
	}
	return c
}

func (c *cluster) join() *node {
	n := &node{world: c.world, c: c}
	config := c.config
	config.Conversations, config.Store = n, c.world
	config.Owns = func(shard int) bool { return c.holder[shard].Load() == n }
	for _, x := range c.consumers {
		config.Consumers = append(config.Consumers, x)
	}
	n.runner = projection.New(config)
	if err := n.runner.Prepare(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	n.runner.Start()
	c.nodes = append(c.nodes, n)
	return n
}

func (c *cluster) close() {
	for _, n := range c.nodes {
		n.runner.Close()
	}
}

// move hands a shard over; gracefully, or after nothing is under way.
func (c *cluster) move(shard int, to *node, graceful bool) {
	set := new(chat.ShardSet)
	set.Add(shard)
	if from := c.holder[shard].Load(); from != nil {
		if graceful {
			from.runner.Release(c.t.Context(), set)
			c.holder[shard].Store(nil)
		} else {
			synctest.Wait()
			c.holder[shard].Store(nil)
			from.runner.Drop(set)
		}
	}
	c.holder[shard].Store(to)
	to.runner.Gained(shard)
}

func (c *cluster) commitOn(k chat.ConversationKey, n int) {
	c.world.runner = c.holder[k.Shard()].Load().runner
	c.commit(k, n)
}

func (n *node) Positions(ctx context.Context, keys []chat.ConversationKey, told []uint64) ([]projection.Position, error) {
	out, err := n.world.Positions(ctx, keys, told)
	n.mu.Lock()
	n.looked += len(keys)
	n.mu.Unlock()
	for i := range out {
		if n.c.holder[keys[i].Shard()].Load() != n {
			out[i] = projection.Position{Later: true}
		}
	}
	return out, err
}

func (n *node) Followed(ctx context.Context, list []projection.Followed) (failed []chat.ConversationKey) {
	for _, x := range list {
		if n.c.holder[x.Key.Shard()].Load() != n {
			failed = append(failed, x.Key)
			continue
		}
		failed = append(failed, n.world.Followed(ctx, []projection.Followed{x})...)
	}
	return failed
}

func (c *cluster) eventually(what string, done func() bool) {
	c.t.Helper()
	for i := 0; !done(); i++ {
		if i == 3000 {
			for _, n := range c.nodes {
				c.t.Logf("%+v", n.runner.Stats())
			}
			c.t.Fatalf("never: %s (%d marks)", what, c.marked())
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// fed waits until everybody has everything and nothing is marked.
func (c *cluster) fed() {
	c.t.Helper()
	c.eventually("everything is fed", func() bool {
		if c.marked() > 0 {
			return false
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, x := range c.consumers {
			for k, log := range c.logs {
				if x.cursor(k) != uint64(len(log)) {
					return false
				}
			}
		}
		return true
	})
}

func (c *cluster) rows() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, st := range c.states {
		if st.Complete && len(name) > 2 {
			n++
		}
	}
	return n
}

func TestEachNodeFeedsItsShards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, "a", "b")
		defer c.close()
		for i := range chat.Shards {
			c.move(i, c.nodes[i%2], true)
		}
		for i := range 300 {
			c.commitOn(key(i), 2)
		}
		c.fed()
		c.eventually("all shards are remembered as fed", func() bool { return c.rows() == 2*chat.Shards })
		for _, n := range c.nodes {
			if n.looked == 0 || n.looked > 2000 {
				t.Errorf("a node asked for %d conversations", n.looked)
			}
		}
		if err := c.nodes[0].runner.Rebuild("a"); !errors.Is(err, projection.ErrScattered) {
			t.Error(err)
		}
	})
}

// A shard that moves takes its marks along, and is not fed from the beginning by its new owner if it was fed before.
func TestShardsMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, "a")
		defer c.close()
		for i := range chat.Shards {
			c.move(i, c.nodes[i%2], true)
		}
		for i := range 200 {
			c.commitOn(key(i), 1)
		}
		c.fed()
		c.eventually("all shards are remembered as fed", func() bool { return c.rows() == chat.Shards })
		c.consumers[0].set(func(x *consumer) { x.down = true })
		for i := range 50 {
			c.commitOn(key(i), 1)
		}
		time.Sleep(time.Second)
		for i := range chat.Shards {
			c.move(i, c.nodes[2], i%3 == 0)
		}
		time.Sleep(time.Minute)
		for _, n := range c.nodes[:2] {
			if s := n.runner.Stats()[0]; s.Waiting > 0 || s.Lag != 0 {
				t.Errorf("%+v waits where nothing is owned", s)
			}
		}
		c.consumers[0].set(func(x *consumer) { x.down = false })
		c.fed()
		if got := c.nodes[2].looked; got > 1000 {
			t.Errorf("%d conversations were looked at", got)
		}
	})
}

// While everything is fed anew, shards move, nodes come, nodes go, and changes go on.
func TestFeedingAnewWhileShardsMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, "a", "b")
		defer c.close()
		for i := range chat.Shards {
			c.move(i, c.nodes[i%2], true)
		}
		for i := range 400 {
			c.commitOn(key(i), 3)
		}
		c.fed()
		c.eventually("all shards are remembered as fed", func() bool { return c.rows() == 2*chat.Shards })
		c.consumers[0].set(func(x *consumer) { x.data, x.generation, x.slow = data{}, 1, 5*time.Millisecond })
		rng := rand.New(rand.NewPCG(1, 2))
		for i := range 300 {
			time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond)
			switch {
			case i == 100:
				c.join()
			case i == 200: // a node dies
				dead := c.nodes[0]
				dead.runner.Close()
				for s := range chat.Shards {
					if c.holder[s].Load() == dead {
						c.holder[s].Store(nil)
						c.move(s, c.nodes[1], true)
					}
				}
				c.nodes = c.nodes[1:]
			}
			c.move(key(rng.IntN(400)).Shard(), c.nodes[rng.IntN(len(c.nodes))], true)
			c.commitOn(key(rng.IntN(400)), 1)
		}
		c.fed()
		c.eventually("all shards are remembered as fed", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			for s := range chat.Shards {
				if st := c.states[fmt.Sprint("a/", s)]; !st.Complete || st.Generation != "1" {
					return false
				}
			}
			return true
		})
	})
}

// What a node remembered that was alone holds for all shards; a node that is alone again does not go by what is
// remembered of shards.
func TestAloneAndTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 0, "a")
		c.start()
		for i := range 100 {
			c.commit(key(i), 1)
		}
		c.settled()
		c.stop()
		n := c.join()
		for i := range chat.Shards {
			c.move(i, n, true)
		}
		c.commitOn(key(1), 1)
		c.fed()
		if n.looked > 20 || c.rows() > 0 {
			t.Errorf("%d conversations were looked at, %d shards remembered", n.looked, c.rows())
		}
		if err := n.runner.Rebuild("a"); err != nil { // it has all shards
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if st, _ := n.runner.RebuildStatus("a"); st.Phase != projection.PhaseDone {
			t.Errorf("%+v", st)
		}
		c.consumers[0].set(func(x *consumer) { x.data, x.generation = data{}, 7 })
		time.Sleep(2 * time.Minute)
		c.fed()
		c.eventually("all shards are remembered as fed", func() bool { return c.rows() == chat.Shards })
		c.close()
		c.start()
		c.settled()
		c.consumers[0].set(func(x *consumer) { x.data, x.generation = data{}, 8 })
		time.Sleep(2 * time.Minute)
		c.settled()
		if c.rows() > 0 {
			t.Errorf("%d shards are remembered of other data", c.rows())
		}
		c.stop()
	})
}
