package reactor_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/edge/reactor"
)

// certificate makes a key pair for 127.0.0.1 and the client's side of it.
func certificate(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: pool}
}

func TestTLSEchoAndClose(t *testing.T) {
	srv, cl := certificate(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			tlsSeen := make(chan bool, 1)
			h := &hooks{upgrade: func(r *reactor.Request) reactor.Decision { tlsSeen <- r.TLS; return reactor.Decision{} }}
			s := start(t, reactor.Config{TLS: srv, MaxMessage: 2 << 20}, h)
			cfg := cl.Clone()
			cfg.MinVersion, cfg.MaxVersion = version, version
			c := dialTLS(t, s.Addr().String(), cfg)
			c.upgrade("/", "")
			if !<-tlsSeen {
				t.Error("Request.TLS is false")
			}
			for _, n := range []int{0, 1, 1000, 20000, 1 << 20} {
				p := bytes.Repeat([]byte("x"), n)
				go c.write(maskedFrame(0x82, p))
				if f := c.read(); f.b0 != 0x82 || !bytes.Equal(f.payload, p) {
					t.Fatalf("echo of %d bytes", n)
				}
			}
			c.send(0x88, []byte{0x03, 0xe8})
			c.expectClose(1000, false)
			c.expectEOF() // close_notify: crypto/tls reports a bare FIN as an error
		})
	}
}

// splitter is a connection that holds writes back for the test to pass on in pieces.
type splitter struct {
	net.Conn
	hold bool
	held []byte
}

func (s *splitter) Write(b []byte) (int, error) {
	if s.hold {
		s.held = append(s.held, b...)
		return len(b), nil
	}
	return s.Conn.Write(b)
}

// TestTLSRecordsSplitAtEveryByte pins what the shim relies on: crypto/tls keeps a partial record and does not remember
// a temporary read error.
func TestTLSRecordsSplitAtEveryByte(t *testing.T) {
	srv, cl := certificate(t)
	s := start(t, reactor.Config{TLS: srv, Reactors: 1}, &hooks{})
	probe := dialTLS(t, s.Addr().String(), cl)
	probe.upgrade("/", "")

	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		raw := dialRaw(t, s.Addr().String())
		sp := &splitter{Conn: raw.Conn}
		cfg := cl.Clone()
		cfg.ServerName, cfg.MinVersion, cfg.MaxVersion = "127.0.0.1", version, version
		tc := tls.Client(sp, cfg)
		c := &client{Conn: tc, t: t, br: bufio.NewReaderSize(tc, 512)}
		c.upgrade("/", "")
		for at := 1; ; at++ {
			msg := fmt.Sprintf("split at %d", at)
			sp.hold = true
			c.text(msg)
			sp.hold = false
			rec := sp.held
			sp.held = nil
			if at >= len(rec) {
				break
			}
			if _, err := raw.Conn.Write(rec[:at]); err != nil {
				t.Fatal(err)
			}
			// The one reactor answers the probe after it has seen the first part.
			probe.text("probe")
			probe.expectText("probe")
			if _, err := raw.Conn.Write(rec[at:]); err != nil {
				t.Fatal(err)
			}
			c.expectText(msg)
		}
	}
}

func TestTLSServesHTTPToo(t *testing.T) {
	srv, cl := certificate(t)
	s := start(t, reactor.Config{TLS: srv, HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%v %d", r.TLS != nil && r.TLS.HandshakeComplete, len(b))
	})}, &hooks{})
	tr := &http.Transport{TLSClientConfig: cl, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	hc := &http.Client{Transport: tr, Timeout: patience}
	for range 2 {
		resp, err := hc.Post("https://"+s.Addr().String()+"/x", "text/plain", strings.NewReader(strings.Repeat("x", 100_000)))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(b) != "true 100000" {
			t.Errorf("got %q", b)
		}
	}
}

func TestTLSSlowConsumer(t *testing.T) {
	srv, cl := certificate(t)
	h := &hooks{}
	s := start(t, reactor.Config{TLS: srv, Reactors: 1, QueueBytes: 64 << 10}, h)
	c := dialTLS(t, s.Addr().String(), cl)
	c.upgrade("/", "")
	eventually(t, "open", func() bool { return len(h.handles()) == 1 })
	pad := strings.Repeat("x", 4000)
	for i := 0; s.Send(h.handles()[0], reactor.NewFrame(true, []byte(fmt.Sprintf("%d %s", i, pad))), reactor.Durable) == nil; i++ {
	}
	for i := 0; ; i++ {
		f := c.read()
		if f.op() == 8 {
			if f.code() != reactor.CloseSlowConsumer {
				t.Fatalf("code %d", f.code())
			}
			break
		}
		if !strings.HasPrefix(string(f.payload), fmt.Sprintf("%d ", i)) {
			t.Fatalf("frame %d is %.10q", i, f.payload)
		}
	}
	c.send(0x88, []byte{0x0f, 0xa8})
	c.expectEOF()
}

func TestTLSHandshakesTimeOutAndFail(t *testing.T) {
	srv, _ := certificate(t)
	s := start(t, reactor.Config{TLS: srv, HandshakeTimeout: 100 * time.Millisecond}, &hooks{})
	for range 5 {
		c := dialRaw(t, s.Addr().String())
		c.write([]byte{22, 3, 1, 1, 0}) // a record header and nothing more
	}
	eventually(t, "all gone", func() bool {
		st := s.Stats()
		return st.Handshaking == 0 && st.Accepted == 5
	})
	if n := s.Stats().HandshakeTimeouts; n != 5 {
		t.Errorf("%d timeouts", n)
	}
	s = start(t, reactor.Config{TLS: srv, HandshakeTimeout: time.Hour}, &hooks{})
	plain := dialRaw(t, s.Addr().String())
	plain.write([]byte("GET / HTTP/1.1\r\nHost: hub\r\n\r\n"))
	eventually(t, "the one without TLS gone", func() bool {
		st := s.Stats()
		return st.Handshaking == 0 && st.Accepted == 1
	})
}

func TestTLSCloseDuringHandshakes(t *testing.T) {
	srv, _ := certificate(t)
	s := start(t, reactor.Config{TLS: srv}, &hooks{})
	for range 5 {
		c := dialRaw(t, s.Addr().String())
		c.write([]byte{22, 3, 1, 1, 0})
	}
	eventually(t, "handshaking", func() bool { return s.Stats().Handshaking == 5 })
}
