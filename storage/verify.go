package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/zumodra/hub/chat"
)

// Problem is one thing that Verify found wrong.
type Problem struct {
	Table string // empty: not one table's
	Key   string // readable where the key is, else hexadecimal
	Text  string
}

func (p Problem) String() string {
	switch {
	case p.Table == "":
		return p.Text
	case p.Key == "":
		return p.Table + ": " + p.Text
	}
	return p.Table + " " + p.Key + ": " + p.Text
}

// Summary of what Verify saw.
type Summary struct {
	Rows          uint64 // of all tables
	Conversations uint64
	Events        uint64
	Late          uint64 // rows that former owners wrote too late: harmless, never read
	Behind        uint64 // conversations whose derived state will be brought up to the log when they are used
	Deleting      uint64 // conversations whose deletion will be finished when they are used
	Unsettled     uint64 // pairs of users whose lists will be written again at the next start
	Files         uint64 // of the engine whose checksums were verified
	Problems      uint64
}

// Verify reads every row and checks what must hold of them: each log is 1, 2, 3 … under epochs and times that never
// fall, with right message numbers and ids; heads, members, positions and the users' lists agree with it and with one
// another. It reports every violation and returns an error only if it could not go on. Nothing may write meanwhile. It
// keeps about 100 bytes per conversation in memory.
func (s *Store) Verify(ctx context.Context, report func(Problem)) (Summary, error) {
	v := &verifier{store: s, report: report, conversations: make(map[chat.ConversationKey]uint64)}
	if err := v.tables(ctx); err != nil {
		return v.sum, fmt.Errorf("verify: %w", err)
	}
	for key, last := range v.conversations {
		if err := v.conversation(ctx, key, last); err != nil {
			return v.sum, fmt.Errorf("verify %s: %w", key, err)
		}
	}
	if err := v.memberships(ctx); err != nil {
		return v.sum, fmt.Errorf("verify: %w", err)
	}
	if err := v.people(ctx); err != nil {
		return v.sum, fmt.Errorf("verify: %w", err)
	}
	v.sum.Conversations = uint64(len(v.conversations))
	return v.sum, nil
}

type verifier struct {
	store         *Store
	report        func(Problem)
	sum           Summary
	conversations map[chat.ConversationKey]uint64 // last bucket
	unsettled     map[chat.ConversationKey]bool   // behind or being deleted: lists may differ
}

func (v *verifier) problem(t *Table, key fmt.Stringer, format string, args ...any) {
	v.sum.Problems++
	p := Problem{Table: t.Name, Text: fmt.Sprintf(format, args...)}
	if key != nil {
		p.Key = key.String()
	}
	v.report(p)
}

func keyOf(tenant, id Value) (k chat.ConversationKey, err error) {
	k.Tenant = chat.TenantID(tenant.string())
	k.ID, err = id.uuid("conversation")
	return k, err
}

