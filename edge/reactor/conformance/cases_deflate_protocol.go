package conformance

import (
	"bytes"
	"compress/flate"
	"fmt"
)

// deflateExamples are those of RFC 7692 §7.2.3 for "Hello", in an order in which the shared window is right.
var deflateExamples = []struct {
	name string
	data []byte
}{
	{"one fixed block", []byte{0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00}},
	{"a stored block", []byte{0x00, 0x05, 0x00, 0xfa, 0xff, 'H', 'e', 'l', 'l', 'o', 0x00}},
	{"a final block, then an empty one", []byte{0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00}},
	{"two blocks with a flush between", []byte{0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00}},
}

// badDeflate are payloads that do not inflate.
var badDeflate = []struct {
	name string
	data []byte
}{
	{"a reserved block type", []byte{0x06, 0x00, 0x00}},
	{"a stored block whose length does not match its complement", []byte{0x00, 0x05, 0x00, 0x05, 0x00, 'H', 'e', 'l', 'l', 'o', 0x00}},
	{"a reference before the begin", []byte{0x02, 0x13, 0x00, 0x00}},
	{"a dynamic block of nonsense", []byte{0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
	{"a stored block that is cut off", []byte{0x00, 0x64, 0x00, 0x9b, 0xff, 'c', 'u', 't'}},
	{"plain text with the bit set", []byte("this is not deflated at all")},
	{"a dynamic block that is cut off", []byte{0x04, 0xc0, 0x81}},
}

// stored makes deflate data of stored blocks of at most n bytes, ending as a sync flush without its last four.
func stored(p []byte, n int) []byte {
	var out []byte
	for len(p) > 0 {
		k := min(n, len(p))
		out = append(out, 0, byte(k), byte(k>>8), ^byte(k), ^byte(k>>8))
		out = append(out, p[:k]...)
		p = p[k:]
	}
	return append(out, 0)
}

// flushed compresses with a sync flush after every n bytes.
func flushed(p []byte, n, level int) []byte {
	var buf bytes.Buffer
	w, _ := flate.NewWriter(&buf, level) // the level is valid
	for len(p) > 0 {
		k := min(n, len(p))
		_, _ = w.Write(p[:k])
		_ = w.Flush()
		p = p[k:]
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte{0, 0, 0xFF, 0xFF})
}

// deflateProtocol: 13.3 to 13.7, on a connection with permessage-deflate.
func (b *book) deflateProtocol() {
	n, group := 0, 0
	add := func(section, title string, need needs, end ending, steps ...step) {
		n++
		need.deflate = true
		b.add(fmt.Sprintf("13.%d.%d", group, n), section, title, end.text, need, func(s *session) error {
			c, err := s.agreed("permessage-deflate; client_max_window_bits")
			if err != nil {
				return err
			}
			return c.take(end, steps...)
		})
	}
	none := needs{fragments: 60}
	hello := deflateExamples[0].data
	compressed := func(p []byte) frame { return frame{op: opText, rsv: rsv1, payload: p} }

	group, n = 3, 0 // the bit
	for _, f := range []frame{ping("p"), pong("p"), closeFrame(1000, "")} {
		add("7692 §6, 8.2", opName(f.op)+" with RSV1", none, failed(1002), send(whole, f.withRSV(rsv1)))
	}
	add("7692 §6.1", "RSV1 on the continuation of a compressed message", none, failed(1002),
		send(whole, compressed(hello[:3]).notFinal(), cont(string(hello[3:])).withRSV(rsv1)))
	add("7692 §6.1", "RSV1 on the continuation of a plain message", none, failed(1002),
		send(whole, text("Hel").notFinal(), cont("lo").withRSV(rsv1)))
	add("7692 §6.1", "RSV1 on a ping inside a compressed message", none, failed(1002),
		send(whole, compressed(hello[:3]).notFinal(), ping("p").withRSV(rsv1), cont(string(hello[3:]))))
	for _, rsv := range []byte{rsv2, rsv3, rsv1 | rsv2, rsv1 | rsv3, rsv2 | rsv3, rsv1 | rsv2 | rsv3} {
		add("5.2", fmt.Sprintf("text with reserved bits %d", rsv>>4), none, failed(1002), send(whole, frame{op: opText, rsv: rsv, payload: hello}))
	}
	for _, op := range []byte{3, 7, 11, 15} {
		add("5.2", fmt.Sprintf("opcode %d with RSV1", op), none, failed(1002), send(whole, frame{op: op, rsv: rsv1, payload: hello}))
	}
	b.add("13.3.20", "5.2", "RSV1 after the offer was declined", failed(1002).text, needs{}, func(s *session) error {
		c, err := s.open("permessage-deflate; no_such_parameter")
		if err != nil {
			return err
		}
		return c.take(failed(1002), send(whole, compressed(hello)))
	})

	group, n = 4, 0 // legal streams
	for _, e := range deflateExamples {
		add("7692 §7.2.3", "Hello as "+e.name, none, clean, send(whole, compressed(e.data)), wantText("Hello"))
		add("7692 §7.2.3", "Hello as "+e.name+", a fragment per byte, octet by octet", none, clean,
			send(octets, fragment(opText, rsv1, e.data, 1)...), wantText("Hello"))
	}
	add("7692 §7.2.3.6", "an empty message", none, clean, send(whole, compressed([]byte{0})), wantText(""))
	add("7692 §7.2.3.6", "an empty binary message in two fragments", none, clean,
		send(whole, frame{op: opBinary, rsv: rsv1, more: true}, cont("\x00")), wantMessage(opBinary, nil))
	add("7692 §6.1", "plain and compressed messages in turns", none, clean,
		send(whole, text("plain"), compressed(hello), text("plain"), compressed(hello)),
		wantText("plain"), wantText("Hello"), wantText("plain"), wantText("Hello"))
	add("7692 §6.1", "a fragmented plain message, then a compressed one", none, clean,
		send(whole, text("pla").notFinal(), cont("in"), compressed(hello)), wantText("plain"), wantText("Hello"))
	add("7692 §6.1", "a fragmented compressed message, then a plain fragmented one", none, clean,
		send(whole, compressed(hello[:3]).notFinal(), cont(string(hello[3:])), text("pla").notFinal(), cont("in")),
		wantText("Hello"), wantText("plain"))
	add("7692 §6.1", "pings inside a compressed message", none, clean,
		send(whole, compressed(hello[:2]).notFinal(), ping("1"), cont(string(hello[2:4])).notFinal(), ping("2"), cont(string(hello[4:]))),
		wantPong("1"), wantPong("2"), wantText("Hello"))
	add("7692 §6.1", "empty fragments in a compressed message", none, clean,
		send(whole, compressed(nil).notFinal(), cont(string(hello)).notFinal(), cont("")), wantText("Hello"))
	p := filler(20000)
	for _, size := range []int{1, 100, 4096, 20000} {
		q := p
		if size == 1 {
			q = p[:2000]
		}
		add("7692 §7.2.1", fmt.Sprintf("stored blocks of %d bytes", size), needs{message: 20000}, clean,
			send(whole, frame{op: opBinary, rsv: rsv1, payload: stored(q, size)}), wantMessage(opBinary, q))
	}
	for _, level := range []int{flate.BestSpeed, flate.BestCompression, flate.HuffmanOnly, flate.NoCompression} {
		for _, size := range []int{7, 512, 20000} {
			add("7692 §7.2.1", fmt.Sprintf("a sync flush every %d bytes, level %d", size, level), needs{message: 20000}, clean,
				send(whole, frame{op: opBinary, rsv: rsv1, payload: flushed(p, size, level)}), wantMessage(opBinary, p))
		}
	}
	add("7692 §7.2.1", "many empty blocks before the data", none, clean,
		send(whole, compressed(append(bytes.Repeat([]byte{0, 0, 0, 0xff, 0xff}, 50), hello...))), wantText("Hello"))

	group, n = 5, 0 // data that does not inflate; the code is the hub's choice (RFC 7692 names none)
	for _, bad := range badDeflate {
		add("7692 §7.2.2", bad.name, none, failed(1007), send(whole, frame{op: opBinary, rsv: rsv1, payload: bad.data}))
		add("7692 §7.2.2", bad.name+", after a good message, in fragments", none, failed(1007),
			send(whole, compressed(hello)), send(whole, fragment(opBinary, rsv1, bad.data, 2)...), wantText("Hello"))
	}
	add("7692 §7.2.2", "a bad message in a connection that sent good ones leaves other connections alone", none, failed(1007),
		send(whole, compressed(hello), frame{op: opBinary, rsv: rsv1, payload: badDeflate[0].data}), wantText("Hello"))

	group, n = 6, 0 // UTF-8 is that of the inflated text
	utf := func(title, s string, end ending, wants ...step) {
		c := compressor{ext: extension{clientBits: 15}}
		z := c.message([]byte(s))
		add("8.1, 7692 §6.2", title, none, end, append([]step{send(whole, compressed(z))}, wants...)...)
		add("8.1, 7692 §6.2", title+", a fragment per byte", none, end, append([]step{send(whole, fragment(opText, rsv1, z, 1)...)}, wants...)...)
	}
	utf("valid UTF-8", "κόσμε 🙂", clean, wantText("κόσμε 🙂"))
	utf("invalid UTF-8", "abc\xffdef", failed(1007))
	utf("a surrogate", "abc\xed\xa0\x80", failed(1007))
	utf("an unfinished sequence at the end", "abc\xf0\x9f", failed(1007))

	b.deflateTakeover()
	b.deflateLimits()
}

// deflateTakeover: 13.7, contexts between messages.
func (b *book) deflateTakeover() {
	add := func(n int, title, expect string, run func(s *session) error) {
		b.add(fmt.Sprintf("13.7.%d", n), "7692 §7.1.1, 7.2.3.2", title, expect, deflateNeeds(4096, 0), run)
	}
	p := filler(600)
	second := func() (first, again []byte) {
		c := compressor{ext: extension{clientBits: 15}}
		return c.message(p), c.message(p)
	}
	add(1, "a message that refers to the one before", "echoed if the client may keep its context, else 1007", func(s *session) error {
		c, err := s.agreed("permessage-deflate")
		if err != nil {
			return err
		}
		first, again := second()
		c.send(encode(frame{op: opBinary, rsv: rsv1, payload: first}, frame{op: opBinary, rsv: rsv1, payload: again}), 0)
		if err := c.expectMessage(opBinary, p); err != nil {
			return err
		}
		if c.ext.clientNoTakeover {
			return c.expectClose(false, 1007)
		}
		if err := c.expectMessage(opBinary, p); err != nil {
			return err
		}
		return c.closeNormally()
	})
	for i, o := range []string{"server_no_context_takeover", "client_no_context_takeover", "server_no_context_takeover; client_no_context_takeover"} {
		add(i+2, "the same message twenty times after "+o, "echoed; each is compressed on its own where that was agreed", func(s *session) error {
			c, err := s.agreed("permessage-deflate; " + o)
			if err != nil {
				return err
			}
			for range 20 {
				c.send(encode(c.compressed(opBinary, p)), 0)
				if err := c.expectMessage(opBinary, p); err != nil {
					return err
				}
			}
			return c.closeNormally()
		})
	}
	add(5, "compressed messages of two connections in turns do not mix", clean.text, func(s *session) error {
		var conns []*conn
		for range 2 {
			c, err := s.agreed("permessage-deflate")
			if err != nil {
				return err
			}
			conns = append(conns, c)
		}
		for i := range 20 {
			c := conns[i%2]
			q := noise(500 + i)
			z := c.compressed(opBinary, q)
			data := encode(z)
			c.send(data[:len(data)/2], 0)
			other := conns[1-i%2]
			other.send(encode(other.compressed(opBinary, p)), 0)
			if err := other.expectMessage(opBinary, p); err != nil {
				return err
			}
			c.send(data[len(data)/2:], 0)
			if err := c.expectMessage(opBinary, q); err != nil {
				return err
			}
		}
		for _, c := range conns {
			if err := c.closeNormally(); err != nil {
				return err
			}
		}
		return nil
	})
}

// deflateLimits: 13.8, the message limit applies to the inflated size.
func (b *book) deflateLimits() {
	add := func(n int, title string, fragments int, end ending, run func(t Target, c *conn) error) {
		need := deflateNeeds(0, fragments)
		need.messageLimit = true
		b.add(fmt.Sprintf("13.8.%d", n), "10.4, 7.4.1", title, end.text, need, func(s *session) error {
			c, err := s.agreed("permessage-deflate")
			if err != nil {
				return err
			}
			return c.take(end, func(c *conn) error { return run(s.target, c) })
		})
	}
	zeros := func(c *conn, n int) []byte { return c.compress.message(make([]byte, n)) }
	add(1, "inflates to exactly the limit", 0, clean, func(t Target, c *conn) error {
		c.send(encode(frame{op: opBinary, rsv: rsv1, payload: zeros(c, t.MaxMessage)}), 0)
		return c.expectMessage(opBinary, make([]byte, t.MaxMessage))
	})
	add(2, "inflates to one byte over the limit", 0, failed(1009), func(t Target, c *conn) error {
		c.send(encode(frame{op: opBinary, rsv: rsv1, payload: zeros(c, t.MaxMessage+1)}), 0)
		return nil
	})
	add(3, "a bomb: at most the limit on the wire, up to 500 times the limit inflated", 0, failed(1009), func(t Target, c *conn) error {
		p := zeros(c, min(t.MaxMessage*500, max(t.MaxMessage*2, 32<<20)))
		c.send(encode(frame{op: opBinary, rsv: rsv1, payload: p[:min(len(p), t.MaxMessage)]}), 0)
		return nil
	})
	add(4, "a bomb in two fragments", 2, failed(1009), func(t Target, c *conn) error {
		p := zeros(c, t.MaxMessage*2)
		c.send(encode(fragment(opBinary, rsv1, p, (len(p)+1)/2)...), 0)
		return nil
	})
	add(5, "a bomb of text", 0, failed(1009), func(t Target, c *conn) error {
		c.send(encode(frame{op: opText, rsv: rsv1, payload: c.compress.message(bytes.Repeat([]byte("a"), t.MaxMessage*2))}), 0)
		return nil
	})
	add(6, "only the header of a compressed frame far over the limit", 0, failed(1009), func(t Target, c *conn) error {
		c.send(encode(frame{op: opBinary, rsv: rsv1, announce: true, length: uint64(t.MaxMessage)*2 + 1024}), 0)
		return nil
	})
	add(7, "plain data over the limit on a connection with compression", 0, failed(1009), func(t Target, c *conn) error {
		c.send(encode(frame{op: opBinary, payload: make([]byte, t.MaxMessage+1)}), 0)
		return nil
	})
	add(8, "data that does not compress, inflated exactly at the limit: more than that on the wire", 0, clean, func(t Target, c *conn) error {
		p := noise(t.MaxMessage)
		c.send(encode(frame{op: opBinary, rsv: rsv1, payload: c.compress.message(p)}), 0)
		return c.expectMessage(opBinary, p)
	})
}
