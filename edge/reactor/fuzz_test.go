package reactor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"
	"unicode/utf8"

	"github.com/klauspost/compress/flate"
)

// refEvent is what the reference parser reports.
type refEvent struct {
	kind     eventKind
	text     bool
	deflated bool
	payload  string
	code     uint16
}

// reference parses a whole stream slowly and simply, by the letter of RFC 6455 §5, and returns the events before the
// end and the code of the failure, if any. A text message is judged when complete or, failing that, by what there is of it.
func reference(in []byte, lim limits) (evs []refEvent, code uint16) {
	var msg []byte
	var op byte
	var comp bool
	frags := 0
	for {
		if len(in) < 2 {
			return evs, 0
		}
		fin, rsv, o, masked, n7 := in[0]&0x80 != 0, in[0]>>4&7, in[0]&15, in[1]&0x80 != 0, int(in[1]&0x7f)
		ctl := o >= 8
		switch {
		case o > 2 && o < 8 || o > 10, !masked, ctl && (!fin || n7 > 125), !ctl && (op != 0) != (o == 0):
			return evs, 1002
		case rsv != 0 && !(rsv == 4 && lim.deflate && (o == 1 || o == 2)):
			return evs, 1002
		}
		in = in[2:]
		n := uint64(n7)
		if n7 == 126 {
			if len(in) < 6 {
				return evs, 0
			}
			n = uint64(binary.BigEndian.Uint16(in))
			if n < 126 {
				return evs, 1002
			}
			in = in[2:]
		} else if n7 == 127 {
			if len(in) < 12 {
				return evs, 0
			}
			n = binary.BigEndian.Uint64(in)
			if n < 65536 || n > 1<<63-1 {
				return evs, 1002
			}
			in = in[8:]
		} else if len(in) < 4 {
			return evs, 0
		}
		limit := uint64(lim.message)
		if rsv == 4 || o == 0 && comp {
			limit += limit/256 + 64
		}
		if n > limit && !ctl {
			return evs, 1009
		}
		mask := in[:4]
		in = in[4:]
		if !ctl {
			if o != 0 {
				op, comp = o, rsv == 4
			}
			frags++
			if frags > lim.fragments {
				return evs, 1008
			}
			if uint64(len(msg))+n > limit {
				return evs, 1009
			}
		}
		whole := uint64(len(in)) >= n
		take := len(in)
		if whole {
			take = int(n)
		}
		p := make([]byte, take)
		for i := range p {
			p[i] = in[i] ^ mask[i%4]
		}
		in = in[take:]
		if ctl {
			if !whole {
				return evs, 0
			}
			switch o {
			case 9:
				evs = append(evs, refEvent{kind: evPing, payload: string(p)})
			case 10:
				evs = append(evs, refEvent{kind: evPong, payload: string(p)})
			case 8:
				e := refEvent{kind: evClose}
				if len(p) == 1 {
					return evs, 1002
				}
				if len(p) > 1 {
					e.code = binary.BigEndian.Uint16(p)
					e.payload = string(p[2:])
					if e.code < 1000 || e.code > 4999 || e.code >= 1004 && e.code <= 1006 || e.code >= 1015 && e.code < 3000 {
						return evs, 1002
					}
					if !utf8.ValidString(e.payload) {
						return evs, 1007
					}
				}
				evs = append(evs, e)
			}
			continue
		}
		msg = append(msg, p...)
		last := whole && fin
		if op == 1 && !comp && !validSoFar(msg, last) {
			return evs, 1007
		}
		if !whole {
			return evs, 0
		}
		if last {
			evs = append(evs, refEvent{kind: evMessage, text: op == 1, deflated: comp, payload: string(msg)})
			msg, op, frags = nil, 0, 0
		}
	}
}

// validSoFar tries every completion of the last bytes.
func validSoFar(b []byte, complete bool) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			return !complete && !utf8.FullRune(b)
		}
		b = b[n:]
	}
	return true
}

// drive feeds a stream to the parser in pieces of the given size.
func drive(in []byte, lim limits, piece int) (evs []refEvent, code uint16) {
	var p parser
	for len(in) > 0 {
		part := bytes.Clone(in[:min(piece, len(in))])
		in = in[len(part):]
		for {
			ev, n, fail := p.next(&lim, part)
			part = part[n:]
			if fail.code != 0 {
				return evs, fail.code
			}
			if ev.kind == evNone {
				if len(part) != 0 {
					panic("bytes left without an event")
				}
				break
			}
			evs = append(evs, refEvent{ev.kind, ev.text, ev.deflated, string(ev.payload), ev.code})
		}
		if p.idle() {
			p.reset(0)
		}
	}
	return evs, 0
}

