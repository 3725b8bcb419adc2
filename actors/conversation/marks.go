package conversation

import (
	"fmt"
	"time"

	"github.com/zumodra/hub/chat"
)

// mark is an accepted change of a member's own row that is not in the log: a position, or what the member keeps for
// itself (own.go).
type mark struct {
	req     *Request
	kind    chat.ReceiptKind // 0: what the request's command says
	to      chat.Watermark
	message chat.MessageID
	sender  chat.UserID // of message
	// old is the read position that own and marked count from.
	old    uint64
	own    uint64 // the member's own messages in (old, to]
	marked uint64 // the others' there
	// private: nobody else is told, nor finds it out.
	private bool
	// hidden is how many messages the member had hidden when it was counted, hiddenUnread how many of those of others lie
	// in (old, to].
	hidden, hiddenUnread uint64
	value                uint64  // archive
	hide                 *hiding // of Hide
}

// mark waits for its turn to be written.
func (s *State) mark(m mark) { s.marks = append(s.marks, m) }

func (s *State) markRead(r *Request, c chat.MarkRead, m *member, loaded *chat.Event) {
	k := mark{req: r, kind: chat.ReceiptRead, old: m.Read.Seq}
	switch {
	case !c.Message.IsZero():
		e := s.target(r, c.Message, loaded)
		if e == nil {
			return
		}
		k.to = chat.Watermark{Seq: e.Seq, MsgNo: e.MsgNo}
		k.message, k.sender = c.Message, e.Actor
	case c.Seq != 0 && c.Seq < s.head.Seq:
		if c.Seq <= m.Read.Seq {
			s.reply(r, chat.Result{})
			return
		}
		if !s.position(&k, c.Seq) {
			s.park(&Read{Kind: ReadBack, To: c.Seq, req: r})
			return
		}
	default:
		k.to = chat.Watermark{Seq: s.head.Seq, MsgNo: s.head.MsgNo}
		k.message, k.sender = s.head.Last.ID, s.head.Last.Sender
	}
	s.countOwn(k, m)
}

// position resolves a seq from the events in memory: its number of messages, and the newest message there.
func (s *State) position(k *mark, seq uint64) bool {
	if seq >= s.head.Seq {
		k.to, k.message, k.sender = chat.Watermark{Seq: s.head.Seq, MsgNo: s.head.MsgNo}, s.head.Last.ID, s.head.Last.Sender
		return true
	}
	e := s.recent.at(seq)
	if e == nil {
		return false
	}
	k.to = chat.Watermark{Seq: e.Seq, MsgNo: e.MsgNo}
	for ; e != nil; e = s.recent.at(e.Seq - 1) {
		if e.IsMessage() {
			k.message, k.sender = e.Message, e.Actor
			return true
		}
	}
	return e != nil || k.to.MsgNo == 0
}

// countOwn tells the member's own messages in (old, to] from those of others.
func (s *State) countOwn(k mark, m *member) {
	if k.to.Seq <= m.Read.Seq {
		s.reply(k.req, chat.Result{})
		return
	}
	k.hidden = m.HiddenMessages
	switch {
	case k.to.MsgNo == s.head.MsgNo:
		k.own, k.hiddenUnread = m.OwnAfterRead, m.HiddenUnread
	case m.HiddenUnread > 0:
		s.count(&k, m)
		return
	case m.OwnAfterRead == 0:
	case s.recent.covers(m.Read.Seq + 1):
		for seq := m.Read.Seq + 1; seq <= k.to.Seq; seq++ {
			if e := s.recent.at(seq); e.IsMessage() && e.Actor == m.User {
				k.own++
			}
		}
	default:
		s.count(&k, m)
		return
	}
	s.marking(k)
}

// maxCounts is how many reads for positions of one member may be under way: each may go through all that the member has not
// read.
const maxCounts = 8

// count has the log read for a position.
func (s *State) count(k *mark, m *member) {
	n := 0
	for rd := range s.parked {
		if rd.Kind == ReadCount && rd.User == m.User {
			n++
		}
	}
	if n >= maxCounts {
		s.fail(k.req, chat.ErrOverloaded)
		return
	}
	s.park(&Read{Kind: ReadCount, From: m.Read.Seq + 1, To: k.to.Seq, User: m.User, Conceal: m.HiddenUnread > 0, req: k.req, hidden: k.hidden,
		late: []chat.Event{{Seq: k.to.Seq, MsgNo: k.to.MsgNo, Message: k.message, Actor: k.sender}}})
}

