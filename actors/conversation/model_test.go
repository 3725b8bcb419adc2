package conversation_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/zumodra/hub/actors/conversation"
	"github.com/zumodra/hub/chat"
)

// model checks a world against what DESIGN §3 promises. It knows nothing of how the state works: it reads the
// log, the receipts and the answers.
type model struct {
	*world
	fail    func(format string, args ...any)
	ids     map[chat.SenderClientID]chat.MessageID // of acknowledged messages
	last    uint64                                 // seq delivered last, in this life of the state
	head    uint64                                 // highest head that was shown
	pending map[*conversation.Request]bool         // unanswered
}

func newModel(fail func(string, ...any)) *model {
	m := &model{world: newWorld(), fail: fail, ids: map[chat.SenderClientID]chat.MessageID{},
		pending: map[*conversation.Request]bool{}}
	m.onReply = m.replied
	m.onOut = m.delivered
	return m
}

func (m *model) replied(p conversation.Reply) {
	if n := m.answered[p.Request]; n != 1 {
		m.fail("%s answered %d times", describeReply(p), n)
	}
	delete(m.pending, p.Request)
	if p.Err != nil {
		return
	}
	log := m.store.Log(m.key)
	if e := p.Result.Event; e != nil && !(m.write != nil && m.write.Delete) && len(log) > 0 { // I1
		if e.Seq > uint64(len(log)) {
			m.fail("%s before it is durable", describeReply(p))
			return
		}
		if got := log[e.Seq-1]; got.Type != e.Type || got.Actor != e.Actor || got.ClientID != e.ClientID {
			m.fail("%s but the log holds %s", describeReply(p), describeEvent(&got))
		}
	}
	if c, ok := p.Request.Command.(chat.Send); ok && c.ClientID != "" { // I3
		id := chat.SenderClientID{Sender: p.Request.Principal.User, ClientID: c.ClientID}
		if p.Result.Event == nil {
			m.fail("%s without an event", describeReply(p))
			return
		}
		if old, ok := m.ids[id]; ok && old != p.Result.Event.Message {
			m.fail("%v became two messages", id)
		}
		m.ids[id] = p.Result.Event.Message
	}
	if c, ok := p.Request.Command.(chat.Resume); ok && !p.Result.Gap { // I6
		want := log[c.LastSeq:]
		if v := p.Result.View; v.Head.Seq < uint64(len(log)) {
			want = log[c.LastSeq:v.Head.Seq]
		}
		if len(want) != len(p.Result.Events) {
			m.fail("%s: %d events, want %d", describeReply(p), len(p.Result.Events), len(want))
			return
		}
		user := p.Request.Principal.User
		for i, e := range p.Result.Events {
			if m.conceals(user, &want[i], &e) {
				continue
			}
			if e.Seq != want[i].Seq || e.Type != want[i].Type || e.Message != want[i].Message {
				m.fail("%s: event %d is wrong", describeReply(p), e.Seq)
			}
			gone := slices.ContainsFunc(want, func(d chat.Event) bool { return d.Type == chat.EventDeleted && d.MessageSeq == e.Concerns() })
			if text := e.Content; gone && text != "" {
				m.fail("%s: event %d says %q of a message that is deleted", describeReply(p), e.Seq, text)
			}
			if e.IsMessage() && !gone {
				m.shows(p, &e, want)
			}
		}
	}
	if v := p.Result.View; v != nil {
		if v.Head.Seq < m.head && len(log) > 0 {
			m.fail("%s: head went back from %d", describeReply(p), m.head)
		}
		m.head = max(m.head, v.Head.Seq)
		if v.Head.Seq > uint64(len(log)) && len(log) > 0 {
			m.fail("%s: head beyond the log", describeReply(p))
		}
		if _, ok := p.Request.Command.(chat.Attach); ok && m.last > v.Head.Seq {
			m.fail("%s: event %d was delivered before", describeReply(p), m.last)
		}
	}
}

