package session

import (
	"encoding/binary"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/frame"
	"github.com/zumodra/hub/edge/reactor"
)

// Deliver sends what one commit has to tell to a set of sessions. It does not block and allocates nothing per
// session. The directory calls it once per shard that has sessions in it; calls for one set must be in order.
func (m *Manager) Deliver(set *chat.SessionSet, d *chat.Delivery) {
	to, _ := set.Prepare(prepare).(*reactor.Set)
	enc := m.frames.get(d)
	for i := range d.Notices {
		n := &d.Notices[i]
		e := &enc.notices[i]
		if e.frame == nil {
			continue
		}
		var origin reactor.Handle
		if n.Event != nil && n.Origin.Session != 0 && (n.Origin.Ref != "" || e.created != nil) && m.owns(set, d, n) {
			origin = reactor.Handle(n.Origin.Session)
		}
		if origin != 0 && e.created == nil {
			m.tr.Broadcast(to, e.frame, e.class, origin)
			all := e.frame.Payload()
			b := frame.AppendWithRef(room(len(all)+len(n.Origin.Ref)+8), all, n.Origin.Ref)
			_ = m.tr.Send(origin, reactor.NewFrameInPlace(true, b), e.class) // gone is as good
		} else {
			m.tr.Broadcast(to, e.frame, e.class, 0)
		}
		if e.created != nil { // its origin has the answer to its command instead
			m.tr.Broadcast(to, e.created, reactor.Durable, origin)
			m.obs.Delivered("group_created", len(set.Sessions))
		}
		m.obs.Delivered(e.name, len(set.Sessions))
	}
	if !d.AcceptedAt.IsZero() && len(d.Notices) > 0 {
		m.obs.AcceptedToEdge(m.cfg.Now().Sub(d.AcceptedAt))
	}
	if len(d.Detached) > 0 {
		m.detach(set, d)
	}
}

// Overflow closes the sessions of a set because a delivery of that conversation, which must not get lost, found
// no room on its way here. They come back and resume, which is the only honest answer (invariant I6).
func (m *Manager) Overflow(set *chat.SessionSet, key chat.ConversationKey) {
	m.log.Warn("deliveries lost for lack of room, closing sessions", slog.String("tenant", string(key.Tenant)),
		slog.String("conversation", key.ID.String()), slog.Int("sessions", len(set.Sessions)))
	for _, s := range set.Sessions {
		_ = m.tr.CloseConn(reactor.Handle(s), frame.CloseOverload, string(frame.CodeOverloaded)) // gone is as good
	}
}

func prepare(sessions []chat.SessionID) any {
	handles := make([]reactor.Handle, len(sessions))
	for i, s := range sessions {
		handles[i] = reactor.Handle(s)
	}
	return reactor.NewSet(handles)
}

// owns reports whether the notice's origin is a session in set. Another node's session may have the same number.
func (m *Manager) owns(set *chat.SessionSet, d *chat.Delivery, n *chat.Notice) bool {
	if n.Origin.Node != 0 && n.Origin.Node != m.cfg.Self {
		return false
	}
	if !slices.Contains(set.Sessions, n.Origin.Session) {
		return false
	}
	var buf [16]uint32
	for _, i := range m.users.sessions(chat.UserKey{Tenant: d.Key.Tenant, User: n.Event.Actor}, buf[:0]) {
		r := m.slab.get(i)
		r.mu.Lock()
		is := r.handle == reactor.Handle(n.Origin.Session)
		r.mu.Unlock()
		if is {
			return true
		}
	}
	return false
}

