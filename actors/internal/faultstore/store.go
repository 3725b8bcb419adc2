package faultstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/zumodra/hub/chat"
)

// Store is safe for concurrent use.
type Store struct {
	mu    sync.Mutex
	convs map[chat.ConversationKey]*conv
	users map[chat.UserKey]chat.User
	dirty map[chat.ConversationKey]bool
	cons  map[string]chat.ConsumerState

	// Fault, if set, is asked before each call; an error it returns is the call's answer.
	Fault func(op string, key chat.ConversationKey) error
	// After, if set, is asked after a write happened: an error it returns hides that from the caller.
	After func(op string, key chat.ConversationKey) error
	// Alone: AppendGroup is not to be used, as with an engine that has no groups.
	Alone bool
	// Apart: AppendGroup appends each conversation by itself, as servers do that know no group. Together, if set, says
	// whether it is to be used now.
	Apart    bool
	Together func() bool
	people   people
	fences   map[part]uint64
	// Reads and Writes count calls by name.
	calls map[string]int
}

type conv struct {
	log      []chat.Event // log[i].Seq == i+1
	head     chat.Head
	members  map[chat.UserID]chat.Member
	receipts []chat.Receipt
	sent     map[chat.SenderClientID]uint64
	replies  []chat.Reply
	hidden   map[chat.UserID]map[uint64]chat.HiddenMessage
	drafts   map[chat.UserID]chat.Draft
}

// New returns an empty store.
func New() *Store {
	return &Store{convs: map[chat.ConversationKey]*conv{}, users: map[chat.UserKey]chat.User{},
		dirty: map[chat.ConversationKey]bool{}, cons: map[string]chat.ConsumerState{}, calls: map[string]int{}, people: newPeople(),
		fences: map[part]uint64{}}
}

// AddUsers makes users known.
func (s *Store) AddUsers(t chat.TenantID, ids ...chat.UserID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		s.users[chat.UserKey{Tenant: t, User: id}] = chat.User{Tenant: t, ID: id, Username: "name-" + string(id)}
	}
}

// Calls is how often op was called.
func (s *Store) Calls(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[op]
}

// TotalCalls is how often the store was called.
func (s *Store) TotalCalls() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		n += c
	}
	return n
}

func (s *Store) begin(op string, key chat.ConversationKey) error {
	s.mu.Lock()
	s.calls[op]++
	f := s.Fault
	s.mu.Unlock()
	if f != nil {
		return f(op, key)
	}
	return nil
}

func (s *Store) end(op string, key chat.ConversationKey) error {
	s.mu.Lock()
	f := s.After
	s.mu.Unlock()
	if f != nil {
		return f(op, key)
	}
	return nil
}

// SetFaults replaces Fault and After.
func (s *Store) SetFaults(before, after func(op string, key chat.ConversationKey) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Fault, s.After = before, after
}

func (s *Store) get(key chat.ConversationKey) *conv {
	c := s.convs[key]
	if c == nil {
		c = &conv{members: map[chat.UserID]chat.Member{}, sent: map[chat.SenderClientID]uint64{},
			hidden: map[chat.UserID]map[uint64]chat.HiddenMessage{}, drafts: map[chat.UserID]chat.Draft{}}
		s.convs[key] = c
	}
	return c
}

// Log is a copy of the log, as it is.
func (s *Store) Log(key chat.ConversationKey) []chat.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.convs[key]; c != nil {
		return slices.Clone(c.log)
	}
	return nil
}

// Receipts is a copy of all receipts of a conversation.
func (s *Store) Receipts(key chat.ConversationKey) []chat.Receipt {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.convs[key]; c != nil {
		return slices.Clone(c.receipts)
	}
	return nil
}

// Dirty reports whether the conversation has a dirty mark.
func (s *Store) Dirty(key chat.ConversationKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dirty[key]
}

