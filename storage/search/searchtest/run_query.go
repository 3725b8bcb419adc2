package searchtest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/zumodra/hub/chat"
)

// talk makes a log of messages one second apart and feeds it. The first is seq 2.
func (f *fixture) talk(n int, contents ...string) *Log {
	f.Helper()
	l := NewLog(Key("t", n), At(0))
	for i, c := range contents {
		l.Say("alice", At(1+i), c)
	}
	f.feed(l)
	return l
}

// table checks which contents each query finds, by their index.
func (f *fixture) table(contents []string, queries []found) {
	f.Helper()
	l := f.talk(1, contents...)
	for _, q := range queries {
		var want []chat.SearchHit
		for i := len(q.want) - 1; i >= 0; i-- {
			want = append(want, l.Hit(uint64(q.want[i])+2))
		}
		f.finds(text(in(l), q.text), want...)
	}
}

type found struct {
	text string
	want []int // ascending
}

func testScope(f *fixture) {
	a, b := NewLog(Key("t", 1), At(0)), NewLog(Key("t", 2), At(0))
	other := NewLog(Key("u", 1), At(0)) // the same id with another tenant
	for _, l := range []*Log{a, b, other} {
		l.Say("alice", At(1), "needle")
	}
	f.feed(a, b, other)
	f.finds(text(in(a), "needle"), a.Hit(2))
	f.finds(text(in(b), "needle"), b.Hit(2))
	f.finds(text(in(other), "needle"), other.Hit(2))
	f.finds(text(in(NewLog(Key("t", 3), At(0))), "needle"))
	f.finds(text(in(NewLog(Key("u", 2), At(0))), "needle"))
	f.finds(text(chat.IndexQuery{Tenant: "t"}, "needle")) // no conversation at all
	for _, attempt := range []string{"needle OR tenant:u", `needle" OR "needle`, "needle) OR (needle", "needle OR conversation:" + b.Key.ID.String()} {
		for _, h := range f.search(text(in(a), attempt)).Hits {
			if h.Conversation != a.Key.ID {
				f.Errorf("%q left its conversation", attempt)
			}
		}
	}
	f.apply(chat.IndexChange{Key: other.Key, Gone: true})
	f.finds(text(in(a), "needle"), a.Hit(2))
}

func testConversation(f *fixture) {
	a, b := NewLog(Key("t", 1), At(0)), NewLog(Key("t", 2), At(0))
	a.Say("alice", At(1), "needle")
	b.Say("alice", At(2), "needle")
	f.feed(a, b)
	q := text(in(a), "needle")
	q.Conversation = a.Key.ID
	f.finds(q, a.Hit(2))
	q.Conversation = b.Key.ID // of which the caller may not read: Conversations is what counts
	f.finds(q)
}

func testFilters(f *fixture) {
	l := NewLog(Key("t", 1), At(0))
	l.Say("alice", At(10), "needle one")
	l.Attach("bob", At(20), "needle two")
	l.Voice("alice", At(30), "needle three")
	l.Say("алиса:\"x\" OR", At(40), "needle four")
	f.feed(l)
	yes, no := true, false
	for i, c := range []struct {
		q    chat.SearchQuery
		want []uint64
	}{
		{chat.SearchQuery{}, []uint64{5, 4, 3, 2}},
		{chat.SearchQuery{Sender: "alice"}, []uint64{4, 2}},
		{chat.SearchQuery{Sender: "bob"}, []uint64{3}},
		{chat.SearchQuery{Sender: "алиса:\"x\" OR"}, []uint64{5}},
		{chat.SearchQuery{Sender: "Alice"}, nil},
		{chat.SearchQuery{Sender: "nobody"}, nil},
		{chat.SearchQuery{From: At(20)}, []uint64{5, 4, 3}},
		{chat.SearchQuery{From: At(20).Add(1000)}, []uint64{5, 4}},
		{chat.SearchQuery{Before: At(20)}, []uint64{2}},
		{chat.SearchQuery{Before: At(20).Add(1000)}, []uint64{3, 2}},
		{chat.SearchQuery{From: At(20), Before: At(30)}, []uint64{3}},
		{chat.SearchQuery{From: At(30), Before: At(20)}, nil},
		{chat.SearchQuery{HasAttachments: &yes}, []uint64{4, 3}},
		{chat.SearchQuery{HasAttachments: &no}, []uint64{5, 2}},
		{chat.SearchQuery{Sender: "alice", HasAttachments: &no, From: At(0), Before: At(100)}, []uint64{2}},
	} {
		c.q.Text = "needle"
		q := in(l)
		q.SearchQuery = c.q
		var want []chat.SearchHit
		for _, seq := range c.want {
			want = append(want, l.Hit(seq))
		}
		if got := f.search(q).Hits; fmt.Sprint(got) != fmt.Sprint(want) {
			f.Errorf("filter %d: got %v, want %v", i, show(got), show(want))
		}
	}
}

