package scylla_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/scylla"
	"github.com/zumodra/hub/storage/scylla/scyllatest"
)

// issue makes a certificate, signed by itself if by is nil.
func issue(t *testing.T, by *tls.Certificate, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true}
	change(c)
	parent, signer := c, any(key)
	if by != nil {
		parent, signer = by.Leaf, by.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// TestTLS: the server's certificate is verified, its name included, and ours is shown.
func TestTLS(t *testing.T) {
	authority := func() (tls.Certificate, *x509.CertPool) {
		ca := issue(t, nil, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign })
		pool := x509.NewCertPool()
		pool.AddCert(ca.Leaf)
		return ca, pool
	}
	ca, pool := authority()
	_, strangers := authority()
	named := issue(t, &ca, func(c *x509.Certificate) { c.DNSNames = []string{"db.example.com"} })
	mine := issue(t, &ca, func(*x509.Certificate) {})
	l, err := tls.Listen("tcp4", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{named}, ClientAuth: tls.RequireAndVerifyClientCert,
		ClientCAs: pool, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	s := standInOn(t, l)
	for _, c := range []struct {
		name string
		cfg  *tls.Config
		ok   bool
	}{
		{"right", &tls.Config{RootCAs: pool, ServerName: "db.example.com", Certificates: []tls.Certificate{mine}}, true},
		{"unknown authority", &tls.Config{RootCAs: strangers, ServerName: "db.example.com", Certificates: []tls.Certificate{mine}}, false},
		{"wrong name", &tls.Config{RootCAs: pool, ServerName: "other.example.com", Certificates: []tls.Certificate{mine}}, false},
		{"no name", &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{mine}}, false},
		{"no client certificate", &tls.Config{RootCAs: pool, ServerName: "db.example.com"}, false},
		{"no TLS", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := scylla.Open(t.Context(), scylla.Config{Hosts: []string{s.listener.Addr().String()}, TLS: c.cfg, ConnectTimeout: 500 * time.Millisecond})
			if err == nil {
				e.Close()
			}
			if (err == nil) != c.ok {
				t.Error(err)
			}
		})
	}
}

func TestPassword(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := standInOn(t, l)
	s.password = "hub/secret"
	for password, ok := range map[string]bool{"secret": true, "wrong": false} {
		e, err := scylla.Open(t.Context(), scylla.Config{Hosts: []string{l.Addr().String()}, User: "hub", Password: password, ConnectTimeout: 500 * time.Millisecond})
		if err == nil {
			e.Close()
		}
		if (err == nil) != ok {
			t.Errorf("%s: %v", password, err)
		}
	}
}

func TestCompression(t *testing.T) {
	cfg := scyllatest.Config(t)
	cfg.Keyspace, cfg.Compress = scyllatest.Keyspace(t), true
	e, err := scylla.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	text := bytes.Repeat([]byte("compressible "), 10_000)
	err = e.Apply(t.Context(), storage.Batch{Table: storage.TableUsers, Partition: userKey, Mutations: []storage.Mutation{{Columns: []storage.Value{{Set: true, B: text}}}}})
	if err != nil {
		t.Fatal(err)
	}
	row, err := e.Get(t.Context(), storage.TableUsers, userKey, nil)
	if err != nil || !bytes.Equal(row.Columns[0].B, text) {
		t.Fatal(len(row.Columns), err)
	}
}
