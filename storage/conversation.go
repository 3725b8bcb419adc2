package storage

import (
	"context"
	"fmt"
	"strings"

	"github.com/zumodra/hub/chat"
)

// The two kinds of rows in a conversation's partition set all their columns but those that are never taken back.

func (a *arena) headColumns(h *chat.Head) []Value {
	c := a.take(convColumns)
	c[convKind], c[convName], c[convCreatedBy] = number(uint64(h.Kind)), text(h.Name), text(h.CreatedBy)
	c[convCreatedAt], c[convUpdatedAt] = moment(h.CreatedAt), moment(h.UpdatedAt)
	c[convSeq], c[convEpoch], c[convMsgNo] = number(h.Seq), number(h.Epoch), number(h.MsgNo)
	c[convMemberCount] = number(uint64(h.MemberCount))
	if h.Last.Seq != 0 {
		c[convLastSeq], c[convLastID], c[convLastSender] = number(h.Last.Seq), blob(h.Last.ID[:]), text(h.Last.Sender)
		c[convLastText], c[convLastAt] = text(h.Last.Text), moment(h.Last.At)
	}
	c[convPermissions] = optionalNumber(packPermissions(h.Permissions))
	if h.Pins != nil { // also when the last one was taken back
		c[convPins] = blob(a.keep(len(h.Pins)*len(chat.MessageID{}), func(b []byte) []byte {
			for i := range h.Pins {
				b = append(b, h.Pins[i][:]...)
			}
			return b
		}))
	}
	return c
}

func decodeHead(key chat.ConversationKey, c []Value) (h chat.Head, err error) {
	h.Key = key
	if h.Kind, err = small(c[convKind], chat.Group, "kind"); err != nil {
		return h, err
	}
	h.Name, h.CreatedBy = c[convName].string(), chat.UserID(c[convCreatedBy].string())
	h.CreatedAt, h.UpdatedAt = c[convCreatedAt].time(), c[convUpdatedAt].time()
	h.Seq, h.Epoch, h.MsgNo = c[convSeq].uint(), c[convEpoch].uint(), c[convMsgNo].uint()
	h.MemberCount = int(c[convMemberCount].I)
	h.Last.Seq, h.Last.Sender = c[convLastSeq].uint(), chat.UserID(c[convLastSender].string())
	h.Last.Text, h.Last.At = c[convLastText].string(), c[convLastAt].time()
	if h.Permissions, err = unpackPermissions(c[convPermissions]); err != nil {
		return h, err
	}
	for b := c[convPins].B; len(b) > 0; {
		var id chat.MessageID
		if len(b) < len(id) {
			return h, fmt.Errorf("%w: pins are cut off", ErrCorrupt)
		}
		h.Pins, b = append(h.Pins, chat.MessageID(b[:len(id)])), b[len(id):]
	}
	h.Last.ID, err = c[convLastID].uuid("last_id")
	if err == nil && (h.Seq == 0 || h.Seq > maxSeq || h.MemberCount < 0) {
		err = fmt.Errorf("%w: head has seq %d, %d members", ErrCorrupt, h.Seq, h.MemberCount)
	}
	return h, err
}

// packPermissions holds a role in each byte. What was once set stays set.
func packPermissions(p chat.Permissions) uint64 {
	return uint64(p.Add) | uint64(p.Pin)<<8 | uint64(p.MentionAll)<<16
}

func unpackPermissions(v Value) (chat.Permissions, error) {
	n := v.uint()
	p := chat.Permissions{Add: chat.Role(n & 0xff), Pin: chat.Role(n >> 8 & 0xff), MentionAll: chat.Role(n >> 16 & 0xff)}
	if n>>24 != 0 || !p.Valid() {
		return p, fmt.Errorf("%w: permissions are %#x", ErrCorrupt, n)
	}
	return p, nil
}

func (a *arena) memberRow(user chat.UserID) Key {
	k := Key(a.take(1))
	k[0] = blob(a.keep(len(rowMember)+len(user), func(b []byte) []byte { return append(append(b, rowMember...), user...) }))
	return k
}

