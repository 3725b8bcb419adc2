package conversation

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/zumodra/hub/chat"
)

// What members keep for themselves: it is written as positions are, in the member's own row, and told to that member's
// sessions alone.

var errHidden = &chat.FieldError{Field: "message_id", Text: fmt.Sprintf("At most %d messages of a conversation can be hidden.", chat.MaxHidden)}

// hiding is a message that is to be hidden, and the member's counts with it.
type hiding struct {
	row                 chat.HiddenMessage
	count, last, unread uint64
}

func (s *State) archive(r *Request, c chat.Archive) {
	k := mark{req: r}
	if c.On {
		k.value = s.head.MsgNo + 1
	}
	s.mark(k)
}

func (s *State) mute(r *Request, c chat.Mute) {
	if !c.Until.IsZero() && !c.Until.After(s.now) {
		s.fail(r, &chat.FieldError{Field: "until", Text: "Must be in the future."})
		return
	}
	s.mark(mark{req: r})
}

func (s *State) setDraft(r *Request, c chat.SetDraft) {
	if _, err := chat.NormalizeDraft(c.Text); err != nil {
		s.fail(r, err)
		return
	}
	if !c.ReplyTo.IsZero() && !c.ReplyTo.MayBelongTo(s.key) {
		s.fail(r, errReplyTo)
		return
	}
	s.mark(mark{req: r})
}

// hide reads the message and what else the member has hidden: its counts are made anew each time, so that a row which a
// crash left without them is counted when the command comes again.
func (s *State) hide(r *Request, c chat.Hide, m *member) {
	if _, ok := s.message(c.Message, nil); !ok {
		s.fail(r, chat.ErrNotFound)
		return
	}
	s.park(&Read{Kind: ReadHidden, To: c.Message.Seq(), User: m.User, req: r, hidden: m.HiddenMessages})
}

// hidden goes on with a hide whose member's list was read.
func (s *State) hidden(rd *Read) {
	r := rd.req
	m := s.find(r.Principal.User)
	c, ok := r.Command.(chat.Hide)
	if !ok || m == nil || !s.exists() || len(rd.Events) != 1 {
		s.fail(r, chat.ErrNotFound)
		return
	}
	e, ok := s.message(c.Message, &rd.Events[0])
	if !ok || e == nil {
		s.fail(r, chat.ErrNotFound)
		return
	}
	i, has := slices.BinarySearchFunc(rd.Hidden, e.Seq, bySeq)
	switch {
	case m.HiddenMessages != rd.hidden:
		s.accept(r, nil) // another one came between
		return
	case has && m.HiddenMessages == uint64(len(rd.Hidden)):
		s.reply(r, chat.Result{})
		return
	case !has && len(rd.Hidden) >= chat.MaxHidden:
		s.fail(r, errHidden)
		return
	}
	h := &hiding{row: chat.HiddenMessage{Seq: e.Seq, MsgNo: e.MsgNo, ReplyTo: e.More().ReplyTo.Seq(), Own: e.Actor == m.User}}
	list := rd.Hidden
	if !has {
		list = slices.Insert(slices.Clone(list), i, h.row)
	}
	h.count, h.last, h.unread = uint64(len(list)), list[len(list)-1].Seq, unreadOf(list, m.Read.Seq+1, s.head.Seq)
	s.urgent = s.urgent || e.Seq > s.savedSeq // writeMarks waits until it is saved
	s.mark(mark{req: r, old: m.Read.Seq, hidden: m.HiddenMessages, hide: h})
}

func bySeq(h chat.HiddenMessage, seq uint64) int {
	switch {
	case h.Seq < seq:
		return -1
	case h.Seq > seq:
		return 1
	}
	return 0
}

// unreadOf counts the hidden messages of others in from … to.
func unreadOf(list []chat.HiddenMessage, from, to uint64) (n uint64) {
	i := sort.Search(len(list), func(i int) bool { return list[i].Seq >= from })
	for ; i < len(list) && list[i].Seq <= to; i++ {
		if !list[i].Own {
			n++
		}
	}
	return n
}

// conceal replaces the events about hidden messages.
func conceal(events []chat.Event, hidden []chat.HiddenMessage) {
	if len(hidden) == 0 {
		return
	}
	for i := range events {
		if _, is := slices.BinarySearchFunc(hidden, events[i].Concerns(), bySeq); is {
			events[i] = events[i].Concealed()
		}
	}
}

// counts reports whether the mark rests on counts that another one may have changed.
func (k *mark) counts() bool { return k.kind == chat.ReceiptRead || k.hide != nil }

// applyOwn changes the member's row as the command says.
func (k *mark) applyOwn(m *chat.Member) {
	switch c := k.req.Command.(type) {
	case chat.Archive:
		m.ArchivedAt = k.value
	case chat.Mute:
		m.MutedUntil = c.Until.UTC().Truncate(time.Microsecond)
	case chat.PinConversation:
		switch {
		case !c.On:
			m.PinnedAt = time.Time{}
		case m.PinnedAt.IsZero():
			m.PinnedAt = k.to.At
		}
	case chat.SetDraft:
		if m.DraftAt = (time.Time{}); k.draft(c).Text != "" {
			m.DraftAt = k.to.At
		}
	case chat.Hide:
		m.HiddenMessages, m.HiddenLast, m.HiddenUnread = k.hide.count, k.hide.last, k.hide.unread
	}
}

func (k *mark) draft(c chat.SetDraft) chat.Draft {
	d := chat.Draft{Conversation: c.Conversation, At: k.to.At}
	if d.Text, _ = chat.NormalizeDraft(c.Text); d.Text != "" {
		d.ReplyTo = c.ReplyTo
	}
	return d
}

// keep adds the rows that the mark makes.
func (k *mark) keep(p *chat.Personal) {
	switch c := k.req.Command.(type) {
	case chat.SetDraft:
		p.Drafts = append(p.Drafts, chat.DraftRow{User: k.req.Principal.User, Draft: k.draft(c)})
	case chat.Hide:
		p.Hidden = append(p.Hidden, chat.HiddenRow{User: k.req.Principal.User, HiddenMessage: k.hide.row})
	}
}

// tellOwn tells the sessions of a member, and nobody else.
func (s *State) tellOwn(k *mark, m *member) {
	n := &chat.OwnNotice{}
	switch c := k.req.Command.(type) {
	case chat.Hide:
		n.Hidden = c.Message
	case chat.SetDraft:
		d := k.draft(c)
		n.Draft = &d
	default:
		set := m.Settings(s.head.MsgNo)
		if !set.Muted(s.now) {
			set.MutedUntil = time.Time{}
		}
		n.Settings = &set
	}
	s.publish(s.alone(m, k.req, chat.Notice{Own: n, Origin: k.req.Origin}))
}
