package fts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"modernc.org/sqlite" // registers the driver
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/search"
)

const (
	schemaVersion = 1
	applicationID = 0x68756273 // "hubs": in the header of the file
	markSuffix    = "-damaged" // a file beside the database: do not open it again
)

const schema = `
CREATE TABLE meta (k TEXT PRIMARY KEY, v) WITHOUT ROWID;
-- gone: deleted, its documents not yet all removed. cursor: seq of the last event. last: the highest rowid of docs.
CREATE TABLE conv (id INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT, conversation BLOB, cursor INTEGER NOT NULL DEFAULT 0,
	last INTEGER NOT NULL DEFAULT 0, docs INTEGER NOT NULL DEFAULT 0, gone INTEGER NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX conv_key ON conv (tenant, conversation) WHERE gone = 0;
CREATE INDEX conv_gone ON conv (gone) WHERE gone = 1;
CREATE TABLE sender (id INTEGER PRIMARY KEY, tenant TEXT, name TEXT, UNIQUE (tenant, name));
-- drift: what the rowid is above the time. message: its id, NULL if it follows from place and time.
CREATE TABLE docs (id INTEGER PRIMARY KEY, conv INTEGER NOT NULL, seq INTEGER NOT NULL, sender INTEGER NOT NULL,
	flags INTEGER NOT NULL, drift INTEGER NOT NULL, message BLOB);
CREATE UNIQUE INDEX docs_place ON docs (conv, seq);
CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT NOT NULL UNIQUE);
-- s: scope (conversation, sender, attachment). t: text. Tokens come folded, so the plainest tokenizer does.
CREATE VIRTUAL TABLE fts USING fts5(s, t, content='', contentless_delete=1, tokenize='ascii', prefix='2');
`

const (
	flagAttachment = 1
	flagText       = 2 // has a row in fts
)

var (
	errOutdated = errors.New("another version")
	errDamaged  = errors.New("damaged")
)

// file is one database.
type file struct {
	path       string
	cfg        Config
	generation string

	users              int // of Index.mu, as are the next
	retired, discarded bool

	mu   sync.Mutex // one writer
	db   *sql.DB    // the writer's
	conn *sql.Conn
	stmt statements
	read *sql.DB
	gate sync.RWMutex // held shared by whoever uses read

	convs   *convCache
	senders map[chat.UserKey]int64 // of the writer, bounded
	known   map[uint64]struct{}    // hashes of words that are in the table; of the writer, bounded
	words   *vocabulary
	docs    atomic.Int64
	drift   atomic.Int64 // the highest of any document
	damaged atomic.Bool
	purge   bool  // conversations are gone whose documents are not; of mu
	saved   int64 // the drift that the database knows; of mu
}

