package main

import (
	"context"
	"crypto/tls"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/edge/reactor"
)

// reactorPeer is the hub's transport alone.
type reactorPeer struct {
	server *reactor.Server
	done   chan error
	in     atomic.Int64

	mu      sync.Mutex
	handles []reactor.Handle
	set     *reactor.Set // nil: a connection came or went since it was made
	frame   *reactor.Frame
	framed  string
	at      int
}

func newReactorPeer(conf *tls.Config, ping time.Duration) (peer, error) {
	p := &reactorPeer{done: make(chan error, 1)}
	var err error
	p.server, err = reactor.New(reactor.Config{Addr: "127.0.0.1:0", Handler: p, TLS: conf, PingInterval: ping})
	if err != nil {
		return nil, err
	}
	go func() { p.done <- p.server.Serve(context.Background()) }()
	return p, nil
}

// Upgrade implements reactor.Handler.
func (p *reactorPeer) Upgrade(*reactor.Request) reactor.Decision { return reactor.Decision{} }

// Open implements reactor.Handler.
func (p *reactorPeer) Open(c reactor.Conn) {
	p.mu.Lock()
	p.handles = append(p.handles, c.Handle)
	p.set = nil
	p.mu.Unlock()
}

// Message implements reactor.Handler.
func (p *reactorPeer) Message(reactor.Conn, bool, []byte) { p.in.Add(1) }

// Closed implements reactor.Handler.
func (p *reactorPeer) Closed(c reactor.Conn, _ uint16, _ string) {
	p.mu.Lock()
	if i := slices.Index(p.handles, c.Handle); i >= 0 {
		p.handles = slices.Delete(p.handles, i, i+1)
	}
	p.set = nil
	p.mu.Unlock()
}

func (p *reactorPeer) addr() string { return p.server.Addr().String() }

func (p *reactorPeer) conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.handles)
}

func (p *reactorPeer) inbound() int64 { return p.in.Load() }

func (p *reactorPeer) broadcast(payload []byte, k int) error {
	p.mu.Lock()
	if p.set == nil {
		p.set = reactor.NewSet(slices.Clone(p.handles))
	}
	set := p.set
	p.mu.Unlock()
	for range k {
		p.server.Broadcast(set, reactor.NewFrame(true, slices.Clone(payload)), reactor.Durable, 0)
	}
	return nil
}

func (p *reactorPeer) next(payload []byte, n int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.framed != string(payload) {
		p.framed, p.frame = string(payload), reactor.NewFrame(true, slices.Clone(payload))
	}
	for range n {
		if err := p.server.Send(p.handles[p.at%len(p.handles)], p.frame, reactor.Durable); err != nil {
			return err
		}
		p.at++
	}
	return nil
}

func (p *reactorPeer) close() {
	p.server.Close()
	<-p.done
}
