package lease

import (
	"context"
	"errors"
	"slices"
	"time"
)

// acquire makes the row of this node's lease.
func (m *Manager) acquire(ctx context.Context) error {
	row := NodeLease{ID: m.cfg.Self, Name: m.cfg.Name, Version: 1, Duration: m.cfg.Duration, State: Alive, Clock: m.cfg.Clock()}
	sent := m.cfg.Now()
	for {
		attempt, cancel := m.cfg.attempt(ctx)
		found, applied, err := m.cfg.Store.SwapLease(attempt, NodeLease{}, row)
		cancel()
		switch {
		case err == nil && (applied || found == row):
			m.extend(row, sent)
			return nil
		case err == nil:
			return errors.New("another node has its id")
		}
		m.counts.failures.Add(1)
		m.cfg.Logger.Warn("the lease could not be acquired", "node", m.cfg.Name, "error", err)
		if !sleep(ctx, m.cfg.Duration/20) {
			return errors.Join(ctx.Err(), err)
		}
	}
}

// extend notes that a version, first sent at a moment, is stored. It holds from then: somebody may have seen it at any
// time since.
func (m *Manager) extend(row NodeLease, sent time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		return
	}
	if row.Version > 1 && !m.valid() {
		m.lapses++
	}
	m.lease = row
	m.until.Store(int64(sent + m.cfg.Duration - margin(m.cfg.Duration)))
	m.counts.renewals.Add(1)
}

// renew keeps the lease until ctx ends or somebody has declared it dead.
func (m *Manager) renew(ctx context.Context) {
	var next NodeLease
	var sent time.Duration // when next was first sent
	for pause := m.cfg.Duration / 3; sleep(ctx, pause); {
		m.mu.Lock()
		row, ended := m.lease, m.ended
		m.mu.Unlock()
		if ended {
			return
		}
		if next.Version != row.Version+1 {
			next, sent = row, m.cfg.Now()
			next.Version++
			next.Clock = m.cfg.Clock()
		}
		attempt, cancel := m.cfg.attempt(ctx)
		found, applied, err := m.cfg.Store.SwapLease(attempt, row, next)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			m.counts.failures.Add(1)
			m.cfg.Logger.Warn("the lease could not be renewed", "node", m.cfg.Name, "error", err, "valid", m.valid())
			pause = m.cfg.Duration / 20
		case applied || found == next:
			m.extend(next, sent)
			pause = max(m.cfg.Duration/3-(m.cfg.Now()-sent), m.cfg.Duration/20)
		default:
			m.die(found)
			return
		}
	}
}

// die ends this life: somebody has declared it dead.
func (m *Manager) die(found NodeLease) {
	m.until.Store(never) // before anything that may have to wait
	m.hooks.Lock()
	defer m.hooks.Unlock()
	m.mu.Lock()
	if m.ended {
		m.mu.Unlock()
		return
	}
	m.ended = true
	m.until.Store(never)
	var lost []int
	for i := range m.shards {
		if m.shards[i].epoch != 0 {
			m.drop(i)
			lost = append(lost, i)
		}
	}
	m.mu.Unlock()
	m.cfg.Logger.Error("this node was declared dead", "node", m.cfg.Name, "state", found.State, "version", found.Version, "shards", len(lost))
	if len(lost) > 0 {
		m.counts.lost.Add(uint64(len(lost)))
		m.cfg.Lost(lost)
	}
	close(m.dead)
}

// drop makes a shard not ours. m.mu is held.
func (m *Manager) drop(i int) {
	s := &m.shards[i]
	s.renounced = max(s.renounced, s.epoch)
	s.epoch = 0
	m.terms[i].Store(0)
}

// lose drops shards whose rows name somebody else.
func (m *Manager) lose(shards []int) {
	m.hooks.Lock()
	defer m.hooks.Unlock()
	m.mu.Lock()
	shards = slices.DeleteFunc(shards, func(i int) bool {
		s := &m.shards[i]
		if s.epoch == 0 || !s.taken() {
			return true
		}
		m.drop(i)
		return false
	})
	m.mu.Unlock()
	if len(shards) == 0 {
		return
	}
	m.cfg.Logger.Error("shards were taken from this node", "node", m.cfg.Name, "shards", shards)
	m.counts.lost.Add(uint64(len(shards)))
	m.cfg.Lost(shards)
}

// taken reports whether the row is another's, or another time's, than the one that this node holds the shard by.
func (s *shard) taken() bool {
	return s.row.Epoch > s.epoch || s.row.Epoch == s.epoch && s.row.Released
}

// giveBack releases the lease. The renewer has ended.
func (m *Manager) giveBack(ctx context.Context) error {
	m.mu.Lock()
	row, ended := m.lease, m.ended
	m.ended = true
	m.until.Store(never)
	m.mu.Unlock()
	if ended {
		return nil
	}
	var err error
	for {
		next := row
		next.Version++
		next.State, next.Clock = Released, m.cfg.Clock()
		attempt, cancel := m.cfg.attempt(ctx)
		var found NodeLease
		var applied bool
		found, applied, err = m.cfg.Store.SwapLease(attempt, row, next)
		cancel()
		switch {
		case err == nil && (applied || found.State != Alive):
			return nil
		case err == nil:
			row = found // a renewal whose outcome was unknown
			continue
		}
		if !sleep(ctx, m.cfg.Duration/20) {
			return errors.Join(ctx.Err(), err)
		}
	}
}
