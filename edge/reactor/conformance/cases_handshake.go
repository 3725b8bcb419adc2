package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// clientErrors are statuses by which a server may refuse a request that it does not like.
var clientErrors = []int{400, 403, 404, 405, 406, 411, 413, 414, 417, 421, 426, 431, 501, 505}

// refused sends a request that must not be upgraded and wants one of the statuses.
func (s *session) refused(r request, chop int, statuses ...int) error {
	resp, err := s.answer(r, chop)
	if err != nil {
		return err
	}
	if !slices.Contains(statuses, resp.status) {
		return fmt.Errorf("expected status %v, got %d", statuses, resp.status)
	}
	return nil
}

func (s *session) answer(r request, chop int) (response, error) {
	c, err := s.dial()
	if err != nil {
		return response{}, err
	}
	c.send(r.bytes(), chop)
	return readResponse(c.br)
}

// accepted sends a request that must be upgraded; then an echo must work.
func (s *session) accepted(r request, chop int) error {
	c, _, err := s.openWith(r, chop)
	if err != nil {
		return err
	}
	return c.take(clean, send(whole, text("Hello"), ping("p")), wantText("Hello"), wantPong("p"))
}

// handshake: group H.
func (b *book) handshake() {
	n, group := 0, 0
	ok := func(section, title string, edit func(r request) request) {
		n++
		b.add(fmt.Sprintf("H.%d.%d", group, n), section, title, "101, then echoes", needs{}, func(s *session) error {
			return s.accepted(edit(s.target.upgrade()), whole)
		})
	}
	bad := func(section, title string, statuses []int, edit func(r request) request) {
		n++
		b.add(fmt.Sprintf("H.%d.%d", group, n), section, title, fmt.Sprintf("status %v", statuses), needs{}, func(s *session) error {
			return s.refused(edit(s.target.upgrade()), whole, statuses...)
		})
	}
	// maybe is for what a server should accept but need not.
	maybe := func(section, title string, edit func(r request) request) {
		n++
		b.add(fmt.Sprintf("H.%d.%d", group, n), section, title, "101, or status 400", needs{}, func(s *session) error {
			resp, err := s.answer(edit(s.target.upgrade()), whole)
			if err == nil && resp.status != 101 && resp.status != 400 {
				err = fmt.Errorf("got status %d", resp.status)
			}
			return err
		})
	}
	set := func(name string, lines ...string) func(r request) request {
		return func(r request) request { return r.replace(name, lines...) }
	}
	plus := func(lines ...string) func(r request) request {
		return func(r request) request { r.headers = append(r.headers, lines...); return r }
	}
	line := func(l string) func(r request) request {
		return func(r request) request { r.line = fmt.Sprintf(l, strings.Fields(r.line)[1]); return r }
	}

	group, n = 1, 0 // accepted
	ok("4.2", "the plain request; the answer's key is that of §1.3", func(r request) request { return r })
	ok("4.2.1", "header names in lower case", func(r request) request {
		for i, h := range r.headers {
			name, value, _ := strings.Cut(h, ":")
			r.headers[i] = strings.ToLower(name) + ":" + value
		}
		return r
	})
	ok("4.2.1", "header names in upper case", func(r request) request {
		for i, h := range r.headers {
			name, value, _ := strings.Cut(h, ":")
			r.headers[i] = strings.ToUpper(name) + ":" + value
		}
		return r
	})
	ok("4.2.1", "no space after the colons", func(r request) request {
		for i, h := range r.headers {
			r.headers[i] = strings.Replace(h, ": ", ":", 1)
		}
		return r
	})
	ok("RFC 9112 §5.1", "spaces and tabs around the values", func(r request) request {
		for i, h := range r.headers {
			r.headers[i] = strings.Replace(h, ": ", ": \t ", 1) + " \t"
		}
		return r
	})
	for _, v := range []string{"WebSocket", "WEBSOCKET", "wEbSoCkEt"} {
		ok("4.2.1", "Upgrade: "+v, set("Upgrade", "Upgrade: "+v))
	}
	for _, v := range []string{"upgrade", "UPGRADE", "keep-alive, Upgrade", "Upgrade, keep-alive", "keep-alive,Upgrade", "keep-alive ,\tupgrade", ", Upgrade,", "x-hop, keep-alive, Upgrade, x-other"} {
		ok("4.2.1", "Connection: "+v, set("Connection", "Connection: "+v))
	}
	ok("RFC 9110 §5.3", "two Connection lines", set("Connection", "Connection: keep-alive", "Connection: Upgrade"))
	for _, v := range []string{"websocket, h2c", "h2c, websocket", "h2c,websocket"} {
		ok("4.2.1, RFC 9110 §7.8", "Upgrade: "+v, set("Upgrade", "Upgrade: "+v))
	}
	ok("RFC 9110 §5.3", "two Upgrade lines", set("Upgrade", "Upgrade: h2c", "Upgrade: websocket"))
	ok("4.2.1", "an Origin", plus("Origin: https://example.com"))
	ok("9.1", "an unknown extension is ignored", plus("Sec-WebSocket-Extensions: x-unknown; a=1; b"))
	ok("4.2.1", "unknown headers", plus("X-Unknown: value", "X-Empty:", "X-Long: "+strings.Repeat("v", 1000)))
	ok("4.2.1", "a cookie with all characters that may stand in one", plus("Cookie: a=!#$%&'()*+-./:<=>?@[]^_`{|}~; b=\"quoted\""))
	ok("RFC 9110 §5.5", "bytes above 0x7F in a value", plus("X-Name: caf\xe9 \xc3\xa9"))
	ok("RFC 9112 §3.2.2", "the request target in absolute form", func(r request) request {
		host := strings.TrimPrefix(r.headers[0], "Host: ")
		r.line = "GET http://" + host + strings.Fields(r.line)[1] + " HTTP/1.1"
		return r
	})
	ok("4.2.1", "a query", line("GET %s?a=b&c=%%20d HTTP/1.1"))
	ok("4.2.2", "the headers in reverse order", func(r request) request { slices.Reverse(r.headers); return r })
	maybe("RFC 9112 §2.2", "an empty line before the request line", func(r request) request { r.line = "\r\n" + r.line; return r })
	n++
	b.add(fmt.Sprintf("H.1.%d", n), "4.2.2", "subprotocols: the answer names an offered one or none", "101, then echoes", needs{}, func(s *session) error {
		return s.accepted(s.target.upgrade("Sec-WebSocket-Protocol: chat.v1, chat.v2"), whole)
	})
	for i, chop := range []int{1, 2, 3, 7, 64} {
		b.add(fmt.Sprintf("H.2.%d", i+1), "4.2", fmt.Sprintf("the request in chops of %d bytes", chop), "101, then echoes", needs{}, func(s *session) error {
			return s.accepted(s.target.upgrade("Origin: https://example.com"), chop)
		})
	}

	b.handshakeFrames()

	group, n = 4, 0 // refused
	just400 := []int{400}
	bad("4.2.1", "no Sec-WebSocket-Key", just400, set("Sec-WebSocket-Key"))
	bad("4.2.1, 11.3.1", "two Sec-WebSocket-Key lines", just400, plus("Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA=="))
	bad("4.2.1, 11.3.1", "the same Sec-WebSocket-Key twice", just400, plus("Sec-WebSocket-Key: "+sampleKey))
	for _, k := range []struct{ title, key string }{
		{"empty", ""}, {"of 15 bytes", "AAAAAAAAAAAAAAAAAAAA"}, {"of 17 bytes", "AAAAAAAAAAAAAAAAAAAAAAA="}, {"of 24 characters that are no base64", "!!!!!!!!!!!!!!!!!!!!!!=="},
		{"without its padding", "dGhlIHNhbXBsZSBub25jZQ"}, {"with bytes inside that are no base64", "dGhlIHNhb BsZSBub25jZQ=="}, {"of a single character", "x"},
		{"of 24 base64 characters without padding (18 bytes)", "AAAAAAAAAAAAAAAAAAAAAAAA"},
	} {
		bad("4.2.1", "a key "+k.title, just400, set("Sec-WebSocket-Key", "Sec-WebSocket-Key: "+k.key))
	}
	for _, v := range []string{"0", "7", "8", "12", "14", "25", "255", "013", "13x", "1 3", "-13", "13, 8", ""} {
		n++
		b.add(fmt.Sprintf("H.4.%d", n), "4.2.2, 4.4", fmt.Sprintf("Sec-WebSocket-Version: %q", v), "status 426 (or 400 if it is no number) with Sec-WebSocket-Version: 13", needs{}, func(s *session) error {
			resp, err := s.answer(s.target.upgrade().replace("Sec-WebSocket-Version", "Sec-WebSocket-Version: "+v), whole)
			if err != nil {
				return err
			}
			number := v != "" && strings.Trim(v, "0123456789") == "" && v != "013"
			if resp.status != 426 && (number || resp.status != 400) {
				return fmt.Errorf("got status %d", resp.status)
			}
			if resp.status == 426 && !slices.Contains(resp.all("sec-websocket-version"), "13") {
				return fmt.Errorf("426 without Sec-WebSocket-Version: 13")
			}
			return nil
		})
	}
	bad("4.2.1", "no Sec-WebSocket-Version", []int{400, 426}, set("Sec-WebSocket-Version"))
	bad("11.3.5", "two Sec-WebSocket-Version lines", []int{400, 426}, plus("Sec-WebSocket-Version: 8"))
	notUpgraded := append([]int{200, 204}, clientErrors...)
	bad("4.2.1", "no Upgrade", notUpgraded, set("Upgrade"))
	bad("4.2.1", "no Connection", notUpgraded, set("Connection"))
	bad("4.2.1", "Upgrade to something else", notUpgraded, set("Upgrade", "Upgrade: h2c"))
	bad("4.2.1", "Upgrade: xwebsocket", notUpgraded, set("Upgrade", "Upgrade: xwebsocket"))
	bad("4.2.1", "Upgrade: web, socket", notUpgraded, set("Upgrade", "Upgrade: web, socket"))
	bad("4.2.1", "Connection: keep-alive", notUpgraded, set("Connection", "Connection: keep-alive"))
	bad("4.2.1", "Connection: close", notUpgraded, set("Connection", "Connection: close"))
	bad("4.2.1", "Connection: no-upgrade", notUpgraded, set("Connection", "Connection: no-upgrade"))
	for _, m := range []string{"POST", "PUT", "HEAD", "OPTIONS", "get", "GETX", "DELETE"} {
		bad("4.2.1", "method "+m, notUpgraded, line(m+" %s HTTP/1.1"))
	}
	bad("4.2.1", "HTTP/1.0", notUpgraded, line("GET %s HTTP/1.0"))
	bad("4.2.1", "HTTP/0.9 with a version", notUpgraded, line("GET %s HTTP/0.9"))
	bad("RFC 9110 §15.6.6", "HTTP/2.0 in the request line", notUpgraded, line("GET %s HTTP/2.0"))
	bad("RFC 9112 §3", "no version", just400, line("GET %s"))
	bad("RFC 9112 §3", "a version that is none", []int{400, 505}, line("GET %s HTTP/x.y"))
	bad("RFC 9112 §3", "words after the version", just400, line("GET %s HTTP/1.1 extra"))
	bad("4.2.1, RFC 9112 §3.2", "no Host", just400, set("Host"))
	bad("RFC 9112 §3.2", "two Host lines", just400, plus("Host: other.example"))
	bad("RFC 9112 §5.1", "a space before a colon", just400, plus("X-Bad : value"))
	bad("RFC 9112 §5.1", "a header without a colon", just400, plus("X-Bad value"))
	bad("RFC 9110 §5.1", "an empty header name", just400, plus(": value"))
	bad("RFC 9110 §5.1", "a header name with a character that no token has", just400, plus("X-B(a)d: value"))
	bad("RFC 9110 §5.1", "a header name with a byte above 0x7F", just400, plus("X-B\xe4d: value"))
	bad("RFC 9110 §5.5", "NUL in a value", just400, plus("X-Bad: a\x00b"))
	bad("RFC 9112 §2.2", "a carriage return in a value", just400, plus("X-Bad: a\rb"))
	bad("RFC 9110 §5.5", "a control character in a value", just400, plus("X-Bad: a\x01b"))
	bad("RFC 9112 §5.2", "a folded header line (RFC 9112 also permits to unfold it; the hub refuses)", just400, plus("X-Folded: a", " b"))
	bad("RFC 9112 §2.2", "white space before the first header", just400, func(r request) request {
		r.headers = append([]string{" X-Bad: value"}, r.headers...)
		return r
	})
	n++
	b.add(fmt.Sprintf("H.4.%d", n), "RFC 9110 §7.8", "a request with content: refused, or the content is not read as frames",
		"a refusal, or a pong for the ping after the content", needs{}, func(s *session) error {
			content := encode(ping("content"))
			r := s.target.upgrade(fmt.Sprintf("Content-Length: %d", len(content)))
			r.tail = string(content) + string(encode(ping("frame")))
			return s.contentIsNotFrames(r)
		})
	n++
	b.add(fmt.Sprintf("H.4.%d", n), "RFC 9110 §7.8", "a request with chunked content: refused, or the content is not read as frames",
		"a refusal, or a pong for the ping after the content", needs{}, func(s *session) error {
			r := s.target.upgrade("Transfer-Encoding: chunked")
			r.tail = "3\r\nabc\r\n0\r\n\r\n" + string(encode(ping("frame")))
			return s.contentIsNotFrames(r)
		})
	b.handshakeLimits()
}