func (a *arena) memberColumns(m *chat.Member) []Value {
	c := a.take(convColumns)
	c[convRole], c[convJoinedAt], c[convJoinedSeq] = number(uint64(m.Role)), moment(m.JoinedAt), number(m.JoinedSeq)
	c[convReadSeq], c[convReadMsgNo], c[convReadAt] = number(m.Read.Seq), number(m.Read.MsgNo), moment(m.Read.At)
	c[convDeliveredSeq], c[convDeliveredMsgNo] = number(m.Delivered.Seq), number(m.Delivered.MsgNo)
	c[convDeliveredAt] = moment(m.Delivered.At)
	c[convOwnAfterRead], c[convArchivedAt], c[convHidden] = number(m.OwnAfterRead), number(m.ArchivedAt), number(m.Hidden)
	c[convOwn] = blob(a.keep(0, func(b []byte) []byte { return appendPersonal(b, m) })) // also when it is taken back
	return c
}

func decodeMember(user chat.UserID, c []Value) (m chat.Member, err error) {
	m.User = user
	if m.Role, err = small(c[convRole], chat.RoleOwner, "role"); err != nil {
		return m, err
	}
	m.JoinedAt, m.JoinedSeq = c[convJoinedAt].time(), c[convJoinedSeq].uint()
	m.Read = chat.Watermark{Seq: c[convReadSeq].uint(), MsgNo: c[convReadMsgNo].uint(), At: c[convReadAt].time()}
	m.Delivered = chat.Watermark{Seq: c[convDeliveredSeq].uint(), MsgNo: c[convDeliveredMsgNo].uint(), At: c[convDeliveredAt].time()}
	m.OwnAfterRead, m.ArchivedAt, m.Hidden = c[convOwnAfterRead].uint(), c[convArchivedAt].uint(), c[convHidden].uint()
	err = decodePersonal(c[convOwn].B, &m)
	return m, err
}

var (
	headRow     = Key{{Set: true, B: []byte(rowHead)}}
	deletingRow = Key{{Set: true, B: []byte(rowDeleting)}}
)

// LoadConversation returns the derived state of a conversation, members by user id; Head.Seq is the last event it was
// derived from. chat.ErrNotFound if there is none. A deletion that was interrupted is finished first, with strict fencing by the owner alone.
func (s *Store) LoadConversation(ctx context.Context, key chat.ConversationKey) (chat.Head, []chat.Member, error) {
	var head chat.Head
	var members []chat.Member
	deleting, err := s.scanConversation(ctx, key, func(h chat.Head) {
		head, members = h, make([]chat.Member, 0, min(h.MemberCount, 1<<16))
	}, func(m chat.Member) { members = append(members, m) })
	if err != nil {
		return chat.Head{}, nil, fail(err, "load conversation", key)
	}
	if deleting != nil && s.writesLogs() {
		if err := s.finishDeletion(ctx, key, *deleting); err != nil {
			return chat.Head{}, nil, fail(err, "finish deletion of", key)
		}
	}
	if deleting != nil || head.Seq == 0 {
		return chat.Head{}, nil, fail(ErrNoRow, "load conversation", key)
	}
	return head, members, nil
}

// scanConversation passes what a conversation's partition holds; the head comes before the members.
func (s *Store) scanConversation(ctx context.Context, key chat.ConversationKey, head func(chat.Head), member func(chat.Member)) (deleting *deletion, err error) {
	var failed error
	err = s.engine.Scan(ctx, Range{Table: TableConversation, Partition: conversationPartition(&key)}, func(r Row) bool {
		switch row := r.Clustering[0].string(); {
		case row == rowHead:
			var h chat.Head
			if h, failed = decodeHead(key, r.Columns); failed == nil {
				head(h)
			}
		case row == rowDeleting:
			deleting, failed = decodeDeletion(r.Columns)
		case strings.HasPrefix(row, rowMember):
			var m chat.Member
			if m, failed = decodeMember(chat.UserID(row[len(rowMember):]), r.Columns); failed == nil {
				member(m)
			}
		default:
			failed = fmt.Errorf("%w: row %q of a conversation", ErrCorrupt, row)
		}
		return failed == nil
	})
	if err == nil {
		err = failed
	}
	return deleting, err
}

