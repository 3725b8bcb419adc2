package router_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/router"
)

func ids(list []*sent) []string {
	var out []string
	for _, s := range list {
		out = append(out, clientID(s.q))
	}
	return out
}

func wantIDs(t *testing.T, list []*sent, want ...string) {
	t.Helper()
	if got := ids(list); !slices.Equal(got, want) {
		t.Fatalf("sent %v, want %v", got, want)
	}
}

func TestLineFollowsWithoutWaiting(t *testing.T) {
	n := newNode(t, peer, nil)
	n.ask(t.Context(), message("a"))
	n.ask(t.Context(), message("b"))
	n.ask(t.Context(), message("c"))
	list := n.peers.take()
	wantIDs(t, list, "a", "b", "c")
	first := list[0].place
	if first%(1<<24) != 0 || list[1].place != first+1 || list[2].place != first+2 {
		t.Errorf("places %x, %x, %x", first, list[1].place, list[2].place)
	}
	for _, s := range list {
		s.answer(chat.Noted{}, nil)
	}
	n.ask(t.Context(), message("d"))
	if p := n.peers.take()[0].place; p%(1<<24) != 0 || p <= first {
		t.Errorf("the next burst begins at %x", p)
	}
}

func TestLineWaitsForARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, peer, nil)
		var all []*outcome
		ask := func(id string) { all = append(all, n.ask(t.Context(), message(id))) }
		ask("a")
		ask("b")
		list := n.peers.take()
		list[0].answer(nil, chat.ErrMoved)
		ask("c") // while a is in its back-off
		wantIDs(t, n.peers.take())
		list[1].answer(nil, chat.ErrMoved)
		n.ask(t.Context(), chat.CarryOut{ // others are not held up
			Principal: chat.Principal{Tenant: "t", User: "v"}, Command: chat.Send{Conversation: conversation, ClientID: "z"},
		})
		wantIDs(t, n.peers.take(), "z")
		time.Sleep(5 * time.Millisecond)
		synctest.Wait()
		list = n.peers.take()
		wantIDs(t, list, "a")
		ask("d")
		wantIDs(t, n.peers.take())
		if s := n.Stats(); s.Waiting != 3 || s.UnderWay != 5 {
			t.Errorf("%+v", s)
		}
		list[0].answer(chat.Noted{}, nil)
		list = n.peers.take()
		wantIDs(t, list, "b", "c", "d") // the next burst
		if list[0].place%(1<<24) != 0 || list[2].place != list[0].place+2 {
			t.Errorf("places %x, %x, %x", list[0].place, list[1].place, list[2].place)
		}
		for _, s := range list {
			s.answer(chat.Noted{}, nil)
		}
		for _, o := range all {
			o.want(t, chat.Noted{}, nil)
		}
	})
}

func TestLineWaitsWhenTheOwnerChanges(t *testing.T) {
	n := newNode(t, peer, nil)
	n.hub.answer = func(_ context.Context, _ int, _ chat.Question, done func(chat.Answer, error)) {
		done(chat.Noted{}, nil)
	}
	n.ask(t.Context(), message("a"))
	n.shards.move(other)
	n.ask(t.Context(), message("b"))
	n.shards.move(self)
	c := n.ask(t.Context(), message("c"))
	list := n.peers.take()
	wantIDs(t, list, "a")
	c.open(t)
	n.shards.move(other)
	list[0].answer(nil, chat.ErrForbidden)
	list = n.peers.take()
	wantIDs(t, list, "b", "c")
}

func TestLineWaitsWhenTheTermChanges(t *testing.T) {
	n := newNode(t, self, nil)
	var asked []string
	var dones []func(chat.Answer, error)
	n.hub.answer = func(_ context.Context, _ int, q chat.Question, done func(chat.Answer, error)) {
		asked, dones = append(asked, clientID(q)), append(dones, done)
	}
	n.ask(t.Context(), message("a"))
	n.ask(t.Context(), message("b"))
	n.shards.move(self) // lost and got back: what the hub has of the old term it will refuse
	n.ask(t.Context(), message("c"))
	if !slices.Equal(asked, []string{"a", "b"}) {
		t.Fatal(asked)
	}
	dones[0](chat.Noted{}, nil)
	dones[1](chat.Noted{}, nil)
	if !slices.Equal(asked, []string{"a", "b", "c"}) {
		t.Fatal(asked)
	}
}

