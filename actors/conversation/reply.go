package conversation

import (
	"fmt"
	"slices"

	"github.com/zumodra/hub/chat"
)

var errReplyTo = &chat.FieldError{Field: "reply_to", Text: "There is no such message in the conversation."}

// replyTo finds the message that r answers and makes its row wait for the commit: it returns its place, or 0 if it has
// answered, or parked, r.
func (s *State) replyTo(r *Request, id chat.MessageID, loaded *chat.Event) uint64 {
	e, ok := s.message(id, loaded)
	switch {
	case !ok || e != nil && !e.DeletedAt.IsZero():
		s.fail(r, errReplyTo)
		return 0
	case e == nil:
		if s.answering == nil {
			s.answering = make(map[chat.UserID]struct{})
		}
		s.answering[r.Principal.User] = struct{}{}
		s.park(&Read{Kind: ReadOne, To: id.Seq(), req: r, replyTo: true})
		return 0
	}
	if s.rows[e.Seq] == nil {
		s.setRow(e) // as in the store, where nothing else was accepted
	}
	s.rows[e.Seq].replies++
	return e.Seq
}

// replyRead goes on with a reply whose message was read, and with what its sender sent since.
func (s *State) replyRead(rd *Read) {
	delete(s.answering, rd.req.Principal.User)
	switch {
	case s.barrier != 0 || s.phase != ready:
		s.deferred = slices.Insert(s.deferred, 0, rd.req) // before the sender's others
		return
	case rd.Err != nil:
		s.fail(rd.req, fmt.Errorf("read log: %w", rd.Err))
	case len(rd.Events) != 1:
		s.fail(rd.req, errReplyTo)
	default:
		s.accept(rd.req, &rd.Events[0])
	}
	if s.barrier == 0 {
		s.undefer()
	}
}

// mentions are the members whom a message mentions: those given, and those whose id stands behind an @ in its content.
// "@all" there is text of one who may not mention all.
func (s *State) mentions(m *member, given []chat.UserID, all bool, content string) ([]chat.UserID, bool, error) {
	if len(given) > chat.MaxMentions {
		return nil, false, &chat.FieldError{Field: "mentions", Text: fmt.Sprintf("At most %d users can be mentioned.", chat.MaxMentions)}
	}
	if all {
		if err := s.may(chat.ActMentionAll, m); err != nil {
			return nil, false, err
		}
	}
	var users []chat.UserID
	add := func(u chat.UserID) {
		if u != m.User && len(users) < chat.MaxMentions && s.find(u) != nil && !slices.Contains(users, u) {
			users = append(users, u)
		}
	}
	for _, u := range given {
		add(u)
	}
	for _, name := range chat.MentionsIn(content) {
		if name == chat.MentionAllName && s.may(chat.ActMentionAll, m) == nil {
			all = true
			continue
		}
		add(chat.UserID(name))
	}
	return users, all, nil
}