// shows checks that a message of a replay is as the events after it leave it.
func (m *model) shows(p conversation.Reply, message *chat.Event, events []chat.Event) {
	var edited time.Time
	reactions := 0
	for i := range events {
		switch e := &events[i]; {
		case e.MessageSeq != message.Seq:
		case e.Type == chat.EventEdited:
			edited = e.At
		case e.Type == chat.EventReaction && e.Removed:
			reactions--
		case e.Type == chat.EventReaction:
			reactions++
		}
	}
	if !message.EditedAt.Equal(edited) || len(message.Reactions) != reactions {
		m.fail("%s: message %d is not as it is now: edited %v, %d reactions", describeReply(p), message.Seq, edited, reactions)
	}
}

// conceals checks that what is told of an event says nothing of a hidden message; false: it is not about one.
func (m *model) conceals(u chat.UserID, e, told *chat.Event) bool {
	is := func(h chat.HiddenMessage) bool { return h.Seq == e.Concerns() }
	members := m.counted[u]
	_, me, _, _ := m.state.Peek(u)
	must := me.JoinedSeq == members.joined && slices.ContainsFunc(members.hidden, is)
	stored, _ := m.store.ListHidden(bg, m.key, u)
	if told.Type != chat.EventHidden {
		if must {
			m.fail("%s is told %s, which it has hidden", u, describeEvent(told))
		}
		return false
	}
	if !slices.ContainsFunc(stored, is) || told.Seq != e.Seq || told.Content != "" || told.MessageSeq != e.Concerns() {
		m.fail("%s is told %s instead of %s", u, describeEvent(told), describeEvent(e))
	}
	return true
}

func (m *model) delivered(d *chat.Delivery) {
	log := m.store.Log(m.key)
	for _, n := range d.Notices {
		if n.Own != nil && len(d.Recipients.Users) != 1 {
			m.fail("%s: others are told", describeDelivery(d))
		}
		if n.Event == nil {
			continue
		}
		if len(log) > 0 && n.Event.Seq > uint64(len(log)) {
			m.fail("event %d delivered before it is durable", n.Event.Seq)
		}
		if m.last != 0 && n.Event.Seq != m.last+1 {
			m.fail("event %d delivered after %d", n.Event.Seq, m.last)
		}
		m.last = n.Event.Seq
		m.head = max(m.head, n.Event.Seq)
		if n.Event.Change != chat.ChangeRole && !d.Recipients.Contains(n.Event.Actor) { // an heir is named by who left
			m.fail("event %d not delivered to its actor", n.Event.Seq)
		}
		switch n.Event.Change {
		case chat.ChangeAdded, chat.ChangeRemoved, chat.ChangeLeft:
			for _, u := range n.Event.Users {
				if !d.Recipients.Contains(u) {
					m.fail("event %d not delivered to %s, whom it concerns", n.Event.Seq, u)
				}
			}
		}
	}
}

func (m *model) crashed(appended, written bool) {
	m.crash(appended, written)
	m.last = 0
	m.pending = map[*conversation.Request]bool{}
}

// member as the log tells.
type seat struct {
	role   chat.Role
	joined uint64
}

