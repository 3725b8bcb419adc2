package lease

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/chat"
)

type counts struct {
	renewals, failures, taken, released, lost, declared atomic.Uint64
}

// Stats counts since the start.
type Stats struct {
	Renewals     uint64 // of the own lease, its acquisition included
	Failures     uint64 // calls of the store that were not answered
	Taken        uint64 // shards
	Released     uint64
	Lost         uint64 // without having been released
	DeclaredDead uint64 // other nodes, by this one
}

// Holder is a life of a node as known here.
type Holder struct {
	ID       chat.NodeID
	Name     string
	State    State
	Version  uint64
	Quiet    time.Duration // since it was last seen to change; 0 for this node
	Shards   int           // whose rows name it, not released
	Expected int           // that the plan gives it
}

// Status of a Manager, for people.
type Status struct {
	Self     chat.NodeID
	Name     string
	Valid    time.Duration // that the lease still holds; 0: it does not
	Dead     bool
	Held     int    // shards served, those being released included
	Leaving  int    // of them, those being released
	Wanted   int    // by the plan
	Missing  int    // wanted and not held
	MaxEpoch uint64 // of those held
	Plan     uint64 // version of the plan
	Holders  []Holder
	Stats    Stats
}

// Stats returns the counters.
func (m *Manager) Stats() Stats {
	return Stats{Renewals: m.counts.renewals.Load(), Failures: m.counts.failures.Load(), Taken: m.counts.taken.Load(),
		Released: m.counts.released.Load(), Lost: m.counts.lost.Load(), DeclaredDead: m.counts.declared.Load()}
}

// Status tells what is known.
func (m *Manager) Status() Status {
	st := Status{Self: m.cfg.Self, Name: m.cfg.Name, Stats: m.Stats()}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.cfg.Now()
	if until := m.until.Load(); int64(now) < until {
		st.Valid = time.Duration(until) - now
	}
	st.Plan = m.plan.Version()
	select {
	case <-m.dead:
		st.Dead = true
	default:
	}
	shards, expected := make(map[chat.NodeID]int), make(map[chat.NodeID]int)
	for i := range m.shards {
		s := &m.shards[i]
		want := m.plan.ID(i) == m.cfg.Self
		expected[m.plan.ID(i)]++
		if want {
			st.Wanted++
		}
		if s.row.Epoch != 0 && !s.row.Released {
			shards[s.row.Node]++
		}
		if s.epoch == 0 {
			if want {
				st.Missing++
			}
			continue
		}
		st.Held++
		if m.terms[i].Load()&leaving != 0 {
			st.Leaving++
		}
		st.MaxEpoch = max(st.MaxEpoch, s.epoch)
	}
	if m.lease.Version > 0 {
		st.Holders = append(st.Holders, Holder{ID: m.cfg.Self, Name: m.cfg.Name, State: m.lease.State, Version: m.lease.Version,
			Shards: shards[m.cfg.Self], Expected: expected[m.cfg.Self]})
	}
	for id, w := range m.nodes {
		st.Holders = append(st.Holders, Holder{ID: id, Name: w.row.Name, State: w.row.State, Version: w.row.Version, Quiet: now - w.since,
			Shards: shards[id], Expected: expected[id]})
	}
	slices.SortFunc(st.Holders, func(a, b Holder) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return st
}
