package pebble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/zumodra/hub/storage"
)

// Checkpoint writes a consistent copy of the store, as of some moment during the call, to dir, which must not exist. All
// that was acknowledged before the call is in it. Tables, which do not change any more, are linked where the file system
// can; the logs, up to MemTableBytes times four, are copied. The copy is a store that Open opens. It keeps the disk space
// of its tables until it is removed. After an error nothing is left at dir.
func (e *Engine) Checkpoint(ctx context.Context, dir string) (err error) {
	if err := e.begin(ctx); err != nil {
		return err
	}
	defer e.end()
	if err := e.spaceError(); err != nil {
		return err
	}
	if _, err := e.cfg.FS.Stat(dir); err == nil {
		return fmt.Errorf("storage: copy to %s: it is there already", dir)
	}
	defer func() {
		if err != nil {
			_ = e.cfg.FS.RemoveAll(dir)
		}
	}()
	// Everything that is acknowledged is before this in the log.
	if err := e.sync(); err != nil {
		return fmt.Errorf("storage: sync before a copy: %w", err)
	}
	number, synced, err := e.wholeLog()
	if err != nil {
		return err
	}
	if err := e.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return fmt.Errorf("storage: copy to %s: %w", dir, err)
	}
	return e.settleLog(dir, number, synced)
}

// wholeLog returns the newest log and how much of it is there without a flaw, which is at least what has been synced.
func (e *Engine) wholeLog() (number uint64, whole int, err error) {
	name, number, err := newestLog(e.cfg.FS, e.cfg.Dir)
	if err != nil || name == "" {
		return 0, 0, err
	}
	b, err := readFile(e.cfg.FS, e.cfg.FS.PathJoin(e.cfg.Dir, name))
	if err != nil {
		return 0, 0, err
	}
	return number, wholeChunks(b, uint32(number)), nil
}

// settleLog ends the newest log of a copy where a hole begins. The log was copied while it was written: one read may have
// come before a block was filled and the next after the following block was, which looks like damage before data that had
// been synced. What is cut off was acknowledged after the copy began, if at all; less than synced bytes of the log with
// that number are never left.
func (e *Engine) settleLog(dir string, number uint64, synced int) error {
	fs := e.cfg.FS
	name, newest, err := newestLog(fs, dir)
	if err != nil || name == "" {
		return err
	}
	path := fs.PathJoin(dir, name)
	b, err := readFile(fs, path)
	if err != nil {
		return err
	}
	bad, promise := damagedBefore(b, uint32(newest))
	if promise == 0 {
		return nil
	}
	if newest != number {
		synced = 0 // begun after the copy was
	}
	if bad < synced {
		return fmt.Errorf("%w: log %s is damaged at byte %d, before its synced end %d", storage.ErrCorrupt, path, bad, synced)
	}
	e.cfg.Logger.Info("storage: the log of a copy ends where it was written to meanwhile", "file", path, "bytes", bad)
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("storage: shorten log: %w", err)
	}
	_, err = f.Write(b[:bad])
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("storage: shorten log: %w", err)
	}
	return nil
}

// newestLog returns the name and number of the newest write-ahead log in dir, an empty name if there is none.
func newestLog(fs vfs.FS, dir string) (newest string, number uint64, err error) {
	names, err := fs.List(dir)
	if err != nil {
		return "", 0, fmt.Errorf("storage: list %s: %w", dir, err)
	}
	for _, name := range names {
		if base, ok := strings.CutSuffix(name, ".log"); ok {
			if n, err := strconv.ParseUint(base, 10, 64); err == nil && n >= number {
				newest, number = name, n
			}
		}
	}
	return newest, number, nil
}

func readFile(fs vfs.FS, path string) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, fmt.Errorf("storage: open log: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("storage: read log %s: %w", path, err)
	}
	return b, nil
}

// OpenReadOnly opens the store in cfg.Dir for reading; nothing on disk changes but the lock file. Errors are those of
// Open. Writes to it fail.
func OpenReadOnly(cfg Config) (*Engine, error) {
	cfg = cfg.withDefaults()
	e := newEngine(cfg)
	// Opening makes a lock file, which an empty directory should not get.
	if known, err := pebble.Peek(cfg.Dir, cfg.FS); err != nil || !known.Exists {
		return nil, errors.Join(fmt.Errorf("storage: there is no store in %s", cfg.Dir), err)
	}
	if err := e.open(true); err != nil {
		return nil, err
	}
	if err := e.checkSchema(false); err != nil {
		return nil, errors.Join(err, e.closeDB())
	}
	e.stop = func() {}
	close(e.done)
	return e, nil
}

// Schema returns the version that the store says it is of.
func (e *Engine) Schema(ctx context.Context) (int, error) {
	row, err := e.Get(ctx, storage.TableMeta, schemaKey(), nil)
	if err != nil {
		return 0, fmt.Errorf("storage: version of %s: %w", e.cfg.Dir, err)
	}
	return int(row.Columns[0].I), nil
}

func schemaKey() storage.Key { return storage.Key{{Set: true, B: []byte("schema")}} }

// FreeBytes returns the free space of the disk that dir is on.
func FreeBytes(dir string) (uint64, error) {
	u, err := vfs.Default.GetDiskUsage(dir)
	if err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return u.AvailBytes, nil
}
