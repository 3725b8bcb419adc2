package main

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lxzan/gws"
)

// gwsPeer is a server over gws as its documentation shows it.
type gwsPeer struct {
	gws.BuiltinEventHandler
	l    net.Listener
	in   atomic.Int64
	mu   sync.RWMutex
	list []*gws.Conn
	at   int
	stop chan struct{}
}

func newGwsPeer(ping time.Duration) (peer, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &gwsPeer{l: l, stop: make(chan struct{})}
	s := gws.NewServer(p, &gws.ServerOption{CheckUtf8Enabled: true, Logger: quiet{}})
	go s.RunListener(l)
	go p.ping(ping)
	return p, nil
}

// OnOpen implements gws.Event.
func (p *gwsPeer) OnOpen(c *gws.Conn) {
	p.mu.Lock()
	p.list = append(p.list, c)
	p.mu.Unlock()
}

// OnClose implements gws.Event.
func (p *gwsPeer) OnClose(c *gws.Conn, _ error) {
	p.mu.Lock()
	if i := slices.Index(p.list, c); i >= 0 {
		p.list = slices.Delete(p.list, i, i+1)
	}
	p.mu.Unlock()
}

// OnMessage implements gws.Event.
func (p *gwsPeer) OnMessage(_ *gws.Conn, m *gws.Message) {
	p.in.Add(1)
	m.Close()
}

func (p *gwsPeer) ping(every time.Duration) {
	const steps = 100
	t := time.NewTicker(every / steps)
	defer t.Stop()
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
			c.WritePing(nil)
		}
	}
}

func (p *gwsPeer) addr() string { return p.l.Addr().String() }

func (p *gwsPeer) conns() int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.list)
}

func (p *gwsPeer) inbound() int64 { return p.in.Load() }

// broadcast writes in turn: measured here, gws's own Broadcaster (a goroutine per connection and message) takes more.
func (p *gwsPeer) broadcast(payload []byte, k int) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for range k {
		for _, c := range p.list {
			if err := c.WriteMessage(gws.OpcodeText, payload); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *gwsPeer) next(payload []byte, n int) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for range n {
		if err := p.list[p.at%len(p.list)].WriteMessage(gws.OpcodeText, payload); err != nil {
			return err
		}
		p.at++
	}
	return nil
}

func (p *gwsPeer) close() {
	close(p.stop) // the listener ends with the process: RunListener would spin on a closed one
}
