//go:build !reactor_portable

package reactor

import (
	"net"
	"net/http"
	"os"

	"golang.org/x/sys/unix"
)

// readHead collects the request head, and acts on it when complete.
func (r *reactor) readHead(c *conn, data []byte) {
	from := 0
	if c.in != 0 {
		in := r.inbound[c.in-1]
		from = len(in.head)
		in.head = append(in.head, data...)
		data = in.head
	}
	n := headEnd(data, from)
	if n > r.s.cfg.MaxHandshakeBytes || n == 0 && len(data) > r.s.cfg.MaxHandshakeBytes {
		r.refuseUpgrade(c, &refusal{status: http.StatusRequestHeaderFieldsTooLarge, body: "request head too big"})
		return
	}
	if n == 0 {
		if c.in == 0 {
			r.lendScratch(c)
			in := r.inbound[c.in-1]
			in.head = append(in.head[:0], data...)
		}
		return
	}
	req, ok := parseHead(data[:n])
	switch {
	case !ok:
		r.refuseUpgrade(c, &refusal{status: http.StatusBadRequest, body: "malformed request"})
	case !req.isUpgrade():
		r.handOver(c, data)
	default:
		r.upgrade(c, req, data[n:])
	}
}

// upgrade answers a WebSocket request. rest is what the client sent after it.
func (r *reactor) upgrade(c *conn, req *request, rest []byte) {
	if f := req.checkUpgrade(); f != nil {
		r.refuseUpgrade(c, f)
		return
	}
	if r.s.draining.Load() {
		r.refuseUpgrade(c, &refusal{status: http.StatusServiceUnavailable, body: "shutting down", retryAfter: retryJitter()})
		return
	}
	if r.s.limiter != nil && !r.s.limiter.Allow() {
		r.stats.refused.Add(1)
		r.refuseUpgrade(c, &refusal{status: http.StatusServiceUnavailable, body: "too many upgrades", retryAfter: retryJitter()})
		return
	}
	extension := ""
	if r.s.cfg.Compress {
		var ok bool
		if extension, ok = negotiateDeflate(req.header["Sec-Websocket-Extensions"]); !ok {
			r.refuseUpgrade(c, malformedExtensions)
			return
		}
	}
	pub := req.public()
	pub.Remote, pub.TLS = peerName(c.fd), c.tls != 0
	d := r.s.cfg.Handler.Upgrade(pub)
	if f := d.refusal(req); f != nil {
		r.refuseUpgrade(c, f)
		return
	}
	if extension != "" {
		c.flags |= flDeflate
	}
	gen := c.gen
	c.session = d.Session
	c.state = stOpen
	c.flags |= flUpgraded
	r.stats.handshaking.Add(-1)
	r.stats.conns.Add(1)
	r.stats.upgraded.Add(1)
	if c.flags&flDeflate != 0 {
		r.s.deflate.Add(1)
	}
	if r.s.cfg.PingInterval > 0 {
		r.schedule(c, r.after(r.s.cfg.PingInterval))
	} else {
		r.unlink(c)
	}
	// rest may lie in the head buffer, which is given back.
	if len(rest) > 0 && c.in != 0 {
		rest = append([]byte(nil), rest...)
	}
	r.freeInbound(c)
	r.out = appendSwitching(r.out[:0], req.header["Sec-Websocket-Key"][0], d.Subprotocol, extension)
	if r.put(c, r.out, true); !r.holds(c, gen) || c.state != stOpen {
		return
	}
	c.live.Store(c.gen)
	r.s.cfg.Handler.Open(Conn{Handle: r.handle(c), Session: c.session})
	if len(rest) > 0 {
		r.readFrames(c, rest)
	}
}

// refuseUpgrade answers with an HTTP error and hangs up gracefully.
func (r *reactor) refuseUpgrade(c *conn, f *refusal) {
	r.stats.rejected.Add(1)
	r.freeInbound(c)
	c.state = stFlush
	c.deadline = r.after(r.s.cfg.CloseTimeout)
	r.schedule(c, c.deadline)
	r.final(c, f.append(nil), stFlush)
}

// handOver gives a connection that is not for a WebSocket to net/http, with the bytes read so far.
func (r *reactor) handOver(c *conn, data []byte) {
	data = append([]byte(nil), data...)
	if c.tls != 0 {
		r.handOverTLS(c, data)
		return
	}
	conn, err := r.detach(c)
	if err != nil {
		r.s.cfg.Logger.Warn("connection not handed to net/http", "err", err)
		r.s.total.Add(-1)
		return
	}
	r.stats.http.Add(1)
	r.s.web.give(&webConn{Conn: conn, replay: data, done: func() { r.s.total.Add(-1) }})
}

// detach turns a connection into a blocking net.Conn and forgets it.
func (r *reactor) detach(c *conn) (net.Conn, error) {
	_ = unix.EpollCtl(r.epfd, unix.EPOLL_CTL_DEL, int(c.fd), nil)
	f := os.NewFile(uintptr(r.forget(c)), "conn")
	defer f.Close()
	return net.FileConn(f)
}
