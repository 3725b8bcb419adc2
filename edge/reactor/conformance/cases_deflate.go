package conformance

import (
	"bytes"
	"fmt"
	"math/rand/v2"
)

// samples are kinds of data, by how well they compress.
var samples = []struct {
	name string
	op   byte
}{
	{"JSON", opText}, {"one letter", opText}, {"noise", opBinary}, {"multi-byte text", opText}, {"zeros", opBinary}, {"half noise", opBinary},
}

// sample returns n bytes of a kind; text is cut at a character, so a few bytes may be missing and are filled.
func sample(kind, n int, rng *rand.Rand) []byte {
	var p []byte
	switch kind {
	case 0:
		for len(p) < n {
			p = fmt.Appendf(p, `{"id":"%016x","type":"message","seq":%d,"text":"word%d word%d"},`, rng.Uint64(), rng.IntN(1e6), rng.IntN(99), rng.IntN(9))
		}
		return p[:n]
	case 1:
		return bytes.Repeat([]byte{'a'}, n)
	case 2:
		p = make([]byte, n)
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		return p
	case 3:
		const letters = "aé漢🙂 ßж語🚀"
		runes := []rune(letters)
		for len(p) < n-4 {
			p = append(p, string(runes[rng.IntN(len(runes))])...)
		}
		for len(p) < n {
			p = append(p, '.')
		}
		return p[:n]
	case 4:
		return make([]byte, n)
	default:
		p = make([]byte, n)
		for i := range p {
			if i/512%2 == 0 {
				p[i] = byte(rng.Uint32())
			}
		}
		return p
	}
}

// need of a case about an agreed permessage-deflate.
func deflateNeeds(message, fragments int) needs {
	return needs{deflate: true, message: message, fragments: fragments}
}

// agreed opens a connection on which the offer must be accepted.
func (s *session) agreed(extensions string) (*conn, error) {
	c, err := s.open(extensions)
	if err == nil && !c.ext.on {
		err = fmt.Errorf("the offer %q was declined", extensions)
	}
	return c, err
}

// deflateEcho: group 12.
func (b *book) deflateEcho() {
	for kind, k := range samples {
		for i, n := range []int{16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072} {
			const rounds = 6
			b.add(fmt.Sprintf("12.%d.%d", kind+1, i+1), "7692 §6, 7.2", fmt.Sprintf("%d compressed messages of %s of %s", rounds, size(n), k.name), clean.text,
				deflateNeeds(n, 0), func(s *session) error {
					c, err := s.agreed("permessage-deflate; client_max_window_bits")
					if err != nil {
						return err
					}
					rng := rand.New(rand.NewPCG(uint64(kind), uint64(n)))
					for range rounds {
						p := sample(kind, n, rng)
						c.send(encode(c.compressed(k.op, p)), 0)
						if err := c.expectMessage(k.op, p); err != nil {
							return err
						}
					}
					return c.closeNormally()
				})
		}
		for i, f := range []struct{ total, size int }{{1024, 1}, {8192, 256}, {65536, 1024}, {131072, 4096}} {
			b.add(fmt.Sprintf("12.%d.%d", kind+1, i+11), "7692 §6.1", fmt.Sprintf("compressed %s of %s in fragments of %s", k.name, size(f.total), size(f.size)), clean.text,
				deflateNeeds(f.total, f.total/f.size+16), func(s *session) error {
					c, err := s.agreed("permessage-deflate")
					if err != nil {
						return err
					}
					p := sample(kind, f.total, rand.New(rand.NewPCG(uint64(kind), uint64(f.total))))
					c.send(encode(fragment(k.op, rsv1, c.compress.message(p), f.size)...), 0)
					if err := c.expectMessage(k.op, p); err != nil {
						return err
					}
					return c.closeNormally()
				})
		}
	}
}

