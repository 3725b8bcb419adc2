package vclient

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Opcodes (RFC 6455 §5.2).
const (
	opContinuation = 0
	opText         = 1
	opBinary       = 2
	opClose        = 8
	opPing         = 9
	opPong         = 10
)

// header is what a frame begins with.
type header struct {
	op   byte
	fin  bool
	head int // its own length; 0: it is not whole yet
	size int // of the payload
}

// parseHeader reads the beginning of a server's frame.
func parseHeader(b []byte, limit int) (header, error) {
	if len(b) < 2 {
		return header{}, nil
	}
	h := header{op: b[0] & 0x0f, fin: b[0]&0x80 != 0}
	n, head := uint64(b[1]&0x7f), 2
	switch {
	case b[0]&0x70 != 0:
		return h, fmt.Errorf("%w: reserved bits are set", ErrProtocol)
	case b[1]&0x80 != 0:
		return h, fmt.Errorf("%w: a masked frame from a server", ErrProtocol)
	case h.op > opBinary && h.op < opClose || h.op > opPong:
		return h, fmt.Errorf("%w: opcode %d", ErrProtocol, h.op)
	case h.op >= opClose && (!h.fin || n > 125):
		return h, fmt.Errorf("%w: a control frame that is long, or a fragment", ErrProtocol)
	case n == 126:
		if len(b) < 4 {
			return header{}, nil
		}
		n, head = uint64(binary.BigEndian.Uint16(b[2:])), 4
	case n == 127:
		if len(b) < 10 {
			return header{}, nil
		}
		n, head = binary.BigEndian.Uint64(b[2:]), 10
	}
	if n > uint64(limit) {
		return h, fmt.Errorf("%w: a frame of %d bytes, at most %d are taken", ErrProtocol, n, limit)
	}
	h.head, h.size = head, int(n)
	return h, nil
}

// Cut cuts the first frame of a server off b, as Config.Split wants it, for servers that speak frames without an upgrade.
func Cut(b []byte) (payload []byte, size int, err error) {
	h, err := parseHeader(b, maxMessage)
	if size = h.head + h.size; err != nil || h.head == 0 || len(b) < size {
		return nil, 0, err
	}
	return b[h.head:size], size, nil
}

// AppendText appends a text message as a client sends it, for WriteFrames. The mask stands before the payload, its lowest byte first.
func AppendText(dst []byte, mask uint32, payload []byte) []byte {
	return appendFrame(dst, opText, mask, payload)
}

// appendFrame appends a masked, unfragmented frame.
func appendFrame(dst []byte, op byte, mask uint32, payload []byte) []byte {
	dst = append(dst, 0x80|op)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, 0x80|byte(n))
	case n < 1<<16:
		dst = append(dst, 0x80|126, byte(n>>8), byte(n))
	default:
		dst = append(dst, 0x80|127)
		dst = binary.BigEndian.AppendUint64(dst, uint64(n))
	}
	dst = binary.LittleEndian.AppendUint32(dst, mask)
	at := len(dst)
	dst = append(dst, payload...)
	xor(dst[at:], mask)
	return dst
}

func xor(b []byte, mask uint32) {
	wide := uint64(mask)<<32 | uint64(mask)
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^wide)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(mask)
		mask = bits.RotateLeft32(mask, -8)
	}
}
