//go:build linux

package conformance_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/edge/reactor"
	"github.com/zumodra/hub/edge/reactor/conformance"
	"github.com/zumodra/hub/edge/reactor/conformance/nodews"
)

// echo is the reactor's handler that the suite wants.
type echo struct{ server *reactor.Server }

func (*echo) Upgrade(*reactor.Request) reactor.Decision { return reactor.Decision{} }
func (*echo) Open(reactor.Conn)                         {}
func (*echo) Closed(reactor.Conn, uint16, string)       {}

func (e *echo) Message(c reactor.Conn, text bool, p []byte) {
	// A connection that is gone needs no echo.
	_ = e.server.Send(c.Handle, reactor.NewFrame(text, bytes.Clone(p)), reactor.Durable)
}

// reactorServer starts the hub's transport and returns it as a target of the suite.
func reactorServer(t *testing.T, cfg reactor.Config) conformance.Target {
	t.Helper()
	e := &echo{}
	cfg.Addr, cfg.Handler = "127.0.0.1:0", e
	// What the suite has under way at a time must fit the queue: slow consumers are not its subject.
	cfg.QueueBytes, cfg.QueueFrames, cfg.QueueAge = 64<<20, 1<<16, time.Minute
	// No verdict may depend on how fast the machine is.
	cfg.HandshakeTimeout, cfg.CloseTimeout, cfg.PingInterval = time.Minute, time.Minute, -1
	server, err := reactor.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	e.server = server
	done := make(chan error, 1)
	go func() { done <- server.Serve(context.Background()) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := <-done; err != nil && !errors.Is(err, reactor.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	target := conformance.Target{
		Addr: server.Addr().String(), MaxMessage: 64 << 10, MaxFragments: 64, MaxHandshakeBytes: 8192,
		Deflate: cfg.Compress,
	}
	if cfg.MaxMessage > 0 {
		target.MaxMessage = cfg.MaxMessage
	}
	if cfg.MaxFragments > 0 {
		target.MaxFragments = cfg.MaxFragments
	}
	if cfg.TLS != nil {
		target.TLS = &tls.Config{RootCAs: testRoots(t, cfg.TLS), ServerName: "localhost"}
	}
	return target
}

// testTLS makes a self-signed certificate for localhost.
func testTLS(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func testRoots(t *testing.T, c *tls.Config) *x509.CertPool {
	t.Helper()
	cert, err := x509.ParseCertificate(c.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pool
}

// The limits of the hub's defaults, without compression.
func TestReq051_ReactorConforms(t *testing.T) {
	conformance.Run(t, reactorServer(t, reactor.Config{}), nil)
}

// Large messages of many fragments, with compression of everything.
func TestReq051_ReactorConformsDeflate(t *testing.T) {
	conformance.Run(t, reactorServer(t, reactor.Config{
		MaxMessage: 1 << 20, MaxFragments: 1 << 15, Compress: true, CompressThreshold: 1,
	}), nil)
}

func TestReq051_ReactorConformsTLS(t *testing.T) {
	conformance.Run(t, reactorServer(t, reactor.Config{TLS: testTLS(t), Compress: true}), nil)
}

// Random valid streams come back exactly.
func TestReq051_ReactorStreams(t *testing.T) {
	streams(t, reactorServer(t, reactor.Config{MaxMessage: 1 << 20, Compress: true}))
}

// Messages of up to 16 MiB, where the server is configured so.
func TestReq051_ReactorLargestMessages(t *testing.T) {
	if testing.Short() {
		t.Skip("messages of 16 MiB")
	}
	target := reactorServer(t, reactor.Config{MaxMessage: 16 << 20, MaxFragments: 1 << 15})
	for _, c := range conformance.Cases() {
		if !strings.HasPrefix(c.ID, "9.1.") && !strings.HasPrefix(c.ID, "9.2.") && !strings.HasPrefix(c.ID, "F.3.") {
			continue
		}
		t.Run(c.ID, func(t *testing.T) {
			if why := c.Skip(target); why != "" {
				t.Skip(why)
			}
			if err := c.Check(t.Context(), target); err != nil {
				t.Error(err)
			}
		})
	}
}

// An independent client against the hub's transport.
func TestReq051_ReactorWithNodeClient(t *testing.T) {
	if testing.Short() {
		t.Skip("starts node")
	}
	t.Run("plain", func(t *testing.T) {
		target := reactorServer(t, reactor.Config{MaxMessage: 1 << 20})
		nodews.Run(t, "ws://"+target.Addr, nodews.Options{MaxMessage: target.MaxMessage})
	})
	t.Run("deflate", func(t *testing.T) {
		target := reactorServer(t, reactor.Config{MaxMessage: 1 << 20, Compress: true})
		nodews.Run(t, "ws://"+target.Addr, nodews.Options{MaxMessage: target.MaxMessage, Deflate: true})
	})
	t.Run("TLS", func(t *testing.T) {
		target := reactorServer(t, reactor.Config{MaxMessage: 1 << 20, Compress: true, TLS: testTLS(t)})
		nodews.Run(t, "wss://"+target.Addr, nodews.Options{MaxMessage: target.MaxMessage, Deflate: true, Insecure: true})
	})
}
