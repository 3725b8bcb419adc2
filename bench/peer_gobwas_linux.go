package main

import (
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// gobwasPeer is the usual server over gobwas/ws: a goroutine per connection that reads with wsutil, a mutex per
// connection around writes, one goroutine that pings. With TLS it is the usual server over crypto/tls.
type gobwasPeer struct {
	l    net.Listener
	in   atomic.Int64
	mu   sync.RWMutex
	list []*gobwasConn
	at   int
	stop chan struct{}
}

type gobwasConn struct {
	net.Conn
	mu sync.Mutex
}

func (c *gobwasConn) send(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.Conn.Write(b)
	return err
}

func newGobwasPeer(conf *tls.Config, ping time.Duration) (peer, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	if conf != nil {
		l = tls.NewListener(l, conf)
	}
	p := &gobwasPeer{l: l, stop: make(chan struct{})}
	go p.accept()
	go p.ping(ping)
	return p, nil
}

func (p *gobwasPeer) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		go p.serve(&gobwasConn{Conn: c})
	}
}

func (p *gobwasPeer) serve(c *gobwasConn) {
	defer c.Close()
	if _, err := ws.Upgrade(c.Conn); err != nil {
		return
	}
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
		_, op, err := wsutil.ReadClientData(c)
		if err != nil {
			return
		}
		if op == ws.OpText {
			p.in.Add(1)
		}
	}
}

// ping goes round all connections once in every interval.
func (p *gobwasPeer) ping(every time.Duration) {
	const steps = 100
	t := time.NewTicker(every / steps)
	defer t.Stop()
	frame := ws.MustCompileFrame(ws.NewPingFrame(nil))
	at := 0
	for {
		select {
		case <-p.stop:
			return
		case <-t.C:
		}
		p.mu.RLock()
		n := len(p.list)
		part := slices.Clone(p.list[n*at/steps : n*(at+1)/steps])
		p.mu.RUnlock()
		at = (at + 1) % steps
		for _, c := range part {
			c.send(frame)
		}
	}
}

func (p *gobwasPeer) addr() string { return p.l.Addr().String() }

func (p *gobwasPeer) conns() int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.list)
}

func (p *gobwasPeer) inbound() int64 { return p.in.Load() }

func (p *gobwasPeer) broadcast(payload []byte, k int) error {
	frame := ws.MustCompileFrame(ws.NewTextFrame(payload))
	p.mu.RLock()
	defer p.mu.RUnlock()
	for range k {
		for _, c := range p.list {
			if err := c.send(frame); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *gobwasPeer) next(payload []byte, n int) error {
	frame := ws.MustCompileFrame(ws.NewTextFrame(payload))
	p.mu.RLock()
	defer p.mu.RUnlock()
	for range n {
		if err := p.list[p.at%len(p.list)].send(frame); err != nil {
			return err
		}
		p.at++
	}
	return nil
}

func (p *gobwasPeer) close() {
	close(p.stop)
	p.l.Close()
}
