package search

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// AnalysisVersion changes with what Analyze makes of texts: an index that holds tokens of another version is outdated.
const AnalysisVersion = 1

// MaxToken is how many code points of a word count; what follows them is not searched.
const MaxToken = 64

// Token is a word of a text, or two neighbouring characters of a script that writes without spaces. Its position is
// its index among the tokens of the text.
type Token struct {
	Text       string // folded: lower case, no accents, compatibility forms replaced
	Start, End int    // bytes of the original, whole grapheme clusters
	// Gram: of a script without spaces. A run of n characters gives n tokens: each character with the next one, and
	// the last one alone. So every character begins exactly one token, a run of two or more is found as the phrase
	// of its pairs, and a single character as what begins a token.
	Gram bool
}

// Analyze returns the tokens of a text, in order. Both the text that is indexed and the text that is looked for go
// through it. What it does:
//
//   - Unicode compatibility decomposition without diacritics (é = e, ﬁ = fi, full width = ASCII), lower case, and the
//     letters that do not decompose but are typed without (ß = ss, æ = ae, ø = o, ł = l, đ = d, þ = th, ı = i).
//     Vowel signs of scripts that cannot be read without them, and the voiced marks of kana, stay.
//   - Words are runs of letters, marks and digits. Everything else separates, also within addresses of mail and web:
//     joe.doe@example.com is four words, found together as a phrase.
//   - Han, Hiragana, Katakana, Hangul, Bopomofo, Thai, Lao, Khmer and Myanmar are split into pairs of characters.
//   - Emoji and other pictures are words of their own, without skin tone and variation.
//
// Text that is not UTF-8 separates.
func Analyze(text string) []Token { return AppendTokens(nil, text) }

// AppendTokens appends the tokens of a text to dst.
func AppendTokens(dst []Token, text string) []Token {
	a := analyzer{clusters: clusters{s: text}, dst: dst}
	for a.clusters.next() {
		a.cluster()
	}
	a.flush()
	return a.dst
}

type analyzer struct {
	clusters
	dst []Token

	word       []byte // the word so far, folded
	runes      int
	start, end int
	same       bool // word equals the original's bytes from start
	inWord     bool
	grams      []gram // the run so far
}

type gram struct {
	text       string
	start, end int
}

func (a *analyzer) flush() {
	if a.inWord {
		text := ""
		if a.same {
			text = a.s[a.start : a.start+len(a.word)]
		} else {
			text = string(a.word)
		}
		a.dst = append(a.dst, Token{Text: text, Start: a.start, End: a.end})
		a.word, a.runes, a.inWord = a.word[:0], 0, false
	}
	for i, g := range a.grams {
		t := Token{Text: g.text, Start: g.start, End: g.end, Gram: true}
		if i+1 < len(a.grams) {
			t.Text += a.grams[i+1].text
			t.End = a.grams[i+1].end
		}
		a.dst = append(a.dst, t)
	}
	a.grams = a.grams[:0]
}

func (a *analyzer) cluster() {
	if a.picture {
		a.flush()
		if n := len(a.out); n > MaxToken {
			a.out = a.out[:MaxToken]
		}
		a.dst = append(a.dst, Token{Text: string(a.out), Start: a.from, End: a.to})
		return
	}
	for _, r := range a.out {
		switch classOf(r) {
		case classWord:
			a.letter(r)
		case classMark:
			switch {
			case len(a.grams) > 0:
				g := &a.grams[len(a.grams)-1]
				if len(g.text) < 4*MaxToken {
					g.text += string(r)
				}
				g.end = a.to
			case a.inWord:
				a.letter(r)
			}
		case classGram:
			if a.inWord {
				a.flush()
			}
			a.grams = append(a.grams, gram{string(r), a.from, a.to})
		default:
			a.flush()
		}
	}
	if len(a.out) == 0 { // only what is ignored: it belongs to what it follows
		if a.inWord && a.end == a.from {
			a.end = a.to
		} else if n := len(a.grams); n > 0 && a.grams[n-1].end == a.from {
			a.grams[n-1].end = a.to
		}
	}
}

func (a *analyzer) letter(r rune) {
	if len(a.grams) > 0 {
		a.flush()
	}
	if !a.inWord {
		a.inWord, a.same, a.start = true, true, a.from
	}
	a.end = a.to
	if a.runes++; a.runes > MaxToken {
		return
	}
	at := a.start + len(a.word)
	if a.same && !(at == a.from && a.plain) {
		a.same = false
	}
	a.word = utf8.AppendRune(a.word, r)
}

// clusters walks over a text in units that are never divided: a character with what combines with it, a Hangul
// syllable, an emoji sequence.
type clusters struct {
	s        string
	from, to int    // bytes of the unit
	out      []rune // folded; empty if all of it is ignored
	plain    bool   // out is what stands in the text
	picture  bool   // an emoji or another symbol that is a token by itself
}

