package node_test

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/chat/attachment"
	"github.com/zumodra/hub/internal/config"
)

// pdf yields a file of that size without having it in memory.
func pdf(size int64) io.Reader {
	const head = "%PDF-1.7\n"
	return io.MultiReader(bytes.NewReader([]byte(head)), io.LimitReader(zeros{}, size-int64(len(head))))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// upload streams a message with a file of that size.
func (u *user) upload(conversation string, size int64) error {
	var head bytes.Buffer
	w := multipart.NewWriter(&head)
	_ = w.WriteField("conversation_id", conversation)
	if _, err := w.CreateFormFile("file", "a.pdf"); err != nil {
		return err
	}
	begin := bytes.Clone(head.Bytes())
	head.Reset()
	if err := w.Close(); err != nil {
		return err
	}
	body := io.MultiReader(bytes.NewReader(begin), pdf(size), &head)
	req, err := http.NewRequest("POST", u.h.url+api+"messages/", body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", w.FormDataContentType())
	req.Header.Set("Authorization", "Bearer "+u.token)
	patient := *u.h.http
	patient.Timeout = 0 // a gigabyte takes as long as it takes
	res, err := patient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != 201 {
		err = fmt.Errorf("%d %s", res.StatusCode, b)
	}
	return err
}

// uploadBound is what 20 uploads of 50 MiB at once may add to the heap of the hub and of the client, which are one
// process here: buffers, and nothing that grows with the file. Some 10 MiB were seen.
const uploadBound = 64 << 20

// TestReq072_MemoryOfParallelUploads: a gigabyte passes through 20 uploads at once, in bounded memory.
func TestReq072_MemoryOfParallelUploads(t *testing.T) {
	if testing.Short() {
		t.Skip("writes a gigabyte")
	}
	h := start(t, withFiles, func(c *config.Config) { c.Uploads = 64 })
	ann := h.user("ann")
	h.user("bob")
	id := ann.direct("bob")
	if err := ann.upload(id, 1<<20); err != nil { // what is made once
		t.Fatal(err)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	base, peak := m.HeapAlloc, uint64(0)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				return
			case <-tick.C:
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc)
			}
		}
	}()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := ann.upload(id, attachment.MaxSize); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	close(stop)
	<-stopped
	t.Logf("heap: %d MiB before, at most %d MiB", base>>20, peak>>20)
	if peak > base+uploadBound {
		t.Errorf("the heap grew by %d MiB, at most %d are allowed", (peak-base)>>20, uploadBound>>20)
	}
}

// TestReq072_UploadOf50MB logs how long a file takes; time is no reason to fail.
func TestReq072_UploadOf50MB(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 250 megabytes")
	}
	h := start(t, withFiles)
	ann := h.user("ann")
	h.user("bob")
	id := ann.direct("bob")
	best := time.Hour
	for range 5 {
		begin := time.Now()
		if err := ann.upload(id, attachment.MaxSize); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(begin))
	}
	t.Logf("50 MiB in %v", best)
}
