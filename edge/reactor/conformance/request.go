package conformance

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// sampleKey and sampleAccept are the pair of RFC 6455 §1.3.
const (
	sampleKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

func acceptFor(key string) string {
	h := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(h[:])
}

// request is an upgrade request; the lines are raw.
type request struct {
	line    string
	headers []string
	tail    string // what follows the empty line
}

// upgrade is a proper request, with the lines added.
func (t Target) upgrade(lines ...string) request {
	return request{
		line: "GET " + t.path() + " HTTP/1.1",
		headers: append([]string{
			"Host: " + t.Addr,
			"Upgrade: websocket",
			"Connection: Upgrade",
			"Sec-WebSocket-Key: " + sampleKey,
			"Sec-WebSocket-Version: 13",
		}, lines...),
	}
}

// replace puts the lines in the place of the header of the name; no lines: it is left out.
func (r request) replace(name string, lines ...string) request {
	var out []string
	for _, h := range r.headers {
		if strings.HasPrefix(h, name+":") {
			out = append(out, lines...)
			continue
		}
		out = append(out, h)
	}
	r.headers = out
	return r
}

func (r request) bytes() []byte {
	return []byte(r.line + "\r\n" + strings.Join(r.headers, "\r\n") + "\r\n\r\n" + r.tail)
}

// response to an upgrade request.
type response struct {
	proto  string
	status int
	names  []string // lower case, in order
	values []string
}

func (r response) String() string { return fmt.Sprintf("status %d", r.status) }

// all returns the values of a header, split at commas and trimmed.
func (r response) all(name string) []string {
	var out []string
	for i, n := range r.names {
		if n == name {
			for v := range strings.SplitSeq(r.values[i], ",") {
				out = append(out, strings.TrimSpace(v))
			}
		}
	}
	return out
}

func (r response) has(name, value string) bool {
	for _, v := range r.all(name) {
		if strings.EqualFold(v, value) {
			return true
		}
	}
	return false
}

// errNoResponse says that the server closed the connection instead of answering.
var errNoResponse = errors.New("the connection ended without a response")

// readResponse reads a response's head strictly.
func readResponse(br *bufio.Reader) (response, error) {
	var r response
	line, err := readLine(br)
	if err != nil {
		return r, err
	}
	proto, rest, ok := strings.Cut(line, " ")
	code, _, _ := strings.Cut(rest, " ")
	if r.status, err = strconv.Atoi(code); !ok || err != nil || len(code) != 3 {
		return r, violation("status line %q", line)
	}
	if r.proto = proto; proto != "HTTP/1.1" && (proto != "HTTP/1.0" || r.status == 101) {
		return r, violation("protocol version %q in the status line", proto)
	}
	for {
		line, err := readLine(br)
		if err != nil {
			return r, err
		}
		if line == "" {
			return r, nil
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return r, violation("header line %q", line)
		}
		r.names = append(r.names, strings.ToLower(name))
		r.values = append(r.values, strings.TrimSpace(value))
	}
}

func readLine(br *bufio.Reader) (string, error) {
	line, err := br.ReadString('\n')
	if err != nil {
		if line == "" {
			if e, ok, _ := ended(err); ok && e.kind == evEnd {
				return "", errNoResponse
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return "", errors.New("no response within the time limit")
		}
		if errors.Is(err, io.EOF) {
			return "", fmt.Errorf("the stream ended inside a response: %w", err)
		}
		return "", fmt.Errorf("read response: %w", err)
	}
	if !strings.HasSuffix(line, "\r\n") {
		return "", violation("a line of the response does not end with CRLF: %q", line)
	}
	return strings.TrimSuffix(line, "\r\n"), nil
}

// checkSwitch checks that a response accepts the upgrade as RFC 6455 §4.2.2 wants it.
func checkSwitch(r response) error {
	if r.status != 101 {
		return fmt.Errorf("expected status 101, got %d", r.status)
	}
	count := make(map[string]int)
	for _, n := range r.names {
		count[n]++
	}
	switch {
	case !r.has("upgrade", "websocket") || count["upgrade"] != 1:
		return violation("101 with Upgrade %q", r.all("upgrade"))
	case !r.has("connection", "upgrade"):
		return violation("101 with Connection %q", r.all("connection"))
	case count["sec-websocket-accept"] != 1 || r.all("sec-websocket-accept")[0] != acceptFor(sampleKey):
		return violation("Sec-WebSocket-Accept %q", r.all("sec-websocket-accept"))
	case count["content-length"] != 0 || count["transfer-encoding"] != 0:
		return violation("a 101 response with Content-Length or Transfer-Encoding (RFC 9110 §8.6, 9112 §6.1)")
	}
	return nil
}

// open does a proper handshake, offering the extensions if any. If the server accepts permessage-deflate, the
// connection is set up for it.
func (s *session) open(extensions string) (*conn, error) {
	var lines []string
	if extensions != "" {
		lines = append(lines, "Sec-WebSocket-Extensions: "+extensions)
	}
	c, _, err := s.openWith(s.target.upgrade(lines...), whole)
	return c, err
}

// openWith does a handshake that must succeed, in the given chop.
func (s *session) openWith(r request, chop int) (*conn, response, error) {
	c, err := s.dial()
	if err != nil {
		return nil, response{}, err
	}
	c.send(r.bytes(), chop)
	resp, err := readResponse(c.br)
	if err != nil {
		return nil, resp, fmt.Errorf("handshake: %w", err)
	}
	if err := checkSwitch(resp); err != nil {
		return nil, resp, fmt.Errorf("handshake: %w", err)
	}
	var offers []string
	protocols := map[string]bool{}
	for _, h := range r.headers {
		name, value, _ := strings.Cut(h, ":")
		switch strings.ToLower(name) {
		case "sec-websocket-extensions":
			offers = append(offers, value)
		case "sec-websocket-protocol":
			for p := range strings.SplitSeq(value, ",") {
				protocols[strings.TrimSpace(p)] = true
			}
		}
	}
	for _, p := range resp.all("sec-websocket-protocol") {
		if !protocols[p] {
			return nil, resp, violation("subprotocol %q, which was not offered", p)
		}
	}
	if c.ext, err = judgeAnswer(strings.Join(offers, ","), strings.Join(resp.all("sec-websocket-extensions"), ",")); err != nil {
		return nil, resp, fmt.Errorf("extensions: %w", err)
	}
	c.inflate = inflater{keep: !c.ext.serverNoTakeover, window: 1 << c.ext.serverBits}
	c.compress = compressor{ext: c.ext}
	return c, resp, nil
}
