package main

import (
	"encoding/binary"
	"errors"
)

// WebSocket opcodes (RFC 6455 §5.2) that a client meets.
const (
	opText  = 1
	opClose = 8
	opPing  = 9
	opPong  = 10
)

var errMasked = errors.New("a masked frame from the server")

// clientFrame encodes one masked, unfragmented frame as a client sends it.
func clientFrame(op byte, payload []byte) []byte {
	mask := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b := []byte{0x80 | op}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = append(b, 0x80|126, byte(n>>8), byte(n))
	default:
		b = append(b, 0x80|127)
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	b = append(b, mask[:]...)
	for i, c := range payload {
		b = append(b, c^mask[i&3])
	}
	return b
}

// serverFrame encodes one unmasked, unfragmented text frame.
func serverFrame(payload []byte) []byte {
	b := []byte{0x80 | opText}
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = append(b, 126, byte(n>>8), byte(n))
	default:
		b = append(b, 127)
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return append(b, payload...)
}

// nextFrame cuts the first frame off b. size is 0 when b does not hold all of it yet.
func nextFrame(b []byte) (op byte, payload []byte, size int, err error) {
	if len(b) < 2 {
		return 0, nil, 0, nil
	}
	if b[1]&0x80 != 0 {
		return 0, nil, 0, errMasked
	}
	n, head := int(b[1]&0x7f), 2
	switch n {
	case 126:
		if len(b) < 4 {
			return 0, nil, 0, nil
		}
		n, head = int(binary.BigEndian.Uint16(b[2:])), 4
	case 127:
		if len(b) < 10 {
			return 0, nil, 0, nil
		}
		n, head = int(binary.BigEndian.Uint64(b[2:])&(1<<40-1)), 10
	}
	if len(b) < head+n {
		return 0, nil, 0, nil
	}
	return b[0] & 0x0f, b[head : head+n], head + n, nil
}
