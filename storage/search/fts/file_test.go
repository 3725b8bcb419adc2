package fts_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/search"
	"github.com/zumodra/hub/storage/search/fts"
	"github.com/zumodra/hub/storage/search/searchtest"
)

// told is a logger whose lines can be read.
func told() (*slog.Logger, *strings.Builder) {
	var b strings.Builder
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}

func newLog(n, messages int) *searchtest.Log {
	l := searchtest.NewLog(searchtest.Key("t", n), searchtest.At(0))
	for i := range messages {
		l.Say("alice", searchtest.At(i+1), fmt.Sprint("needle number", i))
	}
	return l
}

func hits(t *testing.T, ix search.Index, text string, logs ...*searchtest.Log) int {
	t.Helper()
	q := chat.IndexQuery{Tenant: "t"}
	for _, l := range logs {
		q.Conversations = append(q.Conversations, l.Key.ID)
	}
	q.Text = text
	a, err := ix.Search(t.Context(), q)
	must(t, err)
	return len(a.Hits)
}

func cursor(t *testing.T, ix search.Index, l *searchtest.Log) uint64 {
	t.Helper()
	c, err := ix.Cursors(t.Context(), []chat.ConversationKey{l.Key})
	must(t, err)
	return c[0]
}

func generation(t *testing.T, ix search.Index) string {
	t.Helper()
	g, err := ix.Generation(t.Context())
	must(t, err)
	return g
}

func files(t *testing.T, dir, pattern string) []string {
	t.Helper()
	f, err := filepath.Glob(filepath.Join(dir, pattern))
	must(t, err)
	return f
}

