package conformance

import (
	"fmt"
	"unicode/utf8"
)

// sequences are byte sequences at the borders of UTF-8 (RFC 3629), by what they show. Whether one is valid is
// written down here; a test compares it with unicode/utf8.
var sequences = []struct {
	name  string
	valid bool
	list  []string
}{
	{"valid text", true, []string{
		"Hello-µ@ßöäüàá-UTF-8!!", "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5", "日本語テキスト", "🙂🚀👩‍👩‍👧", "مرحبا", "\ufeffBOM first", "e\u0301",
	}},
	{"first sequence of a length", true, []string{"\x00", "\xc2\x80", "\xe0\xa0\x80", "\xf0\x90\x80\x80"}},
	{"last sequence of a length", true, []string{"\x7f", "\xdf\xbf", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf"}},
	{"five and six byte forms", false, []string{
		"\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80", "\xfb\xbf\xbf\xbf\xbf", "\xfd\xbf\xbf\xbf\xbf\xbf", "\xf7\xbf\xbf\xbf",
	}},
	{"around the surrogates and the end", true, []string{"\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbd", "\xf4\x8f\xbf\xbf"}},
	{"beyond U+10FFFF", false, []string{"\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf4\xbf\xbf\xbf"}},
	{"continuation bytes alone", false, []string{
		"\x80", "\xbf", "\x80\xbf", "\x80\xbf\x80", "\x80\xbf\x80\xbf", "\x80\xbf\x80\xbf\x80", "\x80\xbf\x80\xbf\x80\xbf",
		"\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\xa0\xb0\xbf",
	}},
	{"start bytes alone", false, []string{
		"\xc2 \xc3 \xdf ", "\xe0 \xe1 \xef ", "\xf0 \xf1 \xf4 ", "\xf8 \xfb ", "\xfc \xfd ",
	}},
	{"sequences without their last byte", false, []string{
		"\xc0", "\xe0\x80", "\xf0\x80\x80", "\xf8\x80\x80\x80", "\xfc\x80\x80\x80\x80",
		"\xdf", "\xef\xbf", "\xf4\x8f\xbf", "\xfb\xbf\xbf\xbf", "\xfd\xbf\xbf\xbf\xbf", "\xe1\x80", "\xf1\x80\x80", "\xf1\x80", "\xf1",
	}},
	{"sequences without their last byte, concatenated", false, []string{
		"\xc0\xe0\x80\xf0\x80\x80\xf8\x80\x80\x80\xfc\x80\x80\x80\x80\xdf\xef\xbf\xf7\xbf\xbf\xfb\xbf\xbf\xbf\xfd\xbf\xbf\xbf\xbf",
		"\xdf\xef\xbf\xf4\x8f\xbf",
	}},
	{"bytes that never occur", false, []string{"\xfe", "\xff", "\xfe\xfe\xff\xff"}},
	{"overlong slash", false, []string{
		"\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xf8\x80\x80\x80\xaf", "\xfc\x80\x80\x80\x80\xaf",
	}},
	{"longest overlong forms", false, []string{
		"\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xf8\x87\xbf\xbf\xbf", "\xfc\x83\xbf\xbf\xbf\xbf",
	}},
	{"overlong NUL", false, []string{
		"\xc0\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80", "\xf8\x80\x80\x80\x80", "\xfc\x80\x80\x80\x80\x80",
	}},
	{"single surrogates", false, []string{
		"\xed\xa0\x80", "\xed\xad\xbf", "\xed\xae\x80", "\xed\xaf\xbf", "\xed\xb0\x80", "\xed\xbe\x80", "\xed\xbf\xbf",
	}},
	{"surrogate pairs", false, []string{
		"\xed\xa0\x80\xed\xb0\x80", "\xed\xa0\x80\xed\xbf\xbf", "\xed\xad\xbf\xed\xb0\x80", "\xed\xad\xbf\xed\xbf\xbf",
		"\xed\xae\x80\xed\xb0\x80", "\xed\xae\x80\xed\xbf\xbf", "\xed\xaf\xbf\xed\xb0\x80", "\xed\xaf\xbf\xed\xbf\xbf",
	}},
	{"noncharacters (they are valid)", true, []string{
		"\xef\xbf\xbe", "\xef\xbf\xbf", "\xf0\x9f\xbf\xbe", "\xf0\x9f\xbf\xbf", "\xf0\xaf\xbf\xbe", "\xf1\x8f\xbf\xbf",
		"\xf3\xbf\xbf\xbe", "\xf4\x8f\xbf\xbe", "\xef\xb7\x90",
	}},
	{"specials and the replacement character (they are valid)", true, []string{"\xef\xbf\xb9", "\xef\xbf\xba", "\xef\xbf\xbb", "\xef\xbf\xbc", "\xef\xbf\xbd"}},
}

// utf8: group 6.
func (b *book) utf8() {
	for g, set := range sequences {
		n := 0
		for _, s := range set.list {
			title := fmt.Sprintf("%s: % x", set.name, s)
			add := func(how string, end ending, steps ...step) {
				n++
				b.script(fmt.Sprintf("6.%d.%d", g+1, n), "8.1", title+", "+how, needs{fragments: max(2, len(s)+2)}, end, steps...)
			}
			if set.valid {
				around := "a" + s + "z"
				add("in one frame", clean, send(whole, text(s)), wantText(s))
				add("between letters, a fragment per byte", clean,
					send(whole, fragment(opText, 0, []byte(around), 1)...), wantText(around))
				add("octet by octet", clean, send(octets, text(s)), wantText(s))
				continue
			}
			add("in one frame", failed(1007), send(whole, text(s)))
			add("a fragment per byte", failed(1007), send(octets, fragment(opText, 0, []byte(s), 1)...))
			if n > 24 {
				continue
			}
			add("after letters, in binary it is echoed", clean, send(whole, binaryFrame([]byte("ab"+s))), wantMessage(opBinary, []byte("ab"+s)))
		}
	}
	b.failFast()
	b.partialUTF8()
}

// failFast: 6.30, invalid UTF-8 must be found before the message, or even the frame, is complete. RFC 6455
// §8.1 demands failure "when an endpoint is to interpret a byte stream as UTF-8 but finds" that it is not;
// waiting for the rest means that the client waits in vain: nothing more is sent.
func (b *book) failFast() {
	good := "κόσμε"
	bads := []struct{ name, seq string }{
		{"beyond U+10FFFF", "\xf4\x90\x80\x80"},
		{"the first two bytes of a sequence beyond U+10FFFF", "\xf4\x90"},
		{"overlong", "\xe0\x80"},
		{"surrogate", "\xed\xa0"},
		{"a byte that never occurs", "\xff"},
		{"a continuation byte", "\x80"},
		{"a start byte followed by a letter", "\xc3A"},
	}
	for i, bad := range bads {
		p := good + bad.seq
		add := func(n int, how string, steps ...step) {
			b.script(fmt.Sprintf("6.30.%d", i*4+n), "8.1", bad.name+" "+how, needs{fragments: 5}, failed(1007), steps...)
		}
		add(1, "at the end of a first fragment; the rest never comes", send(whole, text(p).notFinal()))
		add(2, "split over two fragments; the rest never comes",
			send(whole, text(p[:len(p)-1]).notFinal(), cont(p[len(p)-1:]).notFinal()))
		add(3, "in the first bytes of a frame of which the rest never comes",
			send(whole, frame{op: opText, announce: true, length: 1000, payload: []byte(p)}))
		add(4, "octet by octet in a frame of a fragment, of which the rest never comes",
			send(whole, text(good).notFinal()), send(octets, frame{op: opCont, announce: true, length: 60000, payload: []byte(p)}))
	}
	b.script("6.30.100", "8.1", "an unfinished sequence at the end of a fragment is not an error", needs{fragments: 5}, clean,
		send(whole, text("\xf4").notFinal(), ping("1"), cont("\x8f").notFinal(), ping("2"), cont("\xbf").notFinal(), ping("3"), cont("\xbf")),
		wantPong("1"), wantPong("2"), wantPong("3"), wantText("\xf4\x8f\xbf\xbf"))
	b.script("6.30.101", "8.1", "an unfinished sequence in a partly received frame is not an error", needs{}, clean,
		func(c *conn) error {
			data := encode(ping("before"), text("a\xf0\x9f\x99\x82z"))
			head := len(encode(ping("before"))) + 6 + 3
			c.send(data[:head], 0)
			if err := c.expectPong("before"); err != nil {
				return err
			}
			c.send(data[head:], 1)
			return nil
		}, wantText("a\xf0\x9f\x99\x82z"))
	b.script("6.30.102", "8.1", "an unfinished sequence at the end of a message", needs{fragments: 5}, failed(1007),
		send(whole, text("a").notFinal(), cont("\xf0\x9f").notFinal(), cont("\x99")))
	b.script("6.30.103", "8.1", "an unfinished sequence is not completed by the next message", needs{fragments: 5}, failed(1007),
		send(whole, text("\xc3"), text("\xa9")))
	b.script("6.30.104", "8.1", "an empty last fragment does not hide an unfinished sequence", needs{fragments: 5}, failed(1007),
		send(whole, text("ab\xe2\x82").notFinal(), cont("")))
	b.script("6.30.105", "5.6", "invalid UTF-8 in fragments of a binary message is no error, also after a text message", needs{fragments: 5}, clean,
		send(whole, text("text"), binaryFrame([]byte("\xff")).notFinal(), cont("\xfe")), wantText("text"), wantMessage(opBinary, []byte("\xff\xfe")))
}

// partialUTF8: 6.31, every prefix of a text: valid where a sequence ends, 1007 inside one.
func (b *book) partialUTF8() {
	p := "\xce\xba\xe1\xbd\xb9\xf4\x8f\xbf\xbfz"
	for i := 1; i <= len(p); i++ {
		id, title := fmt.Sprintf("6.31.%d", i), fmt.Sprintf("the first %d bytes of a text", i)
		if utf8.ValidString(p[:i]) {
			b.script(id, "8.1", title+" (they are whole)", needs{}, clean, send(whole, text(p[:i])), wantText(p[:i]))
		} else {
			b.script(id, "8.1", title+" (they end inside a sequence)", needs{}, failed(1007), send(whole, text(p[:i])))
		}
	}
	for i := 1; i < len(p); i++ {
		b.script(fmt.Sprintf("6.32.%d", i), "8.1", fmt.Sprintf("a text in two fragments, cut after byte %d", i), needs{fragments: 2}, clean,
			send(whole, fragment(opText, 0, []byte(p), i)[0], cont(p[i:])), wantText(p))
	}
}
