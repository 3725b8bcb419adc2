package storage

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/chat"
)

// Config of a Store. The zero value works.
type Config struct {
	// Parallel is how many partitions a call that writes to many of them writes to at once; default 8.
	Parallel int
	// ParallelReads is how many partitions ListMembers reads at once; default 64, more than a page of a list has.
	ParallelReads int
	// Fences, if set, ties every write of a log to the epoch of its writer (strict fencing): only what Under returns writes
	// to logs. It is the engine's, and nil where one process has the store to itself, which is as strict.
	Fences FencedApplier
}

// Store is the domain's persistence over an Engine. It is safe for concurrent use within the limits that the package
// documentation names. Errors: chat.ErrNotFound where said, chat.ErrUnknown for a write that may or may not have
// happened (doing it again is safe), chat.ErrUnavailable when the engine is closed, full, fenced or out of reach, ErrCorrupt, and
// those of the context; all wrapped.
type Store struct {
	engine Engine
	cfg    Config
	pool   *sync.Pool // *arena
	days   *dayMarks  // named in the audit log
	epoch  uint64     // of the writer, see Under
}

// New returns a Store over engine, which stays the caller's to close.
func New(engine Engine, cfg Config) *Store {
	if cfg.Parallel <= 0 {
		cfg.Parallel = 8
	}
	if cfg.ParallelReads <= 0 {
		cfg.ParallelReads = 64
	}
	return &Store{engine: engine, cfg: cfg, days: new(dayMarks), pool: &sync.Pool{New: func() any { return new(arena) }}}
}

// arena is the memory that a write is described in: reused, so that describing one allocates nothing.
type arena struct {
	mutations []Mutation
	values    []Value
	bytes     []byte
	partition [3]Value
	id        chat.ConversationID // what partition points to
	keys      []FullKey
	batches   []Batch
	ends      []int // of batches: where their mutations end
}

func (s *Store) arena() *arena { return s.pool.Get().(*arena) }

func (s *Store) release(a *arena) {
	if cap(a.values) > 1<<15 || cap(a.bytes) > 1<<20 {
		return // a rare large write; do not keep its memory
	}
	clear(a.mutations)
	clear(a.values)
	clear(a.keys)
	clear(a.batches)
	a.batches, a.ends = a.batches[:0], a.ends[:0]
	a.keys = a.keys[:0]
	a.partition = [3]Value{}
	a.mutations, a.values, a.bytes = a.mutations[:0], a.values[:0], a.bytes[:0]
	s.pool.Put(a)
}

// take returns n absent values. It never moves those taken before.
func (a *arena) take(n int) []Value {
	if len(a.values)+n > cap(a.values) {
		a.values = make([]Value, 0, max(2*cap(a.values), n, 64))
	}
	l := len(a.values)
	a.values = a.values[:l+n]
	v := a.values[l : l+n : l+n]
	clear(v)
	return v
}

// keep returns the bytes appended to a.bytes by f. It never moves those kept before.
func (a *arena) keep(need int, f func([]byte) []byte) []byte {
	if len(a.bytes)+need > cap(a.bytes) {
		a.bytes = make([]byte, 0, max(2*cap(a.bytes), need, 256))
	}
	l := len(a.bytes)
	a.bytes = f(a.bytes)
	return a.bytes[l:len(a.bytes):len(a.bytes)]
}

func (a *arena) put(clustering Key, columns []Value) {
	a.mutations = append(a.mutations, Mutation{Clustering: clustering, Columns: columns, Whole: true})
}

func (a *arena) delete(clustering Key) {
	a.mutations = append(a.mutations, Mutation{Clustering: clustering, Delete: true})
}

// bytesOf views a string as bytes without copying: engines do not change what they are given.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