// testOrder feeds conversations one after the other whose messages interleave in time, as a rebuild does.
func testOrder(f *fixture) {
	logs := []*Log{NewLog(Key("t", 1), At(0)), NewLog(Key("t", 2), At(0)), NewLog(Key("t", 3), At(0))}
	var want []chat.SearchHit
	for i := range 30 {
		l := logs[i*7%3]
		seq := l.Say("alice", At(i+1), fmt.Sprint("needle ", i))
		want = append([]chat.SearchHit{l.Hit(seq)}, want...)
	}
	f.feed(logs[2])
	f.feed(logs[0], logs[1])
	f.finds(text(in(logs...), "needle"), want...)
}

// testEqualTimes: within a conversation seq decides, whatever the times say and whatever was deleted in between.
func testEqualTimes(f *fixture) {
	l := NewLog(Key("t", 1), At(0))
	other := NewLog(Key("t", 2), At(0))
	other.Say("bob", At(5), "needle")
	f.feed(other)
	first := l.Say("alice", At(5), "needle")
	l.Say("alice", At(5), "needle")
	f.feed(l)
	n := uint64(len(l.Events))
	l.Delete(first, At(5))
	for range 5 {
		l.Say("alice", At(5), "needle")
	}
	f.apply(l.Since(n))
	f.finds(text(in(l), "needle"), l.Hit(9), l.Hit(8), l.Hit(7), l.Hit(6), l.Hit(5), l.Hit(3))
	if n := len(f.search(text(in(l, other), "needle")).Hits); n != 7 {
		f.Errorf("%d hits", n)
	}
}

func testPages(f *fixture) {
	l := NewLog(Key("t", 1), At(0))
	for i := range 120 {
		l.Say("alice", At(i), "needle")
	}
	f.feed(l)
	for _, c := range []struct {
		limit, offset int
		first         uint64
		n             int
		more          bool
	}{
		{0, 0, 121, 50, true}, {50, 0, 121, 50, true}, {1000, 0, 121, 50, true}, {10, 0, 121, 10, true},
		{50, 50, 71, 50, true}, {50, 70, 51, 50, false}, {50, 71, 50, 49, false}, {1, 118, 3, 1, true}, {1, 119, 2, 1, false},
		{10, 120, 0, 0, false}, {10, 500, 0, 0, false},
	} {
		q := text(in(l), "needle")
		q.Limit, q.Offset = c.limit, c.offset
		a := f.search(q)
		if len(a.Hits) != c.n || a.More != c.more || c.n > 0 && a.Hits[0] != l.Hit(c.first) {
			f.Errorf("limit %d, offset %d: %d hits, more %v, %v", c.limit, c.offset, len(a.Hits), a.More, show(a.Hits))
		}
	}
}

func testNothing(f *fixture) {
	l := f.talk(1, "something else")
	f.finds(text(in(l), "needle"))
	if got, ok := f.search(text(in(l), "needle")).Highlight("a <pin>"); ok || got != "a &lt;pin&gt;" {
		f.Errorf("highlight: %v %s", ok, got)
	}
}

func testGrammar(f *fixture) {
	f.table([]string{"red wine", "white wine", "red beer", "red white rose", "wine cellar red light"}, []found{
		{"red wine", []int{0, 4}},
		{"red AND wine", []int{0, 4}},
		{"wine red", []int{0, 4}},
		{"beer OR cellar", []int{2, 4}},
		{"red wine OR beer", []int{0, 2, 4}},
		{"red (wine OR beer)", []int{0, 2, 4}},
		{"red NOT wine", []int{2, 3}},
		{"red -wine -beer", []int{3}},
		{"wine -(red OR white)", nil},
		{"wine NOT (red light)", []int{0, 1}},
		{"(red OR white) NOT (wine OR beer)", []int{3}},
		{`wine -"red light"`, []int{0, 1}},
		{"-red wine", []int{1}},
		{"red -win*", []int{2, 3}},
		{"red -ros", []int{0, 2, 3, 4}}, // excluded is the word, not what begins with it
		{"RED", []int{0, 2, 3, 4}},
		{"wine and red", nil}, // small letters are a word
	})
}

