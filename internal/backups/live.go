package backups

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/backup"
	"github.com/zumodra/hub/storage/pebble"
)

// Directories below the data directory.
const (
	StoreDir = "store"
	BlobsDir = "blobs"
	TempDir  = "backup.tmp" // a server's, while a backup runs
)

// directories are those that an archive may hold.
var directories = []string{StoreDir, BlobsDir}

// errorTrailer is the HTTP trailer that says why an archive ended early.
const errorTrailer = "Hub-Backup-Error"

// Engine is what Live needs of the embedded engine.
type Engine interface {
	// Checkpoint copies the store to a directory that is not there, with all that was acknowledged before.
	Checkpoint(ctx context.Context, dir string) error
	Health(ctx context.Context) error
}

// LiveConfig is that of Live. Engine and Data are needed.
type LiveConfig struct {
	Engine  Engine
	Data    string // data directory, locked by the engine
	Version string // of the program
	Now     func() time.Time
	Logger  *slog.Logger
	// Stalled is how long a client may take no bytes before the backup is given up; default 2 min.
	Stalled time.Duration
	// Observe, if not nil, is told of the end of each backup: outcome is "ok", "refused", "canceled" or "error".
	Observe func(outcome string, began time.Time, took time.Duration)
}

// Live answers POST requests with a backup of the running server, one at a time: 409 while there is one, 503 where the
// disk is too full for it. It is safe for concurrent use.
type Live struct {
	cfg    LiveConfig
	ctx    context.Context // of all backups
	cancel context.CancelFunc
	mu     sync.Mutex
	closed bool
	since  time.Time // of the one under way, zero: none
	wg     sync.WaitGroup
}

// NewLive removes what a killed process may have left. Close must be called before the engine is closed.
func NewLive(cfg LiveConfig) (*Live, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Stalled <= 0 {
		cfg.Stalled = 2 * time.Minute
	}
	if cfg.Observe == nil {
		cfg.Observe = func(string, time.Time, time.Duration) {}
	}
	if err := os.RemoveAll(filepath.Join(cfg.Data, TempDir)); err != nil {
		return nil, fmt.Errorf("removing what an interrupted backup left: %w", err)
	}
	l := &Live{cfg: cfg}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l, nil
}

// Close ends the backup under way and waits for it.
func (l *Live) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	l.wg.Wait()
}

// begin admits one backup; l.end must follow if it returns an empty string.
func (l *Live) begin(now time.Time) (status int, refused string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return http.StatusServiceUnavailable, "the server is stopping"
	case !l.since.IsZero():
		return http.StatusConflict, "a backup is under way since " + l.since.UTC().Format(time.RFC3339) + "; there is one at a time"
	}
	l.since = now
	l.wg.Add(1)
	return 0, ""
}

func (l *Live) end() {
	l.mu.Lock()
	l.since = time.Time{}
	l.mu.Unlock()
	l.wg.Done()
}

// ServeHTTP implements http.Handler.
func (l *Live) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := l.cfg.Now()
	if status, text := l.begin(began); text != "" {
		l.cfg.Observe("refused", began, 0)
		http.Error(w, text, status)
		return
	}
	defer l.end()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	l.cfg.Logger.Info("backup begins")
	m, err := l.serve(ctx, w)
	took := l.cfg.Now().Sub(began)
	switch {
	case err == nil:
		l.cfg.Logger.Info("backup made", "bytes", m.Bytes, "files", m.Header.Files, "rows", m.State.Rows, "state", m.State.Hash.String(),
			"took", took.Round(time.Millisecond))
		l.cfg.Observe("ok", began, took)
	case ctx.Err() != nil || errors.Is(err, context.Canceled):
		l.cfg.Logger.Warn("backup given up: its reader went away, or the server stops", "took", took.Round(time.Millisecond))
		l.cfg.Observe("canceled", began, took)
	default:
		l.cfg.Logger.Error("backup failed", "error", err)
		l.cfg.Observe("error", began, took)
	}
}

// serve makes the copy and streams it. The copy is gone when it returns.
func (l *Live) serve(ctx context.Context, w http.ResponseWriter) (m backup.Manifest, err error) {
	temp := filepath.Join(l.cfg.Data, TempDir)
	defer func() {
		if rerr := os.RemoveAll(temp); rerr != nil {
			l.cfg.Logger.Error("backup: its copy stays and takes space; remove it", "directory", temp, "error", rerr)
		}
	}()
	header, sources, engine, err := l.copy(ctx, temp)
	if err != nil {
		status := http.StatusInternalServerError
		if errors.Is(err, storage.ErrNoSpace) || errors.Is(err, storage.ErrClosed) {
			status = http.StatusServiceUnavailable
		}
		http.Error(w, err.Error(), status)
		return m, err
	}
	defer engine.Close()
	h := w.Header()
	h.Set("Content-Type", "application/x-tar")
	h.Set("Content-Disposition", `attachment; filename="hub-`+header.Created.Format("20060102T150405Z")+`.tar"`)
	h.Set("Cache-Control", "no-store")
	h.Set("Trailer", errorTrailer)
	out := &patient{w: w, control: http.NewResponseController(w), stalled: l.cfg.Stalled}
	m, err = backup.Write(ctx, out, header, func(ctx context.Context) (storage.State, error) {
		return storage.HashState(ctx, engine, nil, nil)
	}, func() error {
		if err := l.cfg.Engine.Health(ctx); errors.Is(err, storage.ErrNoSpace) {
			return fmt.Errorf("given up to free the space it holds: %w", err)
		}
		return nil
	}, sources...)
	if err != nil {
		h.Set(errorTrailer, oneLine(err.Error()))
	}
	return m, err
}