func (s *session) contentIsNotFrames(r request) error {
	c, err := s.dial()
	if err != nil {
		return err
	}
	c.send(r.bytes(), 0)
	resp, err := readResponse(c.br)
	if err != nil {
		return err
	}
	if resp.status != 101 {
		if !slices.Contains(clientErrors, resp.status) {
			return fmt.Errorf("got status %d", resp.status)
		}
		return nil
	}
	return c.expectPong("frame")
}

// handshakeFrames: H.3, frames in the same bytes as the request.
func (b *book) handshakeFrames() {
	for i, chop := range []int{whole, octets, 50} {
		b.add(fmt.Sprintf("H.3.%d", i+1), "4.1, 5", fmt.Sprintf("a message and a ping right behind the request, chop %d", chop), clean.text, needs{}, func(s *session) error {
			r := s.target.upgrade()
			r.tail = string(encode(text("early"), ping("p")))
			c, _, err := s.openWith(r, chop)
			if err != nil {
				return err
			}
			return c.take(clean, wantText("early"), wantPong("p"))
		})
	}
	b.add("H.3.4", "4.1, 5", "half a frame right behind the request, the rest later", clean.text, needs{}, func(s *session) error {
		r := s.target.upgrade()
		data := encode(text("early bird"))
		r.tail = string(data[:5])
		c, _, err := s.openWith(r, whole)
		if err != nil {
			return err
		}
		return c.take(clean, sendRaw(octets, data[5:]), wantText("early bird"))
	})
	b.add("H.3.5", "4.1, 5", "20000 bytes of messages right behind the request", clean.text, needs{message: 10000}, func(s *session) error {
		r := s.target.upgrade()
		p, q := filler(10000), noise(10000)
		r.tail = string(encode(frame{op: opText, payload: p}, frame{op: opBinary, payload: q}))
		c, _, err := s.openWith(r, whole)
		if err != nil {
			return err
		}
		return c.take(clean, wantMessage(opText, p), wantMessage(opBinary, q))
	})
	b.add("H.3.6", "4.1, 5.1", "an unmasked frame right behind the request", failed(1002).text, needs{}, func(s *session) error {
		r := s.target.upgrade()
		r.tail = string(encode(frame{op: opText, payload: []byte("bare"), unmasked: true}))
		c, _, err := s.openWith(r, whole)
		if err != nil {
			return err
		}
		return c.take(failed(1002))
	})
	b.add("H.3.7", "4.1, 5.5.1", "a close frame right behind the request", closes(1000).text, needs{}, func(s *session) error {
		r := s.target.upgrade()
		r.tail = string(encode(closeFrame(1000, "bye")))
		c, _, err := s.openWith(r, whole)
		if err != nil {
			return err
		}
		return c.take(closes(1000))
	})
}

