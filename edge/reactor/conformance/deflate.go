package conformance

import (
	"bytes"
	"compress/flate"
	"strings"
)

// extension is what was negotiated for permessage-deflate.
type extension struct {
	on                                 bool
	serverNoTakeover, clientNoTakeover bool
	serverBits, clientBits             int // of the windows, 8 to 15
}

// compressor makes payloads of compressed messages as RFC 7692 §7.2.1 says.
type compressor struct {
	ext extension
	buf bytes.Buffer
	w   *flate.Writer
}

// message compresses one message within the negotiated window, with context takeover if it was not forbidden.
func (c *compressor) message(p []byte) []byte {
	level := flate.DefaultCompression
	if c.ext.clientBits < 15 {
		// No back references at all keep to any window.
		level = flate.HuffmanOnly
	}
	c.buf.Reset()
	if c.w == nil {
		c.w, _ = flate.NewWriter(&c.buf, level) // the level is valid
	} else if c.ext.clientNoTakeover {
		c.w.Reset(&c.buf)
	}
	// Writes to a bytes.Buffer do not fail.
	_, _ = c.w.Write(p)
	_ = c.w.Flush()
	return bytes.TrimSuffix(bytes.Clone(c.buf.Bytes()), []byte{0, 0, 0xFF, 0xFF})
}

// compressed makes a frame of a compressed message.
func (c *conn) compressed(op byte, p []byte) frame {
	return frame{op: op, rsv: rsv1, payload: c.compress.message(p)}
}

// param of an extension.
type param struct {
	name, value string
	valued      bool
}

// element of an extension list.
type element struct {
	name   string
	params []param
}

// parseExtensions splits a well-formed Sec-WebSocket-Extensions value.
func parseExtensions(s string) []element {
	var out []element
	for part := range strings.SplitSeq(s, ",") {
		fields := strings.Split(part, ";")
		e := element{name: strings.TrimSpace(fields[0])}
		if e.name == "" {
			continue
		}
		for _, f := range fields[1:] {
			name, value, valued := strings.Cut(f, "=")
			value = strings.Trim(strings.TrimSpace(value), `"`)
			e.params = append(e.params, param{strings.TrimSpace(name), value, valued})
		}
		out = append(out, e)
	}
	return out
}

// windowBits parses the value of a window parameter: 8 to 15 without leading zeros; 0 if it is invalid.
func windowBits(s string) int {
	switch s {
	case "8", "9":
		return int(s[0] - '0')
	case "10", "11", "12", "13", "14", "15":
		return 10 + int(s[1]-'0')
	}
	return 0
}

const (
	deflateName      = "permessage-deflate"
	serverNoTakeover = "server_no_context_takeover"
	clientNoTakeover = "client_no_context_takeover"
	serverWindow     = "server_max_window_bits"
	clientWindow     = "client_max_window_bits"
)

// offer is a valid element of the client's list; bits are 0 when the parameter is absent.
type offer struct {
	serverNoTakeover bool
	serverBits       int
	clientWindow     bool
	clientBits       int // 0 also when the parameter has no value
}

// parseOffer says whether an element is a valid offer of permessage-deflate (RFC 7692 §7.1).
func parseOffer(e element) (o offer, ok bool) {
	if e.name != deflateName {
		return o, false
	}
	seen := make(map[string]bool)
	for _, p := range e.params {
		if seen[p.name] {
			return o, false
		}
		seen[p.name] = true
		switch p.name {
		case serverNoTakeover, clientNoTakeover:
			if p.valued {
				return o, false
			}
			o.serverNoTakeover = o.serverNoTakeover || p.name == serverNoTakeover
		case serverWindow:
			if o.serverBits = windowBits(p.value); o.serverBits == 0 {
				return o, false
			}
		case clientWindow:
			o.clientWindow = true
			if p.valued {
				if o.clientBits = windowBits(p.value); o.clientBits == 0 {
					return o, false
				}
			}
		default:
			return o, false
		}
	}
	return o, true
}

// judgeAnswer checks the server's extension header against the client's offers.
func judgeAnswer(offers, answer string) (extension, error) {
	ext := extension{serverBits: 15, clientBits: 15}
	elements := parseExtensions(answer)
	if len(elements) == 0 {
		return ext, nil
	}
	if len(elements) > 1 || elements[0].name != deflateName {
		return ext, violation("extensions %q", answer)
	}
	ext.on = true
	seen := make(map[string]bool)
	for _, p := range elements[0].params {
		if seen[p.name] {
			return ext, violation("parameter %s twice", p.name)
		}
		seen[p.name] = true
		switch {
		case p.name == serverNoTakeover && !p.valued:
			ext.serverNoTakeover = true
		case p.name == clientNoTakeover && !p.valued:
			ext.clientNoTakeover = true
		case p.name == serverWindow && windowBits(p.value) != 0:
			ext.serverBits = windowBits(p.value)
		case p.name == clientWindow && windowBits(p.value) != 0:
			ext.clientBits = windowBits(p.value)
		default:
			return ext, violation("parameter %s=%q in %q", p.name, p.value, answer)
		}
	}
	for _, e := range parseExtensions(offers) {
		o, ok := parseOffer(e)
		switch {
		case !ok,
			o.serverNoTakeover && !ext.serverNoTakeover,
			o.serverBits != 0 && (!seen[serverWindow] || ext.serverBits > o.serverBits),
			!o.clientWindow && seen[clientWindow],
			o.clientBits != 0 && seen[clientWindow] && ext.clientBits > o.clientBits:
			continue
		}
		return ext, nil
	}
	return ext, violation("the answer %q fits none of the offers %q", answer, offers)
}