// marking queues a read position whose counts are known.
func (s *State) marking(k mark) {
	m := s.find(k.req.Principal.User)
	if k.to.MsgNo <= m.Read.MsgNo+k.own {
		s.reply(k.req, chat.Result{}) // nothing of others lies there
		return
	}
	k.marked = k.to.MsgNo - m.Read.MsgNo - k.own - k.hiddenUnread
	s.mark(k)
}

// markRd goes on with a position that the log had to be read for.
func (s *State) markRd(rd *Read) {
	m := s.find(rd.req.Principal.User)
	if m == nil || !s.exists() {
		s.fail(rd.req, chat.ErrNotMember)
		return
	}
	if rd.Kind == ReadCount {
		if m.Read.Seq+1 != rd.From || m.HiddenMessages != rd.hidden {
			s.accept(rd.req, nil) // another mark came between: count again
			return
		}
		to := rd.late[0]
		s.marking(mark{req: rd.req, kind: chat.ReceiptRead, old: m.Read.Seq, own: rd.Count,
			hidden: rd.hidden, hiddenUnread: unreadOf(rd.Hidden, rd.From, to.Seq),
			to: chat.Watermark{Seq: to.Seq, MsgNo: to.MsgNo}, message: to.Message, sender: to.Actor})
		return
	}
	if len(rd.Events) == 0 || rd.Events[0].Seq != rd.To {
		s.fail(rd.req, chat.ErrNotFound)
		return
	}
	k := mark{req: rd.req, old: m.Read.Seq, to: chat.Watermark{Seq: rd.To, MsgNo: rd.Events[0].MsgNo}}
	for i := range rd.Events {
		if rd.Events[i].IsMessage() {
			k.message, k.sender = rd.Events[i].Message, rd.Events[i].Actor
			break
		}
	}
	if _, ok := rd.req.Command.(chat.MarkDelivered); ok {
		k.kind = chat.ReceiptDelivered
		s.mark(k)
		return
	}
	k.kind = chat.ReceiptRead
	s.countOwn(k, m)
}

func (s *State) markDelivered(r *Request, c chat.MarkDelivered, m *member, _ *chat.Event) {
	k := mark{req: r, kind: chat.ReceiptDelivered}
	seq := min(c.Seq, s.head.Seq)
	switch {
	case seq <= m.Delivered.Seq:
		s.reply(r, chat.Result{})
	case s.position(&k, seq):
		s.mark(k)
	default:
		s.park(&Read{Kind: ReadBack, To: seq, req: r})
	}
}

// writeMarks freezes the positions that wait, one per member, into one write.
func (s *State) writeMarks() {
	queue := s.marks
	s.marks = nil
	w := &Write{Watermarks: true, seq: s.savedSeq}
	var again []*Request
	taken := make(map[chat.UserID]bool, len(queue))
	for i, k := range queue {
		if len(w.marks) == maxMarksWrite {
			s.marks = append(s.marks, queue[i:]...)
			break
		}
		u := k.req.Principal.User
		m := s.find(u)
		switch {
		case !s.exists():
			s.fail(k.req, errGone)
		case m == nil:
			s.fail(k.req, chat.ErrNotMember)
		case taken[u]:
			s.marks = append(s.marks, k)
		case k.counts() && (m.Read.Seq != k.old || m.HiddenMessages != k.hidden):
			again = append(again, k.req)
		case k.hide != nil && k.hide.row.Seq > s.savedSeq: // stored counts are exact as of the stored head
			s.marks, s.urgent = append(s.marks, k), true
		case k.kind == chat.ReceiptDelivered && k.to.Seq <= m.Delivered.Seq:
			s.reply(k.req, chat.Result{})
		default:
			taken[u] = true
			k.private = s.private(k.req.Command)
			k.to.At = later(later(s.now, m.Read.At), m.Delivered.At)
			before, after := m.Shown(), m.Member // what was read privately is shown by this read
			if k.kind == chat.ReceiptDelivered {
				before = m.Delivered.Seq
			}
			k.applyTo(&after)
			// Stored rows are exact as of the stored head: own messages beyond it are counted by the replay.
			for _, x := range s.unsaved {
				if x.Sender == u && x.seq > after.Read.Seq && after.OwnAfterRead > 0 {
					after.OwnAfterRead--
				}
			}
			w.Members = append(w.Members, after)
			k.keep(&w.Personal)
			if k.kind != 0 && !k.private {
				w.Receipts = append(w.Receipts, chat.Receipt{User: u, Kind: k.kind, Seq: k.to.Seq, From: before, At: k.to.At})
			}
			w.marks = append(w.marks, k)
		}
	}
	if len(w.marks) > 0 {
		s.write, s.fx.Write = w, w
	}
	for _, r := range again {
		s.command(r)
	}
}