// handshakeLimits: H.5, requests beyond the limit.
func (b *book) handshakeLimits() {
	add := func(n int, title string, make func(t Target) request) {
		b.add(fmt.Sprintf("H.5.%d", n), "10.4, RFC 6585 §5", title, "status 431 (or 414, 400), or the end", needs{headLimit: true}, func(s *session) error {
			resp, err := s.answer(make(s.target), whole)
			switch {
			case errors.Is(err, errNoResponse):
				return nil
			case err != nil:
				return err
			case !slices.Contains([]int{400, 414, 431}, resp.status):
				return fmt.Errorf("got status %d", resp.status)
			}
			return nil
		})
	}
	add(1, "a header longer than the limit", func(t Target) request {
		return t.upgrade("X-Long: " + strings.Repeat("v", t.MaxHandshakeBytes))
	})
	add(2, "many headers, together longer than the limit", func(t Target) request {
		r := t.upgrade()
		for i := 0; len(r.bytes()) <= t.MaxHandshakeBytes; i++ {
			r.headers = append(r.headers, fmt.Sprintf("X-%d: value", i))
		}
		return r
	})
	add(3, "a request target longer than the limit", func(t Target) request {
		r := t.upgrade()
		r.line = "GET " + t.path() + "?" + strings.Repeat("q", t.MaxHandshakeBytes) + " HTTP/1.1"
		return r
	})
	add(4, "a line that never ends, twice the limit", func(t Target) request {
		return request{line: "GET /" + string(bytes.Repeat([]byte{'x'}, 2*t.MaxHandshakeBytes))}
	})
	b.add("H.5.5", "10.4", "a request near the limit (three quarters of it)", "101, then echoes", needs{headLimit: true}, func(s *session) error {
		r := s.target.upgrade()
		r.headers = append(r.headers, "X-Long: "+strings.Repeat("v", s.target.MaxHandshakeBytes*3/4-len(r.bytes())))
		return s.accepted(r, whole)
	})
	b.add("H.5.6", "10.4, 5", "a request near the limit with as many bytes of frames behind it", clean.text, needs{headLimit: true, message: 16 << 10}, func(s *session) error {
		r := s.target.upgrade()
		r.headers = append(r.headers, "X-Long: "+strings.Repeat("v", s.target.MaxHandshakeBytes*3/4-len(r.bytes())))
		p := filler(min(s.target.MaxHandshakeBytes, 16<<10))
		r.tail = string(encode(frame{op: opText, payload: p}))
		c, _, err := s.openWith(r, whole)
		if err != nil {
			return err
		}
		return c.take(clean, wantMessage(opText, p))
	})
}
