package node_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/zumodra/hub/client"
)

// The SDK uploads in parts, sends, and downloads what others sent.
func TestClientFiles(t *testing.T) {
	t.Parallel()
	h := start(t, withFiles)
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.direct("bob")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := client.New(client.Config{URL: h.url, TokenSource: client.StaticToken(ann.token)})
	if err != nil {
		t.Fatal(err)
	}
	run := make(chan error, 1)
	go func() { run <- c.Run(ctx) }()
	t.Cleanup(func() { _ = c.Close(); <-run })
	content := strings.Repeat("0123456789ü\n", 1<<20) // more than one part
	m, err := c.SendFile(ctx, id, "a.txt", strings.NewReader(content), "")
	if err != nil || m.File == "" || m.Content != "" {
		t.Fatalf("%+v, %v", m, err)
	}
	r, err := c.Download(ctx, m.File)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || string(b) != content {
		t.Errorf("%d other bytes, %v", len(b), err)
	}
	if page, err := c.Messages(ctx, id, ""); err != nil || page.Messages[0].File != m.File {
		t.Errorf("%+v, %v", page, err)
	}
	if got := bob.get(m.File, true).want(200); got.raw != content {
		t.Errorf("%d other bytes", len(got.raw))
	}
	var he *client.HTTPError
	if _, err := c.Upload(ctx, "a.exe", strings.NewReader("x")); !errors.As(err, &he) || he.Status != 400 {
		t.Errorf("%v", err)
	}
	if _, err := c.Upload(ctx, "a.pdf", strings.NewReader("no pdf")); !errors.As(err, &he) || he.Status != 400 {
		t.Errorf("%v", err)
	}
	if _, err := c.Download(ctx, "https://elsewhere.example/x"); err == nil {
		t.Error("the token went elsewhere")
	}
}
