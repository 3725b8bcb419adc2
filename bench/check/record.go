package check

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"time"
)

// A record is the magic, a header in JSON, the ops of each shard with their checksum, a trailer in JSON. Before
// each part is its length as a varint.
const (
	magic      = "HUBRUN1\n" // the digit is the version
	maxJSON    = 16 << 20
	maxShard   = 1 << 31
	checkBytes = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type header struct {
	Worker string `json:"worker"`
	Base   int64  `json:"base_unix_ns"`
}

type trailer struct {
	Observers         int   `json:"observers"`
	ReceiptsUnchecked int64 `json:"receipts_unchecked"`
	Found             tally `json:"found"`
}

// source is one worker's record, read shard after shard.
type source struct {
	header
	offset int64 // to add to its times, which have the base of the first source then
	err    int64 // by which they may be wrong
	shard  func(i int) (string, error)
	end    func() (trailer, error)
}

// Export writes what the worker has recorded, for Merge. Call it once, when the run has ended. At most one shard is in memory at a time.
func (c *Checker) Export(w io.Writer) error {
	end := c.finish()
	out := bufio.NewWriter(w)
	_, _ = out.WriteString(magic) // errors stay with the writer until Flush
	if err := writeJSON(out, header{c.cfg.Worker, c.base.UnixNano()}); err != nil {
		return err
	}
	for i := range c.shards {
		b, err := c.shards[i].bytes()
		if err != nil {
			return err
		}
		if len(b) > maxShard {
			return fmt.Errorf("shard %d of the record has %d bytes, %d are allowed", i, len(b), maxShard)
		}
		writePart(out, b)
		_ = binary.Write(out, binary.LittleEndian, crc32.Checksum(b, castagnoli))
	}
	if err := writeJSON(out, end); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("export the record: %w", err)
	}
	return nil
}

func writePart(w *bufio.Writer, b []byte) {
	var n [binary.MaxVarintLen64]byte
	_, _ = w.Write(n[:binary.PutUvarint(n[:], uint64(len(b)))])
	_, _ = w.Write(b)
}

func writeJSON(w *bufio.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the record: %w", err)
	}
	writePart(w, b)
	return nil
}

func readPart(r *bufio.Reader, most uint64) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, fmt.Errorf("%w: it ends early: %w", ErrFormat, err)
	}
	if n > most {
		return nil, fmt.Errorf("%w: a part of %d bytes", ErrFormat, n)
	}
	var b bytes.Buffer // grows with what is there, whatever the length says
	if _, err := io.CopyN(&b, r, int64(n)); err != nil {
		return nil, fmt.Errorf("%w: it ends early: %w", ErrFormat, err)
	}
	return b.Bytes(), nil
}

func readJSON(r *bufio.Reader, v any) error {
	b, err := readPart(r, maxJSON)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return nil
}

// Part is the record of one worker. Its clock, to which Offset is added, differs from the others' by at most Error.
type Part struct {
	R             io.Reader
	Offset, Error time.Duration
}

// open reads the beginning of a record; the shards follow in order.
func (p Part) open() (*source, error) {
	r := bufio.NewReaderSize(p.R, 64<<10)
	start := make([]byte, len(magic))
	if _, err := io.ReadFull(r, start); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if string(start) != magic {
		return nil, fmt.Errorf("%w: it begins with %q", ErrFormat, start)
	}
	s := &source{offset: int64(p.Offset), err: int64(p.Error)}
	if err := readJSON(r, &s.header); err != nil {
		return nil, err
	}
	s.shard = func(i int) (string, error) {
		b, err := readPart(r, maxShard)
		if err != nil {
			return "", err
		}
		var sum [checkBytes]byte
		if _, err := io.ReadFull(r, sum[:]); err != nil {
			return "", fmt.Errorf("%w: %w", ErrFormat, err)
		}
		if binary.LittleEndian.Uint32(sum[:]) != crc32.Checksum(b, castagnoli) {
			return "", fmt.Errorf("%w: the checksum of shard %d is wrong", ErrFormat, i)
		}
		return string(b), nil
	}
	s.end = func() (t trailer, err error) {
		if err = readJSON(r, &t); err != nil {
			return t, err
		}
		if _, err := r.ReadByte(); err == nil {
			return t, fmt.Errorf("%w: something follows its end", ErrFormat)
		}
		return t, nil
	}
	return s, nil
}

// Merge judges the run of several workers, each of which exported its part. It holds one of the 64 shards of all parts in
// memory at a time: an eighth of what all parts take, with a thousand conversations, and several times what they take when all is
// in one. A time of one worker is before that of another only if it is by more than the errors of both clocks.
func Merge(linear Linear, parts ...Part) (*Report, error) {
	var sources []*source
	for i, p := range parts {
		s, err := p.open()
		if err != nil {
			return nil, fmt.Errorf("open the record %d: %w", i, err)
		}
		if i > 0 {
			s.offset += s.Base - sources[0].Base
		}
		sources = append(sources, s)
	}
	return judge(linear, sources)
}

// Check ends the run and compares everything with the final histories. Call it once, if this worker is all there is; otherwise
// Export and Merge. The error is one of reading what was spilled.
func (c *Checker) Check() (*Report, error) {
	end := c.finish()
	return judge(c.cfg.Linear, []*source{{
		header: header{c.cfg.Worker, c.base.UnixNano()},
		shard: func(i int) (string, error) {
			b, err := c.shards[i].bytes()
			return string(b), err
		},
		end: func() (trailer, error) { return end, nil },
	}})
}
