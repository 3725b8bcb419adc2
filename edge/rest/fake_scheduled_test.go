package rest_test

import (
	"context"
	"slices"
	"time"

	"github.com/zumodra/hub/chat"
)

// fakeScheduled keeps what is to be sent later and never sends it.
type fakeScheduled struct {
	hub  *fakeHub
	list []*chat.Scheduled
}

func (f *fakeScheduled) Schedule(ctx context.Context, p chat.Principal, s chat.Send, at time.Time) (chat.Scheduled, error) {
	if _, err := f.hub.Do(ctx, p, chat.Attach{Conversation: s.Conversation, Join: true}); err != nil {
		return chat.Scheduled{}, err
	}
	m := &chat.Scheduled{ID: chat.NewScheduledID(p.Key(), s.ClientID), By: p, ClientID: s.ClientID, Key: chat.ConversationKey{Tenant: p.Tenant, ID: s.Conversation},
		Content: s.Content, ReplyTo: s.ReplyTo, Mentions: s.Mentions, MentionAll: s.MentionAll, SendAt: at, State: chat.ScheduledPending, CreatedAt: f.hub.now()}
	if err := (&chat.ScheduledChange{SendAt: &at}).Check(f.hub.now()); err != nil {
		return *m, err
	}
	f.list = append(f.list, m)
	return *m, nil
}

func (f *fakeScheduled) List(_ context.Context, p chat.Principal, c chat.ConversationID) (list []chat.Scheduled, err error) {
	for _, m := range f.list {
		if m.By == p && (c.IsZero() || m.Key.ID == c) {
			list = append(list, *m)
		}
	}
	return list, nil
}

func (f *fakeScheduled) find(p chat.Principal, id chat.ScheduledID) (*chat.Scheduled, error) {
	for _, m := range f.list {
		if m.By.Key() == p.Key() && m.ID == id {
			return m, nil
		}
	}
	return nil, chat.ErrNotFound
}

func (f *fakeScheduled) Get(_ context.Context, p chat.Principal, id chat.ScheduledID) (chat.Scheduled, error) {
	m, err := f.find(p, id)
	if err != nil {
		return chat.Scheduled{}, err
	}
	return *m, nil
}

func (f *fakeScheduled) Change(_ context.Context, p chat.Principal, id chat.ScheduledID, c chat.ScheduledChange) (chat.Scheduled, error) {
	m, err := f.find(p, id)
	if err == nil {
		err = c.Check(f.hub.now())
	}
	switch {
	case err != nil:
		return chat.Scheduled{}, err
	case m.State == chat.ScheduledSending:
		return *m, chat.ErrConflict
	}
	if c.Content != nil {
		m.Content, m.Mentions, m.MentionAll = *c.Content, c.Mentions, c.MentionAll
	}
	if c.SendAt != nil {
		m.SendAt = *c.SendAt
	}
	return *m, nil
}

func (f *fakeScheduled) Cancel(_ context.Context, p chat.Principal, id chat.ScheduledID) error {
	m, err := f.find(p, id)
	if err == nil && m.State == chat.ScheduledSending {
		err = chat.ErrConflict
	}
	if err == nil {
		f.list = slices.DeleteFunc(f.list, func(x *chat.Scheduled) bool { return x == m })
	}
	return err
}
