package searchtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/search"
)

func (f *fixture) generation() string {
	f.Helper()
	g, err := f.ix.Generation(f.Context())
	f.must(err)
	if g == "" {
		f.Fatal("no generation")
	}
	return g
}

func (f *fixture) rebuild() search.Rebuild {
	f.Helper()
	r, err := f.ix.Rebuild(f.Context())
	f.must(err)
	return r
}

func testRebuild(f *fixture) {
	a, b := NewLog(Key("t", 1), At(0)), NewLog(Key("t", 2), At(0))
	a.Say("alice", At(1), "needle")
	b.Say("alice", At(2), "needle")
	f.feed(a, b)
	before := f.generation()
	if f.generation() != before {
		f.Error("the generation changes by itself")
	}
	r := f.rebuild()
	got, err := r.Cursors(f.Context(), []chat.ConversationKey{a.Key, b.Key})
	if err != nil || !slices.Equal(got, []uint64{0, 0}) {
		f.Errorf("a new index has cursors %v, %v", got, err)
	}
	f.must(r.Apply(f.Context(), []chat.IndexChange{a.Since(0)}))
	if got, err := r.Cursors(f.Context(), []chat.ConversationKey{a.Key, b.Key}); err != nil || !slices.Equal(got, []uint64{2, 0}) {
		f.Errorf("cursors %v, %v", got, err)
	}
	f.finds(text(in(a, b), "needle"), b.Hit(2), a.Hit(2)) // the old one
	f.cursors(2, 2)(a, b)
	if f.generation() != before {
		f.Error("the generation changed before Commit")
	}
	f.must(r.Commit(f.Context()))
	f.settle(f.T, f.ix)
	if f.generation() == before {
		f.Error("the generation did not change")
	}
	f.finds(text(in(a, b), "needle"), a.Hit(2))
	f.cursors(2, 0)(a, b)
	f.must(r.Abort(f.Context())) // nothing, after Commit
	f.finds(text(in(a, b), "needle"), a.Hit(2))
	if err := r.Commit(f.Context()); err == nil {
		f.Error("a second Commit")
	}
	f.apply(b.Since(0))
	f.finds(text(in(a, b), "needle"), b.Hit(2), a.Hit(2))
}

func testRebuildTwice(f *fixture) {
	l := NewLog(Key("t", 1), At(0))
	l.Say("alice", At(1), "needle")
	f.feed(l)
	before := f.generation()
	first := f.rebuild()
	f.must(first.Apply(f.Context(), []chat.IndexChange{l.Since(0)}))
	f.must(first.Abort(f.Context()))
	if err := first.Apply(f.Context(), []chat.IndexChange{l.Since(0)}); err == nil {
		f.Error("Apply after Abort")
	}
	f.finds(text(in(l), "needle"), l.Hit(2))

	second := f.rebuild()
	f.must(second.Apply(f.Context(), []chat.IndexChange{l.Since(0)}))
	third := f.rebuild() // ends the second
	if err := second.Apply(f.Context(), []chat.IndexChange{l.Since(0)}); err == nil {
		f.Error("Apply of an ended rebuild")
	}
	if err := second.Commit(f.Context()); err == nil {
		f.Error("Commit of an ended rebuild")
	}
	f.must(second.Abort(f.Context()))
	if f.generation() != before {
		f.Error("the generation changed")
	}
	m := NewLog(Key("t", 2), At(0))
	m.Say("alice", At(1), "needle")
	f.must(third.Apply(f.Context(), []chat.IndexChange{m.Since(0)}))
	f.must(third.Commit(f.Context()))
	f.settle(f.T, f.ix)
	f.finds(text(in(l, m), "needle"), m.Hit(2))
}

