package fts

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/search"
)

// ScopeColumn is up to how many conversations are named in the expression; more are looked up for each row found.
// Measured: each term costs the expression some 0.15 ms, each row found in vain 1–2 µs.
const ScopeColumn = 50

// search answers a query. typos tells that words at a typo were looked for as well.
func (f *file) search(ctx context.Context, q chat.IndexQuery, query *search.Query) (hits []chat.SearchHit, more, typos bool, err error) {
	if f.damaged.Load() {
		return nil, false, false, f.fail(ctx, "searching", errDamaged)
	}
	f.gate.RLock()
	defer f.gate.RUnlock()
	limit, offset := q.Limit, max(q.Offset, 0)
	if limit <= 0 || limit > chat.MaxSearchResults {
		limit = chat.MaxSearchResults
	}
	scope, err := f.scope(ctx, q)
	if err != nil {
		return nil, false, false, f.fail(ctx, "searching", err)
	}
	if len(scope.ids) > 0 {
		want := max(offset+limit+1, search.TypoBelow)
		text, _ := f.text(query, false)
		if hits, err = f.find(ctx, q, &scope, text, want); err != nil {
			return nil, false, false, f.fail(ctx, "searching", err)
		}
		if typos = len(hits) < search.TypoBelow; typos {
			if text, wider := f.text(query, true); wider {
				if hits, err = f.find(ctx, q, &scope, text, want); err != nil {
					return nil, false, false, f.fail(ctx, "searching", err)
				}
			}
		}
	}
	hits = hits[min(offset, len(hits)):]
	more = len(hits) > limit
	return hits[:min(limit, len(hits))], more, typos, nil
}

