package s3test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"golang.org/x/sys/unix"
)

// Version of versitygw that is built. Its go.sum is checked by the go command.
const Version = "v1.8.0"

const module = "github.com/versity/versitygw/cmd/versitygw@" + Version

// Server is a running S3 server.
type Server struct {
	Endpoint          string
	Access, Secret    string
	Region            string
	PathStyle         bool
	t                 testing.TB
	addr, dir, binary string // of our own server
	mu                sync.Mutex
	cmd               *exec.Cmd
	log               *bytes.Buffer
}

// Binary is where the server lies, or will.
func Binary() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache directory: %w", err)
	}
	return filepath.Join(dir, "hub-tools", "versitygw-"+Version, "versitygw"), nil
}

// Install builds the server unless it was built before. It takes minutes.
func Install(ctx context.Context) (string, error) {
	bin, err := Binary()
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(bin)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", dir, err)
	}
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	cmd := exec.CommandContext(ctx, "go", "install", module)
	cmd.Dir = dir // not in our module
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go install %s: %w\n%s", module, err, out)
	}
	return bin, nil
}

// Start gives the test a server, ended with it.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, Region: "us-east-1", PathStyle: true}
	if s.Endpoint = os.Getenv("HUB_S3_ENDPOINT"); s.Endpoint != "" {
		s.Access, s.Secret = os.Getenv("HUB_S3_ACCESS_KEY"), os.Getenv("HUB_S3_SECRET_KEY")
		if r := os.Getenv("HUB_S3_REGION"); r != "" {
			s.Region = r
		}
		s.PathStyle = os.Getenv("HUB_S3_PATH_STYLE") != "false"
		return s
	}
	bin, err := Binary()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(bin); err != nil {
		if os.Getenv("HUB_S3") != "required" {
			t.Skip("no S3 server: `make test-s3` builds one, or set HUB_S3_ENDPOINT, HUB_S3_ACCESS_KEY and HUB_S3_SECRET_KEY")
		}
		if bin, err = Install(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.binary, s.addr, s.dir = bin, l.Addr().String(), t.TempDir()
	_ = l.Close() // the server takes the port
	s.Endpoint, s.Access, s.Secret = "http://"+s.addr, "hub-test", rand.Text()
	s.Restart()
	t.Cleanup(s.Kill)
	return s
}

// Own reports whether the server is ours to stop.
func (s *Server) Own() bool { return s.binary != "" }

// Kill ends the server at once, as SIGKILL does.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait() // killed
	s.cmd = nil
	if s.t.Failed() {
		s.t.Logf("log of the S3 server:\n%s", s.log)
	}
}

// Restart starts the server where it was, with what it has stored.
func (s *Server) Restart() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = &bytes.Buffer{}
	s.cmd = exec.Command(s.binary, "--port", s.addr, "--region", s.Region, "posix", s.dir)
	s.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s.Access, "ROOT_SECRET_KEY="+s.Secret)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		resp, err := http.Get(s.Endpoint)
		if err == nil {
			_ = resp.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the S3 server does not answer: %v\n%s", err, s.log)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Client for what the store does not do by itself.
func (s *Server) Client() *minio.Core {
	s.t.Helper()
	u, err := url.Parse(s.Endpoint)
	if err != nil {
		s.t.Fatal(err)
	}
	lookup := minio.BucketLookupDNS
	if s.PathStyle {
		lookup = minio.BucketLookupPath
	}
	c, err := minio.NewCore(u.Host, &minio.Options{Creds: credentials.NewStaticV4(s.Access, s.Secret, ""),
		Secure: u.Scheme == "https", Region: s.Region, BucketLookup: lookup})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// Bucket makes an empty bucket, removed with the test.
func (s *Server) Bucket(t testing.TB) string {
	t.Helper()
	name := "hub-test-" + strings.ToLower(rand.Text()[:20])
	c := s.Client()
	if err := c.MakeBucket(t.Context(), name, minio.MakeBucketOptions{Region: s.Region}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.Own() {
			return // all of it goes
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		var errs []error
		for o := range c.ListObjectsIter(ctx, name, minio.ListObjectsOptions{Recursive: true}) {
			errs = append(errs, o.Err, c.RemoveObject(ctx, name, o.Key, minio.RemoveObjectOptions{}))
		}
		if err := errors.Join(append(errs, c.RemoveBucket(ctx, name))...); err != nil {
			t.Logf("removing bucket %s: %v", name, err)
		}
	})
	return name
}

// KeyFiles writes the server's keys as an operator would.
func (s *Server) KeyFiles(t testing.TB) (access, secret string) {
	t.Helper()
	dir := t.TempDir()
	access, secret = filepath.Join(dir, "access"), filepath.Join(dir, "secret")
	for file, key := range map[string]string{access: s.Access, secret: s.Secret} {
		if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return access, secret
}
