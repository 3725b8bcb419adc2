package reactor

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// webServer runs net/http on the connections that turned out not to be for a WebSocket.
type webServer struct {
	srv *http.Server
	ln  *webListener
	log *slog.Logger
}

type tlsStateKey struct{}

func newWebServer(cfg *Config, addr net.Addr) *webServer {
	handler := cfg.HTTP
	w := &webServer{ln: &webListener{addr: addr}, log: cfg.Logger}
	w.ln.cond.L = &w.ln.mu
	w.srv = &http.Server{
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
			if st, ok := req.Context().Value(tlsStateKey{}).(*tls.ConnectionState); ok {
				req.TLS = st
			}
			if hasToken(req.Header["Upgrade"], "websocket") {
				rw.Header().Set("Connection", "close")
				http.Error(rw, "open a WebSocket on a connection of its own", http.StatusMisdirectedRequest)
				return
			}
			handler.ServeHTTP(rw, req)
		}),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if wc, ok := c.(*webConn); ok && wc.tlsState != nil {
				return context.WithValue(ctx, tlsStateKey{}, wc.tlsState)
			}
			return ctx
		},
		ReadHeaderTimeout: cfg.HandshakeTimeout,
		ReadTimeout:       time.Minute,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	return w
}

func (w *webServer) serve() {
	if err := w.srv.Serve(w.ln); err != nil && !errors.Is(err, http.ErrServerClosed) {
		w.log.Error("net/http server ended", "err", err)
	}
}

func (w *webServer) give(c net.Conn) { w.ln.give(c) }

func (w *webServer) shutdown(ctx context.Context) error { return w.srv.Shutdown(ctx) }

func (w *webServer) close() { _ = w.srv.Close() }

// webListener is the net.Listener of connections handed over. It never blocks the giver; what waits in it
// is bounded by MaxConnections.
type webListener struct {
	addr   net.Addr
	mu     sync.Mutex
	cond   sync.Cond
	queue  []net.Conn
	closed bool
}

func (l *webListener) give(c net.Conn) {
	l.mu.Lock()
	closed := l.closed
	if !closed {
		l.queue = append(l.queue, c)
		l.cond.Signal()
	}
	l.mu.Unlock()
	if closed {
		c.Close()
	}
}

// Accept implements net.Listener.
func (l *webListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) == 0 && !l.closed {
		l.cond.Wait()
	}
	if l.closed {
		return nil, net.ErrClosed
	}
	c := l.queue[0]
	l.queue[0] = nil
	l.queue = l.queue[1:]
	return c, nil
}

// Close implements net.Listener.
func (l *webListener) Close() error {
	l.mu.Lock()
	queue := l.queue
	l.queue, l.closed = nil, true
	l.cond.Broadcast()
	l.mu.Unlock()
	for _, c := range queue {
		c.Close()
	}
	return nil
}

// Addr implements net.Listener.
func (l *webListener) Addr() net.Addr { return l.addr }

// webConn is a connection whose first bytes were read already.
type webConn struct {
	net.Conn
	replay   []byte // read by net/http's one reader
	tlsState *tls.ConnectionState
	once     sync.Once
	done     func()
}

// Read implements net.Conn.
func (c *webConn) Read(b []byte) (int, error) {
	if len(c.replay) > 0 {
		n := copy(b, c.replay)
		if c.replay = c.replay[n:]; len(c.replay) == 0 {
			c.replay = nil
		}
		return n, nil
	}
	return c.Conn.Read(b)
}

// Close implements net.Conn.
func (c *webConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.done)
	return err
}

// CloseWrite lets net/http close gracefully after an error response.
func (c *webConn) CloseWrite() error {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return nil
}