func text[T ~string](s T) Value { return Value{Set: true, B: bytesOf(string(s))} }
func blob(b []byte) Value       { return Value{Set: true, B: b} }
func number(n uint64) Value     { return Value{Set: true, I: int64(n)} }
func boolean(b bool) Value {
	if b {
		return Value{Set: true, I: 1}
	}
	return Value{Set: true}
}

// moment is absent for the zero time: times are set once and never taken back.
func moment(t time.Time) Value {
	if t.IsZero() {
		return Value{}
	}
	return Value{Set: true, I: t.UnixMicro()}
}

// optional forms are absent for the zero value, for columns that never go back to it.
func optionalText[T ~string](s T) Value {
	if s == "" {
		return Value{}
	}
	return text(s)
}

func optionalNumber(n uint64) Value {
	if n == 0 {
		return Value{}
	}
	return number(n)
}

func optionalBool(b bool) Value { return optionalNumber(uint64(boolean(b).I)) }

func (v Value) time() time.Time {
	if !v.Set {
		return time.Time{}
	}
	return time.UnixMicro(v.I).UTC()
}

func (v Value) string() string { return string(v.B) }
func (v Value) uint() uint64   { return uint64(v.I) }
func (v Value) bool() bool     { return v.I != 0 }

func (v Value) uuid(what string) (id [16]byte, err error) {
	if v.Set && len(v.B) != len(id) {
		return id, fmt.Errorf("%w: %s has %d bytes", ErrCorrupt, what, len(v.B))
	}
	copy(id[:], v.B)
	return id, nil
}

// small decodes an enumeration.
func small[T ~uint8](v Value, highest T, what string) (T, error) {
	if v.I < 0 || v.I > int64(highest) {
		return 0, fmt.Errorf("%w: %s is %d", ErrCorrupt, what, v.I)
	}
	return T(v.I), nil
}

// clamp makes a bound on seq fit a column.
func clamp(seq uint64) int64 { return int64(min(seq, math.MaxInt64)) }

func (a *arena) conversation(k *chat.ConversationKey) Key {
	a.id = k.ID // a copy, so that the caller's key stays off the heap
	a.partition[0], a.partition[1] = text(k.Tenant), blob(a.id[:])
	return a.partition[:2]
}

func conversationPartition(k *chat.ConversationKey) Key { return Key{text(k.Tenant), blob(k.ID[:])} }

// fail wraps what the engine answered for callers that know only chat's errors.
func fail(err error, doing string, what fmt.Stringer) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrUnknownOutcome):
		return fmt.Errorf("%s %s: %w: %w", doing, what, chat.ErrUnknown, err)
	case errors.Is(err, chat.ErrFenced):
		return fmt.Errorf("%s %s: %w", doing, what, err)
	case errors.Is(err, ErrTooLarge):
		return fmt.Errorf("%s %s: %w: %w", doing, what, chat.ErrInvalid, err)
	case errors.Is(err, ErrClosed), errors.Is(err, ErrNoSpace), errors.Is(err, ErrFenced), errors.Is(err, ErrUnreachable):
		return fmt.Errorf("%s %s: %w: %w", doing, what, chat.ErrUnavailable, err)
	case errors.Is(err, ErrNoRow):
		return fmt.Errorf("%s %s: %w", doing, what, chat.ErrNotFound)
	}
	return fmt.Errorf("%s %s: %w", doing, what, err)
}

// each calls f for 0 … n-1, some at once if there are many.
func (s *Store) each(ctx context.Context, n int, f func(context.Context, int) error) error {
	if n <= 4 {
		for i := range n {
			if err := f(ctx, i); err != nil {
				return err
			}
		}
		return nil
	}
	workers := min(s.cfg.Parallel, n)
	g, ctx := errgroup.WithContext(ctx)
	for w := range workers {
		g.Go(func() error {
			for i := w; i < n; i += workers {
				if err := f(ctx, i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// Health reports whether the engine can serve.
func (s *Store) Health(ctx context.Context) error { return s.engine.Health(ctx) }
