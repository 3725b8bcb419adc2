package reactor

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"
	"sync"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws/wsflate"
	"github.com/klauspost/compress/flate"
)

// A deflating context costs 0.8 MB and an inflating one 40 KB, so neither is kept per connection: both directions
// are negotiated without context takeover and the contexts are shared through these pools.
var (
	deflaters = sync.Pool{New: func() any {
		w, err := flate.NewWriter(io.Discard, flate.BestSpeed)
		if err != nil {
			panic(err) // only an unknown level can fail
		}
		return &deflater{w: w}
	}}
	inflaters = sync.Pool{New: func() any {
		in := &inflater{}
		in.r = flate.NewReader(&in.src)
		return in
	}}
)

type deflater struct {
	w   *flate.Writer
	out bytes.Buffer
}

// deflateFrame encodes payload as a compressed frame with first byte b0 (RFC 7692 §7.2.1), or returns nil if that
// would save less than 15 %.
func deflateFrame(b0 byte, payload []byte) []byte {
	d := deflaters.Get().(*deflater)
	defer deflaters.Put(d)
	d.out.Reset()
	d.w.Reset(&d.out)
	if _, err := d.w.Write(payload); err != nil {
		return nil
	}
	if err := d.w.Flush(); err != nil {
		return nil
	}
	p := bytes.TrimSuffix(d.out.Bytes(), deflateTail[:4])
	if len(p)*100 > len(payload)*85 {
		return nil
	}
	w := appendHeader(make([]byte, 0, 10+len(p)), b0|bitRsv1, len(p))
	w = append(w, p...)
	if d.out.Cap() > maxPooled {
		d.out = bytes.Buffer{}
	}
	return w
}

// maxPooled bounds the buffers that pools keep.
const maxPooled = 64 << 10

// deflateTail is the empty stored block that a sender strips (RFC 7692 §7.2.2), and a final one that ends the stream.
var deflateTail = [...]byte{0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff}

var (
	errInflateTooBig = errors.New("reactor: inflated message too big")
	errInflate       = errors.New("reactor: corrupt compressed message")
)

type inflater struct {
	r    io.ReadCloser
	src  tailReader
	dest []byte
}

// tailReader reads a payload and then deflateTail. It implements io.ByteReader so that flate does not buffer.
type tailReader struct {
	p    []byte
	tail int
}

func (t *tailReader) Read(b []byte) (int, error) {
	n := copy(b, t.p)
	t.p = t.p[n:]
	m := copy(b[n:], deflateTail[t.tail:])
	t.tail += m
	if n+m == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return n + m, nil
}

func (t *tailReader) ReadByte() (byte, error) {
	if len(t.p) > 0 {
		b := t.p[0]
		t.p = t.p[1:]
		return b, nil
	}
	if t.tail < len(deflateTail) {
		t.tail++
		return deflateTail[t.tail-1], nil
	}
	return 0, io.EOF
}

// inflate decompresses a message (RFC 7692 §7.2.2) and calls use with at most limit bytes, valid during the call.
// It stops as soon as the output exceeds limit: the work and the memory are bounded whatever the ratio.
func inflate(payload []byte, limit int, use func([]byte)) error {
	in := inflaters.Get().(*inflater)
	defer func() {
		in.src.p = nil
		if cap(in.dest) > maxPooled {
			in.dest = nil
		}
		inflaters.Put(in)
	}()
	in.src = tailReader{p: payload}
	if err := in.r.(flate.Resetter).Reset(&in.src, nil); err != nil {
		return errInflate
	}
	out := in.dest[:0]
	if cap(out) == 0 {
		out = make([]byte, 0, 1024)
	}
	for {
		if len(out) == cap(out) {
			out = append(out, 0)[:len(out)]
		}
		n, err := in.r.Read(out[len(out):min(cap(out), limit+1)])
		out = out[:len(out)+n]
		if len(out) > limit {
			in.dest = out
			return errInflateTooBig
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			in.dest = out
			return errInflate
		}
	}
	in.dest = out
	use(out)
	return nil
}

// negotiateDeflate picks the first offer of permessage-deflate that can be honoured and returns the response
// parameters, or "" (RFC 7692 §7.1). The deflater's window is 32 KiB, so an offer that caps the server's window is
// declined; a client's window of any size can be inflated, so its hint needs no answer. ok is false if the header is
// not what RFC 6455 §9.1 says it is, which fails the handshake.
func negotiateDeflate(headers []string) (response string, ok bool) {
	if len(headers) == 0 {
		return "", true
	}
	joined := strings.Join(headers, ", ")
	opts, ok := httphead.ParseOptions([]byte(joined), nil)
	if !ok || !validExtensions(joined) {
		return "", false
	}
	for _, opt := range opts {
		if string(opt.Name) != wsflate.ExtensionName || oddParams(opt) {
			continue
		}
		var p wsflate.Parameters
		if p.Parse(opt) != nil {
			continue
		}
		if p.ServerMaxWindowBits.Defined() && p.ServerMaxWindowBits != 15 {
			continue
		}
		resp := wsflate.ExtensionName + "; server_no_context_takeover; client_no_context_takeover"
		if p.ServerMaxWindowBits == 15 {
			resp += "; server_max_window_bits=15"
		}
		return resp, true
	}
	return "", true
}

// oddParams catches what wsflate lets pass: a parameter without a value given twice, and a number with a leading zero.
func oddParams(opt httphead.Option) bool {
	seen := map[string]bool{}
	odd := false
	opt.Parameters.ForEach(func(k, v []byte) bool {
		odd = seen[string(k)] || len(v) > 0 && v[0] == '0'
		seen[string(k)] = true
		return !odd
	})
	return odd
}

// extensions is the grammar of Sec-WebSocket-Extensions (RFC 6455 §9.1) with the list rule of RFC 7230 §7. httphead
// reads over some violations of it.
var extensions = func() *regexp.Regexp {
	const (
		ows    = `[ \t]*`
		token  = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
		param  = ows + ";" + ows + token + "(?:" + ows + "=" + ows + "(?:" + token + `|"` + token + `"))?`
		option = token + "(?:" + param + ")*"
	)
	return regexp.MustCompile("^" + ows + "(?:" + option + ")?(?:" + ows + "," + ows + "(?:" + option + ")?)*" + ows + "$")
}()

func validExtensions(s string) bool { return extensions.MatchString(s) }
