package conversation

import (
	"cmp"
	"slices"
	"time"

	"github.com/zumodra/hub/chat"
)

// apply brings the state up to e, the next event of the log: after its commit, and again when the log is
// replayed on activation.
func (s *State) apply(e *chat.Event) {
	s.head.Seq, s.head.Epoch, s.head.MsgNo = e.Seq, e.Epoch, e.MsgNo
	if s.dirtySince.IsZero() {
		s.dirtySince = s.now
	}
	s.recent.push(e)
	at := chat.Watermark{Seq: e.Seq, MsgNo: e.MsgNo, At: e.At}
	switch e.Type {
	case chat.EventMessage:
		s.head.UpdatedAt = e.At
		s.head.Last = chat.LastMessage{Seq: e.Seq, ID: e.Message, Sender: e.Actor,
			Text: chat.Truncate(e.Content, chat.LastMessageText), At: e.At}
		if m := s.find(e.Actor); m != nil {
			read := m.Read.Seq
			m.sent(e)
			if m.Read.Seq != read {
				s.advanced(m)
			}
		}
		s.unsaved = append(s.unsaved, sentRef{chat.SenderClientID{Sender: e.Actor, ClientID: e.ClientID}, e.Seq, subject(e)})
		s.remember(e)
	case chat.EventEdited:
		if e.MessageSeq == s.head.Last.Seq {
			s.head.Last.Text = chat.Truncate(e.Content, chat.LastMessageText)
		}
	case chat.EventDeleted:
		if e.MessageSeq == s.head.Last.Seq {
			s.head.Last.Text = ""
		}
		s.head.Pins = pinned(s.head.Pins, e.Message, true)
	case chat.EventPin:
		s.head.Pins = pinned(s.head.Pins, e.Message, e.Removed)
	case chat.EventConversation:
		s.head.UpdatedAt = e.At
		if e.Change == chat.ChangePermissions {
			s.head.Permissions = e.Permissions
			break
		}
		s.head.Name = e.Name
		if e.Change != chat.ChangeCreated {
			break
		}
		s.head.Kind, s.head.CreatedBy, s.head.CreatedAt = e.Kind, e.Actor, e.At
		s.roster.add(e.Users, chat.RoleMember, at)
		if m := s.find(e.Actor); m != nil && e.Kind == chat.Group {
			m.Role = chat.RoleOwner
		}
	case chat.EventParticipants:
		s.head.UpdatedAt = e.At
		s.applyParticipants(e, at)
	}
	s.head.MemberCount = len(s.members)
	if len(s.members) == 0 {
		s.end()
	}
}

func (s *State) applyParticipants(e *chat.Event, at chat.Watermark) {
	switch e.Change {
	case chat.ChangeAdded:
		s.roster.add(e.Users, chat.RoleMember, at)
		s.removed = slices.DeleteFunc(s.removed, func(u chat.UserID) bool { return slices.Contains(e.Users, u) })
	case chat.ChangeRemoved, chat.ChangeLeft:
		s.roster.remove(e.Users, e.Seq)
		for _, u := range e.Users {
			s.removed = append(s.removed, u)
			if t, ok := s.typing[u]; ok {
				t.until = time.Time{} // ends with this step
				s.typing[u] = t
			}
		}
	case chat.ChangeRole:
		for _, u := range e.Users {
			if m := s.find(u); m != nil {
				m.Role, m.dirty = e.Role, true
			}
		}
	}
}

// changed is the message as an event leaves it, or nil if the event does not concern a message.
func changed(message, e *chat.Event) *chat.Event {
	if message == nil || message.Seq != subject(e) || !message.IsMessage() {
		return nil
	}
	m := *message
	switch e.Type {
	case chat.EventMessage:
		return answered(message, e)
	case chat.EventEdited:
		m.Content, m.EditedAt = e.Content, e.At
		x, now := m.More(), e.More()
		x.Mentions, x.MentionAll = now.Mentions, now.MentionAll
		if x.Preview != nil && x.Preview.URL != chat.FirstLink(e.Content) {
			x.Preview = nil
		}
		m.Extras = kept(x)
	case chat.EventPreview:
		x := m.More()
		x.Preview = e.More().Preview
		m.Extras = kept(x)
	case chat.EventDeleted:
		m.Content, m.Reactions, m.File, m.DeletedAt = "", nil, nil, e.At
		x := m.More()
		m.Extras = kept(chat.Extras{ReplyTo: x.ReplyTo, Replies: x.Replies, LastReply: x.LastReply})
	case chat.EventReaction:
		same := func(x chat.Reaction) bool { return x.User == e.Actor && x.Emoji == e.Emoji }
		i := slices.IndexFunc(m.Reactions, same)
		switch {
		case e.Removed && i >= 0:
			m.Reactions = slices.Delete(slices.Clone(m.Reactions), i, i+1)
		case !e.Removed && i < 0:
			m.Reactions = append(slices.Clip(m.Reactions), chat.Reaction{User: e.Actor, Emoji: e.Emoji, At: e.At})
		}
	default:
		return nil
	}
	return &m
}

// subject is the place of the message that an event changes: the one it edits, deletes or reacts to, or answers. 0: none.
func subject(e *chat.Event) uint64 {
	switch e.Type {
	case chat.EventEdited, chat.EventDeleted, chat.EventReaction, chat.EventPreview:
		return e.MessageSeq
	case chat.EventMessage:
		if e.Extras != nil {
			return e.Extras.ReplyTo.Seq()
		}
	}
	return 0
}