// Empty reports whether nothing of the conversation is left.
func (s *Store) Empty(key chat.ConversationKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.convs[key]
	return c == nil || len(c.log) == 0 && len(c.members) == 0 && len(c.receipts) == 0 && c.head.Seq == 0
}

// LoadConversation implements actors.Store, as the methods below do.
func (s *Store) LoadConversation(_ context.Context, key chat.ConversationKey) (chat.Head, []chat.Member, error) {
	if err := s.begin("LoadConversation", key); err != nil {
		return chat.Head{}, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.convs[key]
	if c == nil || c.head.Seq == 0 {
		var ms []chat.Member
		if c != nil {
			ms = slices.Collect(maps.Values(c.members))
		}
		return chat.Head{}, ms, chat.ErrNotFound
	}
	return c.head, slices.Collect(maps.Values(c.members)), nil
}

func (s *Store) GetHeads(_ context.Context, keys []chat.ConversationKey) ([]chat.Head, error) {
	if err := s.begin("GetHeads", chat.ConversationKey{}); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]chat.Head, len(keys))
	for i, k := range keys {
		if c := s.convs[k]; c != nil {
			out[i] = c.head
		}
	}
	return out, nil
}

func (s *Store) GetMembers(_ context.Context, keys []chat.ConversationKey, u chat.UserID) ([]chat.Member, error) {
	if err := s.begin("GetMembers", chat.ConversationKey{}); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]chat.Member, len(keys))
	for i, k := range keys {
		if c := s.convs[k]; c != nil {
			out[i] = c.members[u]
		}
	}
	return out, nil
}

func (s *Store) ListMembers(_ context.Context, keys []chat.ConversationKey, limit int) ([][]chat.Member, error) {
	if err := s.begin("ListMembers", chat.ConversationKey{}); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([][]chat.Member, len(keys))
	for i, k := range keys {
		if c := s.convs[k]; c != nil {
			out[i] = slices.Collect(maps.Values(c.members))
			slices.SortFunc(out[i], func(a, b chat.Member) int { return int(a.JoinedSeq) - int(b.JoinedSeq) })
			out[i] = out[i][:min(limit, len(out[i]))]
		}
	}
	return out, nil
}

func (s *Store) ReadEvents(_ context.Context, key chat.ConversationKey, from, to uint64, limit int) ([]chat.Event, error) {
	if err := s.begin("ReadEvents", key); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.convs[key]
	if c == nil || from > uint64(len(c.log)) {
		return nil, nil
	}
	to = min(to, uint64(len(c.log)), from+uint64(limit)-1)
	return slices.Clone(c.log[from-1 : to]), nil
}

func (s *Store) ReadEventsReverse(_ context.Context, key chat.ConversationKey, from uint64, limit int, yield func(chat.Event) bool) error {
	if err := s.begin("ReadEventsReverse", key); err != nil {
		return err
	}
	s.mu.Lock()
	var log []chat.Event
	if c := s.convs[key]; c != nil {
		log = slices.Clone(c.log[:min(from, uint64(len(c.log)))])
	}
	s.mu.Unlock()
	for i := len(log) - 1; i >= 0 && limit > 0; i, limit = i-1, limit-1 {
		if !yield(log[i]) {
			break
		}
	}
	return nil
}

