package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/zumodra/hub/chat"
)

// What is between two users is one row of TablePairs, the truth. Their lists of contacts, requests and blocks are
// derived from it and show it once SavePair returned. A pair that SavePair began to write and that SettlePair has not
// been called for is unsettled: after a crash its lists may be behind, and are written again by RederivePair.
//
// Calls that write one pair (SavePair, RederivePair, SettlePair) must not overlap one another: their caller is the
// pair's single owner.

func pairPartition(k chat.PairKey) Key { return Key{text(k.Tenant), text(k.Lo), text(k.Hi)} }

func unsettledRow(k chat.PairKey) (partition, clustering Key) {
	return Key{number(uint64(k.Home().Shard()))}, Key{text(k.Tenant), text(k.Lo), text(k.Hi)}
}

func checkPair(k chat.PairKey) error {
	if k.Tenant == "" || k.Lo == "" || k.Lo >= k.Hi {
		return fmt.Errorf("pair %s: %w: a tenant and two users in order are needed", k, chat.ErrInvalid)
	}
	return nil
}

// settable is a time that may be taken back: zero is written, not left absent.
func settable(t time.Time) Value {
	if t.IsZero() {
		return Value{Set: true}
	}
	return moment(t)
}

func (v Value) settable() time.Time {
	if v.I == 0 {
		return time.Time{}
	}
	return v.time()
}

// putSide sets every column: what is taken back must not stay.
func putSide(c []Value, s *chat.Side) {
	c[sideContactSince], c[sideBlockedAt], c[sideFavorite] = settable(s.ContactSince), settable(s.BlockedAt), boolean(s.Favorite)
	r := &s.Request
	c[sideRequest], c[sideRequestState], c[sideQuiet] = blob(r.ID[:]), number(uint64(r.State)), boolean(r.Quiet)
	c[sideRequestAt], c[sideDecidedAt] = settable(r.CreatedAt), settable(r.DecidedAt)
}

func decodeSide(c []Value) (s chat.Side, err error) {
	s.ContactSince, s.Favorite, s.BlockedAt = c[sideContactSince].settable(), c[sideFavorite].bool(), c[sideBlockedAt].settable()
	r := &s.Request
	if r.State, err = small(c[sideRequestState], chat.RequestRejected, "request_state"); err != nil {
		return s, err
	}
	if r.State == chat.RequestNone {
		return s, nil
	}
	r.CreatedAt, r.DecidedAt, r.Quiet = c[sideRequestAt].settable(), c[sideDecidedAt].settable(), c[sideQuiet].bool()
	id, err := c[sideRequest].uuid("request")
	r.ID = id
	if err == nil && (r.ID.IsZero() || r.CreatedAt.IsZero()) {
		err = fmt.Errorf("%w: a request without id or time", ErrCorrupt)
	}
	return s, err
}

func decodePair(k chat.PairKey, c []Value) (p chat.Pair, err error) {
	p.Key, p.Version = k, c[pairVersion].uint()
	if p.Version == 0 {
		return p, fmt.Errorf("%w: a pair without version", ErrCorrupt)
	}
	if p.Lo, err = decodeSide(c[pairLo:pairHi]); err == nil {
		p.Hi, err = decodeSide(c[pairHi:pairColumns])
	}
	return p, err
}

// GetPair returns what is between two users, version 0 if there is nothing.
func (s *Store) GetPair(ctx context.Context, k chat.PairKey) (chat.Pair, error) {
	ps, err := s.GetPairs(ctx, []chat.PairKey{k})
	if err != nil {
		return chat.Pair{Key: k}, err
	}
	return ps[0], nil
}

// GetPairs is GetPair for several pairs in one read.
func (s *Store) GetPairs(ctx context.Context, keys []chat.PairKey) ([]chat.Pair, error) {
	full := make([]FullKey, len(keys))
	for i, k := range keys {
		full[i].Partition = pairPartition(k)
	}
	rows, err := s.engine.GetMany(ctx, TablePairs, full)
	if err != nil {
		return nil, fail(err, "read pairs of", count(len(keys)))
	}
	out := make([]chat.Pair, len(keys))
	for i := range rows {
		out[i].Key = keys[i]
		if rows[i].Columns == nil {
			continue
		}
		if out[i], err = decodePair(keys[i], rows[i].Columns); err != nil {
			return nil, fail(err, "read pair", keys[i])
		}
	}
	return out, nil
}

