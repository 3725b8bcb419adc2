package conformance

import (
	"encoding/binary"
	"fmt"
)

// Opcodes of RFC 6455 §5.2.
const (
	opCont   = 0x0
	opText   = 0x1
	opBinary = 0x2
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xA
)

// Reserved bits, as they stand in the first byte of a frame.
const (
	rsv1 = 0x40
	rsv2 = 0x20
	rsv3 = 0x10
)

// Forms of the payload length.
const (
	lenMinimal = iota
	len16
	len64
)

// frame is what the client writes; its zero values make a proper masked frame, the other fields break it.
type frame struct {
	op       byte
	rsv      byte
	more     bool // FIN not set
	payload  []byte
	mask     [4]byte // zero: the default key
	zeroMask bool    // the mask key is zero
	unmasked bool    // MASK not set
	form     int     // of the length
	length   uint64  // announced length, if announce
	announce bool
}

// append encodes the frame after dst.
func (f frame) append(dst []byte) []byte {
	b0 := f.op | f.rsv
	if !f.more {
		b0 |= 0x80
	}
	var b1 byte = 0x80
	if f.unmasked {
		b1 = 0
	}
	n := uint64(len(f.payload))
	if f.announce {
		n = f.length
	}
	form := f.form
	if form == lenMinimal {
		switch {
		case n > 0xFFFF:
			form = len64
		case n > 125:
			form = len16
		}
	}
	switch form {
	case len16:
		dst = append(dst, b0, b1|126)
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	case len64:
		dst = append(dst, b0, b1|127)
		dst = binary.BigEndian.AppendUint64(dst, n)
	default:
		dst = append(dst, b0, b1|byte(n))
	}
	if f.unmasked {
		return append(dst, f.payload...)
	}
	key := f.mask
	if key == [4]byte{} && !f.zeroMask {
		key = [4]byte{0x37, 0xfa, 0x21, 0x3d}
	}
	dst = append(dst, key[:]...)
	for i, c := range f.payload {
		dst = append(dst, c^key[i&3])
	}
	return dst
}

func encode(frames ...frame) []byte {
	var dst []byte
	for _, f := range frames {
		dst = f.append(dst)
	}
	return dst
}

func text(s string) frame            { return frame{op: opText, payload: []byte(s)} }
func binaryFrame(p []byte) frame     { return frame{op: opBinary, payload: p} }
func ping(s string) frame            { return frame{op: opPing, payload: []byte(s)} }
func pong(s string) frame            { return frame{op: opPong, payload: []byte(s)} }
func cont(s string) frame            { return frame{op: opCont, payload: []byte(s)} }
func (f frame) withRSV(r byte) frame { f.rsv = r; return f }
func (f frame) notFinal() frame      { f.more = true; return f }

// closeFrame has no payload for code 0.
func closeFrame(code uint16, reason string) frame {
	f := frame{op: opClose}
	if code != 0 {
		f.payload = append(binary.BigEndian.AppendUint16(nil, code), reason...)
	}
	return f
}

// fragment cuts a message into frames of at most size bytes. The reserved bits go onto the first frame.
func fragment(op, rsv byte, payload []byte, size int) []frame {
	var out []frame
	for {
		n := min(size, len(payload))
		out = append(out, frame{op: op, rsv: rsv, more: true, payload: payload[:n]})
		payload = payload[n:]
		op, rsv = opCont, 0
		if len(payload) == 0 {
			out[len(out)-1].more = false
			return out
		}
	}
}

func opName(op byte) string {
	switch op {
	case opCont:
		return "continuation"
	case opText:
		return "text"
	case opBinary:
		return "binary"
	case opClose:
		return "close"
	case opPing:
		return "ping"
	case opPong:
		return "pong"
	}
	return fmt.Sprintf("opcode %d", op)
}

// legalCloseCode says whether a server may send the code: RFC 6455 §7.4 and the IANA registry (1012–1014).
func legalCloseCode(c uint16) bool {
	switch {
	case c == 1004, c == 1005, c == 1006, c == 1015:
		return false
	case c >= 1000 && c <= 1014, c >= 3000 && c <= 4999:
		return true
	}
	return false
}
