package main

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

func TestFramesSplitAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var wire []byte
		var want [][]byte
		for range rapid.IntRange(1, 5).Draw(t, "frames") {
			n := rapid.SampledFrom([]int{0, 1, 125, 126, 127, 65535, 65536}).Draw(t, "size")
			p := bytes.Repeat([]byte{byte(n)}, n)
			want = append(want, p)
			wire = append(wire, serverFrame(p)...)
		}
		cut := rapid.IntRange(0, len(wire)).Draw(t, "cut")
		var got [][]byte
		var held []byte
		for _, part := range [][]byte{wire[:cut], wire[cut:]} {
			held = append(held, part...)
			for {
				op, p, size, err := nextFrame(held)
				if err != nil {
					t.Fatal(err)
				}
				if size == 0 {
					break
				}
				if op != opText {
					t.Fatalf("opcode %d", op)
				}
				got = append(got, bytes.Clone(p))
				held = held[size:]
			}
		}
		if len(held) != 0 || len(got) != len(want) {
			t.Fatalf("%d frames and %d bytes left over, want %d", len(got), len(held), len(want))
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("frame %d differs", i)
			}
		}
	})
}

func TestClientFrameIsMasked(t *testing.T) {
	for _, n := range []int{0, 5, 125, 126, 65535, 65536} {
		p := bytes.Repeat([]byte("x"), n)
		f := clientFrame(opText, p)
		if f[1]&0x80 == 0 {
			t.Fatal("not masked")
		}
		if _, _, _, err := nextFrame(f); err == nil {
			t.Fatal("the reader must refuse a masked frame from a server")
		}
		// Taking the mask off gives what a server would send.
		mask := f[len(f)-n-4 : len(f)-n]
		back := make([]byte, n)
		for i := range back {
			back[i] = f[len(f)-n+i] ^ mask[i&3]
		}
		if !bytes.Equal(back, p) {
			t.Errorf("payload of %d bytes does not unmask", n)
		}
	}
}
