package router_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/router"
	"github.com/zumodra/hub/cluster/wire"
)

func isSame(err, want error) bool { return err == want || want != nil && errors.Is(err, want) } //nolint:errorlint // both nil

// request has a node answer a question of another at once.
func request(t *testing.T, n *node, from chat.NodeID, shard int, place uint64, q chat.Question) (a chat.Answer, err error) {
	t.Helper()
	b, err := wire.AppendQuestion(nil, shard, place, q)
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	n.Request(from, time.Second, b, func(b []byte, failure error) {
		calls++
		if failure != nil {
			t.Errorf("replied with an error: %v", failure)
		}
		a, err = wire.DecodeAnswer(b)
	})
	if calls != 1 {
		t.Fatalf("replied %d times", calls)
	}
	return a, err
}

func TestAnswersOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, self, nil)
		n.hub.answer = func(ctx context.Context, shard int, q chat.Question, done func(chat.Answer, error)) {
			if until, ok := ctx.Deadline(); !ok || time.Until(until) != time.Second || shard != 17 || q != (chat.Read{Conversation: conversation}) {
				t.Errorf("shard %d, %#v, until %v", shard, q, until)
			}
			done(chat.Noted{}, nil)
			if ctx.Err() == nil {
				t.Error("the context goes on")
			}
		}
		if a, err := request(t, n, peer, 17, 0, chat.Read{Conversation: conversation}); a != (chat.Noted{}) || err != nil {
			t.Errorf("%v, %v", a, err)
		}
		n.hub.answer = func(_ context.Context, _ int, _ chat.Question, done func(chat.Answer, error)) {
			done(nil, &chat.RateLimitError{RetryAfter: time.Minute})
		}
		if a, err := request(t, n, peer, 17, 0, chat.Read{}); a != nil || !errors.Is(err, chat.ErrRateLimited) {
			t.Errorf("%v, %v", a, err)
		}
		n.hub.answer = func(_ context.Context, _ int, _ chat.Question, done func(chat.Answer, error)) { done(nil, nil) }
		if _, err := request(t, n, peer, 17, 0, chat.Read{}); !errors.Is(err, chat.ErrUnknown) {
			t.Errorf("an answer that has no encoding: %v", err)
		}
	})
}

func TestAsksTheHubOnlyAboutItsShards(t *testing.T) {
	n := newNode(t, peer, nil)
	if _, err := request(t, n, peer, 17, 0, chat.Read{}); !errors.Is(err, chat.ErrMoved) {
		t.Error(err)
	}
	n = newNode(t, self, func(c *router.Config) { c.Handler = nil })
	if _, err := request(t, n, peer, 17, 0, chat.Read{}); !errors.Is(err, chat.ErrMoved) {
		t.Errorf("before Serve: %v", err)
	}
	n.hub.answer = func(_ context.Context, _ int, _ chat.Question, done func(chat.Answer, error)) {
		done(chat.Noted{}, nil)
	}
	n.Serve(n.hub)
	if _, err := request(t, n, peer, 17, 0, chat.Read{}); err != nil {
		t.Error(err)
	}
}

func TestRefusesWhatItDoesNotUnderstand(t *testing.T) {
	n := newNode(t, self, nil)
	for _, b := range []string{"\xff", "", "\xa2\x06\x01x"} {
		n.Request(peer, time.Second, []byte(b), func(b []byte, err error) {
			if _, answered := wire.DecodeAnswer(b); err != nil || !errors.Is(answered, chat.ErrNotSupported) {
				t.Errorf("%v, %v", answered, err)
			}
		})
		n.Deliver(peer, []byte(b), func(err error) {
			if err == nil {
				t.Error("confirmed")
			}
		})
	}
	if s := n.Stats(); s.InboundRefused != 3 || s.InboundUnderWay != 0 {
		t.Errorf("%+v", s)
	}
}

