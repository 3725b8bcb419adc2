package faultstore

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/zumodra/hub/chat"
)

// SavePersonal implements conversation.Store.
func (s *Store) SavePersonal(_ context.Context, key chat.ConversationKey, p chat.Personal) error {
	if err := s.begin("SavePersonal", key); err != nil {
		return err
	}
	s.mu.Lock()
	c := s.get(key)
	for _, h := range p.Hidden {
		if c.hidden[h.User] == nil {
			c.hidden[h.User] = map[uint64]chat.HiddenMessage{}
		}
		c.hidden[h.User][h.Seq] = h.HiddenMessage
	}
	for _, d := range p.Drafts {
		if d.Text == "" {
			delete(c.drafts, d.User)
		} else {
			c.drafts[d.User] = d.Draft
		}
	}
	s.mu.Unlock()
	return s.end("SavePersonal", key)
}

func (c *conv) drop(u chat.UserID) {
	delete(c.hidden, u)
	delete(c.drafts, u)
}

// ListHidden implements conversation.Store.
func (s *Store) ListHidden(_ context.Context, key chat.ConversationKey, user chat.UserID) ([]chat.HiddenMessage, error) {
	if err := s.begin("ListHidden", key); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.convs[key]
	if c == nil {
		return nil, nil
	}
	return slices.SortedFunc(maps.Values(c.hidden[user]), func(a, b chat.HiddenMessage) int { return cmp.Compare(a.Seq, b.Seq) }), nil
}

// AreHidden implements actors.Store.
func (s *Store) AreHidden(_ context.Context, user chat.UserID, refs []chat.EventRef) ([]bool, error) {
	if err := s.begin("AreHidden", chat.ConversationKey{}); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]bool, len(refs))
	for i, r := range refs {
		if c := s.convs[r.Key]; c != nil {
			_, out[i] = c.hidden[user][r.Seq]
		}
	}
	return out, nil
}

// GetDrafts implements actors.Store.
func (s *Store) GetDrafts(_ context.Context, k chat.UserKey, ids []chat.ConversationID) ([]chat.Draft, error) {
	if err := s.begin("GetDrafts", chat.ConversationKey{}); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]chat.Draft, len(ids))
	for i, id := range ids {
		out[i].Conversation = id
		if c := s.convs[chat.ConversationKey{Tenant: k.Tenant, ID: id}]; c != nil {
			if d, ok := c.drafts[k.User]; ok {
				out[i] = d
			}
		}
	}
	return out, nil
}
