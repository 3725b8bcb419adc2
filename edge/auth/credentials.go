package auth

import (
	"net/http"
	"net/url"
	"strings"
)

// Source says where in a request a credential was found.
type Source uint8

const (
	SourceNone Source = iota
	SourceHeader
	SourceQuery
	SourceSubprotocol
	SourceCookie
)

// String is for logs and metrics.
func (s Source) String() string {
	switch s {
	case SourceHeader:
		return "header"
	case SourceQuery:
		return "query"
	case SourceSubprotocol:
		return "subprotocol"
	case SourceCookie:
		return "cookie"
	}
	return "none"
}

// Ambient reports whether a browser sends the credential by itself, with requests of foreign pages too: such
// requests need a known Origin (WebSocket) or a token against forgery (REST), requirement 116.
func (s Source) Ambient() bool { return s == SourceCookie }

// Subprotocol is the one that clients offer together with a token, because a browser's WebSocket can set no
// header: "Sec-WebSocket-Protocol: bearer, <token>". It is what the server answers.
const Subprotocol = "bearer"

// FromRequest finds the credential of a request (contract §12.2), in this order: Authorization: Bearer, the
// query parameter token, the WebSocket subprotocol, the cookie. An empty cookieName means no cookie is looked
// at. The token is not checked in any way.
func FromRequest(h http.Header, rawQuery, cookieName string) (token string, source Source) {
	if scheme, rest, ok := strings.Cut(strings.TrimSpace(h.Get("Authorization")), " "); ok && strings.EqualFold(scheme, "Bearer") {
		if t := strings.TrimSpace(rest); t != "" {
			return t, SourceHeader
		}
	}
	if t := queryValue(rawQuery, "token"); t != "" {
		return t, SourceQuery
	}
	if t, _ := offered(h); t != "" {
		return t, SourceSubprotocol
	}
	if cookieName != "" {
		if c, err := (&http.Request{Header: h}).Cookie(cookieName); err == nil && c.Value != "" {
			return c.Value, SourceCookie
		}
	}
	return "", SourceNone
}

// OffersBearer reports whether the client offered Subprotocol. A browser gives up unless one of the
// subprotocols that it offered is answered, wherever the token came from.
func OffersBearer(h http.Header) bool {
	_, ok := offered(h)
	return ok
}

// offered walks the comma-separated lists of Sec-WebSocket-Protocol: the element after "bearer" is the token.
func offered(h http.Header) (token string, bearer bool) {
	for _, line := range h["Sec-Websocket-Protocol"] {
		for el := range strings.SplitSeq(line, ",") {
			el = strings.TrimSpace(el)
			if bearer {
				return el, true
			}
			bearer = el == Subprotocol
		}
	}
	return "", bearer
}

// queryValue is url.ParseQuery for one key, indifferent to whatever else the query holds.
func queryValue(rawQuery, name string) string {
	for pair := range strings.SplitSeq(rawQuery, "&") {
		k, v, _ := strings.Cut(pair, "=")
		if k != name {
			continue
		}
		if v, err := url.QueryUnescape(v); err == nil && v != "" {
			return v
		}
	}
	return ""
}
