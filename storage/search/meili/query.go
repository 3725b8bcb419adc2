package meili

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/meilisearch/meilisearch-go"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/search"
)

// Bounds of one query.
const (
	maxConversations = 4000 // in one filter: about 150 KB
	maxParts         = 10   // of a query that the server looks at
	maxSearches      = 96   // alternatives times chunks of conversations
	perRequest       = 16   // searches in one request
	minPage, maxPage = 20, 100
	maxRounds        = 20
)

func scopeFilter(tenant chat.TenantID, ids []chat.ConversationID) string {
	var b strings.Builder
	b.WriteString(`tenant = "` + hexText(tenant) + `" AND conversation IN [`)
	for i, id := range ids {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(`"` + hex.EncodeToString(id[:]) + `"`)
	}
	b.WriteByte(']')
	return b.String()
}

func narrow(q *chat.IndexQuery) string {
	var b strings.Builder
	if q.Sender != "" {
		b.WriteString(` AND sender = "` + hexText(q.Sender) + `"`)
	}
	if q.HasAttachments != nil {
		b.WriteString(" AND attachment = " + strconv.FormatBool(*q.HasAttachments))
	}
	if !q.From.IsZero() {
		// Rounded up to the microsecond: times of messages are whole ones.
		at := q.From.UnixMicro()
		if q.From.Nanosecond()%1000 > 0 {
			at++
		}
		b.WriteString(" AND at >= " + strconv.FormatInt(at, 10))
	}
	if !q.Before.IsZero() {
		at := q.Before.UnixMicro()
		if q.Before.Nanosecond()%1000 > 0 {
			at++
		}
		b.WriteString(" AND at < " + strconv.FormatInt(at, 10))
	}
	return b.String()
}

// Search implements search.Index.
func (x *Index) Search(ctx context.Context, q chat.IndexQuery) (chat.SearchAnswer, error) {
	ctx, end, err := x.begin(ctx)
	if err != nil {
		return chat.SearchAnswer{}, err
	}
	defer end()
	query, err := search.Parse(q.Text)
	if err != nil {
		return chat.SearchAnswer{}, err
	}
	if err := x.ensure(ctx); err != nil {
		return chat.SearchAnswer{}, err
	}
	limit := q.Limit
	if limit <= 0 || limit > chat.MaxSearchResults {
		limit = chat.MaxSearchResults
	}
	offset := max(q.Offset, 0)
	matcher := query.Matcher(search.Rules{})
	f := &finder{x: x, need: max(offset+limit+1, search.TypoBelow), scopes: scopes(&q)}
	hits, err := f.find(ctx, exactSearches(query), matcher)
	if err != nil {
		return chat.SearchAnswer{}, err
	}
	if len(hits) < search.TypoBelow && slices.ContainsFunc(query.Terms(), (*search.Term).Typo) {
		matcher = query.Matcher(search.Rules{Typos: true})
		if hits, err = f.find(ctx, typoSearches(query), matcher); err != nil {
			return chat.SearchAnswer{}, err
		}
	}
	x.searches.Add(1)
	hits = hits[min(offset, len(hits)):]
	return chat.SearchAnswer{Hits: hits[:min(limit, len(hits))], More: len(hits) > limit, Highlight: matcher.Highlight}, nil
}

// scopes returns the filters that together let the caller's conversations through, and no other.
func scopes(q *chat.IndexQuery) (filters []string) {
	ids := slices.Clone(q.Conversations)
	if !q.Conversation.IsZero() {
		ids = slices.DeleteFunc(ids, func(id chat.ConversationID) bool { return id != q.Conversation })
	}
	slices.SortFunc(ids, func(a, b chat.ConversationID) int { return bytes.Compare(a[:], b[:]) })
	more := narrow(q)
	for chunk := range slices.Chunk(slices.Compact(ids), maxConversations) {
		filters = append(filters, scopeFilter(q.Tenant, chunk)+more)
	}
	return filters
}

func quote(words []string) string { return `"` + strings.Join(words, " ") + `"` }

// lookUp returns quoted parts that every text which the term finds has, typos aside.
func lookUp(t *search.Term) (parts []string) {
	last := len(t.Words) - 1
	if t.Infix() {
		return []string{quote(middles([]rune(t.Words[0])))}
	}
	words := make([]string, 0, len(t.Words))
	for i, w := range t.Words {
		if i < last || !t.Prefix {
			words = append(words, encode(w))
		}
	}
	if len(words) > 0 {
		parts = append(parts, quote(words))
	}
	if !t.Prefix {
		return parts
	}
	switch r := []rune(t.Words[last]); {
	case isGram(t.Words[last]):
		parts = append(parts, quote([]string{single(t.Words[last])}))
	case len(r) >= search.MinInfix:
		parts = append(parts, quote(middles(r)))
	default:
		parts = append(parts, quote([]string{begin(r)}))
	}
	return parts
}

func isGram(word string) bool {
	t := search.Analyze(word)
	return len(t) > 0 && t[0].Gram
}

// text makes a query of parts: the longest, for they say most, if there are more than the server looks at.
func text(parts []string) string {
	slices.SortFunc(parts, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b)) })
	parts = slices.Compact(parts)
	return strings.Join(parts[:min(len(parts), maxParts)], " ")
}

