package conversation

import (
	"errors"
	"fmt"
	"time"

	"github.com/zumodra/hub/chat"
)

// accept judges a request against the state; loaded is the event that it had to be put off for, if any.
func (s *State) accept(r *Request, loaded *chat.Event) {
	if c, ok := r.Command.(chat.Create); ok {
		s.create(r, c)
		return
	}
	if _, ok := r.Command.(chat.Erase); ok {
		s.erase(r)
		return
	}
	if !s.exists() {
		if s.gone {
			s.fail(r, errGone)
		} else {
			s.fail(r, chat.ErrNotFound)
		}
		return
	}
	m := s.find(r.Principal.User)
	if m == nil {
		s.fail(r, chat.ErrNotMember)
		return
	}
	if err := s.allowed(r.Command, m); err != nil {
		s.fail(r, err)
		return
	}
	if s.bar.on && disturbs(r.Command) {
		s.fail(r, chat.ErrBlocked)
		return
	}
	switch c := r.Command.(type) {
	case chat.Send:
		s.send(r, c, m, loaded)
	case chat.Attach:
		s.reply(r, chat.Result{View: s.view(m)})
	case chat.MarkRead:
		s.markRead(r, c, m, loaded)
	case chat.MarkDelivered:
		s.markDelivered(r, c, m, loaded)
	case chat.Typing:
		s.type_(r, c)
	case chat.Resume:
		s.resume(r, c, m)
	case chat.Edit:
		s.edit(r, c, m, loaded)
	case chat.Delete:
		s.delete(r, c, m, loaded)
	case chat.React:
		s.react(r, c, loaded)
	case chat.Pin:
		s.pin(r, c, loaded)
	case chat.Preview:
		s.preview(r, c, loaded)
	case chat.AddMembers:
		s.addMembers(r, c, m)
	case chat.RemoveMembers:
		s.removeMembers(r, c, m)
	case chat.Leave:
		s.leave(r, m)
	case chat.Rename:
		s.rename(r, c)
	case chat.SetRole:
		s.setRole(r, c, m)
	case chat.SetPermissions:
		s.setPermissions(r, c, m)
	case chat.Archive:
		s.archive(r, c)
	case chat.Mute:
		s.mute(r, c)
	case chat.PinConversation:
		s.mark(mark{req: r})
	case chat.SetDraft:
		s.setDraft(r, c)
	case chat.Hide:
		s.hide(r, c, m)
	case Bar:
		s.setBar(r, c)
	default:
		s.fail(r, fmt.Errorf("%w: unknown command %s", chat.ErrInvalid, r.Command.Name()))
	}
}

// allowed asks the table about commands that are not every member's to give, whatever they are about.
func (s *State) allowed(c chat.Command, m *member) error {
	var a chat.Act
	switch c.(type) {
	case chat.AddMembers:
		a = chat.ActAddMembers
	case chat.Leave:
		a = chat.ActLeave
	case chat.RemoveMembers:
		a = chat.ActRemoveMembers
	case chat.Rename:
		a = chat.ActRename
	case chat.SetRole:
		a = chat.ActSetRole
	case chat.SetPermissions:
		a = chat.ActSetPermissions
	case chat.Pin:
		a = chat.ActPin
	default:
		return nil
	}
	return s.may(a, m)
}

func (s *State) may(a chat.Act, m *member) error {
	return a.Allowed(s.head.Kind, m.Role, s.head.Permissions)
}

// at is the time of the next event: never before that of the one before it.
func (s *State) at() time.Time {
	s.lastAt = later(s.lastAt, s.now)
	return s.lastAt
}

func (s *State) event(r *Request, t chat.EventType) chat.Event {
	return chat.Event{Type: t, At: s.at(), Actor: r.Principal.User, ActorName: r.Principal.Username}
}

// queue puts an accepted item behind the others.
func (s *State) queue(it item) {
	s.ord++
	it.ord = s.ord
	if it.has {
		it.size = 384 + extrasSize(it.ev.Extras) + len(it.ev.Content) + len(it.ev.ClientID) + len(it.ev.Name) + 24*len(it.ev.Users)
		if f := it.ev.File; f != nil {
			it.size += 64 + len(f.Name) + len(f.Type)
		}
		if it.row != nil {
			s.modify(&it)
		}
	}
	s.pending = append(s.pending, it)
}