// testRebuildLive rebuilds as it is really done: the old index is searched and fed meanwhile, and what came during the
// rebuild is fed to the new one from its cursors.
func testRebuildLive(f *fixture) {
	logs := make([]*Log, 8)
	for i := range logs {
		logs[i] = NewLog(Key("t", i), At(0))
	}
	second := 0
	say := func(n int) {
		for range n {
			second++
			logs[second%len(logs)].Say("alice", At(second), fmt.Sprint("needle ", second))
		}
	}
	say(200)
	f.feed(logs...)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			a, err := f.ix.Search(f.Context(), text(in(logs...), "needle"))
			if err != nil || len(a.Hits) != 50 {
				f.Errorf("during a rebuild: %d hits, %v", len(a.Hits), err)
				return
			}
		}
	})
	for range 3 {
		r := f.rebuild()
		for i, l := range logs {
			f.must(r.Apply(f.Context(), []chat.IndexChange{l.Since(0)}))
			n := uint64(len(logs[i].Events))
			say(10)
			logs[i].Edit(2, At(second), fmt.Sprint("needle of ", second))
			f.must(f.ix.Apply(f.Context(), []chat.IndexChange{logs[i].Since(n)}))
		}
		keys := []chat.ConversationKey{}
		for _, l := range logs {
			keys = append(keys, l.Key)
		}
		cursors, err := r.Cursors(f.Context(), keys)
		f.must(err)
		for i, l := range logs {
			f.must(r.Apply(f.Context(), []chat.IndexChange{l.Since(cursors[i])}))
		}
		f.must(r.Commit(f.Context()))
		f.settle(f.T, f.ix)
	}
	close(stop)
	wg.Wait()
	m := NewMemory()
	for _, l := range logs {
		f.must(m.Apply(f.Context(), []chat.IndexChange{l.Since(0)}))
	}
	for offset := 0; offset < 600; offset += 50 {
		q := text(in(logs...), "needle")
		q.Offset = offset
		f.same(m, q)
	}
}

// same checks that the index answers as the model does.
func (f *fixture) same(model search.Index, q chat.IndexQuery) int {
	f.Helper()
	want, err := model.Search(f.Context(), q)
	f.must(err)
	got := f.search(q)
	if !slices.Equal(got.Hits, want.Hits) || got.More != want.More {
		f.Errorf("%+v:\n got %v, more %v\nwant %v, more %v", q.SearchQuery, show(got.Hits), got.More, show(want.Hits), want.More)
	}
	return len(got.Hits)
}