func testPhrases(f *fixture) {
	f.table([]string{"the red wine is good", "wine red", "red, wine!", "red and wine", "mail joe@example.com", "joe at example com"}, []found{
		{`"red wine"`, []int{0, 2}},
		{`"wine red"`, []int{1}},
		{`"red wine is"`, []int{0}},
		{`"red win"`, nil},
		{`"red win"*`, []int{0, 2}},
		{`"red wine" -good`, []int{2}},
		{`"red wine" OR "wine red"`, []int{0, 1, 2}},
		{"joe@example.com", []int{4}},
		{"red-wine", []int{0, 2}},
		{"red_wine", []int{0, 2}},
		{`"red wine`, []int{0, 1, 2, 3}}, // not closed: text
	})
}

func testAccents(f *fixture) {
	f.table([]string{"Un CAFÉ crème", "un cafe\u0301 noir", "Cafe au lait", "Straße", "ÅNGSTRÖM", "Ёлка"}, []found{
		{"cafe", []int{0, 1, 2}},
		{"café", []int{0, 1, 2}},
		{"CAFÉ", []int{0, 1, 2}},
		{"creme", []int{0}},
		{"strasse", []int{3}},
		{"STRASSE", []int{3}},
		{"angstrom", []int{4}},
		{"елка", []int{5}},
		{`"un café"`, []int{0, 1}},
	})
}

func testPrefix(f *fixture) {
	f.table([]string{"hello world", "help wanted", "shell", "he said", "hell is other people"}, []found{
		{"hel*", []int{0, 1, 4}},
		{"he*", []int{0, 1, 3, 4}},
		{"hello*", []int{0}},
		{"world hel*", []int{0}},
		{"hel* wor", []int{0}}, // the last word may not be done
		{"he", []int{0, 1, 3, 4}},
		{"he world", []int{}}, // but others are
		{"hell* -hello", []int{4}},
	})
}

func testInfix(f *fixture) {
	f.table([]string{"find the NEEDLE here", "pineapple juice", "Apple pie", "apples", "übermäßig"}, []found{
		{"needle", []int{0}},
		{"eedl", []int{0}},
		{"apple", []int{1, 2, 3}},
		{"apple pie", []int{2}},
		{"apple jui", []int{1}},
		{"ple", []int{1, 2, 3}},
		{`"apple"`, []int{2}},
		{"apple*", []int{2, 3}},
		{"massig", []int{4}},
		{"juice -apple", []int{1}},
	})
}

func testTypos(f *fixture) {
	f.table([]string{"a needle", "receive it", "four needles here", "the color red", "room101"}, []found{
		{"neeedle", []int{0}},
		{"nedle", []int{0}},
		{"needel", []int{0}},
		{"reecive", []int{1}},
		{"recevie it", []int{1}},
		{"colour", []int{3}},
		{"colour red", []int{3}},
		{`"colour"`, nil},
		{"rad", nil}, // too short
		{"nidle", nil},
		{"room102", nil}, // numbers are meant
	})
	// Where there are enough hits, nothing that was not meant is among them.
	l := f.talk(2, "butter", "batter", "butter", "butter", "butter", "butter")
	f.finds(text(in(l), "butter"), l.Hit(7), l.Hit(6), l.Hit(5), l.Hit(4), l.Hit(2))
	f.finds(text(in(l), "batter"), l.Hit(7), l.Hit(6), l.Hit(5), l.Hit(4), l.Hit(3), l.Hit(2))
	q := text(in(l), "butter")
	q.Limit, q.Offset = 1, 4 // also on a page that has few
	f.finds(q, l.Hit(2))
}

func testCJK(f *fixture) {
	f.table([]string{"今日は天気がいい", "日本語を勉強する", "我爱iPhone手机", "한국어 공부", "ｶﾀｶﾅ", "本"}, []found{
		{"天気", []int{0}},
		{"日本語", []int{1}},
		{"本語", []int{1}},
		{"日語", nil},
		{"日", []int{0, 1}},
		{"日 勉強", []int{1}},
		{"本", []int{1, 5}},
		{"手机", []int{2}},
		{"爱iPhone", []int{2}},
		{"iphone", []int{2}},
		{"한국", []int{3}},
		{"カタカナ", []int{4}},
		{`"を勉強する"`, []int{1}},
		{"日本語 -勉強", nil},
	})
}

