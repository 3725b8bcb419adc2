package searchtest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/search"
)

// Memory is an index that looks at every message. Nothing of it lasts. It is safe for concurrent use.
type Memory struct {
	mu          sync.Mutex
	data        shelf
	generations int
	rebuild     *memoryRebuild // running
	fail        error
	closed      bool
	stats       search.Stats
}

// NewMemory returns an empty index.
func NewMemory() *Memory { return &Memory{data: shelf{}, generations: 1} }

// Fail makes every call but Stats and Close fail with err until it is called with nil.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

type shelf map[chat.ConversationKey]*volume

type volume struct {
	cursor uint64
	docs   map[uint64]*document
}

type document struct {
	seq        uint64
	id         chat.MessageID
	sender     chat.UserID
	at         time.Time
	content    string
	attachment bool
}

// enter locks, unless the call is to fail.
func (m *Memory) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("search: %w", err)
	}
	m.mu.Lock()
	err := m.fail
	if m.closed {
		err = search.ErrClosed
	}
	if err != nil {
		m.mu.Unlock()
	}
	return err
}

// Apply implements search.Index.
func (m *Memory) Apply(ctx context.Context, changes []chat.IndexChange) error {
	if err := m.enter(ctx); err != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.stats.Failures++
		return err
	}
	defer m.mu.Unlock()
	m.data.apply(changes, &m.stats)
	return nil
}

func (s shelf) apply(changes []chat.IndexChange, stats *search.Stats) {
	for _, c := range changes {
		v := s[c.Key]
		if c.Gone {
			if v != nil {
				stats.Removed += uint64(len(v.docs))
			}
			delete(s, c.Key)
			continue
		}
		if v == nil {
			v = &volume{docs: map[uint64]*document{}}
			s[c.Key] = v
		}
		for _, e := range c.Events {
			if e.Seq <= v.cursor {
				continue
			}
			v.cursor = e.Seq
			switch d := v.docs[e.MessageSeq]; e.Type {
			case chat.EventMessage:
				if e.DeletedAt.IsZero() {
					v.docs[e.Seq] = &document{e.Seq, e.Message, e.Actor, e.At, e.Content, e.IsVoice || e.File != nil}
					stats.Applied++
				}
			case chat.EventEdited:
				if d != nil {
					d.content = e.Content
					stats.Applied++
				}
			case chat.EventDeleted:
				if d != nil {
					delete(v.docs, e.MessageSeq)
					stats.Removed++
				}
			}
		}
	}
}

// Cursors implements search.Index.
func (m *Memory) Cursors(ctx context.Context, keys []chat.ConversationKey) ([]uint64, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	return m.data.cursors(keys), nil
}

func (s shelf) cursors(keys []chat.ConversationKey) []uint64 {
	cursors := make([]uint64, len(keys))
	for i, k := range keys {
		if v := s[k]; v != nil {
			cursors[i] = v.cursor
		}
	}
	return cursors
}

// Search implements search.Index.
func (m *Memory) Search(ctx context.Context, q chat.IndexQuery) (chat.SearchAnswer, error) {
	if err := m.enter(ctx); err != nil {
		return chat.SearchAnswer{}, err
	}
	defer m.mu.Unlock()
	query, err := search.Parse(q.Text)
	if err != nil {
		return chat.SearchAnswer{}, err
	}
	m.stats.Searches++
	matcher := query.Matcher(search.Rules{})
	hits := m.data.find(q, matcher)
	if len(hits) < search.TypoBelow {
		matcher = query.Matcher(search.Rules{Typos: true})
		hits = m.data.find(q, matcher)
	}
	limit := q.Limit
	if limit <= 0 || limit > chat.MaxSearchResults {
		limit = chat.MaxSearchResults
	}
	hits = hits[min(max(q.Offset, 0), len(hits)):]
	more := len(hits) > limit
	return chat.SearchAnswer{Hits: hits[:min(limit, len(hits))], More: more, Highlight: matcher.Highlight}, nil
}

func (s shelf) find(q chat.IndexQuery, matcher *search.Matcher) []chat.SearchHit {
	type found struct {
		*document
		conversation chat.ConversationID
	}
	var all []found
	for _, id := range q.Conversations {
		v := s[chat.ConversationKey{Tenant: q.Tenant, ID: id}]
		if v == nil || !q.Conversation.IsZero() && q.Conversation != id {
			continue
		}
		for _, d := range v.docs {
			if (q.Sender == "" || q.Sender == d.sender) && (q.From.IsZero() || !d.at.Before(q.From)) &&
				(q.Before.IsZero() || d.at.Before(q.Before)) && (q.HasAttachments == nil || *q.HasAttachments == d.attachment) &&
				matcher.Match(d.content) {
				all = append(all, found{d, id})
			}
		}
	}
	slices.SortFunc(all, func(a, b found) int {
		return cmp.Or(b.at.Compare(a.at), cmp.Compare(b.seq, a.seq), slices.Compare(a.conversation[:], b.conversation[:]))
	})
	all = slices.CompactFunc(all, func(a, b found) bool { return a.document == b.document })
	hits := make([]chat.SearchHit, len(all))
	for i, f := range all {
		hits[i] = chat.SearchHit{Conversation: f.conversation, Seq: f.seq, Message: f.id}
	}
	return hits
}

// Generation implements search.Index.
func (m *Memory) Generation(ctx context.Context) (string, error) {
	if err := m.enter(ctx); err != nil {
		return "", err
	}
	defer m.mu.Unlock()
	return fmt.Sprint("memory-", m.generations), nil
}

// Health implements search.Index.
func (m *Memory) Health(ctx context.Context) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	return nil
}

// Stats implements search.Index.
func (m *Memory) Stats() search.Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.stats
	for _, v := range m.data {
		s.Documents += int64(len(v.docs))
	}
	return s
}

// Close implements search.Index.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return search.ErrClosed
	}
	m.closed, m.data, m.rebuild = true, nil, nil
	return nil
}

// Rebuild implements search.Index.
func (m *Memory) Rebuild(ctx context.Context) (search.Rebuild, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	m.rebuild = &memoryRebuild{m: m, data: shelf{}}
	return m.rebuild, nil
}

type memoryRebuild struct {
	m    *Memory
	data shelf
}

// enter locks if the rebuild is still the one that runs.
func (r *memoryRebuild) enter(ctx context.Context) error {
	if err := r.m.enter(ctx); err != nil {
		return err
	}
	if r.m.rebuild != r {
		r.m.mu.Unlock()
		return fmt.Errorf("%w: this rebuild is over", search.ErrClosed)
	}
	return nil
}

func (r *memoryRebuild) Apply(ctx context.Context, changes []chat.IndexChange) error {
	if err := r.enter(ctx); err != nil {
		return err
	}
	defer r.m.mu.Unlock()
	r.data.apply(changes, &r.m.stats)
	return nil
}

func (r *memoryRebuild) Cursors(ctx context.Context, keys []chat.ConversationKey) ([]uint64, error) {
	if err := r.enter(ctx); err != nil {
		return nil, err
	}
	defer r.m.mu.Unlock()
	return r.data.cursors(keys), nil
}

func (r *memoryRebuild) Commit(ctx context.Context) error {
	if err := r.enter(ctx); err != nil {
		return err
	}
	defer r.m.mu.Unlock()
	r.m.data, r.m.rebuild = r.data, nil
	r.m.generations++
	return nil
}

func (r *memoryRebuild) Abort(context.Context) error {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	if r.m.rebuild == r {
		r.m.rebuild = nil
	}
	return nil
}