func (c *clusters) next() bool {
	i := c.to
	if i >= len(c.s) {
		return false
	}
	c.from, c.out, c.plain, c.picture = i, c.out[:0], false, false
	r, n := utf8.DecodeRuneInString(c.s[i:])
	after := rune(' ')
	if i+n < len(c.s) {
		if after = rune(c.s[i+n]); after >= utf8.RuneSelf {
			after, _ = utf8.DecodeRuneInString(c.s[i+n:])
		}
	}
	switch {
	case r < utf8.RuneSelf && !combines(after):
		c.to = i + n
		l := r
		if 'A' <= r && r <= 'Z' {
			l += 'a' - 'A'
		}
		c.out, c.plain = append(c.out, l), l == r
		return true
	case r == utf8.RuneError:
		c.to = i + n
		c.out = append(c.out, ' ')
		return true
	case isWhole(r) && !combines(after):
		c.to = i + n
		c.out, c.plain = append(c.out, r), true
		return true
	case ignored(r):
		c.to = i + n
		return true
	case isPicture(r):
		c.sequence(r, n)
		return true
	}
	c.to = i + max(norm.NFKC.NextBoundaryInString(c.s[i:], true), n)
	for c.to < len(c.s) { // marks that do not compose belong to the character as well
		r, n := utf8.DecodeRuneInString(c.s[c.to:])
		if r < 0x300 || !unicode.IsMark(r) && r != 0xe33 && r != 0xeb3 { // the AM of Thai and Lao is one with its consonant
			break
		}
		c.to += n
	}
	c.fold(c.s[i:c.to])
	return true
}

// sequence takes an emoji with its modifiers and what zero-width joiners join to it (UTS #51).
func (c *clusters) sequence(r rune, n int) {
	c.picture = true
	c.to = c.from + n
	c.out = append(c.out, r)
	flag := isRegional(r)
	for c.to < len(c.s) {
		r, n := utf8.DecodeRuneInString(c.s[c.to:])
		switch {
		case flag && isRegional(r):
			c.out = append(c.out, r)
			flag = false
		case r == 0x200d:
			c.to += n
			if r, n = utf8.DecodeRuneInString(c.s[c.to:]); n == 0 || !isPicture(r) {
				continue
			}
			c.out = append(c.out, r)
		case isModifier(r):
		default:
			return
		}
		c.to += n
	}
}

func (c *clusters) fold(s string) {
	marks := false
	for _, r := range norm.NFKD.String(s) {
		if isDiacritic(r) || ignored(r) {
			continue
		}
		r = unicode.ToLower(r)
		if alike := spelt[r]; alike != "" {
			c.out = append(c.out, []rune(alike)...)
			continue
		}
		marks = marks || r >= 0x300
		c.out = append(c.out, r)
	}
	if marks && len(c.out) > 1 { // kana with their marks and Hangul become one character again
		c.out = append(c.out[:0], []rune(norm.NFC.String(string(c.out)))...)
	}
}

// spelt are letters that do not decompose but that people type without their strokes.
var spelt = map[rune]string{'ß': "ss", 'æ': "ae", 'œ': "oe", 'ø': "o", 'đ': "d", 'ð': "d", 'ħ': "h", 'ı': "i", 'ł': "l",
	'þ': "th", 'ŧ': "t", 'ŀ': "l", 'ĸ': "k", 'ς': "σ"}

type class uint8

const (
	classOther class = iota
	classWord
	classGram
	classMark
)

func classOf(r rune) class {
	switch {
	case r < utf8.RuneSelf:
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' {
			return classWord
		}
		return classOther
	case r == 0x30fc || unicode.In(r, gramScripts...) && (unicode.IsLetter(r) || unicode.IsNumber(r)):
		return classGram
	case unicode.IsLetter(r) || unicode.IsNumber(r):
		return classWord
	case unicode.IsMark(r):
		return classMark
	}
	return classOther
}

var gramScripts = []*unicode.RangeTable{unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Bopomofo,
	unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar}

// isWhole tells the common characters that fold to themselves, if nothing combines with them.
func isWhole(r rune) bool {
	return r >= 0x4e00 && r <= 0x9fff || r >= 0x3400 && r <= 0x4dbf || r >= 0xac00 && r <= 0xd7a3
}

// combines tells what may change or extend the character before it.
func combines(r rune) bool {
	return r >= 0x300 && (unicode.IsMark(r) || r >= 0x1160 && r <= 0x11ff || r == 0xe33 || r == 0xeb3 || r == 0xff9e || r == 0xff9f)
}

