package lease

import (
	"context"
	"slices"
	"sync"

	"github.com/zumodra/hub/chat"
)

// releaseShards gives away, batch by batch, what others should have, until the end.
func (m *Manager) releaseShards(ctx context.Context) {
	for {
		select {
		case <-m.draining:
			return
		default:
		}
		if shards, to := m.surplus(); len(shards) > 0 {
			m.release(ctx, shards, func(int) chat.NodeID { return to })
			continue
		}
		if left := m.unfinished(); len(left) > 0 {
			m.finish(ctx, left, m.heir)
		}
		select {
		case <-m.free:
		case <-m.draining:
			return
		case <-m.dead:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (m *Manager) heir(i int) chat.NodeID {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.plan.ID(i)
}

// surplus returns a batch of shards that one other node should have, which is there to take them.
func (m *Manager) surplus() (shards []int, to chat.NodeID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended || !m.valid() {
		return nil, 0
	}
	now := m.cfg.Now()
	for i := range m.shards {
		s, heir := &m.shards[i], m.plan.ID(i)
		if s.epoch == 0 || heir == m.cfg.Self || heir == 0 || to != 0 && heir != to {
			continue
		}
		if s.hinted && now-s.gained < m.cfg.Pace {
			continue // nodes are of different minds about it; not too often
		}
		if w := m.nodes[heir]; w == nil || w.row.State != Alive || w.ranOut(now) {
			continue // it could not take it
		}
		to, shards = heir, append(shards, i)
		if len(shards) == m.cfg.Batch {
			break
		}
	}
	return shards, to
}

// unfinished returns shards that this node has stopped to serve but whose rows still name it: the outcome of their
// release is unknown.
func (m *Manager) unfinished() (shards []int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.shards {
		s := &m.shards[i]
		if s.epoch == 0 && s.row.Node == m.cfg.Self && !s.row.Released && s.row.Epoch <= s.renounced {
			shards = append(shards, i)
		}
	}
	return shards
}

// release stops serving shards, has them flushed, and gives them to others.
func (m *Manager) release(ctx context.Context, shards []int, to func(int) chat.NodeID) {
	m.mu.Lock()
	shards = slices.DeleteFunc(shards, func(i int) bool {
		if m.shards[i].epoch == 0 {
			return true
		}
		m.terms[i].Store(m.shards[i].epoch | leaving)
		return false
	})
	m.mu.Unlock()
	if len(shards) == 0 {
		return
	}
	flush, cancel := context.WithTimeout(ctx, m.cfg.ReleaseTimeout)
	m.cfg.Release(flush, shards)
	cancel()
	m.mu.Lock()
	for _, i := range shards {
		if m.shards[i].epoch != 0 {
			m.drop(i)
		}
	}
	m.mu.Unlock()
	m.finish(ctx, shards, to)
}

// finish writes that shards are released. What stays unknown is unfinished.
func (m *Manager) finish(ctx context.Context, shards []int, to func(int) chat.NodeID) {
	m.mu.Lock()
	shards = slices.DeleteFunc(slices.Clone(shards), func(i int) bool { return m.shards[i].row.Node != m.cfg.Self || m.shards[i].row.Released })
	m.mu.Unlock()
	freed := make(map[chat.NodeID][]int)
	var mu sync.Mutex
	plan := func(i int) (swap, bool) {
		m.mu.Lock()
		old := m.shards[i].row
		m.mu.Unlock()
		if old.Node != m.cfg.Self || old.Released {
			return swap{old: old, next: old, done: true}, true
		}
		next := old
		next.Released, next.Heir, next.Clock = true, to(i), m.cfg.Clock()
		return swap{old: old, next: next}, true
	}
	m.lanes(shards, func(lane []int) bool {
		return m.swapLane(ctx, lane, "shards could not be released", plan, func(found Owner, _ bool) {
			if found.Node == m.cfg.Self && found.Released {
				m.counts.released.Add(1)
				mu.Lock()
				freed[found.Heir] = append(freed[found.Heir], found.Shard)
				mu.Unlock()
			}
		})
	})
	for node, list := range freed {
		if node != 0 {
			slices.Sort(list)
			m.cfg.Released(list, node)
		}
	}
}

// releaseAll releases every shard. Taker and releaser have ended.
func (m *Manager) releaseAll(ctx context.Context) {
	heirs := m.heirs()
	m.mu.Lock()
	var batches [][]int
	var batch []int
	for i := range m.shards {
		if m.shards[i].epoch != 0 {
			if batch = append(batch, i); len(batch) == m.cfg.Batch {
				batches, batch = append(batches, batch), nil
			}
		}
	}
	if len(batch) > 0 {
		batches = append(batches, batch)
	}
	m.mu.Unlock()
	var wg sync.WaitGroup
	for _, b := range batches {
		wg.Go(func() { m.release(ctx, b, heirs.ID) })
	}
	wg.Wait()
	if left := m.unfinished(); len(left) > 0 {
		m.finish(ctx, left, heirs.ID) // what is left is free with the lease
	}
}
