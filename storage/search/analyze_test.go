package search_test

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/zumodra/hub/storage/search"
)

func TestAnalyze(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"Hello, World!", "hello world"},
		{"Café CAFE\u0301 naïve Ångström", "cafe cafe naive angstrom"},
		{"Straße STRASSE Œuvre smørrebrød Łódź İstanbul Đorđe", "strasse strasse oeuvre smorrebrod lodz istanbul dorde"},
		{"ﬁne ＦＵＬＬ　ｗｉｄｔｈ ① x²", "fine full width 1 x2"},
		{"ΣΊΣΥΦΟΣ σίσυφος", "σισυφοσ σισυφοσ"},
		{"Ёлка елка", "елка елка"},
		{"مُحَمَّد محمد", "محمد محمد"},
		{"हिन्दी", "हिन्दी"},
		{"joe.doe@example.com https://a.b/c?d=e_f%20", "joe doe example com https a b c d e f 20"},
		{"don't l’homme 3.14 abc123 v1.2", "don t l homme 3 14 abc123 v1 2"},
		{"soft\u00adhyphen zero\u200cwidth", "softhyphen zerowidth"},
		{"日本語", "日本 本語 語"},
		{"日", "日"},
		{"我爱iPhone手机", "我爱 爱 iphone 手机 机"},
		{"ｶﾞｷﾞ", "ガギ ギ"},
		{"か\u3099き", "がき き"},
		{"ラーメン", "ラー ーメ メン ン"},
		{"한국어 \u1112\u1161\u11ab", "한국 국어 어 한"},
		{"ภาษา", "ภา าษ ษา า"},
		{"👍🏽 👍 ❤️❤", "👍 👍 ❤ ❤"},
		{"🇩🇪🇫🇷 👩‍👩‍👧", "🇩🇪 🇫🇷 👩👩👧"},
		{"½ ™ …", "1 2 tm"},
		{"a\x00b\xffc\ufffdd", "a b c d"},
		{"___ -- %% \\ '\"", ""},
	} {
		if got := strings.Join(search.Words(search.Analyze(c.text)), " "); got != c.want {
			t.Errorf("%q: got %q, want %q", c.text, got, c.want)
		}
	}
}

func TestTokensSayWhereTheyStand(t *testing.T) {
	text := "Ein CAFE\u0301, 日本 und 👍🏽."
	var got []string
	for _, tok := range search.Analyze(text) {
		got = append(got, text[tok.Start:tok.End])
	}
	if want := []string{"Ein", "CAFE\u0301", "日本", "本", "und", "👍🏽"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLongWordsAreCut(t *testing.T) {
	long := strings.Repeat("é", 200)
	tokens := search.Analyze(long + " x")
	if len(tokens) != 2 || tokens[0].Text != strings.Repeat("e", search.MaxToken) || tokens[0].End != len(long) || tokens[1].Text != "x" {
		t.Errorf("got %v", tokens)
	}
}

func FuzzAnalyze(f *testing.F) {
	for _, s := range []string{"Hello, wörld", "日本語テスト", "👩‍👩‍👧🏽🇩🇪", "e\u0301\u0301", "a\xff\x00", "\u200d👍\u200d", "½x", "ภาษา น้ำ", "\u1112\u1161\u11ab"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tokens := search.Analyze(s)
		start := 0
		for _, tok := range tokens {
			if tok.Text == "" || tok.Start < start || tok.End <= tok.Start || tok.End > len(s) {
				t.Fatalf("token %+v of %q", tok, s)
			}
			if !utf8.ValidString(tok.Text) || strings.ContainsFunc(tok.Text, func(r rune) bool { return r < 0x80 && !('a' <= r && r <= 'z' || '0' <= r && r <= '9') }) {
				t.Fatalf("token %q of %q", tok.Text, s)
			}
			if n := utf8.RuneCountInString(tok.Text); !tok.Gram && n > search.MaxToken {
				t.Fatalf("token of %d code points", n)
			}
			start = tok.Start
		}
		// Folding is idempotent where that can be asked: of words.
		for _, tok := range tokens {
			if r, _ := utf8.DecodeRuneInString(tok.Text); tok.Gram || !unicode.IsLetter(r) && !unicode.IsNumber(r) {
				continue
			}
			if again := search.Analyze(tok.Text); len(again) != 1 || again[0].Text != tok.Text {
				t.Fatalf("%q of %q becomes %v", tok.Text, s, search.Words(again))
			}
		}
	})
}

func BenchmarkAnalyze(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"ASCII", "please have a look at the new build before we ship it tomorrow"},
		{"Accents", "le café était fermé à cause de la grève générale décrétée"},
		{"CJK", "今日は天気がいいから散歩しましょう"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var tokens []search.Token
			for b.Loop() {
				tokens = search.AppendTokens(tokens[:0], c.text)
			}
		})
	}
}