func (s *Store) GetEvent(_ context.Context, key chat.ConversationKey, seq uint64) (chat.Event, error) {
	if err := s.begin("GetEvent", key); err != nil {
		return chat.Event{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.convs[key]
	if c == nil || seq == 0 || seq > uint64(len(c.log)) {
		return chat.Event{}, chat.ErrNotFound
	}
	return c.log[seq-1], nil
}

// AppendEvents refuses a gap and a different event at a number that is taken (I2).
func (s *Store) AppendEvents(_ context.Context, key chat.ConversationKey, events []chat.Event) error {
	if err := s.begin("AppendEvents", key); err != nil {
		return err
	}
	if err := s.append(key, events); err != nil {
		return err
	}
	return s.end("AppendEvents", key)
}

// Groups implements conversation.GroupStore.
func (s *Store) Groups() bool { return !s.Alone && (s.Together == nil || s.Together()) }

// GroupLimits implements conversation.GroupStore: those of one log, or those of servers, but small.
func (s *Store) GroupLimits() chat.GroupLimits {
	switch {
	case s.Alone:
		return chat.GroupLimits{}
	case s.Apart:
		return chat.GroupLimits{Parallel: 1, MaxParallel: 4, Conversations: 2, Bytes: 1000}
	}
	return chat.GroupLimits{Parallel: 3, MaxParallel: 16, Conversations: 512, Bytes: 1 << 20}
}

// AppendGroup appends all or nothing, or what of it the faults allow if Apart. Faults are asked about each of the
// conversations as for AppendEvents.
func (s *Store) AppendGroup(_ context.Context, appends []chat.Append) error {
	if s.Apart {
		return s.appendApart(appends)
	}
	for i := range appends {
		if err := s.begin("AppendEvents", appends[i].Key); err != nil {
			return err
		}
	}
	for i := range appends {
		if err := s.append(appends[i].Key, appends[i].Events); err != nil {
			return err
		}
	}
	var err error
	for i := range appends {
		err = errors.Join(err, s.end("AppendEvents", appends[i].Key))
	}
	return err
}

func (s *Store) appendApart(appends []chat.Append) error {
	var failed error
	written := false
	for _, a := range appends {
		err := s.begin("AppendEvents", a.Key)
		if err == nil {
			err = s.append(a.Key, a.Events)
		}
		if err == nil {
			written = true
			err = s.end("AppendEvents", a.Key)
		}
		failed = errors.Join(failed, err)
	}
	if failed != nil && written {
		return fmt.Errorf("%w: %w", chat.ErrUnknown, failed)
	}
	return failed
}

func (s *Store) append(key chat.ConversationKey, events []chat.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.get(key)
	for _, e := range events {
		switch n := uint64(len(c.log)); {
		case e.Seq == n+1:
			if !s.dirty[key] {
				panic(fmt.Sprintf("faultstore: event %d of %s appended without a dirty mark", e.Seq, key))
			}
			c.log = append(c.log, e)
		case e.Seq <= n && e.Seq > 0:
			if old := c.log[e.Seq-1]; old.Actor != e.Actor || old.Type != e.Type || old.ClientID != e.ClientID || !old.At.Equal(e.At) {
				panic(fmt.Sprintf("faultstore: event %d of %s written twice, differently", e.Seq, key))
			} else if e.Epoch > old.Epoch {
				c.log[e.Seq-1] = e // a row of its own, which readers prefer
			}
		default:
			panic(fmt.Sprintf("faultstore: event %d of %s after %d", e.Seq, key, n))
		}
	}
	return nil
}

func (s *Store) SaveDerived(_ context.Context, key chat.ConversationKey, d chat.Derived) error {
	if err := s.begin("SaveDerived", key); err != nil {
		return err
	}
	s.save(key, d)
	return s.end("SaveDerived", key)
}

func (s *Store) save(key chat.ConversationKey, d chat.Derived) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.get(key)
	c.head = d.Head
	for _, m := range d.Members {
		c.members[m.User] = m
	}
	for _, u := range d.Removed {
		delete(c.members, u)
		c.drop(u)
	}
	for _, e := range d.Rewritten {
		c.log[e.Seq-1] = e
	}
	for _, x := range d.Replies {
		if !slices.Contains(c.replies, x) {
			c.replies = append(c.replies, x)
		}
	}
	for _, x := range d.Sent {
		c.sent[x.SenderClientID] = x.Seq
	}
}

func (s *Store) SaveWatermarks(_ context.Context, key chat.ConversationKey, ms []chat.Member, rs []chat.Receipt) error {
	if err := s.begin("SaveWatermarks", key); err != nil {
		return err
	}
	s.mu.Lock()
	c := s.get(key)
	for _, m := range ms {
		c.members[m.User] = m
	}
	for _, r := range rs {
		if !slices.Contains(c.receipts, r) { // the same row, written again
			c.receipts = append(c.receipts, r)
		}
	}
	s.mu.Unlock()
	return s.end("SaveWatermarks", key)
}

func (s *Store) FindDuplicates(_ context.Context, key chat.ConversationKey, ids []chat.SenderClientID) ([]uint64, error) {
	if err := s.begin("FindDuplicates", key); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]uint64, len(ids))
	if c := s.convs[key]; c != nil {
		for i, id := range ids {
			out[i] = c.sent[id]
		}
	}
	return out, nil
}

