package node_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/zumodra/hub/internal/config"
)

// certify writes a new self-signed certificate for the loopback address.
func certify(t *testing.T, certFile, keyFile string, serial int64) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "hub"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(cert)
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: pkcs}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return pool
}

func TestReq122_TLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pool := certify(t, certFile, keyFile, 1)
	h := start(t, func(c *config.Config) { c.TLSCert, c.TLSKey = certFile, keyFile })
	h.url, h.ws = strings.Replace(h.url, "http:", "https:", 1), strings.Replace(h.ws, "ws:", "wss:", 1)
	secure := func(pool *x509.CertPool) *http.Client {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}
		return &http.Client{Transport: tr, Timeout: patience}
	}
	h.http = secure(pool)
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.direct("bob")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, _, err := websocket.Dial(ctx, h.ws+"/ws/chat/"+id+"/", &websocket.DialOptions{HTTPHeader: bearer(ann.token), HTTPClient: h.http})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	expect := func(want string) {
		t.Helper()
		if _, b, err := c.Read(ctx); err != nil || !strings.Contains(string(b), want) {
			t.Fatalf("%s %v, want %s", b, err, want)
		}
	}
	expect(statusFrame) // what is sent before it is for a resume
	bob.post(id, "secret")
	expect(`"content":"secret"`)

	// Plain is refused.
	plain := &http.Client{Timeout: patience}
	if r, err := plain.Get(strings.Replace(h.url, "https:", "http:", 1) + "/health/"); err == nil {
		r.Body.Close()
		if r.StatusCode == http.StatusOK {
			t.Error("plain HTTP is answered")
		}
	}
	if s, err := h.openURL(strings.Replace(h.ws, "wss:", "ws:", 1)+"/ws/", bearer(ann.token)); err == nil {
		t.Errorf("plain WebSocket is accepted: %v", s.next())
	}

	// A new certificate is taken up without a restart; who is connected stays.
	renewed := certify(t, certFile, keyFile, 2)
	h.clock.advance(time.Minute)
	h.http = secure(renewed)
	h.await("the new certificate", func() bool {
		r, err := h.http.Get(h.url + "/health/")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	bob.post(id, "after")
	if _, b, err := c.Read(ctx); err != nil || !strings.Contains(string(b), `"content":"after"`) {
		t.Errorf("%s %v", b, err)
	}
}
