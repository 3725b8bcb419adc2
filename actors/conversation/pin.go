package conversation

import (
	"fmt"
	"slices"

	"github.com/zumodra/hub/chat"
)

// pin is a barrier, so that the next one is judged by what is pinned then.
func (s *State) pin(r *Request, c chat.Pin, loaded *chat.Event) {
	row := s.target(r, c.Message, loaded)
	has := slices.Contains(s.head.Pins, c.Message)
	switch {
	case row == nil:
		return
	case has != c.Remove:
		s.noop(r, row.Seq)
		return
	case !row.DeletedAt.IsZero():
		s.fail(r, chat.ErrNotFound)
		return
	case !c.Remove && len(s.head.Pins) >= chat.MaxPins:
		s.fail(r, &chat.FieldError{Field: "message_id", Text: fmt.Sprintf("At most %d messages can be pinned.", chat.MaxPins)})
		return
	}
	it := item{req: r, has: true, ev: s.event(r, chat.EventPin)}
	it.ev.Message, it.ev.MessageSeq, it.ev.Removed = c.Message, row.Seq, c.Remove
	s.queueBarrier(it)
}

// pinned is the list with a message at its end, or without it. Published heads share the old one.
func pinned(pins []chat.MessageID, id chat.MessageID, remove bool) []chat.MessageID {
	i := slices.Index(pins, id)
	switch {
	case remove && i >= 0:
		return slices.Delete(slices.Clone(pins), i, i+1)
	case !remove && i < 0:
		return append(slices.Clip(pins), id)
	}
	return pins
}
