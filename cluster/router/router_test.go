package router_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/router"
)

func TestAsksThisNodeWithoutEncoding(t *testing.T) {
	n := newNode(t, self, nil)
	type odd struct{ chat.Read } // has no encoding
	n.hub.answer = func(ctx context.Context, shard int, q chat.Question, done func(chat.Answer, error)) {
		if _, ok := q.(odd); !ok || shard != 17 || ctx != t.Context() {
			t.Errorf("shard %d, %#v", shard, q)
		}
		done(chat.Noted{}, nil)
	}
	n.ask(t.Context(), odd{}).want(t, chat.Noted{}, nil)
	if s := n.Stats(); s.Local != 1 || s.UnderWay != 0 || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
}

func TestAsksTheOwner(t *testing.T) {
	n := newNode(t, peer, nil)
	for _, q := range []chat.Question{chat.Read{Conversation: conversation}, message("a"), message(""), chat.Relate{Command: chat.Block{}}} {
		o := n.ask(t.Context(), q)
		s := n.peers.take()[0]
		if s.to != peer || s.shard != 17 || !reflect.DeepEqual(s.q, q) {
			t.Fatalf("%+v", s)
		}
		o.open(t)
		s.answer(chat.Noted{}, nil)
		o.want(t, chat.Noted{}, nil)
		s.answer(nil, chat.ErrForbidden) // too late
		o.want(t, chat.Noted{}, nil)
		if s.ctx.Err() == nil {
			t.Error("the attempt's context goes on")
		}
	}
	o := n.ask(t.Context(), chat.Read{})
	n.peers.take()[0].answer(nil, fmt.Errorf("read: %w", chat.ErrNotMember))
	o.want(t, nil, chat.ErrNotMember)
	if s := n.Stats(); s.Remote != 5 || s.Retried != 0 || s.UnderWay != 0 {
		t.Errorf("%+v", s)
	}
}

// failures are what may become of an attempt, and whether it may have been carried out.
var failures = []struct {
	name  string
	maybe bool
	fail  func(*sent)
}{
	{"moved", false, func(s *sent) { s.answer(nil, chat.ErrMoved) }},
	{"wrapped", false, func(s *sent) { s.answer(nil, fmt.Errorf("conversation: %w", chat.ErrMoved)) }},
	{"shutdown", false, func(s *sent) { s.answer(nil, chat.ErrShutdown) }},
	{"not sent", false, func(s *sent) { s.done(nil, errNotSent) }},
	{"lost", true, func(s *sent) { s.done(nil, errBroken) }},
	{"out of time there", true, func(s *sent) { s.answer(nil, context.DeadlineExceeded) }},
	{"no answer", true, func(*sent) {}},
}

func TestGoesAfterAShard(t *testing.T) {
	for _, f := range failures {
		for _, q := range []chat.Question{chat.Read{}, message("a"), message("")} {
			t.Run(fmt.Sprintf("%s/%T/%v", f.name, q, q.Repeatable()), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := newNode(t, peer, nil)
					n.shards.next = other
					o := n.ask(t.Context(), q)
					first := n.peers.take()[0]
					f.fail(first)
					if f.maybe && !q.Repeatable() {
						time.Sleep(11 * time.Second)
						synctest.Wait()
						o.want(t, nil, chat.ErrUnknown)
						if n.Stats().Unknown != 1 {
							t.Errorf("%+v", n.Stats())
						}
						return
					}
					if f.name == "no answer" {
						time.Sleep(2 * time.Second)
					}
					time.Sleep(5 * time.Millisecond)
					synctest.Wait()
					o.open(t)
					again := n.peers.take()
					if len(again) != 1 || again[0].to != other || n.shards.refreshed != 1 {
						t.Fatalf("asked again: %d, refreshed %d", len(again), n.shards.refreshed)
					}
					first.answer(nil, chat.ErrForbidden) // an attempt that was given up
					again[0].answer(chat.Noted{}, nil)
					o.want(t, chat.Noted{}, nil)
					if s := n.Stats(); s.Retried != 1 || s.Moved+s.Lost+s.NotSent != 1 || s.UnderWay != 0 || s.Waiting != 0 {
						t.Errorf("%+v", s)
					}
				})
			})
		}
	}
}

