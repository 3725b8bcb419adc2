package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/zumodra/hub/chat"
)

// Types of frames. A number is never used again for something else.
const (
	frameHello   = 1
	frameRefuse  = 2 // instead of the acceptor's hello: why not, as text
	framePing    = 3
	framePong    = 4 // its id is the ping's
	frameRequest = 5 // 4 bytes of time left (µs, 0: no limit), payload
	frameAnswer  = 6 // to the request of the same id; its status says whether it failed, then the payload is text
	frameDeliver = 7
	frameConfirm = 8 // runs of ids, see appendRuns
	frameFailed  = 9 // the delivery of this id failed; text
)

const (
	statusOK     = 0
	statusFailed = 1
)

const (
	headerSize = 16
	mark       = 0x4855 // in every header: a stream that lost its step is noticed
	minFrame   = 4096
	maxFrame   = 1 << 30
	maxName    = 255
	maxText    = 1024 // of an error that travels
)

type header struct {
	length int // of the payload
	kind   uint8
	status uint8
	id     uint64
}

func appendHeader(b []byte, h header) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(h.length))
	b = append(b, h.kind, h.status)
	b = binary.LittleEndian.AppendUint16(b, mark)
	return binary.LittleEndian.AppendUint64(b, h.id)
}

func appendFrame(b []byte, h header, payload []byte) []byte {
	h.length = len(payload)
	return append(appendHeader(b, h), payload...)
}

// parser cuts what is read into frames. Its buffer grows with the bytes that came, never with a length that was
// declared, and shrinks when a long frame is done.
type parser struct {
	buf  []byte
	r, w int
	max  int // of a payload
}

const readBuffer = 64 << 10

func newParser(size, max int) *parser { return &parser{buf: make([]byte, size), max: max} }

// next is the next frame if all of it is there. The payload is valid until space is called.
func (p *parser) next() (h header, payload []byte, ok bool, err error) {
	b := p.buf[p.r:p.w]
	if len(b) < headerSize {
		return h, nil, false, nil
	}
	n := binary.LittleEndian.Uint32(b)
	h = header{length: int(n), kind: b[4], status: b[5], id: binary.LittleEndian.Uint64(b[8:])}
	if binary.LittleEndian.Uint16(b[6:]) != mark {
		return h, nil, false, fmt.Errorf("%w: not a frame", ErrCorrupt)
	}
	if uint64(n) > uint64(p.max) {
		return h, nil, false, fmt.Errorf("%w: a frame of %d bytes, at most %d are allowed", ErrCorrupt, n, p.max)
	}
	if len(b) < headerSize+h.length {
		return h, nil, false, nil
	}
	p.r += headerSize + h.length
	return h, b[headerSize : headerSize+h.length : headerSize+h.length], true, nil
}

// space is where to read to; next has said that there is no whole frame.
func (p *parser) space() []byte {
	rest := p.buf[p.r:p.w]
	switch {
	case len(rest) == 0:
		if len(p.buf) > readBuffer {
			p.buf = make([]byte, readBuffer)
		}
		p.r, p.w = 0, 0
	case len(rest) == len(p.buf):
		p.grow(min(2*len(p.buf), headerSize+p.max))
	default:
		p.r, p.w = 0, copy(p.buf, rest)
	}
	return p.buf[p.w:]
}

func (p *parser) grow(n int) {
	if n > len(p.buf) {
		grown := make([]byte, n)
		p.r, p.w, p.buf = 0, copy(grown, p.buf[p.r:p.w]), grown
	}
}

func (p *parser) added(n int) { p.w += n }

// hello is what each side says first.
type hello struct {
	min, max uint16
	node     chat.NodeID
	wanted   chat.NodeID // the dialler's: whom it means to reach
	cluster  string
	name     string
}

const helloMagic = "hub\x00node"

func (h hello) append(b []byte) []byte {
	b = append(b, helloMagic...)
	b = binary.LittleEndian.AppendUint16(b, h.min)
	b = binary.LittleEndian.AppendUint16(b, h.max)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.node))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.wanted))
	b = append(b, byte(len(h.cluster)))
	b = append(b, h.cluster...)
	b = append(b, byte(len(h.name)))
	return append(b, h.name...)
}

// parseHello ignores what a later version may append.
func parseHello(b []byte) (hello, error) {
	var h hello
	if len(b) < len(helloMagic) || string(b[:len(helloMagic)]) != helloMagic {
		return h, fmt.Errorf("%w: not a hello", ErrCorrupt)
	}
	b = b[len(helloMagic):]
	if len(b) < 20 {
		return h, fmt.Errorf("%w: a short hello", ErrCorrupt)
	}
	h.min, h.max = binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:])
	h.node = chat.NodeID(binary.LittleEndian.Uint64(b[4:]))
	h.wanted = chat.NodeID(binary.LittleEndian.Uint64(b[12:]))
	b = b[20:]
	for _, s := range []*string{&h.cluster, &h.name} {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return h, fmt.Errorf("%w: a short hello", ErrCorrupt)
		}
		*s, b = string(b[1:1+int(b[0])]), b[1+int(b[0]):]
	}
	if h.node == 0 || h.min > h.max {
		return h, fmt.Errorf("%w: a hello without sense", ErrCorrupt)
	}
	return h, nil
}

// common is the highest version that both speak.
func common(a, b hello) (uint16, error) {
	if v := min(a.max, b.max); v >= max(a.min, b.min) {
		return v, nil
	}
	return 0, fmt.Errorf("%w: %d to %d here, %d to %d there", ErrVersion, a.min, a.max, b.min, b.max)
}

// appendRuns writes ids, which it sorts, as pairs of varints: the distance from the end of the run before, and the
// length of the run.
func appendRuns(b []byte, ids []uint64) []byte {
	if !slices.IsSorted(ids) {
		slices.Sort(ids)
	}
	var end uint64
	for i := 0; i < len(ids); {
		first, n := ids[i], uint64(1)
		for i++; i < len(ids) && ids[i]-first <= n; i++ {
			n = ids[i] - first + 1 // one that is there twice changes nothing
		}
		b = binary.AppendUvarint(b, first-end)
		b = binary.AppendUvarint(b, n)
		end = first + n
	}
	return b
}

// parseRuns calls run for each run of ids, until it says no.
func parseRuns(b []byte, run func(first, n uint64) error) error {
	var end uint64
	for len(b) > 0 {
		d, i := binary.Uvarint(b)
		if i <= 0 {
			return fmt.Errorf("%w: bad runs", ErrCorrupt)
		}
		n, j := binary.Uvarint(b[i:])
		if j <= 0 || n == 0 {
			return fmt.Errorf("%w: bad runs", ErrCorrupt)
		}
		first := end + d
		if first < end || first+n < first {
			return fmt.Errorf("%w: bad runs", ErrCorrupt)
		}
		if err := run(first, n); err != nil {
			return err
		}
		end, b = first+n, b[i+j:]
	}
	return nil
}

// budget is the time left until a deadline, as it travels: 0 is none, what is over is the least.
func budget(deadline time.Time, now time.Time) uint32 {
	if deadline.IsZero() {
		return 0
	}
	return uint32(min(max(deadline.Sub(now).Microseconds(), 1), 1<<32-1))
}

// text is an error as it travels.
func text(err error) string {
	s := err.Error()
	return s[:min(len(s), maxText)]
}

func failed(text []byte) error { return fmt.Errorf("%w: %w", ErrFailed, errors.New(string(text))) }

// putLength sets the length of the frame that b is.
func putLength(b []byte) { binary.LittleEndian.PutUint32(b, uint32(len(b)-headerSize)) }
