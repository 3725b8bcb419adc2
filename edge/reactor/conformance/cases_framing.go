package conformance

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
)

// filler is text of n bytes without repetition at power-of-two distances, so that lost or repeated parts show.
func filler(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d;", i*7919)
	}
	return b.Bytes()[:n]
}

// noise is bytes that are not UTF-8 in most lengths.
func noise(n int) []byte {
	p := make([]byte, n)
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	return p
}

func content(op byte, n int) []byte {
	if op == opText {
		return filler(n)
	}
	return noise(n)
}

// framing: group 1.
func (b *book) framing() {
	for g, op := range []byte{opText, opBinary} {
		n := 0
		add := func(size, chop int, how string) {
			n++
			p := content(op, size)
			b.script(fmt.Sprintf("1.%d.%d", g+1, n), "5.2, 5.6", fmt.Sprintf("%s message of %d bytes, %s", opName(op), size, how),
				needs{message: size}, clean,
				send(chop, frame{op: op, payload: p}), wantMessage(op, p))
		}
		for _, size := range []int{0, 125, 126, 127, 128, 65535, 65536} {
			add(size, whole, "in one write")
		}
		add(65536, 997, "in chops of 997 bytes")
		add(1, whole, "in one write")
		for _, size := range []int{0, 1, 125, 126, 300} {
			add(size, octets, "octet by octet")
		}
		add(65536, 4, "in chops of 4 bytes")
	}
	b.script("1.3.1", "5.3", "the example of §5.7, a masked Hello", needs{}, clean,
		sendRaw(whole, []byte{0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58}), wantText("Hello"))
	b.script("1.3.2", "5.3", "a mask key of zero", needs{}, clean,
		send(whole, frame{op: opText, payload: []byte("unchanged"), zeroMask: true}), wantText("unchanged"))
	for i, key := range [][4]byte{{0xFF, 0xFF, 0xFF, 0xFF}, {0, 0, 0, 1}, {0x80, 0, 0, 0}, {1, 2, 3, 4}} {
		var steps []step
		for size := range 70 {
			p := noise(size)
			steps = append(steps, send(octets*(size%2), frame{op: opBinary, payload: p, mask: key}), wantMessage(opBinary, p))
		}
		b.script(fmt.Sprintf("1.3.%d", i+3), "5.3", fmt.Sprintf("mask key %x at lengths 0 to 69", key), needs{}, clean, steps...)
	}
	var frames []frame
	var wants []step
	for i := range 200 {
		p := filler(i)
		frames = append(frames, frame{op: opText, payload: p})
		wants = append(wants, wantMessage(opText, p))
	}
	b.script("1.3.7", "5.2", "200 messages in one write come back in order", needs{}, clean, append([]step{send(whole, frames...)}, wants...)...)
	b.script("1.3.8", "5.2", "200 messages in chops of 11 bytes come back in order", needs{}, clean, append([]step{send(11, frames...)}, wants...)...)
	b.script("1.3.9", "5.2", "the end of one frame and the begin of the next in one write", needs{}, clean,
		func(c *conn) error {
			data := encode(text("first"), text("second"), text("third"))
			c.send(data[:7], 7)
			c.send(data[7:17], 10)
			c.send(data[17:], 0)
			return nil
		}, wantText("first"), wantText("second"), wantText("third"))
}

