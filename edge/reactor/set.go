package reactor

import (
	"cmp"
	"slices"
)

// A slot, the lower half of a handle, is the index of the owning reactor in its upper 8 bits and the descriptor
// in its lower 24, so that a set sorted by slot falls into one run per reactor, each in descriptor order.
const (
	slotBits    = 24
	slotMask    = 1<<slotBits - 1
	maxReactors = 1 << (32 - slotBits)
)

func makeHandle(gen uint32, owner, fd int) Handle {
	return Handle(uint64(gen)<<32 | uint64(owner)<<slotBits | uint64(fd))
}

func (h Handle) gen() uint32  { return uint32(h >> 32) }
func (h Handle) slot() uint32 { return uint32(h) }
func (h Handle) owner() int   { return int(uint32(h) >> slotBits) }
func (h Handle) fd() int      { return int(uint32(h) & slotMask) }

// Set is an immutable set of connections to broadcast to. Handles of closed connections in it are skipped, so
// it need not be rebuilt at once when one leaves. Publications to the same *Set are sent together where possible:
// keep one Set until the membership changes.
type Set struct {
	parts []part
	n     int
}

// part is the run of handles that one reactor owns, in descriptor order.
type part struct {
	owner   int
	handles []Handle
}

// NewSet builds a set; it takes ownership of handles, may reorder it, and drops duplicates and zeros.
func NewSet(handles []Handle) *Set {
	slices.SortFunc(handles, func(a, b Handle) int {
		if c := cmp.Compare(a.slot(), b.slot()); c != 0 {
			return c
		}
		return cmp.Compare(a.gen(), b.gen())
	})
	handles = slices.Compact(handles)
	for len(handles) > 0 && handles[0] == 0 {
		handles = handles[1:]
	}
	s := &Set{n: len(handles)}
	for len(handles) > 0 {
		owner := handles[0].owner()
		i := 1
		for i < len(handles) && handles[i].owner() == owner {
			i++
		}
		s.parts = append(s.parts, part{owner: owner, handles: handles[:i:i]})
		handles = handles[i:]
	}
	return s
}

// Len is the number of handles in the set, those of closed connections included.
func (s *Set) Len() int { return s.n }
