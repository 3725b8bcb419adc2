package backups

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/backup"
	"github.com/zumodra/hub/storage/pebble"
)

var (
	// ErrNotEmpty reports that there is something where a backup should be restored to.
	ErrNotEmpty = errors.New("the directory is not empty")
	// ErrState reports that the rows which came out of an archive are not those that went in.
	ErrState = errors.New("the restored store differs from the one that was backed up")
)

// RestoreConfig of Restore. Data is needed.
type RestoreConfig struct {
	Data string // the new data directory: absent, or empty
	// Verify walks the restored store and checks all rules of its rows before it is put in place.
	Verify   func(storage.Problem)
	Progress Progress
	// Phase, if not nil, is told what is done now.
	Phase func(what string)
}

// restorePrefix begins the names of directories that a restore works in.
const restorePrefix = ".restore-"

// Restore makes a data directory of the archive that is read from r. It works in a directory beside cfg.Data, or in it
// where it is there, and puts the result in place when all of it was checked. A process that is
// killed leaves that directory, named .restore-…, which nobody needs.
func Restore(ctx context.Context, r io.Reader, cfg RestoreConfig) (m backup.Manifest, err error) {
	if cfg.Phase == nil {
		cfg.Phase = func(string) {}
	}
	data, err := filepath.Abs(cfg.Data)
	if err != nil {
		return m, err
	}
	place, err := findPlace(data)
	if err != nil {
		return m, err
	}
	temp, err := os.MkdirTemp(place.beside, restorePrefix+"*")
	if err != nil {
		return m, fmt.Errorf("make a directory to restore into: %w", err)
	}
	defer func() { _ = os.RemoveAll(temp) }() // what is in place is not there any more
	if m, err = unpack(ctx, r, temp, cfg); err != nil {
		return m, err
	}
	if err := checkState(ctx, temp, &m, cfg); err != nil {
		return m, err
	}
	return m, place.take(temp, &m)
}

// place is where a data directory is to stand.
type place struct {
	data   string
	beside string // directory to work in, on the same file system
	inside bool   // beside is data itself: it is there, with an owner and a mode that stay, and may be a mount
}

func findPlace(data string) (p place, err error) {
	p = place{data: data, beside: filepath.Dir(data)}
	entries, err := os.ReadDir(data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(p.beside, 0o750); err != nil {
			return p, fmt.Errorf("make %s: %w", p.beside, err)
		}
		return p, nil
	case err != nil:
		return p, err
	}
	for _, e := range entries {
		if e.Name() != "lost+found" && !strings.HasPrefix(e.Name(), restorePrefix) {
			return p, fmt.Errorf("%w: %s holds %s; name another one, or move that away", ErrNotEmpty, data, e.Name())
		}
	}
	p.beside, p.inside = data, true
	return p, nil
}

// take moves what was restored to where it belongs. Only the last step makes a store of the place.
func (p place) take(temp string, m *backup.Manifest) error {
	if !p.inside {
		if err := os.Rename(temp, p.data); err != nil {
			return fmt.Errorf("put the restored directory in place: %w", err)
		}
		return syncDir(p.beside)
	}
	for i := len(m.Directories) - 1; i >= 0; i-- { // the store is the first of them
		name := m.Directories[i].Name
		if err := os.Rename(filepath.Join(temp, name), filepath.Join(p.data, name)); err != nil {
			return fmt.Errorf("put the restored %s in place: %w", name, err)
		}
	}
	return syncDir(p.data)
}

// unpack writes the files of an archive below dir and syncs them.
func unpack(ctx context.Context, r io.Reader, dir string, cfg RestoreConfig) (backup.Manifest, error) {
	var all int64
	made := map[string]bool{dir: true}
	m, err := backup.Read(ctx, r, backup.ReadConfig{
		Directories: directories,
		Begin: func(h backup.Header) error {
			cfg.Phase("unpacking")
			all = h.Bytes
			if len(h.Directories) == 0 || h.Directories[0].Name != StoreDir {
				return fmt.Errorf("%w: it holds no store", backup.ErrDamaged)
			}
			if free, err := pebble.FreeBytes(dir); err == nil && uint64(all) > free {
				return fmt.Errorf("%w: %d bytes are needed in %s, %d are free", storage.ErrNoSpace, all, dir, free)
			}
			for _, d := range h.Directories { // also those without files
				made[filepath.Join(dir, d.Name)] = true
				if err := os.Mkdir(filepath.Join(dir, d.Name), 0o750); err != nil {
					return err
				}
			}
			return nil
		},
		Create: func(name string, _ int64) (io.WriteCloser, error) {
			p := filepath.Join(dir, filepath.FromSlash(name))
			for d := filepath.Dir(p); !made[d]; d = filepath.Dir(d) {
				made[d] = true
			}
			if err := os.MkdirAll(filepath.Dir(p), 0o750); err != nil {
				return nil, err
			}
			f, err := os.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
			if err != nil {
				return nil, err
			}
			return synced{f}, nil
		},
		Progress: func(done int64) {
			if cfg.Progress != nil {
				cfg.Progress(done, all)
			}
		},
	})
	if err != nil {
		return m, err
	}
	for d := range made {
		if err := syncDir(d); err != nil {
			return m, err
		}
	}
	return m, os.Chmod(dir, 0o750)
}

// synced is a file that is on disk when it is closed.
type synced struct{ *os.File }

func (s synced) Close() error { return errors.Join(s.Sync(), s.File.Close()) }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// checkState compares the rows that came out with those that went in.
func checkState(ctx context.Context, dir string, m *backup.Manifest, cfg RestoreConfig) error {
	cfg.Phase("computing the state hash")
	store := filepath.Join(dir, StoreDir)
	engine, schema, err := openCopy(ctx, store, m.Created, slog.New(slog.DiscardHandler))
	if err != nil {
		return fmt.Errorf("open the restored store: %w", err)
	}
	state, err := storage.HashState(ctx, engine, nil, nil)
	if err = errors.Join(err, engine.Close()); err != nil {
		return fmt.Errorf("read the restored store: %w", err)
	}
	if diff := state.Diff(m.State); len(diff) > 0 || schema != m.Schema {
		return fmt.Errorf("%w: state hash %s, not %s: %s", ErrState, state.Hash, m.State.Hash, strings.Join(diff, "; "))
	}
	if cfg.Verify == nil {
		return nil
	}
	cfg.Phase("verifying")
	problems := 0
	if _, err := pebble.Verify(ctx, store, func(p storage.Problem) { problems++; cfg.Verify(p) }); err != nil {
		return fmt.Errorf("verify the restored store: %w", err)
	}
	if problems > 0 {
		return fmt.Errorf("the restored store has %d problems, as the one that was backed up had", problems)
	}
	return nil
}
