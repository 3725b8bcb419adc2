package conversation

import (
	"fmt"
	"slices"

	"github.com/zumodra/hub/chat"
)

func (s *State) resume(r *Request, c chat.Resume, m *member) {
	limit := uint64(maxResume)
	if c.Limit > 0 {
		limit = min(limit, uint64(c.Limit))
	}
	switch {
	case c.LastSeq > s.head.Seq || s.head.Seq-c.LastSeq > limit:
		s.reply(r, chat.Result{Gap: true, View: s.view(m)})
	case c.LastSeq == s.head.Seq:
		s.reply(r, chat.Result{View: s.view(m)})
	case m.HiddenMessages > 0:
		s.park(&Read{Kind: ReadRange, From: c.LastSeq + 1, To: s.head.Seq, Conceal: true, User: m.User, req: r, hidden: m.HiddenMessages})
	case s.recent.covers(c.LastSeq + 1):
		from := s.recent.index(c.LastSeq + 1)
		events := make([]chat.Event, 0, len(s.recent.events)-from)
		for _, e := range s.recent.events[from:] {
			events = append(events, *e)
		}
		empty(events)
		s.reply(r, chat.Result{Events: events, View: s.view(m)})
	default:
		s.park(&Read{Kind: ReadRange, From: c.LastSeq + 1, To: s.head.Seq, req: r})
	}
}

// empty takes the texts out of events about messages that are deleted by later ones, as their own rows lost theirs. A resume goes to
// the head: no deletion is beyond it.
func empty(events []chat.Event) {
	var deleted []uint64
	for i := range events {
		if events[i].Type == chat.EventDeleted {
			deleted = append(deleted, events[i].MessageSeq)
		}
	}
	if len(deleted) == 0 {
		return
	}
	for i := range events {
		if slices.Contains(deleted, events[i].MessageSeq) {
			events[i] = events[i].Emptied()
		}
	}
}

// resumed answers a resume with what the log held and what was committed since it was asked.
func (s *State) resumed(rd *Read) {
	m := s.find(rd.req.Principal.User)
	if m == nil || !s.exists() {
		s.fail(rd.req, chat.ErrNotMember)
		return
	}
	if m.HiddenMessages != rd.hidden {
		s.accept(rd.req, nil) // some were hidden meanwhile: they must not be told again
		return
	}
	if rd.Large {
		s.reply(rd.req, chat.Result{Gap: true, View: s.view(m)})
		return
	}
	n := rd.To - rd.From + 1
	if uint64(len(rd.Events)) < n {
		s.fail(rd.req, fmt.Errorf("read log: %d of %d events: %w", len(rd.Events), n, chat.ErrUnavailable))
		return
	}
	events := append(rd.Events[:n:n], rd.late...)
	for i := range events { // also of what was committed meanwhile, and changed since
		if w := s.rows[events[i].Seq]; w != nil && w.committed != nil {
			events[i] = *w.committed
		}
	}
	if len(events) > maxResume {
		s.reply(rd.req, chat.Result{Gap: true, View: s.view(m)})
		return
	}
	empty(events)
	conceal(events, rd.Hidden)
	s.reply(rd.req, chat.Result{Events: events, View: s.view(m)})
}
