package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// Conn is one WebSocket connection that carries text frames. Read is called by one goroutine and Write by
// another; either may run together with Close.
type Conn interface {
	// Read returns the next frame. The error at the end is a *CloseError where the peer's close frame was
	// seen. It returns when ctx ends.
	Read(ctx context.Context) ([]byte, error)
	Write(ctx context.Context, frame []byte) error
	Close(code int, reason string) error
}

// Dialer opens connections. An *HTTPError says that the handshake was answered with another status than 101.
type Dialer func(ctx context.Context, url string, header http.Header) (Conn, error)

// maxFrame bounds a frame of the server: 10,000 code points of content, escaped, and room for the rest.
const maxFrame = 1 << 20

func dialWebSocket(hc *http.Client) Dialer {
	return func(ctx context.Context, url string, header http.Header) (Conn, error) {
		//nolint:bodyclose // "You never need to close resp.Body yourself": the library has read it
		ws, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{
			HTTPClient: hc, HTTPHeader: header, CompressionMode: websocket.CompressionDisabled,
		})
		if err != nil {
			if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
				return nil, httpError(resp)
			}
			return nil, err
		}
		ws.SetReadLimit(maxFrame)
		return wsConn{ws}, nil
	}
}

type wsConn struct{ ws *websocket.Conn }

func (c wsConn) Read(ctx context.Context) ([]byte, error) {
	for {
		typ, b, err := c.ws.Read(ctx)
		if err != nil {
			if ce := (websocket.CloseError{}); errors.As(err, &ce) {
				return nil, &CloseError{Code: int(ce.Code), Reason: ce.Reason}
			}
			return nil, &CloseError{Code: int(websocket.StatusAbnormalClosure), Err: err}
		}
		if typ == websocket.MessageText { // the protocol has no binary frames
			return b, nil
		}
	}
}

func (c wsConn) Write(ctx context.Context, b []byte) error {
	return c.ws.Write(ctx, websocket.MessageText, b)
}

func (c wsConn) Close(code int, reason string) error {
	if code == 0 {
		return c.ws.CloseNow()
	}
	return c.ws.Close(websocket.StatusCode(code), reason)
}

func httpError(resp *http.Response) *HTTPError {
	e := &HTTPError{Status: resp.StatusCode, RetryAfter: parseRetryAfter(resp.Header.Get("Retry-After"))}
	if resp.Body != nil {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		e.Detail = strings.TrimSpace(string(b))
	}
	if e.Detail == "" {
		e.Detail = http.StatusText(resp.StatusCode)
	}
	return e
}

// parseRetryAfter reads delay-seconds (RFC 9110 §10.2.3); the date form is not used by the hub.
func parseRetryAfter(s string) time.Duration {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0
	}
	return time.Duration(min(n, 86_400)) * time.Second
}
