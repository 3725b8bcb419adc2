package testcluster

import (
	"context"
	"net"
	"sync"
	"time"
)

// Gate forwards TCP connections while it is open. Shut, it forwards nothing in either direction and says nothing to
// anybody: like a network that drops packets, it neither closes connections nor loses their bytes, which arrive late, after
// Open. A connection that is made meanwhile is accepted and not served.
type Gate struct {
	l      net.Listener
	target string
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	wg     sync.WaitGroup

	mu     sync.Mutex
	pass   chan struct{} // closed while open
	conns  map[net.Conn]struct{}
	closed chan struct{}
}

// NewGate forwards what comes to the listener, which it closes in the end, to the target.
func NewGate(l net.Listener, target string) *Gate {
	return newGate(l, target, (&net.Dialer{Timeout: 5 * time.Second}).DialContext)
}

func newGate(l net.Listener, target string, dial func(context.Context, string, string) (net.Conn, error)) *Gate {
	g := &Gate{l: l, target: target, dial: dial, pass: make(chan struct{}), conns: map[net.Conn]struct{}{}, closed: make(chan struct{})}
	close(g.pass)
	g.wg.Go(g.accept)
	return g
}

// Addr is where it listens.
func (g *Gate) Addr() net.Addr { return g.l.Addr() }

// Shut closes the gate for everything.
func (g *Gate) Shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.pass:
		g.pass = make(chan struct{})
	default:
	}
}

// Open lets everything pass again.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.pass:
	default:
		close(g.pass)
	}
}

// wait for the gate to be open; false: it was closed for good.
func (g *Gate) wait() bool {
	for {
		g.mu.Lock()
		pass := g.pass
		g.mu.Unlock()
		select {
		case <-g.closed:
			return false
		case <-pass:
			return true
		}
	}
}

// Close ends all connections and waits.
func (g *Gate) Close() {
	g.mu.Lock()
	select {
	case <-g.closed:
	default:
		close(g.closed)
	}
	for c := range g.conns {
		_ = c.Close()
	}
	g.mu.Unlock()
	_ = g.l.Close()
	g.wg.Wait()
}

// keep remembers a connection for Close; false: it was closed for good.
func (g *Gate) keep(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.closed:
		return false
	default:
		g.conns[c] = struct{}{}
		return true
	}
}

func (g *Gate) drop(c net.Conn) {
	g.mu.Lock()
	delete(g.conns, c)
	g.mu.Unlock()
	_ = c.Close()
}

func (g *Gate) accept() {
	for {
		c, err := g.l.Accept()
		if err != nil {
			return
		}
		if !g.keep(c) {
			_ = c.Close()
			return
		}
		g.wg.Go(func() { g.serve(c) })
	}
}

func (g *Gate) serve(c net.Conn) {
	defer g.drop(c)
	if !g.wait() {
		return
	}
	t, err := g.dial(context.Background(), "tcp", g.target)
	if err != nil {
		return
	}
	if !g.keep(t) {
		_ = t.Close()
		return
	}
	defer g.drop(t)
	var both sync.WaitGroup
	both.Go(func() { g.copy(t, c) })
	both.Go(func() { g.copy(c, t) })
	both.Wait()
}

// copy hands on what it reads, once the gate is open, and then the end.
func (g *Gate) copy(to, from net.Conn) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			if !g.wait() {
				return
			}
			if _, err := to.Write(b[:n]); err != nil {
				_ = from.Close()
				return
			}
		}
		if err != nil {
			if g.wait() {
				if tc, ok := to.(*net.TCPConn); ok {
					_ = tc.CloseWrite()
				}
			}
			return
		}
	}
}
