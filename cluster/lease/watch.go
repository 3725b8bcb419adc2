package lease

import (
	"context"
	"time"

	"github.com/zumodra/hub/chat"
)

// watched is another node's lease, as seen from here.
type watched struct {
	row   NodeLease
	since time.Duration // when this version was first seen; later, if this node could not have judged
	moved bool          // whether it was seen to be renewed
}

// ranOut reports whether a lease stood still for so long that its holder has stopped by its own clock.
func (w *watched) ranOut(now time.Duration) bool {
	return w.row.State == Alive && now-w.since >= w.row.Duration+margin(w.row.Duration)
}

// readLeases brings the nodes up to date.
func (m *Manager) readLeases(ctx context.Context, lapses *int) error {
	began := m.cfg.Now()
	attempt, cancel := m.cfg.attempt(ctx)
	rows, err := m.cfg.Store.Leases(attempt)
	cancel()
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.ID == m.cfg.Self && row.State != Alive {
			m.die(row)
			return nil
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.cfg.Now()
	// If this node could not renew, others could not either, perhaps: they get the time to do it.
	blind := !m.valid() || *lapses != m.lapses
	*lapses = m.lapses
	present := make(map[chat.NodeID]bool, len(rows))
	for _, row := range rows {
		if row.ID == m.cfg.Self {
			continue
		}
		present[row.ID] = true
		m.note(row, now)
		if blind {
			m.nodes[row.ID].since = now
		}
	}
	for id := range m.nodes {
		if !present[id] {
			delete(m.nodes, id)
		}
	}
	m.listed = began
	for i := range m.shards {
		m.publish(i)
	}
	return nil
}

// note takes notice of a row. m.mu is held.
func (m *Manager) note(row NodeLease, now time.Duration) {
	w := m.nodes[row.ID]
	switch {
	case w == nil:
		m.nodes[row.ID] = &watched{row: row, since: now}
	case row.Version > w.row.Version:
		if row.State == Alive && row.Name == m.cfg.Name && !w.moved {
			m.cfg.Logger.Error("another node that is alive has this node's name", "node", m.cfg.Name, "id", row.ID)
		}
		w.row, w.since, w.moved = row, now, row.State == Alive
	}
}

// over reports whether a holder of a row is dead for good, or has released all. m.mu is held.
//
// A life whose row is not there has ended, too: it was there before that life could take a shard, and is removed only
// after its end. But the leases must have been read after the owner's row, or it may be a new one.
func (m *Manager) over(s *shard) bool {
	if w := m.nodes[s.row.Node]; w != nil {
		return w.row.State != Alive
	}
	return s.row.Node != m.cfg.Self && m.listed >= s.at
}

// declare declares a node dead whose lease has run out.
func (m *Manager) declare(ctx context.Context, old NodeLease) {
	if !m.valid() {
		return // who cannot renew may not judge others
	}
	next := old
	next.Version++
	next.State = Dead
	attempt, cancel := m.cfg.attempt(ctx)
	found, applied, err := m.cfg.Store.SwapLease(attempt, old, next)
	cancel()
	if err != nil {
		m.counts.failures.Add(1)
		m.cfg.Logger.Warn("a node could not be declared dead", "node", old.Name, "id", old.ID, "error", err)
		return // the next reading shows whether it is
	}
	if applied {
		found = next
		m.counts.declared.Add(1)
		m.cfg.Logger.Warn("a node's lease has run out: it is declared dead", "node", old.Name, "id", old.ID)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if found.ID == old.ID {
		m.note(found, m.cfg.Now())
	}
}

// keepHouse ends leases that nobody needs to end, and removes those that ended long ago and own nothing. That the latter
// is a plain deletion is safe: a row that is not Alive is never swapped again, and a life that has no row has ended as
// well. Only the holder of shard 0 does it, so that not everybody does.
func (m *Manager) keepHouse(ctx context.Context) {
	if _, ok := m.Term(0); !ok {
		return
	}
	m.mu.Lock()
	now := m.cfg.Now()
	owns := make(map[chat.NodeID]bool)
	for i := range m.shards {
		owns[m.shards[i].row.Node] = true
	}
	var still []NodeLease
	var old []chat.NodeID
	for id, w := range m.nodes {
		switch {
		case w.ranOut(now) && now-w.since >= 3*w.row.Duration:
			still = append(still, w.row)
		case w.row.State != Alive && now-w.since >= m.cfg.Keep && !owns[id]:
			old = append(old, id)
		}
	}
	m.mu.Unlock()
	for _, row := range still {
		m.declare(ctx, row)
	}
	for _, id := range old {
		attempt, cancel := m.cfg.attempt(ctx)
		err := m.cfg.Store.DeleteLease(attempt, id)
		cancel()
		if err != nil {
			m.cfg.Logger.Warn("the row of an ended lease could not be removed", "id", id, "error", err)
			return
		}
	}
}