func (s *Store) ListReceipts(_ context.Context, key chat.ConversationKey, q chat.ReceiptQuery) (page chat.ReceiptPage, err error) {
	if err := s.begin("ListReceipts", key); err != nil {
		return page, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	order := func(a, b chat.Receipt) int { return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.User, b.User)) }
	c := s.convs[key]
	if c == nil {
		return page, nil
	}
	for _, r := range slices.SortedFunc(slices.Values(c.receipts), order) {
		if r.Kind != q.Kind || r.Seq < q.Seq || r.From >= q.Seq || q.After > 0 && order(r, chat.Receipt{Seq: q.After, User: q.AfterUser}) <= 0 {
			continue
		}
		if page.More = len(page.Receipts) == q.Limit; page.More {
			break
		}
		page.Receipts = append(page.Receipts, r)
		page.Next, page.NextUser = r.Seq, r.User
	}
	return page, nil
}

func (s *Store) CountReaders(_ context.Context, key chat.ConversationKey, sender chat.UserID, seq uint64) (n int, late []chat.UserID, err error) {
	if err := s.begin("CountReaders", key); err != nil {
		return 0, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.convs[key]; c != nil {
		for _, m := range c.members {
			if m.JoinedSeq >= seq {
				late = append(late, m.User)
			} else if m.User != sender && m.HasRead(seq) {
				n++
			}
		}
	}
	slices.Sort(late)
	return n, late, nil
}

func (s *Store) DeleteConversation(_ context.Context, key chat.ConversationKey, _ []chat.UserID) error {
	if err := s.begin("DeleteConversation", key); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.convs, key)
	s.mu.Unlock()
	return s.end("DeleteConversation", key)
}

func (s *Store) MarkDirty(_ context.Context, key chat.ConversationKey) error {
	if err := s.begin("MarkDirty", key); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirty[key] = true
	return nil
}

func (s *Store) ClearDirty(_ context.Context, key chat.ConversationKey) error {
	if err := s.begin("ClearDirty", key); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.dirty, key)
	return nil
}

func (s *Store) DirtyConversations(_ context.Context, yield func(chat.ConversationKey) bool) error {
	s.mu.Lock()
	keys := slices.Collect(maps.Keys(s.dirty))
	s.mu.Unlock()
	for _, k := range keys {
		if !yield(k) {
			break
		}
	}
	return nil
}

func (s *Store) ListMemberships(_ context.Context, u chat.UserKey) ([]chat.Membership, error) {
	if err := s.begin("ListMemberships", chat.ConversationKey{}); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []chat.Membership
	for k, c := range s.convs {
		if m, ok := c.members[u.User]; ok && k.Tenant == u.Tenant {
			out = append(out, chat.Membership{Key: k, Kind: c.head.Kind, JoinedAt: m.JoinedAt})
		}
	}
	return out, nil
}

func (s *Store) GetUsers(_ context.Context, t chat.TenantID, ids []chat.UserID) ([]chat.User, error) {
	if err := s.begin("GetUsers", chat.ConversationKey{}); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]chat.User, len(ids))
	for i, id := range ids {
		out[i] = s.users[chat.UserKey{Tenant: t, User: id}]
	}
	return out, nil
}