// encoding: group F.
func (b *book) encoding() {
	n := 0
	add := func(section, title string, end ending, steps ...step) {
		n++
		b.script(fmt.Sprintf("F.1.%d", n), section, title, needs{}, end, steps...)
	}
	for _, f := range []frame{
		text("bare"), {op: opBinary, payload: []byte("bare")}, ping("bare"), pong("bare"),
		closeFrame(1000, ""), {op: opText}, {op: opText, more: true, payload: []byte("bare")},
	} {
		f.unmasked = true
		what := opName(f.op)
		if f.more {
			what += " fragment"
		}
		add("5.1", fmt.Sprintf("an unmasked %s frame of %d bytes", what, len(f.payload)), failed(1002), send(whole, f))
	}
	add("5.1", "a good message, then an unmasked one", failed(1002),
		send(whole, text("good"), frame{op: opText, payload: []byte("bad"), unmasked: true}), wantText("good"))
	add("5.1", "an unmasked continuation", failed(1002),
		send(whole, text("good").notFinal(), frame{op: opCont, payload: []byte("bad"), unmasked: true}))

	n = 0
	long := func(title string, f frame) {
		n++
		b.script(fmt.Sprintf("F.2.%d", n), "5.2", title, needs{}, failed(1002), send(whole, f))
	}
	long("length 0 in 16 bits", frame{op: opText, form: len16})
	long("length 1 in 16 bits", frame{op: opText, form: len16, payload: filler(1)})
	long("length 125 in 16 bits", frame{op: opBinary, form: len16, payload: filler(125)})
	long("length 0 in 64 bits", frame{op: opText, form: len64})
	long("length 125 in 64 bits", frame{op: opBinary, form: len64, payload: filler(125)})
	long("length 126 in 64 bits", frame{op: opBinary, form: len64, payload: filler(126)})
	long("length 65535 in 64 bits", frame{op: opBinary, form: len64, payload: filler(65535)})
	long("ping with its length in 16 bits", frame{op: opPing, form: len16, payload: filler(5)})
	long("64-bit length with the top bit set", frame{op: opBinary, form: len64, announce: true, length: 1<<63 | 5, payload: filler(5)})
	long("64-bit length of all ones", frame{op: opText, form: len64, announce: true, length: 1<<64 - 1})

	b.limits()
}

// limits: F.3, the message limit.
func (b *book) limits() {
	n := 0
	add := func(title string, need needs, end ending, play func(t Target, c *conn) error) {
		n++
		need.messageLimit = true
		b.add(fmt.Sprintf("F.3.%d", n), "7.4.1, 10.4", title, end.text, need, func(s *session) error {
			c, err := s.open("")
			if err != nil {
				return err
			}
			return c.take(end, func(c *conn) error { return play(s.target, c) })
		})
	}
	for _, op := range []byte{opText, opBinary} {
		add(fmt.Sprintf("%s message exactly at the limit", opName(op)), needs{}, clean, func(t Target, c *conn) error {
			p := content(op, t.MaxMessage)
			c.send(encode(frame{op: op, payload: p}), 0)
			return c.expectMessage(op, p)
		})
		add(fmt.Sprintf("%s message one byte over the limit", opName(op)), needs{}, failed(1009), func(t Target, c *conn) error {
			c.send(encode(frame{op: op, payload: content(op, t.MaxMessage+1)}), 0)
			return nil
		})
		add(fmt.Sprintf("only the header of a %s frame one byte over the limit", opName(op)), needs{}, failed(1009), func(t Target, c *conn) error {
			c.send(encode(frame{op: op, announce: true, length: uint64(t.MaxMessage) + 1}), 0)
			return nil
		})
	}
	for _, bits := range []int{32, 40, 62} {
		add(fmt.Sprintf("only the header of a frame of 2^%d bytes", bits), needs{}, failed(1009), func(t Target, c *conn) error {
			c.send(encode(frame{op: opBinary, form: len64, announce: true, length: 1 << bits}), 0)
			return nil
		})
	}
	add("a frame of 2^63-1 bytes, with a few of them", needs{}, failed(1009), func(t Target, c *conn) error {
		c.send(encode(frame{op: opBinary, announce: true, length: 1<<63 - 1, payload: filler(100)}), 0)
		return nil
	})
	add("two fragments together exactly at the limit", needs{fragments: 2}, clean, func(t Target, c *conn) error {
		p := noise(t.MaxMessage)
		c.send(encode(fragment(opBinary, 0, p, (t.MaxMessage+1)/2)...), 0)
		return c.expectMessage(opBinary, p)
	})
	add("two fragments together one byte over the limit", needs{fragments: 2}, failed(1009), func(t Target, c *conn) error {
		c.send(encode(fragment(opBinary, 0, noise(t.MaxMessage+1), t.MaxMessage)...), 0)
		return nil
	})
	add("a second fragment that would exceed the limit, header only", needs{fragments: 2}, failed(1009), func(t Target, c *conn) error {
		c.send(encode(text("a").notFinal(), frame{op: opCont, more: true, announce: true, length: uint64(t.MaxMessage)}), 0)
		return nil
	})
	add("a continuation of 2^63-1 bytes (the sum overflows 63 bits)", needs{fragments: 2}, failed(1009), func(t Target, c *conn) error {
		c.send(encode(text("a").notFinal(), frame{op: opCont, announce: true, length: 1<<63 - 1}), 0)
		return nil
	})
	add("a message at the limit after another", needs{}, clean, func(t Target, c *conn) error {
		p := filler(t.MaxMessage)
		for range 2 {
			c.send(encode(frame{op: opText, payload: p}), 0)
			if err := c.expectMessage(opText, p); err != nil {
				return err
			}
		}
		return nil
	})
}

