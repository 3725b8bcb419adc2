package vclient

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/zumodra/hub/bench/target"
)

type state uint8

const (
	closed state = iota
	connecting
	upgrading
	open
)

// conn is one connection. What it has here is all that it costs while idle.
type conn struct {
	fd     int32
	gen    int32 // of the connections of this id: events of earlier ones are dropped
	state  state
	tcp    bool
	fragOp byte
	want   bool // the kernel is asked for room to write
	slow   int32
	more   *buffers
	req    *target.Endpoint // until the upgrade is through
}

// buffers are there while something is incomplete.
type buffers struct {
	in   []byte // the begin of a frame
	frag []byte // the begin of a message
	out  []byte
}

func (l *Loop) conn(id int32) *conn {
	if id < 0 || int(id) >= len(l.conns) || l.conns[id].state == closed {
		return nil
	}
	return &l.conns[id]
}

// Open connects; Opened or Closed follows. Ids are small numbers of the caller's choice, from 0. An error means that nothing was begun.
func (l *Loop) Open(id int32, e target.Endpoint) error {
	for int(id) >= len(l.conns) {
		l.conns = append(l.conns, conn{})
	}
	c := &l.conns[id]
	if c.state != closed {
		return fmt.Errorf("vclient: connection %d is open", id)
	}
	family := unix.AF_INET
	if e.Addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("vclient: socket: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	// Closing resets: no port stays in TIME_WAIT.
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	if err := dial(fd, id, e); err != nil {
		unix.Close(fd)
		return err
	}
	*c = conn{fd: int32(fd), gen: c.gen + 1, state: connecting, tcp: e.TCP, req: &e, want: true}
	ev := unix.EpollEvent{Events: unix.EPOLLOUT | unix.EPOLLRDHUP, Fd: id, Pad: c.gen}
	if err := unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		unix.Close(fd)
		c.state = closed
		return fmt.Errorf("vclient: epoll: %w", err)
	}
	return nil
}

// dial begins to connect, to the loopback from an address of Source.
func dial(fd int, id int32, e target.Endpoint) error {
	var err error
	if a := e.Addr.Addr(); a.Is4() {
		if a.IsLoopback() {
			_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
			if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: Source(id)}); err != nil {
				return fmt.Errorf("vclient: bind: %w", err)
			}
		}
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(e.Addr.Port()), Addr: a.As4()})
	} else {
		err = unix.Connect(fd, &unix.SockaddrInet6{Port: int(e.Addr.Port()), Addr: a.As16()})
	}
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return fmt.Errorf("vclient: connect to %s: %w", e.Addr, err)
	}
	return nil
}

// interest tells the kernel what is waited for.
func (l *Loop) interest(id int32, c *conn) {
	ev := unix.EpollEvent{Events: unix.EPOLLRDHUP, Fd: id, Pad: c.gen}
	if c.slow == 0 {
		ev.Events |= unix.EPOLLIN
	}
	if c.want {
		ev.Events |= unix.EPOLLOUT
	}
	_ = unix.EpollCtl(l.ep, unix.EPOLL_CTL_MOD, int(c.fd), &ev) // what fails here fails at the next read
}

func (l *Loop) event(id, gen int32, what uint32) {
	c := l.conn(id)
	if c == nil || c.gen != gen {
		return
	}
	if c.state == connecting {
		l.connected(id, c)
		return
	}
	if what&unix.EPOLLOUT != 0 && !l.flush(id, c) {
		return
	}
	if what&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 && (c.slow == 0 || what&unix.EPOLLIN == 0) {
		l.read(id, l.buf)
	}
}

func (l *Loop) connected(id int32, c *conn) {
	if n, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR); err != nil || n != 0 {
		l.gone(id, fmt.Errorf("vclient: connect to %s: %w", c.req.Addr, unix.Errno(n)))
		return
	}
	c.want = false
	l.interest(id, c)
	if c.tcp {
		c.state, c.req = open, nil
		l.cfg.Handler.Opened(id)
		return
	}
	c.state = upgrading
	e := c.req
	b := fmt.Appendf(l.out[:0], "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n%s\r\n",
		e.Path, e.Host, l.key(id, c.gen), e.Header)
	l.out = b[:0]
	_ = l.write(id, c, b)
}

// key is a connection's Sec-WebSocket-Key, which is made anew to check the answer.
func (l *Loop) key(id, gen int32) string {
	var b [16]byte
	copy(b[:], l.seed[:])
	binary.LittleEndian.PutUint32(b[8:], uint32(id))
	binary.LittleEndian.PutUint32(b[12:], uint32(gen))
	return base64.StdEncoding.EncodeToString(b[:])
}

func (l *Loop) accept(id, gen int32) string {
	sum := sha1.Sum([]byte(l.key(id, gen) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // RFC 6455 §4.2.2
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Drop closes a connection without a word, as a lost network does (the target sees a reset). Closed is not called.
func (l *Loop) Drop(id int32) {
	c := l.conn(id)
	if c == nil {
		return
	}
	unix.Close(int(c.fd))
	*c = conn{gen: c.gen}
}

// Close closes a connection with a close frame, 1000. Closed is not called.
func (l *Loop) Close(id int32) {
	if c := l.conn(id); c != nil && c.state == open && !c.tcp {
		// An orderly end: the kernel may deliver what was sent.
		_ = unix.SetsockoptLinger(int(c.fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{})
		_ = l.control(id, c, opClose, []byte{3, 232})
	}
	l.Drop(id)
}