func dataSource(path string, cfg Config, pragmas ...string) string {
	q := url.Values{}
	for _, p := range append([]string{"busy_timeout(10000)", fmt.Sprintf("cache_size(-%d)", max(cfg.CacheBytes>>10, 64)),
		"temp_store(MEMORY)"}, pragmas...) {
		q.Add("_pragma", p)
	}
	return "file:" + (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath() + "?" + q.Encode()
}

// createFile makes an empty database. Without synced its commits do not survive a crash until settle.
func createFile(cfg Config, synced bool) (*file, error) {
	generation := newGeneration()
	f := &file{path: filepath.Join(cfg.Dir, "index-"+generation+".db"), cfg: cfg, generation: generation}
	if err := f.connect(synced); err != nil {
		return nil, errors.Join(err, f.close(), removeFile(f.path))
	}
	ctx := context.Background()
	_, err := f.conn.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id=%d; PRAGMA user_version=%d; %s", applicationID, schemaVersion, schema))
	if err == nil {
		_, err = f.conn.ExecContext(ctx, "INSERT INTO meta VALUES ('generation', ?), ('analysis', ?), ('drift', 0)", generation, search.AnalysisVersion)
	}
	if err == nil {
		err = f.prepare(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, f.close(), removeFile(f.path))
	}
	return f, nil
}

// openFile opens a database that is there. Errors wrap errDamaged or errOutdated where it should make way.
func openFile(path string, cfg Config) (*file, error) {
	if _, err := os.Stat(path + markSuffix); err == nil {
		return nil, fmt.Errorf("%w: as it showed in use", errDamaged)
	}
	f := &file{path: path, cfg: cfg}
	unclean := false
	if st, err := os.Stat(path + "-wal"); err == nil && st.Size() > 0 {
		unclean = true // a close removes it
	}
	err := f.connect(true)
	if err == nil {
		err = f.check(context.Background(), unclean)
	}
	if err == nil {
		err = f.prepare(context.Background())
	}
	if err != nil {
		if code(err) == sqlite3.SQLITE_CORRUPT || code(err) == sqlite3.SQLITE_NOTADB || isMissing(err) {
			err = fmt.Errorf("%w: %w", errDamaged, err)
		}
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// isMissing tells that a table or column is not there.
func isMissing(err error) bool { return err != nil && strings.Contains(err.Error(), "no such") }

func (f *file) connect(synced bool) (err error) {
	level := "synchronous(FULL)"
	if !synced {
		level = "synchronous(OFF)"
	}
	f.db, err = sql.Open("sqlite", dataSource(f.path, f.cfg, "journal_mode(WAL)", level, "wal_autocheckpoint(2000)"))
	if err != nil {
		return err
	}
	f.db.SetMaxOpenConns(1)
	if f.conn, err = f.db.Conn(context.Background()); err != nil {
		return err
	}
	if f.read, err = sql.Open("sqlite", dataSource(f.path, f.cfg, "query_only(1)")); err != nil {
		return err
	}
	f.read.SetMaxOpenConns(f.cfg.Readers)
	f.read.SetMaxIdleConns(f.cfg.Readers)
	return nil
}

// checkTrees reads every page of every table and its indexes. A check of the whole would read the inside of the text
// index as well and take eight times as long: 0.7 s of CPU against 0.08 for 150,000 messages.
func (f *file) checkTrees(ctx context.Context) error {
	rows, err := f.conn.QueryContext(ctx, "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0")
	if err != nil {
		return err
	}
	defer rows.Close()
	var tables []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		tables = append(tables, name)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, t := range tables {
		var state string
		if err := f.conn.QueryRowContext(ctx, "PRAGMA quick_check('"+t+"')").Scan(&state); err != nil {
			return err
		}
		if state != "ok" {
			return fmt.Errorf("%w: %s", errDamaged, state)
		}
	}
	return nil
}

// check reads the versions and, if the last process did not close the database, all of its pages.
func (f *file) check(ctx context.Context, thorough bool) error {
	var app, version int64
	if err := f.conn.QueryRowContext(ctx, "PRAGMA application_id").Scan(&app); err != nil {
		return err
	}
	if err := f.conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if app != applicationID {
		return fmt.Errorf("%w: it is not a search index", errDamaged)
	}
	var analysis int64
	if version == schemaVersion {
		if err := f.conn.QueryRowContext(ctx, "SELECT v FROM meta WHERE k = 'analysis'").Scan(&analysis); err != nil {
			return noRow(err)
		}
	}
	if version != schemaVersion || analysis != search.AnalysisVersion {
		return fmt.Errorf("%w: schema %d, analysis %d instead of %d, %d", errOutdated, version, analysis, schemaVersion, search.AnalysisVersion)
	}
	if thorough {
		if err := f.checkTrees(ctx); err != nil {
			return err
		}
	}
	if err := f.conn.QueryRowContext(ctx, "SELECT v FROM meta WHERE k = 'generation'").Scan(&f.generation); err != nil {
		return noRow(err)
	}
	// A look at the root of the text index, whose absence of damage nothing else in here tells.
	var n int64
	return f.conn.QueryRowContext(ctx, "SELECT count(*) FROM fts WHERE fts MATCH ?", `"`+scopeAttachment+`x"`).Scan(&n)
}

func noRow(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%w: a row is missing", errDamaged)
	}
	return err
}

// prepare compiles the writer's statements and reads what is kept in memory.
func (f *file) prepare(ctx context.Context) error {
	if err := f.stmt.prepare(ctx, f.conn); err != nil {
		return err
	}
	f.convs = newConvCache()
	f.senders = map[chat.UserKey]int64{}
	f.known = map[uint64]struct{}{}
	f.words = &vocabulary{limit: f.cfg.VocabularyBytes}
	var docs, drift int64
	if err := f.conn.QueryRowContext(ctx, "SELECT coalesce(sum(docs), 0), coalesce(max(gone), 0) FROM conv").Scan(&docs, &f.purge); err != nil {
		return err
	}
	if err := f.conn.QueryRowContext(ctx, "SELECT v FROM meta WHERE k = 'drift'").Scan(&drift); err != nil {
		return noRow(err)
	}
	f.docs.Store(docs)
	f.drift.Store(drift)
	f.saved = drift
	rows, err := f.conn.QueryContext(ctx, "SELECT word FROM words ORDER BY id")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var w sql.RawBytes
		if err := rows.Scan(&w); err != nil {
			return err
		}
		f.words.add(string(w))
	}
	f.words.warn(f.cfg.Logger)
	return rows.Err()
}

// settle makes a database that was not synced survive a crash, from now on.
func (f *file) settle(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("search: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	ctx = context.WithoutCancel(ctx)
	if _, err := f.conn.ExecContext(ctx, "PRAGMA synchronous=FULL"); err != nil {
		return f.fail(ctx, "syncing", err)
	}
	var busy, log, done int
	if err := f.conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &done); err != nil {
		return f.fail(ctx, "syncing", err)
	}
	d, err := os.OpenFile(f.path, os.O_RDWR, 0)
	if err != nil {
		return f.fail(ctx, "syncing", err)
	}
	if err := errors.Join(d.Sync(), d.Close(), syncDir(f.cfg.Dir)); err != nil {
		return f.fail(ctx, "syncing", err)
	}
	if busy != 0 {
		return f.fail(ctx, "syncing", errors.New("a reader holds the log"))
	}
	return nil
}

// maxLog is how large the write-ahead log may become. SQLite begins it anew when no reader is at it, which under steady
// searching may not happen by itself, nor, as a test showed, by waiting for it with a checkpoint.
var maxLog int64 = 64 << 20

// trim empties a log that has become too large. For the last step, a short one, searches wait.
func (f *file) trim() {
	st, err := os.Stat(f.path + "-wal")
	if err != nil || st.Size() <= maxLog {
		return
	}
	_, err = f.conn.ExecContext(bg, "PRAGMA wal_checkpoint(PASSIVE)")
	f.gate.Lock()
	defer f.gate.Unlock()
	var busy, log, done int
	if err == nil {
		err = f.conn.QueryRowContext(bg, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &done)
	}
	if err != nil || busy != 0 {
		f.cfg.Logger.Warn("the log of the search index is not emptied", "file", f.path, "bytes", st.Size(), "error", err)
	}
}

func (f *file) health(ctx context.Context) error {
	if f.damaged.Load() {
		return fmt.Errorf("%w: the index is damaged: rebuild it, or restart to begin a new one", search.ErrUnavailable)
	}
	f.gate.RLock()
	defer f.gate.RUnlock()
	var n int
	if err := f.read.QueryRowContext(ctx, "SELECT 1 FROM meta WHERE k = 'generation'").Scan(&n); err != nil {
		return f.fail(ctx, "health", err)
	}
	return nil
}

func (f *file) close() error {
	var errs []error
	if f.read != nil {
		errs = append(errs, f.read.Close())
	}
	f.stmt.close()
	if f.conn != nil {
		errs = append(errs, f.conn.Close())
	}
	if f.db != nil {
		errs = append(errs, f.db.Close()) // the last connection empties and removes the log
	}
	return errors.Join(errs...)
}

func removeFile(path string) error {
	var errs []error
	for _, suffix := range []string{"-wal", "-shm", markSuffix, ""} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// fail makes what Index promises of an error of SQLite: the context's, or ErrUnavailable.
func (f *file) fail(ctx context.Context, what string, err error) error {
	if cause := ctx.Err(); cause != nil {
		return fmt.Errorf("search: %s: %w", what, cause)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("search: %s: %w", what, err)
	}
	if c := code(err); (c == sqlite3.SQLITE_CORRUPT || c == sqlite3.SQLITE_NOTADB) && f.damaged.CompareAndSwap(false, true) {
		f.cfg.Logger.Error("the search index is damaged; rebuild it, or restart to begin a new one", "file", f.path, "error", err)
		if err := writeSynced(f.path+markSuffix, what+"\n"); err != nil {
			f.cfg.Logger.Error("the damage could not be noted", "file", f.path, "error", err)
		}
	}
	return fmt.Errorf("%w: %s: %w", search.ErrUnavailable, what, err)
}

// code is SQLite's primary result code, 0 if err is none of its errors.
func code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// Tokens of column s start with characters that are never in a token of the text.
const (
	scopeConversation = "¡"
	scopeSender       = "¢"
	scopeAttachment   = "£"
)

func scope(kind string, n int64) string { return kind + strconv.FormatInt(n, 10) }
