package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// coderPeer stands for the libraries that upgrade inside net/http: coder/websocket, a goroutine per connection.
type coderPeer struct {
	server *http.Server
	l      net.Listener
	in     atomic.Int64
	mu     sync.RWMutex
	list   []*websocket.Conn
	at     int
}

func newCoderPeer() (peer, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &coderPeer{l: l}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: 5 * time.Second}
	go p.server.Serve(l)
	return p, nil
}

// ServeHTTP upgrades and reads until the end.
func (p *coderPeer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer c.CloseNow()
	p.mu.Lock()
	p.list = append(p.list, c)
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		if i := slices.Index(p.list, c); i >= 0 {
			p.list = slices.Delete(p.list, i, i+1)
		}
		p.mu.Unlock()
	}()
	for {
		if _, _, err := c.Read(context.Background()); err != nil {
			return
		}
		p.in.Add(1)
	}
}

func (p *coderPeer) addr() string { return p.l.Addr().String() }

func (p *coderPeer) conns() int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.list)
}

func (p *coderPeer) inbound() int64 { return p.in.Load() }

func (p *coderPeer) broadcast(payload []byte, k int) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var err error
	for range k {
		for _, c := range p.list {
			err = errors.Join(err, c.Write(context.Background(), websocket.MessageText, payload))
		}
	}
	return err
}

func (p *coderPeer) next(payload []byte, n int) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for range n {
		if err := p.list[p.at%len(p.list)].Write(context.Background(), websocket.MessageText, payload); err != nil {
			return err
		}
		p.at++
	}
	return nil
}

func (p *coderPeer) close() { p.server.Close() }
