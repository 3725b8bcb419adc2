package pebble

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/zumodra/hub/storage"
)

// Config of an Engine. Only Dir is needed.
type Config struct {
	Dir string
	// CacheBytes is the size of the block cache; default 64 MiB. MemTableBytes is that of one memtable, of which up
	// to four exist; default 16 MiB.
	CacheBytes    int64
	MemTableBytes uint64
	// MinFree is how many bytes of the disk must be free for writes to be accepted; default 256 MiB, negative: no
	// check. The check runs once a second, so leave room for what can be written within one.
	MinFree int64
	// SlowDisk is how long a write or sync may take before it is logged; default 1 s.
	SlowDisk time.Duration
	// SweepInterval is the time between turns of the sweeper, SweepRows how many rows it looks at in one; defaults
	// 1 min and 50,000.
	SweepInterval time.Duration
	SweepRows     int
	// Tables are the tables whose expired rows are swept; default storage.Tables().
	Tables []*storage.Table
	// Now is the clock of expiry; default time.Now.
	Now func() time.Time
	// Fatal is told why pebble cannot go on and must not return: the process has to end, so that its next start replays
	// the log. Default: panic.
	Fatal func(text string)
	// FS is the file system; default the real one. For tests.
	FS     vfs.FS
	Logger *slog.Logger // default slog.Default()
}

func (c Config) withDefaults() Config {
	if c.CacheBytes <= 0 {
		c.CacheBytes = 64 << 20
	}
	if c.MemTableBytes == 0 {
		c.MemTableBytes = 16 << 20
	}
	if c.MinFree == 0 {
		c.MinFree = 256 << 20
	}
	if c.SlowDisk <= 0 {
		c.SlowDisk = time.Second
	}
	if c.SweepInterval <= 0 {
		c.SweepInterval = time.Minute
	}
	if c.SweepRows <= 0 {
		c.SweepRows = 50_000
	}
	if c.Tables == nil {
		c.Tables = storage.Tables()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Fatal == nil {
		c.Fatal = func(text string) { panic("storage: " + text) }
	}
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// stripes is how many locks partitions share.
const stripes = 256

// Engine implements storage.Engine. It is safe for concurrent use.
type Engine struct {
	cfg     Config
	db      *pebble.DB
	lock    *pebble.Lock
	seed    maphash.Seed
	stripes [stripes]sync.RWMutex
	gate    gate
	watch   watch
	space   space
	sweep   sweeper
	stop    context.CancelFunc
	done    chan struct{}
	scratch sync.Pool // *scratch
	// lenient, if not nil, takes what cannot be read; such rows are then skipped by scans.
	lenient func(storage.Problem)
}

var (
	_ storage.Engine       = (*Engine)(nil)
	_ storage.GroupApplier = (*Engine)(nil)
)

// Open opens the store in cfg.Dir, creating it if the directory is empty or absent. Errors: storage.ErrLocked,
// storage.ErrSchema, storage.ErrCorrupt, or what the file system answered.
func Open(cfg Config) (*Engine, error) {
	cfg = cfg.withDefaults()
	if cfg.Dir == "" {
		return nil, errors.New("storage: no directory given for the embedded store")
	}
	e := newEngine(cfg)
	if err := cfg.FS.MkdirAll(cfg.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("storage: create %s: %w", cfg.Dir, err)
	}
	known, err := pebble.Peek(cfg.Dir, cfg.FS)
	if err != nil {
		return nil, fmt.Errorf("storage: look at %s: %w", cfg.Dir, err)
	}
	if err := e.open(false); err != nil {
		return nil, err
	}
	if err := e.checkSchema(true); err != nil {
		return nil, errors.Join(err, e.closeDB())
	}
	if !known.Exists {
		// The first log of a new store is written before pebble turns to the format with synced offsets.
		if err := e.closeDB(); err != nil {
			return nil, fmt.Errorf("storage: create %s: %w", cfg.Dir, err)
		}
		if err := e.open(false); err != nil {
			return nil, err
		}
	}
	e.space.patient.Store(true)
	e.checkDisk()
	ctx, cancel := context.WithCancel(context.Background())
	e.stop = cancel
	go e.background(ctx)
	return e, nil
}

func newEngine(cfg Config) *Engine {
	e := &Engine{cfg: cfg, seed: maphash.MakeSeed(), done: make(chan struct{})}
	e.gate.idle = make(chan struct{})
	e.scratch.New = func() any { return new(scratch) }
	e.watch.log = cfg.Logger
	e.space.log, e.space.halt = cfg.Logger, make(chan struct{})
	return e
}

// open locks the directory and opens the database.
func (e *Engine) open(readOnly bool) error {
	cfg := &e.cfg
	lock, err := pebble.LockDirectory(cfg.Dir, cfg.FS)
	if err != nil {
		return lockError(cfg.Dir, err)
	}
	if err := checkLogs(cfg.FS, cfg.Dir); err != nil {
		return errors.Join(err, lock.Close())
	}
	cache := pebble.NewCache(cfg.CacheBytes)
	defer cache.Unref()
	opts := &pebble.Options{
		Cache:                       cache,
		MemTableSize:                cfg.MemTableBytes,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               64 << 20,
		BytesPerSync:                1 << 20,
		FS:                          cfg.FS,
		Lock:                        lock,
		Logger:                      logger{cfg.Logger, cfg.Fatal},
		EventListener:               e.watch.listener(),
		ReadOnly:                    readOnly,
		// WAL chunks that carry the synced offset (since FormatWALSyncChunks) let recovery tell a torn tail, which
		// nobody was promised, from damage before data that had been synced.
		FormatMajorVersion: pebble.FormatValueSeparation,
	}
	if cfg.FS == vfs.Default {
		opts.FS, e.watch.closer = vfs.WithDiskHealthChecks(cfg.FS, cfg.SlowDisk, nil, e.watch.diskSlow)
	}
	opts.FS = spaceFS{opts.FS, &e.space}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		opts.Levels[i].FilterType = pebble.TableFilter
	}
	db, err := pebble.Open(cfg.Dir, opts)
	if err != nil {
		return errors.Join(openError(cfg.Dir, err), lock.Close(), e.watch.close())
	}
	e.db, e.lock = db, lock
	return nil
}

func (e *Engine) closeDB() error {
	err := e.db.Close()
	return errors.Join(err, e.lock.Close(), e.watch.close())
}

// Close implements storage.Engine.
func (e *Engine) Close() error {
	if !e.gate.shut() {
		return storage.ErrClosed
	}
	e.stop()
	close(e.space.halt)
	<-e.done
	<-e.gate.idle
	if err := e.closeDB(); err != nil {
		return fmt.Errorf("storage: close %s: %w", e.cfg.Dir, err)
	}
	return nil
}

// begin admits an operation; end must follow if it returns nil.
func (e *Engine) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !e.gate.enter() {
		return storage.ErrClosed
	}
	return nil
}

