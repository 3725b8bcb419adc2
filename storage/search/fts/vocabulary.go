package fts

import (
	"bytes"
	"log/slog"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/zumodra/hub/storage/search"
)

// How many words of the vocabulary may stand for one of a query.
const (
	maxInfix = 64
	maxTypos = 50
	maxWords = 256 // and for all of them together, but 8 for each
)

// vocabulary is the words of scripts with spaces, in the order in which they were first seen: the commonest tend to
// come first. Words lie one after the other, each between line feeds, so that looking for those that hold some letters
// is one scan of memory.
type vocabulary struct {
	limit int

	mu     sync.RWMutex
	text   []byte
	full   bool
	warned bool
}

func (v *vocabulary) add(word string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.full = v.full || len(v.text)+len(word)+2 > v.limit; v.full {
		return
	}
	if len(v.text) == 0 {
		v.text = append(v.text, '\n')
	}
	v.text = append(v.text, word...)
	v.text = append(v.text, '\n')
}

// warn says once that words are left out.
func (v *vocabulary) warn(log *slog.Logger) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.full && !v.warned {
		v.warned = true
		log.Warn("the vocabulary of the search index is full: new words are not found by their middle or with a typo", "bytes", v.limit)
	}
}

// snapshot is never written again: words are appended behind it. complete tells that no word is missing.
func (v *vocabulary) snapshot() (text []byte, complete bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.text, !v.full
}

// find returns words that hold w, or begin with what follows if w starts with a line feed, and whether these are all.
func (v *vocabulary) find(w string, limit int) (words []string, all bool) {
	text, complete := v.snapshot()
	needle := []byte(w)
	for at := 0; at < len(text); {
		i := bytes.Index(text[at:], needle)
		if i < 0 {
			break
		}
		word, end := wordAt(text, at+i+len(w)-1)
		if len(words) == limit {
			return words, false
		}
		words = append(words, string(word))
		at = end
	}
	return words, complete
}

// wordAt returns the word around a byte of it, and where the line feed after it is.
func wordAt(text []byte, i int) (word []byte, end int) {
	start := bytes.LastIndexByte(text[:i], '\n') + 1
	end = i + bytes.IndexByte(text[i:], '\n')
	return text[start:end], end
}

// near returns up to limit words at one typo from w, not w itself. Of a word and its neighbour at least one half is the same, at
// the same end; only two letters swapped across the middle change both, so that one neighbour is looked up by itself.
func (v *vocabulary) near(w string, limit int) []string {
	text, _ := v.snapshot()
	half := len(w) / 2
	for !utf8.RuneStart(w[half]) {
		half++
	}
	var words []string
	scan := func(needle string, offset int) {
		for at := 0; at < len(text) && len(words) < limit; {
			i := bytes.Index(text[at:], []byte(needle))
			if i < 0 {
				return
			}
			word, end := wordAt(text, at+i+offset)
			if d := len(word) - len(w); d >= -utf8.UTFMax && d <= utf8.UTFMax && string(word) != w && search.WithinTypo(w, string(word)) && !slices.Contains(words, string(word)) {
				words = append(words, string(word))
			}
			at = end
		}
	}
	scan("\n"+w[:half], 1)
	scan(w[half:]+"\n", 0)
	before, a := utf8.DecodeLastRuneInString(w[:half])
	after, b := utf8.DecodeRuneInString(w[half:])
	if before != after {
		scan("\n"+w[:half-a]+string(after)+string(before)+w[half+b:]+"\n", 1)
	}
	return words
}