func TestReopen(t *testing.T) {
	dir, l := t.TempDir(), newLog(1, 10)
	ix := open(t, fts.Config{Dir: dir})
	must(t, ix.Apply(t.Context(), []chat.IndexChange{l.Since(0)}))
	before := generation(t, ix)
	must(t, ix.Close())
	ix = open(t, fts.Config{Dir: dir})
	if generation(t, ix) != before || cursor(t, ix, l) != 11 || ix.Stats().Documents != 10 {
		t.Errorf("generation %s, was %s; cursor %d; %+v", generation(t, ix), before, cursor(t, ix, l), ix.Stats())
	}
	for text, want := range map[string]int{"needle": 10, "eedl": 10, "needel": 10, `"number3"`: 1} {
		if n := hits(t, ix, text, l); n != want {
			t.Errorf("%q: %d hits", text, n)
		}
	}
	if len(files(t, dir, "index-*.db")) != 1 {
		t.Error(files(t, dir, "*"))
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	ix := open(t, fts.Config{Dir: dir})
	if _, err := fts.Open(fts.Config{Dir: dir}); !errors.Is(err, search.ErrUnavailable) {
		t.Errorf("a second index in the same directory: %v", err)
	}
	must(t, ix.Close())
	open(t, fts.Config{Dir: dir})
}

// TestDamage damages the file in several ways: it is set aside, and an empty index with a new generation begins.
func TestDamage(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path string){
		"no database": func(t *testing.T, path string) {
			must(t, os.WriteFile(path, []byte(strings.Repeat("not a database ", 1000)), 0o600))
		},
		"cut off": func(t *testing.T, path string) { must(t, os.Truncate(path, 5000)) },
		"empty":   func(t *testing.T, path string) { must(t, os.Truncate(path, 0)) },
		"zeros": func(t *testing.T, path string) {
			overwrite(t, path, 4096, func(b []byte) { clear(b) })
		},
		"another database": func(t *testing.T, path string) {
			must(t, os.Remove(path))
			db, err := sql.Open("sqlite", path)
			must(t, err)
			_, err = db.ExecContext(t.Context(), "CREATE TABLE other (x)")
			must(t, errors.Join(err, db.Close()))
		},
		"a table is missing": func(t *testing.T, path string) { change(t, path, "DROP TABLE docs") },
		"noted in use":       func(t *testing.T, path string) { must(t, os.WriteFile(path+"-damaged", nil, 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, l := t.TempDir(), newLog(1, 200)
			ix := open(t, fts.Config{Dir: dir})
			must(t, ix.Apply(t.Context(), []chat.IndexChange{l.Since(0)}))
			before, path := generation(t, ix), fts.Path(ix)
			must(t, ix.Close())
			for round := range 2 { // the second one makes the first one set aside go
				damage(t, path)
				log, lines := told()
				ix = open(t, fts.Config{Dir: dir, Logger: log})
				if !strings.Contains(lines.String(), "damaged") {
					t.Errorf("round %d: no warning: %s", round, lines)
				}
				if generation(t, ix) == before || cursor(t, ix, l) != 0 || ix.Stats().Documents != 0 || hits(t, ix, "needle", l) != 0 {
					t.Errorf("the new index is not new: %+v", ix.Stats())
				}
				must(t, ix.Apply(t.Context(), []chat.IndexChange{l.Since(0)}))
				if n := hits(t, ix, "needle", l); n != 50 {
					t.Errorf("%d hits", n)
				}
				before, path = generation(t, ix), fts.Path(ix)
				must(t, ix.Close())
				aside := slices.DeleteFunc(files(t, dir, "damaged-*.db"), func(p string) bool { return strings.HasSuffix(p, "-damaged") })
				if len(aside) != 1 || len(files(t, dir, "index-*.db")) != 1 {
					t.Errorf("round %d: %v", round, files(t, dir, "*"))
				}
			}
		})
	}
}

// TestDamageAfterCrash opens what a crash left, with a page that the disk lost.
func TestDamageAfterCrash(t *testing.T) {
	dir, l := t.TempDir(), newLog(1, 3000)
	ix := open(t, fts.Config{Dir: dir})
	must(t, ix.Apply(t.Context(), []chat.IndexChange{l.Since(0)}))
	must(t, ix.Close())
	ix = open(t, fts.Config{Dir: dir})
	before, path := generation(t, ix), fts.Path(ix)
	l2 := newLog(2, 5)
	must(t, ix.Apply(t.Context(), []chat.IndexChange{l2.Since(0)}))
	crashed := t.TempDir()
	must(t, os.CopyFS(crashed, os.DirFS(dir)))
	copied := filepath.Join(crashed, filepath.Base(path))
	if st, err := os.Stat(copied + "-wal"); err != nil || st.Size() == 0 {
		t.Fatalf("the copy does not look like a crash: %v", err)
	}
	sound := t.TempDir()
	must(t, os.CopyFS(sound, os.DirFS(crashed)))
	if ix := open(t, fts.Config{Dir: sound}); generation(t, ix) != before || hits(t, ix, "needle", l, l2) != 50 || cursor(t, ix, l2) != 6 {
		t.Error("an undamaged copy is not what it was")
	}
	overwrite(t, copied, 20*4096, func(b []byte) { clear(b[:min(len(b), 10*4096)]) })
	log, lines := told()
	damaged := open(t, fts.Config{Dir: crashed, Logger: log})
	if generation(t, damaged) == before || !strings.Contains(lines.String(), "damaged") {
		t.Errorf("opened as if nothing was: %s", lines)
	}
}

// TestDamageInUse makes calls fail, says so, and is healed by a rebuild.
func TestDamageInUse(t *testing.T) {
	dir, l := t.TempDir(), newLog(1, 3000)
	ix := open(t, fts.Config{Dir: dir})
	must(t, ix.Apply(t.Context(), []chat.IndexChange{l.Since(0)}))
	must(t, ix.Close())
	log, lines := told()
	ix = open(t, fts.Config{Dir: dir, Logger: log, CacheBytes: 1})
	path := fts.Path(ix)
	overwrite(t, path, 8*4096, func(b []byte) {
		for i := range b {
			b[i] = 0x55
		}
	})
	q := chat.IndexQuery{Tenant: "t", Conversations: []chat.ConversationID{l.Key.ID}}
	q.Text = "needle"
	if _, err := ix.Search(t.Context(), q); !errors.Is(err, search.ErrUnavailable) {
		t.Fatalf("a search of what is damaged: %v", err)
	}
	if err := ix.Health(t.Context()); !errors.Is(err, search.ErrUnavailable) || !strings.Contains(err.Error(), "rebuild") {
		t.Errorf("health: %v", err)
	}
	if err := ix.Apply(t.Context(), []chat.IndexChange{newLog(2, 1).Since(0)}); !errors.Is(err, search.ErrUnavailable) {
		t.Errorf("apply: %v", err)
	}
	if n := strings.Count(lines.String(), "level=ERROR"); n != 1 {
		t.Errorf("%d lines: %s", n, lines)
	}
	crashed := t.TempDir() // a restart instead
	must(t, os.CopyFS(crashed, os.DirFS(dir)))
	if again := open(t, fts.Config{Dir: crashed}); again.Stats().Documents != 0 || again.Health(t.Context()) != nil {
		t.Error("a restart went on with the damaged file")
	}
	r, err := ix.Rebuild(t.Context())
	must(t, err)
	must(t, r.Apply(t.Context(), []chat.IndexChange{l.Since(0)}))
	must(t, r.Commit(t.Context()))
	must(t, ix.Health(t.Context()))
	if n := hits(t, ix, "needle", l); n != 50 {
		t.Errorf("%d hits", n)
	}
	if len(files(t, dir, "index-*")) != len(files(t, dir, filepath.Base(fts.Path(ix))+"*")) {
		t.Errorf("the damaged file is still there: %v", files(t, dir, "*"))
	}
}

func TestAnotherVersion(t *testing.T) {
	for _, stmt := range []string{"PRAGMA user_version = 99", "UPDATE meta SET v = 99 WHERE k = 'analysis'"} {
		dir, l := t.TempDir(), newLog(1, 3)
		ix := open(t, fts.Config{Dir: dir})
		must(t, ix.Apply(t.Context(), []chat.IndexChange{l.Since(0)}))
		before, path := generation(t, ix), fts.Path(ix)
		must(t, ix.Close())
		change(t, path, stmt)
		log, lines := told()
		ix = open(t, fts.Config{Dir: dir, Logger: log})
		if generation(t, ix) == before || cursor(t, ix, l) != 0 || !strings.Contains(lines.String(), "another version") {
			t.Errorf("%s: %s", stmt, lines)
		}
		if len(files(t, dir, "damaged-*")) != 0 || len(files(t, dir, "index-*.db")) != 1 {
			t.Error(files(t, dir, "*"))
		}
	}
}

// TestUnfinishedRebuild: what a crash leaves of a rebuild goes at the next start.
func TestUnfinishedRebuild(t *testing.T) {
	dir, l := t.TempDir(), newLog(1, 3)
	ix := open(t, fts.Config{Dir: dir})
	must(t, ix.Apply(t.Context(), []chat.IndexChange{l.Since(0)}))
	r, err := ix.Rebuild(t.Context())
	must(t, err)
	must(t, r.Apply(t.Context(), []chat.IndexChange{newLog(2, 3).Since(0)}))
	crashed := t.TempDir()
	must(t, os.CopyFS(crashed, os.DirFS(dir)))
	if n := len(files(t, crashed, "index-*.db")); n != 2 {
		t.Fatalf("%d files", n)
	}
	again := open(t, fts.Config{Dir: crashed})
	if hits(t, again, "needle", l) != 3 || len(files(t, crashed, "index-*.db")) != 1 {
		t.Errorf("after a crash during a rebuild: %v", files(t, crashed, "*"))
	}
	must(t, ix.Close()) // with the rebuild running
	if n := len(files(t, dir, "index-*.db")); n != 1 {
		t.Errorf("after Close during a rebuild: %v", files(t, dir, "*"))
	}
	if err := r.Apply(t.Context(), nil); !errors.Is(err, search.ErrClosed) {
		t.Error(err)
	}
}

// TestDiskFull: an Apply that finds no room changes nothing, and can come again.
func TestDiskFull(t *testing.T) {
	ix := open(t, fts.Config{Dir: t.TempDir()})
	l := newLog(1, 100)
	must(t, ix.Apply(t.Context(), []chat.IndexChange{l.Since(0)}))
	must(t, fts.LimitPages(ix, 2))
	n := uint64(len(l.Events))
	l.Edit(2, searchtest.At(500), "edited text")
	l.Delete(3, searchtest.At(501))
	for i := range 400 {
		l.Say("bob", searchtest.At(600+i), fmt.Sprint("haystack", i, strings.Repeat(fmt.Sprint(" straw", i), 20)))
	}
	err := ix.Apply(t.Context(), []chat.IndexChange{l.Since(n)})
	if !errors.Is(err, search.ErrUnavailable) {
		t.Fatalf("without room: %v", err)
	}
	check := func(cur uint64, edited, haystack int) {
		t.Helper()
		if c := cursor(t, ix, l); c != cur {
			t.Errorf("cursor %d, want %d", c, cur)
		}
		if n := hits(t, ix, "edited", l); n != edited {
			t.Errorf("%d edited, want %d", n, edited)
		}
		if n := hits(t, ix, "haystack5", l); n == 0 != (haystack == 0) {
			t.Errorf("%d in the haystack", n)
		}
		if _, err := fts.Inspect(ix); err != nil {
			t.Error(err)
		}
	}
	check(n, 0, 0)
	if st := ix.Stats(); st.Failures != 1 || st.Documents != 100 {
		t.Errorf("%+v", st)
	}
	must(t, fts.LimitPages(ix, -1))
	must(t, ix.Apply(t.Context(), []chat.IndexChange{l.Since(n)}))
	check(uint64(len(l.Events)), 1, 1)
}

// TestInterrupt: a query whose caller is gone ends.
func TestInterrupt(t *testing.T) {
	ix := open(t, fts.Config{Dir: t.TempDir(), Readers: 1})
	l := newLog(1, 3)
	must(t, ix.Apply(t.Context(), []chat.IndexChange{l.Since(0)}))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := fts.Endless(ctx, ix); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a query without end: %v", err)
	}
	// One that waits for the only reader ends as well.
	hold, stop := context.WithCancel(t.Context())
	held := make(chan error)
	go func() { held <- fts.Endless(hold, ix) }()
	ctx, cancel2 := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel2()
	q := chat.IndexQuery{Tenant: "t", Conversations: []chat.ConversationID{l.Key.ID}}
	q.Text = "needle"
	for !errors.Is(ctx.Err(), context.DeadlineExceeded) { // until the other one has the reader
		if _, err := ix.Search(ctx, q); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a search that waits: %v", err)
		}
	}
	stop()
	if err := <-held; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if n := hits(t, ix, "needle", l); n != 3 {
		t.Errorf("%d hits afterwards", n)
	}
}

