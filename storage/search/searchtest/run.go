package searchtest

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/search"
)

// Open opens an empty index for one test, which closes it at the test's end if the test did not.
type Open func(t *testing.T) search.Index

// Feature is something that an index may lack. Whoever leaves one out says so in the index's documentation.
type Feature string

const (
	Infix Feature = "infix" // words found by their middle
	Typos Feature = "typos" // only where there are few hits, as TypoBelow says
	CJK   Feature = "cjk"   // scripts without spaces, found by any part
)

// Option of Run.
type Option func(*suite)

// Without leaves out what the index cannot do.
func Without(features ...Feature) Option {
	return func(s *suite) { s.without = append(s.without, features...) }
}

// Settle names what waits until everything that was applied is found. Without it, it must be at once.
func Settle(wait func(t *testing.T, ix search.Index)) Option {
	return func(s *suite) { s.settle = wait }
}

// Only runs these cases alone: for a second run under other settings.
func Only(cases ...string) Option {
	return func(s *suite) { s.only = append(s.only, cases...) }
}

type suite struct {
	open    Open
	only    []string
	without []Feature
	settle  func(*testing.T, search.Index)
}

func (s *suite) has(f Feature) bool { return !slices.Contains(s.without, f) }

// Run runs the conformance suite.
func Run(t *testing.T, open Open, options ...Option) {
	s := &suite{open: open, settle: func(*testing.T, search.Index) {}}
	for _, o := range options {
		o(s)
	}
	for _, c := range []struct {
		name string
		run  func(*fixture)
		need Feature
	}{
		{"Messages", testMessages, ""},
		{"Edits", testEdits, ""},
		{"Deletions", testDeletions, ""},
		{"RowsShowThePresent", testPresent, ""},
		{"Replay", testReplay, ""},
		{"Gone", testGone, ""},
		{"Interleaved", testInterleaved, ""},
		{"Req077_OnlyWhatIsNamed", testScope, ""},
		{"Req078_Conversation", testConversation, ""},
		{"Req083_Filters", testFilters, ""},
		{"Req079_NewestFirst", testOrder, ""},
		{"EqualTimes", testEqualTimes, ""},
		{"Pages", testPages, ""},
		{"Req081_NoResult", testNothing, ""},
		{"Req084_Grammar", testGrammar, ""},
		{"Req084_Phrases", testPhrases, ""},
		{"CaseAndAccents", testAccents, ""},
		{"Prefix", testPrefix, ""},
		{"Req076_Substring", testInfix, Infix},
		{"Typos", testTypos, Typos},
		{"CJK", testCJK, CJK},
		{"Req115_Literal", testLiteral, ""},
		{"Req082_Highlight", testHighlight, ""},
		{"BadQueries", testBadQueries, ""},
		{"ManyConversations", testMany, ""},
		{"OddContent", testOdd, ""},
		{"Rebuild", testRebuild, ""},
		{"RebuildTwice", testRebuildTwice, ""},
		{"RebuildWhileChangesGoOn", testRebuildLive, ""},
		{"Concurrency", testConcurrency, ""},
		{"Contexts", testContexts, ""},
		{"Stats", testStats, ""},
		{"Close", testClose, ""},
		{"Req086_Oracle", testOracle, ""},
	} {
		if len(s.only) > 0 && !slices.Contains(s.only, c.name) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			if c.need != "" && !s.has(c.need) {
				t.Skipf("the index has no %s", c.need)
			}
			c.run(&fixture{suite: s, T: t, ix: open(t)})
		})
	}
}

// fixture is one case's index.
type fixture struct {
	*suite
	*testing.T
	ix search.Index
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) apply(changes ...chat.IndexChange) {
	f.Helper()
	f.must(f.ix.Apply(f.Context(), changes))
	f.settle(f.T, f.ix)
}

// feed applies the whole of some logs.
func (f *fixture) feed(logs ...*Log) {
	f.Helper()
	var changes []chat.IndexChange
	for _, l := range logs {
		changes = append(changes, l.Since(0))
	}
	f.apply(changes...)
}

func in(logs ...*Log) chat.IndexQuery {
	q := chat.IndexQuery{Tenant: logs[0].Key.Tenant}
	for _, l := range logs {
		q.Conversations = append(q.Conversations, l.Key.ID)
	}
	return q
}

func text(q chat.IndexQuery, s string) chat.IndexQuery {
	q.Text = s
	return q
}

