package vclient

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// A frame that is cut off anywhere is not whole; a header is what it says, or an error.
func FuzzHeader(f *testing.F) {
	for _, s := range []string{"", "\x81\x05hello", "\x82\x7e\x01\x00", "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", "\x89\x00", "\xc1\x00", "\x81\x85abcdhello"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHeader(b, 1<<20)
		if err != nil || h.head == 0 {
			return
		}
		if h.head > len(b) || h.size < 0 || h.size > 1<<20 {
			t.Fatalf("%+v of %x", h, b)
		}
		for cut := range h.head {
			if x, err := parseHeader(b[:cut], 1<<20); x.head != 0 && err == nil {
				t.Fatalf("%d bytes of %x are a header: %+v", cut, b, x)
			}
		}
	})
}

// What is sent can be unmasked again.
func FuzzAppendFrame(f *testing.F) {
	f.Add([]byte("hello"), uint32(0x12345678))
	f.Fuzz(func(t *testing.T, p []byte, mask uint32) {
		b := appendFrame(nil, opText, mask, p)
		head := 2
		switch b[1] & 0x7f {
		case 126:
			head = 4
		case 127:
			head = 10
		}
		if b[0] != 0x81 || b[1]&0x80 == 0 || binary.LittleEndian.Uint32(b[head:]) != mask {
			t.Fatalf("% x", b)
		}
		got := b[head+4:]
		for i := range got {
			got[i] ^= b[head+i%4]
		}
		if !bytes.Equal(got, p) {
			t.Fatalf("%q, want %q", got, p)
		}
	})
}
