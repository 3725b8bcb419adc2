package user_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/zumodra/hub/actors/user"
	"github.com/zumodra/hub/chat"
)

var (
	t0    = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	rules = func() *chat.Rules { r := chat.Rules{}.WithDefaults(); return &r }()
)

// play is one pair and its clock. ann sorts before bob.
type play struct {
	t    *testing.T
	pair chat.Pair
	now  time.Time
}

func newPlay(t *testing.T) *play {
	return &play{t: t, pair: chat.Pair{Key: chat.PairOf("t", "bob", "ann")}, now: t0}
}

func (p *play) try(me chat.UserID, cmd chat.PeopleCommand) error {
	before := p.pair
	after, err := user.Decide(p.pair, me, cmd, p.now, rules)
	if err != nil && after != before {
		p.t.Fatalf("%s by %s: %v, and changed %+v into %+v", cmd.Name(), me, err, before, after)
	}
	p.pair = after
	return err
}

func (p *play) do(me chat.UserID, cmd chat.PeopleCommand) {
	p.t.Helper()
	if err := p.try(me, cmd); err != nil {
		p.t.Fatalf("%s by %s: %v", cmd.Name(), me, err)
	}
}

func (p *play) fails(me chat.UserID, cmd chat.PeopleCommand, want error) {
	p.t.Helper()
	if err := p.try(me, cmd); !errors.Is(err, want) {
		p.t.Fatalf("%s by %s: %v, want %v", cmd.Name(), me, err, want)
	}
}

func (p *play) request(me chat.UserID) chat.RequestID { return p.pair.Of(me).Request.ID }

// each runs a test with either of the two as the one who begins.
func each(t *testing.T, f func(t *testing.T, p *play, me, other chat.UserID)) {
	for _, who := range [][2]chat.UserID{{"ann", "bob"}, {"bob", "ann"}} {
		t.Run(string(who[0]), func(t *testing.T) { f(t, newPlay(t), who[0], who[1]) })
	}
}

func TestReq087_Req088_Req090_Contacts(t *testing.T) {
	each(t, func(t *testing.T, p *play, me, other chat.UserID) {
		p.fails(me, chat.SetFavorite{User: other, On: true}, chat.ErrNotFound)
		p.fails(me, chat.RemoveContact{User: other}, chat.ErrNotFound)
		p.do(me, chat.AddContact{User: other})
		p.fails(me, chat.AddContact{User: other}, chat.ErrContactExists)
		if !p.pair.Of(other).ContactSince.IsZero() || p.pair.Of(me).ContactSince != t0 || p.request(me) != (chat.RequestID{}) {
			t.Fatalf("%+v", p.pair)
		}
		p.do(me, chat.SetFavorite{User: other, On: true})
		p.do(me, chat.SetFavorite{User: other, On: true})
		if !p.pair.Of(me).Favorite {
			t.Fatal("no favourite")
		}
		p.do(me, chat.RemoveContact{User: other})
		if p.pair != (chat.Pair{Key: p.pair.Key}) {
			t.Fatalf("left: %+v", p.pair)
		}
	})
}

func TestReq038_AddContactAsks(t *testing.T) {
	each(t, func(t *testing.T, p *play, me, other chat.UserID) {
		p.do(me, chat.AddContact{User: other, Ask: true})
		first := p.request(me)
		if s := p.pair.Of(me); s.Request.State != chat.RequestPending || s.ContactSince.IsZero() {
			t.Fatalf("%+v", p.pair)
		}
		p.do(me, chat.RemoveContact{User: other})
		p.do(me, chat.AddContact{User: other, Ask: true}) // the request waits still
		if p.request(me) != first {
			t.Fatal("asked twice")
		}
		// Who has the other as a contact needs not ask.
		p.do(other, chat.AnswerRequest{User: me, ID: first, Accept: true})
		p.do(me, chat.RemoveContact{User: other})
		p.do(me, chat.AddContact{User: other, Ask: true})
		if p.pair.Of(me).Request.State != chat.RequestAccepted {
			t.Fatalf("%+v", p.pair)
		}
	})
}

