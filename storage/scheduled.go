package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/zumodra/hub/chat"
)

type scheduledKey struct {
	user chat.UserKey
	id   chat.ScheduledID
}

func (k scheduledKey) String() string {
	return "scheduled message " + k.user.String() + "/" + k.id.String()
}

func scheduledPartition(k *chat.UserKey) Key { return Key{text(k.Tenant), text(k.User)} }

func scheduledRow(m *chat.Scheduled) []Value {
	c := make([]Value, scheduledColumns)
	c[scheduledState], c[scheduledConversation] = number(uint64(m.State)), blob(m.Key.ID[:])
	c[scheduledUsername], c[scheduledClientID], c[scheduledContent] = text(m.By.Username), text(m.ClientID), text(m.Content)
	c[scheduledReplyTo] = optionalBlob(&m.ReplyTo)
	c[scheduledMentions] = blob(nil) // set also when there are none, which may become so
	if len(m.Mentions) > 0 {
		c[scheduledMentions] = blob(appendUsers(nil, m.Mentions))
	}
	c[scheduledMentionAll] = boolean(m.MentionAll)
	c[scheduledSendAt], c[scheduledReason] = moment(m.SendAt), text(m.Reason)
	c[scheduledCreatedAt], c[scheduledChangedAt] = moment(m.CreatedAt), moment(m.ChangedAt)
	c[scheduledDue], c[scheduledTurn] = moment(m.Due), number(m.Turn)
	return c
}

func decodeScheduled(k *chat.UserKey, id chat.ScheduledID, c []Value) (m chat.Scheduled, err error) {
	m = chat.Scheduled{ID: id, By: chat.Principal{Tenant: k.Tenant, User: k.User, Username: c[scheduledUsername].string()},
		ClientID: c[scheduledClientID].string(), Content: c[scheduledContent].string(), MentionAll: c[scheduledMentionAll].bool(),
		SendAt: c[scheduledSendAt].time(), Reason: c[scheduledReason].string(),
		CreatedAt: c[scheduledCreatedAt].time(), ChangedAt: c[scheduledChangedAt].time(),
		Due: c[scheduledDue].time(), Turn: c[scheduledTurn].uint()}
	m.Key.Tenant = k.Tenant
	if m.State, err = small(c[scheduledState], chat.LastScheduledState, "state"); err != nil {
		return m, err
	}
	if m.Key.ID, err = c[scheduledConversation].uuid("conversation"); err != nil {
		return m, err
	}
	if m.ReplyTo, err = c[scheduledReplyTo].uuid("reply_to"); err != nil {
		return m, err
	}
	if list := c[scheduledMentions].B; len(list) > 0 {
		m.Mentions, err = decodeUsers(list)
	}
	return m, err
}

// enterDue durably writes the entry of the calendar that says when a message is to be looked at.
func (s *Store) enterDue(ctx context.Context, m *chat.Scheduled) error {
	return s.engine.Apply(ctx, Batch{Table: TableScheduledDue, Partition: dueSlot(m.Key),
		Mutations: []Mutation{{Clustering: dueKey(dueOf(m)), Columns: []Value{blob(m.Key.ID[:])}, Whole: true}}})
}

func dueOf(m *chat.Scheduled) chat.ScheduledDue {
	return chat.ScheduledDue{Due: m.Due, User: m.By.Key(), ID: m.ID, Turn: m.Turn, Key: m.Key}
}

func dueSlot(k chat.ConversationKey) Key { return Key{number(uint64(chat.ScheduledSlot(k)))} }

func dueKey(d chat.ScheduledDue) Key {
	return Key{{Set: true, I: d.Due.UnixMicro()}, text(d.User.Tenant), text(d.User.User), blob(d.ID[:]), number(d.Turn)}
}

