package search_test

import (
	"html"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/zumodra/hub/storage/search"
)

func query(t *testing.T, text string) *search.Query {
	t.Helper()
	q, err := search.Parse(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return q
}

func TestReq082_HighlightIsEscapedAndKeepsCase(t *testing.T) {
	for _, c := range []struct{ query, content, want string }{
		{"needle", "find the NEEDLE here", "find the <mark>NEEDLE</mark> here"},
		{"script", "<script>alert('x' & \"y\")</script>", "&lt;<mark>script</mark>&gt;alert(&#39;x&#39; &amp; &#34;y&#34;)&lt;/<mark>script</mark>&gt;"},
		{"mark", "</mark><mark>", "&lt;/<mark>mark</mark>&gt;&lt;<mark>mark</mark>&gt;"},
		{"amp lt", "&amp;&lt;", "&amp;<mark>amp</mark>;&amp;<mark>lt</mark>;"},
		{"apple", "Pineapple APPLES apple", "Pine<mark>apple</mark> <mark>APPLE</mark>S <mark>apple</mark>"},
		{"nee", "Needles", "<mark>Nee</mark>dles"},
		{"cafe", "Un CAFE\u0301, deux Cafés", "Un <mark>CAFE\u0301</mark>, deux <mark>Café</mark>s"},
		{"strasse", "Hauptstraße", "Haupt<mark>straße</mark>"},
		{"fin", "the ﬁnal", "the <mark>ﬁn</mark>al"},
		{"fe", "oﬀer ﬁfe feed", "oﬀer ﬁfe <mark>fe</mark>ed"},
		{"ffer", "oﬀer", "o<mark>ﬀer</mark>"},
		{`"red wine"`, "Red, wine! red wines wine red", "<mark>Red, wine</mark>! red wines wine red"},
		{`"red win"*`, "red wines", "<mark>red win</mark>es"},
		{"本語", "日本語です", "日<mark>本語</mark>です"},
		{"日", "日本と本日", "<mark>日</mark>本と本<mark>日</mark>"},
		{"日本語", "日本語と日本", "<mark>日本語</mark>と日本"},
		{"a OR b", "a b c", "<mark>a</mark> <mark>b</mark> c"},
		{"ab -cd", "ab ce", "<mark>ab</mark> ce"},
		{"ana*", "banana ananas", "banana <mark>ana</mark>nas"},
		{"ana", "banana", "b<mark>ana</mark>na"},
		{"👍", "ok 👍🏽!", "ok <mark>👍🏽</mark>!"},
		{"joe@example.com", "mail joe@example.com or example.com", "mail <mark>joe@example.com</mark> or example.com"},
		{"नम", "नमस्ते", "<mark>नम</mark>स्ते"},
		{"ก", "กำ กี่", "<mark>กำ</mark> <mark>กี่</mark>"},
		{"soft", "so\u00adft\u200d ball", "<mark>so\u00adft\u200d</mark> ball"},
	} {
		got, ok := query(t, c.query).Matcher(search.Rules{}).Highlight(c.content)
		if !ok || got != c.want {
			t.Errorf("%q in %q:\n got %v %s\nwant %s", c.query, c.content, ok, got, c.want)
		}
	}
}

func TestHighlightOfWhatDoesNotMatch(t *testing.T) {
	for _, c := range []struct{ query, content string }{
		{"apple pear", "an apple & more"},
		{"apple -more", "an apple & more"},
		{`"apple an"`, "an apple & more"},
		{`"pple"`, "an apple & more"},
		{"pple*", "an apple & more"},
		{"mo apple", "an apple & lemon"}, // two letters are not looked for inside of words
		{"本日", "日本"},
		{"a_c", "abc"},
	} {
		got, ok := query(t, c.query).Matcher(search.Rules{}).Highlight(c.content)
		if ok || got != html.EscapeString(c.content) {
			t.Errorf("%q in %q: %v %s", c.query, c.content, ok, got)
		}
	}
}

func TestTypos(t *testing.T) {
	for _, c := range []struct {
		query, content string
		rules          search.Rules
		want           bool
	}{
		{"needel", "a needle", search.Rules{Typos: true}, true},
		{"neddle", "a needle", search.Rules{Typos: true}, true},
		{"needl", "a needle", search.Rules{}, true}, // a beginning
		{"needlle", "a needle", search.Rules{Typos: true}, true},
		{"eedle", "a needle", search.Rules{}, true}, // inside
		{"neeble", "a needle", search.Rules{Typos: true}, true},
		{"neeble", "a needle", search.Rules{}, false},
		{"nebble", "a needle", search.Rules{Typos: true}, false},
		{"needles", "a nidles", search.Rules{Typos: true}, false},
		{"cap", "a cat", search.Rules{Typos: true}, false}, // too short
		{"order2025", "order2024", search.Rules{Typos: true}, false},
		{"2025", "in 2024", search.Rules{Typos: true}, false},
		{`"neeble"`, "a needle", search.Rules{Typos: true}, false},
		{"neeb*", "a need", search.Rules{Typos: true}, false},
		{"a -neeble", "a needle", search.Rules{Typos: true}, true},
		{"nebdle", "needlework", search.Rules{Typos: true}, false},
		{"nebdle", "needlework", search.Rules{PrefixTypos: true}, true},
		{"nebdle x", "needlework x", search.Rules{PrefixTypos: true}, false}, // not the last word
		{"grösse", "Grüsse", search.Rules{Typos: true}, true},
	} {
		got, ok := query(t, c.query).Matcher(c.rules).Highlight(c.content)
		if ok != c.want || ok && strings.HasPrefix(c.content, "a needle") && !strings.Contains(got, "<mark>") {
			t.Errorf("%q in %q under %+v: %v, %s", c.query, c.content, c.rules, ok, got)
		}
	}
}

func FuzzHighlight(f *testing.F) {
	f.Add("needle", "<b>NEEDLE</b> & 'needles'")
	f.Add("cafe 日 👍", "Cafe\u0301 日本 👍🏽 \xff\x00")
	f.Add("a ก 日", "aั กี่ 日\u3099 a\u0e31 \u0301a \U000e0100")
	f.Add("a OR b -c", "a&amp;b</mark>")
	f.Fuzz(func(t *testing.T, text, content string) {
		q, err := search.Parse(text)
		if err != nil {
			return
		}
		m := q.Matcher(search.Rules{Typos: true})
		got, ok := m.Highlight(content)
		if ok != m.Match(content) {
			t.Fatalf("Highlight %v, Match %v", ok, !ok)
		}
		if ok != strings.Contains(got, "<mark>") {
			t.Fatalf("found %v: %q", ok, got)
		}
		plain := strings.NewReplacer("<mark>", "", "</mark>", "").Replace(got)
		if strings.ContainsAny(plain, "<>\"'") {
			t.Fatalf("not escaped: %q", got)
		}
		if back := html.UnescapeString(plain); back != content {
			t.Fatalf("%q became %q", content, back)
		}
		for rest := got; ; {
			i := strings.Index(rest, "<mark>")
			if i < 0 {
				if strings.Contains(rest, "</mark>") {
					t.Fatalf("marks do not pair: %q", got)
				}
				break
			}
			j := strings.Index(rest, "</mark>")
			if j < i+len("<mark>")+1 || strings.Contains(rest[i+1:j], "<") {
				t.Fatalf("marks do not pair: %q", got)
			}
			if utf8.ValidString(content) && !utf8.ValidString(rest[:i]) {
				t.Fatalf("a code point is divided: %q", got)
			}
			for _, after := range []string{rest[i+len("<mark>"):], rest[j+len("</mark>"):]} {
				if r, _ := utf8.DecodeRuneInString(after); unicode.IsMark(r) {
					t.Fatalf("a grapheme cluster is divided: %q", got)
				}
			}
			rest = rest[j+len("</mark>"):]
		}
	})
}