// answered counts a committed reply, unless the message has counted it already: its row may be newer than the log
// that is replayed.
func answered(message, reply *chat.Event) *chat.Event {
	x := message.More()
	if reply.Seq <= x.LastReply {
		return nil
	}
	m := *message
	x.Replies, x.LastReply = x.Replies+1, reply.Seq
	m.Extras = &x
	return &m
}

// counting is row with the replies that other, a newer state in that respect, has counted.
func counting(row, other *chat.Event) *chat.Event {
	if other == nil || other.More().LastReply <= row.More().LastReply {
		return row
	}
	m, x := *row, row.More()
	x.Replies, x.LastReply = other.Extras.Replies, other.Extras.LastReply
	m.Extras = &x
	return &m
}

// kept is nil for extras that say nothing.
func kept(x chat.Extras) *chat.Extras {
	if x.ReplyTo.IsZero() && x.Replies == 0 && len(x.Mentions) == 0 && !x.MentionAll && x.Forwarded.User == "" && x.Preview == nil {
		return nil
	}
	return &x
}

// Targets are the seqs of the messages before the first of events that events refer to: what Loaded.Rows is
// to hold.
func Targets(events []chat.Event) []uint64 {
	var out []uint64
	for i := range events {
		if about := subject(&events[i]); about > 0 && about < events[0].Seq {
			out = append(out, about)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// commitEvent makes one committed event visible: state, resumes that are under way, delivery.
func (s *State) commitEvent(b *Batch, it *item, e *chat.Event) {
	if it.row != nil && e.MessageSeq == it.row.Seq {
		w := s.rows[it.row.Seq]
		row := counting(it.row, w.committed)
		if w.accepted == it.row {
			w.accepted = row
		}
		w.committed, w.save = row, true
		s.recent.replace(row)
		s.urgent = true
	}
	if it.replyTo != 0 {
		w := s.rows[it.replyTo]
		w.replies--
		row := answered(w.committed, e)
		if w.accepted == w.committed {
			w.accepted = row
		}
		w.committed, w.save = row, true
		s.recent.replace(row)
		s.urgent = true
	}
	before := s.set
	s.apply(e)
	for rd := range s.parked {
		if rd.Kind == ReadRange && len(rd.late) <= maxResume { // more is too much for a resume
			rd.late = append(rd.late, *e)
		}
	}
	n := chat.Notice{Event: e, Origin: it.req.Origin}
	if e.Type == chat.EventParticipants && (e.Change == chat.ChangeRemoved || e.Change == chat.ChangeLeft) {
		d := s.delivery(b, before)
		d.Notices = append(d.Notices, n)
		d.Detached, d.Gone = e.Users, s.gone
		return
	}
	d := s.delivery(b, s.set)
	d.Notices = append(d.Notices, n)
	if t, ok := s.typing[e.Actor]; ok && e.Type == chat.EventMessage {
		delete(s.typing, e.Actor)
		d.Notices = append(d.Notices, chat.Notice{Typing: &chat.TypingNotice{User: e.Actor, Username: t.name}})
	}
}

// delivery is the one under construction, if it goes to the same users, or a new one behind it.
func (s *State) delivery(b *Batch, to *chat.MemberSet) *chat.Delivery {
	if n := len(b.deliveries); n > 0 {
		if d := b.deliveries[n-1]; d.Recipients == to && d.Detached == nil {
			return d
		}
	}
	var d *chat.Delivery
	if b.lone != nil {
		d = &b.lone.delivery
		d.Notices = b.lone.notices[:0]
	} else {
		d = &chat.Delivery{Notices: make([]chat.Notice, 0, len(b.Events))}
	}
	d.Key, d.Recipients, d.AcceptedAt = s.key, to, b.At
	b.deliveries = append(b.deliveries, d)
	return d
}

func (s *State) flushDeliveries(b *Batch) {
	for _, d := range b.deliveries {
		s.publish(d)
	}
	clear(b.deliveries)
	b.deliveries = b.deliveries[:0]
}

// oldest copies at most limit members in the order of joining.
func oldest(members []member, limit int) []chat.Member {
	if limit >= len(members) {
		out := make([]chat.Member, len(members))
		for i := range members {
			out[i] = members[i].Member
		}
		SortByJoining(out)
		return out
	}
	// Members are sorted by id, so one that joined in the same event as the last chosen comes behind it.
	chosen := make([]*member, 0, limit+1)
	for i := range members {
		m := &members[i]
		if len(chosen) == limit && m.JoinedSeq >= chosen[limit-1].JoinedSeq {
			continue
		}
		at, _ := slices.BinarySearchFunc(chosen, m.JoinedSeq+1, func(c *member, seq uint64) int {
			return cmp.Compare(c.JoinedSeq, seq)
		})
		chosen = slices.Insert(chosen, at, m)
		chosen = chosen[:min(limit, len(chosen))]
	}
	out := make([]chat.Member, len(chosen))
	for i, m := range chosen {
		out[i] = m.Member
	}
	return out
}

// SortByJoining sorts members as they are shown: the longest-standing first.
func SortByJoining(ms []chat.Member) {
	slices.SortFunc(ms, func(a, b chat.Member) int {
		return cmp.Or(cmp.Compare(a.JoinedSeq, b.JoinedSeq), cmp.Compare(a.User, b.User))
	})
}
