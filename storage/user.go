package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/zumodra/hub/chat"
)

// MarkDirty durably marks a conversation as having events that a projection has not seen.
func (s *Store) MarkDirty(ctx context.Context, key chat.ConversationKey) error {
	return fail(s.engine.Apply(ctx, Batch{Table: TableDirty, Partition: Key{number(uint64(key.Shard()))},
		Mutations: []Mutation{{Clustering: conversationPartition(&key), Whole: true}}}), "mark", key)
}

// ClearDirty removes the mark, relaxed: at worst the projections look once more.
func (s *Store) ClearDirty(ctx context.Context, key chat.ConversationKey) error {
	return fail(s.engine.Apply(ctx, Batch{Table: TableDirty, Partition: Key{number(uint64(key.Shard()))},
		Mutations: []Mutation{{Clustering: conversationPartition(&key), Delete: true}}, Durability: Relaxed}), "unmark", key)
}

// DirtyConversations calls yield for every marked conversation of all shards and tenants until it returns false.
func (s *Store) DirtyConversations(ctx context.Context, yield func(chat.ConversationKey) bool) error {
	var failed error
	err := s.engine.ScanTable(ctx, TableDirty, func(_ Key, r Row) bool {
		key := chat.ConversationKey{Tenant: chat.TenantID(r.Clustering[0].string())}
		if key.ID, failed = r.Clustering[1].uuid("conversation"); failed != nil {
			return false
		}
		return yield(key)
	})
	if err == nil {
		err = failed
	}
	return fail(err, "list", dirtyMarks{})
}

type dirtyMarks struct{}

func (dirtyMarks) String() string { return "dirty conversations" }

// ListMemberships returns the conversations of a user in one range read, by conversation id.
func (s *Store) ListMemberships(ctx context.Context, user chat.UserKey) ([]chat.Membership, error) {
	var list []chat.Membership
	var failed error
	err := s.engine.Scan(ctx, Range{Table: TableMemberships, Partition: Key{text(user.Tenant), text(user.User)}}, func(r Row) bool {
		var m chat.Membership
		if m, failed = decodeMembership(user.Tenant, r); failed != nil {
			return false
		}
		list = append(list, m)
		return true
	})
	if err == nil {
		err = failed
	}
	return list, fail(err, "list memberships of", user)
}

func decodeMembership(tenant chat.TenantID, r Row) (m chat.Membership, err error) {
	m.Key.Tenant = tenant
	if m.Key.ID, err = r.Clustering[0].uuid("conversation"); err != nil {
		return m, err
	}
	m.Kind, err = small(r.Columns[0], chat.Group, "kind")
	m.JoinedAt = r.Columns[1].time()
	return m, err
}

// GetUsers returns users in one read, a zero User with an empty ID where there is none.
func (s *Store) GetUsers(ctx context.Context, tenant chat.TenantID, ids []chat.UserID) ([]chat.User, error) {
	keys, values := make([]FullKey, len(ids)), make([]Value, 2*len(ids))
	for i := range ids {
		p := values[2*i : 2*i+2 : 2*i+2]
		p[0], p[1] = text(tenant), text(ids[i])
		keys[i].Partition = p
	}
	rows, err := s.engine.GetMany(ctx, TableUsers, keys)
	if err != nil {
		return nil, fail(err, "read users of", chat.UserKey{Tenant: tenant})
	}
	users := make([]chat.User, len(ids))
	for i := range rows {
		if rows[i].Columns != nil {
			users[i] = decodeUser(tenant, ids[i], rows[i].Columns)
		}
	}
	return users, nil
}

func userColumns(u *chat.User) []Value {
	return []Value{text(u.Username), text(u.Email), text(u.FirstName), text(u.LastName), text(u.AvatarURL),
		moment(u.CreatedAt), moment(u.UpdatedAt)}
}

func decodeUser(tenant chat.TenantID, id chat.UserID, c []Value) chat.User {
	return chat.User{Tenant: tenant, ID: id, Username: c[0].string(), Email: c[1].string(), FirstName: c[2].string(),
		LastName: c[3].string(), AvatarURL: c[4].string(), CreatedAt: c[5].time(), UpdatedAt: c[6].time()}
}

// PutUser durably writes all that is known of a user; zero times keep what is stored.
func (s *Store) PutUser(ctx context.Context, u chat.User) error {
	key := chat.UserKey{Tenant: u.Tenant, User: u.ID}
	if u.Tenant == "" || u.ID == "" {
		return fmt.Errorf("put user %s: %w: tenant and id are needed", key, chat.ErrInvalid)
	}
	if err := s.index(ctx, &u); err != nil {
		return err
	}
	// By compare-and-set like CreateUser: engines of clusters take the times of the two kinds of writes from different
	// clocks, so that a plain write could lose against an older compare-and-set of the same row.
	partition := Key{text(u.Tenant), text(u.ID)}
	row, err := s.engine.Get(ctx, TableUsers, partition, nil)
	if err != nil && !errors.Is(err, ErrNoRow) {
		return fail(err, "put user", key)
	}
	for {
		applied, found, err := s.engine.CompareAndSet(ctx, TableUsers, partition, nil, row.Columns, userColumns(&u))
		if err != nil {
			return fail(err, "put user", key)
		}
		if applied {
			break
		}
		row = found // somebody else's write came in between: over that one, then
	}
	if row.Columns == nil {
		return nil
	}
	before := decodeUser(u.Tenant, u.ID, row.Columns)
	return s.unindexEmail(ctx, &before, &u)
}

// CreateUser durably writes a user that is not there yet and returns it and true, or the one that is and false.
func (s *Store) CreateUser(ctx context.Context, u chat.User) (chat.User, bool, error) {
	key := chat.UserKey{Tenant: u.Tenant, User: u.ID}
	if u.Tenant == "" || u.ID == "" {
		return chat.User{}, false, fmt.Errorf("create user %s: %w: tenant and id are needed", key, chat.ErrInvalid)
	}
	partition := Key{text(u.Tenant), text(u.ID)}
	// Nearly every call finds the user: a read is cheaper than a compare-and-set.
	row, err := s.engine.Get(ctx, TableUsers, partition, nil)
	switch {
	case err == nil:
		return decodeUser(u.Tenant, u.ID, row.Columns), false, nil
	case !errors.Is(err, ErrNoRow):
		return chat.User{}, false, fail(err, "create user", key)
	}
	if err := s.index(ctx, &u); err != nil {
		return chat.User{}, false, err
	}
	applied, found, err := s.engine.CompareAndSet(ctx, TableUsers, partition, nil, nil, userColumns(&u))
	switch {
	case err != nil:
		return chat.User{}, false, fail(err, "create user", key)
	case applied:
		return u, true, nil
	}
	return decodeUser(u.Tenant, u.ID, found.Columns), false, nil
}