// SavePair durably writes a pair and then its lists. before is the pair as stored. Doing it again is safe. An error
// after which the pair may be stored is chat.ErrUnknown.
func (s *Store) SavePair(ctx context.Context, p, before chat.Pair) error {
	if err := checkPair(p.Key); err != nil {
		return err
	}
	partition, row := unsettledRow(p.Key)
	if err := s.engine.Apply(ctx, Batch{Table: TableUnsettled, Partition: partition,
		Mutations: []Mutation{{Clustering: row, Whole: true}}, Durability: Relaxed}); err != nil {
		return fail(err, "mark unsettled", p.Key)
	}
	c := make([]Value, pairColumns)
	c[pairVersion] = number(p.Version)
	putSide(c[pairLo:pairHi], &p.Lo)
	putSide(c[pairHi:], &p.Hi)
	if err := s.engine.Apply(ctx, Batch{Table: TablePairs, Partition: pairPartition(p.Key),
		Mutations: []Mutation{{Columns: c, Whole: true}}}); err != nil {
		return fail(err, "save pair", p.Key)
	}
	if err := s.derivePair(ctx, &p, &before); err != nil {
		// The pair is stored: this must not look like a refusal.
		return fmt.Errorf("derive lists of %s: %w: %w", p.Key, chat.ErrUnknown, err)
	}
	return nil
}

// RederivePair writes the lists of a pair again.
func (s *Store) RederivePair(ctx context.Context, p chat.Pair) error {
	return fail(s.derivePair(ctx, &p, nil), "derive lists of", p.Key)
}

// SettlePair notes that all that follows from the pair's newest change has been done.
func (s *Store) SettlePair(ctx context.Context, k chat.PairKey) error {
	partition, row := unsettledRow(k)
	return fail(s.engine.Apply(ctx, Batch{Table: TableUnsettled, Partition: partition,
		Mutations: []Mutation{{Clustering: row, Delete: true}}, Durability: Relaxed}), "settle", k)
}

// UnsettledPairs lists the pairs that SettlePair was not called for.
func (s *Store) UnsettledPairs(ctx context.Context, yield func(chat.PairKey) bool) error {
	err := s.engine.ScanTable(ctx, TableUnsettled, func(_ Key, r Row) bool { return yield(unsettledPair(r)) })
	return fail(err, "list", unsettledMarks{})
}

// UnsettledShard is UnsettledPairs for those whose home is in one shard.
func (s *Store) UnsettledShard(ctx context.Context, shard int) ([]chat.PairKey, error) {
	var list []chat.PairKey
	err := s.engine.Scan(ctx, Range{Table: TableUnsettled, Partition: Key{number(uint64(shard))}}, func(r Row) bool {
		list = append(list, unsettledPair(r))
		return true
	})
	return list, fail(err, "list", unsettledMarks{})
}

func unsettledPair(r Row) chat.PairKey {
	return chat.PairKey{Tenant: chat.TenantID(r.Clustering[0].string()),
		Lo: chat.UserID(r.Clustering[1].string()), Hi: chat.UserID(r.Clustering[2].string())}
}

type unsettledMarks struct{}

func (unsettledMarks) String() string { return "unsettled pairs" }

