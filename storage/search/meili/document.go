package meili

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/search"
)

const generationID = "generation"

// document of the index: a message, a cursor (Cursor only) or the generation.
type document struct {
	ID           string `json:"id"`
	Generation   string `json:"generation,omitempty"`
	Cursor       uint64 `json:"cursor,omitempty"`
	Tenant       string `json:"tenant,omitempty"`
	Conversation string `json:"conversation,omitempty"`
	Seq          uint64 `json:"seq,omitempty"`
	Message      string `json:"message,omitempty"`
	Sender       string `json:"sender,omitempty"`
	At           int64  `json:"at,omitempty"` // microseconds
	Attachment   *bool  `json:"attachment,omitempty"`
	Words        string `json:"words,omitempty"`
	Grams        string `json:"grams,omitempty"`
	Content      string `json:"content,omitempty"`
}

// What messages and cursors are called. Only [0-9a-z_], as the server wants, and nothing of a user's.
func scopeID(k chat.ConversationKey) string {
	return hexText(k.Tenant) + "_" + hex.EncodeToString(k.ID[:])
}
func cursorID(k chat.ConversationKey) string { return scopeID(k) + "_cursor" }
func messageID(k chat.ConversationKey, seq uint64) string {
	return scopeID(k) + "_" + strconv.FormatUint(seq, 10)
}

func hexText[T ~string](s T) string { return hex.EncodeToString([]byte(s)) }

func newMessage(k chat.ConversationKey, e *chat.Event) *document {
	attached := e.IsVoice || e.File != nil
	d := &document{ID: messageID(k, e.Seq), Tenant: hexText(k.Tenant), Conversation: hex.EncodeToString(k.ID[:]), Seq: e.Seq,
		Message: hex.EncodeToString(e.Message[:]), Sender: hexText(e.Actor), At: e.At.UnixMicro(), Attachment: &attached}
	d.say(e.Content)
	return d
}

func (d *document) say(content string) {
	content = strings.ToValidUTF8(content, "\ufffd") // as JSON would
	var words, grams strings.Builder
	for _, t := range search.Analyze(content) {
		put(&words, encode(t.Text))
		for _, g := range partsOf(t.Text, t.Gram) {
			put(&grams, g)
		}
	}
	d.Content, d.Words, d.Grams = content, words.String(), grams.String()
}

func put(b *strings.Builder, s string) {
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	b.WriteString(s)
}

// Marks of what is not a word.
const (
	markBegin  = "zzp" // the first one or two letters
	markMiddle = "zzt" // three letters
	markSingle = "zzs" // the first character of a pair
)

// partsOf returns what a word can be found by besides itself.
func partsOf(word string, gram bool) (parts []string) {
	r := []rune(word)
	if gram {
		return []string{single(word)}
	}
	for n := 1; n <= min(2, len(r)); n++ {
		parts = append(parts, begin(r[:n]))
	}
	return append(parts, middles(r)...)
}

func single(word string) string {
	for _, r := range word {
		return markSingle + letters(string(r))
	}
	return markSingle
}

func begin(r []rune) string { return markBegin + letters(string(r)) }

// middles returns the parts of three letters, one beside the other.
func middles(r []rune) (parts []string) {
	for i := 0; i+search.MinInfix <= len(r); i++ {
		parts = append(parts, markMiddle+letters(string(r[i:i+search.MinInfix])))
	}
	return parts
}

// encode writes a token so that the server takes it as one word as it is.
func encode(token string) string {
	if plain(token) {
		return token
	}
	return "zzw" + letters(token)
}

// plainScripts are written with spaces and in letters whose cases and accents Analyze has folded.
var plainScripts = []*unicode.RangeTable{unicode.Latin, unicode.Greek, unicode.Cyrillic, unicode.Armenian, unicode.Georgian}

func plain(token string) bool {
	for _, r := range token {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
		case r < 0x80, !unicode.IsLetter(r), !unicode.In(r, plainScripts...):
			return false
		}
	}
	return true
}

// letters writes anything in a–z: plain ASCII letters as they are, the rest as q, the digits of the code point as a–p,
// and r.
func letters(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r >= 'a' && r <= 'z' && r != 'q' {
			b.WriteRune(r)
			continue
		}
		b.WriteByte('q')
		for _, c := range strconv.FormatInt(int64(r), 16) {
			if c >= 'a' {
				c += '0' + 10 - 'a'
			}
			b.WriteByte(byte('a' + c - '0'))
		}
		b.WriteByte('r')
	}
	return b.String()
}

func (d *document) hit() (chat.SearchHit, error) {
	var h chat.SearchHit
	c, err := hex.DecodeString(d.Conversation)
	m, err2 := hex.DecodeString(d.Message)
	if err != nil || err2 != nil || len(c) != len(h.Conversation) || len(m) != len(h.Message) || d.Seq == 0 {
		return h, fmt.Errorf("document %q is not a message", d.ID)
	}
	copy(h.Conversation[:], c)
	copy(h.Message[:], m)
	h.Seq = d.Seq
	return h, nil
}