func TestGivesUpAtTheDeadline(t *testing.T) {
	for _, f := range failures {
		for _, limit := range []time.Duration{0, 3 * time.Second} {
			t.Run(fmt.Sprintf("%s/%v", f.name, limit), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := newNode(t, peer, nil)
					n.peers.atOnce = f.fail
					ctx, want := context.Background(), 10*time.Second
					if limit > 0 {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, limit)
						defer cancel()
						want = limit
					}
					start := time.Now()
					o := n.ask(ctx, message("a"))
					time.Sleep(want)
					synctest.Wait()
					if f.maybe {
						o.want(t, nil, chat.ErrUnknown)
					} else {
						o.want(t, nil, chat.ErrUnavailable)
					}
					if got := o.at.Sub(start); got != want {
						t.Errorf("gave up after %v", got)
					}
					if s := n.Stats(); s.UnderWay != 0 || s.Waiting != 0 || s.Unknown+s.GaveUp != 1 {
						t.Errorf("%+v", s)
					}
				})
			})
		}
	}
}

func TestBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, peer, nil)
		var at []time.Time
		n.peers.atOnce = func(s *sent) {
			at = append(at, time.Now())
			s.answer(nil, chat.ErrMoved)
		}
		n.ask(t.Context(), chat.Read{})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		pause := 5 * time.Millisecond
		for i := 1; i < len(at)-1; i++ {
			if got := at[i].Sub(at[i-1]); got > pause || got < pause/2 {
				t.Errorf("pause %d: %v", i, got)
			}
			pause = min(2*pause, 250*time.Millisecond)
		}
		if len(at) < 40 || len(at) > 90 {
			t.Errorf("%d attempts", len(at))
		}
	})
}

func TestOwnerIsNotKnown(t *testing.T) {
	for _, owner := range []chat.NodeID{0, self} { // self: known as the owner, but not serving
		synctest.Test(t, func(t *testing.T) {
			n := newNode(t, owner, nil)
			if owner == self {
				n.Router = router.New(router.Config{Self: self, Shards: idle{n.shards}, Peers: n.peers, Handler: n.hub})
			}
			o := n.ask(t.Context(), message("")) // nothing was sent: it may be asked again
			time.Sleep(time.Second)
			synctest.Wait()
			o.open(t)
			n.shards.move(peer)
			time.Sleep(250 * time.Millisecond)
			synctest.Wait()
			n.peers.take()[0].answer(chat.Noted{}, nil)
			o.want(t, chat.Noted{}, nil)
			if s := n.Stats(); s.Homeless < 4 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// idle knows the owners and serves nothing.
type idle struct{ *shards }

func (idle) Term(int) (uint64, bool) { return 0, false }

func TestMovesAwayFromThisNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, self, nil)
		n.hub.answer = func(_ context.Context, _ int, _ chat.Question, done func(chat.Answer, error)) {
			n.shards.next = peer
			go done(nil, chat.ErrMoved)
		}
		o := n.ask(t.Context(), message("a"))
		time.Sleep(5 * time.Millisecond)
		synctest.Wait()
		n.peers.take()[0].answer(chat.Noted{}, nil)
		o.want(t, chat.Noted{}, nil)
	})
}

func TestUnknownWinsOverMoved(t *testing.T) {
	n := newNode(t, self, nil)
	n.hub.answer = func(_ context.Context, _ int, _ chat.Question, done func(chat.Answer, error)) {
		done(nil, fmt.Errorf("%w: %w", chat.ErrUnknown, chat.ErrShutdown))
	}
	n.ask(t.Context(), message("a")).want(t, nil, chat.ErrUnknown)
}

func TestEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, peer, nil)
		ctx, cancel := context.WithCancel(t.Context())
		under := n.ask(ctx, chat.Read{}) // no answer
		n.peers.take()
		n.shards.move(0)
		queued := n.ask(ctx, message("a")) // no owner
		behind := n.ask(ctx, message("b"))
		cancel()
		synctest.Wait()
		under.want(t, nil, chat.ErrUnknown)
		time.Sleep(250 * time.Millisecond)
		synctest.Wait()
		queued.want(t, nil, chat.ErrUnavailable)
		behind.want(t, nil, chat.ErrUnavailable)
		n.ask(ctx, chat.Read{}).want(t, nil, chat.ErrUnavailable)
		if len(n.peers.take()) != 0 {
			t.Error("asked for nobody")
		}
	})
}

