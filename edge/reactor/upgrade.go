package reactor

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"math/rand/v2"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"
)

// request is a parsed request head.
type request struct {
	method, target, proto string
	header                http.Header
	host                  string
}

// headEnd returns the length of the head, its blank line included, or 0 if b does not hold all of it. Bytes before
// from were searched by an earlier call.
func headEnd(b []byte, from int) int {
	from = max(0, from-3)
	for {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			return 0
		}
		from += i + 1
		switch {
		case from < len(b) && b[from] == '\n':
			return from + 1
		case from+1 < len(b) && b[from] == '\r' && b[from+1] == '\n':
			return from + 2
		}
	}
}

// parseHead parses a complete request head (RFC 9112 §2–5). It is strict: no folding, no white space before the
// colon, token names, no control characters in values. It copies b once and keeps nothing of it.
func parseHead(b []byte) (*request, bool) {
	s := string(b)
	line, s, ok := cutLine(s)
	if !ok {
		return nil, false
	}
	r := &request{}
	r.method, line, ok = strings.Cut(line, " ")
	if !ok || !isToken(r.method) {
		return nil, false
	}
	r.target, r.proto, ok = strings.Cut(line, " ")
	if !ok || r.target == "" || !strings.HasPrefix(r.proto, "HTTP/") || !printable(r.target) || !printable(r.proto) {
		return nil, false
	}
	r.header = make(http.Header, 12)
	n := strings.Count(s, "\n")
	values := make([]string, 0, n)
	for {
		line, s, ok = cutLine(s)
		if !ok {
			return nil, false
		}
		if line == "" {
			return r, s == ""
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) {
			return nil, false
		}
		value = strings.Trim(value, " \t")
		if !isFieldValue(value) {
			return nil, false
		}
		key := textproto.CanonicalMIMEHeaderKey(name)
		if key == "Host" {
			if r.host != "" {
				return nil, false
			}
			r.host = value
			continue
		}
		if vs, ok := r.header[key]; ok {
			r.header[key] = append(vs, value)
			continue
		}
		values = append(values, value)
		r.header[key] = values[len(values)-1 : len(values) : len(values)]
	}
}

func cutLine(s string) (line, rest string, ok bool) {
	line, rest, ok = strings.Cut(s, "\n")
	return strings.TrimSuffix(line, "\r"), rest, ok
}

func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

func isFieldValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func printable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// hasToken reports whether one of the comma-separated lists holds the token, in any case.
func hasToken(lists []string, token string) bool {
	for _, l := range lists {
		for l != "" {
			var t string
			t, l, _ = strings.Cut(l, ",")
			if strings.EqualFold(strings.Trim(t, " \t"), token) {
				return true
			}
		}
	}
	return false
}

// offers reports whether one of the comma-separated lists holds the protocol, in exactly this spelling.
func offers(lists []string, protocol string) bool {
	for _, l := range lists {
		for p := range strings.SplitSeq(l, ",") {
			if strings.Trim(p, " \t") == protocol {
				return true
			}
		}
	}
	return false
}

// isUpgrade reports whether the client asks for a WebSocket, correctly or not. Other requests are net/http's.
func (r *request) isUpgrade() bool { return hasToken(r.header["Upgrade"], "websocket") }

// checkUpgrade judges an upgrade request by RFC 6455 §4.2.1 and returns the refusal, if any.
func (r *request) checkUpgrade() *refusal {
	bad := func(text string) *refusal { return &refusal{status: http.StatusBadRequest, body: text} }
	switch {
	case r.method != http.MethodGet:
		return &refusal{
			status: http.StatusMethodNotAllowed, body: "a WebSocket is opened with GET",
			header: []string{"Allow", "GET"},
		}
	case r.proto == "HTTP/1.0" || r.proto == "HTTP/0.9":
		return &refusal{status: http.StatusHTTPVersionNotSupported, body: "HTTP/1.1 required"}
	case !strings.HasPrefix(r.proto, "HTTP/1."):
		return bad("HTTP/1.1 required")
	case r.host == "":
		return bad("missing Host")
	case !hasToken(r.header["Connection"], "upgrade"):
		return bad("Connection lacks upgrade")
	case len(r.header["Sec-Websocket-Version"]) != 1 || r.header["Sec-Websocket-Version"][0] != "13":
		return &refusal{
			status: http.StatusUpgradeRequired, body: "Sec-WebSocket-Version 13 required",
			header: []string{"Sec-WebSocket-Version", "13", "Upgrade", "websocket"},
		}
	case len(r.header["Sec-Websocket-Key"]) != 1 || !validKey(r.header["Sec-Websocket-Key"][0]):
		return bad("missing or invalid Sec-WebSocket-Key")
	case len(r.header["Transfer-Encoding"]) != 0 || r.header.Get("Content-Length") != "" && r.header.Get("Content-Length") != "0":
		return bad("an upgrade request has no body")
	}
	return nil
}

