package directory

import (
	"runtime"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/zumodra/hub/actors/directory/sets"
	"github.com/zumodra/hub/actors/internal/mailbox"
	"github.com/zumodra/hub/chat"
)

// Edge is what holds the sessions.
type Edge interface {
	// Deliver hands a delivery to sessions. It is called by one goroutine per group at a time and must not
	// block. The set is immutable; the same pointer comes again while nothing changed.
	Deliver(set *chat.SessionSet, d *chat.Delivery)
}

// Overflower may be implemented by an Edge: a durable delivery of the conversation could not be queued, so the
// given sessions must be closed for overload; they come back and resume.
type Overflower interface {
	Overflow(set *chat.SessionSet, key chat.ConversationKey)
}

// Config of a Directory. System, Dispatcher and Edge are required.
type Config struct {
	System     *actor.ActorSystem
	Dispatcher actor.Dispatcher
	Edge       Edge
	Groups     int // actors; default 2 x GOMAXPROCS, at most 64
	Queue      int // deliveries that may wait in front of a group; default 65,536
	// Presence, if set, is told that a user's first session came, or the last one went. It must not block.
	Presence func(k chat.UserKey, online bool)
	Cache    int // conversations a group keeps sets for; default 16,384
}

// Directory of the sessions of a node. Its methods are safe for concurrent use and never block.
type Directory struct {
	cfg    Config
	groups []*group
	sets   sets.Receiver
	parts  parts

	deliveries, overflows, shed, rebuilt, fenced atomic.Uint64
}

// Stats are counters since the start.
type Stats struct {
	Deliveries uint64 // queued, counted once per group
	Overflows  uint64 // durable ones that found a full queue
	Shed       uint64 // typing notices that did
	Rebuilt    uint64 // session sets computed
	Fenced     uint64 // refused, counted once per group: something of their shard was delivered under a higher epoch
}

// New starts the groups' actors; Close stops them.
func New(c Config) *Directory {
	if c.Groups <= 0 {
		c.Groups = 2 * runtime.GOMAXPROCS(0)
	}
	c.Groups = min(c.Groups, 64)
	if c.Queue <= 0 {
		c.Queue = 65_536
	}
	if c.Cache <= 0 {
		c.Cache = 16_384
	}
	d := &Directory{cfg: c}
	for range c.Groups {
		g := newGroup(d, len(d.groups))
		props := actor.PropsFromProducer(func() actor.Actor { return g },
			actor.WithMailbox(mailbox.New), actor.WithDispatcher(c.Dispatcher))
		g.pid = c.System.Root.Spawn(props)
		d.groups = append(d.groups, g)
	}
	return d
}

// Close handles what is queued and stops the actors. Nothing may be published meanwhile.
func (d *Directory) Close() {
	for _, g := range d.groups {
		done := make(chan struct{})
		d.cfg.System.Root.Send(g.pid, &barrier{done})
		<-done
		d.cfg.System.Root.Stop(g.pid)
	}
}

func (d *Directory) group(k chat.UserKey) *group { return d.groups[k.Shard()%len(d.groups)] }

// Register makes the session get deliveries of one conversation of the user, or of all if it is zero.
func (d *Directory) Register(k chat.UserKey, c chat.ConversationID, s chat.SessionID) {
	g := d.group(k)
	d.cfg.System.Root.Send(g.pid, &register{user: k, session: session{s, c}})
}

// Unregister is the inverse of Register.
func (d *Directory) Unregister(k chat.UserKey, c chat.ConversationID, s chat.SessionID) {
	g := d.group(k)
	d.cfg.System.Root.Send(g.pid, &register{user: k, session: session{s, c}, off: true})
}

// Online reports whether the user has a session, as far as registrations were handled.
func (d *Directory) Online(k chat.UserKey) bool {
	g := d.group(k)
	g.mu.RLock()
	defer g.mu.RUnlock()
	_, ok := g.users[k]
	return ok
}

func (d *Directory) present(k chat.UserKey, online bool) {
	if d.cfg.Presence != nil {
		d.cfg.Presence(k, online)
	}
}

// large is the size of a conversation from which on every group is told without looking at the members.
const large = sets.Large - 1

// Publish hands a delivery to the groups of its recipients.
func (d *Directory) Publish(m *chat.Delivery) {
	users := m.Recipients.Users
	if len(users) > large {
		for _, g := range d.groups {
			g.post(m)
		}
		return
	}
	var told uint64
	for _, u := range users {
		g := d.group(chat.UserKey{Tenant: m.Key.Tenant, User: u})
		if told&(1<<g.index) == 0 {
			told |= 1 << g.index
			g.post(m)
		}
	}
}

// Stats returns the counters.
func (d *Directory) Stats() Stats {
	return Stats{Deliveries: d.deliveries.Load(), Overflows: d.overflows.Load(),
		Shed: d.shed.Load(), Rebuilt: d.rebuilt.Load(), Fenced: d.fenced.Load()}
}