func extrasSize(x *chat.Extras) int {
	if x == nil {
		return 0
	}
	n := 24 * len(x.Mentions)
	if p := x.Preview; p != nil {
		n += len(p.URL) + len(p.Title) + len(p.Description) + len(p.Site) + len(p.Image)
	}
	return n
}

// queueBarrier queues a change of membership: whatever comes after it waits until it took effect.
func (s *State) queueBarrier(it item) {
	s.queue(it)
	s.barrier = s.ord
}

// modify notes what an accepted command makes of a message. Where nothing else was accepted, what it found is committed.
func (s *State) modify(it *item) {
	w := s.rows[it.row.Seq]
	if w == nil {
		s.setRow(it.was)
		w = s.rows[it.row.Seq]
	}
	w.accepted, w.ord = it.row, it.ord
}

func (s *State) send(r *Request, c chat.Send, m *member, loaded *chat.Event) {
	if _, waits := s.answering[m.User]; waits {
		s.deferred = append(s.deferred, r)
		return
	}
	content, err := chat.NormalizeContent(c.Content)
	if c.File != nil && errors.Is(err, chat.ErrEmptyMessage) {
		err = nil
	}
	if err != nil {
		s.fail(r, err)
		return
	}
	if c.ClientID, err = chat.NormalizeClientID(c.ClientID); err != nil {
		s.fail(r, err)
		return
	}
	if c.ClientID != "" {
		id := chat.SenderClientID{Sender: r.Principal.User, ClientID: c.ClientID}
		switch seq, ok := s.window.get(id); {
		case ok && seq > 0:
			s.duplicate(r, seq)
			return
		case ok:
			s.queue(item{req: r, dup: true})
			return
		}
	}
	x := chat.Extras{ReplyTo: c.ReplyTo, Forwarded: c.Forwarded}
	if x.Forwarded.User == "" { // what somebody else wrote mentions nobody here
		if x.Mentions, x.MentionAll, err = s.mentions(m, c.Mentions, c.MentionAll, content); err != nil {
			s.fail(r, err)
			return
		}
	}
	it := item{req: r, has: true}
	if !c.ReplyTo.IsZero() {
		if it.replyTo = s.replyTo(r, c.ReplyTo, loaded); it.replyTo == 0 {
			return
		}
	}
	if c.ClientID != "" {
		s.window.claim(chat.SenderClientID{Sender: r.Principal.User, ClientID: c.ClientID})
	}
	it.ev = s.event(r, chat.EventMessage)
	it.ev.ClientID, it.ev.Content, it.ev.IsVoice, it.ev.Extras, it.ev.File = c.ClientID, content, c.IsVoice, kept(x), c.File
	s.queue(it)
}

// duplicate answers with the event that the command became the first time.
func (s *State) duplicate(r *Request, seq uint64) {
	e := s.recent.at(seq)
	if w := s.rows[seq]; w != nil && w.committed != nil {
		e = w.committed
	}
	if e == nil {
		s.park(&Read{Kind: ReadOne, To: seq, req: r, dup: true})
		return
	}
	s.fx.Duplicates++
	s.reply(r, chat.Result{Event: e, Duplicate: true})
}

func (s *State) park(rd *Read) {
	if s.parked == nil {
		s.parked = make(map[*Read]struct{})
	}
	rd.since = s.writes
	s.parked[rd] = struct{}{}
	s.fx.Reads = append(s.fx.Reads, rd)
}