// tables reads all rows once, checks those that stand alone and finds the conversations.
func (v *verifier) tables(ctx context.Context) error {
	for _, t := range Tables() {
		err := v.store.engine.ScanTable(ctx, t, func(p Key, r Row) bool {
			v.sum.Rows++
			var key chat.ConversationKey
			var err error
			switch t {
			case TableLog, TableConversation:
				if key, err = keyOf(p[0], p[1]); err == nil {
					last := v.conversations[key]
					if t == TableLog {
						last = max(last, p[2].uint())
					}
					v.conversations[key] = last
				}
			case TableReceipts, TableDedup:
				_, err = keyOf(p[0], p[1])
			case TableDirty:
				key, err = keyOf(r.Clustering[0], r.Clustering[1])
				if err == nil && key.Shard() != int(p[0].I) {
					err = fmt.Errorf("stands in shard %d, not %d", p[0].I, key.Shard())
				}
			case TableFiles:
				var id chat.FileID
				if id, err = p[1].uuid("file"); err == nil {
					_, err = decodeFileRow(chat.TenantID(p[0].string()), id, r.Columns)
				}
			case TableNodeLeases, TableShardOwners:
				err = checkCluster(t, p, r)
			case TableTenants, TableKeys, TableRestrictions, TableAudit:
				err = checkTenancy(t, p, r)
			}
			if err != nil {
				v.problem(t, rowName{p, r.Clustering}, "%v", err)
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// rowName shows the key of a row.
type rowName struct{ partition, clustering Key }

func (n rowName) String() string {
	s := ""
	for _, k := range []Key{n.partition, n.clustering} {
		for _, v := range k {
			if v.B != nil {
				s += fmt.Sprintf("%q ", v.B)
			} else {
				s += fmt.Sprintf("%d ", v.I)
			}
		}
	}
	return s
}

// conversation checks one log and what is derived from it.
func (v *verifier) conversation(ctx context.Context, key chat.ConversationKey, lastBucket uint64) error {
	var head chat.Head
	var members []chat.Member
	deleting := false
	conversationErr := v.store.engine.Scan(ctx, Range{Table: TableConversation, Partition: conversationPartition(&key)}, func(r Row) bool {
		row := r.Clustering[0].string()
		var err error
		switch {
		case row == rowHead:
			head, err = decodeHead(key, r.Columns)
		case row == rowDeleting:
			deleting = true
			_, err = decodeDeletion(r.Columns)
		case len(row) > len(rowMember) && row[:len(rowMember)] == rowMember:
			var m chat.Member
			if m, err = decodeMember(chat.UserID(row[len(rowMember):]), r.Columns); err == nil {
				members = append(members, m)
			}
		default:
			err = fmt.Errorf("unknown row %q", row)
		}
		if err != nil {
			v.problem(TableConversation, key, "row %q: %v", row, err)
		}
		return true
	})
	if conversationErr != nil {
		return conversationErr
	}
	if deleting {
		v.sum.Deleting++
		v.unsettle(key)
		return nil
	}
	l := logCheck{v: v, key: key, head: &head}
	for bucket := uint64(0); bucket <= lastBucket; bucket++ {
		l.bucket, l.clients = bucket, make(map[chat.SenderClientID]time.Time)
		if err := v.store.engine.Scan(ctx, Range{Table: TableLog, Partition: logKey(&key, bucket)}, l.add); err != nil {
			return err
		}
	}
	l.flush()
	v.derived(key, &head, members, &l)
	return nil
}

func (v *verifier) unsettle(key chat.ConversationKey) {
	if v.unsettled == nil {
		v.unsettled = make(map[chat.ConversationKey]bool)
	}
	v.unsettled[key] = true
}

func (v *verifier) derived(key chat.ConversationKey, head *chat.Head, members []chat.Member, l *logCheck) {
	if head.Seq < l.seq {
		v.sum.Behind++
		v.unsettle(key)
	}
	if head.Seq == 0 {
		if len(members) > 0 {
			v.problem(TableConversation, key, "%d members but no head", len(members))
		}
		return
	}
	if head.Seq > l.seq {
		v.problem(TableConversation, key, "head is at %d, the log ends at %d", head.Seq, l.seq)
	} else if l.atHead.Epoch != head.Epoch || l.atHead.MsgNo != head.MsgNo {
		v.problem(TableConversation, key, "head has epoch %d and msg_no %d, its event %d has %d and %d", head.Epoch, head.MsgNo, head.Seq,
			l.atHead.Epoch, l.atHead.MsgNo)
	}
	if head.MemberCount != len(members) {
		v.problem(TableConversation, key, "head counts %d members, there are %d", head.MemberCount, len(members))
	}
	for i := range members {
		m := &members[i]
		if m.Read.Seq > l.seq || m.Delivered.Seq > l.seq || m.JoinedSeq > l.seq {
			v.problem(TableConversation, key, "member %s joined at %d, received up to %d and read up to %d of %d events", m.User,
				m.JoinedSeq, m.Delivered.Seq, m.Read.Seq, l.seq)
		}
	}
}

// logCheck goes through the rows of a log in order. Of the rows of one seq the last that holds counts.
type logCheck struct {
	v       *verifier
	key     chat.ConversationKey
	head    *chat.Head
	bucket  uint64
	seq     uint64 // of the last event, as are epoch, msgNo and at
	epoch   uint64
	msgNo   uint64
	at      time.Time
	atHead  chat.Event
	broken  bool       // a gap was reported: what follows is not checked against what precedes
	pending chat.Event // the best row of seq+1 so far, if its Seq is not 0
	clients map[chat.SenderClientID]time.Time
}

func (l *logCheck) problem(format string, args ...any) { l.v.problem(TableLog, l.key, format, args...) }

func (l *logCheck) add(r Row) bool {
	e, err := decodeEvent(r)
	if err != nil {
		l.problem("event %d epoch %d: %v", r.Clustering[0].I, r.Clustering[1].I, err)
		return true
	}
	if bucketOf(e.Seq) != l.bucket || e.Seq == 0 {
		l.problem("event %d stands in bucket %d", e.Seq, l.bucket)
		return true
	}
	if e.Seq != l.pending.Seq {
		l.flush()
	}
	if e.Epoch < l.epoch {
		l.v.sum.Late++
		return true
	}
	if e.Seq > l.seq+1 && l.pending.Seq == 0 {
		l.problem("events %d to %d are missing", l.seq+1, e.Seq-1)
		l.broken = true
	}
	if l.pending.Seq != 0 {
		l.v.sum.Late++ // covered by this newer row of the same seq
	}
	l.pending = e
	return true
}

// flush takes the pending event into the log.
func (l *logCheck) flush() {
	e := l.pending
	if e.Seq == 0 {
		return
	}
	l.pending = chat.Event{}
	l.v.sum.Events++
	expect := l.msgNo
	if e.IsMessage() {
		expect++
		if e.Message.Seq() != e.Seq || !e.Message.MayBelongTo(l.key) {
			l.problem("message %d has the id %s of another place", e.Seq, e.Message)
		}
		if e.ClientID != "" {
			id := chat.SenderClientID{Sender: e.Actor, ClientID: e.ClientID}
			if first, ok := l.clients[id]; ok && e.At.Sub(first) < DedupTTL {
				l.problem("event %d repeats a client id of its sender", e.Seq)
			}
			l.clients[id] = e.At
		}
	}
	if e.MsgNo != expect && !l.broken {
		l.problem("event %d has msg_no %d, not %d", e.Seq, e.MsgNo, expect)
	}
	if e.At.Before(l.at) {
		l.problem("event %d is older than its predecessor", e.Seq)
	}
	if e.Seq == 1 && (e.Type != chat.EventConversation || e.Change != chat.ChangeCreated) {
		l.problem("event 1 is not the creation")
	}
	l.broken = false
	l.seq, l.epoch, l.msgNo, l.at = e.Seq, e.Epoch, e.MsgNo, e.At
	if e.Seq == l.head.Seq {
		l.atHead = e
	}
}

// memberships compares the users' lists with the members of conversations, both ways.
func (v *verifier) memberships(ctx context.Context) error {
	var failed error
	err := v.store.engine.ScanTable(ctx, TableMemberships, func(p Key, r Row) bool {
		tenant, user := chat.TenantID(p[0].string()), chat.UserID(p[1].string())
		m, err := decodeMembership(tenant, r)
		if err != nil {
			v.problem(TableMemberships, rowName{p, r.Clustering}, "%v", err)
			return true
		}
		if v.unsettled[m.Key] {
			return true
		}
		found, err := v.store.GetMembers(ctx, []chat.ConversationKey{m.Key}, user)
		if err != nil && !errors.Is(err, ErrCorrupt) {
			failed = err
			return false
		}
		if err == nil && found[0].User == "" {
			v.problem(TableMemberships, rowName{p, r.Clustering}, "names conversation %s, which has no such member", m.Key)
		}
		return true
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	err = v.store.engine.ScanTable(ctx, TableConversation, func(p Key, r Row) bool {
		row := r.Clustering[0].string()
		if len(row) <= len(rowMember) || row[:len(rowMember)] != rowMember {
			return true
		}
		key, err := keyOf(p[0], p[1])
		if err != nil || v.unsettled[key] {
			return true // reported, or allowed
		}
		user := row[len(rowMember):]
		_, err = v.store.engine.Get(ctx, TableMemberships, Key{text(key.Tenant), text(user)}, Key{blob(key.ID[:])})
		switch {
		case errors.Is(err, ErrNoRow):
			v.problem(TableMemberships, key, "is not in the list of its member %s", user)
		case err != nil && !errors.Is(err, ErrCorrupt):
			failed = err
			return false
		}
		return true
	})
	if err == nil {
		err = failed
	}
	return err
}