func FuzzReq123_Parser(f *testing.F) {
	frame := func(b0 byte, p string) []byte {
		b := []byte{b0, 0x80 | byte(len(p)), 1, 2, 3, 4}
		for i := range len(p) {
			b = append(b, p[i]^byte(i%4+1))
		}
		return b
	}
	f.Add(frame(0x81, "hello"), false)
	f.Add(append(append(frame(0x01, "h\xc3"), frame(0x89, "ping")...), frame(0x80, "\xa9")...), false)
	f.Add(append(frame(0x41, "zz"), frame(0x80, "y")...), true)
	f.Add(frame(0x88, "\x03\xe8bye"), false)
	f.Add(frame(0x81, "\xf4\x90aa"), false)
	f.Add([]byte{0x82, 0xfe, 0, 200, 1, 2, 3, 4}, false)
	f.Add([]byte{0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4}, false)
	f.Fuzz(func(t *testing.T, in []byte, deflate bool) {
		if len(in) > 4096 {
			return
		}
		lim := limits{message: 300, fragments: 5, deflate: deflate}
		want, code := reference(in, lim)
		for _, piece := range []int{1, 2, 3, 7, 64, 4096} {
			got, gotCode := drive(in, lim, piece)
			if fmt.Sprint(got) != fmt.Sprint(want) || gotCode != code {
				t.Fatalf("in pieces of %d: %v, %d; want %v, %d", piece, got, gotCode, want, code)
			}
		}
	})
}

// FuzzHead checks that heads are found and judged the same however they arrive, and that what is accepted is sane.
func FuzzHead(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nrest"))
	f.Add([]byte("GET /?q HTTP/1.1\nA: b\n\n"))
	f.Add([]byte("GET http://h/p?q HTTP/1.1\r\nA : b\r\n\r\n"))
	f.Add([]byte("\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		n := headEnd(in, 0)
		for i := range in { // arriving byte by byte, it is found when its last byte comes
			if m := headEnd(in[:i+1], i); m != 0 {
				if m != n || m != i+1 {
					t.Fatalf("head of %d bytes found at %d, whole: %d", m, i+1, n)
				}
				break
			}
		}
		if n == 0 {
			return
		}
		r, ok := parseHead(in[:n])
		if !ok {
			return
		}
		for k, vs := range r.header {
			if !isToken(k) || k == "Host" {
				t.Fatalf("header name %q", k)
			}
			for _, v := range vs {
				if !isFieldValue(v) {
					t.Fatalf("header value %q", v)
				}
			}
		}
		if r.isUpgrade() {
			_ = r.checkUpgrade()
			_, _ = negotiateDeflate(r.header["Sec-Websocket-Extensions"])
		}
		if p := r.public(); bytes.ContainsAny([]byte(p.Path), " \r\n?") {
			t.Fatalf("path %q", p.Path)
		}
	})
}

// FuzzInflate compares with a plain use of the library, and the limit with the length.
func FuzzInflate(f *testing.F) {
	f.Add([]byte{}, 10)
	f.Add([]byte{0x4a, 0x4c, 0x04, 0x00}, 10)
	f.Add([]byte{0x01, 0x01, 0x00, 0xfe, 0xff, 'a', 0x00}, 10)
	f.Add([]byte{0xff, 0xff}, 10)
	f.Fuzz(func(t *testing.T, in []byte, limit int) {
		if limit < 0 || limit > 1<<16 || len(in) > 1<<12 {
			return
		}
		want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(io.MultiReader(bytes.NewReader(in), bytes.NewReader(deflateTail[:]))), int64(limit)+1))
		var got []byte
		used := false
		err := inflate(in, limit, func(p []byte) { got, used = bytes.Clone(p), true })
		if used != (err == nil) {
			t.Fatalf("used %v, error %v", used, err)
		}
		switch {
		case len(want) > limit:
			if !errors.Is(err, errInflateTooBig) {
				t.Fatalf("%d bytes within %d: %v", len(want), limit, err)
			}
		case wantErr != nil:
			// How much comes out before the damage is noticed depends on the size of the reads, so that a message
			// that is both may be called too big as well.
			if !errors.Is(err, errInflate) && !errors.Is(err, errInflateTooBig) {
				t.Fatalf("error %v, want %v", err, wantErr)
			}
		case err != nil || !bytes.Equal(got, want):
			t.Fatalf("%q, %v; want %q", got, err, want)
		}
	})
}
