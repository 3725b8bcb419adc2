package check

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
)

// shards is a constant of the format: a conversation is in the same shard at every worker, so that a merge holds one
// shard of all workers in memory.
const shards = 64

// blockBytes is how much of a shard's record is in memory before it is spilled.
const blockBytes = 64 << 10

// hash64 is FNV-1a with its bits mixed: the same in every process.
func hash64(s string) uint64 {
	x := uint64(0xcbf29ce484222325)
	for i := range len(s) {
		x = (x ^ uint64(s[i])) * 0x100000001b3
	}
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	return x ^ x>>32
}

func shardOf(conversation string) int { return int(hash64(conversation) % shards) }

// shard holds the conversations that share a record.
type shard struct {
	spill *spill // nil: all stays in memory

	mu     sync.Mutex
	convs  map[string]*conversation
	buf    []byte
	blocks []block // what was spilled, oldest first
}

type block struct {
	off int64
	len int
}

// conversation is what is remembered of one while the run lasts.
type conversation struct {
	id    string
	no    uint64
	shard *shard

	mu       sync.Mutex
	ring     []slot // what stands at recent seqs, by seq modulo its length
	finals   int
	finalSum uint64
	receipts map[uint64]uint64 // hash of observer, user and kind -> position
}

// conv finds or makes a conversation.
func (s *shard) conv(id string) *conversation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.convLocked(id)
}

func (s *shard) convLocked(id string) *conversation {
	cv := s.convs[id]
	if cv == nil {
		cv = &conversation{id: id, no: uint64(len(s.convs)), shard: s}
		s.convs[id] = cv
		s.appendLocked(&op{kind: opConversation, conv: cv.no, id: id})
	}
	return cv
}

func (cv *conversation) append(o *op) {
	o.conv = cv.no
	cv.shard.mu.Lock()
	defer cv.shard.mu.Unlock()
	cv.shard.appendLocked(o)
}

// record appends an op of a conversation that is named.
func (s *shard) record(conversation string, o *op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.conv = s.convLocked(conversation).no
	s.appendLocked(o)
}

func (s *shard) appendLocked(o *op) {
	s.buf = appendOp(s.buf, o)
	if s.spill != nil && len(s.buf) >= blockBytes {
		if off, ok := s.spill.write(s.buf); ok {
			s.blocks = append(s.blocks, block{off, len(s.buf)})
		}
		s.buf = s.buf[:0]
	}
}

// bytes is the whole record of the shard.
func (s *shard) bytes() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.buf)
	for _, b := range s.blocks {
		n += b.len
	}
	out := make([]byte, 0, n)
	for _, b := range s.blocks {
		part := out[len(out) : len(out)+b.len]
		if _, err := s.spill.f.ReadAt(part, b.off); err != nil {
			return nil, fmt.Errorf("read the spilled record: %w", err)
		}
		out = out[:len(out)+b.len]
	}
	return append(out, s.buf...), nil
}

// spill is the file to which shards write what they need no more before the end.
type spill struct {
	f   *os.File
	end atomic.Int64

	mu  sync.Mutex
	err error // the first; what comes after it is thrown away, so that memory stays bounded
}

func newSpill(dir string) (*spill, error) {
	f, err := os.CreateTemp(dir, "ops-*.bin")
	if err != nil {
		return nil, fmt.Errorf("create the file for the record: %w", err)
	}
	return &spill{f: f}, nil
}

func (s *spill) write(b []byte) (off int64, ok bool) {
	if s.failure() != nil {
		return 0, false
	}
	off = s.end.Add(int64(len(b))) - int64(len(b))
	if _, err := s.f.WriteAt(b, off); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.err == nil {
			s.err = fmt.Errorf("spill the record: %w", err)
		}
		return 0, false
	}
	return off, true
}

func (s *spill) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *spill) close() error {
	err := s.f.Close()
	if rm := os.Remove(s.f.Name()); err == nil {
		err = rm
	}
	if err != nil {
		return fmt.Errorf("remove the spilled record: %w", err)
	}
	return nil
}