// CreateScheduled durably writes a message that is to be sent later, unless there is one of that user's with that id. It
// answers the one that is there, and whether it is new. Turn is 1.
func (s *Store) CreateScheduled(ctx context.Context, m chat.Scheduled) (chat.Scheduled, bool, error) {
	k := m.By.Key()
	m.Turn = 1
	err := s.enterDue(ctx, &m)
	if err != nil {
		return m, false, fail(err, "create", scheduledKey{k, m.ID})
	}
	applied, found, err := s.engine.CompareAndSet(ctx, TableScheduled, scheduledPartition(&k), Key{blob(m.ID[:])}, nil, scheduledRow(&m))
	if err == nil && !applied {
		if found.Columns == nil {
			return m, false, fail(ErrUnknownOutcome, "create", scheduledKey{k, m.ID})
		}
		m, err = decodeScheduled(&k, m.ID, found.Columns)
	}
	return m, applied, fail(err, "create", scheduledKey{k, m.ID})
}

// GetScheduled returns one message of a user's, or chat.ErrNotFound.
func (s *Store) GetScheduled(ctx context.Context, k chat.UserKey, id chat.ScheduledID) (chat.Scheduled, error) {
	r, err := s.engine.Get(ctx, TableScheduled, scheduledPartition(&k), Key{blob(id[:])})
	if err != nil {
		return chat.Scheduled{}, fail(err, "read", scheduledKey{k, id})
	}
	m, err := decodeScheduled(&k, id, r.Columns)
	return m, fail(err, "read", scheduledKey{k, id})
}

// ListScheduled returns all messages of a user's, in the order of their ids.
func (s *Store) ListScheduled(ctx context.Context, k chat.UserKey) (list []chat.Scheduled, err error) {
	var failed error
	err = s.engine.Scan(ctx, Range{Table: TableScheduled, Partition: scheduledPartition(&k)}, func(r Row) bool {
		var id [16]byte
		if id, failed = r.Clustering[0].uuid("id"); failed != nil {
			return false
		}
		var m chat.Scheduled
		if m, failed = decodeScheduled(&k, id, r.Columns); failed == nil {
			list = append(list, m)
		}
		return failed == nil
	})
	return list, fail(errors.Join(err, failed), "list scheduled messages of", k)
}

// ChangeScheduled durably changes a message as change does, which may be called more than once, each time with what is
// stored; it need not look at Turn. If change answers an error nothing is written, and that is the error. It returns the
// message as it is then stored.
func (s *Store) ChangeScheduled(ctx context.Context, k chat.UserKey, id chat.ScheduledID, change func(*chat.Scheduled) error) (chat.Scheduled, error) {
	p, c := scheduledPartition(&k), Key{blob(id[:])}
	row, err := s.engine.Get(ctx, TableScheduled, p, c)
	if err != nil {
		return chat.Scheduled{}, fail(err, "change", scheduledKey{k, id})
	}
	for range maxFileRounds {
		old, err := decodeScheduled(&k, id, row.Columns)
		if err != nil {
			return old, fail(err, "change", scheduledKey{k, id})
		}
		m := old
		if err := change(&m); err != nil {
			return m, err
		}
		moves := !m.Due.Equal(old.Due)
		if m.Turn = old.Turn; moves {
			m.Turn++
			if err := s.enterDue(ctx, &m); err != nil {
				return m, fail(err, "change", scheduledKey{k, id})
			}
		}
		applied, found, err := s.engine.CompareAndSet(ctx, TableScheduled, p, c, row.Columns, scheduledRow(&m))
		switch {
		case err != nil:
			return m, fail(err, "change", scheduledKey{k, id})
		case applied:
			if moves { // what stays is void, and goes when it is due
				_ = s.deleteDue(ctx, dueOf(&old))
			}
			return m, nil
		case found.Columns == nil:
			return m, fail(ErrNoRow, "change", scheduledKey{k, id})
		}
		row = found
	}
	return chat.Scheduled{}, fmt.Errorf("change %s: %w: too many do so at once", scheduledKey{k, id}, chat.ErrOverloaded)
}

func (s *Store) deleteDue(ctx context.Context, d chat.ScheduledDue) error {
	return s.engine.Apply(ctx, Batch{Table: TableScheduledDue, Partition: dueSlot(d.Key),
		Mutations: []Mutation{{Clustering: dueKey(d), Delete: true}}, Durability: Relaxed})
}

