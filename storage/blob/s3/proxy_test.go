package s3_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/zumodra/hub/storage/blob/s3"
	"github.com/zumodra/hub/storage/blob/s3/s3test"
)

var putOptions = minio.PutObjectOptions{DisableMultipart: true}

// proxy stands between store and server and meddles with bodies. It keeps the Host that the request was signed for.
type proxy struct {
	request, response func(r *http.Request, body []byte) []byte
	refuse            func(r *http.Request) bool // as a key without the right is
}

func newProxy(t *testing.T, srv *s3test.Server, cfg *s3.Config, secure bool) *proxy {
	t.Helper()
	target, err := url.Parse(srv.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{}
	rp := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
		ModifyResponse: func(r *http.Response) error {
			if p.response == nil || r.Request.Method == http.MethodHead {
				return nil
			}
			b, err := io.ReadAll(r.Body)
			if err != nil {
				return err
			}
			// The length stays: what is missing is a connection that ended early.
			r.Body = io.NopCloser(bytes.NewReader(p.response(r.Request, b)))
			return nil
		},
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.refuse != nil && p.refuse(r) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>")
			return
		}
		if p.request != nil {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			b = p.request(r, b)
			r.Body = io.NopCloser(bytes.NewReader(b))
			r.ContentLength = int64(len(b))
			r.Header.Set("Content-Length", strconv.Itoa(len(b)))
		}
		rp.ServeHTTP(w, r)
	})
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = nil
	if secure {
		s.StartTLS()
		pool := x509.NewCertPool()
		pool.AddCert(s.Certificate())
		cfg.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	cfg.Endpoint = s.URL
	return p
}