func TestInboundBound(t *testing.T) {
	n := newNode(t, self, func(c *router.Config) { c.Inbound = 1 })
	var done func(chat.Answer, error)
	n.hub.answer = func(_ context.Context, _ int, _ chat.Question, d func(chat.Answer, error)) { done = d }
	b, err := wire.AppendQuestion(nil, 17, 0, chat.Read{})
	if err != nil {
		t.Fatal(err)
	}
	replies := 0
	n.Request(peer, 0, b, func([]byte, error) { replies++ })
	if _, err := request(t, n, peer, 17, 0, chat.Read{}); !errors.Is(err, chat.ErrOverloaded) {
		t.Error(err)
	}
	done(chat.Noted{}, nil)
	if s := n.Stats(); replies != 1 || s.InboundRefused != 1 || s.InboundUnderWay != 0 {
		t.Errorf("%d replies, %+v", replies, s)
	}
}

func enrol(shard int) chat.Parcel { return &chat.Enrol{Shard: shard, All: true} }

func TestParcelsToOthers(t *testing.T) {
	n := newNode(t, self, nil)
	var got []error
	for i := range 3 {
		n.Parcel(peer, enrol(i), func(err error) { got = append(got, err) })
	}
	for i, s := range n.peers.take() {
		if s.to != peer || s.p.(*chat.Enrol).Shard != i {
			t.Errorf("%d: %+v", i, s)
		}
		if i == 1 {
			s.done(nil, errBroken)
		} else {
			s.done(nil, nil)
		}
	}
	if !slices.Equal(got, []error{nil, errBroken, nil}) {
		t.Error(got)
	}
	n.Parcel(peer, enrol(-1), func(err error) { got = append(got, err) })
	if len(got) != 4 || got[3] == nil || len(n.peers.take()) != 0 {
		t.Error(got)
	}
	if s := n.Stats(); s.ParcelsSent != 4 || s.ParcelsFailed != 2 {
		t.Errorf("%+v", s)
	}
}

func TestParcelsOfOthers(t *testing.T) {
	n := newNode(t, self, nil)
	n.hub.receive = func(from chat.NodeID, p chat.Parcel, done func(error)) {
		if from != peer || p.(*chat.Enrol).Shard != 3 {
			t.Errorf("%v: %#v", from, p)
		}
		done(errBroken)
	}
	b, err := wire.AppendParcel(nil, enrol(3))
	if err != nil {
		t.Fatal(err)
	}
	n.Deliver(peer, b, func(e error) { err = e })
	if !errors.Is(err, errBroken) {
		t.Error(err)
	}
}

// A parcel that is sent while one is handled comes after it, and after those that were sent before.
func TestParcelsToItselfKeepTheirOrder(t *testing.T) {
	n := newNode(t, self, nil)
	var order []int
	inside := false
	n.hub.receive = func(from chat.NodeID, p chat.Parcel, done func(error)) {
		if from != self || inside {
			t.Errorf("from %v, inside another: %v", from, inside)
		}
		inside = true
		shard := p.(*chat.Enrol).Shard
		order = append(order, shard)
		if shard < 2 {
			n.Parcel(self, enrol(shard*2+2), func(error) {})
			n.Parcel(self, enrol(shard*2+3), func(error) {})
		}
		done(nil)
		inside = false
	}
	done := 0
	n.Parcel(self, enrol(0), func(err error) {
		if err == nil {
			done++
		}
	})
	n.Parcel(self, enrol(1), func(error) { done++ })
	if want := []int{0, 2, 3, 1, 4, 5}; !slices.Equal(order, want) || done != 2 {
		t.Errorf("%v, done %d", order, done)
	}
	if n.Stats().ParcelsHere != 6 {
		t.Errorf("%+v", n.Stats())
	}
	n = newNode(t, self, func(c *router.Config) { c.Handler = nil })
	n.Parcel(self, enrol(1), func(err error) {
		if err == nil {
			t.Error("nobody handled it")
		}
	})
}

func TestPassesOnWhatOwnershipSays(t *testing.T) {
	n := newNode(t, self, func(c *router.Config) { c.Edges = func() []chat.NodeID { return []chat.NodeID{self, peer} } })
	if epoch, ok := n.Term(3); epoch != 1 || !ok || !n.MayAck(3, 1) || n.MayAck(3, 2) || n.Owner(3) != self || n.Self() != self {
		t.Error("it says something else")
	}
	if !slices.Equal(n.Edges(), []chat.NodeID{self, peer}) {
		t.Error(n.Edges())
	}
	n.Up(peer)
	n.Down(peer, errBroken)
	if n.shards.refreshed != 1 {
		t.Error("not refreshed")
	}
}
