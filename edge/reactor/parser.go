package reactor

import (
	"encoding/binary"
	"sync/atomic"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// limits of inbound messages. They are the same for all connections of a server, but for deflate.
type limits struct {
	message   int
	fragments int
	deflate   bool // negotiated: RSV1 is allowed on the first frame of a message

	// Messages longer than large need room, which all connections share; nil: there is enough.
	large int
	room  *atomic.Int64
}

// wire is how long the frames of a message may be together. What deflate cannot shrink it makes longer: 5 bytes
// for each stored block (RFC 1951 §3.2.4), which is allowed for down to blocks of 1,280 bytes.
func (l *limits) wire(deflated bool) int {
	if deflated {
		return l.message + l.message/256 + 64
	}
	return l.message
}

// failure says that a connection must be failed (RFC 6455 §7.1.7) with a close code; code 0 is no failure.
type failure struct {
	code   uint16
	reason string
}

var noFailure failure

type eventKind uint8

const (
	evNone eventKind = iota // more bytes are needed
	evMessage
	evPing
	evPong
	evClose
)

// event is what the parser found. payload aliases the input or the parser's buffer and is valid until the next call.
type event struct {
	kind     eventKind
	text     bool
	deflated bool // payload is to be inflated, and checked as UTF-8 if text
	payload  []byte
	code     uint16 // evClose: 0 if the peer gave none
}

// parser is the receiving state machine of one connection (RFC 6455 §5, server side). It does no I/O and holds
// a buffer only while a message is partial. The zero value is at the start of a frame.
type parser struct {
	head  [14]byte // partial header
	headN int

	inFrame bool
	frame   frameHeader
	pos     int // payload bytes of the frame consumed

	msgOp    byte // opcode of the message under way, 0: none
	deflated bool
	frags    int
	msg      []byte
	valid    int // bytes of msg known to be UTF-8

	ctl  [maxControl]byte
	done bool // msg was handed out and is to be cleared by the next call

	held int // bytes of room that msg has
	room *atomic.Int64
}

type frameHeader struct {
	fin, rsv1 bool
	op        byte
	mask      [4]byte
	length    int
}

// idle reports whether the parser holds nothing of a message or frame.
func (p *parser) idle() bool {
	return p.headN == 0 && !p.inFrame && (p.msgOp == 0 || p.done)
}

// reset forgets everything; the message buffer is kept for reuse up to keep bytes.
func (p *parser) reset(keep int) {
	p.release()
	buf := p.msg[:0]
	if cap(buf) > keep {
		buf = nil
	}
	*p = parser{msg: buf}
}

// reserve finds room for a message of n bytes so far, and the memory with it: growing piece by piece would take a
// multiple of that.
func (p *parser) reserve(lim *limits, n int) bool {
	if lim.room == nil || n <= lim.large || n <= p.held {
		return true
	}
	need := int64(n - p.held)
	if lim.room.Add(-need) < 0 {
		lim.room.Add(need)
		return false
	}
	p.held, p.room = n, lim.room
	p.msg = append(make([]byte, 0, n), p.msg...)
	return true
}

// release gives the room of a message back, and its memory.
func (p *parser) release() {
	if p.held > 0 {
		p.room.Add(int64(p.held))
		p.held, p.room, p.msg = 0, nil, nil
	}
}

// next consumes bytes of data, which it unmasks in place, until it has an event to report or data is used up.
// It returns the event and how many bytes it consumed. After a failure the parser must not be used again.
func (p *parser) next(lim *limits, data []byte) (event, int, failure) {
	if p.done {
		p.done, p.msgOp, p.frags, p.valid, p.msg = false, 0, 0, 0, p.msg[:0]
		p.release()
	}
	n := 0
	for {
		if !p.inFrame {
			used, ok, fail := p.header(lim, data[n:])
			n += used
			if fail.code != 0 || !ok {
				return event{}, n, fail
			}
		}
		ev, used, fail := p.payload(data[n:])
		n += used
		if fail.code != 0 || ev.kind != evNone || p.inFrame {
			return ev, n, fail
		}
	}
}

// header completes and checks the header of the next frame. Each part is judged as soon as it is known.
func (p *parser) header(lim *limits, data []byte) (used int, ok bool, fail failure) {
	h, n, fail := p.decode(lim, data)
	if fail.code != 0 {
		return 0, false, fail
	}
	if n == 0 {
		p.headN += copy(p.head[p.headN:], data)
		return len(data), false, noFailure
	}
	used = n - p.headN
	p.headN = 0
	p.inFrame, p.frame, p.pos = true, h, 0
	if h.op&0x8 != 0 {
		return used, true, noFailure
	}
	if h.op != opContinuation {
		p.msgOp, p.deflated = h.op, h.rsv1
	}
	p.frags++
	if p.frags > lim.fragments {
		return used, false, failure{ClosePolicy, "too many fragments"}
	}
	if h.length > lim.wire(p.deflated)-len(p.msg) {
		return used, false, failure{CloseTooBig, "message too big"}
	}
	if !p.reserve(lim, len(p.msg)+h.length) {
		return used, false, failure{CloseOverload, "too many large messages at once"}
	}
	return used, true, noFailure
}

// decode parses a header from what was kept of it and data; n == 0 asks for more.
func (p *parser) decode(lim *limits, data []byte) (h frameHeader, n int, fail failure) {
	b := data
	if p.headN > 0 {
		m := copy(p.head[p.headN:], data)
		b = p.head[:p.headN+m]
	}
	if len(b) < 2 {
		return h, 0, noFailure
	}
	h.fin, h.rsv1, h.op = b[0]&bitFin != 0, b[0]&bitRsv1 != 0, b[0]&0xF
	short := int(b[1] &^ bitMask)

	wh := ws.Header{
		Fin: h.fin, Rsv: b[0] >> 4 & 7, OpCode: ws.OpCode(h.op), Masked: b[1]&bitMask != 0, Length: int64(short),
	}
	state := ws.StateServerSide
	if p.msgOp != 0 {
		state |= ws.StateFragmented
	}
	if lim.deflate && wh.Rsv == 4 && (h.op == opText || h.op == opBinary) {
		wh.Rsv = 0 // RFC 7692 §6: RSV1 marks the first frame of a compressed message, and nothing else
	}
	if err := ws.CheckHeader(wh, state); err != nil {
		return h, 0, failure{CloseProtocol, err.Error()}
	}

	n = 6
	switch short {
	case 126:
		n = 8
	case 127:
		n = 14
	}
	if len(b) < n {
		return h, 0, noFailure
	}
	length := uint64(short)
	switch short {
	case 126:
		length = uint64(binary.BigEndian.Uint16(b[2:]))
		if length <= maxControl {
			return h, 0, failure{CloseProtocol, "length not minimally encoded"}
		}
	case 127:
		length = binary.BigEndian.Uint64(b[2:])
		if length <= 0xFFFF || length>>63 != 0 {
			return h, 0, failure{CloseProtocol, "length not minimally encoded"}
		}
	}
	copy(h.mask[:], b[n-4:])
	deflated := h.rsv1 || h.op == opContinuation && p.deflated
	if length > uint64(lim.wire(deflated)) {
		return h, 0, failure{CloseTooBig, "message too big"}
	}
	h.length = int(length)
	return h, n, noFailure
}

// payload consumes payload bytes of the current frame.
func (p *parser) payload(data []byte) (event, int, failure) {
	f := &p.frame
	rest := f.length - p.pos
	n := min(rest, len(data))
	chunk := data[:n]
	ws.Cipher(chunk, f.mask, p.pos)
	whole := n == f.length // the frame lies in data as a whole
	p.pos += n
	p.inFrame = n < rest

	if f.op&0x8 != 0 {
		if !whole {
			copy(p.ctl[p.pos-n:], chunk)
			if p.inFrame {
				return event{}, n, noFailure
			}
			chunk = p.ctl[:f.length]
		}
		ev, fail := control(f.op, chunk)
		return ev, n, fail
	}

	checkText := p.msgOp == opText && !p.deflated
	if whole && f.fin && len(p.msg) == 0 && p.frags == 1 {
		if checkText && !utf8.Valid(chunk) {
			return event{}, n, failure{CloseInvalidData, "invalid UTF-8"}
		}
		ev := event{kind: evMessage, text: p.msgOp == opText, deflated: p.deflated, payload: chunk}
		p.done = true
		return ev, n, noFailure
	}
	p.msg = append(p.msg, chunk...)
	last := !p.inFrame && f.fin
	if checkText {
		v, ok := validPrefix(p.msg[p.valid:])
		p.valid += v
		if !ok || last && p.valid != len(p.msg) {
			return event{}, n, failure{CloseInvalidData, "invalid UTF-8"}
		}
	}
	if !last {
		return event{}, n, noFailure
	}
	p.done = true
	return event{kind: evMessage, text: p.msgOp == opText, deflated: p.deflated, payload: p.msg}, n, noFailure
}

// control interprets a complete control frame.
func control(op byte, payload []byte) (event, failure) {
	switch op {
	case opPing:
		return event{kind: evPing, payload: payload}, noFailure
	case opPong:
		return event{kind: evPong, payload: payload}, noFailure
	}
	if len(payload) == 0 {
		return event{kind: evClose}, noFailure
	}
	if len(payload) == 1 {
		return event{}, failure{CloseProtocol, "close code cut short"}
	}
	code := binary.BigEndian.Uint16(payload)
	if !validCloseCode(code) {
		return event{}, failure{CloseProtocol, "invalid close code"}
	}
	if !utf8.Valid(payload[2:]) {
		return event{}, failure{CloseInvalidData, "invalid UTF-8"}
	}
	return event{kind: evClose, code: code, payload: payload[2:]}, noFailure
}

// validCloseCode says whether a code may appear in a close frame: those that RFC 6455 §7.4.1 and the IANA registry
// (1012–1014) define for the wire, and the ranges for libraries and applications.
func validCloseCode(code uint16) bool {
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014, code >= 3000 && code <= 4999:
		return true
	}
	return false
}

// validPrefix returns the length of the longest prefix of b that ends at a rune boundary and whether the rest is
// the beginning of a valid encoding. At most 3 bytes remain, so that checking a growing message stays linear.
func validPrefix(b []byte) (int, bool) {
	n := len(b)
	for i := 1; i <= 3 && i <= len(b); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-i:]) {
				n = len(b) - i
			}
			break
		}
	}
	return n, utf8.Valid(b[:n])
}

func validText(b []byte) bool { return utf8.Valid(b) }
