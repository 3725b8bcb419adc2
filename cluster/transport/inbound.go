package transport

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/zumodra/hub/chat"
)

// inbound is a stream that a peer dialled: we answer and confirm on it.
type inbound struct {
	*stream
	traffic traffic
	ended   chan struct{} // its reader is through
}

func (t *Transport) ours(wanted chat.NodeID) hello {
	return hello{min: t.min, max: t.max, node: t.cfg.Self, wanted: wanted, cluster: t.cfg.Cluster, name: t.cfg.Name}
}

// receive reads one frame: nobody is trusted yet, so a small one.
func receive(conn net.Conn, p *parser) (header, []byte, error) {
	for {
		h, payload, ok, err := p.next()
		if err != nil || ok {
			return h, payload, err
		}
		n, err := conn.Read(p.space())
		p.added(n)
		if n == 0 && err != nil {
			return h, nil, fmt.Errorf("transport: waiting for a hello: %w", err)
		}
	}
}

// greet does the dialler's part of the hello, within ctx.
func (t *Transport) greet(ctx context.Context, conn net.Conn, addr string, p *peer) (*stream, error) {
	t.tune(conn)
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if t.cfg.TLS != nil {
		c := t.cfg.TLS
		if c.ServerName == "" {
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, fmt.Errorf("transport: %w", err)
			}
			c = c.Clone()
			c.ServerName = host
		}
		tc := tls.Client(conn, c)
		if err := tc.HandshakeContext(ctx); errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("transport: %w (perhaps the node does not speak TLS)", err)
		} else if err != nil {
			return nil, fmt.Errorf("transport: %w", err)
		}
		conn = tc
	}
	us := t.ours(p.id)
	if _, err := conn.Write(appendFrame(nil, header{kind: frameHello}, us.append(nil))); err != nil {
		return nil, fmt.Errorf("transport: hello: %w", err)
	}
	parser := newParser(minFrame, minFrame)
	h, payload, err := receive(conn, parser)
	if err != nil && t.cfg.TLS == nil {
		err = fmt.Errorf("%w (perhaps the node wants TLS, and this one has no certificate)", err)
	}
	if err != nil {
		return nil, err
	}
	if h.kind == frameRefuse {
		if why, ok := refusals[h.status]; ok {
			return nil, fmt.Errorf("%w: %s", why, payload)
		}
		return nil, fmt.Errorf("transport: refused: %s", payload)
	}
	them, err := t.check(h, payload)
	if err != nil {
		return nil, err
	}
	if them.node != p.id {
		return nil, fmt.Errorf("%w: %v is %v (%s)", ErrOtherNode, addr, them.node, them.name)
	}
	if !stop() {
		return nil, outcome(ErrClosed, ctx.Err())
	}
	_ = conn.SetDeadline(time.Time{})
	return t.newStream(conn, parser, them, &p.traffic), nil
}

// refusals are the errors that travel as a status.
var refusals = map[uint8]error{1: ErrVersion, 2: ErrCluster, 3: ErrOtherNode}

func (t *Transport) check(h header, payload []byte) (hello, error) {
	if h.kind != frameHello {
		return hello{}, fmt.Errorf("%w: not a hello", ErrCorrupt)
	}
	them, err := parseHello(payload)
	if err != nil {
		return them, err
	}
	if them.cluster != t.cfg.Cluster {
		return them, fmt.Errorf("%w: %q here, %q there", ErrCluster, t.cfg.Cluster, them.cluster)
	}
	_, err = common(t.ours(0), them)
	return them, err
}

// accept takes connections until the listener is closed.
func (t *Transport) accept() {
	slots := make(chan struct{}, t.cfg.MaxHandshakes)
	for {
		conn, err := t.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			t.cfg.Logger.Error("transport: accept", "err", err)
			select {
			case <-time.After(50 * time.Millisecond): // out of descriptors, perhaps
			case <-t.ctx.Done():
				return
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			t.refused.Add(1)
			_ = conn.Close()
			continue
		}
		if !t.spawn(func() {
			s, err := t.admit(conn)
			<-slots
			if err != nil {
				t.refused.Add(1)
				_ = conn.Close()
				t.cfg.Logger.Warn("transport: connection refused", "addr", conn.RemoteAddr(), "err", err)
				return
			}
			s.serve()
		}) {
			_ = conn.Close()
		}
	}
}

