package lease

import (
	"slices"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/placement"
)

// members are the nodes that are there, and those that the plan is made of: who leaves is taken out at once, who joins
// is taken in together with others. m.mu is held by all who call its methods.
type members struct {
	latest    []placement.Node
	changed   time.Duration // when latest did
	able      []placement.Node
	joined    time.Duration // when somebody became able last
	effective []placement.Node
	planned   time.Duration // when joins were taken in last
	any       bool          // whether ever
}

func named(list []placement.Node, name string) int {
	return slices.IndexFunc(list, func(n placement.Node) bool { return n.Name == name })
}

func (c *members) set(nodes []placement.Node, now time.Duration) {
	if !slices.Equal(c.latest, nodes) {
		c.latest, c.changed = slices.Clone(nodes), now
	}
}

// able returns the members that can take shards: a node that others can see, but that cannot reach the store, would keep
// its part of them from everybody. One that has just started again need not be known yet. m.mu is held.
func (m *Manager) able(now time.Duration) (list []placement.Node) {
	for _, n := range m.members.latest {
		w := m.nodes[n.ID]
		switch {
		case n.ID == m.cfg.Self,
			w != nil && w.row.State == Alive && !w.ranOut(now),
			w == nil && now-m.members.changed < m.cfg.Duration && named(m.members.effective, n.Name) >= 0:
			list = append(list, n)
		}
	}
	return list
}

// settle brings effective up to date with who is able. It returns when it should be called again, 0 if there is no need.
func (c *members) settle(able []placement.Node, now, settle, pace time.Duration) (due time.Duration) {
	for _, n := range able {
		if named(c.able, n.Name) < 0 {
			c.joined = now
		}
	}
	c.able = able
	if len(able) == 0 {
		return 0 // nothing is known; not even this node is there
	}
	next := make([]placement.Node, 0, len(able))
	for _, n := range c.effective {
		if i := named(able, n.Name); i >= 0 {
			next = append(next, able[i]) // perhaps in another life
		}
	}
	if len(next) < len(able) {
		due = c.joined + settle
		if c.any {
			due = max(due, c.planned+pace)
		}
		if now >= due {
			due, c.any, c.planned = 0, true, now
			next = able
		}
	}
	c.effective = next
	return due
}

// replan makes the plan that the members ask for. It reports whether it is another one, and when to call it again.
func (m *Manager) replan(now time.Duration) (changed bool, due time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	due = m.members.settle(m.able(now), now, m.cfg.Settle, m.cfg.Pace)
	plan := placement.New(m.members.effective)
	if plan.Version() == m.plan.Version() {
		return false, due
	}
	m.plan = plan
	m.cfg.Logger.Info("shards are planned anew", "node", m.cfg.Name, "nodes", len(plan.Nodes()), "own", len(plan.Shards(m.cfg.Self)))
	return true, due
}

// heirs is who gets which shard when this node has left: 0 if nobody is there.
func (m *Manager) heirs() *placement.Plan {
	m.mu.Lock()
	defer m.mu.Unlock()
	return placement.New(slices.DeleteFunc(m.able(m.cfg.Now()), func(n placement.Node) bool { return n.ID == m.cfg.Self }))
}

// planned reports whether a node is one of the plan.
func planned(p *placement.Plan, id chat.NodeID) bool {
	return slices.ContainsFunc(p.Nodes(), func(n placement.Node) bool { return n.ID == id })
}
