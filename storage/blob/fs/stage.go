package fs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/blob"
)

// Stage implements blob.Store.
func (s *Store) Stage(ctx context.Context, tenant chat.TenantID, r io.Reader, limit int64) (blob.Staged, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	key := blob.Key{Tenant: tenant}
	if tenant == "" {
		return nil, errors.New("stage blob: no tenant given")
	}
	f, err := s.create()
	if err != nil {
		return nil, failed(err, "stage", key)
	}
	st := &staged{store: s, key: key, file: f}
	if err := st.fill(ctx, r, blob.Limit(limit)); err != nil {
		st.Discard()
		return nil, err
	}
	return st, nil
}

type staged struct {
	store   *Store
	key     blob.Key
	size    int64
	file    *os.File
	synced  bool
	syncErr error
}

func (st *staged) Sum() blob.Sum { return st.key.Sum }
func (st *staged) Size() int64   { return st.size }

// fill copies r to the file.
func (st *staged) fill(ctx context.Context, r io.Reader, limit int64) error {
	buf := st.store.bufs.Get().(*[copySize]byte)
	defer st.store.bufs.Put(buf)
	h := sha256.New()
	for chunk := 0; ; chunk++ {
		if err := st.store.begin(ctx); err != nil {
			return err
		}
		if chunk%64 == 0 { // every 8 MiB
			if err := st.store.space(); err != nil {
				return err
			}
		}
		n, rerr := blob.Fill(ctx, r, buf[:])
		if st.size+int64(n) > limit {
			return blob.TooLarge(limit)
		}
		if rerr != nil && !errors.Is(rerr, io.EOF) {
			return fmt.Errorf("reading content to store: %w", rerr)
		}
		h.Write(buf[:n])
		if _, err := st.file.Write(buf[:n]); err != nil {
			return failed(err, "stage", st.key)
		}
		st.size += int64(n)
		if rerr != nil {
			h.Sum(st.key.Sum[:0])
			return nil
		}
	}
}

// Publish implements blob.Staged.
func (st *staged) Publish(ctx context.Context, generation uint64) (blob.Info, error) {
	if err := st.store.begin(ctx); err != nil {
		return blob.Info{}, err
	}
	key := st.key
	key.Generation = generation
	path := st.store.path(key)
	fi, err := os.Stat(path)
	if err != nil || fi.Size() != st.size {
		if err := st.link(path); err != nil {
			return blob.Info{}, failed(err, "publish", key)
		}
		if fi, err = os.Stat(path); errors.Is(err, iofs.ErrNotExist) {
			// Published and swept within this call. The library finds out by the generation.
			return blob.Info{Key: key, Size: st.size}, nil
		}
	}
	if err != nil {
		return blob.Info{}, failed(err, "publish", key)
	}
	// Also if it was there: whoever linked it may not have come to this.
	if err := st.store.syncPath(filepath.Dir(path)); err != nil {
		return blob.Info{}, failed(err, "publish", key)
	}
	return info(key, fi), nil
}

func (st *staged) link(path string) error {
	// Before the sync: most file systems write both in one go.
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if !st.synced {
		// Once: after a failure the kernel may have dropped what it could not write, and would report success.
		st.synced, st.syncErr = true, st.file.Sync()
	}
	if st.syncErr != nil {
		return st.syncErr
	}
	err := os.Link(st.file.Name(), path)
	if errors.Is(err, iofs.ErrNotExist) {
		return fmt.Errorf("%w: the upload was removed meanwhile", blob.ErrUnavailable) // it took longer than the grace period
	}
	if !errors.Is(err, iofs.ErrExist) {
		return err
	}
	fi, err := os.Stat(path)
	if errors.Is(err, iofs.ErrNotExist) || err == nil && fi.Size() == st.size {
		return nil
	}
	if err != nil {
		return err
	}
	// A file of another size is not the content: only a broken disk or a person makes one. Put ours in its place.
	st.store.cfg.Logger.Error("blobs: a file is not what its name says and is replaced", "file", path,
		"size", fi.Size(), "want", st.size)
	spare := st.file.Name() + ".again"
	if err := os.Link(st.file.Name(), spare); err != nil {
		return err
	}
	return os.Rename(spare, path)
}

// maxKnown bounds the memory of which directories are durable.
const maxKnown = 8192

// syncPath makes what is in dir durable, and the names of dir and those above it, which this process or one before it
// may have made and not synced: at once, for the file system then writes them together.
func (s *Store) syncPath(dir string) error {
	fresh := []string{dir}
	var g errgroup.Group
	s.mu.Lock()
	for d := dir; d != s.root() && !s.known[d]; d = filepath.Dir(d) { // those above a known one are known
		fresh = append(fresh, filepath.Dir(d))
	}
	s.mu.Unlock()
	for _, d := range fresh {
		g.Go(func() error { return syncDir(d) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known)+len(fresh) > maxKnown {
		clear(s.known)
	}
	for _, d := range fresh[:len(fresh)-1] { // of the last, only what is in it was synced
		s.known[d] = true
	}
	return nil
}

// Discard implements blob.Staged.
func (st *staged) Discard() {
	_ = st.file.Close()           // either it was synced or it is not needed
	_ = os.Remove(st.file.Name()) // what stays is for Clean
}
