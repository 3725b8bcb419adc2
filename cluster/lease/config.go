package lease

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/zumodra/hub/chat"
)

// Config of a Manager. Name and Store are required.
type Config struct {
	// Self is this life of the node; default: a random one. No other may ever have had it.
	Self chat.NodeID
	// Name of the node, the same in all its lives and of no other node.
	Name  string
	Store Store

	// Duration for which a renewal holds; default 6 s. It is renewed three times as often. A node that dies is declared
	// dead within 1.2 durations and some round trips.
	Duration time.Duration
	// Now is a clock that also counts while the machine sleeps (CLOCK_BOOTTIME); default: Go's monotonic clock, which
	// may not. It must be fast: every Term and MayAck asks it.
	Now func() time.Duration
	// Clock and Raise connect to the store's clock of writes, microseconds, if it has one: whoever takes a shard raises
	// its own beyond all that the holder before may have used.
	Clock func() int64
	Raise func(int64)
	// Floor is an epoch that all shards' epochs are above: that of a lease from before there were shards.
	Floor uint64

	// Gained is told that this node serves a shard from now on. It must not block.
	Gained func(shard int, epoch uint64)
	// Release makes shards ready for another node: nothing of them is live when it returns, whatever it had to give up
	// when ctx ended. Meanwhile Term answers false for them, and MayAck still true, so that what is under way can be
	// acknowledged. It may be called for several disjoint sets at once.
	Release func(ctx context.Context, shards []int)
	// Lost is told that shards are no longer this node's, without having been released: their state must be dropped at
	// once. MayAck already answers false. It must not block. Release may be running for some of them.
	Lost func(shards []int)
	// Released is told that shards are free for a node, which should be told to Refresh. It must not block.
	Released func(shards []int, to chat.NodeID)

	Settle  time.Duration // nodes that join are waited for until none did for so long; default 2 s
	Pace    time.Duration // between two changes of the plan because of joins; default 10 s
	Poll    time.Duration // between reads of the owners while shards are missing that may become free; default 200 ms
	Refresh time.Duration // between reads of the owners otherwise; default 5 s
	// Parallel is how many rows of shards are written at once; default 32. Shards that are equal modulo Parallel are
	// written one after another: a store may keep them together, where transactions get in each other's way.
	Parallel int
	// Batch is how many shards are released at once; default 64. They are nobody's for the time that a flush takes.
	Batch int
	// ReleaseTimeout ends the context of Release; default Duration.
	ReleaseTimeout time.Duration
	// Keep is how long rows of ended lives are kept; default 1 h.
	Keep time.Duration
	// Logger; default discard.
	Logger *slog.Logger
}

func (c *Config) defaults() error {
	if c.Name == "" || c.Store == nil {
		return errors.New("lease: a name and a store are needed")
	}
	for c.Self == 0 {
		c.Self = chat.NodeID(rand.Uint64())
	}
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{{&c.Duration, 6 * time.Second}, {&c.Settle, 2 * time.Second}, {&c.Pace, 10 * time.Second}, {&c.Poll, 200 * time.Millisecond},
		{&c.Refresh, 5 * time.Second}, {&c.Keep, time.Hour}} {
		if *d.value <= 0 {
			*d.value = d.usual
		}
	}
	c.Duration = max(c.Duration.Truncate(time.Microsecond), time.Millisecond) // as exact as a store may keep it
	if c.ReleaseTimeout <= 0 {
		c.ReleaseTimeout = c.Duration
	}
	if c.Parallel <= 0 {
		c.Parallel = 32
	}
	if c.Batch <= 0 {
		c.Batch = 64
	}
	if c.Now == nil {
		start := time.Now()
		c.Now = func() time.Duration { return time.Since(start) }
	}
	if c.Clock == nil {
		c.Clock = func() int64 { return 0 }
	}
	if c.Raise == nil {
		c.Raise = func(int64) {}
	}
	if c.Gained == nil {
		c.Gained = func(int, uint64) {}
	}
	if c.Release == nil {
		c.Release = func(context.Context, []int) {}
	}
	if c.Lost == nil {
		c.Lost = func([]int) {}
	}
	if c.Released == nil {
		c.Released = func([]int, chat.NodeID) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// margin for clocks that run at different rates: the holder stops so much before its duration is over, and others wait
// so much longer.
func margin(duration time.Duration) time.Duration { return duration / 10 }

// attempt bounds one call of the store, so that one that hangs does not keep the next from being made in time.
func (c *Config) attempt(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.Duration/4)
}
