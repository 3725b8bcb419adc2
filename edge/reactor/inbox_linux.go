//go:build !reactor_portable

package reactor

import (
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

type opKind uint8

const (
	opSend opKind = iota
	opCast
	opCloseConn
	opTLSReady
	opStopAccept
)

// op is one thing that another goroutine wants of a reactor.
type op struct {
	kind  opKind
	class Class
	code  uint16
	h     Handle // opCast: the one left out
	f     *Frame
	part  *part
}

// opOverhead is what a staged operation counts beside its frame, so that empty frames are bounded too.
const opOverhead = int64(unsafe.Sizeof(op{}))

// inbox is the queue from any goroutine to a reactor. The order of ops is the order of push calls.
type inbox struct {
	bytes atomic.Int64 // staged and not yet executed

	mu     sync.Mutex
	ops    []op
	doomed []Handle // at most one per connection
	since  time.Time
	asleep bool
	timed  bool // keep since
	wakefd int
}

// push stages o unless the bound is reached; Ephemeral ones have half of it.
func (in *inbox) push(o op, size, bound int64) bool {
	size += opOverhead
	if o.class == Ephemeral {
		bound /= 2
	}
	in.mu.Lock()
	if in.bytes.Load()+size > bound {
		in.mu.Unlock()
		return false
	}
	in.stage(o, size)
	in.mu.Unlock()
	return true
}

// force stages o without a bound.
func (in *inbox) force(o op) {
	size := opOverhead
	if o.f != nil {
		size += int64(o.f.size())
	}
	in.mu.Lock()
	in.stage(o, size)
	in.mu.Unlock()
}

func (in *inbox) stage(o op, size int64) {
	in.bytes.Add(size)
	if in.timed && len(in.ops) == 0 {
		in.since = time.Now()
	}
	in.ops = append(in.ops, o)
	in.wake()
}

// condemn marks a connection that missed a durable frame: nothing more is delivered to it, and the reactor closes
// it with CloseSlowConsumer.
func (in *inbox) condemn(c *conn, h Handle) {
	if c.doomed.Swap(h.gen()) == h.gen() {
		return
	}
	in.mu.Lock()
	in.doomed = append(in.doomed, h)
	in.wake()
	in.mu.Unlock()
}

// wake needs in.mu.
func (in *inbox) wake() {
	if in.asleep {
		in.asleep = false
		in.ring()
	}
}

// wakeLocked wakes the reactor whether it looks asleep or not.
func (in *inbox) wakeLocked() {
	in.mu.Lock()
	in.asleep = false
	if in.wakefd >= 0 {
		in.ring()
	}
	in.mu.Unlock()
}

// ring writes to the eventfd. It is registered edge-triggered and never read: each write is an edge, and 2^64 do not fit
// into a life.
func (in *inbox) ring() {
	one := uint64(1)
	_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(in.wakefd), uintptr(unsafe.Pointer(&one)), 8)
}

// sleep reports whether there is nothing to do, and if so makes the next push wake the reactor.
func (in *inbox) sleep() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.asleep = len(in.ops) == 0 && len(in.doomed) == 0
	return in.asleep
}

// take exchanges the staged ops for an empty slice. If they are younger than hold, it says how long to wait instead.
func (in *inbox) take(empty []op, hold time.Duration) (ops []op, wait time.Duration) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if hold > 0 && len(in.ops) > 0 {
		if wait = hold - time.Since(in.since); wait > 0 {
			return empty, wait
		}
	}
	ops, in.ops = in.ops, empty
	return ops, 0
}

// appendTo moves the staged ops behind ops, however young they are.
func (in *inbox) appendTo(ops []op) []op {
	in.mu.Lock()
	defer in.mu.Unlock()
	ops = append(ops, in.ops...)
	clear(in.ops)
	in.ops = in.ops[:0]
	return ops
}

func (in *inbox) takeDoomed() []Handle {
	in.mu.Lock()
	defer in.mu.Unlock()
	d := in.doomed
	in.doomed = nil
	return d
}
