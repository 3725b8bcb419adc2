package vclient

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
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
	// gather is the Handler, if it is a Gatherer.
	gather Gatherer
	events [512]unix.EpollEvent
	spare  [][]byte // buffers that begins of frames had, for the next

	timers timers
	armed  time.Time
	turn   uint64

	mu    sync.Mutex
	funcs []func()
	ended bool
}

const (
	wakeID  = -1
	clockID = -2
	readBuf = 256 << 10
)

// New returns a Loop; Run frees what it holds.
func New(cfg Config) (*Loop, error) {
	if cfg.Pending <= 0 {
		cfg.Pending = 1 << 20
	}
	if cfg.Message <= 0 {
		cfg.Message = maxMessage
	}
	l := &Loop{cfg: cfg, buf: make([]byte, readBuf)}
	l.gather, _ = cfg.Handler.(Gatherer)
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
	for ctx.Err() == nil {
		if err := l.Step(-1); err != nil {
			return err
		}
	}
	return nil
}

// Step does what is due and what has happened, for which it waits at most so long; negative: for ever. It is for a program whose only
// goroutine of weight has a loop of its own, in place of Run. Handlers must not call it.
func (l *Loop) Step(wait time.Duration) error {
	if err := l.arm(); err != nil {
		return err
	}
	ms := -1
	if wait >= 0 {
		ms = int((wait + time.Millisecond - 1) / time.Millisecond)
	}
	n, err := unix.EpollWait(l.ep, l.events[:], ms)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("vclient: epoll: %w", err)
	}
	// What is due goes first: arrivals that wait are late.
	l.due()
	for i := range l.events[:max(n, 0)] {
		e := &l.events[i]
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