// detach closes the sessions of the set that are of this conversation alone and of users who left it. Sessions
// of other sets wait for their own call, so that each gets its last frames first.
func (m *Manager) detach(set *chat.SessionSet, d *chat.Delivery) {
	code, reason := frame.CloseForbidden, "not a participant"
	if d.Gone {
		code, reason = frame.CloseGone, "conversation is gone"
	}
	in := make(map[reactor.Handle]struct{}, len(set.Sessions))
	for _, s := range set.Sessions {
		in[reactor.Handle(s)] = struct{}{}
	}
	var buf [16]uint32
	for _, id := range d.Detached {
		for _, i := range m.users.sessions(chat.UserKey{Tenant: d.Key.Tenant, User: id}, buf[:0]) {
			r := m.slab.get(i)
			r.mu.Lock()
			s := link{r, r.handle, i}
			_, ok := in[r.handle]
			ok = ok && r.single && r.conversation == d.Key.ID
			r.mu.Unlock()
			if ok {
				m.end(s, code, reason)
			}
		}
	}
}

// encoded are the frames of one delivery, made by whoever gets to it first.
type encoded struct {
	d       *chat.Delivery
	once    sync.Once
	notices []encodedNotice
	lone    [1]encodedNotice // of nearly every delivery: saves an allocation
}

type encodedNotice struct {
	frame   *reactor.Frame
	created *reactor.Frame // group_created beside the event, for a new group
	class   reactor.Class
	name    string
}

func (e *encoded) encode() {
	if e.notices = e.lone[:]; len(e.d.Notices) != 1 {
		e.notices = make([]encodedNotice, len(e.d.Notices))
	}
	id := e.d.Key.ID
	for i := range e.d.Notices {
		n, out := &e.d.Notices[i], &e.notices[i]
		var b []byte
		switch {
		case n.Event != nil:
			out.name = n.Event.Type.String()
			b = frame.AppendEvent(room(384+len(n.Event.Content)), id, n.Event, false, "")
			if ev := n.Event; ev.Type == chat.EventConversation && ev.Change == chat.ChangeCreated && ev.Kind == chat.Group {
				out.created = reactor.NewFrame(true, frame.AppendGroupCreated(nil, id, ev.Name, len(ev.Users), ""))
			}
		case n.Typing != nil:
			out.name, out.class = "typing", reactor.Ephemeral
			b = frame.AppendTyping(room(192), id, n.Typing)
		case n.Read != nil:
			out.name = "read"
			if n.Read.Kind == chat.ReceiptDelivered {
				out.name, out.class = "delivered", reactor.Ephemeral
			} else if n.Read.User == "" {
				out.name, out.class = "read_count", reactor.Ephemeral
			}
			b = frame.AppendReceipt(room(256), id, n.Read)
		case n.Head != nil:
			out.name = "head"
			b = frame.AppendHead(room(96), id, n.Head)
		case n.Own != nil:
			out.name = n.Own.Kind()
			b = frame.AppendOwn(room(192), id, n.Own)
		case n.Scheduled != nil:
			out.name = "scheduled_failed"
			b = frame.AppendScheduledFailed(room(256), id, n.Scheduled)
		default:
			continue
		}
		out.frame = reactor.NewFrameInPlace(true, b)
	}
}

// room is a buffer for a payload of about n bytes that becomes a frame in place.
func room(n int) []byte { return make([]byte, reactor.FrameRoom, reactor.FrameRoom+n) }

// frameCache holds the frames of the latest deliveries, since several directory shards deliver the same one.
// It is direct-mapped and thus bounded; a collision costs an encoding.
type frameCache struct{ slots [64]atomic.Pointer[encoded] }

func (c *frameCache) get(d *chat.Delivery) *encoded {
	h := binary.LittleEndian.Uint64(d.Key.ID[8:])
	if len(d.Notices) > 0 && d.Notices[0].Event != nil {
		h += d.Notices[0].Event.Seq
	}
	h *= 0x9e3779b97f4a7c15 // 2^64 / golden ratio: the upper bits depend on all
	slot := &c.slots[h>>58]
	e := slot.Load()
	if e == nil || e.d != d {
		fresh := &encoded{d: d}
		if slot.CompareAndSwap(e, fresh) {
			e = fresh
		} else if e = slot.Load(); e.d != d {
			e = fresh
		}
	}
	e.once.Do(e.encode)
	return e
}
