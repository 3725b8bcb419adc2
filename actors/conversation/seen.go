package conversation

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"

	"github.com/zumodra/hub/chat"
)

// Bounds of what is remembered of client ids that left the window.
const (
	// firstSeen is how many ids the first segment of a filter is for; each further one is for twice as many, maxSegments
	// in all. Two bytes an id.
	firstSeen   = 1024
	maxSegments = 7
	// DefaultSeenBytes bounds the filters of all live conversations.
	DefaultSeenBytes = 64 << 20
)

// SeenBudget is the memory that the filters of all live conversations share. It is safe for concurrent use.
type SeenBudget struct {
	seed  maphash.Seed
	bytes int64
	left  atomic.Int64
}

// NewSeenBudget returns a budget of so many bytes.
func NewSeenBudget(bytes int64) *SeenBudget {
	b := &SeenBudget{seed: maphash.MakeSeed(), bytes: bytes}
	b.left.Store(bytes)
	return b
}

// Used is how many bytes are in use.
func (b *SeenBudget) Used() int64 { return b.bytes - b.left.Load() }

func (b *SeenBudget) take(n int64) bool {
	if b.left.Add(-n) >= 0 {
		return true
	}
	b.left.Add(n)
	return false
}

// seen is a filter of client ids: it says for sure that an id was never added, and else that it may have been. It is a
// row of blocked Bloom filters (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters, 2007), each of
// 16 bits an id and 6 bits set in one cache line, which errs for about one id in a thousand.
type seen struct {
	budget   *SeenBudget
	segments [][]block
	room     int // ids that the last segment still takes
}

type block [8]uint64

const (
	blockBits = 512
	idsABlock = blockBits / 16
)

func (s *seen) hash(id chat.SenderClientID) uint64 {
	return spread(maphash.String(s.budget.seed, string(id.Sender))) ^ maphash.String(s.budget.seed, id.ClientID)
}

// add reports whether there was room.
func (s *seen) add(id chat.SenderClientID) bool {
	if s.room == 0 {
		n := len(s.segments)
		ids := firstSeen << n
		if n == maxSegments || !s.budget.take(int64(ids/idsABlock)*blockBits/8) {
			return false
		}
		s.segments = append(s.segments, make([]block, ids/idsABlock))
		s.room = ids
	}
	s.room--
	h := s.hash(id)
	last := s.segments[len(s.segments)-1]
	at := pick(last, h)
	for h, n := spread(h), 0; n < 6; n++ {
		at[h>>6&7] |= 1 << (h & 63)
		h >>= 9
	}
	return true
}

func (s *seen) has(id chat.SenderClientID) bool {
	h := s.hash(id)
	for i := range s.segments {
		if pick(s.segments[i], h).has(spread(h)) {
			return true
		}
	}
	return false
}

func (b *block) has(h uint64) bool {
	for range 6 {
		if b[h>>6&7]&(1<<(h&63)) == 0 {
			return false
		}
		h >>= 9
	}
	return true
}

func pick(segment []block, h uint64) *block {
	at, _ := bits.Mul64(h, uint64(len(segment)))
	return &segment[at]
}

// spread makes other bits of a hash than those that pick looks at.
func spread(h uint64) uint64 { return h * 0x9e3779b97f4a7c15 } // 2^64 / golden ratio

// release gives the memory back.
func (s *seen) release() {
	for _, b := range s.segments {
		s.budget.left.Add(int64(len(b)) * blockBits / 8)
	}
	s.segments, s.room = nil, 0
}
