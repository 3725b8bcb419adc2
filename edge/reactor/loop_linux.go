//go:build !reactor_portable

package reactor

import (
	"context"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// readBuffer is what one recv takes at most; readTurns of them are read from one connection before others.
const (
	readBuffer = 64 << 10
	readTurns  = 4
	// slice is how many deliveries are made between two polls.
	slice = 256
	// maxBatch bounds a concatenation of broadcasts.
	maxBatch = 64 << 10
)

// reactor is one event loop. All of it but inbox and stats belongs to the goroutine in run.
type reactor struct {
	s     *Server
	index int
	stats counters
	inbox inbox

	epfd     int
	poller   *os.File // epfd, nested in the runtime's own poller
	raw      syscall.RawConn
	listener int
	timer    int // timerfd: one edge per tick
	hold     int // timerfd: end of the batch delay
	reserve  int
	muted    bool
	released bool

	start  time.Time
	tick   time.Duration
	now    uint32 // ticks since start
	wheel  wheel
	later  []Handle
	events [512]unix.EpollEvent
	nev    int

	buf     []byte // what is read from sockets
	out     []byte // control frames and responses
	iov     [64]unix.Iovec
	again   []Handle // connections with more to read
	queues  []*queue
	freeQ   uint32
	inbound []*inboundBuffer
	freeIn  uint32
	scratch *inboundBuffer
	tls     []*tlsState
	freeTLS []uint32

	// handshakes are the goroutines of TLS handshakes under way; cancel ends them.
	handshakes sync.WaitGroup
	ctx        context.Context
	cancel     context.CancelFunc

	ops      []op // taken from the inbox
	opsPos   int
	grouped  int // the sends of ops before it are in the order of their connections
	order    []placed
	shuffled []op
	cast     cast
	settling bool
	joinBuf  [joinBuffers][]byte
}

func newReactor(s *Server, index, listener int) (r *reactor, err error) {
	r = &reactor{
		s: s, index: index, listener: listener, epfd: -1, timer: -1, hold: -1, reserve: -1,
		start: time.Now(), tick: s.cfg.tick(), buf: make([]byte, readBuffer), scratch: &inboundBuffer{},
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.inbox.wakefd = -1
	r.inbox.timed = s.cfg.BatchDelay > 0
	defer func() {
		if err != nil {
			r.listener = -1 // the caller closes it
			r.release()
		}
	}()
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("reactor: epoll: %w", err)
	}
	r.epfd = epfd
	if err := unix.SetNonblock(epfd, true); err != nil {
		return nil, fmt.Errorf("reactor: epoll: %w", err)
	}
	// Nesting the epoll descriptor in the runtime's poller spares a thread that blocks in epoll_wait and the
	// hand-over of its processor at every wake-up.
	r.poller = os.NewFile(uintptr(epfd), "epoll")
	if r.raw, err = r.poller.SyscallConn(); err != nil {
		return nil, fmt.Errorf("reactor: epoll: %w", err)
	}
	if r.inbox.wakefd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("reactor: eventfd: %w", err)
	}
	for _, fd := range []*int{&r.timer, &r.hold} {
		if *fd, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
			return nil, fmt.Errorf("reactor: timerfd: %w", err)
		}
	}
	period := unix.NsecToTimespec(int64(r.tick))
	if err = unix.TimerfdSettime(r.timer, 0, &unix.ItimerSpec{Interval: period, Value: period}, nil); err != nil {
		return nil, fmt.Errorf("reactor: timerfd: %w", err)
	}
	for _, fd := range []int{r.inbox.wakefd, r.timer, r.hold} {
		if err = r.watch(fd, unix.EPOLLIN|unix.EPOLLET, 0); err != nil {
			return nil, err
		}
	}
	if err = r.watch(listener, unix.EPOLLIN, 0); err != nil {
		return nil, err
	}
	r.openReserve()
	return r, nil
}

// watch registers a descriptor once; gen 0 marks those that are not connections.
func (r *reactor) watch(fd int, events uint32, gen uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: int32(gen)}
	if err := unix.EpollCtl(r.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("reactor: epoll_ctl: %w", err)
	}
	return nil
}

// release closes what newReactor opened.
func (r *reactor) release() {
	if r.released {
		return
	}
	r.released = true
	r.cancel()
	r.stopAccepting()
	r.inbox.mu.Lock()
	for _, fd := range []*int{&r.inbox.wakefd, &r.timer, &r.hold, &r.reserve} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
	r.inbox.asleep = false
	r.inbox.mu.Unlock()
	if r.poller != nil {
		r.poller.Close()
	} else if r.epfd >= 0 {
		unix.Close(r.epfd)
	}
}

