package clustertest

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"path"
	"strings"
	"testing"
	"time"
)

// TestReq070_AnUploadGoesOnAtAnotherNode: a resumable upload begins at one node, gets a part at each of the others, is sent
// at one that saw the least of it, and can be downloaded from all.
func TestReq070_AnUploadGoesOnAtAnotherNode(t *testing.T) {
	several(t)
	c := sharedCluster(t, plain)
	ps := people(t, c, "red", "ann", "bob")
	ann, bob := ps[0], ps[1]
	nodes := c.Running()
	at := func(i int) string { return nodes[i%len(nodes)].URL() }
	raw := func(base, token, method, path string, body string, header ...string) (*http.Response, string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, method, base+path, strings.NewReader(body))
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Tus-Resumable", "1.0.0")
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := c.HTTP().Do(req)
		must(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		must(t, err)
		return resp, string(b)
	}
	want := func(resp *http.Response, body string, status int) *http.Response {
		t.Helper()
		if resp.StatusCode != status {
			t.Fatalf("%s %s: %d %s", resp.Request.Method, resp.Request.URL, resp.StatusCode, body)
		}
		return resp
	}
	const uploads = "/api/v1/messages/uploads/"
	content := strings.Repeat("0123456789abcdef", 20_000)
	size := len(content)
	resp, body := raw(at(0), ann.token, "POST", uploads, "", "Upload-Length", "320000", "Upload-Metadata", "filename "+
		base64.StdEncoding.EncodeToString([]byte("log.txt")))
	id := path.Base(strings.TrimSuffix(want(resp, body, 201).Header.Get("Location"), "/"))
	parts := []int{0, size / 3, size / 2, size}
	for i := range len(parts) - 1 {
		base := at(i + 1)
		resp, body := raw(base, ann.token, "HEAD", uploads+id+"/", "")
		offset := want(resp, body, 200).Header.Get("Upload-Offset")
		resp, body = raw(base, ann.token, "PATCH", uploads+id+"/", content[parts[i]:parts[i+1]], "Upload-Offset", offset,
			"Content-Type", "application/offset+octet-stream")
		want(resp, body, 204)
	}
	if resp, body := raw(at(0), bob.token, "HEAD", uploads+id+"/", ""); resp.StatusCode != 404 {
		t.Errorf("another user sees the upload: %d %s", resp.StatusCode, body)
	}
	conversation := ann.direct(nodes[0], bob)
	a := ann.call(nodes[0], "POST", "messages/", object{"conversation": conversation, "content": "see", "upload_id": id})
	var m struct {
		File string `json:"file"`
	}
	if err := a.Decode(&m); a.Code != 201 || err != nil || m.File == "" {
		t.Fatalf("%d %s", a.Code, a.Body)
	}
	for i := range nodes {
		resp, body := raw(at(i), bob.token, "GET", m.File, "")
		if want(resp, "", 200); body != content {
			t.Errorf("%d other bytes from node %d", len(body), i)
		}
	}
}
