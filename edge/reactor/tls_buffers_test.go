//go:build linux && !reactor_portable

package reactor

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
	"unsafe"
)

// TestTLSBuffersAreGivenBack pins what releaseBuffers relies on: the fields are there, they are what grew, and a
// connection works on without them.
func TestTLSBuffersAreGivenBack(t *testing.T) {
	if rawInputAt == 0 || handAt == 0 {
		t.Fatal("tls.Conn has changed: see tls_buffers_linux.go")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		server := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
		client := tls.Client(b, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}) //nolint:gosec // a test's own certificate
		done := make(chan error, 1)
		go func() {
			if _, err := io.Copy(client, client); !errors.Is(err, net.ErrClosed) {
				done <- err
			}
			close(done)
		}()
		if err := server.Handshake(); err != nil {
			t.Fatal(err)
		}
		buffer := func(at uintptr) *bytes.Buffer { return (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(server), at)) }
		if raw, hand := buffer(rawInputAt).Cap(), buffer(handAt).Cap(); version == tls.VersionTLS13 && (raw <= keepRawInput || hand <= keepRawInput) {
			t.Fatalf("a handshake leaves %d and %d bytes: nothing to give back", raw, hand)
		}
		for _, n := range []int{1, 20_000, 100, 16_384, 7} {
			releaseBuffers(server)
			if raw, hand := buffer(rawInputAt).Cap(), buffer(handAt).Cap(); raw > keepRawInput || hand > 0 {
				t.Fatalf("%d and %d bytes are kept", raw, hand)
			}
			sent := bytes.Repeat([]byte{byte(n)}, n)
			go server.Write(sent)
			got := make([]byte, n)
			for at := 0; at < n; { // given back in the middle of a message, too
				m, err := server.Read(got[at:min(n, at+1000)])
				if err != nil {
					t.Fatal(err)
				}
				at += m
				releaseBuffers(server)
			}
			if !bytes.Equal(got, sent) {
				t.Fatalf("%s: %d bytes came back wrong", tls.VersionName(version), n)
			}
		}
		b.Close()
		if err := <-done; err != nil && !errors.Is(err, io.ErrClosedPipe) {
			t.Fatal(err)
		}
	}
}