// TestGoneInPieces: a conversation that ended is not found though its documents are still there, also after a crash,
// and they go with the next change.
func TestGoneInPieces(t *testing.T) {
	dir := t.TempDir()
	ix := open(t, fts.Config{Dir: dir})
	l, m := newLog(1, 1200), newLog(2, 5)
	must(t, ix.Apply(t.Context(), []chat.IndexChange{l.Since(0), m.Since(0)}))
	restore := fts.LeavePurge(ix)
	must(t, ix.Apply(t.Context(), []chat.IndexChange{{Key: l.Key, Gone: true}}))
	if n := hits(t, ix, "needle", l, m); n != 5 || cursor(t, ix, l) != 0 {
		t.Errorf("%d hits, cursor %d", n, cursor(t, ix, l))
	}
	must(t, ix.Apply(t.Context(), []chat.IndexChange{l.Since(0)})) // it comes back before the old documents are gone
	restore()
	must(t, ix.Close())
	ix = open(t, fts.Config{Dir: dir})
	if ix.Stats().Documents < 2400 {
		t.Fatalf("the old documents are gone already: %+v", ix.Stats())
	}
	if n := hits(t, ix, `"number1199"`, l); n != 1 {
		t.Errorf("%d hits", n)
	}
	must(t, ix.Apply(t.Context(), nil))
	if n, err := fts.Inspect(ix); err != nil || n != 1205 {
		t.Errorf("%d documents, %v", n, err)
	}
	if n := hits(t, ix, `"number1199"`, l); n != 1 {
		t.Errorf("%d hits", n)
	}
}