func (e *Engine) end() { e.gate.exit() }

// gate counts running operations and, once shut, admits no more. A yield may call the engine while it is being closed,
// so a read-write lock would not do: its second read lock would wait for the writer that waits for the first.
type gate struct {
	n    atomic.Int64
	once sync.Once
	idle chan struct{}
}

const gateShut = 1 << 62

func (g *gate) enter() bool {
	if g.n.Add(1) >= gateShut {
		g.exit()
		return false
	}
	return true
}

func (g *gate) exit() {
	if g.n.Add(-1) == gateShut {
		g.once.Do(func() { close(g.idle) })
	}
}

// shut reports whether this call did it.
func (g *gate) shut() bool {
	for {
		n := g.n.Load()
		if n >= gateShut {
			return false
		}
		if g.n.CompareAndSwap(n, n+gateShut) {
			if n == 0 {
				g.once.Do(func() { close(g.idle) })
			}
			return true
		}
	}
}

// scratch is what one operation encodes into.
type scratch struct {
	key, upper, value     []byte
	partition, clustering storage.Key
	decoder               keyDecoder
	columns               []storage.Value
}

func (e *Engine) getScratch() *scratch { return e.scratch.Get().(*scratch) }

func (e *Engine) putScratch(s *scratch) {
	if cap(s.value) <= 1<<20 {
		e.scratch.Put(s)
	}
}
