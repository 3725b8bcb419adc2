package lease

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/chat"
)

// hintWait is how long the node that a shard was released for leaves it to the one that its own plan names, if that is
// not the one that released it.
const hintWait = time.Second

// takeShards reads, and takes what this node should have, until the end.
func (m *Manager) takeShards(ctx context.Context) {
	t := taker{m: m, owners: never, leases: never}
	for {
		timer := time.NewTimer(t.step(ctx))
		select {
		case <-timer.C:
		case <-m.wake:
		case <-m.draining:
			timer.Stop()
			return
		case <-m.dead:
			timer.Stop()
			return
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// taker is the state of takeShards.
type taker struct {
	m              *Manager
	owners, leases time.Duration // when they were tried to be read last
	read           bool          // the owners, ever
	changed        bool          // the plan, since the owners were read
	blind          bool          // the leases could not be read when they were last tried
	lapses         int
	lacked         int           // shards missing at the last step
	lacking        time.Duration // since when as many
}

// replan makes the plan anew, if this node may judge, and returns when to do it again.
func (t *taker) replan(now time.Duration) (due time.Duration) {
	if !t.sighted() {
		return 0
	}
	changed, due := t.m.replan(now)
	t.changed = t.changed || changed
	return due
}

// sighted reports whether this node may judge who is there: its own lease holds, and it has read those of others since
// it last did not. While nobody reaches the store, all others would seem to be gone.
func (t *taker) sighted() bool {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	return !t.blind && t.leases != never && t.m.valid() && t.lapses == t.m.lapses
}

// hasty is for how many polls without change owners are read in haste: who holds the shards may see other members, and
// keep them for long.
const hasty = 100

// pace is how long to wait between reads of the owners.
func (t *taker) pace(now time.Duration) (missing bool, every time.Duration) {
	m := t.m
	n, soon := m.missing()
	if n != t.lacked {
		t.lacked, t.lacking = n, now
	}
	switch every = m.cfg.Refresh; {
	case n > 0 && soon && now-t.lacking < hasty*m.cfg.Poll:
		every = m.cfg.Poll
	case n > 0:
		every = min(every, m.cfg.Duration/10)
	}
	if m.asked.Load() {
		every = min(every, m.cfg.Poll/2)
	}
	return n > 0, every
}

// step does what is due and returns how long to wait.
func (t *taker) step(ctx context.Context) time.Duration {
	m := t.m
	now := m.cfg.Now()
	due := t.replan(now)
	watch := m.cfg.Duration / 10
	missing, every := t.pace(now)
	if t.changed || !t.read {
		every = 0
	}
	owners := now-m.cfg.Poll/2 >= t.owners && now-every >= t.owners
	leases := now-watch >= t.leases || owners && missing
	if owners {
		t.owners = now
		m.asked.Store(false)
		if err := m.readOwners(ctx); err != nil {
			m.complain(ctx, "the owners of shards could not be read", err)
		} else {
			t.read, t.changed = true, false
		}
	}
	if leases {
		t.leases = now
		if err := m.readLeases(ctx, &t.lapses); err != nil {
			m.complain(ctx, "the leases of nodes could not be read", err)
			t.blind = true
		} else {
			t.blind = false
			due = t.replan(m.cfg.Now()) // perhaps somebody's lease is over
		}
	}
	if t.read && (owners || leases) && t.sighted() {
		m.take(ctx)
		if leases {
			m.keepHouse(ctx)
		}
	}
	poke(m.free)
	now = m.cfg.Now()
	if _, every = t.pace(now); t.changed {
		every = m.cfg.Poll / 2
	}
	wait := min(t.owners+every, t.leases+watch) - now
	if due > 0 {
		wait = min(wait, due-now)
	}
	return max(wait, time.Millisecond)
}

func (m *Manager) complain(ctx context.Context, what string, err error) {
	if ctx.Err() == nil {
		m.counts.failures.Add(1)
		m.cfg.Logger.Warn(what, "node", m.cfg.Name, "error", err)
	}
}

// missing is how many shards this node should have and does not hold, and whether some may become free before a lease
// runs out.
func (m *Manager) missing() (n int, soon bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.shards {
		s := &m.shards[i]
		if s.epoch == 0 && (m.plan.ID(i) == m.cfg.Self || s.row.Released && s.row.Heir == m.cfg.Self) {
			n++
			soon = soon || s.row.Epoch == 0 || s.row.Released || planned(m.plan, s.row.Node)
		}
	}
	return n, soon
}

// readOwners brings the rows of all shards up to date.
func (m *Manager) readOwners(ctx context.Context) error {
	attempt, cancel := m.cfg.attempt(ctx)
	rows, err := m.cfg.Store.Owners(attempt)
	cancel()
	if err != nil {
		return err
	}
	m.mu.Lock()
	now := m.cfg.Now()
	var lost []int
	for _, row := range rows {
		if row.Shard < 0 || row.Shard >= chat.Shards {
			continue
		}
		m.learn(row, now)
		if s := &m.shards[row.Shard]; s.epoch != 0 && s.taken() {
			lost = append(lost, row.Shard)
		}
	}
	m.mu.Unlock()
	m.lose(lost)
	return nil
}

// learn takes notice of a row, unless a newer one is known: reads may be overtaken by swaps. m.mu is held.
func (m *Manager) learn(row Owner, now time.Duration) {
	s := &m.shards[row.Shard]
	switch {
	case row == s.row:
		s.at = now
	case row.Epoch > s.row.Epoch, row.Epoch == s.row.Epoch && row.Released && !s.row.Released:
		s.row, s.at, s.since = row, now, now
		m.publish(row.Shard)
	}
}

// publish sets what Owner answers. m.mu is held.
func (m *Manager) publish(i int) {
	s := &m.shards[i]
	owner := s.row.Node
	switch {
	case s.row.Epoch == 0:
		owner = 0
	case s.row.Released:
		owner = s.row.Heir
		if w := m.nodes[owner]; w != nil && w.row.State != Alive {
			owner = 0
		}
	case m.over(s):
		owner = 0
	}
	m.owners[i].Store(uint64(owner))
}

// take takes what this node should have and may have.
func (m *Manager) take(ctx context.Context) {
	for range 2 {
		free, expired := m.takeable()
		for _, row := range expired {
			m.declare(ctx, row)
		}
		if len(expired) > 0 {
			free, _ = m.takeable()
		}
		if len(free) == 0 {
			return
		}
		if m.lanes(free, func(lane []int) bool { return m.takeLane(ctx, lane) }) {
			return
		}
	}
}

// takeLane takes shards, or finds out who has them. It reports false if the store did not answer, or this node may take
// nothing any more.
func (m *Manager) takeLane(ctx context.Context, lane []int) bool {
	return m.swapLane(ctx, lane, "shards could not be taken", m.claim, func(found Owner, hinted bool) {
		if found.Node == m.cfg.Self && !found.Released {
			m.gain(found, hinted)
		}
	})
}

// swap is what is to become of a shard's row.
type swap struct {
	old, next Owner
	hinted    bool
	done      bool // there is nothing to write: next is old
}

// swapLane swaps the rows of a lane, all at once if the store can, else one after the other. plan tells what for, false if
// nothing may be written any more; tell is called with what the row is afterwards. It reports whether all went well.
func (m *Manager) swapLane(ctx context.Context, lane []int, what string, plan func(i int) (swap, bool), tell func(found Owner, hinted bool)) bool {
	if len(lane) > 1 {
		swaps := make([]swap, 0, len(lane))
		var old, next []Owner
		for _, i := range lane {
			x, ok := plan(i)
			if !ok || ctx.Err() != nil {
				return false
			}
			swaps = append(swaps, x)
			if !x.done {
				old, next = append(old, x.old), append(next, x.next)
			}
		}
		applied := len(old) == 0
		if !applied {
			attempt, cancel := m.cfg.attempt(ctx)
			var err error
			applied, err = m.cfg.Store.SwapOwners(attempt, old, next)
			cancel()
			if err != nil {
				m.complain(ctx, what, err)
				return false
			}
		}
		if applied {
			for i := range swaps {
				m.swapped(&swaps[i], swaps[i].next, tell)
			}
			return true
		}
	}
	for _, i := range lane {
		x, ok := plan(i)
		if !ok || ctx.Err() != nil {
			return false
		}
		found := x.next
		if !x.done {
			attempt, cancel := m.cfg.attempt(ctx)
			row, applied, err := m.cfg.Store.SwapOwner(attempt, x.old, x.next)
			cancel()
			if err != nil {
				m.complain(ctx, what, err)
				return false
			}
			if !applied {
				found = row
			}
		}
		m.swapped(&x, found, tell)
	}
	return true
}

func (m *Manager) swapped(x *swap, found Owner, tell func(Owner, bool)) {
	m.mu.Lock()
	m.learn(found, m.cfg.Now())
	m.mu.Unlock()
	tell(found, x.hinted)
}

// takeable returns the shards that this node should have and may take, and the leases that ran out and stand in the way
// of more.
func (m *Manager) takeable() (free []int, expired []NodeLease) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.leave || m.ended || !m.valid() {
		return nil, nil
	}
	now := m.cfg.Now()
	asked := make(map[chat.NodeID]bool)
	for i := range m.shards {
		s := &m.shards[i]
		plan := m.plan.ID(i)
		hint := s.row.Released && s.row.Heir == m.cfg.Self && (plan == 0 || plan == s.row.Node || now-s.since >= hintWait)
		mine := s.row.Node == m.cfg.Self && s.row.Epoch > s.renounced && !s.row.Released // a swap of unknown outcome was made
		switch {
		case s.epoch != 0 || plan != m.cfg.Self && !hint && !mine:
		case mine, s.row.Epoch == 0, s.row.Released, m.over(s):
			free = append(free, i)
		default:
			if w := m.nodes[s.row.Node]; w != nil && w.ranOut(now) && !asked[s.row.Node] {
				asked[s.row.Node] = true
				expired = append(expired, w.row)
			}
		}
	}
	return free, expired
}

// claim is how a shard's row is to change for this node to serve it; false if it may take none.
func (m *Manager) claim(i int) (swap, bool) {
	m.mu.Lock()
	old, floor := m.shards[i].row, m.shards[i].row.Clock
	if w := m.nodes[old.Node]; w != nil && !old.Released {
		last := w.row.Clock
		if w.row.State != Released { // it may have written as long as its lease held
			last += (w.row.Duration + margin(w.row.Duration)).Microseconds()
		}
		floor = max(floor, last)
	}
	may := !m.leave && !m.ended && m.valid()
	hinted := m.plan.ID(i) != m.cfg.Self
	m.mu.Unlock()
	if !may {
		return swap{}, false
	}
	if old.Node == m.cfg.Self && !old.Released {
		return swap{old: old, next: old, hinted: hinted, done: true}, true
	}
	m.cfg.Raise(floor)
	next := Owner{Shard: i, Node: m.cfg.Self, Epoch: max(old.Epoch, m.cfg.Floor) + 1, Clock: m.cfg.Clock()}
	return swap{old: old, next: next, hinted: hinted}, true
}

// gain begins to serve a shard whose row names this node.
func (m *Manager) gain(row Owner, hinted bool) {
	m.hooks.Lock()
	defer m.hooks.Unlock()
	m.mu.Lock()
	s := &m.shards[row.Shard]
	if m.ended || s.epoch != 0 || row.Epoch <= s.renounced || s.row != row {
		m.mu.Unlock()
		return
	}
	s.epoch, s.gained, s.hinted = row.Epoch, m.cfg.Now(), hinted
	m.terms[row.Shard].Store(row.Epoch)
	m.counts.taken.Add(1)
	m.mu.Unlock()
	m.cfg.Gained(row.Shard, row.Epoch)
}

// lanes calls f for shards, those that are equal modulo Parallel at once. It reports whether f always did well.
func (m *Manager) lanes(shards []int, f func(lane []int) bool) bool {
	lanes := make(map[int][]int)
	for _, i := range shards {
		lanes[i%m.cfg.Parallel] = append(lanes[i%m.cfg.Parallel], i)
	}
	var wg sync.WaitGroup
	var ill atomic.Bool
	for _, lane := range lanes {
		wg.Go(func() {
			if !f(lane) {
				ill.Store(true)
			}
		})
	}
	wg.Wait()
	return !ill.Load()
}