// readDone goes on with the request that a read was for.
func (s *State) readDone(rd *Read) {
	if _, ok := s.parked[rd]; !ok {
		return
	}
	delete(s.parked, rd)
	if rd.replyTo {
		s.replyRead(rd)
		return
	}
	if rd.Err != nil {
		s.fail(rd.req, fmt.Errorf("read log: %w", rd.Err))
		return
	}
	switch {
	case rd.dup && s.bar.on: // the block was answered meanwhile
		s.fail(rd.req, chat.ErrBlocked)
	case rd.dup:
		if len(rd.Events) == 0 {
			s.fail(rd.req, fmt.Errorf("read log: event %d: %w", rd.To, chat.ErrUnavailable))
			return
		}
		s.fx.Duplicates++
		s.reply(rd.req, chat.Result{Event: &rd.Events[0], Duplicate: true})
	case s.barrier != 0 || s.phase != ready:
		s.deferred = append(s.deferred, rd.req)
	case rd.Kind == ReadHidden:
		s.hidden(rd)
	case rd.Kind == ReadRange:
		s.resumed(rd)
	case rd.Kind == ReadOne && len(rd.Events) == 1:
		s.accept(rd.req, &rd.Events[0])
	case rd.Kind == ReadCount || rd.Kind == ReadBack:
		s.markRd(rd)
	default:
		s.fail(rd.req, chat.ErrNotFound)
	}
}

// lookup finds the newest accepted state of an event among what is in memory.
func (s *State) lookup(seq uint64, loaded *chat.Event) *chat.Event {
	if w := s.rows[seq]; w != nil {
		return w.accepted
	}
	if e := s.recent.at(seq); e != nil {
		return e
	}
	if loaded != nil && loaded.Seq == seq {
		return loaded
	}
	return nil
}

// target finds the message that a command is about. It answers, or parks, the request if it cannot.
func (s *State) target(r *Request, id chat.MessageID, loaded *chat.Event) *chat.Event {
	e, ok := s.message(id, loaded)
	switch {
	case !ok:
		s.fail(r, chat.ErrNotFound)
	case e == nil:
		s.park(&Read{Kind: ReadOne, To: id.Seq(), req: r})
	}
	return e
}

// message is the one that id names as accepted commands leave it, nil if it has to be read; false if there is none.
func (s *State) message(id chat.MessageID, loaded *chat.Event) (*chat.Event, bool) {
	seq := id.Seq()
	if seq == 0 || seq > s.head.Seq || !id.MayBelongTo(s.key) {
		return nil, false
	}
	e := s.lookup(seq, loaded)
	if e != nil && (!e.IsMessage() || e.Message != id) {
		return nil, false
	}
	return e, true
}

// noop answers a command that changes nothing, once what made it so is durable.
func (s *State) noop(r *Request, seq uint64) {
	if w := s.rows[seq]; w != nil && w.ord > s.committedOrd {
		s.queue(item{req: r})
		return
	}
	s.reply(r, chat.Result{})
}

func (s *State) edit(r *Request, c chat.Edit, m *member, loaded *chat.Event) {
	content, err := chat.NormalizeContent(c.Content)
	if err != nil {
		s.fail(r, err)
		return
	}
	row := s.target(r, c.Message, loaded)
	switch {
	case row == nil:
		return
	case !row.DeletedAt.IsZero():
		s.fail(r, chat.ErrNotFound)
		return
	case row.Actor != r.Principal.User || anothers(row):
		s.fail(r, chat.ErrForbidden)
		return
	case s.rules.EditWindow < 0 || s.now.Sub(row.At) > s.rules.EditWindow:
		s.fail(r, chat.ErrEditWindow)
		return
	}
	var x chat.Extras
	if x.Mentions, x.MentionAll, err = s.mentions(m, c.Mentions, c.MentionAll, content); err != nil {
		s.fail(r, err)
		return
	}
	it := item{req: r, has: true, ev: s.event(r, chat.EventEdited)}
	it.ev.Message, it.ev.MessageSeq, it.ev.Content, it.ev.Extras = c.Message, row.Seq, content, kept(x)
	it.row, it.was = changed(row, &it.ev), row
	s.queue(it)
}

// anothers reports whether a message is a copy of what somebody else wrote: an edit would put words into their mouth.
func anothers(row *chat.Event) bool {
	by := row.More().Forwarded.User
	return by != "" && by != row.Actor
}