// deflateOffers: 13.1, what the server may answer to an offer. judgeAnswer checks the answer; then the
// connection must work as agreed.
func (b *book) deflateOffers() {
	const (
		accept  = iota // must be accepted: nothing in it that a server may lack
		either         // may be declined, or accepted properly
		decline        // not a valid offer
		refuse         // not even a valid header: refused, or ignored
	)
	texts := []string{"accepted and obeyed", "declined, or accepted and obeyed", "declined", "handshake refused (RFC 6455 §9.1)"}
	const d = deflateName
	for i, o := range []struct {
		offer string
		want  int
	}{
		{d, accept},
		{d + "; client_max_window_bits", accept},
		{d + "; client_no_context_takeover", accept},
		{d + "; server_no_context_takeover", accept},
		{d + "; server_no_context_takeover; client_no_context_takeover", accept},
		{d + "; client_no_context_takeover; client_max_window_bits", accept},
		{d + ";client_max_window_bits;server_no_context_takeover", accept},
		{d + " ; client_max_window_bits ; server_no_context_takeover ; client_no_context_takeover", accept},
		{d + "; client_max_window_bits=15", accept},
		{d + "; client_max_window_bits=8", either},
		{d + "; client_max_window_bits=9", either},
		{d + "; client_max_window_bits=10", either},
		{d + `; client_max_window_bits="12"`, either},
		{d + "; server_max_window_bits=15", either},
		{d + `; server_max_window_bits="15"`, either},
		{d + "; server_max_window_bits=14", either},
		{d + "; server_max_window_bits=12", either},
		{d + "; server_max_window_bits=10", either},
		{d + "; server_max_window_bits=9", either},
		{d + "; server_max_window_bits=8", either},
		{d + "; server_max_window_bits=9; client_max_window_bits=9", either},
		{d + "; server_max_window_bits=10; server_no_context_takeover; client_max_window_bits; client_no_context_takeover", either},
		{d + "; server_max_window_bits", decline},
		{d + "; server_max_window_bits=", refuse},
		{d + "; server_max_window_bits=7", decline},
		{d + "; server_max_window_bits=16", decline},
		{d + "; server_max_window_bits=0", decline},
		{d + "; server_max_window_bits=09", decline},
		{d + "; server_max_window_bits=+9", decline},
		{d + "; server_max_window_bits=ten", decline},
		{d + "; server_max_window_bits=4294967305", decline},
		{d + "; client_max_window_bits=7", decline},
		{d + "; client_max_window_bits=16", decline},
		{d + "; client_max_window_bits=015", decline},
		{d + "; client_max_window_bits=99999999999999999999", decline},
		{d + "; server_no_context_takeover=1", decline},
		{d + "; client_no_context_takeover=true", decline},
		{d + "; server_no_context_takeover; server_no_context_takeover", decline},
		{d + "; client_max_window_bits; client_max_window_bits", decline},
		{d + "; client_max_window_bits=10; client_max_window_bits=11", decline},
		{d + "; server_max_window_bits=10; server_max_window_bits=10", decline},
		{d + "; unknown_parameter", decline},
		{d + "; unknown_parameter=5", decline},
		{d + "; client_max_window_bits; x=1", decline},
		{"x-unknown", decline},
		{"x-webkit-deflate-frame", decline},
		{"permessage-bzip2", decline},
		{d + "-x", decline},
		{d + "; server_max_window_bits=7, " + d, accept},
		{d + "; unknown_parameter, " + d + "; client_max_window_bits", accept},
		{d + "; server_max_window_bits=10, " + d, accept},
		{d + "; server_max_window_bits=8; client_max_window_bits=8, " + d + "; server_no_context_takeover, " + d, accept},
		{"x-unknown; a=b, " + d, accept},
		{d + ", " + d, accept},
		{"x-unknown; a=\"b\", permessage-bzip2, " + d + "; client_max_window_bits, x-last", accept},
		{d + "; =5", refuse},
		{d + ";;", refuse},
		{d + "; a b", refuse},
		{"; server_no_context_takeover", refuse},
		{d + `; server_max_window_bits="10`, refuse},
	} {
		b.add(fmt.Sprintf("13.1.%d", i+1), "7692 §5, 7.1", "offer "+o.offer, texts[o.want], deflateNeeds(0, 0), func(s *session) error {
			if o.want == refuse {
				return s.refused(s.target.upgrade("Sec-WebSocket-Extensions: "+o.offer), whole, clientErrors...)
			}
			c, err := s.open(o.offer)
			switch {
			case err != nil:
				return err
			case o.want == accept && !c.ext.on:
				return fmt.Errorf("the offer was declined")
			case o.want == decline && c.ext.on:
				return fmt.Errorf("the offer was accepted")
			}
			return c.obeys()
		})
	}
	for i, lines := range [][]string{
		{"Sec-WebSocket-Extensions: x-unknown", "Sec-WebSocket-Extensions: " + d},
		{"Sec-WebSocket-Extensions: " + d + "; server_max_window_bits=7", "Sec-WebSocket-Extensions: " + d + "; client_max_window_bits"},
		{"sec-websocket-extensions:" + d},
	} {
		b.add(fmt.Sprintf("13.2.%d", i+1), "9.1, 7692 §5", fmt.Sprintf("offers in header lines %q", lines), texts[accept], deflateNeeds(0, 0), func(s *session) error {
			c, _, err := s.openWith(s.target.upgrade(lines...), whole)
			if err != nil {
				return err
			}
			if !c.ext.on {
				return fmt.Errorf("the offer was declined")
			}
			return c.obeys()
		})
	}
	b.add("13.2.4", "9.1", "no offer: no extension in the answer, and the server does not compress", clean.text, needs{}, func(s *session) error {
		c, err := s.open("")
		if err != nil {
			return err
		}
		return c.obeys()
	})
}

// obeys exchanges messages, compressed if that was agreed, then closes. The reader of the connection notices a
// server that does not keep to the windows and the takeover rules.
func (c *conn) obeys() error {
	rng := rand.New(rand.NewPCG(13, 1))
	half := sample(2, 3000, rng)
	long := append(half, half...) // a distance of 3000: beyond a window of 11 bits
	for _, p := range [][]byte{
		sample(0, 900, rng), sample(0, 900, rng), sample(1, 4000, rng), long, long, sample(0, 20000, rng), {}, []byte("x"),
	} {
		for range 2 {
			f := frame{op: opBinary, payload: p}
			if c.ext.on {
				f = c.compressed(opBinary, p)
			}
			c.send(encode(f), 0)
			if err := c.expectMessage(opBinary, p); err != nil {
				return err
			}
		}
	}
	return c.closeNormally()
}
