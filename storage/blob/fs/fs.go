package fs

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zumodra/hub/storage/blob"
)

// Config of a Store. Dir is required.
type Config struct {
	Dir string
	// Shared lets other processes, also of other machines, use the directory at the same time, all of them Shared. Its file
	// system must have hard links and show all machines the same at once, and locks (flock) if Dir is to be kept from a process
	// that is not Shared.
	Shared bool
	// MinFree is how many bytes of the file system stay free; default 512 MiB, negative: none.
	MinFree int64
	Logger  *slog.Logger // default: discard
}

// Store implements blob.Store over a directory.
type Store struct {
	cfg    Config
	lock   *os.File
	closed atomic.Bool
	full   atomic.Bool // as last logged
	bufs   sync.Pool   // *[copySize]byte

	mu    sync.Mutex
	known map[string]bool // directories whose names are durable
}

const copySize = 128 << 10 // of memory per upload

// Open makes the directory if needed and takes hold of it. It fails if another process has it, unless both are Shared.
func Open(cfg Config) (*Store, error) {
	if cfg.Dir == "" {
		return nil, errors.New("blob/fs: no directory given")
	}
	if cfg.MinFree == 0 {
		cfg.MinFree = 512 << 20
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{cfg: cfg, known: make(map[string]bool), bufs: sync.Pool{New: func() any { return new([copySize]byte) }}}
	if err := s.open(); err != nil {
		if s.lock != nil {
			_ = s.lock.Close() // the first error counts
		}
		return nil, fmt.Errorf("blob/fs: open %s: %w", cfg.Dir, err)
	}
	return s, nil
}

func (s *Store) open() (err error) {
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return err
	}
	if s.lock, err = os.OpenFile(filepath.Join(s.cfg.Dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	how := unix.LOCK_EX
	if s.cfg.Shared {
		how = unix.LOCK_SH
	}
	err = unix.Flock(int(s.lock.Fd()), how|unix.LOCK_NB)
	if s.cfg.Shared && (errors.Is(err, unix.ENOLCK) || errors.Is(err, unix.ENOTSUP)) {
		err = nil // a network's file system without locks
	}
	if err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return errors.New("in use by another process")
		}
		return fmt.Errorf("lock: %w", err)
	}
	if !s.cfg.Shared { // nobody else is here, so all uploads are of the dead; else they go when they are old: see Clean
		if err := os.RemoveAll(s.tmp()); err != nil {
			return err
		}
	}
	for _, d := range []string{s.tmp(), s.root()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	return errors.Join(syncDir(s.cfg.Dir), syncDir(filepath.Dir(filepath.Clean(s.cfg.Dir))))
}

func (s *Store) tmp() string  { return filepath.Join(s.cfg.Dir, "tmp") }
func (s *Store) root() string { return filepath.Join(s.cfg.Dir, "content") }

func (s *Store) path(k blob.Key) string {
	name := k.Name()
	return filepath.Join(s.root(), k.Folder(), name[:2], name[2:4], name)
}

func (s *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return blob.ErrClosed
	}
	return nil
}

// failed maps what the operating system answered.
func failed(err error, doing string, key blob.Key) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, iofs.ErrNotExist):
		return fmt.Errorf("%s blob %s: %w", doing, key, blob.ErrNotFound)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%s blob %s: %w: %w: %w", doing, key, blob.ErrUnavailable, blob.ErrNoSpace, err)
	}
	var path *iofs.PathError
	var link *os.LinkError
	if errors.As(err, &path) || errors.As(err, &link) {
		err = fmt.Errorf("%w: %w", blob.ErrUnavailable, err)
	}
	return fmt.Errorf("%s blob %s: %w", doing, key, err)
}