// derivePair writes the rows of both users' lists that differ from before; all of them if before is nil.
func (s *Store) derivePair(ctx context.Context, p, before *chat.Pair) error {
	for _, me := range [...]chat.UserID{p.Key.Lo, p.Key.Hi} {
		other := p.Key.Other(me)
		mine, theirs := p.Of(me), p.Of(other)
		var was, had *chat.Side
		if before != nil {
			was, had = before.Of(me), before.Of(other)
		}
		if was == nil || was.ContactSince != mine.ContactSince || was.Favorite != mine.Favorite {
			m := Mutation{Clustering: Key{text(other)}, Delete: mine.ContactSince.IsZero()}
			if !m.Delete {
				m.Whole, m.Columns = true, []Value{moment(mine.ContactSince), boolean(mine.Favorite)}
			}
			if err := s.list(ctx, TableContacts, p.Key.Tenant, me, m); err != nil {
				return err
			}
		}
		if was == nil || was.BlockedAt != mine.BlockedAt {
			m := Mutation{Clustering: Key{text(other)}, Delete: mine.BlockedAt.IsZero()}
			if !m.Delete {
				m.Whole, m.Columns = true, []Value{moment(mine.BlockedAt)}
			}
			if err := s.list(ctx, TableBlocks, p.Key.Tenant, me, m); err != nil {
				return err
			}
		}
		var ms []Mutation
		if was == nil || was.Request != mine.Request {
			ms = append(ms, requestMutation(requestSent, other, &mine.Request))
		}
		if had == nil || had.Request != theirs.Request {
			ms = append(ms, requestMutation(requestReceived, other, &theirs.Request))
		}
		if err := s.list(ctx, TableRequests, p.Key.Tenant, me, ms...); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) list(ctx context.Context, t *Table, tenant chat.TenantID, user chat.UserID, ms ...Mutation) error {
	if len(ms) == 0 {
		return nil
	}
	return s.engine.Apply(ctx, Batch{Table: t, Partition: Key{text(tenant), text(user)}, Mutations: ms, Durability: Relaxed})
}

func requestMutation(direction uint64, other chat.UserID, r *chat.FriendRequest) Mutation {
	m := Mutation{Clustering: Key{number(direction), text(other)}, Delete: r.State == chat.RequestNone}
	if !m.Delete {
		m.Whole = true
		m.Columns = []Value{blob(r.ID[:]), number(uint64(r.State)), settable(r.CreatedAt), settable(r.DecidedAt), boolean(r.Quiet)}
	}
	return m
}

// ListContacts returns a user's contacts, by their ids.
func (s *Store) ListContacts(ctx context.Context, k chat.UserKey) ([]chat.Contact, error) {
	var list []chat.Contact
	err := s.engine.Scan(ctx, Range{Table: TableContacts, Partition: Key{text(k.Tenant), text(k.User)}}, func(r Row) bool {
		list = append(list, chat.Contact{User: chat.UserID(r.Clustering[0].string()), Since: r.Columns[0].time(), Favorite: r.Columns[1].bool()})
		return true
	})
	return list, fail(err, "list contacts of", k)
}

// ListBlocks returns the users whom a user blocked, by their ids.
func (s *Store) ListBlocks(ctx context.Context, k chat.UserKey) ([]chat.BlockRow, error) {
	var list []chat.BlockRow
	err := s.engine.Scan(ctx, Range{Table: TableBlocks, Partition: Key{text(k.Tenant), text(k.User)}}, func(r Row) bool {
		list = append(list, chat.BlockRow{User: chat.UserID(r.Clustering[0].string()), At: r.Columns[0].time()})
		return true
	})
	return list, fail(err, "list blocks of", k)
}

// ListRequests returns the friend requests that a user sent or received.
func (s *Store) ListRequests(ctx context.Context, k chat.UserKey) ([]chat.RequestRow, error) {
	var list []chat.RequestRow
	var failed error
	err := s.engine.Scan(ctx, Range{Table: TableRequests, Partition: Key{text(k.Tenant), text(k.User)}}, func(r Row) bool {
		var row chat.RequestRow
		if row, failed = decodeRequest(k.User, r); failed != nil {
			return false
		}
		list = append(list, row)
		return true
	})
	if err == nil {
		err = failed
	}
	return list, fail(err, "list friend requests of", k)
}

func decodeRequest(me chat.UserID, r Row) (row chat.RequestRow, err error) {
	other := chat.UserID(r.Clustering[1].string())
	switch r.Clustering[0].I {
	case requestSent:
		row.Sender, row.Receiver = me, other
	case requestReceived:
		row.Sender, row.Receiver = other, me
	default:
		return row, fmt.Errorf("%w: direction %d of a request", ErrCorrupt, r.Clustering[0].I)
	}
	if row.State, err = small(r.Columns[1], chat.RequestRejected, "state"); err != nil {
		return row, err
	}
	id, err := r.Columns[0].uuid("id")
	row.ID, row.CreatedAt, row.DecidedAt, row.Quiet = id, r.Columns[2].settable(), r.Columns[3].settable(), r.Columns[4].bool()
	return row, err
}

// GetPreferences returns the preferences of users in one read; the zero value is that of who never set any.
func (s *Store) GetPreferences(ctx context.Context, tenant chat.TenantID, ids []chat.UserID) ([]chat.Preferences, error) {
	out := make([]chat.Preferences, len(ids))
	err := s.personal(ctx, tenant, ids, func(i int, c []Value) {
		out[i] = chat.Preferences{HideReceipts: c[personalHideReceipts].bool(), Invisible: c[personalInvisible].bool()}
	})
	return out, err
}

// GetLastSeen returns when users were last known to be connected, in one read; zero if never.
func (s *Store) GetLastSeen(ctx context.Context, tenant chat.TenantID, ids []chat.UserID) ([]time.Time, error) {
	out := make([]time.Time, len(ids))
	err := s.personal(ctx, tenant, ids, func(i int, c []Value) { out[i] = c[personalLastSeen].time() })
	return out, err
}

func (s *Store) personal(ctx context.Context, tenant chat.TenantID, ids []chat.UserID, f func(int, []Value)) error {
	keys := make([]FullKey, len(ids))
	for i := range ids {
		keys[i].Partition = Key{text(tenant), text(ids[i])}
	}
	rows, err := s.engine.GetMany(ctx, TablePersonal, keys)
	if err != nil {
		return fail(err, "read what was set by", count(len(ids)))
	}
	for i := range rows {
		if rows[i].Columns != nil {
			f(i, rows[i].Columns)
		}
	}
	return nil
}

// PutPreferences durably writes all preferences of a user.
func (s *Store) PutPreferences(ctx context.Context, k chat.UserKey, p chat.Preferences) error {
	c := make([]Value, personalColumns)
	c[personalHideReceipts], c[personalInvisible] = boolean(p.HideReceipts), boolean(p.Invisible)
	return fail(s.engine.Apply(ctx, Batch{Table: TablePersonal, Partition: Key{text(k.Tenant), text(k.User)},
		Mutations: []Mutation{{Columns: c}}}), "save preferences of", k)
}

// PutLastSeen notes when users were connected, relaxed: a lost one is a moment older than it should be.
func (s *Store) PutLastSeen(ctx context.Context, seen []chat.Seen) error {
	return s.each(ctx, len(seen), func(ctx context.Context, i int) error {
		k := seen[i].User
		c := make([]Value, personalColumns)
		c[personalLastSeen] = moment(seen[i].At)
		return fail(s.engine.Apply(ctx, Batch{Table: TablePersonal, Partition: Key{text(k.Tenant), text(k.User)},
			Mutations: []Mutation{{Columns: c}}, Durability: Relaxed}), "save last seen of", k)
	})
}

// RefuseToken puts a token id on the list of those that are refused and reports whether it is new there: of several
// calls at once one is told so. It stays for TokenTTL.
func (s *Store) RefuseToken(ctx context.Context, tenant chat.TenantID, id string, at time.Time) (bool, error) {
	if tenant == "" || id == "" {
		return false, fmt.Errorf("refuse token: %w: tenant and id are needed", chat.ErrInvalid)
	}
	applied, _, err := s.engine.CompareAndSet(ctx, TableTokens, Key{text(tenant), text(id)}, nil, nil, []Value{moment(at)})
	return applied, fail(err, "refuse a token of", chat.UserKey{Tenant: tenant})
}

// TokenRefused reports whether RefuseToken was called for the token.
func (s *Store) TokenRefused(ctx context.Context, tenant chat.TenantID, id string) (bool, error) {
	_, err := s.engine.Get(ctx, TableTokens, Key{text(tenant), text(id)}, nil)
	if errors.Is(err, ErrNoRow) {
		return false, nil
	}
	return err == nil, fail(err, "look up a token of", chat.UserKey{Tenant: tenant})
}

// FindByEmail returns the users who have an address, the longest-known first; nil if there are none or it is no
// address. Tokens say which address a user has: it may be several users'.
func (s *Store) FindByEmail(ctx context.Context, tenant chat.TenantID, email string) ([]chat.User, error) {
	email, err := chat.NormalizeEmail(email)
	if err != nil {
		return nil, nil
	}
	const most = 100 // of stale rows and namesakes that are looked at
	var ids []chat.UserID
	err = s.engine.Scan(ctx, Range{Table: TableEmails, Partition: Key{text(tenant), text(email)}, Limit: most}, func(r Row) bool {
		ids = append(ids, chat.UserID(r.Clustering[0].string()))
		return true
	})
	if err != nil || len(ids) == 0 {
		return nil, fail(err, "find a user of", chat.UserKey{Tenant: tenant})
	}
	users, err := s.GetUsers(ctx, tenant, ids)
	if err != nil {
		return nil, err
	}
	users = slices.DeleteFunc(users, func(u chat.User) bool {
		have, err := chat.NormalizeEmail(u.Email)
		return u.ID == "" || err != nil || have != email
	})
	slices.SortStableFunc(users, func(a, b chat.User) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return users, nil
}