func testLiteral(f *fixture) {
	f.table([]string{"100% sure", "100 sure", "a_b", "axb", "it's 5\" wide", "back\\slash", "c* d", "nul\x00byte", "( :"}, []found{
		{"100%", []int{0, 1}},
		{"a_b", []int{2}},
		{"it's", []int{4}},
		{`5"`, []int{4}},
		{`back\slash`, []int{5}},
		{"nul\x00byte", []int{7}},
		{"sure' OR '1'='1", []int{0, 1}},
		{"sure'; DROP TABLE docs", nil},
		{"sure) OR (wide", []int{0, 1, 4}},
		{"t:sure", nil},
		{"sure ^ + { } : * \" ( ) - NEAR", nil}, // NEAR is a word
		{"NEAR(sure wide)", nil},
		{"sure", []int{0, 1}}, // all is still there
	})
}

func testHighlight(f *fixture) {
	l := f.talk(1, "x < y & the NEEDLE")
	a := f.search(text(in(l), "needle"))
	if got, ok := a.Highlight("x < y & the NEEDLE"); !ok || got != "x &lt; y &amp; the <mark>NEEDLE</mark>" {
		f.Errorf("%v %s", ok, got)
	}
	if got, ok := a.Highlight("edited <since>"); ok || got != "edited &lt;since&gt;" {
		f.Errorf("%v %s", ok, got)
	}
	// Every hit is confirmed by the answer that has it.
	contents := []string{"receive the Café", "pineapple", "日本語", "butter", "red wine"}
	m := f.talk(2, contents...)
	queries := []string{"cafe", "pin*", "butt", `"red wine"`, "wine OR cafe", "red -beer"}
	if f.has(CJK) {
		queries = append(queries, "本語", "日")
	}
	if f.has(Infix) {
		queries = append(queries, "apple")
	}
	if f.has(Typos) {
		queries = append(queries, "recevie", "batter")
	}
	for _, text := range queries {
		q := in(m)
		q.Text = text
		a := f.search(q)
		if len(a.Hits) == 0 {
			f.Errorf("%q: nothing", text)
		}
		for _, h := range a.Hits {
			if got, ok := a.Highlight(contents[h.Seq-2]); !ok || !strings.Contains(got, "<mark>") {
				f.Errorf("%q: hit %q is not confirmed: %s", text, contents[h.Seq-2], got)
			}
		}
	}
}

func testBadQueries(f *fixture) {
	l := f.talk(1, "needle")
	for _, s := range []string{"", "  ", "...", "-needle", "NOT needle", "needle OR -x", "* \"\" ()", strings.Repeat("x", 101), strings.Repeat("x ", 17)} {
		_, err := f.ix.Search(f.Context(), text(in(l), s))
		var fe *chat.FieldError
		if !errors.As(err, &fe) || fe.Field != "q" || fe.Text == "" {
			f.Errorf("%q: %v", s, err)
		}
	}
	f.finds(text(in(l), "needle"), l.Hit(2))
}

// testMany asks in scopes on both sides of where indexes change their plans.
func testMany(f *fixture) {
	const n = 600
	var logs []*Log
	for i := range n {
		l := NewLog(Key("t", i), At(0))
		l.Say("alice", At(i), fmt.Sprint("needle number", i))
		logs = append(logs, l)
	}
	f.feed(logs...)
	for _, scope := range []int{1, 2, 49, 50, 51, 100, 300, n} {
		q := text(in(logs[:scope]...), "needle")
		a := f.search(q)
		if len(a.Hits) != min(scope, 50) || a.More != (scope > 50) || a.Hits[0] != logs[scope-1].Hit(2) {
			f.Errorf("in %d conversations: %d hits, more %v, first %v", scope, len(a.Hits), a.More, show(a.Hits[:1]))
		}
		f.finds(text(q, `"number0"`), logs[0].Hit(2))
		if scope < n {
			f.finds(text(q, fmt.Sprint("\"number", n-1, "\"")))
		}
		q.Conversations = append(q.Conversations, q.Conversations[0], Key("t", n+1).ID) // twice, and one without messages
		f.finds(text(q, `"number0"`), logs[0].Hit(2))
	}
}

func testOdd(f *fixture) {
	long := strings.Repeat("word ", 1999) + "needle"
	unspaced := strings.Repeat("x", 9000) + " needle"
	l := f.talk(1, "", "   ", "\x00\x01", "\U0001f600", long, unspaced, strings.Repeat("日", 10000), "\ufffd\u202eneedle", "\U0010ffff")
	f.finds(text(in(l), "needle"), l.Hit(9), l.Hit(7), l.Hit(6))
	f.finds(text(in(l), "\U0001f600"), l.Hit(5))
	f.cursors(uint64(len(l.Events)))(l)
}
