package conformance

import (
	"errors"
	"fmt"
)

// inflater decodes messages of permessage-deflate (RFC 7692 §7.2.2, RFC 1951) slowly and strictly: it refuses
// distances beyond the negotiated window and, without context takeover, beyond the message.
type inflater struct {
	keep   bool // the sender keeps its context between messages
	window int  // bytes

	history []byte // of earlier messages, at most window bytes

	in  []byte
	pos int    // next byte of in
	acc uint32 // bits taken from in but not used, lowest first
	n   uint   // how many
	out []byte // history, then the message
}

var errDeflateEnd = errors.New("deflate data ends inside a block")

// message inflates the payload of one message.
func (f *inflater) message(payload []byte) (msg []byte, err error) {
	f.in = append(payload[:len(payload):len(payload)], 0x00, 0x00, 0xFF, 0xFF)
	f.pos, f.acc, f.n = 0, 0, 0
	f.out = append([]byte(nil), f.history...)
	start := len(f.out)
	for f.pos < len(f.in) || f.n >= 8 {
		if err := f.block(); err != nil {
			return nil, err
		}
	}
	msg = f.out[start:]
	if f.keep {
		h := f.out
		if len(h) > f.window {
			h = h[len(h)-f.window:]
		}
		f.history = append([]byte(nil), h...)
	}
	return msg, nil
}

func (f *inflater) bits(need uint) (int, error) {
	for f.n < need {
		if f.pos == len(f.in) {
			return 0, errDeflateEnd
		}
		f.acc |= uint32(f.in[f.pos]) << f.n
		f.pos++
		f.n += 8
	}
	v := f.acc & (1<<need - 1)
	f.acc >>= need
	f.n -= need
	return int(v), nil
}

// align drops the bits up to the next byte.
func (f *inflater) align() {
	f.acc >>= f.n & 7
	f.n -= f.n & 7
}

func (f *inflater) block() error {
	head, err := f.bits(3)
	if err != nil {
		return err
	}
	switch head >> 1 {
	case 0:
		err = f.stored()
	case 1:
		err = f.codes(fixedLiterals, fixedDistances)
	case 2:
		err = f.dynamic()
	default:
		err = errors.New("reserved block type")
	}
	if err == nil && head&1 == 1 {
		// A final block ends its deflate stream at a byte; more may follow (RFC 7692 §7.2.3.4).
		f.align()
	}
	return err
}

func (f *inflater) stored() error {
	f.align()
	n, err := f.bits(16)
	if err != nil {
		return err
	}
	inverse, err := f.bits(16)
	if err != nil {
		return err
	}
	if n != ^inverse&0xFFFF {
		return errors.New("stored block with a wrong length")
	}
	for range n {
		b, err := f.bits(8)
		if err != nil {
			return err
		}
		f.out = append(f.out, byte(b))
	}
	return nil
}

// huffman is a canonical code: how many codes of each length there are, and the symbols in order.
type huffman struct {
	count   [16]int
	symbols []int
}

func newHuffman(lengths []int) (*huffman, error) {
	h := &huffman{symbols: make([]int, len(lengths))}
	for _, l := range lengths {
		h.count[l]++
	}
	h.count[0] = 0
	left := 1
	var offset [16]int
	for l := 1; l < 16; l++ {
		if left = left<<1 - h.count[l]; left < 0 {
			return nil, errors.New("over-subscribed code")
		}
		if l < 15 {
			offset[l+1] = offset[l] + h.count[l]
		}
	}
	for s, l := range lengths {
		if l != 0 {
			h.symbols[offset[l]] = s
			offset[l]++
		}
	}
	return h, nil
}

func (f *inflater) symbol(h *huffman) (int, error) {
	code, first, index := 0, 0, 0
	for l := 1; l < 16; l++ {
		b, err := f.bits(1)
		if err != nil {
			return 0, err
		}
		code |= b
		if code-h.count[l] < first {
			return h.symbols[index+code-first], nil
		}
		index += h.count[l]
		first = (first + h.count[l]) << 1
		code <<= 1
	}
	return 0, errors.New("no such code")
}

var (
	lengthBase  = [...]int{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthExtra = [...]uint{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distBase    = [...]int{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distExtra   = [...]uint{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}

	fixedLiterals, fixedDistances = fixedCodes()
)

func fixedCodes() (*huffman, *huffman) {
	lit := make([]int, 288)
	for i := range lit {
		switch {
		case i < 144:
			lit[i] = 8
		case i < 256:
			lit[i] = 9
		case i < 280:
			lit[i] = 7
		default:
			lit[i] = 8
		}
	}
	dist := make([]int, 30)
	for i := range dist {
		dist[i] = 5
	}
	l, _ := newHuffman(lit)
	d, _ := newHuffman(dist)
	return l, d
}

func (f *inflater) codes(lit, dist *huffman) error {
	for {
		s, err := f.symbol(lit)
		switch {
		case err != nil:
			return err
		case s < 256:
			f.out = append(f.out, byte(s))
			continue
		case s == 256:
			return nil
		case s-257 >= len(lengthBase):
			return errors.New("invalid length code")
		}
		extra, err := f.bits(lengthExtra[s-257])
		if err != nil {
			return err
		}
		length := lengthBase[s-257] + extra
		if s, err = f.symbol(dist); err != nil {
			return err
		}
		if s >= len(distBase) {
			return errors.New("invalid distance code")
		}
		if extra, err = f.bits(distExtra[s]); err != nil {
			return err
		}
		distance := distBase[s] + extra
		if distance > f.window || distance > len(f.out) {
			return fmt.Errorf("distance %d with %d bytes before and a window of %d", distance, len(f.out), f.window)
		}
		for range length {
			f.out = append(f.out, f.out[len(f.out)-distance])
		}
	}
}

func (f *inflater) dynamic() error {
	var counts [3]int
	for i, n := range []uint{5, 5, 4} {
		v, err := f.bits(n)
		if err != nil {
			return err
		}
		counts[i] = v
	}
	nlit, ndist, ncode := counts[0]+257, counts[1]+1, counts[2]+4
	if nlit > 286 || ndist > 30 {
		return errors.New("too many codes")
	}
	var lengths [320]int
	for _, i := range []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}[:ncode] {
		v, err := f.bits(3)
		if err != nil {
			return err
		}
		lengths[i] = v
	}
	h, err := newHuffman(lengths[:19])
	if err != nil {
		return err
	}
	lengths = [320]int{}
	for i := 0; i < nlit+ndist; {
		s, err := f.symbol(h)
		if err != nil {
			return err
		}
		if s < 16 {
			lengths[i] = s
			i++
			continue
		}
		prev := 0
		if s == 16 {
			if i == 0 {
				return errors.New("repeat of nothing")
			}
			prev = lengths[i-1]
		}
		repeat, err := f.bits([]uint{2, 3, 7}[s-16])
		if err != nil {
			return err
		}
		repeat += []int{3, 3, 11}[s-16]
		if i+repeat > nlit+ndist {
			return errors.New("too many lengths")
		}
		for range repeat {
			lengths[i] = prev
			i++
		}
	}
	if lengths[256] == 0 {
		return errors.New("no end-of-block code")
	}
	lit, err := newHuffman(lengths[:nlit])
	if err != nil {
		return err
	}
	dist, err := newHuffman(lengths[nlit : nlit+ndist])
	if err != nil {
		return err
	}
	return f.codes(lit, dist)
}