// run is the event loop: poll, handle what is ready, deliver a slice of what is staged, and again.
func (r *reactor) run() error {
	defer func() {
		r.cancel()
		r.handshakes.Wait() // they use descriptors
		r.cutAll()
	}()
	poll := func(uintptr) bool {
		r.poll()
		return r.nev > 0
	}
	for {
		r.poll()
		if r.nev == 0 && r.quiet() {
			if err := r.raw.Read(poll); err != nil {
				return fmt.Errorf("reactor: poll: %w", err)
			}
		}
		select {
		case <-r.s.quit:
			return nil
		default:
		}
		if now := uint32(time.Since(r.start) / r.tick); now != r.now {
			r.now = now
			r.unmuteListener()
			r.advance()
		}
		r.dispatch()
		r.readAgain()
		for _, h := range r.inbox.takeDoomed() {
			if c := r.find(h); c != nil && c.state == stOpen {
				r.slow(c)
			}
		}
		r.deliver(slice)
	}
}

// poll asks for events without waiting. Waiting is left to the runtime's poller.
func (r *reactor) poll() {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(r.epfd), uintptr(unsafe.Pointer(&r.events[0])),
		uintptr(len(r.events)), 0, 0, 0)
	if errno != 0 {
		n = 0 // EINTR: asked again at once or at the next edge
	}
	r.nev = int(n)
}

// quiet reports whether nothing is left to do but wait. After that, anything staged wakes the reactor.
func (r *reactor) quiet() bool {
	if len(r.again) > 0 || r.cast.active() || r.opsPos < len(r.ops) {
		return false
	}
	if r.inbox.sleep() {
		return true
	}
	return r.holding()
}

func (r *reactor) dispatch() {
	accept := false
	for i := range r.nev {
		ev := &r.events[i]
		if ev.Pad == 0 {
			switch int(ev.Fd) {
			case r.listener:
				accept = true
			case r.timer:
				r.readTimer()
			}
			continue
		}
		c := r.s.table.get(int(ev.Fd))
		if c.owner.Load() != uint32(r.index)+1 || c.gen != uint32(ev.Pad) || c.state == stFree {
			continue // closed earlier in this round, maybe another reactor's already
		}
		r.ready(c, ev.Events)
	}
	r.nev = 0
	if accept { // after the closes, which free descriptors
		r.accept()
	}
}

// readTimer is needed for the next period to begin.
func (r *reactor) readTimer() {
	var n uint64
	_, _, _ = unix.RawSyscall(unix.SYS_READ, uintptr(r.timer), uintptr(unsafe.Pointer(&n)), 8)
}

// ready handles the events of one connection.
func (r *reactor) ready(c *conn, events uint32) {
	gen := c.gen
	if c.state == stTLS {
		r.tlsReady(c)
		return
	}
	if events&unix.EPOLLRDHUP != 0 {
		c.flags |= flEOF
	}
	if events&unix.EPOLLOUT != 0 && c.out != 0 {
		r.flush(c)
		if !r.holds(c, gen) {
			return
		}
	}
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		r.read(c)
	}
}

// readAgain continues with connections that had more than their turn's worth.
func (r *reactor) readAgain() {
	n := len(r.again)
	for _, h := range r.again[:n] {
		if c := r.find(h); c != nil && c.flags&flAgain != 0 {
			c.flags &^= flAgain
			r.read(c)
		}
	}
	r.again = r.again[:copy(r.again, r.again[n:])]
}

// find returns the record of a connection in any state, nil if it is gone.
func (r *reactor) find(h Handle) *conn {
	c := r.s.table.get(h.fd())
	if c == nil || c.owner.Load() != uint32(r.index)+1 || c.gen != h.gen() || c.state == stFree {
		return nil
	}
	return c
}

// holds reports whether c is still the connection of that generation. It is asked after anything that may have dropped it:
// the descriptor may be another reactor's by then, so that the owner is looked at first.
func (r *reactor) holds(c *conn, gen uint32) bool {
	return c.owner.Load() == uint32(r.index)+1 && c.gen == gen && c.state != stFree
}

func (r *reactor) handle(c *conn) Handle { return makeHandle(c.gen, r.index, int(c.fd)) }

// after is the tick that is at least d away.
func (r *reactor) after(d time.Duration) uint32 { return r.now + r.ticks(d) + 1 }

func (r *reactor) ticks(d time.Duration) uint32 { return uint32((d + r.tick - 1) / r.tick) }

// cutAll ends all connections of the reactor.
func (r *reactor) cutAll() {
	r.stopAccepting()
	r.s.table.each(func(_ int, c *conn) {
		if c.owner.Load() == uint32(r.index)+1 {
			r.lost(c)
		}
	})
}