func oneLine(s string) string {
	b := []byte(s[:min(len(s), 1000)])
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = ' '
		}
	}
	return string(b)
}

// patient gives the client time for each write, so that one that stalls does not hold the copy for ever.
type patient struct {
	w       http.ResponseWriter
	control *http.ResponseController
	stalled time.Duration
}

func (p *patient) Write(b []byte) (int, error) {
	// Not all writers have deadlines; then there is none.
	_ = p.control.SetWriteDeadline(time.Now().Add(p.stalled))
	return p.w.Write(b)
}

// copy makes the directory that the archive is made from, and opens the store in it. Its caller closes the engine and
// removes the directory, also after an error.
func (l *Live) copy(ctx context.Context, temp string) (h backup.Header, sources []backup.Source, engine *pebble.Engine, err error) {
	fail := func(err error) (backup.Header, []backup.Source, *pebble.Engine, error) { return h, nil, nil, err }
	if err := os.RemoveAll(temp); err != nil {
		return fail(fmt.Errorf("remove the copy of an earlier backup: %w", err))
	}
	if err := os.Mkdir(temp, 0o700); err != nil {
		return fail(err)
	}
	blobs := filepath.Join(l.cfg.Data, BlobsDir)
	links := filepath.Join(temp, BlobsDir)
	linked, err := linkFiles(ctx, blobs, links)
	if err != nil {
		return fail(fmt.Errorf("link blobs: %w", err))
	}
	store := filepath.Join(temp, StoreDir)
	if err := l.cfg.Engine.Checkpoint(ctx, store); err != nil {
		return fail(err)
	}
	h = backup.Header{Hub: l.cfg.Version, Created: moment(l.cfg.Now())}
	if linked {
		if linked, err = linkFiles(ctx, blobs, links); err != nil {
			return fail(fmt.Errorf("link blobs: %w", err))
		}
	}
	if linked {
		blobs = links
	}
	if engine, h.Schema, err = openCopy(ctx, store, h.Created, l.cfg.Logger); err != nil {
		return fail(fmt.Errorf("open the copy of the store: %w", err))
	}
	return h, sourcesOf(store, blobs), engine, nil
}

// moment is a time as it is stored.
func moment(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// openCopy opens a store for reading, as of a moment.
func openCopy(ctx context.Context, dir string, at time.Time, log *slog.Logger) (*pebble.Engine, int, error) {
	e, err := pebble.OpenReadOnly(pebble.Config{Dir: dir, CacheBytes: 8 << 20, MinFree: -1, Logger: log,
		Now: func() time.Time { return at }})
	if err != nil {
		return nil, 0, err
	}
	schema, err := e.Schema(ctx)
	if err != nil {
		return nil, 0, errors.Join(err, e.Close())
	}
	return e, schema, nil
}

// sourcesOf names what an archive is made of. blobs need not be there.
func sourcesOf(store, blobs string) []backup.Source {
	list := []backup.Source{{Name: StoreDir, Dir: store, Skip: func(name string) bool { return name == "LOCK" }}}
	if _, err := os.Stat(blobs); err == nil {
		list = append(list, backup.Source{Name: BlobsDir, Dir: blobs, Skip: skipBlob})
	}
	return list
}

// skipBlob leaves out what is of the running process: the directory where blobs are written before they get their name,
// and the lock.
func skipBlob(name string) bool { return name == "tmp" || name == "lock" }

// linkFiles links the files below from to the same places below to, as far as they are not there, and reports whether
// it could: not where from lies on another file system, or is not there. What vanishes meanwhile is left out.
func linkFiles(ctx context.Context, from, to string) (bool, error) {
	err := filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if cerr := ctx.Err(); cerr != nil {
			return cerr
		}
		if errors.Is(err, fs.ErrNotExist) && p != from {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		if skipBlob(rel) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		if err := os.Link(p, filepath.Join(to, rel)); !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
	switch {
	case errors.Is(err, syscall.EXDEV), errors.Is(err, syscall.EPERM), errors.Is(err, syscall.ENOTSUP):
		return false, os.RemoveAll(to)
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	}
	return err == nil, err
}
