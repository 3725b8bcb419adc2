package pebble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/zumodra/hub/storage"
)

// watch keeps what pebble and the disk report.
type watch struct {
	log    *slog.Logger
	closer io.Closer
	free   atomic.Uint64 // bytes; meaningful if known
	known  atomic.Bool
	full   atomic.Bool
	slow   atomic.Uint64 // slow disk operations
	stalls atomic.Uint64 // write stalls

	mu         sync.Mutex
	background error // last flush or compaction failed with this
	corrupt    error // for good
	slowLogged time.Time
}

func (w *watch) close() error {
	if w.closer == nil {
		return nil
	}
	return w.closer.Close()
}

func (w *watch) listener() *pebble.EventListener {
	ended := func(what string, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if err != nil {
			w.background = fmt.Errorf("%s: %w", what, err)
		} else {
			w.background = nil
		}
	}
	l := &pebble.EventListener{
		BackgroundError: func(err error) {
			w.log.Error("storage: background error", "error", err)
			w.mu.Lock()
			w.background = err
			w.mu.Unlock()
		},
		FlushEnd: func(i pebble.FlushInfo) {
			// A flush of nothing but rows that were deleted again succeeds without a table, and says so by an error
			// that pebble does not export.
			if i.Err != nil && i.Err.Error() == "pebble: empty table" {
				i.Err = nil
			}
			ended("flush", i.Err)
		},
		CompactionEnd: func(i pebble.CompactionInfo) {
			// Pebble cancels compactions by itself; those are tried again.
			if !errors.Is(i.Err, pebble.ErrCancelledCompaction) {
				ended("compaction", i.Err)
			}
		},
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			w.log.Error("storage: corrupt data", "file", i.Path, "error", i.Details)
			w.mu.Lock()
			w.corrupt = fmt.Errorf("%w: %s: %w", storage.ErrCorrupt, i.Path, i.Details)
			w.mu.Unlock()
		},
		WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
			w.stalls.Add(1)
			w.log.Warn("storage: writes stall, the disk cannot keep up", "reason", i.Reason)
		},
		WriteStallEnd: func() { w.log.Info("storage: writes go on") },
	}
	l.EnsureDefaults(nil)
	return l
}

// diskSlow is called when an operation has taken longer than Config.SlowDisk, and again while it lasts.
func (w *watch) diskSlow(i vfs.DiskSlowInfo) {
	w.slow.Add(1)
	w.mu.Lock()
	due := time.Since(w.slowLogged) > 10*time.Second
	if due {
		w.slowLogged = time.Now()
	}
	w.mu.Unlock()
	if due {
		w.log.Warn("storage: slow disk", "file", i.Path, "operation", i.OpType.String(), "duration", i.Duration)
	}
}

// checkDisk refreshes what is known of free space.
func (e *Engine) checkDisk() {
	if e.cfg.MinFree < 0 {
		return
	}
	u, err := e.cfg.FS.GetDiskUsage(e.cfg.Dir)
	if err != nil { // not all file systems tell; then there is no floor
		e.watch.known.Store(false)
		e.watch.full.Store(false)
		return
	}
	e.watch.free.Store(u.AvailBytes)
	e.watch.known.Store(true)
	if full := u.AvailBytes < uint64(e.cfg.MinFree); full != e.watch.full.Swap(full) {
		if full {
			e.cfg.Logger.Error("storage: disk nearly full, writes are refused", "free", u.AvailBytes, "floor", e.cfg.MinFree)
		} else {
			e.cfg.Logger.Info("storage: enough free disk space again", "free", u.AvailBytes)
		}
	}
}

func (e *Engine) spaceError() error {
	if e.space.full() {
		return fmt.Errorf("%w: the disk of %s is full", storage.ErrNoSpace, e.cfg.Dir)
	}
	if !e.watch.full.Load() {
		return nil
	}
	return fmt.Errorf("%w: %d bytes free in %s, at least %d are kept", storage.ErrNoSpace, e.watch.free.Load(),
		e.cfg.Dir, e.cfg.MinFree)
}

