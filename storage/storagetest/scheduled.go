package storagetest

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
)

func scheduledMessage(key chat.ConversationKey, user chat.UserID, due time.Time) chat.Scheduled {
	return chat.Scheduled{ID: chat.NewScheduledID(chat.UserKey{}, ""), By: chat.Principal{Tenant: key.Tenant, User: user, Username: "U"}, ClientID: "c",
		Key: key, Content: "later", ReplyTo: chat.MessageID{1}, Mentions: []chat.UserID{"2"}, MentionAll: true, SendAt: due,
		State: chat.ScheduledPending, CreatedAt: At(1), ChangedAt: At(1), Due: due, Turn: 1}
}

// calendar returns what a slot says from one second until before another.
func calendar(t *testing.T, s *storage.Store, slot int, from, to uint64) (list []chat.ScheduledDue) {
	t.Helper()
	must(t, s.DueScheduled(t.Context(), slot, At(from), At(to), func(d chat.ScheduledDue) bool {
		list = append(list, d)
		return true
	}))
	return list
}

func dueOf(m chat.Scheduled) chat.ScheduledDue {
	return chat.ScheduledDue{Due: m.Due, User: m.By.Key(), ID: m.ID, Turn: m.Turn, Key: m.Key}
}

// storeScheduled: what is to be sent later is listed for its user, found by its time, and changed by one at a time.
func storeScheduled(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx := t.Context()
	key := Key("acme")
	slot := chat.ScheduledSlot(key)
	a := scheduledMessage(key, "1", At(100))
	got, fresh, err := s.CreateScheduled(ctx, a)
	must(t, err)
	equal(t, got, a)
	equal(t, fresh, true)
	again := a
	again.Content, again.SendAt, again.Due = "other", At(50), At(50)
	got, fresh, err = s.CreateScheduled(ctx, again)
	must(t, err)
	equal(t, got, a)
	equal(t, fresh, false)
	b := scheduledMessage(key, "1", At(90))
	b.Mentions, b.ReplyTo, b.MentionAll = nil, chat.MessageID{}, false
	_, _, err = s.CreateScheduled(ctx, b)
	must(t, err)

	list, err := s.ListScheduled(ctx, a.By.Key())
	must(t, err)
	slices.SortFunc(list, func(x, y chat.Scheduled) int { return y.Due.Compare(x.Due) })
	equal(t, list, []chat.Scheduled{a, b})
	if list, err := s.ListScheduled(ctx, chat.UserKey{Tenant: "umbra", User: "1"}); err != nil || len(list) > 0 {
		t.Errorf("of another tenant: %v, %v", list, err)
	}
	if _, err := s.GetScheduled(ctx, chat.UserKey{Tenant: "acme", User: "2"}, a.ID); !errors.Is(err, chat.ErrNotFound) {
		t.Errorf("of another user: %v", err)
	}
	// What another attempt with the same id left in the calendar is void; what stands is not.
	void := dueOf(again)
	equal(t, calendar(t, s, slot, 0, 100), []chat.ScheduledDue{void, dueOf(b)})
	equal(t, calendar(t, s, slot, 51, 101), []chat.ScheduledDue{dueOf(b), dueOf(a)})
	for _, c := range []struct {
		d    chat.ScheduledDue
		gone bool
	}{{void, true}, {dueOf(b), false}, {chat.ScheduledDue{Due: At(95), User: a.By.Key(), ID: chat.ScheduledID{7}, Turn: 1, Key: key}, true}} {
		gone, err := s.VoidScheduled(ctx, c.d)
		must(t, err)
		equal(t, gone, c.gone)
	}
	equal(t, calendar(t, s, slot, 0, 101), []chat.ScheduledDue{dueOf(b), dueOf(a)})
	none := dueOf(a)
	none.ID = chat.ScheduledID{9}
	found, err := s.GetDueScheduled(ctx, []chat.ScheduledDue{dueOf(a), none, dueOf(b)})
	must(t, err)
	equal(t, found, []chat.Scheduled{a, {}, b})

	// Another time is another entry of the calendar; what takes mentions away is seen on engines that keep columns, too.
	old := dueOf(a)
	a.State, a.Reason, a.Mentions, a.MentionAll, a.Due, a.ChangedAt = chat.ScheduledFailed, "blocked", nil, false, At(200), At(101)
	got, err = s.ChangeScheduled(ctx, a.By.Key(), a.ID, func(m *chat.Scheduled) error {
		turn := m.Turn
		*m = a
		m.Turn = turn
		return nil
	})
	must(t, err)
	a.Turn = 2
	equal(t, got, a)
	got, err = s.GetScheduled(ctx, a.By.Key(), a.ID)
	must(t, err)
	equal(t, got, a)
	equal(t, calendar(t, s, slot, 91, 300), []chat.ScheduledDue{dueOf(a)})
	if gone, err := s.VoidScheduled(ctx, old); err != nil || !gone {
		t.Errorf("the entry before the change: %v, %v", gone, err)
	}
	no := errors.New("no")
	if _, err := s.ChangeScheduled(ctx, a.By.Key(), a.ID, func(m *chat.Scheduled) error { m.Due = At(1); return no }); !errors.Is(err, no) {
		t.Errorf("%v, want what the change answered", err)
	}
	if _, err := s.ChangeScheduled(ctx, a.By.Key(), chat.ScheduledID{3}, func(*chat.Scheduled) error { return nil }); !errors.Is(err, chat.ErrNotFound) {
		t.Errorf("a change of nothing: %v", err)
	}
	// Of those who take it at once one gets it.
	var wg sync.WaitGroup
	var mu sync.Mutex
	took := 0
	for range 4 {
		wg.Go(func() {
			_, err := s.ChangeScheduled(ctx, b.By.Key(), b.ID, func(m *chat.Scheduled) error {
				if m.State != chat.ScheduledPending {
					return no
				}
				m.State = chat.ScheduledSending
				return nil
			})
			if err != nil && !errors.Is(err, no) {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				took++
			}
		})
	}
	wg.Wait()
	equal(t, took, 1)

	must(t, s.RemoveScheduled(ctx, dueOf(a)))
	equal(t, calendar(t, s, slot, 91, 300), nil)
	if _, err := s.GetScheduled(ctx, a.By.Key(), a.ID); !errors.Is(err, chat.ErrNotFound) {
		t.Errorf("removed: %v", err)
	}
}
