package storage

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/zumodra/hub/chat"
)

// Columns of TableHidden and TableDrafts.
const (
	hiddenMsgNo = iota
	hiddenReplyTo
	hiddenOwn
	hiddenColumns
)

const (
	draftText = iota
	draftReplyTo
	draftAt
	draftColumns
)

func hiddenPartition(key *chat.ConversationKey, user chat.UserID) Key {
	return Key{text(key.Tenant), blob(key.ID[:]), text(user)}
}

func userPartition(t chat.TenantID, user chat.UserID) Key { return Key{text(t), text(user)} }

// SavePersonal writes rows that members keep for themselves, relaxed: the SaveWatermarks of those members, without which
// nobody looks for them, follows.
func (s *Store) SavePersonal(ctx context.Context, key chat.ConversationKey, p chat.Personal) error {
	for i := range p.Hidden {
		h := &p.Hidden[i]
		c := make([]Value, hiddenColumns)
		c[hiddenMsgNo], c[hiddenReplyTo], c[hiddenOwn] = number(h.MsgNo), optionalNumber(h.ReplyTo), optionalBool(h.Own)
		if err := s.engine.Apply(ctx, Batch{Table: TableHidden, Partition: hiddenPartition(&key, h.User), Durability: Relaxed,
			Mutations: []Mutation{{Clustering: Key{number(h.Seq)}, Columns: c, Whole: true}}}); err != nil {
			return fail(err, "save hidden messages of", key)
		}
	}
	for i := range p.Drafts {
		d := &p.Drafts[i]
		m := Mutation{Clustering: Key{blob(key.ID[:])}, Delete: d.Text == ""}
		if !m.Delete {
			m.Columns = make([]Value, draftColumns)
			m.Columns[draftText], m.Columns[draftReplyTo] = text(d.Text), blob(nil)
			if !d.ReplyTo.IsZero() {
				m.Columns[draftReplyTo].B = d.ReplyTo[:]
			}
			m.Columns[draftAt] = moment(d.At)
		}
		if err := s.engine.Apply(ctx, Batch{Table: TableDrafts, Partition: userPartition(key.Tenant, d.User), Durability: Relaxed,
			Mutations: []Mutation{m}}); err != nil {
			return fail(err, "save drafts of", key)
		}
	}
	return nil
}

// dropPersonal removes what somebody kept who is a member no more.
func (s *Store) dropPersonal(ctx context.Context, key *chat.ConversationKey, user chat.UserID) error {
	if err := s.deletePartition(ctx, TableHidden, hiddenPartition(key, user), Relaxed); err != nil {
		return err
	}
	return s.engine.Apply(ctx, Batch{Table: TableDrafts, Partition: userPartition(key.Tenant, user), Durability: Relaxed,
		Mutations: []Mutation{{Clustering: Key{blob(key.ID[:])}, Delete: true}}})
}

// ListHidden returns the messages that a member has hidden, by seq. chat.MaxHidden bounds them.
func (s *Store) ListHidden(ctx context.Context, key chat.ConversationKey, user chat.UserID) ([]chat.HiddenMessage, error) {
	var list []chat.HiddenMessage
	err := s.engine.Scan(ctx, Range{Table: TableHidden, Partition: hiddenPartition(&key, user)}, func(r Row) bool {
		list = append(list, chat.HiddenMessage{Seq: r.Clustering[0].uint(), MsgNo: r.Columns[hiddenMsgNo].uint(),
			ReplyTo: r.Columns[hiddenReplyTo].uint(), Own: r.Columns[hiddenOwn].bool()})
		return true
	})
	return list, fail(err, "list hidden messages of", key)
}

// AreHidden reports of each of the messages, all of one tenant, whether the user has hidden it, in one read.
func (s *Store) AreHidden(ctx context.Context, user chat.UserID, refs []chat.EventRef) ([]bool, error) {
	keys := make([]FullKey, len(refs))
	for i := range refs {
		keys[i] = FullKey{Partition: hiddenPartition(&refs[i].Key, user), Clustering: Key{number(refs[i].Seq)}}
	}
	rows, err := s.engine.GetMany(ctx, TableHidden, keys)
	if err != nil {
		return nil, fail(err, "look up hidden messages of", count(len(refs)))
	}
	hidden := make([]bool, len(refs))
	for i := range rows {
		hidden[i] = rows[i].Columns != nil
	}
	return hidden, nil
}

// GetDrafts returns the user's drafts in conversations, in one read: without text where there is none.
func (s *Store) GetDrafts(ctx context.Context, k chat.UserKey, ids []chat.ConversationID) ([]chat.Draft, error) {
	keys := make([]FullKey, len(ids))
	for i := range ids {
		keys[i] = FullKey{Partition: userPartition(k.Tenant, k.User), Clustering: Key{blob(ids[i][:])}}
	}
	rows, err := s.engine.GetMany(ctx, TableDrafts, keys)
	if err != nil {
		return nil, fail(err, "read drafts of", k)
	}
	drafts := make([]chat.Draft, len(ids))
	for i := range rows {
		drafts[i].Conversation = ids[i]
		if c := rows[i].Columns; c != nil {
			drafts[i].Text, drafts[i].At = c[draftText].string(), c[draftAt].time()
			if len(c[draftReplyTo].B) == 0 { // set, and none
				continue
			}
			if drafts[i].ReplyTo, err = c[draftReplyTo].uuid("reply_to"); err != nil {
				return nil, fail(err, "read drafts of", k)
			}
		}
	}
	return drafts, nil
}

// appendPersonal packs what the member's own row says of it: nothing for most members.
func appendPersonal(b []byte, m *chat.Member) []byte {
	if m.HiddenMessages == 0 && m.MutedUntil.IsZero() && m.PinnedAt.IsZero() && m.DraftAt.IsZero() {
		return b
	}
	for _, n := range [...]uint64{m.HiddenMessages, m.HiddenLast, m.HiddenUnread, micros(m.MutedUntil), micros(m.PinnedAt), micros(m.DraftAt)} {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func decodePersonal(b []byte, m *chat.Member) error {
	if len(b) == 0 {
		return nil
	}
	var n [6]uint64
	for i := range n {
		k := 0
		if n[i], k = binary.Uvarint(b); k <= 0 {
			return fmt.Errorf("%w: what a member keeps is cut off", ErrCorrupt)
		}
		b = b[k:]
	}
	m.HiddenMessages, m.HiddenLast, m.HiddenUnread = n[0], n[1], n[2]
	m.MutedUntil, m.PinnedAt, m.DraftAt = fromMicros(n[3]), fromMicros(n[4]), fromMicros(n[5])
	return nil
}

// micros are those since the Unix epoch, which none of these times comes before; 0: the zero time.
func micros(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(max(t.UnixMicro(), 0))
}

func fromMicros(n uint64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(n)).UTC()
}