// GetHead returns a conversation's head, the zero Head if there is none.
func (s *Store) GetHead(ctx context.Context, key chat.ConversationKey) (chat.Head, error) {
	heads, err := s.GetHeads(ctx, []chat.ConversationKey{key})
	if err != nil {
		return chat.Head{}, err
	}
	return heads[0], nil
}

// GetHeads returns the heads of conversations in one read, the zero Head where there is none.
func (s *Store) GetHeads(ctx context.Context, keys []chat.ConversationKey) ([]chat.Head, error) {
	heads := make([]chat.Head, len(keys))
	rows, err := s.rowsOf(ctx, keys, headRow)
	if err != nil {
		return nil, fail(err, "read heads of", count(len(keys)))
	}
	for i := range rows {
		if rows[i].Columns == nil {
			continue
		}
		if heads[i], err = decodeHead(keys[i], rows[i].Columns); err != nil {
			return nil, fail(err, "read head of", keys[i])
		}
	}
	return heads, nil
}

// GetMembers returns the membership of one user in conversations in one read, the zero Member where there is none.
func (s *Store) GetMembers(ctx context.Context, keys []chat.ConversationKey, user chat.UserID) ([]chat.Member, error) {
	members := make([]chat.Member, len(keys))
	rows, err := s.rowsOf(ctx, keys, Key{text(rowMember + string(user))})
	if err != nil {
		return nil, fail(err, "read memberships of", count(len(keys)))
	}
	for i := range rows {
		if rows[i].Columns == nil {
			continue
		}
		if members[i], err = decodeMember(user, rows[i].Columns); err != nil {
			return nil, fail(err, "read membership of", keys[i])
		}
	}
	return members, nil
}

func (s *Store) rowsOf(ctx context.Context, keys []chat.ConversationKey, row Key) ([]Row, error) {
	full, values := make([]FullKey, len(keys)), make([]Value, 2*len(keys))
	for i := range keys {
		p := values[2*i : 2*i+2 : 2*i+2]
		p[0], p[1] = text(keys[i].Tenant), blob(keys[i].ID[:])
		full[i] = FullKey{Partition: p, Clustering: row}
	}
	return s.engine.GetMany(ctx, TableConversation, full)
}

// count names a number of things in an error.
type count int

func (n count) String() string { return fmt.Sprintf("%d keys", int(n)) }

// SaveDerived writes a step of derived state, relaxed: what a crash takes away is derived from the log again. Rewritten
// log rows, client ids and the lists of those who joined or left come first; last, in one batch, the members and the
// head, whose Seq thereby says that all of it is there. A head of a newer epoch is not overwritten (ErrFenced).
func (s *Store) SaveDerived(ctx context.Context, key chat.ConversationKey, d chat.Derived) error {
	if d.Head.Seq == 0 || d.Head.Seq > maxSeq {
		return fmt.Errorf("save %s: %w: head has seq %d", key, chat.ErrInvalid, d.Head.Seq)
	}
	before, err := s.GetHead(ctx, key)
	if err != nil {
		return err
	}
	if s.epoch > 0 && before.Epoch > s.epoch {
		return fail(fmt.Errorf("%w: %w: the head is of epoch %d, ours is %d", chat.ErrFenced, ErrFenced, before.Epoch, s.epoch), "save", key)
	}
	if before.Epoch > d.Head.Epoch {
		return fail(fmt.Errorf("%w: %d, not %d", ErrFenced, before.Epoch, d.Head.Epoch), "save", key)
	}
	a := s.arena()
	defer s.release(a)
	if err := s.rewrite(ctx, a, key, d.Rewritten); err != nil {
		return fail(err, "rewrite events of", key)
	}
	if err := s.saveSent(ctx, a, key, d.Sent); err != nil {
		return fail(err, "save client ids of", key)
	}
	if err := s.saveReplies(ctx, a, key, d.Replies); err != nil {
		return fail(err, "save replies of", key)
	}
	if err := s.saveMemberships(ctx, key, &d, before.Seq); err != nil {
		return fail(err, "save memberships of", key)
	}
	a.reset()
	for i := range d.Members {
		a.put(a.memberRow(d.Members[i].User), a.memberColumns(&d.Members[i]))
	}
	for _, u := range d.Removed {
		a.delete(a.memberRow(u))
	}
	a.put(headRow, a.headColumns(&d.Head))
	return fail(s.engine.Apply(ctx, Batch{Table: TableConversation, Partition: a.conversation(&key), Mutations: a.mutations,
		Durability: Relaxed}), "save", key)
}

