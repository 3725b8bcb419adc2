package clustertest

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// recorder writes everything that happened in a run to a file, for whoever has to understand a failure.
type recorder struct {
	mu    sync.Mutex
	f     *os.File
	w     *bufio.Writer
	began time.Time
}

type recorded struct {
	MS   int64  `json:"ms"` // since the beginning
	What string `json:"what"`
	Who  string `json:"who,omitempty"`
	Conv string `json:"conv,omitempty"`
	Seq  uint64 `json:"seq,omitempty"`
	ID   string `json:"id,omitempty"`
	Key  string `json:"key,omitempty"`
	Note string `json:"note,omitempty"`
}

func newRecorder(t *testing.T, dir string) *recorder {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "history.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{f: f, w: bufio.NewWriterSize(f, 1<<16), began: time.Now()}
	t.Cleanup(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		_ = r.w.Flush()
		_ = r.f.Close()
		r.w = nil
	})
	return r
}

func (r *recorder) add(e recorded) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.w == nil {
		return
	}
	e.MS = time.Since(r.began).Milliseconds()
	b, err := json.Marshal(e)
	if err == nil {
		_, _ = r.w.Write(append(b, '\n'))
	}
}
