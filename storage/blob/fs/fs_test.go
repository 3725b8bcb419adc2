package fs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zumodra/hub/storage/blob"
	"github.com/zumodra/hub/storage/blob/blobtest"
	"github.com/zumodra/hub/storage/blob/fs"
)

func open(t *testing.T, cfg fs.Config) *fs.Store {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	s, err := fs.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store { return open(t, fs.Config{}) })
}

func TestConformanceShared(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store { return open(t, fs.Config{Shared: true}) })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	s := open(t, fs.Config{Dir: dir})
	if _, err := fs.Open(fs.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Fatalf("opened twice: %v", err)
	}
	must(t, s.Close())
	open(t, fs.Config{Dir: dir})
}

// TestWhatACrashLeaves: uploads of a process that died are gone after the next start, blobs are there.
func TestWhatACrashLeaves(t *testing.T) {
	dir := t.TempDir()
	s := open(t, fs.Config{Dir: dir})
	k := blobtest.Put(t, s, "acme", blobtest.Content(1000, 1)).Key
	_, err := s.Stage(t.Context(), "acme", strings.NewReader("never published"), 0)
	must(t, err)
	if n := count(t, dir+"/tmp"); n != 1 {
		t.Fatalf("%d uploads", n)
	}
	must(t, s.Close()) // as the end of the process does, it leaves the upload where it is
	s = open(t, fs.Config{Dir: dir})
	if n := count(t, dir+"/tmp"); n != 0 {
		t.Fatalf("%d uploads are left", n)
	}
	must(t, blob.Verify(t.Context(), s, k))
}

func count(t *testing.T, dir string) int {
	t.Helper()
	e, err := os.ReadDir(dir)
	must(t, err)
	return len(e)
}

func file(dir string, k blob.Key) string {
	n := k.Name()
	return filepath.Join(dir, "content", k.Folder(), n[:2], n[2:4], n)
}

// TestDamagedFiles: Verify finds a file that is not what its name says; storing the content again heals one whose size
// is wrong.
func TestDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	s := open(t, fs.Config{Dir: dir})
	content := blobtest.Content(5000, 1)
	k := blobtest.Put(t, s, "acme", content).Key
	must(t, os.WriteFile(file(dir, k), blobtest.Content(5000, 2), 0o600))
	if err := blob.Verify(t.Context(), s, k); !errors.Is(err, blob.ErrCorrupt) {
		t.Fatalf("other content: %v", err)
	}
	must(t, os.Truncate(file(dir, k), 100))
	if err := blob.Verify(t.Context(), s, k); !errors.Is(err, blob.ErrCorrupt) {
		t.Fatalf("a file cut short: %v", err)
	}
	blobtest.Put(t, s, "acme", content)
	must(t, blob.Verify(t.Context(), s, k))
}

func TestFilesOfOthersAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	s := open(t, fs.Config{Dir: dir})
	k := blobtest.Put(t, s, "acme", []byte("x")).Key
	other := []string{dir + "/content/README", dir + "/content/61/readme.txt", filepath.Dir(file(dir, k)) + "/" + strings.Repeat("ab", 32)}
	for _, f := range other {
		must(t, os.MkdirAll(filepath.Dir(f), 0o700))
		must(t, os.WriteFile(f, nil, 0o600))
	}
	n := 0
	must(t, s.List(t.Context(), func(i blob.Info) bool { n++; return i.Key == k }))
	if n != 1 {
		t.Fatalf("%d blobs listed", n)
	}
}