func (f *fixture) search(q chat.IndexQuery) chat.SearchAnswer {
	f.Helper()
	a, err := f.ix.Search(f.Context(), q)
	if err != nil {
		f.Fatalf("%q: %v", q.Text, err)
	}
	if a.Highlight == nil {
		f.Fatalf("%q: no Highlight", q.Text)
	}
	return a
}

// finds checks the hits, in order.
func (f *fixture) finds(q chat.IndexQuery, want ...chat.SearchHit) {
	f.Helper()
	a := f.search(q)
	if !slices.Equal(a.Hits, want) {
		f.Errorf("%q: got %v, want %v", q.Text, show(a.Hits), show(want))
	}
	if a.More {
		f.Errorf("%q: more than the %d hits", q.Text, len(a.Hits))
	}
}

func show(hits []chat.SearchHit) []string {
	s := []string{}
	for _, h := range hits {
		s = append(s, h.Conversation.String()[30:]+"#"+utoa(h.Seq))
	}
	return s
}

func (f *fixture) cursors(want ...uint64) func(...*Log) {
	return func(logs ...*Log) {
		f.Helper()
		var keys []chat.ConversationKey
		for _, l := range logs {
			keys = append(keys, l.Key)
		}
		got, err := f.ix.Cursors(f.Context(), keys)
		if err != nil || !slices.Equal(got, want) {
			f.Errorf("cursors %v, %v; want %v", got, err, want)
		}
	}
}

func utoa(n uint64) string {
	s := ""
	for ; n > 0; n /= 10 {
		s = string(rune('0'+n%10)) + s
	}
	return s
}

func testMessages(f *fixture) {
	a, b := NewLog(Key("t", 1), At(0)), NewLog(Key("t", 2), At(0))
	f.cursors(0, 0)(a, b)
	f.finds(text(in(a, b), "needle"))
	one := a.Say("alice", At(1), "a needle in a haystack")
	a.Join("carol", At(2)) // names and other events are not found
	two := b.Say("bob", At(3), "another Needle")
	b.React(two, At(4), "needle")
	a.Say("bob", At(5), "hay")
	f.feed(a, b)
	f.cursors(4, 3)(a, b)
	f.finds(text(in(a, b), "needle"), b.Hit(two), a.Hit(one))
	three := a.Say("alice", At(6), "needle again")
	f.apply(a.Since(4))
	f.cursors(5, 3, 0)(a, b, NewLog(Key("t", 3), At(0)))
	f.finds(text(in(a, b), "needle"), a.Hit(three), b.Hit(two), a.Hit(one))
	f.apply()                                // nothing
	f.apply(chat.IndexChange{Key: a.Key})    // nothing of a conversation
	f.finds(text(in(a), "another haystack")) // both words, in no one message
}

func testEdits(f *fixture) {
	l := NewLog(Key("t", 1), At(0))
	one := l.Say("alice", At(1), "the first needle")
	two := l.Say("alice", At(2), "the second needle")
	f.feed(l)
	n := uint64(len(l.Events))
	l.Edit(one, At(3), "the first thread")
	f.apply(l.Since(n))
	f.finds(text(in(l), "needle"), l.Hit(two))
	f.finds(text(in(l), "thread"), l.Hit(one))
	f.finds(text(in(l), "first"), l.Hit(one))
	// An edit keeps the message's place, sender and time.
	l.Edit(one, At(4), "the first needle once more")
	l.Edit(one, At(5), "the first pin")
	l.Edit(one, At(6), "the first needle at last")
	f.apply(l.Since(n + 1))
	f.finds(text(in(l), "needle"), l.Hit(two), l.Hit(one))
	q := text(in(l), "needle")
	q.Before = At(2)
	f.finds(q, l.Hit(one))
	f.finds(text(in(l), `"once more"`))
	f.finds(text(in(l), "pin"))
	// To nothing and back.
	n = uint64(len(l.Events))
	l.Edit(two, At(7), "")
	f.apply(l.Since(n))
	f.finds(text(in(l), "second"))
	l.Edit(two, At(8), "second needle")
	f.apply(l.Since(n + 1))
	f.finds(text(in(l), "second"), l.Hit(two))
}

