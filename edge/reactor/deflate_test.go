package reactor_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/flate"

	"github.com/zumodra/hub/edge/reactor"
)

func deflated(t testing.TB, p []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, 6)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(p)
	_ = w.Flush()
	return bytes.TrimSuffix(b.Bytes(), []byte{0, 0, 0xff, 0xff})
}

func inflated(t testing.TB, p []byte) string {
	t.Helper()
	b, err := io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(p), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff"))))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDeflateNegotiation(t *testing.T) {
	const plain = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	s := start(t, reactor.Config{Compress: true}, &hooks{})
	off := start(t, reactor.Config{}, &hooks{})
	for _, tc := range []struct{ offer, want string }{
		{"permessage-deflate", plain},
		{"permessage-deflate; client_max_window_bits", plain},
		{"permessage-deflate; client_max_window_bits=10", plain},
		{"permessage-deflate; server_no_context_takeover; client_no_context_takeover", plain},
		{"permessage-deflate; server_max_window_bits=15", plain + "; server_max_window_bits=15"},
		{"permessage-deflate; server_max_window_bits=10", ""},
		{"permessage-deflate; server_max_window_bits=10, permessage-deflate", plain},
		{"permessage-deflate; server_max_window_bits", ""},
		{"permessage-deflate; server_max_window_bits=7", ""},
		{"permessage-deflate; client_max_window_bits=16", ""},
		{"permessage-deflate; unknown", ""},
		{"permessage-deflate; client_max_window_bits; client_max_window_bits", ""},
		{"permessage-deflate; server_no_context_takeover=1", ""},
		{"x-webkit-deflate-frame", ""},
	} {
		c := dialRaw(t, s.Addr().String())
		if got := c.upgrade("/", "Sec-WebSocket-Extensions: "+tc.offer+"\r\n").Get("Sec-WebSocket-Extensions"); got != tc.want {
			t.Errorf("offer %q answered %q, want %q", tc.offer, got, tc.want)
		}
		c = dialRaw(t, off.Addr().String())
		if got := c.upgrade("/", "Sec-WebSocket-Extensions: "+tc.offer+"\r\n").Get("Sec-WebSocket-Extensions"); got != "" {
			t.Errorf("switched off, answered %q", got)
		}
	}
}

func TestDeflateMessages(t *testing.T) {
	s := start(t, reactor.Config{Compress: true, CompressThreshold: 64, MaxMessage: 100_000}, &hooks{})
	open := func() *client {
		c := dialRaw(t, s.Addr().String())
		c.upgrade("/", "Sec-WebSocket-Extensions: permessage-deflate\r\n")
		return c
	}
	c := open()
	long := strings.Repeat("compressible ", 500)
	// Compressed, in fragments with a ping between, and plain.
	z := deflated(t, []byte(long))
	c.send(0xC1, z)
	if f := c.read(); f.b0 != 0xC1 || inflated(t, f.payload) != long {
		t.Fatalf("echo %#x", f.b0)
	}
	c.send(0x41, z[:5])
	c.send(0x89, []byte("p"))
	c.send(0x80, z[5:])
	if f := c.read(); f.b0 != 0x8A {
		t.Fatalf("frame %#x, want pong", f.b0)
	}
	if f := c.read(); f.b0 != 0xC1 || inflated(t, f.payload) != long {
		t.Fatalf("echo %#x", f.b0)
	}
	c.text("short")
	c.expectText("short")   // below the threshold
	c.send(0xC1, []byte{0}) // RFC 7692 §7.2.3.6
	c.expectText("")
	var b bytes.Buffer // a final block is allowed, RFC 7692 §7.2.3.4
	w, _ := flate.NewWriter(&b, 1)
	_, _ = w.Write([]byte("final"))
	_ = w.Close()
	c.send(0xC1, append(b.Bytes(), 0))
	c.expectText("final")

	for _, tc := range []struct {
		name string
		in   []byte
		code uint16
	}{
		{"bomb", maskedFrame(0xC2, deflated(t, make([]byte, 10<<20))), 1009},
		{"corrupt", maskedFrame(0xC2, []byte("\xff\xff\xff\xff")), 1007},
		{"bad UTF-8 inside", maskedFrame(0xC1, deflated(t, []byte("a\xff"))), 1007},
		{"RSV1 on continuation", append(maskedFrame(0x41, nil), maskedFrame(0xC0, nil)...), 1002},
		{"RSV1 on ping", maskedFrame(0xC9, nil), 1002},
		{"RSV2", maskedFrame(0xA1, nil), 1002},
	} {
		c := open()
		c.write(tc.in)
		f := c.read()
		if f.op() != 8 || f.code() != tc.code {
			t.Errorf("%s: frame %#x code %d, want %d", tc.name, f.b0, f.code(), tc.code)
		}
	}
}

// TestDeflateIsSharedInABroadcast mixes connections with and without, and batches.
func TestDeflateIsSharedInABroadcast(t *testing.T) {
	h := &hooks{}
	s := start(t, reactor.Config{Compress: true, Reactors: 1}, h)
	var cs []*client
	for i := range 6 {
		c := dialRaw(t, s.Addr().String())
		extra := ""
		if i%2 == 0 {
			extra = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
		}
		c.upgrade("/", extra)
		cs = append(cs, c)
	}
	eventually(t, "all open", func() bool { return len(h.handles()) == 6 })
	set := reactor.NewSet(h.handles())
	msgs := []string{strings.Repeat("abc ", 300), "tiny", strings.Repeat("def ", 300)}
	for range 3 {
		for _, m := range msgs {
			s.Broadcast(set, reactor.NewFrame(true, []byte(m)), reactor.Durable, 0)
		}
	}
	for i, c := range cs {
		for k := range 9 {
			f := c.read()
			got := string(f.payload)
			if deflate := f.b0&0x40 != 0; deflate {
				got = inflated(t, f.payload)
			}
			if got != msgs[k%3] || (f.b0 == 0xC1) != (i%2 == 0 && k%3 != 1) {
				t.Fatalf("connection %d, frame %d: %#x %.20q", i, k, f.b0, got)
			}
		}
	}
}
