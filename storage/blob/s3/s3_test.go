package s3_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/storage/blob"
	"github.com/zumodra/hub/storage/blob/blobtest"
	"github.com/zumodra/hub/storage/blob/s3"
	"github.com/zumodra/hub/storage/blob/s3/s3test"
)

func config(t *testing.T, srv *s3test.Server) s3.Config {
	t.Helper()
	access, secret := srv.KeyFiles(t)
	return s3.Config{Endpoint: srv.Endpoint, Bucket: srv.Bucket(t), Region: srv.Region, PathStyle: srv.PathStyle,
		AccessKeyFile: access, SecretKeyFile: secret, Timeout: 5 * time.Second}
}

func open(t *testing.T, cfg s3.Config) *s3.Store {
	t.Helper()
	s, err := s3.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	srv := s3test.Start(t)
	blobtest.Run(t, func(t *testing.T) blob.Store {
		cfg := config(t, srv)
		cfg.Prefix = "hub/test"
		return open(t, cfg)
	})
}

func wantErr(t *testing.T, err, want error, words ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Fatalf("error %q does not say %q", err, w)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestWhatIsWrongIsSaid: an operator reads the reason in the log and in /readyz.
func TestWhatIsWrongIsSaid(t *testing.T) {
	srv := s3test.Start(t)
	good := config(t, srv)
	t.Run("secret", func(t *testing.T) {
		cfg := good
		cfg.SecretKeyFile = t.TempDir() + "/secret"
		must(t, os.WriteFile(cfg.SecretKeyFile, []byte("not the secret"), 0o600))
		s := open(t, cfg)
		wantErr(t, s.Health(t.Context()), blob.ErrUnavailable, "does not accept the keys", cfg.Endpoint)
		_, err := s.Stage(t.Context(), "acme", bytes.NewReader(blobtest.Content(6<<20, 1)), 0)
		wantErr(t, err, blob.ErrUnavailable, "does not accept the keys")
	})
	t.Run("bucket", func(t *testing.T) {
		cfg := good
		cfg.Bucket = "hub-test-no-such-bucket"
		wantErr(t, open(t, cfg).Health(t.Context()), blob.ErrUnavailable, "no bucket", cfg.Bucket, "create it")
	})
	t.Run("endpoint", func(t *testing.T) {
		cfg := good
		cfg.Endpoint = "http://127.0.0.1:1"
		wantErr(t, open(t, cfg).Health(t.Context()), blob.ErrUnavailable, "127.0.0.1:1", "refused")
	})
	t.Run("read-only", func(t *testing.T) {
		cfg := good
		p := newProxy(t, srv, &cfg, false)
		p.refuse = func(r *http.Request) bool { return r.Method == http.MethodPut }
		s := open(t, cfg)
		wantErr(t, s.Health(t.Context()), blob.ErrUnavailable, "does not accept the keys")
		p.refuse = nil
		must(t, s.Health(t.Context()))
		must(t, s.Health(t.Context()))
	})
	t.Run("healthy", func(t *testing.T) { must(t, open(t, good).Health(t.Context())) })
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	key := dir + "/key"
	must(t, os.WriteFile(key, []byte("k\n"), 0o600))
	two := dir + "/two"
	must(t, os.WriteFile(two, []byte("k\nl\n"), 0o600))
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_ACCESS_KEY", "")
	t.Setenv("AWS_SECRET_KEY", "")
	ok := s3.Config{Endpoint: "https://s3.example.com", Bucket: "attachments", AccessKeyFile: key, SecretKeyFile: key}
	must(t, open(t, ok).Close())
	for word, change := range map[string]func(*s3.Config){
		"endpoint":          func(c *s3.Config) { c.Endpoint = "s3.example.com" },
		"endpoint ":         func(c *s3.Config) { c.Endpoint = "ftp://s3.example.com" },
		"endpoint \"https:": func(c *s3.Config) { c.Endpoint = "https://s3.example.com/bucket" },
		"bucket":            func(c *s3.Config) { c.Bucket = "" },
		"go together":       func(c *s3.Config) { c.SecretKeyFile = "" },
		"AWS_ACCESS_KEY_ID": func(c *s3.Config) { c.AccessKeyFile, c.SecretKeyFile = "", "" },
		"no such file":      func(c *s3.Config) { c.SecretKeyFile = dir + "/missing" },
		"one key":           func(c *s3.Config) { c.SecretKeyFile = two },
	} {
		c := ok
		change(&c)
		if _, err := s3.Open(c); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(word)) {
			t.Errorf("%s: %v", word, err)
		}
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "s")
	ok.AccessKeyFile, ok.SecretKeyFile = "", ""
	must(t, open(t, ok).Close())
}