// public is the request as the handler sees it.
func (r *request) public() *Request {
	path, query, _ := strings.Cut(r.target, "?")
	if i := strings.Index(path, "://"); i > 0 { // absolute form, RFC 9112 §3.2.2
		_, path, _ = strings.Cut(path[i+3:], "/")
		path = "/" + path
	}
	return &Request{Path: path, RawQuery: query, Host: r.host, Header: r.header}
}

// validKey accepts the base64 encoding of 16 bytes.
func validKey(key string) bool {
	var nonce [18]byte
	if len(key) != 24 {
		return false
	}
	n, err := base64.StdEncoding.Decode(nonce[:], []byte(key))
	return err == nil && n == 16
}

// appendAccept appends the proof of RFC 6455 §4.2.2 for a key.
func appendAccept(dst []byte, key string) []byte {
	var buf [60]byte
	n := copy(buf[:], key)
	n += copy(buf[n:], "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
	sum := sha1.Sum(buf[:n])
	return base64.StdEncoding.AppendEncode(dst, sum[:])
}

// appendSwitching appends the 101 response.
func appendSwitching(dst []byte, key, subprotocol, extension string) []byte {
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	dst = appendAccept(dst, key)
	if subprotocol != "" {
		dst = append(append(dst, "\r\nSec-WebSocket-Protocol: "...), subprotocol...)
	}
	if extension != "" {
		dst = append(append(dst, "\r\nSec-WebSocket-Extensions: "...), extension...)
	}
	return append(dst, "\r\n\r\n"...)
}

// refusal is an HTTP answer that ends the connection.
type refusal struct {
	status     int
	body       string
	header     []string // name, value, …
	retryAfter time.Duration
}

var malformedExtensions = &refusal{status: http.StatusBadRequest, body: "malformed Sec-WebSocket-Extensions"}

// overloaded is the answer beyond MaxConnections, encoded once.
var overloaded = (&refusal{
	status: http.StatusServiceUnavailable, body: "too many connections", retryAfter: 5 * time.Second,
}).append(nil)

// retryJitter spreads the return of refused clients.
func retryJitter() time.Duration { return time.Second + rand.N(9*time.Second) }

func (f *refusal) append(dst []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(f.status), 10)
	dst = append(append(dst, ' '), http.StatusText(f.status)...)
	dst = append(dst, "\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(f.body)), 10)
	for i := 0; i+1 < len(f.header); i += 2 {
		dst = append(append(append(append(dst, "\r\n"...), f.header[i]...), ": "...), f.header[i+1]...)
	}
	if f.retryAfter > 0 {
		dst = append(dst, "\r\nRetry-After: "...)
		dst = strconv.AppendInt(dst, int64((f.retryAfter+time.Second-1)/time.Second), 10)
	}
	return append(append(dst, "\r\n\r\n"...), f.body...)
}

// refusal of the handler's decision, nil if it accepts. A subprotocol that was not offered is the handler's error.
func (d *Decision) refusal(r *request) *refusal {
	if d.Status != 0 {
		status := d.Status
		if status < 400 || status > 599 {
			status = http.StatusInternalServerError
		}
		return &refusal{status: status, body: d.Body, retryAfter: d.RetryAfter}
	}
	if d.Subprotocol != "" && !offers(r.header["Sec-Websocket-Protocol"], d.Subprotocol) {
		return &refusal{status: http.StatusInternalServerError, body: "subprotocol not offered"}
	}
	return nil
}
