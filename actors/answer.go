package actors

import (
	"context"
	"fmt"

	"github.com/zumodra/hub/actors/conversation"
	"github.com/zumodra/hub/chat"
)

// Answer answers a question about a shard, whichever node asks, this one included. It never blocks. done is called once,
// from any goroutine: with chat.ErrMoved if this node does not own the shard (nothing was done then), with
// chat.ErrShutdown if it is closing, or with what the question is answered. Of a question about things of several shards
// those that are not this node's are answered by themselves: see Moved of chat.Snapshot and chat.Presence.
//
// What is answered was so while this node owned the shard: an owner that is one no more does not answer for its
// successor. The context is that of the asker; what was begun goes on when it ends.
func (h *Hub) Answer(_ context.Context, shard int, q chat.Question, done func(chat.Answer, error)) {
	if h.closed.Load() {
		done(nil, chat.ErrShutdown)
		return
	}
	h.answer(shard, q, done)
}

// answer is Answer, also while the Hub closes: what was accepted before is carried out.
func (h *Hub) answer(shard int, q chat.Question, done func(chat.Answer, error)) {
	t, ok := h.term(shard)
	if !ok {
		done(nil, chat.ErrMoved)
		return
	}
	switch q := q.(type) {
	case chat.CarryOut:
		if q.Command == nil || !t.of(chat.ConversationKey{Tenant: q.Principal.Tenant, ID: q.Command.Target()}) {
			done(nil, errAstray)
			return
		}
		h.sendHere(q.Principal, q.Origin, q.Command, func(res chat.Result, err error) { done(chat.Done{Result: res}, err) })
	case chat.Read:
		h.answerRead(t, q, done)
	case chat.Peek:
		a := chat.Snapshots{List: make([]chat.Snapshot, len(q.Keys))}
		for i, k := range q.Keys {
			a.List[i] = h.lookHere(k, &q)
		}
		done(a, nil)
	case chat.Bar:
		h.answerBar(t, q, done)
	default:
		if h.people == nil {
			done(nil, errNoPeople)
			return
		}
		h.answerPeople(t, q, done)
	}
}

// errAstray answers what is not of the shard that it was sent to.
var errAstray = fmt.Errorf("%w: a question of another shard, or of none", chat.ErrInvalid)

func (t *term) of(k interface{ Shard() int }) bool { return k.Shard() == t.shard }

// still is an answer that changed nothing, if it was this node's to give until now.
func (t *term) still(done func(chat.Answer, error), a chat.Answer, err error) {
	switch {
	case err != nil:
		done(nil, err)
	case !t.lasts():
		done(nil, chat.ErrMoved)
	default:
		done(a, nil)
	}
}

func (h *Hub) answerRead(t term, q chat.Read, done func(chat.Answer, error)) {
	key := chat.ConversationKey{Tenant: q.Principal.Tenant, ID: q.Conversation}
	if !t.of(key) {
		done(nil, errAstray)
		return
	}
	h.sendHere(q.Principal, chat.Origin{}, chat.Attach{Conversation: q.Conversation}, func(res chat.Result, err error) {
		var a chat.Reading
		if err == nil {
			a = chat.Reading{View: res.View, Rewritten: h.convs.Rewritten(key)}
		}
		t.still(done, a, err)
	})
}

func (h *Hub) answerBar(t term, q chat.Bar, done func(chat.Answer, error)) {
	key := q.Pair.Key.Direct()
	if !t.of(key) {
		done(nil, errAstray)
		return
	}
	h.convs.Submit(key, &conversation.Request{Principal: q.By, At: h.cfg.Now(),
		Command: conversation.Bar{Conversation: key.ID, On: q.Pair.Blocked(), Version: q.Pair.Version},
		// A successor that came meanwhile may have been loaded before the change was stored, and must be told.
		Done: func(res chat.Result, err error) { t.still(done, chat.Done{Result: res}, err) }})
}

func (h *Hub) answerPeople(t term, q chat.Question, done func(chat.Answer, error)) {
	switch q := q.(type) {
	case chat.FoundDirect:
		if q.Create.Kind != chat.Direct || len(q.Create.Members) != 1 || !t.of(pairOf(q.Principal, q.Create).Home()) {
			done(nil, errAstray)
			return
		}
		h.found(t, q, func(res chat.Result, err error) { done(chat.Done{Result: res}, err) })
	case chat.Relate:
		if q.Command == nil || !t.of(chat.PairOf(q.Caller.Tenant, q.Caller.User, q.Command.About()).Home()) {
			done(nil, errAstray)
			return
		}
		h.people.Do(q.Caller, q.Command, func(p chat.Pair, err error) { done(chat.Related{Pair: p}, err) })
	case chat.Prefer:
		h.answerPrefer(t, q, done)
	case chat.AskPresence:
		a := chat.PresenceOf{List: make([]chat.Presence, len(q.Users))}
		for i, u := range q.Users {
			a.List[i] = h.presenceHere(chat.UserKey{Tenant: q.Tenant, User: u})
		}
		done(a, nil)
	case chat.Declare:
		if !t.of(q.User) {
			done(nil, errAstray)
			return
		}
		h.presence.declare(q.User, q.On)
		t.still(done, chat.Noted{}, nil)
	default:
		done(nil, fmt.Errorf("%w: question %s", chat.ErrNotSupported, q.Name()))
	}
}

func (h *Hub) answerPrefer(t term, q chat.Prefer, done func(chat.Answer, error)) {
	if !t.of(q.User) {
		done(nil, errAstray)
		return
	}
	if !q.Change.IsZero() {
		h.people.ChangePreferences(q.User, q.Change.Apply, func(p chat.Preferences, err error) { done(chat.Preferred{Preferences: p}, err) })
		return
	}
	if prefs, ok := h.people.Preferences(q.User); ok {
		t.still(done, chat.Preferred{Preferences: prefs}, nil)
		return
	}
	h.people.AskPreferences(q.User, func(p chat.Preferences, err error) { t.still(done, chat.Preferred{Preferences: p}, err) })
}

func pairOf(p chat.Principal, c chat.Create) chat.PairKey {
	return chat.PairOf(p.Tenant, p.User, c.Members[0])
}