// TestLogIsTrimmed: searches that never pause do not make the write-ahead log grow for ever.
func TestLogIsTrimmed(t *testing.T) {
	const limit = 300_000
	defer fts.LimitLog(limit)()
	ix := open(t, fts.Config{Dir: t.TempDir()})
	l := newLog(1, 500)
	must(t, ix.Apply(t.Context(), []chat.IndexChange{l.Since(0)}))
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			q := chat.IndexQuery{Tenant: "t", Conversations: []chat.ConversationID{l.Key.ID}}
			q.Text = "needle"
			for ctx.Err() == nil {
				if _, err := ix.Search(ctx, q); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		})
	}
	highest := int64(0)
	for range 40 {
		n := uint64(len(l.Events))
		for i := range 50 {
			l.Say("bob", searchtest.At(int(n)+i), fmt.Sprint("needle in straw", n, " ", i))
		}
		must(t, ix.Apply(t.Context(), []chat.IndexChange{l.Since(n)}))
		st, err := os.Stat(fts.Path(ix) + "-wal")
		must(t, err)
		highest = max(highest, st.Size())
	}
	stop()
	wg.Wait()
	if highest > limit {
		t.Errorf("the log has %d bytes", highest)
	}
}

// TestRejected: what is too long is left out and holds nothing up; an edit to it hides the old text.
func TestRejected(t *testing.T) {
	log, lines := told()
	ix := open(t, fts.Config{Dir: t.TempDir(), Logger: log})
	l := searchtest.NewLog(searchtest.Key("t", 1), searchtest.At(0))
	l.Say("alice", searchtest.At(1), strings.Repeat("needle ", 200_000))
	two := l.Say("alice", searchtest.At(2), "needle two")
	must(t, ix.Apply(t.Context(), []chat.IndexChange{l.Since(0)}))
	if n := hits(t, ix, "needle", l); n != 1 || ix.Stats().Rejected != 1 || cursor(t, ix, l) != 3 {
		t.Errorf("%d hits, %+v", n, ix.Stats())
	}
	if s := lines.String(); !strings.Contains(s, "seq=2") || !strings.Contains(s, l.Key.ID.String()) || strings.Contains(s, "needle") {
		t.Errorf("the log says %s", s)
	}
	l.Edit(two, searchtest.At(3), strings.Repeat("thread ", 200_000))
	must(t, ix.Apply(t.Context(), []chat.IndexChange{l.Since(3)}))
	if hits(t, ix, "needle", l) != 0 || hits(t, ix, "thread", l) != 0 || ix.Stats().Rejected != 2 {
		t.Errorf("%+v", ix.Stats())
	}
	if _, err := fts.Inspect(ix); err != nil {
		t.Error(err)
	}
}

