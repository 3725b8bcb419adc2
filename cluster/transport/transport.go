package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/chat"
)

// Transport is a node's end of the streams to all others. Its methods are safe for concurrent use.
type Transport struct {
	cfg      Config
	min, max uint16 // versions of the protocol
	listener net.Listener
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	refused  atomic.Uint64

	peers atomic.Pointer[map[chat.NodeID]*peer] // copied on write

	mu      sync.Mutex // of what follows, and of writes to peers
	closed  bool
	inbound map[chat.NodeID]*inbound
	streams map[*stream]struct{}  // those the watch looks after
	gone    map[chat.NodeID]*peer // closed, and not through yet
}

// New listens, and answers peers at once. Nothing is dialled before SetPeers.
func New(cfg Config) (*Transport, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return newTransport(cfg, versionMin, versionMax)
}

func newTransport(cfg Config, minVersion, maxVersion uint16) (*Transport, error) {
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("transport: %w", err)
	}
	t := &Transport{
		cfg: cfg, min: minVersion, max: maxVersion, listener: l,
		inbound: make(map[chat.NodeID]*inbound), streams: make(map[*stream]struct{}), gone: make(map[chat.NodeID]*peer),
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.peers.Store(&map[chat.NodeID]*peer{})
	t.wg.Go(t.accept)
	t.wg.Go(t.keepWatch)
	return t, nil
}

// Addr is where it listens.
func (t *Transport) Addr() string { return t.listener.Addr().String() }

// SetPeers says who may be sent to, the complete list each time; this node itself is passed over. Streams are set up in
// the background, and tried again for as long as the peer is listed. A peer that is not listed any more is closed:
// what is under way to it fails. It is not waited for.
func (t *Transport) SetPeers(list []Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	old := *t.peers.Load()
	peers := make(map[chat.NodeID]*peer, len(list))
	for _, l := range list {
		if l.ID == t.cfg.Self || l.ID == 0 || peers[l.ID] != nil {
			continue
		}
		p := old[l.ID]
		if p == nil {
			p = &peer{t: t, id: l.ID, name: l.Name, addr: l.Addr, down: time.Now(), before: t.gone[l.ID], ended: make(chan struct{})}
			p.ctx, p.cancel = context.WithCancel(t.ctx)
			t.wg.Go(p.run)
		} else {
			p.mu.Lock()
			p.name, p.addr = l.Name, l.Addr
			p.mu.Unlock()
		}
		peers[l.ID] = p
	}
	t.peers.Store(&peers)
	for id, p := range old {
		if peers[id] == nil {
			t.gone[id] = p
			p.close()
		}
	}
}

// forget is the end of a peer's run.
func (t *Transport) forget(p *peer) {
	t.mu.Lock()
	if t.gone[p.id] == p {
		delete(t.gone, p.id)
	}
	t.mu.Unlock()
	close(p.ended)
}

// close makes run end, which fails what is under way. Nothing is added any more.
func (p *peer) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
}

// Request sends a question to a node. It never blocks. done is called once, from any goroutine, the caller's included,
// and must not block: with the answer, which is valid until done returns, or with ErrNotSent, ErrUnknown or ErrFailed. While there
// is no stream the question waits for one, until ctx ends; an end of ctx is one of the outcomes, and what is left until its
// deadline is told the peer. The payload is copied.
func (t *Transport) Request(ctx context.Context, node chat.NodeID, payload []byte, done func([]byte, error)) {
	var why error
	p := (*t.peers.Load())[node]
	switch {
	case p == nil:
		why = ErrNoPeer
	case len(payload) > t.cfg.MaxFrame:
		why = ErrTooLarge
	default:
		why = ctx.Err()
	}
	if why != nil {
		done(nil, outcome(ErrNotSent, why))
		return
	}
	p.request(ctx, payload, done)
}

// Deliver sends something to a node. It never blocks. Deliveries to one node are handled there in the order of the
// calls. done is called once, from any goroutine, the caller's included, and must not block: with nil when the node has
// confirmed it, else with ErrNotSent, ErrUnknown or ErrFailed. The payload is copied.
func (t *Transport) Deliver(node chat.NodeID, payload []byte, done func(error)) {
	var why error
	p := (*t.peers.Load())[node]
	switch {
	case p == nil:
		why = ErrNoPeer
	case len(payload) > t.cfg.MaxFrame:
		why = ErrTooLarge
	}
	if why != nil {
		done(outcome(ErrNotSent, why))
		return
	}
	p.deliver(payload, done)
}

// Close ends all streams, fails what is under way and waits for every goroutine. It must not be called from a handler
// or a done.
func (t *Transport) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		t.wg.Wait()
		return nil
	}
	t.closed = true
	for _, p := range *t.peers.Load() {
		p.close()
	}
	for s := range t.streams {
		s.close(ErrClosed)
	}
	t.mu.Unlock()
	err := t.listener.Close()
	t.cancel()
	t.wg.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("transport: %w", err)
	}
	return nil
}

// spawn runs f on a goroutine that Close waits for; false: it is closed.
func (t *Transport) spawn(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.wg.Go(f)
	return true
}

// watch has a stream looked after; false: the transport is closed.
func (t *Transport) watch(s *stream) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.streams[s] = struct{}{}
	return true
}

func (t *Transport) unwatch(s *stream) {
	t.mu.Lock()
	delete(t.streams, s)
	t.mu.Unlock()
}

// enter makes in the stream of its node, and returns the one before.
func (t *Transport) enter(in *inbound) (before *inbound, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, false
	}
	before = t.inbound[in.node]
	t.inbound[in.node] = in
	t.streams[in.stream] = struct{}{}
	return before, true
}

func (t *Transport) leave(in *inbound) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.inbound[in.node] == in {
		delete(t.inbound, in.node)
	}
	delete(t.streams, in.stream)
}

// keepWatch pings, and closes the streams of peers that are silent.
func (t *Transport) keepWatch() {
	tick := time.NewTicker(max(t.cfg.PeerTimeout/ticksPerTimeout, time.Millisecond))
	defer tick.Stop()
	var streams []*stream
	for {
		select {
		case <-tick.C:
		case <-t.ctx.Done():
			return
		}
		t.mu.Lock()
		streams = streams[:0]
		for s := range t.streams {
			streams = append(streams, s)
		}
		t.mu.Unlock()
		for i, s := range streams {
			s.tick()
			streams[i] = nil
		}
	}
}
