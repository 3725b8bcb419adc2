package search

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/zumodra/hub/chat"
)

// Parse understands a query:
//
//	query  = and { "OR" and }
//	and    = not { [ "AND" ] not }
//	not    = [ "NOT" | "-" ] ( word | phrase | "(" query ")" )
//	phrase = '"' words '"' [ "*" ]
//	word   = what stands between spaces [ "*" ]
//
// AND, OR and NOT are operators in capitals only. A star makes the last word a beginning of words, and so does being
// bare, looked for, and the last term of the query: whoever types may not be done. Typographic quotes count as quotes. Quotes and parentheses that lack their other
// half, operators that lack an operand, and a star, minus or parenthesis in any other place are text like
// everything else, and there is no other syntax: %, _, backslashes and the rest are not letters and only separate words.
//
// A query of more than chat.MaxSearchText code points after trimming, more than MaxTerms terms or MaxClauses
// alternatives, with no word in it, or with an alternative that only excludes, is a *chat.FieldError on q. What is
// too short to look for is the caller's to say.
func Parse(text string) (*Query, error) {
	text = strings.TrimSpace(text)
	if utf8.RuneCountInString(text) > chat.MaxSearchText {
		return nil, fieldError(fmt.Sprintf("Ensure this field has no more than %d characters.", chat.MaxSearchText))
	}
	p := parser{items: lex(text)}
	if len(p.items) == 0 {
		return nil, fieldError("There is no word in it to look for.")
	}
	terms := 0
	for _, it := range p.items {
		if it.term != nil {
			terms++
		}
	}
	if terms > MaxTerms {
		return nil, fieldError(fmt.Sprintf("Ensure there are no more than %d words and phrases.", MaxTerms))
	}
	e := p.or(false)
	if e == nil {
		return nil, fieldError("There is no word in it to look for.")
	}
	return newQuery(e)
}

type itemKind uint8

const (
	itemTerm itemKind = iota
	itemOpen
	itemClose
	itemAnd
	itemOr
	itemNot
)

type item struct {
	kind itemKind
	term *Term
	bare bool // a word without quotes and star
}

// dropNots takes back the negations of something that turned out to be nothing.
func dropNots(items []item) []item {
	for len(items) > 0 && items[len(items)-1].kind == itemNot {
		items = items[:len(items)-1]
	}
	return items
}

// add appends a term; nil is none.
func add(items []item, t *Term, bare bool) []item {
	if t == nil {
		return dropNots(items)
	}
	return append(items, item{term: t, bare: bare})
}

// lex splits the text into terms, operators and balanced parentheses. What has no words is left out.
func lex(s string) []item {
	var items []item
	opens := []int{} // of items, not closed yet
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case unicode.IsSpace(r):
			i += n
			continue
		case r == '(':
			opens = append(opens, len(items))
			items = append(items, item{kind: itemOpen})
			i += n
			continue
		case r == ')':
			items, opens = closeGroup(items, opens)
			i += n
			continue
		case r == '-' && i+n < len(s) && startsTerm(s[i+n:]):
			items = append(items, item{kind: itemNot})
			i += n
			continue
		case isQuote(r):
			if length := strings.IndexFunc(s[i+n:], isQuote); length >= 0 {
				inner := s[i+n : i+n+length]
				_, q := utf8.DecodeRuneInString(s[i+n+length:])
				i += n + length + q
				star := strings.HasPrefix(s[i:], "*")
				items = add(items, newTerm(inner, true, star), false)
				i += len(s[i:]) - len(strings.TrimLeft(s[i:], "*"))
				continue
			}
		}
		end := i + n // at least one character, whatever it is
		for end < len(s) {
			r, n := utf8.DecodeRuneInString(s[end:])
			if unicode.IsSpace(r) {
				break
			}
			end += n
		}
		word := s[i:end]
		closing := 0
		for closing < len(opens) && strings.HasSuffix(word, ")") {
			word = word[:len(word)-1]
			closing++
		}
		i = end
		switch word {
		case "AND":
			items = append(items, item{kind: itemAnd})
		case "OR":
			items = append(items, item{kind: itemOr})
		case "NOT":
			items = append(items, item{kind: itemNot})
		default:
			star := len(word) > 1 && strings.HasSuffix(word, "*")
			items = add(items, newTerm(word, false, star), !star)
		}
		for range closing {
			items, opens = closeGroup(items, opens)
		}
	}
	for i := len(opens) - 1; i >= 0; i-- { // without an end: text
		items = append(items[:opens[i]], items[opens[i]+1:]...)
	}
	for i := len(items) - 1; i >= 0; i-- {
		if items[i].term != nil {
			if items[i].bare && !endsInGram(items[i].term) {
				items[i].term.Prefix = true // parser.not takes it back from what is excluded
			}
			break
		}
	}
	return items
}

