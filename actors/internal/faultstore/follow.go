package faultstore

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/zumodra/hub/chat"
)

// Marks is how many conversations have a dirty mark.
func (s *Store) Marks() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.dirty)
}

// DirtyShard implements projection.Store, as the methods below do.
func (s *Store) DirtyShard(_ context.Context, shard int, after chat.ConversationKey, limit int) ([]chat.ConversationKey, error) {
	if err := s.begin("DirtyShard", chat.ConversationKey{}); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	order := func(a, b chat.ConversationKey) int {
		return cmp.Or(strings.Compare(string(a.Tenant), string(b.Tenant)), bytes.Compare(a.ID[:], b.ID[:]))
	}
	var keys []chat.ConversationKey
	for k := range s.dirty {
		if k.Shard() == shard && (after.Tenant == "" || order(k, after) > 0) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, order)
	return keys[:min(limit, len(keys))], nil
}

func (s *Store) Conversations(_ context.Context, yield func(chat.ConversationKey, uint64) bool) error {
	if err := s.begin("Conversations", chat.ConversationKey{}); err != nil {
		return err
	}
	s.mu.Lock()
	heads := make(map[chat.ConversationKey]uint64, len(s.convs))
	for k, c := range s.convs {
		if c.head.Seq > 0 {
			heads[k] = c.head.Seq
		}
	}
	s.mu.Unlock()
	for k, seq := range heads {
		if !yield(k, seq) {
			break
		}
	}
	return nil
}

func (s *Store) GetEvents(_ context.Context, refs []chat.EventRef) ([]chat.Event, error) {
	if err := s.begin("GetEvents", chat.ConversationKey{}); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]chat.Event, len(refs))
	for i, r := range refs {
		if c := s.convs[r.Key]; c != nil && r.Seq > 0 && r.Seq <= uint64(len(c.log)) {
			out[i] = c.log[r.Seq-1]
		}
	}
	return out, nil
}

func (s *Store) Consumers(context.Context) ([]chat.ConsumerState, error) {
	if err := s.begin("Consumers", chat.ConversationKey{}); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.cons)), nil
}

func (s *Store) PutConsumer(_ context.Context, c chat.ConsumerState) error {
	if err := s.begin("PutConsumer", chat.ConversationKey{}); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cons[c.Name] = c
	return nil
}

func (s *Store) ForgetConsumer(_ context.Context, name string) error {
	if err := s.begin("ForgetConsumer", chat.ConversationKey{}); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.cons, name)
	return nil
}
