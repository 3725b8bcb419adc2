package search

import (
	"html"
	"slices"
	"strings"
)

// Rules are how far a match may be from what was typed, beyond what the query itself says.
type Rules struct {
	// Typos: words that allow it (Term.Typo) are also found with one letter added, left out or replaced, or two
	// neighbours swapped.
	Typos bool
	// PrefixTypos: so are the beginnings of words, where the word may be a beginning (Term.Prefix). It implies Typos.
	PrefixTypos bool
}

// Matcher finds a query in texts. It is safe for concurrent use.
type Matcher struct {
	clauses []compiledClause
	terms   []*Term // of the clauses, each once
	rules   Rules
}

type compiledClause struct{ must, not []int } // of terms

// Matcher returns what finds the query under these rules.
func (q *Query) Matcher(r Rules) *Matcher {
	r.Typos = r.Typos || r.PrefixTypos
	m := &Matcher{rules: r}
	number := func(terms []*Term) []int {
		var ns []int
		for _, t := range terms {
			i := slices.Index(m.terms, t)
			if i < 0 {
				i = len(m.terms)
				m.terms = append(m.terms, t)
			}
			ns = append(ns, i)
		}
		return ns
	}
	for _, c := range q.clauses {
		m.clauses = append(m.clauses, compiledClause{number(c.Must), number(c.Not)})
	}
	return m
}

// Match reports whether the query finds the content.
func (m *Matcher) Match(content string) bool {
	found := m.find(content, Analyze(content))
	return slices.ContainsFunc(m.clauses, func(c compiledClause) bool { return c.holds(found) })
}

// Highlight returns the content escaped for HTML, with <mark> and </mark> around what the query finds in it and its
// case as it is; false if the query does not find the content. Of a word found by its beginning or its middle, that
// part is marked. Marks do not divide grapheme clusters.
func (m *Matcher) Highlight(content string) (string, bool) {
	found := m.find(content, Analyze(content))
	var spans []span
	matches := false
	for _, c := range m.clauses {
		if c.holds(found) {
			matches = true
			for _, i := range c.must {
				spans = append(spans, found[i]...)
			}
		}
	}
	var b strings.Builder
	b.Grow(len(content) + 16)
	at := 0
	for _, s := range merge(spans) {
		b.WriteString(html.EscapeString(content[at:s.start]))
		b.WriteString("<mark>")
		b.WriteString(html.EscapeString(content[s.start:s.end]))
		b.WriteString("</mark>")
		at = s.end
	}
	b.WriteString(html.EscapeString(content[at:]))
	return b.String(), matches
}

type span struct{ start, end int }

func merge(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int {
		if a.start != b.start {
			return a.start - b.start
		}
		return b.end - a.end
	})
	var out []span
	for _, s := range spans {
		if n := len(out); n > 0 && s.start <= out[n-1].end {
			out[n-1].end = max(out[n-1].end, s.end)
		} else {
			out = append(out, s)
		}
	}
	return out
}

func (c compiledClause) holds(found [][]span) bool {
	for _, i := range c.must {
		if len(found[i]) == 0 {
			return false
		}
	}
	for _, i := range c.not {
		if len(found[i]) > 0 {
			return false
		}
	}
	return true
}

// find returns where each term stands.
func (m *Matcher) find(content string, tokens []Token) [][]span {
	found := make([][]span, len(m.terms))
	for i, t := range m.terms {
		for at := 0; at+len(t.Words) <= len(tokens); at++ {
			found[i] = m.term(found[i], t, content, tokens[at:at+len(t.Words)])
		}
	}
	return found
}

// term appends where t stands if it is these tokens.
func (m *Matcher) term(dst []span, t *Term, content string, tokens []Token) []span {
	n := len(tokens) - 1
	for i, w := range t.Words[:n] {
		if tokens[i].Text != w {
			return dst
		}
	}
	last, w := tokens[n], t.Words[n]
	start := tokens[0].Start
	switch {
	case last.Text == w:
		return append(dst, span{start, last.End})
	case t.Prefix && strings.HasPrefix(last.Text, w):
		_, end := part(content, last, 0, len(w))
		return append(dst, span{start, end})
	case t.Infix() && !last.Gram && strings.Contains(last.Text, w):
		for at := 0; ; {
			i := strings.Index(last.Text[at:], w)
			if i < 0 {
				return dst
			}
			start, end := part(content, last, at+i, at+i+len(w))
			dst = append(dst, span{start, end})
			at += i + len(w)
		}
	case m.rules.Typos && t.Typo() && !last.Gram && distance1(w, last.Text),
		m.rules.PrefixTypos && t.Prefix && t.Typo() && !last.Gram && prefixDistance1(w, last.Text):
		return append(dst, span{start, last.End})
	}
	return dst
}

// WithinTypo reports whether word is within one edit of w: a letter added, left out or replaced, or two neighbours
// swapped. Both are folded.
func WithinTypo(w, word string) bool { return distance1(w, word) }
