package session

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/edge/reactor"
)

type state uint8

const (
	stateFree        state = iota
	stateRejected          // accepted only to be closed with a code
	stateVerifying         // a worker checks the token
	stateIntroducing       // a worker makes the user known
	stateAttaching         // the conversation checks the membership
	stateDraining          // open, but frames that came before are not all carried out
	stateOpen
	stateClosing // the close frame is under way
	numStates
)

// record is one session. It is kept small: there are hundreds of thousands.
type record struct {
	mu           sync.Mutex
	handle       reactor.Handle      // 0 before Open; what asynchronous answers are checked against
	conversation chat.ConversationID // zero: all of the user's
	user         *user
	pending      *pending // until open
	typing       *typingSet
	replays      *replays // while conversations are resumed
	state        state
	entered      bool // Dispatcher.Enter was called
	registered   bool
	single       bool // on /ws/chat/{id}/
	taken        bool // from quota
	placed       bool // its network is counted there

	next, prev uint32 // sessions of the same user (guarded by registry), or next free record (by slab)
	replayed   uint32 // bytes of resumes in the second replayAt
	replayAt   uint32 // Unix seconds
	expires    uint32 // Unix seconds, guarded by expiryHeap
	heapPos    int32  // 1-based position in expiryHeap, 0: not in it

	issued uint32 // of its token, as in auth.Pass
	token  uint64
	net    uint64 // where it came from, see network
}

// pending is what a session needs only until it is open.
type pending struct {
	since  time.Time
	token  string
	claims auth.Claims
	code   uint16 // stateRejected
	reason string
	frames []queued
	bytes  int
}

type queued struct {
	text    bool
	payload []byte
}

// typingSet remembers where a session said that its user types, so that it is taken back when it ends. What
// does not fit is left to expire by itself.
type typingSet struct {
	conversations [4]chat.ConversationID
	n             int
}

func (t *typingSet) add(c chat.ConversationID) {
	for _, have := range t.conversations[:t.n] {
		if have == c {
			return
		}
	}
	if t.n < len(t.conversations) {
		t.conversations[t.n] = c
		t.n++
	}
}

func (t *typingSet) remove(c chat.ConversationID) {
	for i, have := range t.conversations[:t.n] {
		if have == c {
			t.n--
			t.conversations[i] = t.conversations[t.n]
			return
		}
	}
}

// link names a session for as long as its connection lives: a record that was freed has another handle.
type link struct {
	r *record
	h reactor.Handle
	i uint32
}

// chunkSize makes a chunk a whole number of the allocator's pages.
const chunkSize = 1024

// slab holds the records. Index 0 is never used.
type slab struct {
	chunks atomic.Pointer[[]*[chunkSize]record]

	mu   sync.Mutex
	free uint32
	used uint32 // indexes handed out so far, 0 included
}

func (s *slab) get(i uint32) *record { return &(*s.chunks.Load())[i/chunkSize][i%chunkSize] }

// limit is beyond the largest index in use.
func (s *slab) limit() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

func (s *slab) alloc() (uint32, *record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.free; i != 0 {
		r := s.get(i)
		s.free, r.next = r.next, 0
		return i, r
	}
	if s.used == 0 {
		s.used = 1
	}
	var chunks []*[chunkSize]record
	if p := s.chunks.Load(); p != nil {
		chunks = *p
	}
	if int(s.used) >= len(chunks)*chunkSize {
		grown := append(chunks[:len(chunks):len(chunks)], new([chunkSize]record))
		s.chunks.Store(&grown)
	}
	i := s.used
	s.used++
	return i, s.get(i)
}

func (s *slab) release(i uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.get(i).next, s.free = s.free, i
}

// set moves a session to a state. The record's lock is held.
func (m *Manager) set(r *record, to state) {
	if r.state != stateFree {
		m.states[r.state].Add(-1)
	}
	if to != stateFree {
		m.states[to].Add(1)
	}
	r.state = to
}