// TestServerKilledMidUpload: the put fails, nothing is visible, what it left is cleaned, and the store heals alone.
func TestServerKilledMidUpload(t *testing.T) {
	srv := s3test.Start(t)
	if !srv.Own() {
		t.Skip("the server of HUB_S3_ENDPOINT is not ours to kill")
	}
	cfg := config(t, srv)
	s := open(t, cfg)
	before := blobtest.Put(t, s, "acme", blobtest.Content(100, 1))
	content := blobtest.Content(14<<20, 2)
	killed := &atByte{r: bytes.NewReader(content), at: 6 << 20, do: srv.Kill}
	_, err := s.Stage(t.Context(), "acme", killed, 0)
	wantErr(t, err, blob.ErrUnavailable)
	wantErr(t, s.Health(t.Context()), blob.ErrUnavailable)
	srv.Restart()
	must(t, s.Health(t.Context()))
	must(t, blob.Verify(t.Context(), s, before.Key))
	n := 0
	must(t, s.List(t.Context(), func(blob.Info) bool { n++; return true }))
	if n != 1 {
		t.Fatalf("%d blobs, want the one from before", n)
	}
	if n, err := s.Clean(t.Context(), time.Now().Add(time.Hour)); err != nil || n != 1 {
		t.Fatalf("cleaned %d uploads, want 1: %v", n, err)
	}
	must(t, blob.Verify(t.Context(), s, blobtest.Put(t, s, "acme", content).Key))
}

type atByte struct {
	r    io.Reader
	n    int
	at   int
	do   func()
	done bool
}

func (a *atByte) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	if a.n += n; a.n >= a.at && !a.done {
		a.done = true
		a.do()
	}
	return n, err
}

// TestDamagedOnTheWay: a part that changes on its way is refused by the server, in the clear and under TLS.
func TestDamagedOnTheWay(t *testing.T) {
	srv := s3test.Start(t)
	for _, tls := range []bool{false, true} {
		for _, size := range []int{1000, 12 << 20} {
			cfg := config(t, srv)
			damage := true
			p := newProxy(t, srv, &cfg, tls)
			p.request = func(r *http.Request, body []byte) []byte {
				if damage && r.Method == http.MethodPut && len(body) > 500 {
					body[400] ^= 1
				}
				return body
			}
			s := open(t, cfg)
			content := blobtest.Content(size, 1)
			put := func() error {
				st, err := s.Stage(t.Context(), "acme", bytes.NewReader(content), 0)
				if err != nil {
					return err
				}
				defer st.Discard()
				_, err = st.Publish(t.Context(), 0)
				return err
			}
			wantErr(t, put(), blob.ErrCorrupt)
			must(t, s.List(t.Context(), func(i blob.Info) bool { t.Errorf("%v is visible", i); return true }))
			damage = false
			must(t, put())
			must(t, s.List(t.Context(), func(i blob.Info) bool { must(t, blob.Verify(t.Context(), s, i.Key)); return true }))
		}
	}
}

// TestAnswersCutOff: a download that breaks off is an error, and a further read goes on from there.
func TestAnswersCutOff(t *testing.T) {
	srv := s3test.Start(t)
	cfg := config(t, srv)
	p := newProxy(t, srv, &cfg, false)
	s := open(t, cfg)
	content := blobtest.Content(300<<10, 1)
	k := blobtest.Put(t, s, "acme", content).Key
	cut := 3
	p.response = func(r *http.Request, body []byte) []byte {
		if r.Method == http.MethodGet && cut > 0 {
			cut--
			return body[:len(body)/2]
		}
		return body
	}
	rd, err := s.Open(t.Context(), k)
	must(t, err)
	defer rd.Close()
	got, failures := []byte(nil), 0
	for {
		b, err := io.ReadAll(rd)
		got = append(got, b...)
		if err == nil {
			break
		}
		wantErr(t, err, blob.ErrUnavailable)
		if failures++; failures > 5 {
			t.Fatal(err)
		}
	}
	if failures != 3 || !bytes.Equal(got, content) {
		t.Fatalf("%d failures, %d bytes", failures, len(got))
	}
	cut = 1
	if err := blob.Verify(t.Context(), s, k); !errors.Is(err, blob.ErrUnavailable) {
		t.Fatalf("a cut answer was taken for the content: %v", err)
	}
}

// TestReplacedContent: what was changed in the bucket behind our back is found by Verify.
func TestReplacedContent(t *testing.T) {
	srv := s3test.Start(t)
	cfg := config(t, srv)
	s := open(t, cfg)
	k := blobtest.Put(t, s, "acme", blobtest.Content(1000, 1)).Key
	other := blobtest.Content(1000, 2)
	_, err := srv.Client().PutObject(t.Context(), cfg.Bucket, "blobs/"+k.Folder()+"/"+k.Name(), bytes.NewReader(other), 1000, "", "", putOptions)
	must(t, err)
	wantErr(t, blob.Verify(t.Context(), s, k), blob.ErrCorrupt)
}

