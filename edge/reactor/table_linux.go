//go:build !reactor_portable

package reactor

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

type connState uint8

const (
	stFree  connState = iota
	stTLS             // a goroutine runs the TLS handshake
	stHead            // reading the request head
	stOpen            // WebSocket
	stClose           // our close frame is queued or sent, the peer's is awaited
	stFlush           // the last bytes are queued, then the write side is shut down
	stDrain           // write side shut down, input discarded until the peer closes
)

const (
	flDeflate  uint8 = 1 << iota
	flPinged         // a ping is out and nothing was received since
	flAgain          // on the reactor's list of unfinished readers
	flEOF            // the peer has shut down its side
	flUpgraded       // was open once
	flHard           // reset instead of lingering when the deadline passes
)

// conn is the record of one connection, found by its descriptor. It has no Go pointers, so that the garbage
// collector never looks at idle connections. All fields but the atomic ones belong to the owning reactor.
type conn struct {
	live   atomic.Uint32 // generation while sends are accepted, else 0
	doomed atomic.Uint32 // generation that missed a durable frame
	owner  atomic.Uint32 // reactor+1; its store and load order the records' hand-over between reactors

	gen      uint32 // of the present or, when free, the next connection; never 0 in use
	fd       int32
	session  uint32
	lastRx   uint32 // tick
	pingAt   uint32 // tick of the last ping
	deadline uint32 // tick, outside stOpen
	due      uint32 // tick at which the wheel looks at it
	next     uint32 // wheel links: fd+1
	prev     uint32
	out      uint32 // index+1 into the reactor's queues
	in       uint32 // index+1 into the reactor's inbound buffers
	tls      uint32 // index+1 into the reactor's TLS states
	state    connState
	flags    uint8
	linked   bool
}

const chunkSize = 4096

type chunk [chunkSize]conn

// table holds the records of a server in chunks that are made on first use and never freed.
type table struct {
	mu     sync.Mutex
	chunks []atomic.Pointer[chunk]
}

func (t *table) init() {
	limit := uint64(1 << 20)
	var rl unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &rl) == nil {
		limit = max(rl.Max, rl.Cur)
	}
	limit = min(limit, slotMask)
	t.chunks = make([]atomic.Pointer[chunk], limit/chunkSize+1)
}

// get returns the record of a descriptor, nil if there never was one.
func (t *table) get(fd int) *conn {
	if fd>>12 >= len(t.chunks) {
		return nil
	}
	ch := t.chunks[fd>>12].Load()
	if ch == nil {
		return nil
	}
	return &ch[fd&(chunkSize-1)]
}

// make returns the record of a descriptor, nil if it is beyond the table.
func (t *table) make(fd int) *conn {
	if fd < 0 || fd>>12 >= len(t.chunks) {
		return nil
	}
	p := &t.chunks[fd>>12]
	if p.Load() == nil {
		t.mu.Lock()
		if p.Load() == nil {
			p.Store(new(chunk))
		}
		t.mu.Unlock()
	}
	return &p.Load()[fd&(chunkSize-1)]
}

// live lists the handles of all open connections, interleaved over the reactors as descriptors are.
func (t *table) live() (hs []Handle) {
	t.each(func(fd int, c *conn) {
		if gen, owner := c.live.Load(), c.owner.Load(); gen != 0 && owner != 0 {
			hs = append(hs, makeHandle(gen, int(owner-1), fd))
		}
	})
	return hs
}

func (t *table) each(f func(fd int, c *conn)) {
	for i := range t.chunks {
		if ch := t.chunks[i].Load(); ch != nil {
			for j := range ch {
				f(i*chunkSize+j, &ch[j])
			}
		}
	}
}

// defaultMaxConnections is 90 % of the descriptors that the process may open.
func defaultMaxConnections() int {
	var rl unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &rl) != nil {
		return 1000
	}
	return int(min(rl.Cur, slotMask) / 10 * 9)
}