// tlsHandshake is the first byte of every TLS connection (RFC 8446, 5.1).
const tlsHandshake = 22

// admit does the acceptor's part of the hello.
func (t *Transport) admit(raw net.Conn) (*inbound, error) {
	ctx, cancel := context.WithTimeout(t.ctx, t.cfg.PeerTimeout)
	defer cancel()
	t.tune(raw)
	deadline, _ := ctx.Deadline()
	_ = raw.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn := raw
	if t.cfg.TLS != nil {
		tc := tls.Server(raw, t.cfg.TLS)
		if err := tc.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("transport: %w", err)
		}
		conn = tc
	}
	parser := newParser(minFrame, minFrame)
	h, payload, err := receive(conn, parser)
	if err != nil && t.cfg.TLS == nil && parser.w > 0 && parser.buf[0] == tlsHandshake {
		err = fmt.Errorf("%w: it speaks TLS, and this node has no certificate", err)
	}
	if err != nil {
		return nil, err
	}
	them, err := t.check(h, payload)
	if err == nil && them.wanted != t.cfg.Self {
		err = fmt.Errorf("%w: this is %v (%s)", ErrOtherNode, t.cfg.Self, t.cfg.Name)
	}
	if err != nil {
		for status, why := range refusals {
			if errors.Is(err, why) {
				_, _ = conn.Write(appendFrame(nil, header{kind: frameRefuse, status: status}, []byte(text(err))))
			}
		}
		return nil, err
	}
	if _, err := conn.Write(appendFrame(nil, header{kind: frameHello}, t.ours(them.node).append(nil))); err != nil {
		return nil, fmt.Errorf("transport: hello: %w", err)
	}
	if !stop() {
		return nil, outcome(ErrClosed, ctx.Err())
	}
	_ = conn.SetDeadline(time.Time{})
	in := &inbound{ended: make(chan struct{})}
	in.stream = t.newStream(conn, parser, them, &in.traffic)
	return in, nil
}

// errReplaced: the peer came again, so the stream before is dead whatever the kernel thinks.
var errReplaced = errors.New("transport: the peer connected again")

func (in *inbound) serve() {
	t := in.t
	defer close(in.ended)
	before, ok := t.enter(in)
	if !ok {
		in.close(ErrClosed)
		return
	}
	defer t.leave(in)
	// A node's deliveries are handled in order, also across its streams.
	if before != nil {
		before.close(errReplaced)
		<-before.ended
	}
	var writer sync.WaitGroup
	writer.Go(func() { in.write(nil) })
	in.read(in.handle)
	writer.Wait()
	t.cfg.Logger.Debug("transport: stream of a node ended", "node", in.node, "name", in.name, "err", in.reason())
}

func (in *inbound) handle(h header, payload []byte) error {
	switch h.kind {
	case frameRequest:
		if len(payload) < 4 {
			return fmt.Errorf("%w: a short request", ErrCorrupt)
		}
		left := time.Duration(binary.LittleEndian.Uint32(payload)) * time.Microsecond
		in.t.cfg.Handler.Request(in.node, left, payload[4:], func(answer []byte, err error) { in.answer(h.id, answer, err) })
		return nil
	case frameDeliver:
		in.t.cfg.Handler.Deliver(in.node, payload, func(err error) {
			if err == nil {
				in.confirm(h.id)
			} else {
				in.send(header{kind: frameFailed, id: h.id, status: statusFailed}, []byte(text(err)))
			}
		})
		return nil
	default:
		return errSkip
	}
}

func (in *inbound) answer(id uint64, answer []byte, err error) {
	h := header{kind: frameAnswer, id: id}
	if err == nil && len(answer) > in.t.cfg.MaxFrame {
		err = ErrTooLarge
	}
	if err != nil {
		h.status, answer = statusFailed, []byte(text(err))
	}
	in.send(h, answer)
}
