package vclient

import (
	"bytes"
	"container/heap"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zumodra/hub/bench/target"
)

// Loop holds connections. New makes one.
type Loop struct {
	cfg   Config
	ep    int
	wake  int // eventfd: a function waits
	clock int // timerfd: the first timer
	buf   []byte
	out   []byte
	conns []conn
	seed  [8]byte
	mask  uint32

	timers timers
	armed  time.Time
	turn   uint64

	mu    sync.Mutex
	funcs []func()
	ended bool
}

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

const (
	wakeID  = -1
	clockID = -2
	readBuf = 256 << 10
	// slowTick is how often a slow reader reads.
	slowTick = 100 * time.Millisecond
)

// New returns a Loop; Run frees what it holds.
func New(cfg Config) (*Loop, error) {
	if cfg.Pending <= 0 {
		cfg.Pending = 1 << 20
	}
	if cfg.Message <= 0 {
		cfg.Message = 16 << 20
	}
	l := &Loop{cfg: cfg, buf: make([]byte, readBuf)}
	rand.Read(l.seed[:])
	l.mask = binary.LittleEndian.Uint32(l.seed[:]) | 1
	var err error
	if l.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("vclient: epoll: %w", err)
	}
	if l.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(l.ep)
		return nil, fmt.Errorf("vclient: eventfd: %w", err)
	}
	if l.clock, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		unix.Close(l.ep)
		unix.Close(l.wake)
		return nil, fmt.Errorf("vclient: timerfd: %w", err)
	}
	for id, fd := range map[int32]int{wakeID: l.wake, clockID: l.clock} {
		if err := unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: id}); err != nil {
			l.free()
			return nil, fmt.Errorf("vclient: epoll: %w", err)
		}
	}
	return l, nil
}

func (l *Loop) free() {
	for i := range l.conns {
		if l.conns[i].state != closed {
			unix.Close(int(l.conns[i].fd))
			l.conns[i].state = closed
		}
	}
	unix.Close(l.ep)
	unix.Close(l.wake)
	unix.Close(l.clock)
}

// Run serves the connections until ctx ends, and closes them then. Call it once.
func (l *Loop) Run(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	stop := context.AfterFunc(ctx, func() { l.Do(func() {}) })
	defer func() {
		stop()
		l.mu.Lock()
		l.ended = true
		l.mu.Unlock()
		l.free()
	}()
	var events [512]unix.EpollEvent
	for ctx.Err() == nil {
		if err := l.arm(); err != nil {
			return err
		}
		n, err := unix.EpollWait(l.ep, events[:], -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("vclient: epoll: %w", err)
		}
		// What is due goes first: arrivals that wait are late.
		l.due()
		for i := range events[:max(n, 0)] {
			e := &events[i]
			switch e.Fd {
			case wakeID:
				drain(l.wake)
				l.call()
			case clockID:
				drain(l.clock)
				l.armed = time.Time{}
			default:
				l.event(e.Fd, e.Pad, e.Events)
			}
		}
	}
	return nil
}

func drain(fd int) {
	var b [8]byte
	_, _ = unix.Read(fd, b[:])
}

// Do has f called on the loop's goroutine, soon. It may be called from any goroutine; once Run has ended f is not called.
func (l *Loop) Do(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.funcs = append(l.funcs, f)
	if len(l.funcs) == 1 {
		_, _ = unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}

func (l *Loop) call() {
	l.mu.Lock()
	list := l.funcs
	l.funcs = nil
	l.mu.Unlock()
	for _, f := range list {
		f()
	}
}

// At has f called at a time, on the loop's goroutine; timers of the same time in their order.
func (l *Loop) At(t time.Time, f func()) {
	l.turn++
	heap.Push(&l.timers, timer{t, l.turn, f})
}

type timer struct {
	at   time.Time
	turn uint64
	f    func()
}

type timers []timer

func (t timers) Len() int      { return len(t) }
func (t timers) Swap(i, j int) { t[i], t[j] = t[j], t[i] }
func (t timers) Less(i, j int) bool {
	return t[i].at.Before(t[j].at) || t[i].at.Equal(t[j].at) && t[i].turn < t[j].turn
}
func (t *timers) Push(x any) { *t = append(*t, x.(timer)) }
func (t *timers) Pop() any {
	old := *t
	x := old[len(old)-1]
	old[len(old)-1] = timer{}
	*t = old[:len(old)-1]
	return x
}

// arm sets the clock to the first timer.
func (l *Loop) arm() error {
	if len(l.timers) == 0 || l.timers[0].at.Equal(l.armed) {
		return nil
	}
	l.armed = l.timers[0].at
	d := max(time.Until(l.armed), time.Nanosecond)
	if err := unix.TimerfdSettime(l.clock, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}, nil); err != nil {
		return fmt.Errorf("vclient: timerfd: %w", err)
	}
	return nil
}

