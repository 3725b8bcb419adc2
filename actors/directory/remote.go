package directory

import (
	"sync"
	"sync/atomic"

	"github.com/zumodra/hub/chat"
)

// ToEdge delivers what the owner of directory shards sends to the sessions of this node. done is called once, from any
// goroutine: with nil once Edge.Deliver was called for all of them, with chat.ErrUnknownSet, or with chat.ErrSuperseded if
// something of the conversation's shard was delivered under a higher epoch before. Deliveries are handled in the order of
// the calls.
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
	late atomic.Bool // refused by a group at least
	done func(error)
}

func (m *directed) handled() {
	if m.left.Add(-1) > 0 {
		return
	}
	if m.late.Load() {
		m.done(chat.ErrSuperseded)
		return
	}
	m.done(nil)
}

// direct delivers what came from a home, unless a later owner of the conversation's shard was faster: sessions would get
// it behind what follows it. It is no loss, because whoever takes a shard over announces the heads of its logs, but the
// head does not reach users who are members no more: their sessions come back, and find out.
func (g *group) direct(m *directed) {
	defer m.handled()
	if e := m.d.Epoch; e != 0 {
		highest := &g.epochs[m.d.Key.Shard()]
		if e < *highest {
			g.dir.fenced.Add(1)
			m.late.Store(true)
			for _, u := range m.d.Detached {
				if k := (chat.UserKey{Tenant: m.d.Key.Tenant, User: u}); m.to.Contains(u) {
					g.evict(&evict{k})
				}
			}
			return
		}
		*highest = e
	}
	g.deliver(part{m.d.Key, m.from}, m.to, m.d)
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