// exactSearches returns one search per alternative. What is excluded is left to the matcher.
func exactSearches(q *search.Query) (texts []string) {
	for _, c := range q.Clauses() {
		var parts []string
		for _, t := range c.Must {
			parts = append(parts, lookUp(t)...)
		}
		texts = append(texts, text(parts))
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

// maxTypoTerms is how many words of an alternative may each be right or not; the rest is then left to the matcher.
const maxTypoTerms = 3

// typoSearches returns the searches that find the words with typos too: each word that may have one is looked up as it
// is in some searches and, unquoted, with the server's tolerance in others.
func typoSearches(q *search.Query) (texts []string) {
	for _, c := range q.Clauses() {
		var fixed []string
		var typos []*search.Term
		for _, t := range c.Must {
			switch {
			case t.Typo() && plain(t.Words[0]):
				typos = append(typos, t)
			default:
				fixed = append(fixed, lookUp(t)...)
			}
		}
		n := min(len(typos), maxTypoTerms)
		for choice := range 1 << n {
			parts := slices.Clone(fixed)
			for i, t := range typos[:n] {
				if choice>>i&1 == 1 {
					parts = append(parts, t.Words[0])
				} else {
					parts = append(parts, lookUp(t)...)
				}
			}
			texts = append(texts, text(parts))
		}
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

// finder runs searches until enough of what they find matches.
type finder struct {
	x      *Index
	scopes []string
	need   int
}

// run is one search with how far it has come.
type run struct {
	text, scope string
	last        *document // the last that was seen
	skip        int       // documents at last's time that were seen
	done        bool
}

// newer orders messages: by time, within a conversation by seq, newest first.
func newer(a, b *document) int {
	return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(b.Seq, a.Seq), strings.Compare(a.Conversation, b.Conversation))
}

var (
	newestFirst = []string{"at:desc", "seq:desc", "conversation:asc"}
	retrieved   = []string{"id", "conversation", "seq", "message", "at", "content"}
)

// find returns at least need hits, newest first, if there are as many.
func (f *finder) find(ctx context.Context, texts []string, m *search.Matcher) ([]chat.SearchHit, error) {
	var runs []*run
	for _, scope := range f.scopes {
		for _, t := range texts {
			runs = append(runs, &run{text: t, scope: scope})
		}
	}
	if len(runs) > maxSearches {
		return nil, &chat.FieldError{Field: "q", Text: fmt.Sprintf("Search query has too many alternatives for %d conversations.", maxConversations*len(f.scopes))}
	}
	page := min(max(f.need+1, minPage), maxPage)
	seen := make(map[string]bool)
	var found []*document
	for range maxRounds {
		open := slices.DeleteFunc(slices.Clone(runs), func(r *run) bool { return r.done })
		if len(open) == 0 {
			break
		}
		for chunk := range slices.Chunk(open, perRequest) {
			docs, err := f.page(ctx, chunk, page)
			if err != nil {
				return nil, err
			}
			for _, d := range docs {
				if !seen[d.ID] {
					seen[d.ID] = true
					if m.Match(d.Content) {
						found = append(found, d)
					}
				}
			}
		}
		slices.SortFunc(found, newer)
		if f.settled(found, runs) >= f.need {
			break
		}
		page = maxPage
	}
	if n := f.settled(found, runs); n >= f.need {
		found = found[:n]
	}
	hits := make([]chat.SearchHit, 0, len(found))
	for _, d := range found {
		h, err := d.hit()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", search.ErrUnavailable, err)
		}
		hits = append(hits, h)
	}
	return hits, nil
}

// settled counts the newest of found that no search can still put another before.
func (f *finder) settled(found []*document, runs []*run) int {
	var frontier *document // the newest place that a search has only come to
	for _, r := range runs {
		if !r.done && (frontier == nil || newer(r.last, frontier) < 0) {
			frontier = r.last
		}
	}
	if frontier == nil {
		return len(found)
	}
	n, exact := slices.BinarySearchFunc(found, frontier, newer)
	if exact {
		n++
	}
	return n
}

// page takes the next documents of several searches in one request.
func (f *finder) page(ctx context.Context, runs []*run, limit int) (docs []*document, err error) {
	req := &meilisearch.MultiSearchRequest{}
	for _, r := range runs {
		filter := r.scope
		if r.last != nil {
			filter += " AND at <= " + strconv.FormatInt(r.last.At, 10)
		}
		req.Queries = append(req.Queries, &meilisearch.SearchRequest{IndexUID: f.x.live, Query: r.text, Filter: filter, Sort: newestFirst,
			MatchingStrategy: meilisearch.All, AttributesToRetrieve: retrieved, Limit: int64(limit), Offset: int64(r.skip)})
	}
	resp, err := ask(ctx, f.x, "searching", func(ctx context.Context) (*meilisearch.MultiSearchResponse, error) {
		return f.x.client.MultiSearchWithContext(ctx, req)
	})
	if err != nil {
		return nil, err
	}
	if len(resp.Results) != len(runs) {
		return nil, fmt.Errorf("%w: Meilisearch at %s answers %d of %d searches", search.ErrUnavailable, f.x.cfg.URL, len(resp.Results), len(runs))
	}
	for i, r := range runs {
		for _, h := range resp.Results[i].Hits {
			d := new(document)
			if err := h.DecodeInto(d); err != nil || d.Seq == 0 {
				return nil, fmt.Errorf("%w: Meilisearch at %s finds something that is not a message", search.ErrUnavailable, f.x.cfg.URL)
			}
			if r.last != nil && r.last.At == d.At {
				r.skip++
			} else {
				r.skip = 1
			}
			r.last = d
			docs = append(docs, d)
		}
		r.done = len(resp.Results[i].Hits) < limit
	}
	return docs, nil
}
