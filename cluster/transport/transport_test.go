package transport_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/transport"
)

func ask(t *testing.T, n *node, ctx context.Context, to chat.NodeID, q string) (string, error) {
	t.Helper()
	type result struct {
		a   string
		err error
	}
	c := make(chan result, 2)
	n.Transport.Request(ctx, to, []byte(q), func(b []byte, err error) { c <- result{string(b), err} })
	select {
	case r := <-c:
		return r.a, r.err
	case <-time.After(30 * time.Second):
		t.Fatal("a request without outcome")
		panic("")
	}
}

func TestDeliveriesAreHandledInOrderAndConfirmed(t *testing.T) {
	a, b := start(t, 1), start(t, 2)
	a.SetPeers([]transport.Peer{b.peer()})
	const n = 20000
	var o outcomes
	want := make([]string, n)
	for i := range n {
		want[i] = strconv.Itoa(i)
		a.Transport.Deliver(2, []byte(want[i]), o.done(i))
	}
	for i, err := range o.wait(t, n) {
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if got := b.received(1); !slices.Equal(got, want) {
		t.Fatalf("%d arrived, not in order", len(got))
	}
	eventually(t, "nothing is pending", func() bool {
		s := a.stats(2)
		return s.Queued == 0 && s.QueuedBytes == 0 && s.Unconfirmed == 0 && s.UnconfirmedBytes == 0
	})
	if s := a.stats(2); !s.Connected || s.Connects != 1 || s.FramesOut < n || s.BytesOut == 0 || s.BytesIn == 0 {
		t.Errorf("stats: %+v", s)
	}
}

func TestManySendersEachInTheirOrder(t *testing.T) {
	a, b := start(t, 1), start(t, 2)
	a.SetPeers([]transport.Peer{b.peer()})
	const senders, each = 8, 2000
	var o outcomes
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				a.Transport.Deliver(2, fmt.Appendf(nil, "%d %d", s, i), o.done(s*each+i))
			}
		})
	}
	wg.Wait()
	o.wait(t, senders*each)
	next := make([]int, senders)
	for _, g := range b.received(1) {
		var s, i int
		if _, err := fmt.Sscan(g, &s, &i); err != nil || next[s] != i {
			t.Fatalf("sender %d: %d after %d", s, i, next[s]-1)
		}
		next[s]++
	}
}

func TestConfirmationsComeInAnyOrder(t *testing.T) {
	a, b := start(t, 1), start(t, 2)
	var mu sync.Mutex
	var held []func(error)
	b.onDeliver = func(_ chat.NodeID, _ []byte, confirm func(error)) {
		mu.Lock()
		defer mu.Unlock()
		held = append(held, confirm)
	}
	a.SetPeers([]transport.Peer{b.peer()})
	const n = 1000
	var o outcomes
	for i := range n {
		a.Transport.Deliver(2, []byte("x"), o.done(i))
	}
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(held) }
	eventually(t, "all arrived", func() bool { return count() == n })
	if o.n() != 0 {
		t.Fatal("an outcome before the confirmation")
	}
	for i := n - 1; i >= 0; i-- {
		if i%10 == 0 {
			held[i](errors.New("no room for " + strconv.Itoa(i)))
		} else {
			held[i](nil)
		}
		if i%3 == 0 {
			held[i](nil) // twice: must not count for another
		}
	}
	for i, err := range o.wait(t, n) {
		if i%10 != 0 && err != nil || i%10 == 0 && (!errors.Is(err, transport.ErrFailed) || !strings.HasSuffix(err.Error(), "no room for "+strconv.Itoa(i))) {
			t.Fatalf("%d: %v", i, err)
		}
	}
}

func TestRequests(t *testing.T) {
	a, b := start(t, 1), start(t, 2)
	b.onRequest = func(from chat.NodeID, left time.Duration, q []byte, reply func([]byte, error)) {
		switch s := string(q); s {
		case "fail":
			reply(nil, errors.New("not today"))
		case "left":
			reply([]byte(left.String()), nil)
		case "huge":
			reply(make([]byte, 17<<20), nil)
		default:
			go reply([]byte(fmt.Sprint(from, " asked ", s)), nil)
		}
	}
	a.SetPeers([]transport.Peer{b.peer(), a.peer()})
	ctx := t.Context()
	if got, err := ask(t, a, ctx, 2, "x"); err != nil || got != "1 asked x" {
		t.Fatal(got, err)
	}
	if _, err := ask(t, a, ctx, 2, "fail"); !errors.Is(err, transport.ErrFailed) || !strings.HasSuffix(err.Error(), "not today") {
		t.Fatal(err)
	}
	if _, err := ask(t, a, ctx, 2, "huge"); !errors.Is(err, transport.ErrFailed) {
		t.Fatal(err)
	}
	if got, err := ask(t, a, ctx, 2, "left"); err != nil || got != "0s" {
		t.Fatal("without a deadline:", got, err)
	}
	timed, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	got, err := ask(t, a, timed, 2, "left")
	if left, _ := time.ParseDuration(got); err != nil || left <= 0 || left > time.Minute {
		t.Fatal("of a minute:", got, err)
	}
	if _, err := ask(t, a, ctx, 3, "x"); !errors.Is(err, transport.ErrNotSent) || !errors.Is(err, transport.ErrNoPeer) {
		t.Fatal("nobody:", err)
	}
	if _, err := ask(t, a, ctx, 1, "x"); !errors.Is(err, transport.ErrNoPeer) {
		t.Fatal("itself:", err)
	}
	if _, err := ask(t, a, ctx, 2, strings.Repeat("x", 16<<20+1)); !errors.Is(err, transport.ErrNotSent) || !errors.Is(err, transport.ErrTooLarge) {
		t.Fatal("too large:", err)
	}
}

