package node_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zumodra/hub/internal/config"
	"github.com/zumodra/hub/internal/node"
	"github.com/zumodra/hub/storage/blob/s3/s3test"
)

// readyz answers the status and the verbose list.
func (h *hub) readyz() (int, string) {
	h.t.Helper()
	r, err := h.http.Get(h.admin + "/readyz?verbose")
	if err != nil {
		h.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func (h *hub) wantBlobs(text string) {
	h.t.Helper()
	h.await("/readyz with "+text, func() bool {
		status, list := h.readyz()
		if status != http.StatusOK {
			h.t.Fatalf("attachments made the node unready: %s", list)
		}
		return strings.Contains(list, "[+]blobs "+text)
	})
}

func (h *hub) metricsText() string {
	h.t.Helper()
	r, err := h.http.Get(h.admin + "/metrics")
	if err != nil {
		h.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return string(b)
}

func TestBlobsInTheDataDirectory(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.wantBlobs("ok\n")
	if !strings.Contains(h.metricsText(), "hub_blob_store_up 1\n") {
		t.Fatal("hub_blob_store_up is not 1")
	}
	if _, err := os.Stat(filepath.Join(h.cfg.Data, node.BlobDir, "content")); err != nil {
		t.Fatal(err)
	}
	h.stop()
	h.run() // the directory was let go
	h.wantBlobs("ok\n")
}

func s3Config(t *testing.T, srv *s3test.Server) func(*config.Config) {
	access, secret := srv.KeyFiles(t)
	bucket := srv.Bucket(t)
	return func(c *config.Config) {
		c.Blobs, c.S3Endpoint, c.S3Bucket, c.S3Region, c.S3PathStyle = "s3", srv.Endpoint, bucket, srv.Region, srv.PathStyle
		c.S3AccessKeyFile, c.S3SecretKeyFile = access, secret
	}
}

// TestBlobsServerThatIsNotThere: the hub starts, says what is wrong, carries messages, and heals alone.
func TestBlobsServerThatIsNotThere(t *testing.T) {
	t.Parallel()
	srv := s3test.Start(t)
	if !srv.Own() {
		t.Skip("the server of HUB_S3_ENDPOINT is not ours to stop")
	}
	cfg := s3Config(t, srv)
	srv.Kill()
	h := start(t, cfg)
	h.wantBlobs("degraded, uploads and downloads fail: ")
	if _, list := h.readyz(); !strings.Contains(list, "connection refused") {
		t.Fatalf("the reason is not named: %s", list)
	}
	if !strings.Contains(h.log.String(), "the store of attachments cannot be used") || !strings.Contains(h.metricsText(), "hub_blob_store_up 0\n") {
		t.Fatal("neither log nor metric says it")
	}
	h.user("bob")
	h.user("cat")
	h.user("ann").group("Crew", "bob", "cat")
	srv.Restart()
	h.wantBlobs("ok\n")
	if !strings.Contains(h.log.String(), "the store of attachments is ready") {
		t.Fatal("the log does not say that it healed")
	}
}

func TestBlobsWrongKey(t *testing.T) {
	t.Parallel()
	srv := s3test.Start(t)
	cfg := s3Config(t, srv)
	wrong := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(wrong, []byte("not the secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := start(t, cfg, func(c *config.Config) { c.S3SecretKeyFile = wrong })
	h.wantBlobs("degraded, uploads and downloads fail: ")
	if _, list := h.readyz(); !strings.Contains(list, "does not accept the keys") {
		t.Fatalf("the reason is not named: %s", list)
	}
	if strings.Contains(h.log.String(), "not the secret") || strings.Contains(h.log.String(), srv.Secret) {
		t.Fatal("the log shows a secret")
	}
}

func TestBlobsKeysThatAreMissing(t *testing.T) {
	t.Parallel()
	_, err := node.New(config.Config{Listen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", Data: t.TempDir(), Dev: true,
		Blobs: "s3", S3Endpoint: "http://127.0.0.1:1", S3Bucket: "bucket", S3Region: "us-east-1", S3AccessKeyFile: "/nonexistent/a",
		S3SecretKeyFile: "/nonexistent/s", UserBurst: 20, MaxMessageBytes: 65536, PingInterval: 20e9, PongTimeout: 30e9,
		MaxGroupSize: 10000, NamedReaders: 256, IdleAfter: 120e9}, node.Options{})
	if err == nil || !strings.Contains(err.Error(), "/nonexistent/a") {
		t.Fatalf("%v", err)
	}
}
