package conformance_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/lxzan/gws"
	"pgregory.net/rapid"

	"github.com/zumodra/hub/edge/reactor/conformance"
)

// The suite is checked against servers that are not ours before it judges ours: a false expectation would show
// as a deviation of every peer. Each deviation of a peer is listed with its reason, and must be there.

// peerLimit is the message limit of the peers.
const peerLimit = 1 << 20

// gwsEcho echoes on lxzan/gws.
type gwsEcho struct{ gws.BuiltinEventHandler }

func (gwsEcho) OnPing(c *gws.Conn, p []byte) { _ = c.WritePong(p) }

func (gwsEcho) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	_ = c.WriteMessage(m.Opcode, m.Bytes())
}

func gwsServer(t *testing.T, deflate, takeover bool) conformance.Target {
	t.Helper()
	up := gws.NewUpgrader(gwsEcho{}, &gws.ServerOption{
		Logger:              quiet{},
		CheckUtf8Enabled:    true,
		ReadMaxPayloadSize:  peerLimit,
		WriteMaxPayloadSize: 4 << 20,
		PermessageDeflate: gws.PermessageDeflate{
			Enabled: deflate, ServerContextTakeover: takeover, ClientContextTakeover: takeover, Threshold: 1,
			ServerMaxWindowBits: 15, ClientMaxWindowBits: 15,
		},
	})
	return serve(t, deflate, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := up.Upgrade(w, r)
		if err != nil {
			return
		}
		c.ReadLoop()
	}))
}

// coderServer echoes on coder/websocket, which leaves the check of UTF-8 to the application.
func coderServer(t *testing.T, mode websocket.CompressionMode) conformance.Target {
	t.Helper()
	return serve(t, mode != websocket.CompressionDisabled, coderHandler(mode))
}

func coderHandler(mode websocket.CompressionMode) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: mode, CompressionThreshold: 1, InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		c.SetReadLimit(peerLimit)
		for {
			typ, p, err := c.Read(context.Background())
			if err != nil {
				return
			}
			if typ == websocket.MessageText && !utf8.Valid(p) {
				_ = c.Close(websocket.StatusInvalidFramePayloadData, "invalid UTF-8")
				return
			}
			if err := c.Write(context.Background(), typ, p); err != nil {
				return
			}
		}
	})
}

// skipPeers leaves out what validates the suite and not the hub where it would take minutes.
func skipPeers(t *testing.T) {
	t.Helper()
	if raceDetector {
		t.Skip("the peers that the suite is validated with run without the race detector: make test-integration")
	}
}

// quiet discards the log of a peer.
type quiet struct{}

func (quiet) Error(...any) {}

func serve(t *testing.T, deflate bool, h http.Handler) conformance.Target {
	t.Helper()
	skipPeers(t)
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Start()
	t.Cleanup(srv.Close)
	return conformance.Target{
		Addr: srv.Listener.Addr().String(), MaxMessage: peerLimit, Deflate: deflate,
	}
}

func TestPeerGws(t *testing.T) {
	conformance.Run(t, gwsServer(t, false, false), known(bothDeviate, gwsDeviations))
}

func TestPeerGwsDeflate(t *testing.T) {
	conformance.Run(t, gwsServer(t, true, false), known(bothDeviate, gwsDeviations, gwsDeflateDeviations))
}

func TestPeerGwsContextTakeover(t *testing.T) {
	all := known(bothDeviate, gwsDeviations, gwsDeflateDeviations, gwsTakeoverDeviations)
	conformance.Run(t, gwsServer(t, true, true), without(all, "13.7.1"))
}

func TestPeerCoder(t *testing.T) {
	conformance.Run(t, coderServer(t, websocket.CompressionDisabled), known(bothDeviate, coderDeviations))
}

func TestPeerCoderDeflate(t *testing.T) {
	conformance.Run(t, coderServer(t, websocket.CompressionNoContextTakeover), known(bothDeviate, coderDeviations, coderDeflateDeviations))
}

func TestPeerCoderContextTakeover(t *testing.T) {
	all := known(bothDeviate, coderDeviations, coderDeflateDeviations)
	conformance.Run(t, coderServer(t, websocket.CompressionContextTakeover), without(all, "13.7.1"))
}

// The same over TLS: it is the suite's TLS that is under test here.
func TestPeerCoderTLS(t *testing.T) {
	skipPeers(t)
	srv := httptest.NewUnstartedServer(coderHandler(websocket.CompressionContextTakeover))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	all := known(bothDeviate, coderDeviations, coderDeflateDeviations)
	conformance.Run(t, conformance.Target{
		Addr: srv.Listener.Addr().String(), MaxMessage: peerLimit, Deflate: true,
		TLS: &tls.Config{RootCAs: roots, ServerName: "example.com", NextProtos: []string{"http/1.1"}},
	}, without(all, "13.7.1"))
}

// drawn lets rapid choose, so that it can shrink a stream that fails.
type drawn struct{ t *rapid.T }

func (d drawn) IntN(n int) int { return rapid.IntRange(0, n-1).Draw(d.t, "n") }

// streams checks random streams of a few messages.
func streams(t *testing.T, target conformance.Target) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) {
		deflate := target.Deflate && rapid.Bool().Draw(rt, "deflate")
		if err := conformance.Stream(t.Context(), target, drawn{rt}, deflate, rapid.IntRange(1, 6).Draw(rt, "messages")); err != nil {
			rt.Fatal(err)
		}
	})
}

func TestPeerStreams(t *testing.T) {
	streams(t, coderServer(t, websocket.CompressionContextTakeover))
}

// A server that is silent, or that closes at once, fails every case: none passes by accident.
func TestNoCasePassesAgainstNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
				return
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	target := conformance.Target{
		Addr: l.Addr().String(), MaxMessage: 1 << 16, MaxFragments: 64, MaxHandshakeBytes: 8192, Deflate: true,
	}
	for _, c := range conformance.Cases() {
		// Closing is one of the permitted ways to refuse a request that is too long.
		if c.Skip(target) != "" || strings.HasPrefix(c.ID, "H.5.") && c.Expect == "status 431 (or 414, 400), or the end" {
			continue
		}
		if c.Check(t.Context(), target) == nil {
			t.Errorf("%s passes against a server that closes at once", c.ID)
		}
	}
}