func TestRequestEndsWithItsContext(t *testing.T) {
	a, b := start(t, 1), start(t, 2)
	asked := make(chan struct{}, 1)
	b.onRequest = func(chat.NodeID, time.Duration, []byte, func([]byte, error)) { asked <- struct{}{} }
	a.SetPeers([]transport.Peer{b.peer(), {ID: 3, Name: "nowhere", Addr: "127.0.0.1:1"}})

	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { <-asked; cancel(errors.New("had enough")) }()
	if _, err := ask(t, a, ctx, 2, "x"); !errors.Is(err, transport.ErrUnknown) || !strings.Contains(err.Error(), "had enough") {
		t.Fatal("written:", err)
	}
	if _, err := ask(t, a, ctx, 2, "x"); !errors.Is(err, transport.ErrNotSent) {
		t.Fatal("over before:", err)
	}
	short, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if _, err := ask(t, a, short, 3, "x"); !errors.Is(err, transport.ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal("never connected:", err)
	}
	if s := a.stats(3); s.Requests != 0 || s.RequestBytes != 0 || s.Connected {
		t.Errorf("%+v", s)
	}
}

func TestLateAnswerIsNobodyElses(t *testing.T) {
	a, b := start(t, 1), start(t, 2)
	replies := make(chan func([]byte, error), 2)
	b.onRequest = func(_ chat.NodeID, _ time.Duration, q []byte, reply func([]byte, error)) {
		if string(q) == "slow" {
			replies <- reply
			return
		}
		reply(q, nil)
	}
	a.SetPeers([]transport.Peer{b.peer()})
	ctx, cancel := context.WithCancel(t.Context())
	var late func([]byte, error)
	go func() { late = <-replies; cancel() }()
	if _, err := ask(t, a, ctx, 2, "slow"); !errors.Is(err, transport.ErrUnknown) {
		t.Fatal(err)
	}
	for i := range 100 {
		if i == 50 {
			late([]byte("late"), nil)
		}
		if got, err := ask(t, a, t.Context(), 2, strconv.Itoa(i)); err != nil || got != strconv.Itoa(i) {
			t.Fatal(i, got, err)
		}
	}
}

func TestBigFrames(t *testing.T) {
	a, b := start(t, 1), start(t, 2)
	b.onRequest = func(_ chat.NodeID, _ time.Duration, q []byte, reply func([]byte, error)) { reply(q, nil) }
	a.SetPeers([]transport.Peer{b.peer()})
	var o outcomes
	var want []string
	for i, n := range []int{0, 1, 60 << 10, 64 << 10, 64<<10 - 16, 200 << 10, 16 << 20, 3, 5 << 20} {
		p := bytes.Repeat([]byte{byte('a' + i)}, n)
		want = append(want, string(p))
		a.Transport.Deliver(2, p, o.done(i))
		clear(p) // it was copied
		if n <= 200<<10 || n == 16<<20 {
			if got, err := ask(t, a, t.Context(), 2, want[i]); err != nil || got != want[i] {
				t.Fatalf("%d bytes: %v", n, err)
			}
		}
	}
	for i, err := range o.wait(t, len(want)) {
		if err != nil {
			t.Fatal(i, err)
		}
	}
	if got := b.received(1); !slices.Equal(got, want) {
		t.Fatal("something else arrived")
	}
	a.Transport.Deliver(2, make([]byte, 16<<20+1), o.done(99))
	if err := o.wait(t, len(want)+1)[99]; !errors.Is(err, transport.ErrNotSent) || !errors.Is(err, transport.ErrTooLarge) {
		t.Fatal(err)
	}
}

func TestBothWaysAtOnce(t *testing.T) {
	nodes := []*node{start(t, 1), start(t, 2), start(t, 3)}
	var peers []transport.Peer
	for _, n := range nodes {
		peers = append(peers, n.peer())
	}
	const each = 500
	var o, asked outcomes
	k := 0
	for _, n := range nodes {
		n.SetPeers(peers)
		for _, to := range nodes {
			if to == n {
				continue
			}
			for i := range each {
				n.Transport.Deliver(to.id, []byte(strconv.Itoa(i)), o.done(k))
				done := asked.done(k)
				n.Transport.Request(t.Context(), to.id, []byte("q"), func(_ []byte, err error) { done(err) })
				k++
			}
		}
	}
	for _, m := range []map[int]error{o.wait(t, k), asked.wait(t, k)} {
		for i, err := range m {
			if err != nil {
				t.Fatal(i, err)
			}
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	h := &node{}
	for name, change := range map[string]func(*transport.Config){
		"self":     func(c *transport.Config) { c.Self = 0 },
		"cluster":  func(c *transport.Config) { c.Cluster = "" },
		"handler":  func(c *transport.Config) { c.Handler = nil },
		"name":     func(c *transport.Config) { c.Name = strings.Repeat("x", 256) },
		"frame":    func(c *transport.Config) { c.MaxFrame = 1 },
		"negative": func(c *transport.Config) { c.Window = -1 },
		"address":  func(c *transport.Config) { c.Listen = "nowhere" },
	} {
		cfg := config(1, h)
		change(&cfg)
		if tr, err := transport.New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
			_ = tr.Close()
		}
	}
}