// check replays the log by the book and compares it with the state, which must be settled.
func (m *model) check() {
	log := m.store.Log(m.key)
	seats := map[chat.UserID]seat{}
	rows := map[uint64]chat.Event{}
	seen := map[chat.SenderClientID]uint64{}
	var name string
	var pins []chat.MessageID
	var permissions chat.Permissions
	replies := map[uint64]uint64{}
	var msgNo uint64
	var at time.Time
	for i, e := range log {
		if e.Seq != uint64(i)+1 {
			m.fail("event %d stands at %d", e.Seq, i+1) // I2
		}
		if e.At.Before(at) {
			m.fail("event %d is older than the one before it", e.Seq)
		}
		at = e.At
		if e.IsMessage() {
			msgNo++
			if id := (chat.SenderClientID{Sender: e.Actor, ClientID: e.ClientID}); e.ClientID != "" {
				if old := seen[id]; old != 0 {
					m.fail("%v is both %d and %d", id, old, e.Seq) // I3
				}
				seen[id] = e.Seq
			}
		}
		if e.MsgNo != msgNo {
			m.fail("event %d has msg_no %d, want %d", e.Seq, e.MsgNo, msgNo)
		}
		if _, ok := seats[e.Actor]; !ok && e.Change != chat.ChangeCreated && !(i > 0 && log[i-1].Change == chat.ChangeLeft) {
			m.fail("event %d by %s, who was no member", e.Seq, e.Actor) // I5
		}
		switch e.Type {
		case chat.EventMessage:
			if to := e.More().ReplyTo; !to.IsZero() {
				replies[to.Seq()]++
				if r := rows[to.Seq()]; r.Message != to || !r.DeletedAt.IsZero() {
					m.fail("event %d answers what is not there", e.Seq)
				}
			}
			row := e
			row.Content, row.EditedAt, row.DeletedAt, row.Reactions = "", time.Time{}, time.Time{}, nil
			rows[e.Seq] = row
		case chat.EventEdited, chat.EventDeleted, chat.EventReaction:
			if r := rows[e.MessageSeq]; !r.DeletedAt.IsZero() {
				m.fail("event %d changes a deleted message", e.Seq)
			}
			r := rows[e.MessageSeq]
			switch {
			case e.Type == chat.EventEdited:
				r.Content, r.EditedAt = e.Content, e.At
			case e.Type == chat.EventDeleted:
				r.Reactions, r.DeletedAt, r.Content = nil, e.At, ""
				pins = slices.DeleteFunc(slices.Clone(pins), func(id chat.MessageID) bool { return id == e.Message })
			default:
				had := len(r.Reactions)
				r.Reactions = slices.DeleteFunc(slices.Clone(r.Reactions), func(x chat.Reaction) bool {
					return x.User == e.Actor && x.Emoji == e.Emoji
				})
				if (had > len(r.Reactions)) != e.Removed {
					m.fail("event %d repeats a reaction", e.Seq)
				}
				if !e.Removed {
					r.Reactions = append(r.Reactions, chat.Reaction{User: e.Actor, Emoji: e.Emoji, At: e.At})
				}
			}
			rows[e.MessageSeq] = r
		case chat.EventPin:
			if r := rows[e.MessageSeq]; !r.DeletedAt.IsZero() || slices.Contains(pins, e.Message) != e.Removed {
				m.fail("event %d pins a deleted message, or repeats", e.Seq)
			}
			pins = slices.DeleteFunc(slices.Clone(pins), func(id chat.MessageID) bool { return id == e.Message })
			if !e.Removed {
				pins = append(pins, e.Message)
			}
		case chat.EventConversation:
			if e.Change == chat.ChangePermissions {
				permissions = e.Permissions
			} else {
				name = e.Name
			}
			if e.Change == chat.ChangeCreated {
				for _, u := range e.Users {
					seats[u] = seat{chat.RoleMember, e.Seq}
				}
				seats[e.Actor] = seat{chat.RoleOwner, e.Seq}
			}
		case chat.EventParticipants:
			for _, u := range e.Users {
				switch e.Change {
				case chat.ChangeAdded:
					seats[u] = seat{chat.RoleMember, e.Seq}
				case chat.ChangeRole:
					seats[u] = seat{e.Role, seats[u].joined}
				default:
					delete(seats, u)
				}
			}
		}
	}
	for id, message := range m.ids {
		if seq := seen[id]; len(log) > 0 && (seq == 0 || log[seq-1].Message != message) {
			m.fail("acknowledged %v is lost", id)
		}
	}
	if len(log) == 0 || len(seats) == 0 {
		return
	}
	owners := 0
	receipts := m.store.Receipts(m.key)
	for u, s := range seats {
		if s.role == chat.RoleOwner {
			owners++
		}
		var view *chat.View
		keep := m.onReply
		m.onReply = func(p conversation.Reply) { view = p.Result.View }
		m.submit(u, chat.Attach{Conversation: m.key.ID})
		m.settle()
		m.onReply = keep
		if view == nil {
			m.fail("member %s cannot attach", u)
			return
		}
		if view.Me.Role != s.role || len(view.Members.Users) != len(seats) || view.Head.Seq != uint64(len(log)) || view.Head.MsgNo != msgNo {
			m.fail("%s sees %+v; has role %v of %d members, head %d #%d", u, view.Me, s.role, len(seats), len(log), msgNo)
		}
		read := s.joined
		for _, r := range receipts {
			if r.User == u && r.Kind == chat.ReceiptRead {
				read = max(read, r.Seq)
			}
		}
		if p := m.privately[u]; p.joined == s.joined {
			read = max(read, p.read)
		}
		var hidden []chat.HiddenMessage
		if c := m.counted[u]; c.joined == s.joined {
			hidden = c.hidden
		}
		hides := func(seq uint64) bool {
			return slices.ContainsFunc(hidden, func(h chat.HiddenMessage) bool { return h.Seq == seq })
		}
		if n := uint64(len(hidden)); view.Me.HiddenMessages != n || n > 0 && view.Me.HiddenLast != hidden[n-1].Seq {
			m.fail("%s counts %d hidden messages up to %d, there are %v", u, view.Me.HiddenMessages, view.Me.HiddenLast, hidden)
		}
		if d, _ := m.store.GetDrafts(bg, chat.UserKey{Tenant: tenant, User: u}, []chat.ConversationID{m.key.ID}); !m.half[u] &&
			!view.Me.DraftAt.Equal(d[0].At) {
			m.fail("%s has a draft of %v, it is of %v", u, view.Me.DraftAt, d[0].At)
		}
		var unread uint64
		for _, e := range log[read:] {
			if e.IsMessage() && e.Actor != u && !hides(e.Seq) {
				unread++
			}
		}
		if got := view.Me.Unread(view.Head.MsgNo); got != unread {
			m.fail("%s has %d unread, a recount from receipts gives %d (%+v)", u, got, unread, view.Me)
		}
		m.told(log, seats, receipts, u, view)
		if view.Me.Read.Seq > view.Me.Delivered.Seq {
			m.fail("%s read %d and received only %d", u, view.Me.Read.Seq, view.Me.Delivered.Seq)
		}
	}
	if owners != 1 {
		m.fail("%d owners", owners)
	}
	// What is derived says what the log says, once it is saved.
	m.step(conversation.Flush{})
	m.settle()
	head, members, err := m.store.LoadConversation(bg, m.key)
	if err != nil || head.Seq != uint64(len(log)) || len(members) != len(seats) || head.MemberCount != len(seats) {
		m.fail("derived head %d with %d members (%v), want %d with %d", head.Seq, len(members), err, len(log), len(seats))
	}
	if head.Name != name || head.Permissions != permissions || !slices.Equal(head.Pins, pins) {
		m.fail("derived %q %v %v, want %q %v %v", head.Name, head.Permissions, head.Pins, name, permissions, pins)
	}
	stored := m.store.Log(m.key)
	for seq, want := range rows {
		got := stored[seq-1]
		if n := got.More().Replies; n != replies[seq] {
			m.fail("row of message %d counts %d answers, there are %d", seq, n, replies[seq])
		}
		if got.EditedAt != want.EditedAt || got.DeletedAt != want.DeletedAt || !slices.Equal(got.Reactions, want.Reactions) ||
			!want.EditedAt.IsZero() && got.Content != want.Content || !want.DeletedAt.IsZero() && got.Content != "" {
			m.fail("row of message %d is %s, want %s", seq, describeEvent(&got), describeEvent(&want))
		}
	}
}