// space refuses writes below the floor.
func (s *Store) space() error {
	if s.cfg.MinFree < 0 {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(s.cfg.Dir, &st); err != nil {
		return nil // not all file systems tell; then there is no floor
	}
	free := st.Bavail * uint64(st.Bsize)
	full := free < uint64(s.cfg.MinFree)
	if full != s.full.Swap(full) {
		if full {
			s.cfg.Logger.Error("blobs: disk nearly full, uploads are refused", "free", free, "floor", s.cfg.MinFree)
		} else {
			s.cfg.Logger.Info("blobs: enough free disk space again", "free", free)
		}
	}
	if full {
		return fmt.Errorf("%w: %w: %d bytes free in %s, at least %d are kept", blob.ErrUnavailable, blob.ErrNoSpace, free,
			s.cfg.Dir, s.cfg.MinFree)
	}
	return nil
}

// Health implements blob.Store.
func (s *Store) Health(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	if err := s.space(); err != nil {
		return err
	}
	f, err := s.create()
	if err != nil {
		return fmt.Errorf("%w: %w", blob.ErrUnavailable, err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func (s *Store) create() (*os.File, error) {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return os.OpenFile(filepath.Join(s.tmp(), hex.EncodeToString(b[:])), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, key blob.Key) (blob.Info, error) {
	if err := s.begin(ctx); err != nil {
		return blob.Info{}, err
	}
	fi, err := os.Stat(s.path(key))
	if err != nil {
		return blob.Info{}, failed(err, "stat", key)
	}
	return info(key, fi), nil
}

func info(key blob.Key, fi iofs.FileInfo) blob.Info {
	return blob.Info{Key: key, Size: fi.Size(), Stored: fi.ModTime()}
}

// Open implements blob.Store.
func (s *Store) Open(ctx context.Context, key blob.Key) (blob.Reader, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	f, err := os.Open(s.path(key))
	if err != nil {
		return nil, failed(err, "open", key)
	}
	fi, err := f.Stat()
	if err != nil {
		_ = f.Close() // the first error counts
		return nil, failed(err, "open", key)
	}
	return &reader{ctx, f, info(key, fi)}, nil
}

type reader struct {
	ctx  context.Context
	file *os.File
	info blob.Info
}

func (r *reader) Info() blob.Info { return r.info }

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.file.Read(p)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	return n, failed(err, "read", r.info.Key)
}

func (r *reader) Seek(offset int64, whence int) (int64, error) {
	n, err := r.file.Seek(offset, whence)
	return n, failed(err, "seek in", r.info.Key)
}

func (r *reader) Close() error { return r.file.Close() }

// Delete implements blob.Store. A deletion that a crash takes back is done again by the next sweep.
func (s *Store) Delete(ctx context.Context, key blob.Key) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	if err := os.Remove(s.path(key)); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return failed(err, "delete", key)
	}
	return nil
}

// List implements blob.Store.
func (s *Store) List(ctx context.Context, yield func(blob.Info) bool) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	strange := 0
	err := filepath.WalkDir(s.root(), func(path string, d iofs.DirEntry, err error) error {
		switch {
		case s.begin(ctx) != nil:
			return s.begin(ctx)
		case errors.Is(err, iofs.ErrNotExist):
			return nil // removed meanwhile
		case err != nil:
			return err
		case d.IsDir():
			return nil
		}
		folder, _ := filepath.Rel(s.root(), filepath.Dir(filepath.Dir(filepath.Dir(path))))
		key, err := blob.ParseKey(folder, d.Name())
		if err != nil || s.path(key) != path {
			strange++
			return nil
		}
		fi, err := d.Info()
		if errors.Is(err, iofs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if !yield(info(key, fi)) {
			return iofs.SkipAll
		}
		return nil
	})
	if strange > 0 {
		s.cfg.Logger.Warn("blobs: files that are none of ours are left alone", "dir", s.root(), "files", strange)
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, blob.ErrClosed) {
		err = fmt.Errorf("list blobs: %w: %w", blob.ErrUnavailable, err)
	}
	return err
}

// Clean implements blob.Store.
func (s *Store) Clean(ctx context.Context, before time.Time) (n int, err error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	entries, err := os.ReadDir(s.tmp())
	if err != nil {
		return 0, fmt.Errorf("clean uploads: %w: %w", blob.ErrUnavailable, err)
	}
	for _, e := range entries {
		fi, ierr := e.Info()
		if ierr != nil || !fi.ModTime().Before(before) {
			continue // gone, or somebody still writes to it
		}
		if rerr := os.Remove(filepath.Join(s.tmp(), e.Name())); rerr == nil {
			n++
		} else if !errors.Is(rerr, iofs.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("clean uploads: %w: %w", blob.ErrUnavailable, rerr))
		}
	}
	return n, err
}

// Close implements blob.Store.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return blob.ErrClosed
	}
	return s.lock.Close() // releases the lock
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
