package node_test

import (
	"strings"
	"testing"
)

// TestManyRanges: a request for very many ranges does not become as many reads of the store.
func TestManyRanges(t *testing.T) {
	t.Parallel()
	h := start(t, withFiles)
	ann := h.user("ann")
	h.user("bob")
	content := strings.Repeat("0123456789", 100)
	path := ann.sendFile(ann.direct("bob"), "a.txt", []byte(content)).want(201).body.str("file")
	r := ann.get(path, true, "Range", "bytes=0-0"+strings.Repeat(",5-5", 15)).want(206)
	if kind := r.header.Get("Content-Type"); !strings.HasPrefix(kind, "multipart/byteranges") {
		t.Errorf("16 ranges: %s", kind)
	}
	if r = ann.get(path, true, "Range", "bytes=0-0"+strings.Repeat(",5-5", 16)).want(200); r.raw != content {
		t.Errorf("17 ranges: %d bytes", len(r.raw))
	}
}