// pings: group 2.
func (b *book) pings() {
	n := 0
	add := func(section, title string, end ending, steps ...step) {
		n++
		b.script(fmt.Sprintf("2.%d", n), section, title, needs{}, end, steps...)
	}
	bin := "\x00\xff\xfe\xfd\xfc\xfb\x00\xff"
	full := string(noise(125))
	add("5.5.2", "ping without payload", clean, send(whole, ping("")), wantPong(""))
	add("5.5.2", "ping with text", clean, send(whole, ping("Hello, world!")), wantPong("Hello, world!"))
	add("5.5.2", "ping with bytes that are not UTF-8", clean, send(whole, ping(bin)), wantPong(bin))
	add("5.5.2", "ping of 125 bytes", clean, send(whole, ping(full)), wantPong(full))
	add("5.5", "ping of 126 bytes", failed(1002), send(whole, ping(string(noise(126)))))
	add("5.5.2", "ping of 125 bytes octet by octet", clean, send(octets, ping(full)), wantPong(full))
	add("5.5.3", "unsolicited pong without payload", clean, send(whole, pong("")))
	add("5.5.3", "unsolicited pong with payload", clean, send(whole, pong("unsolicited")))
	add("5.5.3", "unsolicited pong, then a ping", clean, send(whole, pong("unsolicited"), ping("asked")), wantPong("asked"))
	var ten []frame
	var answers []step
	for i := range 10 {
		ten = append(ten, ping(fmt.Sprintf("payload-%d", i)))
		answers = append(answers, wantPong(fmt.Sprintf("payload-%d", i)))
	}
	add("5.5.2, 5.5.3", "ten pings in one write (each is answered, in order)", clean, append([]step{send(whole, ten...)}, answers...)...)
	add("5.5.2, 5.5.3", "ten pings octet by octet", clean, append([]step{send(octets, ten...)}, answers...)...)
	add("5.5", "pong of 126 bytes", failed(1002), send(whole, pong(string(noise(126)))))
	add("5.5", "ping of 65536 bytes", failed(1002), send(whole, ping(string(noise(65536)))))
	add("5.5", "only the header of a ping of 126 bytes", failed(1002),
		send(whole, frame{op: opPing, announce: true, length: 126}))
	add("5.5", "a ping of 126 bytes octet by octet", failed(1002), send(octets, ping(string(noise(126)))))
	add("5.5.2", "pings of every length from 0 to 125", clean, func(c *conn) error {
		for i := range 126 {
			c.send(encode(ping(full[:i])), 0)
		}
		for i := range 126 {
			if err := c.expectPong(full[:i]); err != nil {
				return err
			}
		}
		return nil
	})
	add("5.5.2", "pings between messages: order is kept", clean,
		send(whole, text("a"), ping("b"), text("c"), ping("d")),
		wantText("a"), wantPong("b"), wantText("c"), wantPong("d"))
	add("5.5.3", "125 bytes of unsolicited pong octet by octet, then a message", clean,
		send(octets, pong(full), text("still here")), wantText("still here"))
}

