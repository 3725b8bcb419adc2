package fts

import (
	"context"
	"fmt"
)

// Inspect checks the database against itself and returns how many documents it has. It waits for running writes.
func Inspect(ix *Index) (docs int64, err error) {
	f, err := ix.acquire(context.Background())
	if err != nil {
		return 0, err
	}
	defer ix.release(f)
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.conn.ExecContext(bg, "INSERT INTO fts (fts, rank) VALUES ('integrity-check', 0)"); err != nil {
		return 0, fmt.Errorf("integrity of the text index: %w", err)
	}
	var state string
	if err := f.conn.QueryRowContext(bg, "PRAGMA integrity_check(1)").Scan(&state); err != nil || state != "ok" {
		return 0, fmt.Errorf("integrity: %s, %w", state, err)
	}
	one := func(q string) (n int64) {
		if e := f.conn.QueryRowContext(bg, q).Scan(&n); e != nil && err == nil {
			err = e
		}
		return n
	}
	docs = one("SELECT count(*) FROM docs")
	for _, c := range []struct {
		what string
		a, b int64
	}{
		{"documents of conversations", docs, one("SELECT coalesce(sum(docs), 0) FROM conv")},
		{"documents in memory", docs, f.docs.Load()},
		{"texts", one("SELECT count(*) FROM docs WHERE flags & 2"), one("SELECT count(*) FROM fts_docsize")},
		{"documents without conversation", 0, one("SELECT count(*) FROM docs WHERE conv NOT IN (SELECT id FROM conv)")},
		{"texts without document", 0, one("SELECT count(*) FROM fts_docsize WHERE id NOT IN (SELECT id FROM docs)")},
		{"drift", one("SELECT v FROM meta WHERE k = 'drift'"), max(f.drift.Load(), one("SELECT coalesce(max(drift), 0) FROM docs"))},
	} {
		if c.a != c.b && err == nil {
			err = fmt.Errorf("%s: %d and %d", c.what, c.a, c.b)
		}
	}
	return docs, err
}

// LimitPages makes the disk full once the database has n pages more than now; a negative n lifts it.
func LimitPages(ix *Index, n int) error {
	f := ix.current
	f.mu.Lock()
	defer f.mu.Unlock()
	pages := int64(1) << 30
	if n >= 0 {
		if err := f.conn.QueryRowContext(bg, "PRAGMA page_count").Scan(&pages); err != nil {
			return err
		}
		pages += int64(n)
	}
	_, err := f.conn.ExecContext(bg, fmt.Sprintf("PRAGMA max_page_count=%d", pages))
	return err
}

// Endless runs a query that has no end.
func Endless(ctx context.Context, ix *Index) error {
	f, err := ix.acquire(ctx)
	if err != nil {
		return err
	}
	defer ix.release(f)
	var n int64
	err = f.read.QueryRowContext(ctx, "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c").Scan(&n)
	return f.fail(ctx, "searching", err)
}

// LimitLog sets how large the write-ahead log may become, until restore.
func LimitLog(n int64) (restore func()) {
	old := maxLog
	maxLog = n
	return func() { maxLog = old }
}

// Path is the file of the database in use.
func Path(ix *Index) string { return ix.current.path }

// LeavePurge makes the next Apply leave documents of conversations that are gone, as a crash would.
func LeavePurge(ix *Index) func() {
	f := ix.current
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.stmt.nextGone
	st, err := f.conn.PrepareContext(bg, "SELECT id FROM conv WHERE 0")
	if err != nil {
		panic(err)
	}
	f.stmt.nextGone = st
	return func() { f.stmt.nextGone = old; _ = st.Close() }
}

// Near is the vocabulary's look-up of typos.
func Near(words []string, w string) []string {
	v := &vocabulary{limit: 1 << 20}
	for _, x := range words {
		v.add(x)
	}
	return v.near(w, maxTypos)
}