func testDeletions(f *fixture) {
	l := NewLog(Key("t", 1), At(0))
	one, two := l.Say("alice", At(1), "needle one"), l.Say("alice", At(2), "needle two")
	f.feed(l)
	n := uint64(len(l.Events))
	l.Delete(one, At(3))
	f.apply(l.Since(n))
	f.finds(text(in(l), "needle"), l.Hit(two))
	f.finds(text(in(l), "one"))
	f.cursors(n + 1)(l)
	l.Delete(two, At(4))
	three := l.Say("alice", At(5), "needle three")
	f.apply(l.Since(n + 1))
	f.finds(text(in(l), "needle"), l.Hit(three))
}

// testPresent feeds rows that are ahead of their events.
func testPresent(f *fixture) {
	l := NewLog(Key("t", 1), At(0))
	edited, deleted := l.Say("alice", At(1), "needle"), l.Say("alice", At(2), "needle deleted")
	twice := l.Say("bob", At(3), "pin")
	first := l.Since(0)
	l.Edit(edited, At(4), "thread")
	l.Delete(deleted, At(5))
	l.Edit(twice, At(6), "brooch")
	l.Edit(twice, At(7), "needle of gold")
	l.Edit(edited, At(8), "needle and thread")
	whole := l.Since(0)
	first.Events = whole.Events[:len(first.Events)]
	f.apply(first)
	f.finds(text(in(l), "needle"), l.Hit(twice), l.Hit(edited))
	f.apply(whole)
	f.finds(text(in(l), "needle"), l.Hit(twice), l.Hit(edited))
	f.finds(text(in(l), `"brooch"`))
	f.finds(text(in(l), "deleted"))
	// A message that was edited and deleted before the index heard of it stays away.
	n := uint64(len(l.Events))
	gone := l.Say("alice", At(10), "needle x")
	l.Edit(gone, At(11), "needle y")
	l.Delete(gone, At(12))
	f.apply(l.Since(n))
	f.finds(text(in(l), "needle"), l.Hit(twice), l.Hit(edited))
}

func testReplay(f *fixture) {
	l := NewLog(Key("t", 1), At(0))
	one, two := l.Say("alice", At(1), "needle one"), l.Say("alice", At(2), "needle two")
	old := l.Since(0) // rows before the edits
	l.Edit(one, At(3), "needle uno")
	l.Delete(two, At(4))
	three := l.Say("alice", At(5), "needle three")
	check := func() {
		f.Helper()
		f.finds(text(in(l), "needle"), l.Hit(three), l.Hit(one))
		f.finds(text(in(l), "uno"), l.Hit(one))
		f.finds(text(in(l), "two"))
		f.cursors(uint64(len(l.Events)))(l)
	}
	f.feed(l)
	check()
	f.feed(l)
	check()
	f.apply(old) // older rows of events that are known
	check()
	f.apply(l.Since(2), l.Since(4))
	check()
	four := l.Say("bob", At(6), "needle four")
	f.apply(l.Since(1)) // some known, one new
	f.finds(text(in(l), "needle"), l.Hit(four), l.Hit(three), l.Hit(one))
	m := NewLog(Key("t", 2), At(0))
	m.Say("alice", At(1), "needle of m")
	f.apply(m.Since(0), m.Since(0)) // twice in one call
	f.finds(text(in(m), "needle"), m.Hit(2))
}

func testGone(f *fixture) {
	a, b := NewLog(Key("t", 1), At(0)), NewLog(Key("t", 2), At(0))
	a.Say("alice", At(1), "needle a")
	b.Say("alice", At(2), "needle b")
	f.feed(a, b)
	f.apply(chat.IndexChange{Key: a.Key, Gone: true})
	f.finds(text(in(a, b), "needle"), b.Hit(2))
	f.cursors(0, 2)(a, b)
	f.apply(chat.IndexChange{Key: a.Key, Gone: true}) // again, and one never heard of
	f.apply(chat.IndexChange{Key: Key("t", 99), Gone: true})
	f.finds(text(in(a, b), "needle"), b.Hit(2))
	// Events and the end in one call.
	c := NewLog(Key("t", 3), At(0))
	c.Say("alice", At(3), "needle c")
	f.apply(c.Since(0), chat.IndexChange{Key: c.Key, Gone: true})
	f.finds(text(in(a, b, c), "needle"), b.Hit(2))
	// A direct conversation may come back under its id.
	f.apply(a.Since(0))
	f.finds(text(in(a, b), "needle"), b.Hit(2), a.Hit(2))
}