func TestReq093_Req094_AnswerAndCancel(t *testing.T) {
	each(t, func(t *testing.T, p *play, me, other chat.UserID) {
		p.do(me, chat.RequestFriend{User: other})
		id := p.request(me)
		accept, reject := chat.AnswerRequest{User: me, ID: id, Accept: true}, chat.AnswerRequest{User: me, ID: id}
		cancel := chat.CancelRequest{User: other, ID: id}
		// Only the receiver of that very request answers it, only its sender takes it back.
		p.fails(me, chat.AnswerRequest{User: other, ID: id, Accept: true}, chat.ErrNotFound)
		p.fails(other, chat.CancelRequest{User: me, ID: id}, chat.ErrNotFound)
		p.fails(other, chat.AnswerRequest{User: me, ID: chat.NewRequestID(), Accept: true}, chat.ErrNotFound)
		p.fails(me, chat.CancelRequest{User: other}, chat.ErrNotFound)

		p.do(me, cancel)
		p.fails(other, accept, chat.ErrNotFound)
		p.fails(me, cancel, chat.ErrNotFound)

		p.do(me, chat.RequestFriend{User: other})
		id = p.request(me)
		accept.ID, reject.ID, cancel.ID = id, id, id
		p.do(other, accept)
		if p.pair.Lo.ContactSince.IsZero() || p.pair.Hi.ContactSince.IsZero() {
			t.Fatalf("not both are contacts: %+v", p.pair)
		}
		p.fails(other, accept, chat.ErrAlreadyAccepted)
		p.fails(other, reject, chat.ErrRejectAccepted)
		p.fails(me, cancel, chat.ErrCancelCompleted)
		p.fails(me, chat.RequestFriend{User: other}, chat.ErrAlreadyContacts)

		p.do(me, chat.RemoveContact{User: other})
		p.do(me, chat.RequestFriend{User: other}) // an accepted one does not hinder
		id = p.request(me)
		accept.ID, reject.ID, cancel.ID = id, id, id
		p.do(other, reject)
		p.fails(other, accept, chat.ErrAcceptRejected)
		p.fails(other, reject, chat.ErrAlreadyRejected)
		p.fails(me, cancel, chat.ErrCancelCompleted)
	})
}

func TestReq095_AgainAfterARejection(t *testing.T) {
	each(t, func(t *testing.T, p *play, me, other chat.UserID) {
		p.do(me, chat.RequestFriend{User: other})
		p.fails(me, chat.RequestFriend{User: other}, chat.ErrRequestSent)
		p.now = p.now.Add(time.Hour)
		p.do(other, chat.AnswerRequest{User: me, ID: p.request(me)})
		rejected := p.now
		for _, after := range []time.Duration{0, time.Hour, rules.RequestRetry - time.Microsecond} {
			p.now = rejected.Add(after)
			p.fails(me, chat.RequestFriend{User: other}, chat.ErrRequestSent)
		}
		p.do(other, chat.RequestFriend{User: me}) // who rejected may ask at any time
		p.now = rejected.Add(rules.RequestRetry)
		old := p.request(me)
		p.do(me, chat.RequestFriend{User: other})
		p.fails(other, chat.AnswerRequest{User: me, ID: old, Accept: true}, chat.ErrNotFound)
		// Both asked: one acceptance settles both.
		p.do(other, chat.AnswerRequest{User: me, ID: p.request(me), Accept: true})
		if p.pair.Lo.Request.State != chat.RequestAccepted || p.pair.Hi.Request.State != chat.RequestAccepted {
			t.Fatalf("%+v", p.pair)
		}
	})
}

