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
	cache   map[part]*cached

	epochs [chat.Shards]uint64 // highest of directed deliveries so far, by the conversation's shard

	lostMu sync.Mutex
	lost   map[chat.ConversationKey]*loss
	losing atomic.Int32 // len(lost)
}

// loss is a conversation some of whose deliveries found the queue full. Until the sessions that miss them have
// been closed no other may pass: a session that got a later one would not know what it lacks.
type loss struct {
	members []*chat.MemberSet // who was to get them
	again   bool              // one was lost after the marker in the queue
}

// lostMarker stands in the queue where a delivery would have: registrations in front of it are handled first.
type lostMarker struct{ key chat.ConversationKey }

func (l *loss) add(m *chat.MemberSet) {
	if n := len(l.members); n == 0 || l.members[n-1] != m {
		l.members = append(l.members, m)
	}
}

// part of a conversation's members: all, or those whose directory shards another node owns.
type part struct {
	key  chat.ConversationKey
	from chat.NodeID
}

type cached struct {
	members *chat.MemberSet
	version uint64
	set     *chat.SessionSet
}

func newGroup(d *Directory, index int) *group {
	return &group{dir: d, index: index, users: make(map[chat.UserKey]sessions),
		cache: make(map[part]*cached)}
}

// post queues a delivery, or notes that it could not be, in which case it reports false.
func (g *group) post(m *chat.Delivery) bool { return g.queue(m, m, m.Recipients) }

func (g *group) queue(msg any, m *chat.Delivery, to *chat.MemberSet) bool {
	if g.losing.Load() > 0 && g.lose(m, to, false) {
		return false
	}
	if g.queued.Add(1) <= int64(g.dir.cfg.Queue) {
		g.dir.deliveries.Add(1)
		g.dir.cfg.System.Root.Send(g.pid, msg)
		return true
	}
	g.queued.Add(-1)
	if ephemeral(m) {
		g.dir.shed.Add(1)
		return false
	}
	g.lose(m, to, true)
	return false
}

// lose notes a delivery that does not reach its sessions. Unless first it does so only if the conversation has
// lost one already; it reports whether the delivery is accounted for.
func (g *group) lose(m *chat.Delivery, to *chat.MemberSet, first bool) bool {
	g.lostMu.Lock()
	l := g.lost[m.Key]
	switch {
	case l == nil && !first:
		g.lostMu.Unlock()
		return false
	case l == nil:
		l = &loss{}
		if g.lost == nil {
			g.lost = make(map[chat.ConversationKey]*loss)
		}
		g.lost[m.Key] = l
		g.losing.Add(1)
	case ephemeral(m):
		g.lostMu.Unlock()
		g.dir.shed.Add(1)
		return true
	default:
		l.again = true
		first = false
	}
	l.add(to)
	g.lostMu.Unlock()
	g.dir.overflows.Add(1)
	if first {
		g.dir.cfg.System.Root.Send(g.pid, &lostMarker{m.Key})
	}
	return true
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
	switch m := c.Message().(type) {
	case *chat.Delivery:
		g.queued.Add(-1)
		g.deliver(part{key: m.Key}, m.Recipients, m)
	case *directed:
		g.queued.Add(-1)
		g.direct(m)
	case *register:
		g.register(m)
	case *evict:
		g.evict(m)
	case *lostMarker:
		g.overflowed(m)
	case *barrier:
		close(m.done)
	}
}

func (g *group) deliver(p part, to *chat.MemberSet, d *chat.Delivery) {
	if set := g.resolve(p, to); len(set.Sessions) > 0 {
		g.dir.cfg.Edge.Deliver(set, d)
	}
}

// overflowed has the sessions closed that miss something, and lets deliveries pass again if none was lost since
// the marker was queued.
func (g *group) overflowed(m *lostMarker) {
	g.lostMu.Lock()
	l := g.lost[m.key]
	members := l.members
	again := l.again
	if again {
		l.members, l.again = nil, false
	} else {
		delete(g.lost, m.key)
		g.losing.Add(-1)
	}
	g.lostMu.Unlock()
	if o, ok := g.dir.cfg.Edge.(Overflower); ok {
		for _, ms := range members {
			if set := g.find(m.key, ms); len(set.Sessions) > 0 {
				o.Overflow(set, m.key)
			}
		}
	}
	if again {
		g.lostMu.Lock()
		l.members = append(members[len(members)-1:], l.members...)
		g.lostMu.Unlock()
		g.dir.cfg.System.Root.Send(g.pid, m)
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
			g.dir.present(m.user, false)
		} else {
			g.users[m.user] = u
		}
	default:
		if !u.add(m.session) {
			return
		}
		g.users[m.user] = u
		if !ok {
			g.dir.present(m.user, true)
		}
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
func (g *group) resolve(p part, members *chat.MemberSet) *chat.SessionSet {
	if len(members.Users) == 1 { // what one member did for itself: the set of all stays at hand
		return g.find(p.key, members)
	}
	c := g.cache[p]
	if c != nil && c.members == members && g.holds(c, p.key.Tenant) {
		c.version = g.version
		return c.set
	}
	set := g.find(p.key, members)
	if c == nil {
		if len(g.cache) >= g.dir.cfg.Cache {
			for k := range g.cache { // any one: what is in use comes back
				delete(g.cache, k)
				break
			}
		}
		c = &cached{}
		g.cache[p] = c
	}
	*c = cached{members: members, version: g.version, set: set}
	return set
}

// find computes the set that resolve keeps.
func (g *group) find(key chat.ConversationKey, members *chat.MemberSet) *chat.SessionSet {
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