func TestAnswerIsNotUnderstood(t *testing.T) {
	for _, b := range []string{"\xff", "", "\xa2\x06\x01x"} {
		n := newNode(t, peer, nil)
		o := n.ask(t.Context(), message("a"))
		n.peers.take()[0].done([]byte(b), nil)
		o.want(t, nil, chat.ErrUnknown)
	}
}

func TestQuestionHasNoEncoding(t *testing.T) {
	n := newNode(t, peer, nil)
	type odd struct{ chat.Read }
	o := n.ask(t.Context(), odd{})
	if o.calls != 1 || o.err == nil || n.Stats().UnderWay != 0 {
		t.Errorf("%+v", o)
	}
	n.ask(t.Context(), chat.CarryOut{})
}

func TestBounds(t *testing.T) {
	n := newNode(t, peer, func(c *router.Config) { c.Limit, c.Line = 5, 3 })
	var line []*outcome
	for range 3 {
		line = append(line, n.ask(t.Context(), message("a")))
	}
	n.ask(t.Context(), message("a")).want(t, nil, chat.ErrOverloaded)
	rest := []*outcome{n.ask(t.Context(), chat.Read{}), n.ask(t.Context(), chat.Read{})}
	n.ask(t.Context(), chat.Read{}).want(t, nil, chat.ErrOverloaded)
	if s := n.Stats(); s.UnderWay != 5 || s.Refused != 2 {
		t.Errorf("%+v", s)
	}
	for _, s := range n.peers.take() {
		s.answer(chat.Noted{}, nil)
	}
	for _, o := range append(line, rest...) {
		o.want(t, chat.Noted{}, nil)
	}
	n.ask(t.Context(), message("a")).open(t)
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, peer, nil)
		read := n.ask(t.Context(), chat.Read{})
		lost := n.ask(t.Context(), message("a"))
		sent := n.peers.take()
		closed := make(chan error, 1)
		go func() { closed <- n.Close(t.Context()) }()
		synctest.Wait()
		n.ask(t.Context(), chat.Read{}).want(t, nil, chat.ErrShutdown)
		sent[0].answer(nil, chat.ErrMoved)
		read.want(t, nil, chat.ErrUnavailable)
		select {
		case err := <-closed:
			t.Fatalf("closed early: %v", err)
		default:
		}
		time.Sleep(2 * time.Second) // of an attempt
		synctest.Wait()
		lost.want(t, nil, chat.ErrUnknown)
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if err := n.Close(t.Context()); err != nil {
			t.Error(err)
		}

		n = newNode(t, peer, nil)
		o := n.ask(t.Context(), chat.Read{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := n.Close(ctx); !errors.Is(err, chat.ErrUnavailable) {
			t.Error(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		o.want(t, nil, chat.ErrUnknown)
	})
}

type observed struct {
	question string
	remote   bool
	attempts int
	took     time.Duration
	err      error
}

type observer struct{ list []observed }

func (o *observer) Asked(question string, remote bool, attempts int, took time.Duration, err error) {
	o.list = append(o.list, observed{question, remote, attempts, took, err})
}

func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := &observer{}
		n := newNode(t, peer, func(c *router.Config) { c.Observer = seen })
		n.shards.next = self
		n.hub.answer = func(_ context.Context, _ int, _ chat.Question, done func(chat.Answer, error)) {
			done(chat.Noted{}, nil)
		}
		n.ask(t.Context(), chat.Read{})
		time.Sleep(time.Second)
		n.peers.take()[0].answer(nil, chat.ErrGone)
		n.ask(t.Context(), message("a"))
		n.peers.take()[0].answer(nil, chat.ErrMoved)
		time.Sleep(time.Second)
		synctest.Wait()
		if len(seen.list) != 2 || seen.list[0] != (observed{"read", true, 1, time.Second, chat.ErrGone}) {
			t.Fatalf("%+v", seen.list)
		}
		if o := seen.list[1]; o.question != "carry_out" || o.remote || o.attempts != 2 || o.took > 5*time.Millisecond || o.err != nil {
			t.Errorf("%+v", o)
		}
	})
}
