package fts

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/search"
)

// Config of an Index. Only Dir is needed.
type Config struct {
	Dir string
	// Readers is how many searches run at once; others wait. Default 4.
	Readers int
	// CacheBytes is the page cache of each connection, of which there are Readers and one more; default 16 MiB.
	CacheBytes int64
	// VocabularyBytes bounds the words kept in memory to look inside of them and for typos; default 16 MiB, about 1.5
	// million words.
	VocabularyBytes int
	Logger          *slog.Logger // default slog.Default()
}

func (c Config) withDefaults() Config {
	if c.Readers <= 0 {
		c.Readers = 4
	}
	if c.CacheBytes <= 0 {
		c.CacheBytes = 16 << 20
	}
	if c.VocabularyBytes <= 0 {
		c.VocabularyBytes = 16 << 20
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Index is the embedded index. It is safe for concurrent use.
type Index struct {
	cfg  Config
	lock func() error // releases the directory

	mu      sync.Mutex
	idle    sync.Cond // of mu: a file lost its last user
	current *file
	next    *rebuild // running
	closed  bool

	discards sync.WaitGroup // Add under mu, before Close is done waiting

	applied, removed, rejected, failures, searches atomic.Uint64
	lastApply                                      atomic.Int64
}

var _ search.Index = (*Index)(nil)

// currentName is the file that names the database in use.
const currentName = "CURRENT"

// Open opens the index in cfg.Dir, which is made if it is not there. Another process that has it open is an error that
// wraps search.ErrUnavailable.
func Open(cfg Config) (*Index, error) {
	cfg = cfg.withDefaults()
	if cfg.Dir == "" {
		return nil, errors.New("search: Dir is not set")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("%w: %w", search.ErrUnavailable, err)
	}
	unlock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", search.ErrUnavailable, err)
	}
	ix := &Index{cfg: cfg, lock: unlock}
	ix.idle.L = &ix.mu
	if ix.current, err = ix.openCurrent(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: opening %s: %w", search.ErrUnavailable, cfg.Dir, err), unlock())
	}
	return ix, nil
}

func (ix *Index) openCurrent() (*file, error) {
	b, err := os.ReadFile(filepath.Join(ix.cfg.Dir, currentName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	name := filepath.Base(strings.TrimSpace(string(b)))
	if err := ix.removeOthers(name); err != nil {
		return nil, err
	}
	path := filepath.Join(ix.cfg.Dir, name)
	if _, err := os.Stat(path); isDatabase(name) && err == nil {
		f, err := openFile(path, ix.cfg)
		switch {
		case err == nil:
			return f, nil
		case errors.Is(err, errOutdated):
			ix.cfg.Logger.Warn("the search index is of another version; a new one begins", "file", path, "error", err)
			if err := removeFile(path); err != nil {
				return nil, err
			}
		case errors.Is(err, errDamaged):
			aside, moveErr := setAside(path)
			if moveErr != nil {
				return nil, errors.Join(err, moveErr)
			}
			ix.cfg.Logger.Warn("the search index is damaged; it was set aside and a new one begins", "file", path, "aside", aside, "error", err)
		default:
			return nil, err
		}
	}
	f, err := createFile(ix.cfg, true)
	if err != nil {
		return nil, err
	}
	if err := writeCurrent(ix.cfg.Dir, f); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

func isDatabase(name string) bool {
	return strings.HasPrefix(name, "index-") && strings.HasSuffix(name, ".db")
}

// removeOthers removes what rebuilds left that did not end.
func (ix *Index) removeOthers(current string) error {
	entries, err := os.ReadDir(ix.cfg.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		base, _, _ := strings.Cut(name, ".db")
		if base += ".db"; strings.HasPrefix(name, "index-") && strings.Contains(name, ".db") && base != current {
			if err := os.Remove(filepath.Join(ix.cfg.Dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeCurrent makes f the database in use, once and for all or not at all.
func writeCurrent(dir string, f *file) error {
	temporary := filepath.Join(dir, currentName+".new")
	if err := writeSynced(temporary, filepath.Base(f.path)+"\n"); err != nil {
		return err
	}
	if err := os.Rename(temporary, filepath.Join(dir, currentName)); err != nil {
		return err
	}
	return syncDir(dir)
}

func writeSynced(path, content string) error {
	w, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = w.WriteString(content)
	return errors.Join(err, w.Sync(), w.Close())
}

// setAside renames a database. Only the last one is kept.
func setAside(path string) (string, error) {
	dir, name := filepath.Split(path)
	old, err := filepath.Glob(filepath.Join(dir, "damaged-*"))
	if err != nil {
		return "", err
	}
	for _, p := range old {
		if err := os.Remove(p); err != nil {
			return "", err
		}
	}
	aside := filepath.Join(dir, "damaged-"+time.Now().UTC().Format("20060102-150405-")+name)
	if err := os.Rename(path, aside); err != nil {
		return "", err
	}
	for _, suffix := range []string{"-wal", markSuffix} {
		if err := os.Rename(path+suffix, aside+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	_ = os.Remove(path + "-shm")
	return aside, syncDir(dir)
}

func newGeneration() string { return strings.ToLower(rand.Text()) }

// acquire returns the database in use and keeps it open until release.
func (ix *Index) acquire(ctx context.Context) (*file, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("search: %w", err)
	}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if ix.closed {
		return nil, search.ErrClosed
	}
	ix.current.users++
	return ix.current, nil
}

func (ix *Index) release(f *file) {
	ix.mu.Lock()
	f.users--
	ix.idle.Broadcast()
	last := ix.last(f)
	ix.mu.Unlock()
	if last {
		ix.discard(f)
	}
}

// retire discards a database that is in use no more, now or with its last user.
func (ix *Index) retire(f *file) {
	ix.mu.Lock()
	f.retired = true
	last := ix.last(f)
	ix.mu.Unlock()
	if last {
		ix.discard(f)
	}
}

// last tells the one who has to discard f.
func (ix *Index) last(f *file) bool {
	if f.users > 0 || !f.retired || f.discarded {
		return false
	}
	f.discarded = true
	ix.discards.Add(1)
	return true
}

// discard closes and removes a database that nobody uses.
func (ix *Index) discard(f *file) {
	defer ix.discards.Done()
	if err := errors.Join(f.close(), removeFile(f.path)); err != nil {
		ix.cfg.Logger.Warn("removing an old search index", "file", f.path, "error", err)
	}
}

// Apply implements search.Index. Calls take turns.
func (ix *Index) Apply(ctx context.Context, changes []chat.IndexChange) error {
	f, err := ix.acquire(ctx)
	if err != nil {
		return ix.failed(err)
	}
	defer ix.release(f)
	return ix.apply(ctx, f, changes)
}

func (ix *Index) apply(ctx context.Context, f *file, changes []chat.IndexChange) error {
	began := time.Now()
	n, err := f.apply(ctx, changes)
	ix.applied.Add(n.applied)
	ix.removed.Add(n.removed)
	ix.rejected.Add(n.rejected)
	ix.lastApply.Store(int64(time.Since(began)))
	return ix.failed(err)
}

func (ix *Index) failed(err error) error {
	if err != nil {
		ix.failures.Add(1)
	}
	return err
}

// Cursors implements search.Index.
func (ix *Index) Cursors(ctx context.Context, keys []chat.ConversationKey) ([]uint64, error) {
	f, err := ix.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer ix.release(f)
	return f.cursors(ctx, keys)
}

// Search implements search.Index.
func (ix *Index) Search(ctx context.Context, q chat.IndexQuery) (chat.SearchAnswer, error) {
	f, err := ix.acquire(ctx)
	if err != nil {
		return chat.SearchAnswer{}, err
	}
	defer ix.release(f)
	query, err := search.Parse(q.Text)
	if err != nil {
		return chat.SearchAnswer{}, err
	}
	hits, more, typos, err := f.search(ctx, q, query)
	if err != nil {
		return chat.SearchAnswer{}, err
	}
	ix.searches.Add(1)
	return chat.SearchAnswer{Hits: hits, More: more, Highlight: query.Matcher(search.Rules{Typos: typos}).Highlight}, nil
}

// Generation implements search.Index.
func (ix *Index) Generation(ctx context.Context) (string, error) {
	f, err := ix.acquire(ctx)
	if err != nil {
		return "", err
	}
	defer ix.release(f)
	return f.generation, nil
}

// Health implements search.Index.
func (ix *Index) Health(ctx context.Context) error {
	f, err := ix.acquire(ctx)
	if err != nil {
		return err
	}
	defer ix.release(f)
	return f.health(ctx)
}

// Stats implements search.Index.
func (ix *Index) Stats() search.Stats {
	s := search.Stats{Documents: -1, Applied: ix.applied.Load(), Removed: ix.removed.Load(), Rejected: ix.rejected.Load(),
		Failures: ix.failures.Load(), Searches: ix.searches.Load(), LastApply: time.Duration(ix.lastApply.Load())}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if !ix.closed {
		s.Documents = ix.current.docs.Load()
	}
	return s
}

// Close implements search.Index.
func (ix *Index) Close() error {
	ix.mu.Lock()
	if ix.closed {
		ix.mu.Unlock()
		return search.ErrClosed
	}
	ix.closed = true
	next := ix.next
	ix.next = nil
	for ix.current.users > 0 {
		ix.idle.Wait()
	}
	ix.mu.Unlock()
	if next != nil {
		ix.retire(next.file)
		ix.mu.Lock()
		for next.file.users > 0 {
			ix.idle.Wait()
		}
		ix.mu.Unlock()
	}
	ix.discards.Wait()
	return errors.Join(ix.current.close(), ix.lock())
}