// RemoveScheduled forgets a message that nobody changes any more.
func (s *Store) RemoveScheduled(ctx context.Context, d chat.ScheduledDue) error {
	err := s.engine.Apply(ctx, Batch{Table: TableScheduled, Partition: scheduledPartition(&d.User),
		Mutations: []Mutation{{Clustering: Key{blob(d.ID[:])}, Delete: true}}, Durability: Relaxed})
	if err == nil {
		err = s.deleteDue(ctx, d)
	}
	return fail(err, "remove", scheduledKey{d.User, d.ID})
}

// VoidScheduled removes an entry of the calendar if its message does not say that time, and will not: a change that
// was begun and is not carried out yet never is after that. It reports whether it did.
func (s *Store) VoidScheduled(ctx context.Context, d chat.ScheduledDue) (bool, error) {
	what := scheduledKey{d.User, d.ID}
	p, c := scheduledPartition(&d.User), Key{blob(d.ID[:])}
	row, err := s.engine.Get(ctx, TableScheduled, p, c)
	if err != nil && !errors.Is(err, ErrNoRow) {
		return false, fail(err, "look for", what)
	}
	// A compare-and-set that comes later than another one's beginning ends that one, either way. Where there is no row, it
	// expects something and so writes nothing.
	expect := row.Columns
	if expect == nil {
		expect = make([]Value, scheduledColumns)
		expect[scheduledState] = number(uint64(chat.ScheduledPending))
	}
	applied, found, err := s.engine.CompareAndSet(ctx, TableScheduled, p, c, expect, expect)
	switch {
	case err != nil:
		return false, fail(err, "look for", what)
	case applied:
		found = row
	}
	if found.Columns != nil {
		m, err := decodeScheduled(&d.User, d.ID, found.Columns)
		if err != nil || m.Turn == d.Turn && m.Due.Equal(d.Due) {
			return false, fail(err, "look for", what)
		}
	}
	return true, fail(s.deleteDue(ctx, d), "forget", what)
}

// DueScheduled calls yield for the entries of a slot of the calendar from one time until before another, in their order,
// until it returns false.
func (s *Store) DueScheduled(ctx context.Context, slot int, from, to time.Time, yield func(chat.ScheduledDue) bool) error {
	rng := Range{Table: TableScheduledDue, Partition: Key{number(uint64(slot))}, To: Key{{Set: true, I: to.UnixMicro()}}}
	if !from.IsZero() {
		rng.From = Key{{Set: true, I: from.UnixMicro()}}
	}
	var failed error
	err := s.engine.Scan(ctx, rng, func(r Row) bool {
		d := chat.ScheduledDue{Due: time.UnixMicro(r.Clustering[0].I).UTC(), Turn: r.Clustering[4].uint(),
			User: chat.UserKey{Tenant: chat.TenantID(r.Clustering[1].string()), User: chat.UserID(r.Clustering[2].string())}}
		if d.ID, failed = r.Clustering[3].uuid("id"); failed != nil {
			return false
		}
		d.Key.Tenant = d.User.Tenant
		if d.Key.ID, failed = r.Columns[0].uuid("conversation"); failed != nil {
			return false
		}
		return yield(d)
	})
	return fail(errors.Join(err, failed), "read the calendar of", slotName(slot))
}

type slotName int

func (n slotName) String() string { return fmt.Sprintf("slot %d", int(n)) }

// GetDueScheduled returns what entries of the calendar are about; the zero value where there is nothing.
func (s *Store) GetDueScheduled(ctx context.Context, list []chat.ScheduledDue) ([]chat.Scheduled, error) {
	keys := make([]FullKey, len(list))
	for i := range list {
		keys[i] = FullKey{scheduledPartition(&list[i].User), Key{blob(list[i].ID[:])}}
	}
	rows, err := s.engine.GetMany(ctx, TableScheduled, keys)
	if err != nil {
		return nil, fail(err, "read", dueMessages{})
	}
	out := make([]chat.Scheduled, len(list))
	for i, r := range rows {
		if r.Columns == nil {
			continue
		}
		if out[i], err = decodeScheduled(&list[i].User, list[i].ID, r.Columns); err != nil {
			return nil, fail(err, "read", scheduledKey{list[i].User, list[i].ID})
		}
	}
	return out, nil
}

type dueMessages struct{}

func (dueMessages) String() string { return "scheduled messages that are due" }
