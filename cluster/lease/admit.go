package lease

import (
	"context"
	"time"

	"github.com/zumodra/hub/chat"
)

// Admit returns nil as soon as this node may Start: it reaches, itself counted, most of the nodes whose leases hold, so
// that what it takes can be asked for. Who has the store but not the others (of another cluster's certificates or keys, of
// a version that they do not speak, cut off) would take shards away from everybody else.
//
// reached says whether a life of a node can be talked to; missing is told, at every look, some of them a second, who cannot
// be. Both are called on this goroutine. Other lives under this node's own name do not count: they are over, or will be. Leases of nodes
// that died count until they have run out by this node's clock. It is to be called before Start and fails only when ctx ends.
func (m *Manager) Admit(ctx context.Context, reached func(chat.NodeID) bool, missing func([]Holder)) error {
	seen := make(map[chat.NodeID]*watched)
	for {
		attempt, cancel := m.cfg.attempt(ctx)
		rows, err := m.cfg.Store.Leases(attempt)
		cancel()
		if err != nil {
			m.complain(ctx, "the leases of nodes could not be read", err)
		} else {
			away, ok := m.judge(rows, seen, reached)
			if ok {
				return nil
			}
			missing(away)
		}
		if !sleep(ctx, min(m.cfg.Duration/20, 100*time.Millisecond)) {
			return ctx.Err()
		}
	}
}

// judge reports which nodes' leases hold and are not reached, and whether few enough are.
func (m *Manager) judge(rows []NodeLease, seen map[chat.NodeID]*watched, reached func(chat.NodeID) bool) (away []Holder, ok bool) {
	now := m.cfg.Now()
	there := make(map[string]bool) // by name, whether any of its lives is reached
	for _, row := range rows {
		w := seen[row.ID]
		if w == nil || w.row.Version != row.Version {
			w = &watched{row: row, since: now}
			seen[row.ID] = w
		}
		if row.State != Alive || row.Name == m.cfg.Name || w.ranOut(now) {
			continue
		}
		if is := reached(row.ID); is || !there[row.Name] {
			there[row.Name] = is
		}
	}
	n := 1
	for _, is := range there {
		if is {
			n++
		}
	}
	for _, row := range rows {
		if is, holds := there[row.Name]; holds && !is && !seen[row.ID].ranOut(now) && row.State == Alive {
			away = append(away, Holder{ID: row.ID, Name: row.Name, State: row.State, Version: row.Version, Quiet: now - seen[row.ID].since})
		}
	}
	return away, 2*n > 1+len(there)
}
