package conformance

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// The package's inflater is the judge of servers: it must agree with the standard library's compressor.
func TestInflaterAgainstCompressor(t *testing.T) {
	for _, ext := range []extension{
		{clientBits: 15}, {clientBits: 15, clientNoTakeover: true}, {clientBits: 9},
	} {
		rng := rand.New(rand.NewPCG(1, 2))
		c := compressor{ext: ext}
		f := inflater{keep: !ext.clientNoTakeover, window: 1 << ext.clientBits}
		for i := range 200 {
			p := sample(i%len(samples), rng.IntN(70000), rng)
			got, err := f.message(c.message(p))
			if err != nil || !bytes.Equal(got, p) {
				t.Fatalf("%+v, message %d of %d bytes: %v", ext, i, len(p), err)
			}
		}
	}
}

func TestInflaterRefuses(t *testing.T) {
	c := compressor{ext: extension{clientBits: 15}}
	p := bytes.Repeat([]byte("take me over, context; "), 40)
	c.message(p)
	second := c.message(p)
	f := inflater{window: 1 << 15}
	if _, err := f.message(second); err == nil {
		t.Error("a reference into an earlier message was accepted without context takeover")
	}
	rng := rand.New(rand.NewPCG(3, 4))
	far := sample(2, 600, rng)
	c = compressor{ext: extension{clientBits: 15}}
	f = inflater{window: 1 << 9}
	if _, err := f.message(c.message(append(far, far...))); err == nil {
		t.Error("a distance beyond the window was accepted")
	}
	for _, bad := range badDeflate {
		f := inflater{window: 1 << 15}
		if got, err := f.message(bad.data); err == nil {
			t.Errorf("%s: inflated to %d bytes", bad.name, len(got))
		}
	}
}

// The examples of RFC 7692 §7.2.3.
func TestInflaterExamples(t *testing.T) {
	f := inflater{keep: true, window: 1 << 15}
	for _, e := range deflateExamples {
		if got, err := f.message(e.data); err != nil || string(got) != "Hello" {
			t.Errorf("%s: %q, %v", e.name, got, err)
		}
	}
}

func FuzzInflater(f *testing.F) {
	for _, e := range deflateExamples {
		f.Add(e.data)
	}
	for _, e := range badDeflate {
		f.Add(e.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4096 {
			return
		}
		in := inflater{window: 1 << 15}
		_, _ = in.message(data) // must return
	})
}

func TestJudgeAnswer(t *testing.T) {
	for _, c := range []struct {
		offer, answer string
		ok            bool
	}{
		{"permessage-deflate", "", true},
		{"permessage-deflate", "permessage-deflate", true},
		{"permessage-deflate", "permessage-deflate; server_no_context_takeover; client_no_context_takeover", true},
		{"permessage-deflate", "permessage-deflate; server_max_window_bits=10", true},
		{"permessage-deflate", "permessage-deflate; client_max_window_bits=10", false},
		{"permessage-deflate; client_max_window_bits", "permessage-deflate; client_max_window_bits=10", true},
		{"permessage-deflate; client_max_window_bits", "permessage-deflate; client_max_window_bits", false},
		{"permessage-deflate; client_max_window_bits=10", "permessage-deflate; client_max_window_bits=11", false},
		{"permessage-deflate; server_no_context_takeover", "permessage-deflate", false},
		{"permessage-deflate; server_max_window_bits=10", "permessage-deflate", false},
		{"permessage-deflate; server_max_window_bits=10", "permessage-deflate; server_max_window_bits=11", false},
		{"permessage-deflate; server_max_window_bits=10", "permessage-deflate; server_max_window_bits=9", true},
		{"permessage-deflate; server_max_window_bits=10, permessage-deflate", "permessage-deflate", true},
		{"permessage-deflate; server_max_window_bits=7", "permessage-deflate; server_max_window_bits=8", false},
		{"permessage-deflate; what", "permessage-deflate", false},
		{"permessage-deflate", "permessage-deflate, permessage-deflate", false},
		{"permessage-deflate", "permessage-deflate; server_no_context_takeover; server_no_context_takeover", false},
		{"permessage-deflate", "permessage-deflate; server_max_window_bits=08", false},
		{"permessage-deflate", "x-webkit-deflate-frame", false},
		{"", "permessage-deflate", false},
	} {
		if _, err := judgeAnswer(c.offer, c.answer); (err == nil) != c.ok {
			t.Errorf("offer %q, answer %q: %v, want ok %v", c.offer, c.answer, err, c.ok)
		}
	}
}
