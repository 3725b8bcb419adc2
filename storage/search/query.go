package search

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/zumodra/hub/chat"
)

// Bounds of a query.
const (
	MaxTerms   = 16 // words and phrases
	MaxClauses = 32 // alternatives once AND is distributed over OR
)

// TypoBelow: words at a typo are looked for as well where what was typed has fewer hits than this.
const TypoBelow = 5

// Lengths from which a word is found inside of others and with a typo, in code points of the folded word.
const (
	MinInfix = 3
	MinTypo  = 4
)

// Query is a query that has been understood. It is immutable.
type Query struct {
	expr    Expr
	clauses []Clause
}

// Expr is what a query looks for: a *Term, And, Or, or Not around a *Term, for negations of groups are carried
// inwards. And and Or have two or more parts and none of their own kind.
type Expr interface {
	// String returns a text that Parse understands as this.
	String() string
	precedence() int
}

// And is true where all its parts are.
type And []Expr

// Or is true where one of its parts is.
type Or []Expr

// Not is true where its term is not.
type Not struct{ Term *Term }

// Term is a word or a phrase.
type Term struct {
	// Text is what was typed, without quotes and the star.
	Text string
	// Words are its analysed tokens, at least one. Where there are more, they stand next to one another in this order:
	// in a phrase, but also in what was typed without spaces (joe@example.com) and in scripts without spaces.
	Words []string
	// Phrase: it was in quotes.
	Phrase bool
	// Prefix: the last of Words may be the beginning of a word, because it was typed with a star, is the last bare
	// word of the query, or is a single character of a script without spaces.
	Prefix bool
	// Lax: a single bare word that is looked for, not excluded, of a script with spaces. It may be found inside of words
	// (Infix) and with a typo (Typo).
	Lax bool
}

// Infix reports whether the term is a word that may be found inside of words.
func (t *Term) Infix() bool {
	return t.Lax && utf8.RuneCountInString(t.Words[0]) >= MinInfix
}

// Typo reports whether the term is a word that may be found with a typo. What has a digit in it is not.
func (t *Term) Typo() bool {
	return t.Lax && utf8.RuneCountInString(t.Words[0]) >= MinTypo && !strings.ContainsAny(t.Words[0], "0123456789")
}

// Clause is one alternative of a query: it is found where all of Must and none of Not are. Must is never empty.
type Clause struct{ Must, Not []*Term }

// Expr returns the query's tree.
func (q *Query) Expr() Expr { return q.expr }

// Clauses returns the query in disjunctive normal form, at most MaxClauses: a message is found if it is by one of
// them. Do not change them.
func (q *Query) Clauses() []Clause { return q.clauses }

// Terms returns the terms that are looked for, not those excluded, in the order of the text.
func (q *Query) Terms() []*Term {
	var terms []*Term
	for _, c := range q.clauses {
		for _, t := range c.Must {
			if !slices.Contains(terms, t) {
				terms = append(terms, t)
			}
		}
	}
	return terms
}

// String returns a text that Parse understands as this query.
func (q *Query) String() string { return q.expr.String() }

func (*Term) precedence() int { return 3 }
func (Not) precedence() int   { return 2 }
func (And) precedence() int   { return 1 }
func (Or) precedence() int    { return 0 }

func (t *Term) String() string {
	s := t.Text
	if t.Phrase {
		s = `"` + s + `"`
	}
	if t.Prefix && !t.Lax && !endsAlone(Analyze(t.Text)) {
		s += "*"
	}
	return s
}

func (n Not) String() string { return "-" + n.Term.String() }

func (a And) String() string { return joinExpr(a, " ", a.precedence()) }

func (o Or) String() string { return joinExpr(o, " OR ", o.precedence()) }

func joinExpr(parts []Expr, between string, precedence int) string {
	s := make([]string, len(parts))
	for i, p := range parts {
		if s[i] = p.String(); p.precedence() <= precedence {
			s[i] = "(" + s[i] + ")"
		}
	}
	return strings.Join(s, between)
}

// newQuery brings e into normal form and checks that every alternative looks for something.
func newQuery(e Expr) (*Query, error) {
	clauses, ok := normal(e)
	if !ok {
		return nil, fieldError("The search has too many alternatives.")
	}
	for i := range clauses {
		if len(clauses[i].Must) == 0 {
			return nil, fieldError("A search needs something to look for beside what it excludes.")
		}
	}
	return &Query{expr: e, clauses: clauses}, nil
}

// normal distributes And over Or; false if there are more than MaxClauses.
func normal(e Expr) ([]Clause, bool) {
	switch e := e.(type) {
	case *Term:
		return []Clause{{Must: []*Term{e}}}, true
	case Not:
		return []Clause{{Not: []*Term{e.Term}}}, true
	case Or:
		var all []Clause
		for _, p := range e {
			c, ok := normal(p)
			if !ok || len(all)+len(c) > MaxClauses {
				return nil, false
			}
			all = append(all, c...)
		}
		return all, true
	case And:
		all := []Clause{{}}
		for _, p := range e {
			c, ok := normal(p)
			if !ok || len(all)*len(c) > MaxClauses {
				return nil, false
			}
			product := make([]Clause, 0, len(all)*len(c))
			for _, l := range all {
				for _, r := range c {
					product = append(product, Clause{Must: slices.Concat(l.Must, r.Must), Not: slices.Concat(l.Not, r.Not)})
				}
			}
			all = product
		}
		return all, true
	}
	return nil, false
}

func fieldError(text string) error { return &chat.FieldError{Field: "q", Text: text} }
