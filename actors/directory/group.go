package directory

import (
	"sync"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/zumodra/hub/chat"
)

type session struct {
	id           chat.SessionID
	conversation chat.ConversationID // zero: all
}

// sessions of one user: one in place, which is nearly all that users ever have, the others beside it.
type sessions struct {
	first session
	more  *[]session
}

type register struct {
	user    chat.UserKey
	session session
	off     bool
}

type barrier struct{ done chan struct{} }

// changes is how many of the newest changes of sessions a group remembers, to tell cached sets that they
// still hold.
const changes = 1024

// group is the actor of the users of some shards.
type group struct {
	dir   *Directory
	index int
	pid   *actor.PID

	queued atomic.Int64

	mu    sync.RWMutex // write-locked by the actor alone; others look at users
	users map[chat.UserKey]sessions

	version uint64                // counts changes of sessions
	changed [changes]chat.UserKey // changed[v%changes] made version v+1
	cache   map[chat.ConversationKey]*cached

	overMu   sync.Mutex
	overflow map[chat.ConversationKey]*chat.MemberSet
	over     atomic.Bool
}

type cached struct {
	members *chat.MemberSet
	version uint64
	set     *chat.SessionSet
}

func newGroup(d *Directory, index int) *group {
	return &group{dir: d, index: index, users: make(map[chat.UserKey]sessions),
		cache: make(map[chat.ConversationKey]*cached)}
}

// post queues a delivery, or notes that it could not be.
func (g *group) post(m *chat.Delivery) {
	if g.queued.Add(1) <= int64(g.dir.cfg.Queue) {
		g.dir.deliveries.Add(1)
		g.dir.cfg.System.Root.Send(g.pid, m)
		return
	}
	g.queued.Add(-1)
	if ephemeral(m) {
		g.dir.shed.Add(1)
		return
	}
	g.dir.overflows.Add(1)
	g.overMu.Lock()
	if g.overflow == nil {
		g.overflow = make(map[chat.ConversationKey]*chat.MemberSet)
	}
	g.overflow[m.Key] = m.Recipients
	g.overMu.Unlock()
	g.over.Store(true)
}

// ephemeral reports whether a delivery may get lost.
func ephemeral(m *chat.Delivery) bool {
	for i := range m.Notices {
		if m.Notices[i].Typing == nil {
			return false
		}
	}
	return len(m.Detached) == 0 && !m.Gone
}

// Receive implements actor.Actor.
func (g *group) Receive(c actor.Context) {
	if g.over.Load() {
		g.overflowed()
	}
	switch m := c.Message().(type) {
	case *chat.Delivery:
		g.queued.Add(-1)
		if set := g.resolve(m.Key, m.Recipients); len(set.Sessions) > 0 {
			g.dir.cfg.Edge.Deliver(set, m)
		}
	case *register:
		g.register(m)
	case *barrier:
		close(m.done)
	}
}

func (g *group) overflowed() {
	g.overMu.Lock()
	lost := g.overflow
	g.overflow = nil
	g.over.Store(false)
	g.overMu.Unlock()
	o, ok := g.dir.cfg.Edge.(Overflower)
	if !ok {
		return
	}
	for key, members := range lost {
		if set := g.resolve(key, members); len(set.Sessions) > 0 {
			o.Overflow(set, key)
		}
	}
}

func (g *group) register(m *register) {
	g.mu.Lock()
	defer g.mu.Unlock()
	u, ok := g.users[m.user]
	switch {
	case m.off && !ok:
		return
	case m.off:
		if !u.remove(m.session) {
			return
		}
		if u.first.id == 0 {
			delete(g.users, m.user)
		} else {
			g.users[m.user] = u
		}
	default:
		if !u.add(m.session) {
			return
		}
		g.users[m.user] = u
	}
	g.changed[g.version%changes] = m.user
	g.version++
}

func (u *sessions) add(s session) bool {
	switch {
	case u.first.id == 0:
		u.first = s
		return true
	case u.first == s:
		return false
	case u.more == nil:
		u.more = &[]session{s}
		return true
	}
	for _, x := range *u.more {
		if x == s {
			return false
		}
	}
	*u.more = append(*u.more, s)
	return true
}

func (u *sessions) remove(s session) bool {
	if u.first == s {
		u.first = session{}
		if u.more != nil {
			m := *u.more
			u.first, m = m[len(m)-1], m[:len(m)-1]
			*u.more = m
			if len(m) == 0 {
				u.more = nil
			}
		}
		return true
	}
	if u.more == nil {
		return false
	}
	m := *u.more
	for i, x := range m {
		if x == s {
			m[i] = m[len(m)-1]
			if m = m[:len(m)-1]; len(m) == 0 {
				u.more = nil
			} else {
				*u.more = m
			}
			return true
		}
	}
	return false
}

// resolve finds the sessions of this group's users among the members that get the conversation's deliveries.
func (g *group) resolve(key chat.ConversationKey, members *chat.MemberSet) *chat.SessionSet {
	c := g.cache[key]
	if c != nil && c.members == members && g.holds(c, key.Tenant) {
		c.version = g.version
		return c.set
	}
	g.dir.rebuilt.Add(1)
	set := &chat.SessionSet{}
	for _, u := range members.Users {
		k := chat.UserKey{Tenant: key.Tenant, User: u}
		if len(members.Users) > large && g.dir.group(k) != g {
			continue
		}
		s, ok := g.users[k]
		if !ok {
			continue
		}
		set.Sessions = s.appendTo(set.Sessions, key.ID)
	}
	if c == nil {
		if len(g.cache) >= g.dir.cfg.Cache {
			for k := range g.cache { // any one: what is in use comes back
				delete(g.cache, k)
				break
			}
		}
		c = &cached{}
		g.cache[key] = c
	}
	*c = cached{members: members, version: g.version, set: set}
	return set
}

func (s *sessions) appendTo(to []chat.SessionID, c chat.ConversationID) []chat.SessionID {
	if s.first.conversation == c || s.first.conversation.IsZero() {
		to = append(to, s.first.id)
	}
	if s.more == nil {
		return to
	}
	for _, x := range *s.more {
		if x.conversation == c || x.conversation.IsZero() {
			to = append(to, x.id)
		}
	}
	return to
}

// holds reports whether no member's sessions changed since the set was made.
func (g *group) holds(c *cached, t chat.TenantID) bool {
	if g.version-c.version > changes {
		return false
	}
	for v := c.version; v < g.version; v++ {
		if u := g.changed[v%changes]; u.Tenant == t && c.members.Contains(u.User) {
			return false
		}
	}
	return true
}
