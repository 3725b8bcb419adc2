package directory

import (
	"sync"
	"sync/atomic"

	"github.com/zumodra/hub/chat"
)

// ToEdge delivers what the owner of directory shards sends to the sessions of this node. done is called once, from any
// goroutine: with nil once Edge.Deliver was called for all of them, or with chat.ErrUnknownSet. Deliveries are handled
// in the order of the calls.
func (d *Directory) ToEdge(from chat.NodeID, p *chat.ToEdge, done func(error)) {
	to, err := d.sets.Recipients(from, p.Delivery)
	if err != nil {
		done(err)
		return
	}
	m := &directed{d: p.Delivery, to: to, done: done}
	if len(to.Users) > large {
		m.from, m.to = from, d.parts.of(from, p, to)
	}
	var told uint64
	if len(m.to.Users) > large {
		told = 1<<len(d.groups) - 1
	} else {
		for _, u := range m.to.Users {
			told |= 1 << d.group(chat.UserKey{Tenant: m.d.Key.Tenant, User: u}).index
		}
	}
	m.left.Store(1)
	for _, g := range d.groups {
		if told&(1<<g.index) == 0 {
			continue
		}
		m.left.Add(1)
		if !g.queue(m, m.d, m.to) {
			m.handled() // its sessions are closed, or it did not matter
		}
	}
	m.handled()
}

// directed is a delivery to some of the members.
type directed struct {
	d    *chat.Delivery
	to   *chat.MemberSet
	from chat.NodeID // of a part of a large set
	left atomic.Int32
	done func(error)
}

func (m *directed) handled() {
	if m.left.Add(-1) == 0 {
		m.done(nil)
	}
}

// keptParts is how many parts of sets are kept.
const keptParts = 16_384

// parts are the members of large sets whose shards a home owns: the same pointer as long as the set and the shards are.
type parts struct {
	mu sync.Mutex
	m  map[part]*cut
}

type cut struct {
	of     *chat.MemberSet
	shards chat.ShardSet
	to     *chat.MemberSet
}

func (ps *parts) of(from chat.NodeID, p *chat.ToEdge, set *chat.MemberSet) *chat.MemberSet {
	at := part{p.Delivery.Key, from}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	c := ps.m[at]
	if c != nil && c.of == set && c.shards == *p.Shards {
		return c.to
	}
	if ps.m == nil {
		ps.m = make(map[part]*cut)
	}
	if c == nil && len(ps.m) >= keptParts {
		for k := range ps.m { // any one: what is in use comes back
			delete(ps.m, k)
			break
		}
	}
	c = &cut{of: set, shards: *p.Shards, to: &chat.MemberSet{Version: set.Version}}
	for _, u := range set.Users {
		if p.Shards.Has(chat.UserKey{Tenant: p.Delivery.Key.Tenant, User: u}.Shard()) {
			c.to.Users = append(c.to.Users, u)
		}
	}
	ps.m[at] = c
	return c.to
}

type evict struct{ user chat.UserKey }

// Evict has the edge close all sessions of a user (Overflower): they come back and resume.
func (d *Directory) Evict(k chat.UserKey) {
	d.cfg.System.Root.Send(d.group(k).pid, &evict{k})
}

func (g *group) evict(m *evict) {
	o, ok := g.dir.cfg.Edge.(Overflower)
	u, there := g.users[m.user]
	if !ok || !there {
		return
	}
	set := &chat.SessionSet{Sessions: []chat.SessionID{u.first.id}}
	if u.more != nil {
		for _, s := range *u.more {
			set.Sessions = append(set.Sessions, s.id)
		}
	}
	o.Overflow(set, chat.ConversationKey{Tenant: m.user.Tenant})
}