// told checks that nobody finds out who has read but by a receipt: of what was written since all of them joined.
func (m *model) told(log []chat.Event, seats map[chat.UserID]seat, receipts []chat.Receipt, u chat.UserID, view *chat.View) {
	var all uint64
	for _, s := range seats {
		all = max(all, s.joined)
	}
	for _, e := range log[all:] {
		known := slices.ContainsFunc(receipts, func(r chat.Receipt) bool {
			return r.Kind == chat.ReceiptRead && r.User != e.Actor && r.Seq >= e.Seq
		})
		if e.IsMessage() && view.ReadByOther(e.Actor, e.Seq) && !known {
			m.fail("%s is told that message %d was read, and no receipt says so", u, e.Seq)
		}
	}
}

// source draws the decisions of a run: rapid's generator, or the bytes of a fuzz input.
type source interface{ n(max int) int }

// run makes some hundred random moves and checks the result.
func (m *model) run(src source, moves int) {
	id := m.key.ID
	who := func() chat.UserID { return chat.UserID(fmt.Sprint(1 + src.n(5))) }
	seq := func() uint64 { return uint64(src.n(max(2, len(m.store.Log(m.key))+2))) }
	message := func() chat.MessageID {
		log := m.store.Log(m.key)
		s := seq()
		if s > 0 && int(s) <= len(log) && log[s-1].IsMessage() {
			return log[s-1].Message
		}
		return chat.NewMessageID(m.key, s, m.now)
	}
	send := func(c chat.Command) { m.pending[m.submit(who(), c)] = true }
	m.pending[m.submit("1", chat.Create{Conversation: id, Kind: chat.Group, Title: "t", Members: []chat.UserID{"2", "3"}})] = true
	m.settle()
	clear(m.pending)
	for range moves {
		switch src.n(31) {
		case 0, 1, 2, 3, 4, 5:
			send(chat.Send{Conversation: id, ClientID: fmt.Sprint("c", src.n(12)), Content: "text"})
		case 6:
			send(chat.Send{Conversation: id, Content: "text"})
		case 7:
			send(chat.MarkRead{Conversation: id, Seq: seq(), Private: src.n(2) == 0})
		case 8:
			send(chat.MarkRead{Conversation: id, Message: message(), Private: src.n(2) == 0})
		case 9:
			send(chat.MarkDelivered{Conversation: id, Seq: seq(), Private: src.n(2) == 0})
		case 10:
			send(chat.Edit{Conversation: id, Message: message(), Content: "edited"})
		case 11:
			if src.n(3) == 0 {
				send(chat.Delete{Conversation: id, Message: message()})
			}
		case 12:
			send(chat.React{Conversation: id, Message: message(), Emoji: "+", Remove: src.n(3) == 0})
		case 13:
			send(chat.AddMembers{Conversation: id, Users: []chat.UserID{who(), who()}})
		case 14:
			send(chat.RemoveMembers{Conversation: id, Users: []chat.UserID{who()}})
		case 15:
			if src.n(3) == 0 {
				send(chat.Leave{Conversation: id})
			} else {
				send(chat.SetRole{Conversation: id, User: who(), Role: chat.Role(1 + src.n(3))})
			}
		case 16:
			send(chat.Resume{Conversation: id, LastSeq: seq()})
			send(chat.Attach{Conversation: id})
		case 17:
			send(chat.Typing{Conversation: id, On: src.n(2) == 0})
		case 18:
			if src.n(4) == 0 {
				m.commit(errRefused)
			} else {
				m.commit(nil)
			}
		case 19:
			m.commit(nil)
		case 20:
			m.finishWrite(nil)
		case 21:
			m.finishRead()
			m.finishLoad(nil)
		case 22:
			m.tick(time.Duration(src.n(2000)) * time.Millisecond)
		case 24:
			m.look()
		case 25:
			m.look()
			m.finishWrite(nil)
		case 26:
			m.commit(errRefused)
		case 27:
			if src.n(2) == 0 {
				m.crashed(src.n(2) == 0, src.n(2) == 0)
			}
		case 28, 29:
			send(chat.Hide{Conversation: id, Message: message()})
		case 30:
			switch src.n(10) {
			case 4:
				send(chat.Pin{Conversation: id, Message: message(), Remove: src.n(3) == 0})
			case 5, 6:
				send(chat.Send{Conversation: id, ClientID: fmt.Sprint("c", src.n(12)), Content: "answer", ReplyTo: message()})
			case 7:
				send(chat.Rename{Conversation: id, Title: fmt.Sprint("t", src.n(3))})
			case 8:
				send(chat.SetPermissions{Conversation: id, Permissions: chat.Permissions{Pin: chat.Role(src.n(4)), Add: chat.Role(src.n(4))}})
			case 9:
				url := fmt.Sprint("https://example.org/", src.n(2))
				send(chat.Send{Conversation: id, Content: url})
				send(chat.Preview{Conversation: id, Message: message(), Preview: chat.LinkPreview{URL: url, Title: "title"}})
			case 0:
				send(chat.SetDraft{Conversation: id, Text: []string{"", "draft"}[src.n(2)]})
			case 1:
				send(chat.Mute{Conversation: id, Until: []time.Time{{}, chat.Forever}[src.n(2)]})
			case 2:
				send(chat.PinConversation{Conversation: id, On: src.n(2) == 0})
			case 3:
				send(chat.Archive{Conversation: id, On: src.n(2) == 0})
			}
		case 23:
			switch src.n(4) {
			case 0:
				m.crashed(src.n(2) == 0, src.n(2) == 0)
			case 1:
				m.finishLoad(errors.New("no storage"))
			case 2:
				m.settle()
			}
		}
	}
	m.settle()
	if len(m.pending) > 0 {
		for r := range m.pending {
			if m.answered[r] == 0 {
				m.fail("%s by %s is never answered", r.Command.Name(), r.Principal.User)
			}
		}
	}
	m.check()
	live := m.sights()
	m.crashed(false, false)
	m.check()
	for u, before := range live {
		if after := m.sights()[u]; after != before {
			a, b := strings.Split(after, "\n"), strings.Split(before, "\n")
			for i := range min(len(a), len(b)) {
				if a[i] != b[i] {
					m.fail("%s sees\n%s\nafter a restart, and saw\n%s", u, a[i], b[i])
				}
			}
		}
	}
}