// closeGroup ends the innermost group; one without anything in it disappears.
func closeGroup(items []item, opens []int) ([]item, []int) {
	n := len(opens)
	if n == 0 {
		return items, opens
	}
	open := opens[n-1]
	for _, it := range items[open+1:] {
		if it.term != nil {
			return append(items, item{kind: itemClose}), opens[:n-1]
		}
	}
	return dropNots(items[:open]), opens[:n-1]
}

// startsTerm tells a minus that excludes from a dash.
func startsTerm(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return !unicode.IsSpace(r) && r != '-' && r != ')'
}

func isQuote(r rune) bool { return r == '"' || r >= 0x201c && r <= 0x201f }

func newTerm(s string, phrase, star bool) *Term {
	tokens := Analyze(s)
	if len(tokens) == 0 {
		return nil
	}
	t := &Term{Text: trimText(s, tokens), Phrase: phrase, Prefix: star}
	if endsAlone(tokens) {
		t.Prefix = true // it begins the pair that it stands in
	} else if n := len(tokens); tokens[n-1].Gram {
		tokens = tokens[:n-1] // the pair before it holds it, and more characters may follow
	}
	t.Words = Words(tokens)
	if !phrase {
		switch t.Text {
		case "AND", "OR", "NOT": // it stood in punctuation
			t.Text = strings.ToLower(t.Text)
		}
	}
	t.Lax = !phrase && !star && len(tokens) == 1 && !tokens[0].Gram
	return t
}

// endsAlone reports whether the last token is a single character of a script without spaces.
func endsAlone(tokens []Token) bool {
	n := len(tokens)
	return tokens[n-1].Gram && !(n > 1 && tokens[n-2].Gram && tokens[n-2].End == tokens[n-1].End)
}

func endsInGram(t *Term) bool {
	tokens := Analyze(t.Text)
	return tokens[len(tokens)-1].Gram
}

type parser struct {
	items []item
	at    int
}

func (p *parser) peek() (itemKind, bool) {
	if p.at >= len(p.items) {
		return 0, false
	}
	return p.items[p.at].kind, true
}

// or, and, not return nil for nothing. Under an odd number of negations (neg) And and Or change places.
func (p *parser) or(neg bool) Expr {
	var parts []Expr
	for {
		if e := p.and(neg); e != nil {
			parts = append(parts, e)
		}
		if k, ok := p.peek(); !ok || k != itemOr {
			break
		}
		p.at++
	}
	if neg {
		return conjunction(parts)
	}
	return disjunction(parts)
}

func (p *parser) and(neg bool) Expr {
	var parts []Expr
	for {
		k, ok := p.peek()
		if !ok || k == itemOr || k == itemClose {
			break
		}
		if k == itemAnd {
			p.at++
			continue
		}
		if e := p.not(neg); e != nil {
			parts = append(parts, e)
		}
	}
	if neg {
		return disjunction(parts)
	}
	return conjunction(parts)
}

func (p *parser) not(neg bool) Expr {
	for {
		k, ok := p.peek()
		if !ok || k != itemNot {
			break
		}
		p.at++
		neg = !neg
	}
	k, ok := p.peek()
	if !ok {
		return nil
	}
	switch k {
	case itemTerm:
		it := p.items[p.at]
		p.at++
		if !neg {
			return it.term
		}
		if it.bare {
			it.term.Prefix = endsAlone(Analyze(it.term.Text))
		}
		it.term.Lax = false
		return Not{it.term}
	case itemOpen:
		p.at++
		e := p.or(neg)
		p.at++ // lex saw to it that it is closed
		return e
	}
	return nil
}

func conjunction(parts []Expr) Expr {
	var all And
	for _, p := range parts {
		if a, ok := p.(And); ok {
			all = append(all, a...)
		} else {
			all = append(all, p)
		}
	}
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return all
}

func disjunction(parts []Expr) Expr {
	var all Or
	for _, p := range parts {
		if o, ok := p.(Or); ok {
			all = append(all, o...)
		} else {
			all = append(all, p)
		}
	}
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return all
}