var kinds = []frame{
	text("Hello"), {op: opBinary, payload: []byte("Hello")}, ping("Hello"), pong("Hello"), closeFrame(1000, ""),
}

// reservedBits: group 3.
func (b *book) reservedBits() {
	add := func(id, title string, steps ...step) {
		b.script("3."+id, "5.2", title, needs{}, failed(1002), steps...)
	}
	for rsv := byte(1); rsv < 8; rsv++ {
		bits := rsv << 4
		for i, f := range kinds {
			add(fmt.Sprintf("1.%d", int(rsv-1)*6+i+1), fmt.Sprintf("%s frame with reserved bits %d", opName(f.op), rsv), send(whole, f.withRSV(bits)))
		}
		add(fmt.Sprintf("1.%d", int(rsv-1)*6+6), fmt.Sprintf("continuation with reserved bits %d", rsv),
			send(whole, text("Hel").notFinal(), cont("lo").withRSV(bits)))
		for i, ch := range chops {
			add(fmt.Sprintf("2.%d", int(rsv-1)*3+i+1),
				fmt.Sprintf("a message, then one with reserved bits %d, then a ping, %s: only the first is answered", rsv, ch.name),
				send(ch.chop, text("good"), text("bad").withRSV(bits), ping("")), wantText("good"))
		}
	}
}

// reservedOpcodes: group 4.
func (b *book) reservedOpcodes() {
	for g, first := range []byte{3, 11} {
		add := func(n int, title string, steps ...step) {
			b.script(fmt.Sprintf("4.%d.%d", g+1, n), "5.2", title, needs{}, failed(1002), steps...)
		}
		for i := range byte(5) {
			op := first + i
			k := int(i) * 5
			name := fmt.Sprintf("opcode %d", op)
			add(k+1, name+", empty", send(whole, frame{op: op}))
			add(k+2, name+" with a payload", send(whole, frame{op: op, payload: []byte("reserved")}))
			add(k+3, "a message, then "+name+", then a ping", send(whole, text("good"), frame{op: op}, ping("")), wantText("good"))
			add(k+4, "a message, then "+name+" with a payload, then a ping, octet by octet",
				send(octets, text("good"), frame{op: op, payload: []byte("reserved")}, ping("")), wantText("good"))
			add(k+5, name+" between two fragments", send(whole, text("good").notFinal(), frame{op: op}, cont("bad")))
		}
	}
}