// find returns the newest hits, at most limit.
func (f *file) find(ctx context.Context, q chat.IndexQuery, s *convScope, text string, limit int) ([]chat.SearchHit, error) {
	var where strings.Builder
	args := []any{nil}
	and := func(condition string, arg any) {
		where.WriteString(" AND ")
		where.WriteString(condition)
		args = append(args, arg)
	}
	expression := "(t : (" + text + "))"
	if len(s.ids) <= f.scopeColumn(s, limit) {
		var convs []string
		for _, id := range s.ids {
			convs = append(convs, quote(scope(scopeConversation, id)))
		}
		expression = "(s : (" + strings.Join(convs, " OR ") + ")) AND " + expression
	} else {
		list, err := json.Marshal(s.ids)
		if err != nil {
			return nil, err
		}
		and("d.conv IN (SELECT value FROM json_each(?))", string(list))
	}
	if q.Sender != "" {
		var id int64
		err := f.read.QueryRowContext(ctx, "SELECT id FROM sender WHERE tenant = ? AND name = ?", string(q.Tenant), string(q.Sender)).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		expression = "(s : " + quote(scope(scopeSender, id)) + ") AND " + expression
	}
	if has := q.HasAttachments; has != nil && *has {
		expression = "(s : " + quote(scopeAttachment) + ") AND " + expression
	} else if has != nil {
		expression = "(" + expression + ") NOT (s : " + quote(scopeAttachment) + ")"
	}
	args[0] = expression
	if !q.From.IsZero() {
		from := ceilMicros(q.From)
		and("fts.rowid >= ?", from)
		and("d.id - d.drift >= ?", from)
	}
	if !q.Before.IsZero() {
		before := ceilMicros(q.Before)
		and("fts.rowid < ?", before+f.drift.Load())
		and("d.id - d.drift < ?", before)
	}
	rows, err := f.read.QueryContext(ctx, `SELECT d.conv, d.seq, d.id - d.drift, d.message FROM fts CROSS JOIN docs d ON d.id = fts.rowid
		WHERE fts MATCH ?`+where.String()+` ORDER BY fts.rowid DESC LIMIT ?`, append(args, limit)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var hits []chat.SearchHit
	for rows.Next() {
		var conv, seq, at int64
		var message []byte
		if err := rows.Scan(&conv, &seq, &at, &message); err != nil {
			return nil, err
		}
		h := chat.SearchHit{Conversation: s.keys[conv], Seq: uint64(seq)}
		if len(message) == len(h.Message) {
			h.Message = chat.MessageID(message)
		} else {
			h.Message = chat.NewMessageID(chat.ConversationKey{Tenant: q.Tenant, ID: h.Conversation}, h.Seq, time.UnixMicro(at))
		}
		hits = append(hits, h)
	}
	return hits, rows.Err()
}

// scopeColumn is up to how many conversations are named in the expression. Where those of the query are a small part of
// all, a common word has many rows that are found in vain, and more names are the lesser evil.
func (f *file) scopeColumn(s *convScope, limit int) int {
	const perName, perRow, most = 150, 1.5, 1000 // µs, µs, names
	vain := perRow * float64(limit) * float64(f.docs.Load()) / float64(max(s.docs, 1))
	return min(max(ScopeColumn, int(vain/perName)), most)
}

// ceilMicros is the first whole microsecond at or after t, as that of times that are whole.
func ceilMicros(t time.Time) int64 {
	us := micros(t)
	if time.UnixMicro(us).Before(t) {
		us++
	}
	return us
}

// expander turns a query into an expression of FTS5 on the text.
type expander struct {
	words *vocabulary
	typos bool
	infix int  // words that may stand for one
	wider bool // typos added a word
}

// text is the query as an expression; wider tells that typos added a word.
func (f *file) text(q *search.Query, typos bool) (expression string, wider bool) {
	// Every word of the expression is looked up in every segment of the index: many words share the bound.
	x := &expander{words: f.words, typos: typos, infix: max(8, min(maxInfix, maxWords/len(q.Terms())))}
	if e, ok := x.tree(q.Expr()); ok {
		return e, x.wider
	}
	var clauses []string
	for _, c := range q.Clauses() {
		var must, not []string
		for _, t := range c.Must {
			must = append(must, x.term(t))
		}
		for _, t := range c.Not {
			not = append(not, x.term(t))
		}
		clauses = append(clauses, conjunction(must, not))
	}
	return strings.Join(clauses, " OR "), x.wider
}

func conjunction(must, not []string) string {
	e := "(" + strings.Join(must, " AND ") + ")"
	if len(not) > 0 {
		e = "(" + e + " NOT (" + strings.Join(not, " OR ") + "))"
	}
	return e
}

// tree is the expression of e as it stands, so that no term comes twice; false if it has an alternative that excludes,
// which FTS5 has only within a conjunction.
func (x *expander) tree(e search.Expr) (string, bool) {
	switch e := e.(type) {
	case *search.Term:
		return x.term(e), true
	case search.Or:
		var parts []string
		for _, p := range e {
			s, ok := x.tree(p)
			if !ok {
				return "", false
			}
			parts = append(parts, s)
		}
		return "(" + strings.Join(parts, " OR ") + ")", true
	case search.And:
		var must, not []string
		for _, p := range e {
			if n, ok := p.(search.Not); ok {
				not = append(not, x.term(n.Term))
				continue
			}
			s, ok := x.tree(p)
			if !ok {
				return "", false
			}
			must = append(must, s)
		}
		return conjunction(must, not), len(must) > 0
	}
	return "", false
}

// term is what stands for one term: a phrase, or any of the words that it finds.
func (x *expander) term(t *search.Term) string {
	w := t.Words[len(t.Words)-1]
	if len(t.Words) > 1 || search.Analyze(w)[0].Gram {
		e := quote(strings.Join(t.Words, " "))
		if t.Prefix {
			e += " *"
		}
		return e
	}
	words, all := []string{w}, true
	switch {
	case t.Infix():
		var more []string
		more, all = x.words.find(w, x.infix)
		words = append(words, more...)
	case t.Prefix:
		var more []string
		more, all = x.words.find("\n"+w, x.infix)
		words = append(words, more...)
	}
	if x.typos && t.Typo() {
		near := x.words.near(w, min(maxTypos, x.infix))
		words = append(words, near...)
		x.wider = x.wider || len(near) > 0
	}
	parts := make([]string, 0, len(words)+1)
	for i, one := range words {
		if i == 0 || one != w {
			parts = append(parts, quote(one))
		}
	}
	// The vocabulary did not give all beginnings: FTS5 has them. For a single letter that would be to merge a large part
	// of the index; the commonest words must do.
	if t.Prefix && !all && utf8.RuneCountInString(w) > 1 {
		parts = append(parts, quote(w)+" *")
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return "(" + strings.Join(parts, " OR ") + ")"
}

// quote makes a string of FTS5. Tokens hold no quotes.
func quote(s string) string { return `"` + s + `"` }