func TestNoSpace(t *testing.T) {
	t.Run("Floor", func(t *testing.T) {
		s := open(t, fs.Config{MinFree: 1 << 60})
		_, err := s.Stage(t.Context(), "acme", strings.NewReader("x"), 0)
		noSpace(t, err)
		noSpace(t, s.Health(t.Context()))
	})
	t.Run("Full", func(t *testing.T) { // a real file system that is full
		dir := t.TempDir()
		if err := unix.Mount("hub-test", dir, "tmpfs", 0, "size=4m"); err != nil {
			t.Skipf("cannot mount a small file system: %v", err)
		}
		defer func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) }()
		s := open(t, fs.Config{Dir: dir + "/blobs", MinFree: -1})
		k := blobtest.Put(t, s, "acme", blobtest.Content(1<<20, 1)).Key
		_, err := s.Stage(t.Context(), "acme", bytes.NewReader(blobtest.Content(8<<20, 2)), 0)
		noSpace(t, err)
		if n := count(t, dir+"/blobs/tmp"); n != 0 {
			t.Fatalf("%d uploads are left", n)
		}
		must(t, blob.Verify(t.Context(), s, k))
		must(t, blob.Verify(t.Context(), s, blobtest.Put(t, s, "acme", blobtest.Content(2<<20, 3)).Key))
		must(t, s.Close())
	})
}

func noSpace(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, blob.ErrNoSpace) || !errors.Is(err, blob.ErrUnavailable) {
		t.Fatalf("error %v, want no space", err)
	}
}

// TestMemoryIsBounded: twenty uploads at once allocate their buffers, whatever they are of.
func TestMemoryIsBounded(t *testing.T) {
	s := open(t, fs.Config{MinFree: -1})
	put := func(size int64) {
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				st, err := s.Stage(t.Context(), "acme", io.MultiReader(strings.NewReader(fmt.Sprint(i)), io.LimitReader(zeros{}, size)), 0)
				if err != nil {
					t.Error(err)
					return
				}
				st.Discard()
			})
		}
		wg.Wait()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	put(16 << 20)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 20*(256<<10) {
		t.Fatalf("%d bytes were allocated for 20 uploads of 16 MiB", got)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestUploadCleanedWhileItLasts: an upload that took too long is refused, and is not said to be there.
func TestUploadCleanedWhileItLasts(t *testing.T) {
	s := open(t, fs.Config{})
	st, err := s.Stage(t.Context(), "acme", strings.NewReader("slow"), 0)
	must(t, err)
	defer st.Discard()
	if n, err := s.Clean(t.Context(), time.Now().Add(time.Hour)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if _, err := st.Publish(t.Context(), 0); !errors.Is(err, blob.ErrUnavailable) {
		t.Fatalf("%v", err)
	}
	must(t, s.List(t.Context(), func(i blob.Info) bool { t.Errorf("%v", i); return true }))
}

// TestShared: several processes use one directory, and none of them removes what another is uploading; one that does not
// share does not come in.
func TestShared(t *testing.T) {
	dir := t.TempDir()
	a := open(t, fs.Config{Dir: dir, Shared: true})
	st, err := a.Stage(t.Context(), "acme", strings.NewReader("under way"), 0)
	must(t, err)
	b := open(t, fs.Config{Dir: dir, Shared: true})
	if _, err := fs.Open(fs.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Fatalf("one for itself came in: %v", err)
	}
	i, err := st.Publish(t.Context(), 0)
	must(t, err)
	st.Discard()
	r, err := b.Open(t.Context(), i.Key)
	must(t, err)
	content, err := io.ReadAll(r)
	must(t, err)
	must(t, r.Close())
	if string(content) != "under way" {
		t.Errorf("the other reads %q", content)
	}
	same := blobtest.Put(t, b, "acme", []byte("under way"))
	if same.Key != i.Key {
		t.Errorf("%v and %v", same.Key, i.Key)
	}
	must(t, b.Delete(t.Context(), i.Key))
	if _, err := a.Stat(t.Context(), i.Key); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("deleted by the other: %v", err)
	}
	must(t, a.Close())
	must(t, b.Close())
	open(t, fs.Config{Dir: dir}) // nobody shares it any more
	if _, err := fs.Open(fs.Config{Dir: dir, Shared: true}); err == nil {
		t.Error("one that shares came to one that does not")
	}
}