func TestPresignedURLs(t *testing.T) {
	srv := s3test.Start(t)
	s := open(t, config(t, srv))
	content := blobtest.Content(5000, 1)
	k := blobtest.Put(t, s, "acme", content).Key
	get := func(u, rng string) (*http.Response, []byte) {
		t.Helper()
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil)
		must(t, err)
		if rng != "" {
			q.Header.Set("Range", rng)
		}
		resp, err := http.DefaultClient.Do(q)
		must(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		must(t, err)
		return resp, b
	}
	u, err := s.PresignGet(t.Context(), k, time.Minute, "application/pdf", `attachment; filename="a.pdf"`)
	must(t, err)
	resp, b := get(u, "")
	if resp.StatusCode != 200 || !bytes.Equal(b, content) || resp.Header.Get("Content-Type") != "application/pdf" ||
		resp.Header.Get("Content-Disposition") != `attachment; filename="a.pdf"` {
		t.Fatalf("%d, %d bytes, %v", resp.StatusCode, len(b), resp.Header)
	}
	if resp, b := get(u, "bytes=10-19"); resp.StatusCode != http.StatusPartialContent || !bytes.Equal(b, content[10:20]) {
		t.Fatalf("range: %d, %d bytes", resp.StatusCode, len(b))
	}
	if resp, _ := get(strings.Replace(u, "X-Amz-Expires=60", "X-Amz-Expires=600", 1), ""); resp.StatusCode != http.StatusForbidden {
		t.Fatalf("a longer life than was signed: %d", resp.StatusCode)
	}
	if resp, _ := get(strings.Replace(u, k.Folder(), "00", 1), ""); resp.StatusCode != http.StatusForbidden {
		t.Fatalf("another name than was signed: %d", resp.StatusCode)
	}
	short, err := s.PresignGet(t.Context(), k, time.Second, "", "")
	must(t, err)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if resp, _ := get(short, ""); resp.StatusCode == http.StatusForbidden {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a URL of one second works after a minute")
		}
	}
}

// TestUploadsAreBounded: an upload beyond the bound waits for one to end, as long as its context lets it.
func TestUploadsAreBounded(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/key", []byte("k"), 0o600))
	s := open(t, s3.Config{Endpoint: "http://127.0.0.1:1", Bucket: "bucket", PathStyle: true, AccessKeyFile: dir + "/key", SecretKeyFile: dir + "/key", Uploads: 2})
	var held []blob.Staged
	for range 2 {
		st, err := s.Stage(t.Context(), "acme", strings.NewReader("small content needs no server yet"), 0)
		must(t, err)
		held = append(held, st)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := s.Stage(ctx, "acme", strings.NewReader("x"), 0)
	wantErr(t, err, context.DeadlineExceeded, "waiting for one of 2 uploads")
	held[0].Discard()
	st, err := s.Stage(t.Context(), "acme", strings.NewReader("x"), 0)
	must(t, err)
	_, err = st.Publish(t.Context(), 0)
	wantErr(t, err, blob.ErrUnavailable, "refused")
	st.Discard()
	held[1].Discard()
}

// TestUnderTLS: a server whose certificate is not known is refused; with its root all works.
func TestUnderTLS(t *testing.T) {
	srv := s3test.Start(t)
	cfg := config(t, srv)
	newProxy(t, srv, &cfg, true)
	s := open(t, cfg)
	for _, n := range []int{0, 1000, 6 << 20} {
		must(t, blob.Verify(t.Context(), s, blobtest.Put(t, s, "acme", blobtest.Content(n, 1)).Key))
	}
	cfg.TLS = nil
	wantErr(t, open(t, cfg).Health(t.Context()), blob.ErrUnavailable, "certificate")
}

// TestServerErrors: what a server in trouble answers becomes ErrUnavailable.
func TestServerErrors(t *testing.T) {
	status, body := http.StatusServiceUnavailable, `<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	defer h.Close()
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/key", []byte("k"), 0o600))
	s := open(t, s3.Config{Endpoint: h.URL, Bucket: "bucket", PathStyle: true, AccessKeyFile: dir + "/key", SecretKeyFile: dir + "/key", Retries: 1})
	k := blob.Key{Tenant: "acme"}
	for _, c := range []struct {
		status int
		body   string
		want   error
	}{
		{503, body, blob.ErrUnavailable},
		{500, "<html>nginx</html>", blob.ErrUnavailable},
		{200, "<ListBucketResult><Contents>", blob.ErrUnavailable},
		{403, `<Error><Code>RequestTimeTooSkewed</Code></Error>`, blob.ErrUnavailable},
		{507, `<Error><Code>XMinioStorageFull</Code><Message>full</Message></Error>`, blob.ErrNoSpace},
	} {
		status, body = c.status, c.body
		wantErr(t, s.Health(t.Context()), c.want)
		wantErr(t, s.Health(t.Context()), blob.ErrUnavailable)
	}
	status = 503
	_, err := s.Stat(t.Context(), k)
	wantErr(t, err, blob.ErrUnavailable)
	wantErr(t, s.Delete(t.Context(), k), blob.ErrUnavailable)
	_, err = s.Clean(t.Context(), time.Now())
	wantErr(t, err, blob.ErrUnavailable)
	wantErr(t, s.List(t.Context(), func(blob.Info) bool { return true }), blob.ErrUnavailable)
}
