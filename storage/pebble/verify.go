package pebble

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"

	"github.com/zumodra/hub/storage"
)

// Verify opens the store in dir read-only, which needs it to be closed (storage.ErrLocked), and checks all of it: the
// checksums of every file in use, the order of keys within and across them, that every row decodes, and the domain's
// rules (storage.Store.Verify). It reports every problem it finds, from one goroutine, and returns an error if it could
// not go on. A log whose last, unsynced writes were torn is not a problem: they were never acknowledged.
func Verify(ctx context.Context, dir string, report func(storage.Problem)) (storage.Summary, error) {
	return verify(ctx, Config{Dir: dir}, report)
}

func verify(ctx context.Context, cfg Config, report func(storage.Problem)) (sum storage.Summary, err error) {
	cfg = cfg.withDefaults()
	e := newEngine(cfg)
	var problems uint64
	seen := make(map[storage.Problem]bool) // several passes read a row
	e.lenient = func(p storage.Problem) {
		if !seen[p] {
			seen[p] = true
			problems++
			report(p)
		}
	}
	if _, err := cfg.FS.Stat(cfg.Dir); err != nil {
		return sum, fmt.Errorf("storage: verify: %w", err)
	}
	if err := e.open(true); err != nil {
		if errors.Is(err, storage.ErrCorrupt) {
			sum.Problems = 1
			report(storage.Problem{Text: err.Error()})
		}
		return sum, err
	}
	defer func() { err = errors.Join(err, e.closeDB()) }()
	files, err := e.verifyFiles(ctx)
	if err != nil {
		return sum, err
	}
	if err := e.checkSchema(false); err != nil {
		return sum, err
	}
	if err := e.verifyTables(); err != nil {
		return sum, err
	}
	sum, err = storage.New(e, storage.Config{}).Verify(ctx, report)
	sum.Files = files
	sum.Problems += problems
	return sum, err
}

// verifyFiles checks the blocks of every table file in use, and the order of keys.
func (e *Engine) verifyFiles(ctx context.Context) (files uint64, err error) {
	levels, err := e.db.SSTables()
	if err != nil {
		return 0, fmt.Errorf("storage: verify: list files: %w", err)
	}
	good := true
	for level := range levels {
		for _, info := range levels[level] {
			if err := ctx.Err(); err != nil {
				return files, err
			}
			files++
			name := info.BackingSSTNum.String() + ".sst"
			if err := e.verifyFile(ctx, name); err != nil {
				good = false
				e.lenient(storage.Problem{Text: fmt.Sprintf("file %s, keys %s to %s: %v", name,
					keyName(info.Smallest.UserKey), keyName(info.Largest.UserKey), err)})
			}
		}
	}
	if good {
		if err := e.db.CheckLevels(nil); err != nil {
			e.lenient(storage.Problem{Text: fmt.Sprintf("order of files: %v", err)})
		}
	}
	return files, nil
}

func (e *Engine) verifyFile(ctx context.Context, name string) (err error) {
	f, err := e.cfg.FS.Open(e.cfg.FS.PathJoin(e.cfg.Dir, name))
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r, err := sstable.NewReader(ctx, readable, sstable.ReaderOptions{Comparer: pebble.DefaultComparer})
	if err != nil {
		return errors.Join(err, readable.Close())
	}
	return errors.Join(r.ValidateBlockChecksums(), r.Close())
}

// verifyTables looks for keys of no table.
func (e *Engine) verifyTables() (err error) {
	it, err := e.db.NewIter(nil)
	if err != nil {
		return fmt.Errorf("storage: verify: %w", err)
	}
	defer func() { _ = it.Close() }() // its errors were reported
	known := storage.Tables()
	for ok := it.First(); ok; {
		key := it.Key()
		if len(key) < 2 {
			e.lenient(storage.Problem{Key: keyName(key), Text: "key of no table"})
			ok = it.Next()
			continue
		}
		id := binary.BigEndian.Uint16(key)
		if !slices.ContainsFunc(known, func(t *storage.Table) bool { return t.ID == id }) {
			e.lenient(storage.Problem{Key: keyName(key), Text: fmt.Sprintf("key of an unknown table %d", id)})
		}
		if id == 1<<16-1 {
			break
		}
		ok = it.SeekGE(binary.BigEndian.AppendUint16(nil, id+1))
	}
	if err := it.Error(); err != nil {
		e.lenient(storage.Problem{Text: fmt.Sprintf("read: %v", err)})
	}
	return nil
}

// keyName shows a raw key: table id and the rest in hexadecimal.
func keyName(key []byte) string {
	if len(key) < 2 {
		return hex.EncodeToString(key)
	}
	id := binary.BigEndian.Uint16(key)
	for _, t := range storage.Tables() {
		if t.ID == id {
			return t.Name + ":" + hex.EncodeToString(key[2:])
		}
	}
	return fmt.Sprintf("%d:%x", id, key[2:])
}