func testConcurrency(f *fixture) {
	const writers, each = 6, 30
	logs := make([]*Log, writers)
	for i := range logs {
		logs[i] = NewLog(Key("t", i), At(0))
	}
	all := in(logs...)
	var wg sync.WaitGroup
	for i, l := range logs {
		wg.Go(func() {
			for n := range each {
				from := uint64(len(l.Events))
				if n == 0 {
					from = 0
				}
				seq := l.Say("alice", At(n*writers+i), fmt.Sprint("needle ", n))
				switch n % 3 {
				case 1:
					l.Edit(seq, At(n*writers+i), fmt.Sprint("needle edited ", n))
				case 2:
					l.Delete(seq, At(n*writers+i))
				}
				if err := f.ix.Apply(f.Context(), []chat.IndexChange{l.Since(from)}); err != nil {
					f.Errorf("Apply: %v", err)
					return
				}
				if _, err := f.ix.Search(f.Context(), text(all, "needle -edited")); err != nil {
					f.Errorf("Search: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	f.settle(f.T, f.ix)
	m := NewMemory()
	for _, l := range logs {
		f.must(m.Apply(f.Context(), []chat.IndexChange{l.Since(0)}))
	}
	for _, s := range []string{"needle", "edited", "needle -edited"} {
		for offset := 0; offset < 150; offset += 50 {
			q := text(all, s)
			q.Offset = offset
			f.same(m, q)
		}
	}
}

// testOracle compares answers on random conversations, edits, deletions and queries with those of Memory.
func testOracle(f *fixture) {
	for seed := range uint64(3) {
		f.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			o := &oracle{fixture: &fixture{suite: f.suite, T: t, ix: f.open(t)}, rng: rand.New(rand.NewPCG(seed, 86))}
			o.run()
		})
	}
	if err := f.ix.Close(); err != nil && !errors.Is(err, search.ErrClosed) {
		f.Error(err)
	}
}

type oracle struct {
	*fixture
	rng    *rand.Rand
	logs   []*Log
	fed    []uint64
	second int
}

var oracleWords = strings.Fields(`apple pineapple apples Äpfel app needle needles needless haystack hay red wine white beer
	receive deceive recevie strasse Straße café cafe coffee butter batter better bitter 2024 2025 joe@example.com don't
	日本語 日本 本 語学 手机iPhone 한국어 👍 x y z`)

func (o *oracle) word() string { return oracleWords[o.rng.IntN(len(oracleWords))] }

func (o *oracle) content() string {
	var words []string
	for range o.rng.IntN(7) {
		words = append(words, o.word())
	}
	return strings.Join(words, " ")
}

func (o *oracle) query() string {
	exact := !o.has(Infix) || !o.has(Typos) || !o.has(CJK)
	var parts []string
	for i := range 1 + o.rng.IntN(4) {
		w := o.word()
		if r := []rune(w); !exact && o.rng.IntN(3) == 0 && len(r) > 2 {
			i := o.rng.IntN(len(r) - 1)
			switch o.rng.IntN(3) {
			case 0:
				w = string(r[i:]) // an end
			case 1:
				w = string(r[:i+1])
			default:
				r[i], r[i+1] = r[i+1], r[i]
				w = string(r)
			}
		}
		switch o.rng.IntN(8) {
		case 0:
			w += "*"
		case 1:
			if i > 0 {
				w = "OR " + w
			}
		case 2:
			w = "-" + w
		case 3:
			w = "(" + w + " OR " + o.word() + ")"
		case 4:
			w += " " + o.word()
			exact = true
		}
		if exact && !strings.ContainsAny(w, "()*") {
			w = `"` + strings.TrimPrefix(strings.TrimPrefix(w, "OR "), "-") + `"`
		}
		parts = append(parts, w)
	}
	return strings.Join(parts, " ")
}

func (o *oracle) run() {
	model := NewMemory()
	for i := range 12 {
		key := Key("t", i)
		if i%4 == 3 {
			key = Key("u", i-1) // the id of one of the other tenant's
		}
		o.logs = append(o.logs, NewLog(key, At(0)))
	}
	o.fed = make([]uint64, len(o.logs))
	hits := 0
	for range 15 {
		for range 30 {
			o.step()
		}
		var changes []chat.IndexChange
		for i, l := range o.logs {
			if o.rng.IntN(3) == 0 {
				continue
			}
			from := o.fed[i]
			if o.rng.IntN(4) == 0 {
				from = uint64(o.rng.IntN(int(from) + 1)) // some again
			}
			changes = append(changes, l.Since(from))
			o.fed[i] = uint64(len(l.Events))
		}
		o.apply(changes...)
		o.must(model.Apply(o.Context(), changes))
		for range 8 {
			q := o.ask()
			if _, err := search.Parse(q.Text); err != nil {
				continue
			}
			hits += o.same(model, q)
		}
		if o.Failed() {
			return
		}
	}
	if hits < 50 {
		o.Errorf("only %d hits: the test asks for the wrong things", hits)
	}
}

func (o *oracle) step() {
	o.second++
	l := o.logs[o.rng.IntN(len(o.logs))]
	seq := uint64(o.rng.IntN(len(l.Events))) + 1
	e := &l.Events[seq-1]
	if e.IsMessage() && e.DeletedAt.IsZero() {
		switch o.rng.IntN(5) {
		case 0:
			l.Edit(seq, At(o.second), o.content())
			return
		case 1:
			l.Delete(seq, At(o.second))
			return
		case 2:
			l.React(seq, At(o.second), "👍")
			return
		}
	}
	who := []chat.UserID{"alice", "bob", "carol"}[o.rng.IntN(3)]
	for range 1 + o.rng.IntN(2) { // sometimes two at the same time
		if o.rng.IntN(5) == 0 {
			l.Voice(who, At(o.second), o.content())
		} else {
			l.Say(who, At(o.second), o.content())
		}
	}
}

func (o *oracle) ask() chat.IndexQuery {
	q := chat.IndexQuery{Tenant: []chat.TenantID{"t", "u"}[o.rng.IntN(2)]}
	for _, l := range o.logs {
		if o.rng.IntN(4) > 0 {
			q.Conversations = append(q.Conversations, l.Key.ID) // of either tenant: the tenant decides
		}
	}
	q.Text = o.query()
	if o.rng.IntN(4) == 0 {
		q.Sender = []chat.UserID{"alice", "bob", "dave"}[o.rng.IntN(3)]
	}
	if o.rng.IntN(4) == 0 {
		q.From = At(o.rng.IntN(o.second))
	}
	if o.rng.IntN(4) == 0 {
		q.Before = At(o.rng.IntN(o.second))
	}
	if o.rng.IntN(4) == 0 {
		b := o.rng.IntN(2) == 0
		q.HasAttachments = &b
	}
	q.Limit = o.rng.IntN(12)
	if o.rng.IntN(3) == 0 {
		q.Offset = o.rng.IntN(10)
	}
	return q
}