// TestSmallVocabulary: words that memory has no room for are found, but not by their middle or with a typo.
func TestSmallVocabulary(t *testing.T) {
	log, lines := told()
	dir := t.TempDir()
	for range 2 {
		ix := open(t, fts.Config{Dir: dir, VocabularyBytes: 30, Logger: log})
		l := searchtest.NewLog(searchtest.Key("t", 1), searchtest.At(0))
		l.Say("alice", searchtest.At(1), "needle pineapple pomegranate tangerine")
		must(t, ix.Apply(t.Context(), []chat.IndexChange{l.Since(0)}))
		for text, want := range map[string]int{"eedle": 1, "apple": 1, "tangerine": 1, "tang": 1, "tanger*": 1, "ngerine": 0, "tangreine": 0, "neelde": 1} {
			if n := hits(t, ix, text, l); n != want {
				t.Errorf("%q: %d hits", text, n)
			}
		}
		must(t, ix.Close())
	}
	if n := strings.Count(lines.String(), "vocabulary"); n != 2 {
		t.Errorf("%d warnings: %s", n, lines)
	}
}

func TestNear(t *testing.T) {
	words := []string{"needle", "needles", "nedle", "kneedle", "noodle", "neddle", "needel", "needl", "beetle", "eneedle", "ndeele", "needlé", "日本"}
	got := fts.Near(words, "needle")
	slices.Sort(got)
	want := []string{"eneedle", "kneedle", "neddle", "nedle", "needel", "needl", "needles", "needlé"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	// Every kind of edit at every place, against the plain definition.
	const w = "été42x"
	var all []string
	r := []rune(w)
	for i := range len(r) + 1 {
		for _, c := range "aé日4" {
			all = append(all, string(r[:i])+string(c)+string(r[i:]))
			if i < len(r) {
				all = append(all, string(r[:i])+string(c)+string(r[i+1:]))
			}
		}
		if i < len(r) {
			all = append(all, string(r[:i])+string(r[i+1:]))
		}
		if i+1 < len(r) {
			all = append(all, string(r[:i])+string(r[i+1])+string(r[i])+string(r[i+2:]))
		}
	}
	all = slices.Compact(slices.Sorted(slices.Values(all)))
	all = slices.DeleteFunc(all, func(s string) bool { return s == w })
	for _, x := range all {
		if got := fts.Near([]string{"other", x, "words"}, w); !slices.Equal(got, []string{x}) {
			t.Errorf("%q is not near %q: %v", x, w, got)
		}
	}
}

func overwrite(t *testing.T, path string, from int64, with func([]byte)) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	if int64(len(b)) <= from {
		t.Fatalf("%s has only %d bytes", path, len(b))
	}
	with(b[from:])
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt(b, 0)
	must(t, errors.Join(err, f.Close()))
}

func change(t *testing.T, path, stmt string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	must(t, err)
	_, err = db.ExecContext(t.Context(), stmt)
	must(t, errors.Join(err, db.Close()))
}
