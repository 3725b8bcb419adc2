package transport_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eventually waits for what must come to pass, however slow the machine is.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// node is a transport with a handler that remembers. What it does with requests and deliveries can be set.
type node struct {
	*transport.Transport
	id chat.NodeID

	onRequest func(from chat.NodeID, left time.Duration, payload []byte, reply func([]byte, error))
	onDeliver func(from chat.NodeID, payload []byte, confirm func(error))

	mu     sync.Mutex
	got    map[chat.NodeID][]string // deliveries
	events []string
	downs  []error
}

func (n *node) Request(from chat.NodeID, left time.Duration, payload []byte, reply func([]byte, error)) {
	if n.onRequest != nil {
		n.onRequest(from, left, payload, reply)
		return
	}
	reply(append([]byte("re: "), payload...), nil)
}

func (n *node) Deliver(from chat.NodeID, payload []byte, confirm func(error)) {
	n.mu.Lock()
	n.got[from] = append(n.got[from], string(payload))
	n.mu.Unlock()
	if n.onDeliver != nil {
		n.onDeliver(from, payload, confirm)
		return
	}
	confirm(nil)
}

func (n *node) Up(id chat.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = append(n.events, fmt.Sprint("up ", id))
}

func (n *node) Down(id chat.NodeID, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = append(n.events, fmt.Sprint("down ", id))
	n.downs = append(n.downs, err)
}

func (n *node) received(from chat.NodeID) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.got[from])
}

func (n *node) happened() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.events)
}

func (n *node) sawDown(err error) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(n.downs, func(e error) bool { return errors.Is(e, err) })
}

func (n *node) peer() transport.Peer {
	return transport.Peer{ID: n.id, Name: fmt.Sprint("n", n.id), Addr: n.Addr()}
}

func (n *node) stats(id chat.NodeID) transport.PeerStats {
	for _, p := range n.Stats().Peers {
		if p.Node == id {
			return p
		}
	}
	return transport.PeerStats{}
}

func config(id chat.NodeID, h transport.Handler) transport.Config {
	return transport.Config{
		Self: id, Name: fmt.Sprint("n", id), Cluster: "test", Handler: h,
		Logger: slog.New(slog.DiscardHandler), MinBackoff: time.Millisecond, MaxBackoff: 20 * time.Millisecond,
	}
}

func start(t testing.TB, id chat.NodeID, change ...func(*transport.Config)) *node {
	t.Helper()
	n := &node{id: id, got: make(map[chat.NodeID][]string)}
	cfg := config(id, n)
	for _, f := range change {
		f(&cfg)
	}
	tr, err := transport.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.Transport = tr
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// outcomes counts the calls of done, by number of the message.
type outcomes struct {
	mu    sync.Mutex
	errs  map[int][]error
	count int
}

func (o *outcomes) done(i int) func(error) {
	return func(err error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.errs == nil {
			o.errs = make(map[int][]error)
		}
		o.errs[i] = append(o.errs[i], err)
		o.count++
	}
}

func (o *outcomes) n() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.count
}

// wait waits for n outcomes and returns them; each must have come once.
func (o *outcomes) wait(t testing.TB, n int) map[int]error {
	t.Helper()
	eventually(t, fmt.Sprint(n, " outcomes"), func() bool { return o.n() >= n })
	o.mu.Lock()
	defer o.mu.Unlock()
	m := make(map[int]error)
	for i, errs := range o.errs {
		if len(errs) != 1 {
			t.Fatalf("message %d has %d outcomes: %v", i, len(errs), errs)
		}
		m[i] = errs[0]
	}
	return m
}

// link is a TCP proxy in front of a node that can stall and be cut.
type link struct {
	l  net.Listener
	to string
	wg sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	stalled bool
	moved   sync.Cond
	conns   map[net.Conn]struct{}
}

func newLink(t testing.TB, to string) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{l: l, to: to, conns: make(map[net.Conn]struct{})}
	k.moved.L = &k.mu
	k.wg.Go(k.accept)
	t.Cleanup(func() {
		k.mu.Lock()
		k.closed, k.stalled = true, false
		k.mu.Unlock()
		k.moved.Broadcast()
		_ = l.Close()
		k.cut()
		k.wg.Wait()
	})
	return k
}

func (k *link) addr() string { return k.l.Addr().String() }

func (k *link) accept() {
	for {
		a, err := k.l.Accept()
		if err != nil {
			return
		}
		b, err := net.Dial("tcp", k.to)
		if err != nil {
			_ = a.Close()
			continue
		}
		k.mu.Lock()
		if k.closed {
			k.mu.Unlock()
			_, _ = a.Close(), b.Close()
			return
		}
		k.conns[a], k.conns[b] = struct{}{}, struct{}{}
		k.mu.Unlock()
		k.wg.Go(func() { k.copy(a, b) })
		k.wg.Go(func() { k.copy(b, a) })
	}
}

func (k *link) copy(dst, src net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := src.Read(buf)
		k.mu.Lock()
		for k.stalled {
			k.moved.Wait()
		}
		k.mu.Unlock()
		if n > 0 {
			_, err = dst.Write(buf[:n])
		}
		if err != nil {
			_, _ = src.Close(), dst.Close()
			k.mu.Lock()
			delete(k.conns, src)
			delete(k.conns, dst)
			k.mu.Unlock()
			return
		}
	}
}

// stall stops all bytes, and lets them go again.
func (k *link) stall(yes bool) {
	k.mu.Lock()
	k.stalled = yes
	k.mu.Unlock()
	k.moved.Broadcast()
}

// cut closes all connections.
func (k *link) cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for c := range k.conns {
		_ = c.Close()
	}
}
