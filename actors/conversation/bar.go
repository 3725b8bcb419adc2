package conversation

import (
	"github.com/zumodra/hub/chat"
)

// Bar tells a direct conversation that one of its two blocked the other, or that nobody does any more. Only who
// decides about the two gives it, after it is stored: an activation that does not hear of it has read it. Its answer
// leaves after those of all commands accepted before it, so that nothing is acknowledged after the answer; commands
// after it are refused.
type Bar struct {
	Conversation chat.ConversationID
	On           bool
	// Version of what is between the two: an older one that arrives late changes nothing.
	Version uint64
}

// Target implements chat.Command.
func (b Bar) Target() chat.ConversationID { return b.Conversation }

// Name implements chat.Command.
func (Bar) Name() string { return "bar" }

type barState struct {
	on      bool
	version uint64
}

// disturbs reports whether a command is refused where there is a block: what the other would notice, and taking
// part. Reading, and taking back what one said, is not.
func disturbs(c chat.Command) bool {
	switch c := c.(type) {
	case chat.Send, chat.Typing, chat.Edit, chat.React, chat.Pin:
		return true
	case chat.Attach:
		return c.Join
	}
	return false
}

func (s *State) setBar(r *Request, c Bar) {
	if s.head.Kind != chat.Direct {
		s.fail(r, chat.ErrInvalid)
		return
	}
	if c.Version > s.bar.version {
		s.bar = barState{c.On, c.Version}
	}
	if s.bar.on {
		for u, t := range s.typing {
			t.until = s.now // ends with this step
			s.typing[u] = t
		}
	}
	if s.inflight || len(s.pending) > 0 {
		s.queue(item{req: r})
		return
	}
	s.reply(r, chat.Result{})
	if s.bar.on {
		s.publish(&chat.Delivery{Key: s.key, Recipients: s.set, Detached: s.set.Users, AcceptedAt: r.At})
	}
}

// private reports whether a change of position is the member's own affair.
func (s *State) private(c chat.Command) bool {
	switch c := c.(type) {
	case chat.MarkRead:
		return c.Private || s.bar.on
	case chat.MarkDelivered:
		return c.Private || s.bar.on
	}
	return false
}

// loadBar asks whether there is a block, if the conversation is a direct one.
func (a *activation) loadBar(l *Loaded) error {
	if a.reg.cfg.Barred == nil {
		return nil
	}
	var users []chat.UserID
	switch {
	case l.Head.Seq > 0 && l.Head.Kind == chat.Direct:
		for i := range l.Members {
			users = append(users, l.Members[i].User)
		}
	case l.Head.Seq == 0 && len(l.Tail) > 0 && l.Tail[0].Kind == chat.Direct:
		users = l.Tail[0].Users
	}
	if len(users) != 2 {
		return nil
	}
	var err error
	l.Barred, l.BarVersion, err = a.reg.cfg.Barred(a.term.ctx, chat.PairOf(a.key.Tenant, users[0], users[1]))
	return err
}