func TestReq096_Req097_Block(t *testing.T) {
	each(t, func(t *testing.T, p *play, me, other chat.UserID) {
		p.fails(me, chat.Unblock{User: other}, chat.ErrNotFound)
		p.do(me, chat.RequestFriend{User: other})
		id := p.request(me)
		p.do(other, chat.RequestFriend{User: me})
		p.do(other, chat.Block{User: me})
		if !p.pair.Blocked() {
			t.Fatal("not blocked")
		}
		p.fails(other, chat.Block{User: me}, chat.ErrAlreadyBlocked)
		p.fails(other, chat.AnswerRequest{User: me, ID: id, Accept: true}, chat.ErrNotFound)
		p.fails(me, chat.CancelRequest{User: other, ID: id}, chat.ErrNotFound)
		for _, u := range [][2]chat.UserID{{me, other}, {other, me}} {
			p.fails(u[0], chat.RequestFriend{User: u[1]}, chat.ErrCannotRequest)
			p.fails(u[0], chat.AddContact{User: u[1]}, chat.ErrCannotRequest)
		}
		p.fails(me, chat.Unblock{User: other}, chat.ErrNotFound) // not one's own
		p.do(me, chat.Block{User: other})
		p.do(other, chat.Unblock{User: me})
		if !p.pair.Blocked() {
			t.Fatal("one of two blocks is enough")
		}
		p.do(me, chat.Unblock{User: other})
		p.do(me, chat.RequestFriend{User: other})
	})
}

// TestDecideModel goes at random through everything that two users can do and holds each step against what must
// always be true, whatever came before.
func TestDecideModel(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 87))
		p := newPlay(t)
		users := []chat.UserID{"ann", "bob"}
		var ids []chat.RequestID
		for n := range 200 {
			me := users[rnd.IntN(2)]
			other := p.pair.Key.Other(me)
			id := chat.NewRequestID()
			if len(ids) > 0 {
				id = ids[max(0, len(ids)-1-rnd.IntN(3))]
			}
			p.now = p.now.Add(time.Duration(rnd.IntN(8)) * time.Hour)
			cmd := []chat.PeopleCommand{chat.AddContact{User: other, Ask: rnd.IntN(2) == 0, Favorite: rnd.IntN(2) == 0},
				chat.SetFavorite{User: other, On: rnd.IntN(2) == 0}, chat.RemoveContact{User: other}, chat.RequestFriend{User: other},
				chat.RequestFriend{User: other}, chat.AnswerRequest{User: other, ID: id, Accept: rnd.IntN(2) == 0},
				chat.AnswerRequest{User: other, ID: id, Accept: true}, chat.CancelRequest{User: other, ID: id},
				chat.Block{User: other}, chat.Unblock{User: other}, chat.Unblock{User: other}}[rnd.IntN(11)]
			before := p.pair
			err := p.try(me, cmd)
			what := fmt.Sprintf("seed %d step %d: %s by %s: %v: %+v -> %+v", seed, n, cmd.Name(), me, err, before, p.pair)
			mine, was := p.pair.Of(me), before.Of(me)
			theirs, had := p.pair.Of(other), before.Of(other)
			if r := mine.Request; r.State == chat.RequestPending && r.ID != was.Request.ID {
				ids = append(ids, r.ID)
			}
			for _, s := range []*chat.Side{mine, theirs} {
				if p.pair.Blocked() && s.Request.State == chat.RequestPending {
					t.Fatal("a request waits across a block: ", what)
				}
				if s.Favorite && s.ContactSince.IsZero() {
					t.Fatal("a favourite that is no contact: ", what)
				}
				if r := s.Request; (r.State == chat.RequestNone) != r.ID.IsZero() || r.State > chat.RequestPending == r.DecidedAt.IsZero() {
					t.Fatal("half a request: ", what)
				}
			}
			// Only accepting touches what the other one did, and blocking takes the other's waiting request.
			ans, answers := cmd.(chat.AnswerRequest)
			_, blocks := cmd.(chat.Block)
			switch {
			case *theirs == *had:
			case answers && err == nil && had.Request.State == chat.RequestPending && had.Request.ID == ans.ID:
			case blocks && err == nil && had.Request.State == chat.RequestPending:
			default:
				t.Fatal("changed the other side: ", what)
			}
			if answers && ans.Accept && err == nil && (mine.ContactSince.IsZero() || theirs.ContactSince.IsZero()) {
				t.Fatal("accepted, and not both are contacts: ", what)
			}
			if before.Blocked() && mine.ContactSince != was.ContactSince && !mine.ContactSince.IsZero() {
				t.Fatal("a contact was made across a block: ", what)
			}
		}
	}
}
