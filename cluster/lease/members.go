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
	effective []placement.Node
	joined    time.Duration // when somebody joined last
	planned   time.Duration // when joins were taken in last
	any       bool          // whether ever
}

func named(list []placement.Node, name string) int {
	return slices.IndexFunc(list, func(n placement.Node) bool { return n.Name == name })
}

func (c *members) set(nodes []placement.Node, now time.Duration) {
	for _, n := range nodes {
		if named(c.latest, n.Name) < 0 {
			c.joined = now
		}
	}
	c.latest = slices.Clone(nodes)
}

// settle brings effective up to date. It returns when it should be called again, 0 if there is no need.
func (c *members) settle(now, settle, pace time.Duration) (due time.Duration) {
	if len(c.latest) == 0 {
		return 0 // nothing is known; not even this node is there
	}
	next := make([]placement.Node, 0, len(c.latest))
	for _, n := range c.effective {
		if i := named(c.latest, n.Name); i >= 0 {
			next = append(next, c.latest[i]) // perhaps in another life
		}
	}
	if len(next) < len(c.latest) {
		due = c.joined + settle
		if c.any {
			due = max(due, c.planned+pace)
		}
		if now >= due {
			due, c.any, c.planned = 0, true, now
			next = c.latest
		}
	}
	c.effective = next
	return due
}

// replan makes the plan that the members ask for. It reports whether it is another one, and when to call it again.
func (m *Manager) replan(now time.Duration) (changed bool, due time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	due = m.members.settle(now, m.cfg.Settle, m.cfg.Pace)
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
	return placement.New(slices.DeleteFunc(slices.Clone(m.members.latest), func(n placement.Node) bool { return n.ID == m.cfg.Self }))
}

// planned reports whether a node is one of the plan.
func planned(p *placement.Plan, id chat.NodeID) bool {
	return slices.ContainsFunc(p.Nodes(), func(n placement.Node) bool { return n.ID == id })
}