// isDiacritic tells the marks that a reader can do without.
func isDiacritic(r rune) bool {
	switch {
	case r < 0x300:
		return false
	case r <= 0x36f, // combining diacritical marks
		r >= 0x483 && r <= 0x489, r >= 0x591 && r <= 0x5c7 && unicode.IsMark(r), // Cyrillic, Hebrew points
		r >= 0x610 && r <= 0x61a, r == 0x640, r >= 0x64b && r <= 0x65f, r == 0x670, r >= 0x6d6 && r <= 0x6ed && unicode.IsMark(r), // Arabic
		r >= 0x1ab0 && r <= 0x1aff, r >= 0x1dc0 && r <= 0x1dff, r >= 0x20d0 && r <= 0x20ff, r >= 0xfe20 && r <= 0xfe2f:
		return true
	}
	return false
}

// ignored tells the invisible characters that may stand within a word.
func ignored(r rune) bool {
	switch {
	case r < 0xad:
		return false
	case r == 0xad, r == 0x34f, r == 0x61c, r == 0x200c, r == 0x200d, r == 0x2060, r == 0xfeff,
		r >= 0xfe00 && r <= 0xfe0f, r >= 0xe0100 && r <= 0xe01ef:
		return true
	}
	return false
}

func isRegional(r rune) bool { return r >= 0x1f1e6 && r <= 0x1f1ff }

// isModifier tells variation selectors, skin tones, the enclosing keycap and tags.
func isModifier(r rune) bool {
	return r >= 0xfe00 && r <= 0xfe0f || r >= 0x1f3fb && r <= 0x1f3ff || r == 0x20e3 || r >= 0xe0020 && r <= 0xe007f
}

func isPicture(r rune) bool {
	if r < 0xa0 || !unicode.Is(unicode.So, r) && !(r >= 0x1f3fb && r <= 0x1f3ff) {
		return false
	}
	var b [utf8.UTFMax]byte
	return norm.NFKD.Properties(b[:utf8.EncodeRune(b[:], r)]).Decomposition() == nil
}

// part returns which bytes of content the bytes from … to of the token's text come from, in whole clusters. If that
// cannot be told, it is the token.
func part(content string, t Token, from, to int) (start, end int) {
	c := clusters{s: content[t.Start:t.End]}
	pos, start, end := 0, -1, 0
	for c.next() {
		n := 0
		for _, r := range c.out {
			if classOf(r) == classOther && !c.picture {
				return t.Start, t.End
			}
			n += utf8.RuneLen(r)
		}
		switch {
		case n == 0 && start >= 0 && end == c.from:
			end = c.to
		case pos < to && pos+n > from:
			if start < 0 {
				start = c.from
			}
			end = c.to
		}
		pos += n
	}
	if start < 0 || pos < len(t.Text) {
		return t.Start, t.End
	}
	return t.Start + start, t.Start + end
}

// Words returns the texts of tokens.
func Words(tokens []Token) []string {
	words := make([]string, len(tokens))
	for i := range tokens {
		words[i] = tokens[i].Text
	}
	return words
}

// distance1 reports whether one edit makes b of a: a letter put in, left out or replaced, or two neighbours swapped.
// Equal words are at distance 0, which it takes as well.
func distance1(a, b string) bool {
	if d := len(a) - len(b); d > 2*utf8.UTFMax || d < -2*utf8.UTFMax {
		return false
	}
	var ba, bb [MaxToken]rune
	x, y := appendRunes(ba[:0], a), appendRunes(bb[:0], b)
	for len(x) > 0 && len(y) > 0 && x[0] == y[0] {
		x, y = x[1:], y[1:]
	}
	for len(x) > 0 && len(y) > 0 && x[len(x)-1] == y[len(y)-1] {
		x, y = x[:len(x)-1], y[:len(y)-1]
	}
	switch {
	case len(x) <= 1 && len(y) <= 1:
		return true
	case len(x) == 2 && len(y) == 2:
		return x[0] == y[1] && x[1] == y[0]
	}
	return false
}

func appendRunes(dst []rune, s string) []rune {
	for _, r := range s {
		dst = append(dst, r)
	}
	return dst
}

// prefixDistance1 reports whether some beginning of word is within one edit of w.
func prefixDistance1(w, word string) bool {
	n := utf8.RuneCountInString(w)
	i := 0
	for at := range word {
		if i >= n-1 && i <= n+1 && distance1(w, word[:at]) {
			return true
		}
		if i++; i > n+1 {
			return false
		}
	}
	return distance1(w, word)
}

// trimText cuts off what no token covers at both ends.
func trimText(s string, tokens []Token) string {
	return strings.ToValidUTF8(s[tokens[0].Start:tokens[len(tokens)-1].End], "\uFFFD")
}
