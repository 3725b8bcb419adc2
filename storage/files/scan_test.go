package files_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/chat/attachment"
	"github.com/zumodra/hub/storage/files"
	"github.com/zumodra/hub/storage/files/clamd"
	"github.com/zumodra/hub/storage/files/clamd/clamdtest"
)

// TestReq073_Scanner: an infected file is refused and not kept; without a scanner nothing is taken, unless that is wished.
func TestReq073_Scanner(t *testing.T) {
	for _, open := range []bool{false, true} {
		srv := clamdtest.Start(t, 1<<20)
		b := newBench(t, func(c *files.Config) {
			c.Scanner, c.ScanOpen = clamd.New(clamd.Config{Address: srv.Addr()}), open
		})
		put := func(content string) error {
			_, err := b.f.Store(t.Context(), ann, "a.txt", false, strings.NewReader(content))
			return err
		}
		b.must(put("clean"))
		if err := put(clamdtest.EICAR); !errors.Is(err, attachment.ErrInfected) || !errors.Is(err, chat.ErrInvalid) {
			t.Errorf("%v", err)
		}
		u, err := b.f.Begin(t.Context(), ann, "a.txt", false, int64(len(clamdtest.EICAR)))
		b.must(err)
		_, err = b.f.Append(t.Context(), ann, u.ID, 0, strings.NewReader(clamdtest.EICAR))
		b.must(err)
		if _, err := b.f.Finish(t.Context(), ann, u.ID); !errors.Is(err, attachment.ErrInfected) {
			t.Errorf("in parts: %v", err)
		}
		if n := b.sweep(); n != 1 || srv.Scans.Load() != 3 {
			t.Errorf("%d blobs after %d scans", n, srv.Scans.Load())
		}
		for _, size := range []int{10, 2 << 20} { // the second is beyond what the daemon takes
			if size == 10 {
				srv.Bad.Store(true)
			}
			if err := put(strings.Repeat("x", size)); (err == nil) != open || err != nil && !errors.Is(err, chat.ErrUnavailable) {
				t.Errorf("open %v: %d bytes that cannot be scanned: %v", open, size, err)
			}
			srv.Bad.Store(false)
		}
		srv.Close()
		if err := put("no daemon"); (err == nil) != open || err != nil && !errors.Is(err, chat.ErrUnavailable) {
			t.Errorf("open %v: without a daemon: %v", open, err)
		}
	}
}