// fragmentation: group 5.
func (b *book) fragmentation() {
	n := 0
	// three adds the steps after the frames in three chops.
	three := func(title string, end ending, frames []frame, wants ...step) {
		n++
		for i, ch := range chops {
			b.script(fmt.Sprintf("5.%d.%d", n, i+1), "5.4", title+", "+ch.name, needs{fragments: 5}, end,
				append([]step{send(ch.chop, frames...)}, wants...)...)
		}
	}
	f := func(frames ...frame) []frame { return frames }
	hel := text("fragment1").notFinal()
	bin := frame{op: opBinary, more: true, payload: []byte("frag\xff")}
	mid := cont("middle").notFinal()
	end := cont("fragment2")
	both := wantText("fragment1fragment2")
	all := wantText("fragment1middlefragment2")

	three("a fragmented ping", failed(1002), f(ping("frag").notFinal(), cont("ment")))
	three("a fragmented pong", failed(1002), f(pong("frag").notFinal(), cont("ment")))
	three("a fragmented close", failed(1002), f(closeFrame(1000, "").notFinal(), cont("ment")))
	three("text in two fragments", clean, f(hel, end), both)
	three("binary in two fragments", clean, f(bin, cont("\xfement")), wantMessage(opBinary, []byte("frag\xff\xfement")))
	three("text in two fragments with a ping between", clean, f(hel, ping("p"), end), wantPong("p"), both)
	three("text in three fragments with two pings between", clean, f(hel, ping("p"), mid, ping("q"), end), wantPong("p"), wantPong("q"), all)
	three("an unsolicited pong between fragments", clean, f(hel, pong("p"), end), both)
	three("a final continuation of nothing, then a message", failed(1002), f(cont("nothing"), text("message")))
	three("a continuation of nothing that is not final, then a message", failed(1002), f(cont("nothing").notFinal(), text("message")))
	three("an empty continuation of nothing", failed(1002), f(cont("")))
	three("a message, then a continuation of nothing", failed(1002), f(text("message"), cont("nothing")), wantText("message"))
	three("a fragmented message, then a continuation of nothing that is not final, then a message", failed(1002),
		f(hel, end, cont("nothing").notFinal(), text("message")), both)
	three("a fragmented message, then a final continuation of nothing, then a message", failed(1002),
		f(hel, end, cont("nothing"), text("message")), both)
	three("a continuation of nothing before each of two fragments", failed(1002),
		f(cont("nothing").notFinal(), hel, cont("nothing").notFinal(), end))
	three("a text message inside a fragmented one", failed(1002), f(hel, text("message")))
	three("a binary message inside a fragmented text", failed(1002), f(hel, binaryFrame([]byte("message"))))
	three("a text fragment inside a fragmented binary", failed(1002), f(bin, hel, end))
	three("five fragments, a ping after the second, one after the fourth", clean,
		f(hel, mid, ping("p"), mid, mid, ping("q"), end), wantPong("p"), wantPong("q"),
		wantText("fragment1"+strings.Repeat("middle", 3)+"fragment2"))
	three("only empty fragments", clean, f(text("").notFinal(), cont("").notFinal(), cont("")), wantText(""))
	three("empty fragments around the content", clean, f(text("").notFinal(), cont("content").notFinal(), cont("")), wantText("content"))
	three("empty fragments of a binary message", clean,
		f(frame{op: opBinary, more: true}, cont("\xff").notFinal(), cont("")), wantMessage(opBinary, []byte("\xff")))
	three("two fragmented messages back to back", clean, f(hel, end, bin, cont("\xfe")), both, wantMessage(opBinary, []byte("frag\xff\xfe")))
	three("a close frame inside a fragmented message", closes(1000), f(hel, closeFrame(1000, "")))
	three("a close frame inside a fragmented message, then the rest of it", closes(1000), f(hel, closeFrame(1000, ""), end))

	n = 0
	limit := func(title string, end ending, extra int) {
		n++
		b.add(fmt.Sprintf("5.90.%d", n), "5.4, 10.4", title, end.text, needs{fragLimit: true}, func(s *session) error {
			c, err := s.open("")
			if err != nil {
				return err
			}
			return c.take(end, func(c *conn) error {
				p := filler(s.target.MaxFragments + extra)
				if len(p) > s.target.largest() {
					return fmt.Errorf("the target's MaxFragments exceeds its MaxMessage")
				}
				frames := fragment(opText, 0, p, 1)
				c.send(encode(frames[:len(frames)/2]...), 0)
				c.send(encode(ping("between")), 0)
				c.send(encode(frames[len(frames)/2:]...), 0)
				if err := c.expectPong("between"); err != nil {
					return err
				}
				if extra > 0 {
					return nil
				}
				return c.expectMessage(opText, p)
			})
		})
	}
	limit("as many fragments as the server accepts, with a ping between (which does not count)", clean, 0)
	limit("one fragment more than the server accepts (the code is the hub's)", failed(1008), 1)
}
