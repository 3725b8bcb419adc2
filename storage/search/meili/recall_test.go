package meili

import (
	"slices"
	"strings"
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/search"
)

// offers reports whether the server offers a document for a search: all parts in one attribute each, a bare word with up
// to two typos.
func offers(d *document, text string) bool {
	words, grams := strings.Fields(d.Words), strings.Fields(d.Grams)
	for rest := text; rest != ""; {
		part := ""
		if rest[0] == '"' {
			part, rest, _ = strings.Cut(rest[1:], `"`)
			all := func(in []string) bool {
				return !slices.ContainsFunc(strings.Fields(part), func(w string) bool { return !slices.Contains(in, w) })
			}
			if !all(words) && !all(grams) {
				return false
			}
		} else {
			part, rest, _ = strings.Cut(rest, " ")
			if !slices.ContainsFunc(words, func(w string) bool { return w == part || search.WithinTypo(part, w) }) {
				return false
			}
		}
		rest = strings.TrimLeft(rest, " ")
	}
	return true
}

// FuzzRecall: what the matcher finds in a text, the server offers for one of the searches. The other way round the
// matcher decides.
func FuzzRecall(f *testing.F) {
	for _, q := range []string{"needle", "eedl", "hel* wor", `"red wine"`, "red -wine", "(a OR b) c", "日本語", "日", "joe@example.com", "👍", "ни", "neeedle",
		"مرحبا", "x*", `"を勉強する"`, "don't", "q r", "übermäßig", "1 2 3 4 5 6 7 8 9 10 11 12", "한국*", "a* b* c*"} {
		for _, c := range []string{"find the NEEDLE here", "hello world", "red wine", "wine, red", "今日は天気がいい 日本語を勉強する", "mail joe@example.com", "👍🏽 ok", "они",
			"مرحبا بالعالم", "don't", "quer", "übermäßig", "1 2 3 4 5 6 7 8 9 10 11 12", "한국어", "ab bc cd"} {
			f.Add(q, c)
		}
	}
	f.Fuzz(func(t *testing.T, text, content string) {
		q, err := search.Parse(text)
		if err != nil {
			return
		}
		d := newMessage(chat.ConversationKey{Tenant: "t"}, &chat.Event{Seq: 1, Content: content})
		found := func(texts []string) bool {
			return slices.ContainsFunc(texts, func(s string) bool { return offers(d, s) })
		}
		if q.Matcher(search.Rules{}).Match(content) && !found(exactSearches(q)) {
			t.Fatalf("%q finds %q, and of %q the server offers nothing (words %q, grams %q)", text, content, exactSearches(q), d.Words, d.Grams)
		}
		typos := q.Matcher(search.Rules{Typos: true}).Match(content)
		plainTypos := !slices.ContainsFunc(q.Terms(), func(t *search.Term) bool { return t.Typo() && !plain(t.Words[0]) })
		if typos && plainTypos && countTypos(q) <= maxTypoTerms && !found(typoSearches(q)) {
			t.Fatalf("with typos, %q finds %q, and of %q the server offers nothing (words %q)", text, content, typoSearches(q), d.Words)
		}
		for _, w := range append(strings.Fields(d.Words), strings.Fields(d.Grams)...) {
			if !plain(w) {
				t.Fatalf("the server would divide %q", w)
			}
		}
		for _, s := range append(exactSearches(q), typoSearches(q)...) {
			if n := strings.Count(strings.ReplaceAll(s, `" `, "\x00"), "\x00"); n >= maxParts || s == "" {
				t.Fatalf("%d parts in %q", n+1, s)
			}
		}
	})
}

// countTypos is the largest number of words of an alternative that may have a typo.
func countTypos(q *search.Query) (most int) {
	for _, c := range q.Clauses() {
		n := 0
		for _, t := range c.Must {
			if t.Typo() {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}
