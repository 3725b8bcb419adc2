package conformance

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// closing: group 7.
func (b *book) closing() {
	n := 0
	add := func(title string, need needs, end ending, steps ...step) {
		n++
		b.script(fmt.Sprintf("7.1.%d", n), "5.5.1, 7.1", title, need, end, steps...)
	}
	normal := closeFrame(1000, "")
	none := needs{fragments: 2}
	add("a message, then close", none, closes(1000), send(whole, text("Hello"), normal), wantText("Hello"))
	add("two close frames: one is answered", none, closes(1000), send(whole, normal, normal))
	add("a ping after close is not answered", none, closes(1000), send(whole, normal, ping("late")))
	add("a message after close is not echoed", none, closes(1000), send(whole, normal, text("late")))
	add("a fragment, close, the rest: no echo", none, closes(1000), send(whole, text("frag").notFinal(), normal, cont("ment")))
	add("a message of 60000 bytes, a ping, close: all answered", needs{message: 60000}, closes(1000),
		send(whole, frame{op: opText, payload: filler(60000)}, ping("p"), normal),
		wantMessage(opText, filler(60000)), wantPong("p"))
	add("bytes that are no frame after close are ignored", none, closes(1000), send(whole, normal), sendRaw(whole, []byte("\xff\xff\xff\xff\xff\xff")))
	add("a protocol error after close is ignored", none, closes(1000), send(whole, normal, frame{op: 3, payload: []byte("late")}))
	add("close as the first frame, octet by octet", none, closes(1000), send(octets, normal))
	add("ten pings, then close: all answered", none, closes(1000), func(c *conn) error {
		var frames []frame
		for i := range 10 {
			frames = append(frames, ping(fmt.Sprint(i)))
		}
		c.send(encode(append(frames, normal)...), 0)
		for i := range 10 {
			if err := c.expectPong(fmt.Sprint(i)); err != nil {
				return err
			}
		}
		return nil
	})
	for i, late := range []frame{text("late"), ping("late"), binaryFrame(nil), {op: opText, payload: filler(200), more: true}} {
		b.script(fmt.Sprintf("7.2.%d", i+1), "5.5.1, 7.1.7", "a protocol error, then a "+opName(late.op)+" frame: nothing after the close frame", none,
			failed(1002), send(whole, frame{op: 3}, late))
	}

	n = 0
	payload := func(title string, end ending, chop int, p []byte) {
		n++
		b.script(fmt.Sprintf("7.3.%d", n), "5.5.1", title, needs{}, end, send(chop, frame{op: opClose, payload: p}))
	}
	coded := func(reason string) []byte { return append([]byte{0x03, 0xE8}, reason...) }
	payload("close without payload", closes(0, 1000), whole, nil)
	payload("close with one byte", failed(1002), whole, []byte{3})
	payload("close with a code", closes(1000), whole, coded(""))
	payload("close with code and reason", closes(1000), whole, coded("Goodbye"))
	payload("close with a reason of 123 bytes", closes(1000), whole, coded(strings.Repeat("x", 123)))
	payload("close with a reason of 124 bytes", failed(1002), whole, coded(strings.Repeat("x", 124)))
	payload("close with a reason of 123 bytes octet by octet", closes(1000), octets, coded(strings.Repeat("é", 61)+"x"))
	payload("close with one byte octet by octet", failed(1002), octets, []byte{3})

	n = 0
	reason := func(title string, r string) {
		n++
		b.script(fmt.Sprintf("7.5.%d", n), "5.5.1, 8.1", title, needs{}, failed(1007), send(whole, frame{op: opClose, payload: coded(r)}))
	}
	reason("close reason with a surrogate", "κόσμε\xed\xa0\x80edited")
	reason("close reason with a byte that never occurs", "\xff")
	reason("close reason that ends inside a sequence", "caf\xc3")
	reason("overlong close reason", "\xc0\xaf")
	reason("close reason beyond U+10FFFF", "\xf4\x90\x80\x80")
	reason("close reason of 123 bytes, the last one wrong", strings.Repeat("x", 122)+"\x80")

	// RFC 6455 §5.5.1: the answer "typically echos the status code".
	for i, c := range []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999} {
		b.script(fmt.Sprintf("7.7.%d", i+1), "7.4", fmt.Sprintf("close code %d", c), needs{}, closes(c, 1000), send(whole, closeFrame(c, "")))
	}
	for i, c := range []uint16{1012, 1013, 1014} {
		b.script(fmt.Sprintf("7.8.%d", i+1), "7.4.2, 11.7 (IANA registry)", fmt.Sprintf("close code %d, registered after the RFC", c), needs{},
			closes(c, 1000), send(whole, closeFrame(c, "")))
	}
	for i, c := range []uint16{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999} {
		p := binary.BigEndian.AppendUint16(nil, c)
		b.script(fmt.Sprintf("7.9.%d", i*2+1), "7.4", fmt.Sprintf("close code %d, which must not be sent", c), needs{}, failed(1002),
			send(whole, frame{op: opClose, payload: p}))
		b.script(fmt.Sprintf("7.9.%d", i*2+2), "7.4", fmt.Sprintf("close code %d with a reason", c), needs{}, failed(1002),
			send(whole, frame{op: opClose, payload: append(p[:2:2], "reason"...)}))
	}
	for i, c := range []uint16{5000, 65535} {
		b.script(fmt.Sprintf("7.13.%d", i+1), "7.4.2", fmt.Sprintf("close code %d, of which the RFC says nothing: echoed or refused", c), needs{},
			ending{func(cn *conn) error {
				e, err := cn.nextButPing()
				if err != nil {
					return err
				}
				if e.kind != evClose || e.code != 1002 && e.code != 1000 && e.code != 0 {
					return fmt.Errorf("got %v", e)
				}
				return cn.expectEnd()
			}, "closed: 1002, or a normal close, then the end"},
			send(whole, frame{op: opClose, payload: binary.BigEndian.AppendUint16(nil, c)}))
	}
}