// sights are all that each member can see, with the state at rest.
func (m *model) sights() map[chat.UserID]string {
	out := map[chat.UserID]string{}
	_, _, set, ok := m.state.Peek("")
	if !ok {
		return out
	}
	keep := m.onReply
	defer func() { m.onReply = keep }()
	for _, u := range set.Users {
		m.onReply = func(p conversation.Reply) {
			v := p.Result.View
			if v == nil {
				return
			}
			s := fmt.Sprintf("%+v %+v %v", v.Head, v.Me, v.Members.Users)
			for _, e := range p.Result.Events {
				s += fmt.Sprintf("\n%+v %+v %v", e, e.More(), e.IsMessage() && v.ReadByOther(e.Actor, e.Seq))
			}
			out[u] = s
		}
		m.submit(u, chat.Resume{Conversation: m.key.ID})
		m.settle()
	}
	return out
}

type rapidSource struct{ t *rapid.T }

func (s rapidSource) n(max int) int { return rapid.IntRange(0, max-1).Draw(s.t, "n") }

// TestModel plays random commands, failures and crashes against the promises.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(nil)
		m.fail = func(format string, args ...any) {
			for _, s := range m.trace {
				t.Log(s)
			}
			t.Fatalf(format, args...)
		}
		m.run(rapidSource{t}, rapid.IntRange(1, 120).Draw(t, "moves"))
	})
}

type byteSource struct{ b []byte }

func (s *byteSource) n(max int) int {
	if len(s.b) == 0 {
		return 0
	}
	x := int(s.b[0])
	s.b = s.b[1:]
	return x % max
}

// FuzzState reads a run from the bytes of its input.
func FuzzState(f *testing.F) {
	f.Add([]byte("send, read, crash and so on"))
	f.Add([]byte{0, 1, 2, 18, 0, 1, 2, 23, 0, 0, 1, 1, 2, 21, 19, 20, 14, 0, 13, 1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		m := newModel(t.Fatalf)
		m.run(&byteSource{b}, min(len(b), 400))
	})
}