func TestBehindOneThatCannotBeRepeated(t *testing.T) {
	n := newNode(t, peer, nil)
	a, b := n.ask(t.Context(), message("")), n.ask(t.Context(), message("b"))
	list := n.peers.take()
	list[0].done(nil, errBroken)
	a.want(t, nil, chat.ErrUnknown)
	list[1].answer(chat.Noted{}, nil)
	b.want(t, chat.Noted{}, nil)
	if s := n.Stats(); s.UnderWay != 0 || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
}

func TestWhatWaitsHasItsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, peer, nil)
		n.ask(t.Context(), message("a"))
		n.peers.take()[0].answer(nil, chat.ErrMoved)
		n.peers.atOnce = func(s *sent) { s.answer(nil, chat.ErrMoved) }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		b := n.ask(ctx, message("b"))
		c := n.ask(t.Context(), message("c"))
		time.Sleep(time.Second)
		synctest.Wait()
		b.want(t, nil, chat.ErrUnavailable)
		c.open(t)
		time.Sleep(9 * time.Second)
		synctest.Wait()
		c.want(t, nil, chat.ErrUnavailable)
	})
}

func TestPreferencesAndDeclarationsKeepTheirOrder(t *testing.T) {
	user := chat.UserKey{Tenant: "t", User: "u"}
	for _, q := range []chat.Question{chat.Prefer{User: user}, chat.Declare{User: user}} {
		synctest.Test(t, func(t *testing.T) {
			n := newNode(t, peer, nil)
			n.ask(t.Context(), q)
			n.peers.take()[0].answer(nil, chat.ErrMoved)
			n.ask(t.Context(), q)
			n.ask(t.Context(), chat.Read{Principal: chat.Principal{Tenant: "t", User: "u"}})
			if list := n.peers.take(); len(list) != 1 {
				t.Errorf("%d sent", len(list))
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
		})
	}
}

// TestReceiverRefusesWhatOvertook is the receiving end of a burst of which something went wrong.
func TestReceiverRefusesWhatOvertook(t *testing.T) {
	const burst, next = 7 << 24, 8 << 24
	type step struct {
		place uint64
		moved bool // the hub says so
		want  error
	}
	for name, steps := range map[string][]step{
		"in order":              {{burst, false, nil}, {burst + 1, false, nil}, {next, false, nil}, {next + 1, false, nil}},
		"the first was lost":    {{burst + 1, false, chat.ErrMoved}, {burst + 2, false, chat.ErrMoved}, {next, false, nil}},
		"one was lost":          {{burst, false, nil}, {burst + 2, false, chat.ErrMoved}, {burst + 1, false, chat.ErrMoved}},
		"one was refused":       {{burst, true, chat.ErrMoved}, {burst + 1, false, chat.ErrMoved}, {next, false, nil}},
		"of the burst before":   {{burst, false, nil}, {next + 1, false, chat.ErrMoved}},
		"late, of an old burst": {{burst, false, nil}, {next, false, nil}, {burst + 1, false, chat.ErrMoved}, {burst, false, chat.ErrMoved}, {next + 1, false, nil}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, self, nil)
			for i, s := range steps {
				n.hub.answer = func(_ context.Context, _ int, _ chat.Question, done func(chat.Answer, error)) {
					if s.moved {
						done(nil, chat.ErrMoved)
					} else {
						done(chat.Noted{}, nil)
					}
				}
				if _, err := request(t, n, peer, 17, s.place, message(fmt.Sprint(i))); !isSame(err, s.want) {
					t.Errorf("step %d: %v, want %v", i, err, s.want)
				}
			}
		})
	}
	n := newNode(t, self, func(c *router.Config) { c.Inbound = 1 })
	n.hub.answer = func(_ context.Context, _ int, _ chat.Question, done func(chat.Answer, error)) {
		done(chat.Noted{}, nil)
	}
	if _, err := request(t, n, peer, 17, burst, message("a")); err != nil {
		t.Error(err)
	}
	if _, err := request(t, n, other, 17, burst+1, message("b")); !isSame(err, chat.ErrMoved) {
		t.Errorf("another node's line: %v", err)
	}
	n.shards.move(peer)
	if _, err := request(t, n, peer, 17, burst+1, message("b")); !isSame(err, chat.ErrMoved) {
		t.Error(err)
	}
	n.shards.move(self)
	if _, err := request(t, n, peer, 17, burst+2, message("c")); !isSame(err, chat.ErrMoved) {
		t.Errorf("while the shard was away one was refused: %v", err)
	}
	if s := n.Stats(); s.InboundOutOfTurn != 2 || s.InboundMoved != 1 || s.Inbound != 4 {
		t.Errorf("%+v", s)
	}
}
