package search_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/search"
)

// show writes terms with all that they say: words joined by +, ~ for lax, * for prefix, quotes for a phrase.
func show(e search.Expr) string {
	switch e := e.(type) {
	case *search.Term:
		s := strings.Join(e.Words, "+")
		if e.Phrase {
			s = `"` + s + `"`
		}
		if e.Prefix {
			s += "*"
		}
		if e.Lax {
			s += "~"
		}
		return s
	case search.Not:
		return "!" + show(e.Term)
	case search.And:
		return "(" + showAll(e, " & ") + ")"
	case search.Or:
		return "(" + showAll(e, " | ") + ")"
	}
	return "?"
}

func showAll(parts []search.Expr, between string) string {
	var s []string
	for _, p := range parts {
		s = append(s, show(p))
	}
	return strings.Join(s, between)
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"needle", "needle*~"},
		{"Größe café", "(grosse~ & cafe*~)"},
		{"a AND b", "(a~ & b*~)"},
		{"a b OR c d", "((a~ & b~) | (c~ & d*~))"},
		{"a (b OR c) d", "(a~ & (b~ | c~) & d*~)"},
		{"(a OR (b c))", "(a~ | (b~ & c*~))"},
		{"a and b or not c", "(a~ & and~ & b~ & or~ & not~ & c*~)"},
		{"a NOT b", "(a~ & !b)"},
		{"a AND NOT b c", "(a~ & !b & c*~)"},
		{"a -b -\"c d\" -e*", `(a~ & !b & !"c+d" & !e*)`},
		{"a -(b OR c)", "(a~ & !b & !c)"},
		{"a NOT (b c)", "(a~ & (!b | !c))"},
		{"a NOT (b NOT c)", "(a~ & (!b | c*~))"},
		{"a NOT NOT b", "(a~ & b*~)"},
		{"NOT a b", "(!a & b*~)"},
		{`"red wine" glass`, `("red+wine" & glass*~)`},
		{`“red wine”`, `"red+wine"`},
		{`"red wi"*`, `"red+wi"*`},
		{"pre* fix", "(pre* & fix*~)"},
		{"joe@example.com x", "(joe+example+com & x*~)"},
		{"well-known x-", "(well+known & x*~)"},
		{"日本語", "日本+本語"},
		{"日 x", "(日* & x*~)"},
		{`"愛 you" 手机iPhone`, `("愛+you" & 手机+机+iphone*)`},
		{"👍🏽", "👍*~"},
		// What has no other half is text.
		{`"hello wor`, "(hello~ & wor*~)"},
		{`hello" world`, "(hello~ & world*~)"},
		{`5" x 3"`, "(5~ & x~ & 3*~)"},
		{"(hello world", "(hello~ & world*~)"},
		{"hello) world :)", "(hello~ & world*~)"},
		{"((a OR b) c", "((a~ | b~) & c*~)"},
		{"f(x) y", "(f+x & y*~)"},
		{"() a", "a*~"},
		{"a -() b -\"\" c NOT ... d", "(a~ & b~ & c~ & d*~)"},
		{"AND a OR", "a*~"},
		{"a OR OR b NOT", "(a~ | b*~)"},
		{"a - b -- c", "(a~ & b~ & c*~)"},
		{"* ** a**", "a*"},
		// Nothing else is syntax.
		{"100% a_b c\\d e\x00f", "(100~ & a+b & c+d & e+f*)"},
		{"t:a NEAR(b c) {x}: ^y", "(t+a & near+b & c~ & x~ & y*~)"},
		{"'; DROP TABLE docs; --", "(drop~ & table~ & docs*~)"},
		{".AND. x", "(and~ & x*~)"},
	} {
		q, err := search.Parse(c.text)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if got := show(q.Expr()); got != c.want {
			t.Errorf("%q: got %s, want %s", c.text, got, c.want)
		}
		roundTrip(t, c.text, q)
	}
}

func roundTrip(t *testing.T, text string, q *search.Query) {
	t.Helper()
	s := q.String()
	if utf8.RuneCountInString(s) > chat.MaxSearchText {
		return
	}
	again, err := search.Parse(s)
	if err != nil {
		t.Errorf("%q became %q: %v", text, s, err)
		return
	}
	if diff := cmp.Diff(q.Expr(), again.Expr()); diff != "" {
		t.Errorf("%q became %q:\n%s", text, s, diff)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "no word"},
		{"  \t", "no word"},
		{"... % _ \"\" () *", "no word"},
		{"AND OR NOT", "no word"},
		{"NOT a", "something to look for"},
		{"-a -b", "something to look for"},
		{"a OR -b", "something to look for"},
		{"a (b OR -c) OR NOT d", "something to look for"},
		{strings.Repeat("x", 101), "no more than 100"},
		{strings.TrimSpace(strings.Repeat("a ", 17)), "no more than 16"},
		{"(a OR b) (c OR d) (e OR f) (g OR h) (i OR j) (k OR l)", "too many alternatives"},
	} {
		q, err := search.Parse(c.text)
		var fe *chat.FieldError
		if !errors.As(err, &fe) || fe.Field != "q" || !strings.Contains(fe.Text, c.want) {
			t.Errorf("%q: got %v, %v; want %q", c.text, q, err, c.want)
		}
	}
	for _, text := range []string{strings.Repeat("é", 100), " " + strings.Repeat("日", 100) + " ", strings.TrimSpace(strings.Repeat("a ", 16))} {
		if _, err := search.Parse(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestClauses(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"a b -c", "a b -c"},
		{"a (b OR c)", "a b | a c*"},
		{"(a OR b) (c OR -d) e", "a c e* | a e* -d | b c e* | b e* -d"},
		{"a NOT (b c)", "a -b | a -c"},
	} {
		q, err := search.Parse(c.text)
		if err != nil {
			t.Fatal(err)
		}
		var clauses []string
		for _, cl := range q.Clauses() {
			var s []string
			for _, m := range cl.Must {
				s = append(s, strings.TrimSuffix(show(m), "~"))
			}
			for _, n := range cl.Not {
				s = append(s, "-"+show(n))
			}
			clauses = append(clauses, strings.Join(s, " "))
		}
		if got := strings.Join(clauses, " | "); got != c.want {
			t.Errorf("%q: got %s, want %s", c.text, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`a "b c" -d (e OR f) NOT g h*`, `"a b`, "((a)", "a NOT (b NOT (c OR -d))", "日本語 手机a b*", ".AND \"AND\" x", "-(-(a b) c) d", "a\xffb\x00", "“x” „y", "()-()a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q, err := search.Parse(s)
		if err != nil {
			var fe *chat.FieldError
			if !errors.As(err, &fe) {
				t.Fatal(err)
			}
			return
		}
		if len(q.Terms()) == 0 || len(q.Clauses()) == 0 || len(q.Clauses()) > search.MaxClauses {
			t.Fatalf("%q: %d terms, %d clauses", s, len(q.Terms()), len(q.Clauses()))
		}
		for _, c := range q.Clauses() {
			if len(c.Must) == 0 {
				t.Fatalf("%q: a clause that only excludes", s)
			}
		}
		roundTrip(t, fmt.Sprintf("%q", s), q)
		q.Matcher(search.Rules{PrefixTypos: true}).Highlight(s)
	})
}
