package router_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/router"
)

// world is a few nodes that own one shard in turns, with a log that all of them write.
type world struct {
	mu      sync.Mutex
	random  *rand.Rand
	calm    bool
	owner   chat.NodeID
	epoch   uint64
	nodes   map[chat.NodeID]*worldNode
	log     []string
	written map[string]bool
}

func (w *world) chance(n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.calm && w.random.IntN(100) < n
}

func (w *world) delay(upTo time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Duration(w.random.Int64N(int64(upTo)))
}

// worldNode is one of them: its Ownership, Transport and Handler.
type worldNode struct {
	id     chat.NodeID
	w      *world
	router *router.Router
	known  chat.NodeID                 // guarded by w.mu, as is what follows
	pipes  map[chat.NodeID]chan func() // a connection: what is written to it is handled at the other end in order
	broken map[chan func()]bool
	box    chan func() // the hub's mailbox
}

func (n *worldNode) Term(int) (uint64, bool) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return n.w.epoch, n.w.owner == n.id
}

func (n *worldNode) MayAck(_ int, epoch uint64) bool {
	e, ok := n.Term(0)
	return ok && e == epoch
}

func (n *worldNode) Owner(int) chat.NodeID {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return n.known
}

func (n *worldNode) Refresh() {
	delay := n.w.delay(20 * time.Millisecond)
	time.AfterFunc(delay, func() {
		n.w.mu.Lock()
		defer n.w.mu.Unlock()
		n.known = n.w.owner
	})
}

func (n *worldNode) run(box chan func()) {
	for f := range box {
		f()
	}
}

func (n *worldNode) Request(ctx context.Context, to chat.NodeID, payload []byte, done func([]byte, error)) {
	if n.w.chance(5) {
		done(nil, errNotSent)
		return
	}
	b := append([]byte(nil), payload...)
	var once sync.Once
	end := func(b []byte, err error) { once.Do(func() { done(b, err) }) }
	context.AfterFunc(ctx, func() { end(nil, ctx.Err()) })
	n.w.mu.Lock()
	defer n.w.mu.Unlock() // until it is in the pipe, which somebody else may close
	pipe := n.pipes[to]
	if pipe == nil {
		pipe = make(chan func(), 10_000)
		n.pipes[to] = pipe
		go n.run(pipe)
	}
	pipe <- func() {
		if n.w.chance(2) { // the connection breaks, with all that was written to it
			n.w.mu.Lock()
			if n.pipes[to] == pipe {
				delete(n.pipes, to)
				close(pipe)
			}
			n.broken[pipe] = true
			n.w.mu.Unlock()
		}
		n.w.mu.Lock()
		broken := n.broken[pipe]
		n.w.mu.Unlock()
		if broken {
			time.AfterFunc(n.w.delay(5*time.Millisecond), func() { end(nil, errBroken) })
			return
		}
		if n.w.chance(1) {
			time.Sleep(n.w.delay(5 * time.Second)) // it is stopped for a while
		} else {
			time.Sleep(n.w.delay(200 * time.Microsecond))
		}
		n.w.nodes[to].router.Request(n.id, time.Second, b, func(b []byte, err error) {
			b = append([]byte(nil), b...)
			if n.w.chance(5) {
				time.AfterFunc(time.Millisecond, func() { end(nil, errBroken) }) // after it was carried out
				return
			}
			time.AfterFunc(n.w.delay(time.Millisecond), func() { end(b, err) })
		})
	}
}

func (n *worldNode) Deliver(chat.NodeID, []byte, func(error)) { panic("no parcels here") }

func (n *worldNode) Receive(chat.NodeID, chat.Parcel, func(error)) { panic("no parcels here") }

// Answer puts the question into the mailbox, which writes it to the log if the node has the term still.
func (n *worldNode) Answer(_ context.Context, _ int, q chat.Question, done func(chat.Answer, error)) {
	epoch, ok := n.Term(0)
	if !ok {
		done(nil, chat.ErrMoved)
		return
	}
	n.box <- func() {
		time.Sleep(n.w.delay(500 * time.Microsecond))
		id := clientID(q)
		if strings.HasSuffix(id, "7") {
			done(nil, chat.ErrForbidden) // an outcome
			return
		}
		n.w.mu.Lock()
		mine := n.w.owner == n.id && n.w.epoch == epoch
		if mine && !n.w.written[id] {
			n.w.written[id] = true
			n.w.log = append(n.w.log, id)
		}
		n.w.mu.Unlock()
		if !mine {
			done(nil, chat.ErrMoved)
			return
		}
		done(chat.Noted{}, nil)
	}
}

