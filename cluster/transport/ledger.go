package transport

// ledger holds what is under way by consecutive ids. Settled in about the order of the ids it is a ring; what is left
// behind for too long moves to a map, so that one straggler does not make the ring grow.
type ledger[T any] struct {
	ring       []entry[T] // a power of two long
	first      uint64     // ids first to next-1 are in the ring
	next       uint64
	live       int // not settled, stragglers included
	stragglers map[uint64]T
}

type entry[T any] struct {
	v    T
	live bool
}

// maxRing bounds the ring, not what is under way.
const maxRing = 1 << 17

func (l *ledger[T]) at(id uint64) *entry[T] { return &l.ring[id&uint64(len(l.ring)-1)] }

// add gives v the next id.
func (l *ledger[T]) add(v T) uint64 {
	if l.next-l.first == uint64(len(l.ring)) {
		l.makeRoom()
	}
	id := l.next
	*l.at(id) = entry[T]{v, true}
	l.next++
	l.live++
	return id
}

func (l *ledger[T]) makeRoom() {
	if n := len(l.ring); n < maxRing {
		old := *l
		l.ring = make([]entry[T], max(64, 2*n))
		for id := l.first; id < l.next; id++ {
			*l.at(id) = *old.at(id)
		}
		return
	}
	if l.stragglers == nil {
		l.stragglers = make(map[uint64]T)
	}
	l.stragglers[l.first] = l.at(l.first).v
	*l.at(l.first) = entry[T]{}
	l.trim()
}

func (l *ledger[T]) trim() {
	for l.first < l.next && !l.at(l.first).live {
		l.first++
	}
}

// get is what has the id, unless it is settled.
func (l *ledger[T]) get(id uint64) (v T, ok bool) {
	if id >= l.first && id < l.next {
		e := l.at(id)
		return e.v, e.live
	}
	v, ok = l.stragglers[id]
	return v, ok
}

// take settles an id.
func (l *ledger[T]) take(id uint64) (v T, ok bool) {
	v, ok = l.get(id)
	if !ok {
		return v, false
	}
	l.live--
	if id < l.first {
		delete(l.stragglers, id)
		return v, true
	}
	*l.at(id) = entry[T]{}
	l.trim()
	return v, true
}

// ids are those that are not settled, in their order but for the stragglers, which come first.
func (l *ledger[T]) ids(yield func(uint64) bool) {
	for id := range l.stragglers {
		if !yield(id) {
			return
		}
	}
	for id := l.first; id < l.next; id++ {
		if l.at(id).live && !yield(id) {
			return
		}
	}
}
