package transport_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/zumodra/hub/cluster/transport"
)

type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T, name string) *authority {
	a := &authority{t: t}
	a.cert, a.key = a.issue(name, true)
	a.pool = x509.NewCertPool()
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) issue(name string, ca bool) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: ca, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	parent, signer := template, key
	if !ca {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) config(trust *authority) *tls.Config {
	cert, key := a.issue("node", false)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}, RootCAs: trust.pool}
}

func TestTLSBothWays(t *testing.T) {
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	with := func(c *tls.Config) func(*transport.Config) {
		return func(cfg *transport.Config) { cfg.TLS, cfg.PeerTimeout = c, 2*time.Second }
	}
	a, b := start(t, 1, with(ours.config(ours))), start(t, 2, with(ours.config(ours)))
	a.SetPeers([]transport.Peer{b.peer()})
	b.SetPeers([]transport.Peer{a.peer()})
	const n = 5000
	var o outcomes
	for i := range n {
		a.Transport.Deliver(2, []byte(strconv.Itoa(i)), o.done(i))
	}
	for i, err := range o.wait(t, n) {
		if err != nil {
			t.Fatal(i, err)
		}
	}
	if _, err := ask(t, b, t.Context(), 1, "x"); err != nil {
		t.Fatal(err)
	}

	// Strangers: a certificate of somebody else, whichever way they come, and none at all.
	s := start(t, 3, with(theirs.config(ours)))
	s.SetPeers([]transport.Peer{b.peer()})
	eventually(t, "it is refused", func() bool { return b.Stats().Refused > 0 && s.stats(2).DialFailures > 1 })
	plain := start(t, 4)
	plain.SetPeers([]transport.Peer{b.peer()})
	before := b.Stats().Refused
	eventually(t, "it is refused", func() bool { return b.Stats().Refused > before+1 && plain.stats(2).DialFailures > 1 })
	// An answerer that our authority does not vouch for.
	f := start(t, 5, with(theirs.config(theirs)))
	a.SetPeers([]transport.Peer{b.peer(), f.peer()})
	eventually(t, "it is not believed", func() bool { return a.stats(5).DialFailures > 1 })
	for _, p := range []transport.PeerStats{s.stats(2), plain.stats(2), a.stats(5)} {
		if p.Connects != 0 {
			t.Errorf("connected: %+v", p)
		}
	}
	if len(b.Stats().Inbound) != 1 {
		t.Errorf("%+v", b.Stats().Inbound)
	}
	var o2 outcomes
	s.Transport.Deliver(2, []byte("x"), o2.done(0))
	if err := o2.wait(t, 1)[0]; !errors.Is(err, transport.ErrNotSent) {
		t.Fatal(err)
	}
}

func TestTLSMustBeMutual(t *testing.T) {
	ours := newAuthority(t, "ours")
	for name, c := range map[string]*tls.Config{
		"no certificate": {RootCAs: ours.pool},
		"no roots":       {Certificates: ours.config(ours).Certificates},
	} {
		cfg := config(1, &node{})
		cfg.TLS = c
		if tr, err := transport.New(cfg); err == nil {
			_ = tr.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}