// testInterleaved hands over at once what came to several conversations at the same time, a conversation
// in two changes and one that ends in between.
func testInterleaved(f *fixture) {
	a, b, c := NewLog(Key("t", 1), At(0)), NewLog(Key("t", 2), At(0)), NewLog(Key("t", 3), At(0))
	model := NewMemory()
	both := func(changes ...chat.IndexChange) {
		f.must(model.Apply(f.Context(), changes))
		f.apply(changes...)
	}
	for round := range 8 {
		froms := [3]uint64{}
		for i, l := range []*Log{a, b, c} {
			if froms[i] = uint64(len(l.Events)); round == 0 {
				froms[i] = 0
			}
			first := l.Say("alice", At(40*round+3*i), "needle "+utoa(uint64(round)))
			l.Say("bob", At(40*round+20-5*i), "needle back")
			l.Edit(first, At(40*round+30-i), "hay "+utoa(uint64(round)))
			if round%3 == i {
				l.Delete(first+1, At(40*round+31))
			}
			l.Say("alice", At(40*round+32+2*i), "needle again")
		}
		half := a.Since(froms[0])
		rest := chat.IndexChange{Key: a.Key, Events: half.Events[2:]}
		half.Events = half.Events[:2]
		if round == 5 {
			both(half, chat.IndexChange{Key: b.Key, Gone: true}, c.Since(froms[2]), rest, b.Since(0))
		} else {
			both(b.Since(froms[1]), half, c.Since(froms[2]), rest)
		}
		for _, word := range []string{"needle", "hay", "back"} {
			if f.same(model, text(in(a, b, c), word)) == 0 {
				f.Errorf("round %d: nothing says %q", round, word)
			}
		}
		f.cursors(uint64(len(a.Events)), uint64(len(b.Events)), uint64(len(c.Events)))(a, b, c)
	}
}

func testContexts(f *fixture) {
	l := NewLog(Key("t", 1), At(0))
	l.Say("alice", At(1), "needle")
	f.feed(l)
	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	n := uint64(len(l.Events))
	l.Say("alice", At(2), "needle two")
	_, searchErr := f.ix.Search(ctx, text(in(l), "needle"))
	_, cursorErr := f.ix.Cursors(ctx, []chat.ConversationKey{l.Key})
	for name, err := range map[string]error{"Apply": f.ix.Apply(ctx, []chat.IndexChange{l.Since(n)}), "Search": searchErr, "Cursors": cursorErr} {
		if !errors.Is(err, context.Canceled) {
			f.Errorf("%s: %v", name, err)
		}
	}
	f.apply(l.Since(n)) // nothing is stuck, and a failed call may come again
	f.finds(text(in(l), "needle"), l.Hit(3), l.Hit(2))
}

func testStats(f *fixture) {
	l := NewLog(Key("t", 1), At(0))
	for i := range 5 {
		l.Say("alice", At(i), "needle")
	}
	f.feed(l)
	n := uint64(len(l.Events))
	l.Delete(2, At(9))
	f.apply(l.Since(n))
	f.search(text(in(l), "needle"))
	st := f.ix.Stats()
	if st.Documents != 4 && st.Documents != -1 || st.Applied < 5 || st.Removed < 1 || st.Searches != 1 || st.Failures != 0 || st.Rejected != 0 {
		f.Errorf("stats %+v", st)
	}
	f.must(f.ix.Health(f.Context()))
}

func testClose(f *fixture) {
	l := NewLog(Key("t", 1), At(0))
	l.Say("alice", At(1), "needle")
	f.feed(l)
	f.must(f.ix.Close())
	_, searchErr := f.ix.Search(f.Context(), text(in(l), "needle"))
	_, cursorErr := f.ix.Cursors(f.Context(), []chat.ConversationKey{l.Key})
	_, generationErr := f.ix.Generation(f.Context())
	_, rebuildErr := f.ix.Rebuild(f.Context())
	for name, err := range map[string]error{"Apply": f.ix.Apply(f.Context(), []chat.IndexChange{l.Since(0)}), "Search": searchErr, "Cursors": cursorErr,
		"Generation": generationErr, "Rebuild": rebuildErr, "Health": f.ix.Health(f.Context()), "Close": f.ix.Close()} {
		if !errors.Is(err, search.ErrClosed) {
			f.Errorf("%s: %v", name, err)
		}
	}
	f.ix.Stats()
}
