package fs_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/zumodra/hub/storage/blob"
	"github.com/zumodra/hub/storage/blob/blobtest"
	"github.com/zumodra/hub/storage/blob/fs"
)

// BenchmarkPutGet compares the store with a plain file that is written and synced, and read, in the same run.
func BenchmarkPutGet(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20, 50 << 20} {
		name := fmt.Sprintf("%dKiB", size>>10)
		content := blobtest.Content(size, 1)
		n := uint64(0)
		next := func() []byte { // other content every time
			n++
			binary.LittleEndian.PutUint64(content, n)
			return content
		}
		b.Run("put/store/"+name, func(b *testing.B) {
			s := store(b)
			b.SetBytes(int64(size))
			for b.Loop() {
				i := put(b, s, next())
				b.StopTimer()
				if size > 1<<20 { // the disk is small
					if err := s.Delete(b.Context(), i.Key); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
			}
		})
		b.Run("put/file/"+name, func(b *testing.B) {
			dir := b.TempDir()
			b.SetBytes(int64(size))
			for b.Loop() {
				name := filepath.Join(dir, fmt.Sprint(n))
				if err := writeFile(name, next()); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if size > 1<<20 {
					_ = os.Remove(name)
				}
				b.StartTimer()
			}
		})
		b.Run("put/same/"+name, func(b *testing.B) { // content that is there
			s := store(b)
			put(b, s, content)
			b.SetBytes(int64(size))
			for b.Loop() {
				put(b, s, content)
			}
		})
		b.Run("get/store/"+name, func(b *testing.B) {
			s := store(b)
			k := put(b, s, content).Key
			b.SetBytes(int64(size))
			for b.Loop() {
				r, err := s.Open(b.Context(), k)
				if err != nil {
					b.Fatal(err)
				}
				drain(b, r)
			}
		})
		b.Run("get/file/"+name, func(b *testing.B) {
			name := filepath.Join(b.TempDir(), "f")
			if err := writeFile(name, content); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(size))
			for b.Loop() {
				f, err := os.Open(name)
				if err != nil {
					b.Fatal(err)
				}
				drain(b, f)
			}
		})
	}
}

func store(b *testing.B) *fs.Store {
	s, err := fs.Open(fs.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

func put(b *testing.B, s blob.Store, content []byte) blob.Info {
	st, err := s.Stage(b.Context(), "acme", bytes.NewReader(content), 0)
	if err != nil {
		b.Fatal(err)
	}
	defer st.Discard()
	i, err := st.Publish(b.Context(), 0)
	if err != nil {
		b.Fatal(err)
	}
	return i
}

func drain(b *testing.B, r io.ReadCloser) {
	if _, err := io.Copy(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}); err != nil {
		b.Fatal(err)
	}
	_ = r.Close()
}

func writeFile(name string, content []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}