func (s *State) delete(r *Request, c chat.Delete, m *member, loaded *chat.Event) {
	row := s.target(r, c.Message, loaded)
	switch {
	case row == nil:
		return
	case row.Actor != r.Principal.User && s.may(chat.ActDeleteOthers, m) != nil:
		s.fail(r, s.may(chat.ActDeleteOthers, m))
		return
	case !row.DeletedAt.IsZero():
		s.noop(r, row.Seq)
		return
	}
	it := item{req: r, has: true, ev: s.event(r, chat.EventDeleted)}
	it.ev.Message, it.ev.MessageSeq = c.Message, row.Seq
	it.row, it.was = changed(row, &it.ev), row
	s.queue(it)
}

// preview keeps what a message links to, if it still links there.
func (s *State) preview(r *Request, c chat.Preview, loaded *chat.Event) {
	if !c.Preview.Valid() {
		s.fail(r, fmt.Errorf("%w: link preview", chat.ErrInvalid))
		return
	}
	row := s.target(r, c.Message, loaded)
	if row == nil {
		return
	}
	old := row.More().Preview
	if row.Actor != r.Principal.User || !row.DeletedAt.IsZero() || chat.FirstLink(row.Content) != c.Preview.URL || old != nil && *old == c.Preview {
		s.noop(r, row.Seq)
		return
	}
	it := item{req: r, has: true, ev: s.event(r, chat.EventPreview)}
	it.ev.Message, it.ev.MessageSeq, it.ev.Extras = c.Message, row.Seq, &chat.Extras{Preview: &c.Preview}
	it.row, it.was = changed(row, &it.ev), row
	s.queue(it)
}

func (s *State) react(r *Request, c chat.React, loaded *chat.Event) {
	emoji, err := chat.NormalizeEmoji(c.Emoji)
	if err != nil {
		s.fail(r, err)
		return
	}
	row := s.target(r, c.Message, loaded)
	if row == nil {
		return
	}
	if !row.DeletedAt.IsZero() {
		s.fail(r, chat.ErrNotFound)
		return
	}
	has, own := false, 0
	for _, x := range row.Reactions {
		if x.User == r.Principal.User {
			own++
			has = has || x.Emoji == emoji
		}
	}
	if has != c.Remove {
		s.noop(r, row.Seq)
		return
	}
	if !c.Remove {
		if text := crowded(len(row.Reactions), own); text != "" {
			s.fail(r, &chat.FieldError{Field: "emoji", Text: text})
			return
		}
	}
	it := item{req: r, has: true, ev: s.event(r, chat.EventReaction)}
	it.ev.Message, it.ev.MessageSeq, it.ev.Emoji, it.ev.Removed = c.Message, row.Seq, emoji, c.Remove
	it.row, it.was = changed(row, &it.ev), row
	s.queue(it)
}

// crowded says why a message with so many reactions, own of them of one member, carries no more of that member's.
func crowded(all, own int) string {
	switch {
	case all >= MaxReactions:
		return fmt.Sprintf("A message carries at most %d reactions.", MaxReactions)
	case own >= MaxReactionsEach:
		return fmt.Sprintf("A message carries at most %d reactions of one user.", MaxReactionsEach)
	}
	return ""
}

func (s *State) type_(r *Request, c chat.Typing) {
	u := r.Principal.User
	if c.On {
		if s.typing == nil {
			s.typing = make(map[chat.UserID]typist)
		}
		s.typing[u] = typist{name: r.Principal.Username, until: s.now.Add(s.rules.TypingExpiry)}
	} else {
		delete(s.typing, u)
	}
	s.reply(r, chat.Result{})
	s.publish(&chat.Delivery{Key: s.key, Recipients: s.set, AcceptedAt: r.At, Notices: []chat.Notice{{
		Typing: &chat.TypingNotice{User: u, Username: r.Principal.Username, On: c.On}, Origin: r.Origin}}})
}

// expireTyping ends what was not renewed.
func (s *State) expireTyping() {
	var d *chat.Delivery
	for u, t := range s.typing {
		if t.until.After(s.now) {
			continue
		}
		delete(s.typing, u)
		if d == nil {
			d = &chat.Delivery{Key: s.key, Recipients: s.set, AcceptedAt: s.now}
		}
		d.Notices = append(d.Notices, chat.Notice{Typing: &chat.TypingNotice{User: u, Username: t.name}})
	}
	if len(s.typing) == 0 {
		s.typing = nil
	}
	if d != nil {
		s.publish(d)
	}
}