func (a *arena) reset() { a.mutations, a.values, a.bytes = a.mutations[:0], a.values[:0], a.bytes[:0] }

// rewrite writes rows of the log that show the present, a batch per bucket they lie in.
func (s *Store) rewrite(ctx context.Context, a *arena, key chat.ConversationKey, events []chat.Event) error {
	for i := 0; i < len(events); {
		bucket := bucketOf(events[i].Seq)
		a.reset()
		for ; i < len(events) && bucketOf(events[i].Seq) == bucket; i++ {
			a.eventMutation(&events[i])
		}
		if err := s.applyLog(ctx, Batch{Table: TableLog, Partition: a.logPartition(&key, bucket), Mutations: a.mutations,
			Durability: Relaxed}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) saveSent(ctx context.Context, a *arena, key chat.ConversationKey, sent []chat.SentMessage) error {
	for i := 0; i < len(sent); {
		sender := sent[i].Sender
		a.reset()
		for ; i < len(sent) && sent[i].Sender == sender; i++ {
			k, c := Key(a.take(1)), a.take(1)
			k[0], c[0] = text(sent[i].ClientID), number(sent[i].Seq)
			a.put(k, c)
		}
		a.conversation(&key)
		a.partition[2] = text(sender)
		if err := s.engine.Apply(ctx, Batch{Table: TableDedup, Partition: a.partition[:3], Mutations: a.mutations,
			Durability: Relaxed}); err != nil {
			return err
		}
	}
	return nil
}

// saveMemberships writes the lists of users who joined after event since, and of those who left.
func (s *Store) saveMemberships(ctx context.Context, key chat.ConversationKey, d *chat.Derived, since uint64) error {
	var joined []*chat.Member
	for i := range d.Members {
		if m := &d.Members[i]; m.JoinedSeq > since || since == 0 {
			joined = append(joined, m)
		}
	}
	return s.each(ctx, len(joined)+len(d.Removed), func(ctx context.Context, i int) error {
		m := Mutation{Clustering: Key{blob(key.ID[:])}, Delete: true}
		var user chat.UserID
		if i < len(joined) {
			user = joined[i].User
			m.Delete, m.Whole = false, true
			m.Columns = []Value{number(uint64(d.Head.Kind)), moment(joined[i].JoinedAt)}
		} else {
			user = d.Removed[i-len(joined)]
			if err := s.dropPersonal(ctx, &key, user); err != nil {
				return err
			}
		}
		return s.engine.Apply(ctx, Batch{Table: TableMemberships, Partition: Key{text(key.Tenant), text(user)},
			Mutations: []Mutation{m}, Durability: Relaxed})
	})
}

// SaveWatermarks durably writes members whose positions advanced, and their receipts. The receipts come first: a
// position is never known without them.
func (s *Store) SaveWatermarks(ctx context.Context, key chat.ConversationKey, members []chat.Member, receipts []chat.Receipt) error {
	a := s.arena()
	defer s.release(a)
	for _, kind := range [...]chat.ReceiptKind{chat.ReceiptRead, chat.ReceiptDelivered} {
		a.reset()
		for i := range receipts {
			if r := &receipts[i]; r.Kind == kind {
				k, c := Key(a.take(2)), a.take(2)
				k[0], k[1], c[0], c[1] = number(r.Seq), text(r.User), moment(r.At), number(r.From)
				a.put(k, c)
			}
		}
		if len(a.mutations) == 0 {
			continue
		}
		a.conversation(&key)
		a.partition[2] = number(uint64(kind))
		// Where the engine has one log, the members' batch makes this one durable with it, for one sync.
		durability := Relaxed
		if len(members) == 0 {
			durability = Durable
		}
		if err := s.engine.Apply(ctx, Batch{Table: TableReceipts, Partition: a.partition[:3], Mutations: a.mutations,
			Durability: durability}); err != nil {
			return fail(err, "save receipts of", key)
		}
	}
	if len(members) == 0 {
		return nil
	}
	a.reset()
	for i := range members {
		a.put(a.memberRow(members[i].User), a.memberColumns(&members[i]))
	}
	return fail(s.engine.Apply(ctx, Batch{Table: TableConversation, Partition: a.conversation(&key), Mutations: a.mutations}),
		"save watermarks of", key)
}

// receiptScanRows bounds what one page of receipts reads.
const receiptScanRows = 20_000

// ListReceipts returns, for each user whose position of that kind has reached seq, the advance that did, a page at a time.
// Users who have left may be among them. In rows from before schema 5, which do not say where an advance began, a user may
// be on several pages.
func (s *Store) ListReceipts(ctx context.Context, key chat.ConversationKey, q chat.ReceiptQuery) (page chat.ReceiptPage, err error) {
	limit := min(max(q.Limit, 1), 1000)
	r := Range{Table: TableReceipts, Partition: Key{text(key.Tenant), blob(key.ID[:]), number(uint64(q.Kind))},
		From: Key{{Set: true, I: clamp(q.Seq)}}, Limit: receiptScanRows}
	if q.After > 0 {
		r.From = Key{{Set: true, I: clamp(q.After)}, text(q.AfterUser)}
	}
	rows := 0
	old := make(map[chat.UserID]bool)
	err = s.engine.Scan(ctx, r, func(row Row) bool {
		if len(page.Receipts) == limit {
			page.More = true
			return false
		}
		if rows++; q.After > 0 && row.Clustering[0].uint() == q.After && row.Clustering[1].string() == string(q.AfterUser) {
			return true
		}
		c := chat.Receipt{User: chat.UserID(row.Clustering[1].string()), Kind: q.Kind, Seq: row.Clustering[0].uint(),
			From: row.Columns[1].uint(), At: row.Columns[0].time()}
		page.Next, page.NextUser = c.Seq, c.User
		switch {
		case !row.Columns[1].Set && old[c.User], c.From >= q.Seq:
			return true
		case !row.Columns[1].Set:
			old[c.User] = true
		}
		page.Receipts = append(page.Receipts, c)
		return true
	})
	page.More = page.More || rows == receiptScanRows
	return page, fail(err, "list receipts of", key)
}

// CountReaders counts the members, but for sender, who were members when the event seq happened and show that they have
// read it. Those who became members with it or later are in late, by user id: what they read, if they were members before,
// does not count.
func (s *Store) CountReaders(ctx context.Context, key chat.ConversationKey, sender chat.UserID, seq uint64) (n int, late []chat.UserID, err error) {
	_, err = s.scanConversation(ctx, key, func(chat.Head) {}, func(m chat.Member) {
		if m.JoinedSeq >= seq {
			late = append(late, m.User)
		} else if m.User != sender && m.HasRead(seq) {
			n++
		}
	})
	return n, late, fail(err, "count readers of", key)
}

// FindDuplicates returns the seq of the message that each sender and client id became, 0 where there is none, in one
// read. Ids are known for DedupTTL after SaveDerived.
func (s *Store) FindDuplicates(ctx context.Context, key chat.ConversationKey, ids []chat.SenderClientID) ([]uint64, error) {
	a := s.arena()
	defer s.release(a)
	conversation := a.conversation(&key)
	for i := range ids {
		v := a.take(4)
		copy(v, conversation)
		v[2], v[3] = text(ids[i].Sender), text(ids[i].ClientID)
		a.keys = append(a.keys, FullKey{v[:3], v[3:]})
	}
	rows, err := s.engine.GetMany(ctx, TableDedup, a.keys)
	if err != nil {
		return nil, fail(err, "look up client ids of", key)
	}
	seqs := make([]uint64, len(ids))
	for i := range rows {
		if rows[i].Columns != nil {
			seqs[i] = rows[i].Columns[0].uint()
		}
	}
	return seqs, nil
}
