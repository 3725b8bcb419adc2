package reactor

import (
	"encoding/binary"
	"sync"
)

// Opcodes of RFC 6455 §5.2.
const (
	opContinuation byte = 0x0
	opText         byte = 0x1
	opBinary       byte = 0x2
	opClose        byte = 0x8
	opPing         byte = 0x9
	opPong         byte = 0xA
)

const (
	bitFin  byte = 0x80
	bitRsv1 byte = 0x40
	bitMask byte = 0x80

	maxControl = 125
)

// Frame is one message encoded for the wire. It is immutable and may be given to any number of connections and
// servers, from any goroutine, at any time; the garbage collector ends its life.
type Frame struct {
	wire []byte
	head uint8

	deflateOnce sync.Once
	deflated    []byte // nil: not worth it
}

// NewFrame encodes one unfragmented text or binary message. It takes ownership of payload: the caller must not
// modify it afterwards. Text must be valid UTF-8; this is not checked.
func NewFrame(text bool, payload []byte) *Frame {
	if text {
		return newFrame(opText, payload)
	}
	return newFrame(opBinary, payload)
}

// FrameRoom is how many bytes NewFrameInPlace needs in front of the payload: the longest header that a server sends.
const FrameRoom = 10

// NewFrameInPlace is NewFrame for a payload that has FrameRoom bytes in front of it, which it overwrites: the frame
// is b itself instead of a copy. All of b's capacity stays in memory with the frame. It panics if b is shorter than
// FrameRoom.
func NewFrameInPlace(text bool, b []byte) *Frame {
	op := opBinary
	if text {
		op = opText
	}
	var header [FrameRoom]byte
	h := appendHeader(header[:0], bitFin|op, len(b)-FrameRoom)
	start := FrameRoom - len(h)
	copy(b[start:FrameRoom], h)
	return &Frame{wire: b[start:], head: uint8(len(h))}
}

func newFrame(op byte, payload []byte) *Frame {
	w := make([]byte, 0, FrameRoom+len(payload))
	w = appendHeader(w, bitFin|op, len(payload))
	head := len(w)
	return &Frame{wire: append(w, payload...), head: uint8(head)}
}

// newCloseFrame encodes a close frame. The reason is cut to what a control frame holds, at a rune boundary.
func newCloseFrame(code uint16, reason string) *Frame {
	if code == 0 {
		return newFrame(opClose, nil)
	}
	reason = cutReason(reason)
	p := make([]byte, 2, 2+len(reason))
	binary.BigEndian.PutUint16(p, code)
	return newFrame(opClose, append(p, reason...))
}

func cutReason(s string) string {
	if len(s) <= maxControl-2 {
		return s
	}
	n := maxControl - 2
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}

// Payload is the message that the frame was made of. It must not be modified.
func (f *Frame) Payload() []byte { return f.wire[f.head:] }

// size is what the frame counts in queues and inboxes.
func (f *Frame) size() int { return len(f.wire) }

// bytes returns the encoded frame, deflated if the connection negotiated it, the payload has at least threshold
// bytes and deflation saves enough. It is deflated at most once; the first caller's threshold counts.
func (f *Frame) bytes(deflate bool, threshold int) []byte {
	if !deflate {
		return f.wire
	}
	f.deflateOnce.Do(func() {
		p := f.Payload()
		if f.wire[0]&0x8 != 0 || len(p) < threshold {
			return
		}
		f.deflated = deflateFrame(f.wire[0], p)
	})
	if f.deflated != nil {
		return f.deflated
	}
	return f.wire
}

// appendHeader appends an unmasked header with the shortest length encoding.
func appendHeader(dst []byte, b0 byte, n int) []byte {
	switch {
	case n <= maxControl:
		return append(dst, b0, byte(n))
	case n <= 0xFFFF:
		return append(dst, b0, 126, byte(n>>8), byte(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, b0, 127), uint64(n))
	}
}