// Health implements storage.Engine.
func (e *Engine) Health(ctx context.Context) error {
	if err := e.begin(ctx); err != nil {
		return err
	}
	defer e.end()
	if err := e.spaceError(); err != nil {
		return err
	}
	e.watch.mu.Lock()
	defer e.watch.mu.Unlock()
	if e.watch.corrupt != nil {
		return e.watch.corrupt
	}
	if e.watch.background != nil {
		return fmt.Errorf("storage: %w", e.watch.background)
	}
	return nil
}

// background runs the sweeper and the watch over the disk until ctx ends.
func (e *Engine) background(ctx context.Context) {
	defer close(e.done)
	disk := time.NewTicker(time.Second)
	defer disk.Stop()
	sweep := time.NewTicker(e.cfg.SweepInterval)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-disk.C:
			e.checkDisk()
		case <-sweep.C:
			if _, err := e.sweepTurn(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, storage.ErrClosed) {
				e.cfg.Logger.Error("storage: sweep of expired rows", "error", err)
			}
		}
	}
}

func lockError(dir string, err error) error {
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EWOULDBLOCK) ||
		strings.Contains(err.Error(), "lock held by current process") {
		return fmt.Errorf("%w: %s is open already; a store has one process, stop the other one first (%w)",
			storage.ErrLocked, dir, err)
	}
	return fmt.Errorf("storage: lock %s: %w", dir, err)
}

func openError(dir string, err error) error {
	if pebble.IsCorruptionError(err) {
		return fmt.Errorf("%w: open %s: %w", storage.ErrCorrupt, dir, err)
	}
	if strings.Contains(err.Error(), "format major version") {
		return fmt.Errorf("%w: %s was written by a newer version; use that version, or restore a backup made by "+
			"this one (%w)", storage.ErrSchema, dir, err)
	}
	return fmt.Errorf("storage: open %s: %w", dir, err)
}

// checkSchema compares the version in the store with ours; create: writes it into an empty store.
func (e *Engine) checkSchema(create bool) error {
	ctx := context.Background()
	key := schemaKey()
	row, err := e.Get(ctx, storage.TableMeta, key, nil)
	switch {
	case err == nil && row.Columns[0].I == storage.SchemaVersion:
		return nil
	case err == nil && row.Columns[0].I >= storage.OldestSchema && row.Columns[0].I < storage.SchemaVersion:
		if !create {
			return nil // what the old version wrote can be read
		}
		e.cfg.Logger.Info("storage: the store is of an older version and becomes one of this", "dir", e.cfg.Dir,
			"was", row.Columns[0].I, "is", storage.SchemaVersion)
		return e.writeSchema(ctx, key)
	case err == nil:
		return fmt.Errorf("%w: %s has version %d, this program knows version %d; use the version of the program that "+
			"wrote it, or export there and import here", storage.ErrSchema, e.cfg.Dir, row.Columns[0].I, storage.SchemaVersion)
	case !errors.Is(err, storage.ErrNoRow):
		return err
	}
	it, err := e.db.NewIter(nil)
	if err != nil {
		return fmt.Errorf("storage: open %s: %w", e.cfg.Dir, err)
	}
	empty := !it.First()
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return fmt.Errorf("storage: open %s: %w", e.cfg.Dir, err)
	}
	if !empty || !create {
		return fmt.Errorf("%w: %s has no version; it is not a store of the hub, or its beginning is lost: restore a "+
			"backup", storage.ErrSchema, e.cfg.Dir)
	}
	return e.writeSchema(ctx, key)
}

func (e *Engine) writeSchema(ctx context.Context, key storage.Key) error {
	return e.Apply(ctx, storage.Batch{Table: storage.TableMeta, Partition: key, Mutations: []storage.Mutation{{
		Columns: []storage.Value{{Set: true, I: storage.SchemaVersion}}, Whole: true}}})
}

// logger hands pebble's log to slog. Pebble's own running commentary is of debug level.
type logger struct {
	log   *slog.Logger
	fatal func(string)
}

func (l logger) Infof(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("pebble: " + fmt.Sprintf(format, args...))
	}
}

func (l logger) Errorf(format string, args ...any) {
	l.log.Error("pebble: " + fmt.Sprintf(format, args...))
}

// Fatalf must not return: pebble's state is undefined after it.
func (l logger) Fatalf(format string, args ...any) {
	text := "pebble cannot go on: " + fmt.Sprintf(format, args...)
	l.log.Error("storage: " + text)
	l.fatal(text)
	panic("storage: " + text)
}