// TestNothingIsLostTwiceDoneOrReordered runs a conversation that moves between nodes over connections that break, and
// compares what was said of each message with what happened to it.
func TestNothingIsLostTwiceDoneOrReordered(t *testing.T) {
	for seed := range uint64(150) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { chaos(t, seed) })
		})
	}
}

func chaos(t *testing.T, seed uint64) {
	w := &world{
		random: rand.New(rand.NewPCG(seed, 1)), owner: 1, epoch: 1, nodes: map[chat.NodeID]*worldNode{}, written: map[string]bool{},
	}
	for id := chat.NodeID(1); id <= 3; id++ {
		n := &worldNode{
			id: id, w: w, known: 1, pipes: map[chat.NodeID]chan func(){}, broken: map[chan func()]bool{}, box: make(chan func(), 10_000),
		}
		n.router = router.New(router.Config{
			Self: id, Shards: n, Peers: n, Handler: n, Attempt: 500 * time.Millisecond,
			NotSent: func(err error) bool { return errors.Is(err, errNotSent) },
			Logger:  slog.New(slog.DiscardHandler),
		})
		w.nodes[id] = n
		go n.run(n.box)
	}

	const users, messages = 3, 40
	type said struct {
		calls int
		err   error
	}
	outcomes := make([][]said, users)
	var asking sync.WaitGroup
	for u := range users {
		outcomes[u] = make([]said, messages)
		asking.Go(func() {
			ask := w.nodes[chat.NodeID(u%3+1)].router.Ask
			for i := range messages {
				q := message(fmt.Sprintf("%d/%d", u, i)).(chat.CarryOut)
				q.Principal.User = chat.UserID(fmt.Sprint(u))
				ctx, cancel := context.WithTimeout(t.Context(), time.Second+w.delay(5*time.Second))
				ask(ctx, 17, q, func(_ chat.Answer, err error) {
					cancel()
					w.mu.Lock()
					defer w.mu.Unlock()
					outcomes[u][i].calls++
					outcomes[u][i].err = err
				})
				if w.chance(60) {
					time.Sleep(w.delay(3 * time.Millisecond))
				}
			}
		})
	}
	for range 30 {
		time.Sleep(w.delay(40 * time.Millisecond))
		w.mu.Lock()
		w.owner = chat.NodeID(w.random.IntN(4)) // 0: nobody's
		w.epoch++
		w.mu.Unlock()
	}
	w.mu.Lock()
	w.owner, w.calm = 2, true
	w.epoch++
	w.mu.Unlock()
	asking.Wait()
	time.Sleep(20 * time.Second)
	synctest.Wait()

	for id, n := range w.nodes {
		if s := n.router.Stats(); s.UnderWay != 0 || s.Waiting != 0 || s.InboundUnderWay != 0 {
			t.Errorf("node %v: %+v", id, s)
		}
		for _, pipe := range n.pipes {
			close(pipe)
		}
		close(n.box)
	}
	last := map[int]int{0: -1, 1: -1, 2: -1}
	for _, id := range w.log {
		var u, i int
		if _, err := fmt.Sscanf(id, "%d/%d", &u, &i); err != nil {
			t.Fatal(err)
		}
		if i < last[u] {
			t.Errorf("%s (%v) was carried out after %d/%d", id, outcomes[u][i].err, u, last[u])
		}
		last[u] = i
	}
	for u := range outcomes {
		for i, o := range outcomes[u] {
			written := w.written[fmt.Sprintf("%d/%d", u, i)]
			switch {
			case o.calls != 1:
				t.Errorf("%d/%d: done was called %d times", u, i, o.calls)
			case o.err == nil && !written:
				t.Errorf("%d/%d is acknowledged and was not carried out", u, i)
			case errors.Is(o.err, chat.ErrUnavailable) && written:
				t.Errorf("%d/%d is %v and was carried out", u, i, o.err)
			case o.err != nil && !errors.Is(o.err, chat.ErrUnavailable) && !errors.Is(o.err, chat.ErrUnknown) && !errors.Is(o.err, chat.ErrForbidden):
				t.Errorf("%d/%d: %v", u, i, o.err)
			}
		}
	}
}