// applyTo changes the member's row as the mark says.
func (k *mark) applyTo(m *chat.Member) {
	switch k.kind {
	case chat.ReceiptRead:
		if k.to.Seq <= m.Read.Seq {
			return
		}
		switch {
		case !k.private:
			m.Hidden = 0
		case m.Hidden == 0:
			m.Hidden = m.Read.Seq + 1
		}
		m.Read = k.to
		m.OwnAfterRead -= min(k.own, m.OwnAfterRead)
		m.HiddenUnread -= min(k.hiddenUnread, m.HiddenUnread)
		if m.Delivered.Seq < k.to.Seq {
			m.Delivered = k.to
		}
	case chat.ReceiptDelivered:
		if k.to.Seq > m.Delivered.Seq {
			m.Delivered = k.to
		}
	default:
		k.applyOwn(m)
	}
}

// marked makes written positions visible.
func (s *State) marked(w *Write) {
	var d *chat.Delivery
	for i := range w.marks {
		k := &w.marks[i]
		if w.Err != nil {
			s.fail(k.req, fmt.Errorf("save position: %w", w.Err))
			continue
		}
		m := s.find(k.req.Principal.User)
		if m != nil {
			k.applyTo(&m.Member)
			s.advanced(m)
		}
		s.reply(k.req, chat.Result{Marked: k.marked})
		if m != nil && k.kind == 0 {
			s.tellOwn(k, m)
		}
		if m == nil || k.kind == 0 || k.private || s.bar.on {
			continue
		}
		n := chat.Notice{Origin: k.req.Origin, Read: &chat.ReadNotice{Kind: k.kind, User: k.req.Principal.User,
			Username: k.req.Principal.Username, Message: k.message, Seq: k.to.Seq, At: k.to.At}}
		if len(s.members) > s.rules.NamedReaders {
			if k.kind == chat.ReceiptRead {
				s.publish(s.alone(m, k.req, n))
				s.readInCrowd(k)
			}
			continue
		}
		if d == nil {
			d = &chat.Delivery{Key: s.key, Recipients: s.set, AcceptedAt: k.req.At}
		}
		d.Notices = append(d.Notices, n)
	}
	if d != nil {
		s.publish(d)
	}
}

// alone is a delivery to the sessions of one member.
func (s *State) alone(m *member, r *Request, n chat.Notice) *chat.Delivery {
	return &chat.Delivery{Key: s.key, Recipients: &chat.MemberSet{Version: s.head.Seq, Users: []chat.UserID{m.User}},
		AcceptedAt: r.At, Notices: []chat.Notice{n}}
}

// CrowdDelay is how long the readers of a group of more than Rules.NamedReaders members are gathered before all are told of
// them.
const CrowdDelay = time.Second

// crowd is what such a group is to be told: one notice a CrowdDelay instead of one for every reader, each to all.
type crowd struct {
	due     time.Time      // zero: nothing
	message chat.MessageID // the newest that somebody has read
	sender  chat.UserID
	at      time.Time // of the latest read
}

func (s *State) readInCrowd(k *mark) {
	c := &s.crowd
	if c.due.IsZero() {
		c.due = s.now.Add(CrowdDelay)
	}
	if k.message.Seq() >= c.message.Seq() {
		c.message, c.sender = k.message, k.sender
	}
	c.at = later(c.at, k.to.At)
}

// tellCrowd tells all members how many of them have read the newest message that somebody has read since.
func (s *State) tellCrowd() {
	c := s.crowd
	if c.due.IsZero() || c.due.After(s.now) {
		return
	}
	s.crowd = crowd{}
	if !s.exists() || c.message.IsZero() {
		return
	}
	n := &chat.ReadNotice{Kind: chat.ReceiptRead, Message: c.message, Seq: c.message.Seq(), At: c.at}
	for i := range s.members {
		if m := &s.members[i]; m.User != c.sender && m.HasRead(n.Seq) {
			n.Readers++
		}
	}
	if n.Readers > 0 {
		s.publish(&chat.Delivery{Key: s.key, Recipients: s.set, AcceptedAt: s.now, Notices: []chat.Notice{{Read: n}}})
	}
}