// due calls what is due. What those functions put off to the same moment waits for the next round.
func (l *Loop) due() {
	now, last := time.Now(), l.turn
	for len(l.timers) > 0 && !l.timers[0].at.After(now) && l.timers[0].turn <= last {
		heap.Pop(&l.timers).(timer).f()
	}
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

// dial begins to connect. To the loopback it takes one of many source addresses, each of which has ports of its own.
func dial(fd int, id int32, e target.Endpoint) error {
	var err error
	if a := e.Addr.Addr(); a.Is4() {
		if a.IsLoopback() {
			_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
			from := &unix.SockaddrInet4{Addr: [4]byte{127, 1, 1 + byte(os.Getpid()%250), 1 + byte(id%64)}}
			if err := unix.Bind(fd, from); err != nil {
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

// read takes what arrived.
func (l *Loop) read(id int32, buf []byte) {
	c := l.conn(id)
	n, err := unix.Read(int(c.fd), buf)
	switch {
	case err != nil && (errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR)):
		return
	case err != nil:
		l.gone(id, fmt.Errorf("vclient: read: %w", err))
		return
	case n == 0:
		l.gone(id, fmt.Errorf("vclient: %w", errEnd))
		return
	}
	b := buf[:n]
	if c.more != nil && len(c.more.in) > 0 {
		c.more.in = append(c.more.in, b...)
		b = c.more.in
	}
	gen := c.gen
	rest, err := l.input(id, gen, b)
	if c = l.conn(id); c == nil || c.gen != gen {
		return
	}
	if err != nil {
		l.gone(id, err)
		return
	}
	switch {
	case len(rest) > 0:
		if c.more == nil {
			c.more = new(buffers)
		}
		c.more.in = append(c.more.in[:0], rest...) // it may lie in there already: copied forward
	case c.more != nil:
		c.more.in = nil
		c.tidy()
	}
}

var errEnd = errors.New("the target closed the connection")

func (c *conn) tidy() {
	if m := c.more; m != nil && len(m.in) == 0 && len(m.frag) == 0 && len(m.out) == 0 {
		c.more = nil
	}
}

// input takes whole units off b and returns the rest. Handlers may close the connection meanwhile.
func (l *Loop) input(id, gen int32, b []byte) (rest []byte, err error) {
	at := time.Now()
	alive := func() *conn {
		if c := l.conn(id); c != nil && c.gen == gen {
			return c
		}
		return nil
	}
	c := alive()
	if c.state == upgrading {
		end := bytes.Index(b, []byte("\r\n\r\n"))
		if end < 0 {
			if len(b) > 16<<10 {
				return nil, fmt.Errorf("%w: its header is too long", ErrRefused)
			}
			return b, nil
		}
		head := b[:end+2]
		if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) || !bytes.Contains(head, []byte(": "+l.accept(id, gen)+"\r\n")) {
			line, _, _ := bytes.Cut(head, []byte("\r\n"))
			return nil, fmt.Errorf("%w: %.100q", ErrRefused, line)
		}
		c.state, c.req = open, nil
		b = b[end+4:]
		l.cfg.Handler.Opened(id)
	}
	for len(b) > 0 {
		if c = alive(); c == nil {
			return nil, nil
		}
		if c.tcp {
			unit, size, err := l.cfg.Split(b)
			if err != nil || size == 0 {
				return b, err
			}
			l.cfg.Handler.Frame(id, unit, at)
			b = b[size:]
			continue
		}
		h, err := parseHeader(b, l.cfg.Message)
		if err != nil {
			return nil, err
		}
		if h.head == 0 || len(b) < h.head+h.size {
			return b, nil
		}
		payload := b[h.head : h.head+h.size]
		b = b[h.head+h.size:]
		if err := l.frame(id, c, h, payload, at); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (l *Loop) frame(id int32, c *conn, h header, payload []byte, at time.Time) error {
	switch h.op {
	case opPing:
		return ignoreStuck(l.control(id, c, opPong, payload))
	case opPong:
		return nil
	case opClose:
		e := &CloseError{Code: 1005}
		if len(payload) >= 2 {
			e.Code, e.Reason = int(binary.BigEndian.Uint16(payload)), string(payload[2:])
		}
		return e
	case opContinuation:
		if c.fragOp == 0 {
			return fmt.Errorf("%w: a continuation of nothing", ErrProtocol)
		}
		if len(c.more.frag)+len(payload) > l.cfg.Message {
			return fmt.Errorf("%w: a message of more than %d bytes", ErrProtocol, l.cfg.Message)
		}
		c.more.frag = append(c.more.frag, payload...)
		if h.fin {
			whole := c.more.frag
			c.more.frag, c.fragOp = nil, 0
			l.cfg.Handler.Frame(id, whole, at)
		}
		return nil
	}
	switch {
	case c.fragOp != 0:
		return fmt.Errorf("%w: a message within another", ErrProtocol)
	case h.fin:
		l.cfg.Handler.Frame(id, payload, at)
	default:
		if c.more == nil {
			c.more = new(buffers)
		}
		c.fragOp, c.more.frag = h.op, append([]byte(nil), payload...)
	}
	return nil
}

func ignoreStuck(err error) error {
	if errors.Is(err, ErrNoConn) {
		return nil
	}
	return err
}

// gone closes a connection and tells of it.
func (l *Loop) gone(id int32, err error) {
	l.Drop(id)
	l.cfg.Handler.Closed(id, err)
}

// Write sends a message. It does not block; an error says that it will not arrive, and Closed follows if it was not told yet.
func (l *Loop) Write(id int32, payload []byte, binary bool) error {
	c := l.conn(id)
	if c == nil || c.state != open {
		return ErrNoConn
	}
	if c.tcp {
		return l.write(id, c, payload)
	}
	op := byte(opText)
	if binary {
		op = opBinary
	}
	return l.control(id, c, op, payload)
}

func (l *Loop) control(id int32, c *conn, op byte, payload []byte) error {
	l.mask = l.mask*1664525 + 1013904223 // unpredictable enough for what the target is: the operator's own
	b := appendFrame(l.out[:0], op, l.mask, payload)
	l.out = b[:0]
	return l.write(id, c, b)
}

// write gives b to the kernel, and keeps what it does not take.
func (l *Loop) write(id int32, c *conn, b []byte) error {
	if c.more == nil || len(c.more.out) == 0 {
		n, err := unix.Write(int(c.fd), b)
		switch {
		case err == nil:
			b = b[n:]
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		default:
			l.fail(id, c.gen, fmt.Errorf("vclient: write: %w", err))
			return ErrNoConn
		}
		if len(b) == 0 {
			return nil
		}
	}
	if c.more == nil {
		c.more = new(buffers)
	}
	if len(c.more.out)+len(b) > l.cfg.Pending {
		l.fail(id, c.gen, ErrStuck)
		return ErrStuck
	}
	c.more.out = append(c.more.out, b...)
	if !c.want {
		c.want = true
		l.interest(id, c)
	}
	return nil
}

// fail closes a connection a moment later: whoever writes may be in the middle of something.
func (l *Loop) fail(id, gen int32, err error) {
	l.At(time.Now(), func() {
		if c := l.conn(id); c != nil && c.gen == gen {
			l.gone(id, err)
		}
	})
}

// flush writes what waits. False: the connection is gone.
func (l *Loop) flush(id int32, c *conn) bool {
	if c.more == nil || len(c.more.out) == 0 {
		c.want = false
		l.interest(id, c)
		return true
	}
	n, err := unix.Write(int(c.fd), c.more.out)
	if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
		l.gone(id, fmt.Errorf("vclient: write: %w", err))
		return false
	}
	c.more.out = c.more.out[max(n, 0):]
	if len(c.more.out) == 0 {
		c.more.out = nil
		c.tidy()
		c.want = false
		l.interest(id, c)
	}
	return true
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

// SlowDown has a connection read so many bytes a second and no more, from now on; 0: as fast as it can again.
func (l *Loop) SlowDown(id int32, bytesPerSecond int) {
	c := l.conn(id)
	if c == nil {
		return
	}
	if bytesPerSecond <= 0 {
		c.slow = 0
		l.interest(id, c)
		return
	}
	c.slow = int32(max(bytesPerSecond*int(slowTick)/int(time.Second), 1))
	_ = unix.SetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096) // the least that the kernel gives
	l.interest(id, c)
	l.sip(id, c.gen)
}

func (l *Loop) sip(id, gen int32) {
	l.At(time.Now().Add(slowTick), func() {
		c := l.conn(id)
		if c == nil || c.gen != gen || c.slow == 0 {
			return
		}
		l.read(id, l.buf[:min(int(c.slow), len(l.buf))])
		if c = l.conn(id); c != nil && c.gen == gen && c.slow > 0 {
			l.sip(id, gen)
		}
	})
}
