package storage

import (
	"context"
	"errors"

	"github.com/zumodra/hub/chat"
)

// The index from addresses to users is written before the user it is of, and what a user left is taken out after:
// so a user's address is always found, and a row that is found may be stale (FindByEmail compares).

func emailRow(u *chat.User) (partition Key, row Key, ok bool) {
	email, err := chat.NormalizeEmail(u.Email)
	if err != nil {
		return nil, nil, false
	}
	return Key{text(u.Tenant), text(email)}, Key{text(u.ID)}, true
}

func (s *Store) indexEmail(ctx context.Context, u *chat.User) error {
	partition, row, ok := emailRow(u)
	if !ok {
		return nil
	}
	return fail(s.engine.Apply(ctx, Batch{Table: TableEmails, Partition: partition,
		Mutations: []Mutation{{Clustering: row, Whole: true}}, Durability: Relaxed}), "index", chat.UserKey{Tenant: u.Tenant, User: u.ID})
}

// unindexEmail takes out the address that a user had before, unless another write at the same time gave it back. The
// same write makes sure that the new address is in, which that other may have taken out.
func (s *Store) unindexEmail(ctx context.Context, before, now *chat.User) error {
	old, _ := chat.NormalizeEmail(before.Email)
	email, _ := chat.NormalizeEmail(now.Email)
	if before.ID == "" || old == email {
		return nil
	}
	if partition, row, ok := emailRow(before); ok {
		key := chat.UserKey{Tenant: now.Tenant, User: now.ID}
		if err := s.engine.Apply(ctx, Batch{Table: TableEmails, Partition: partition,
			Mutations: []Mutation{{Clustering: row, Delete: true}}, Durability: Relaxed}); err != nil {
			return fail(err, "take an address out of the index of", key)
		}
	}
	stored, err := s.GetUsers(ctx, now.Tenant, []chat.UserID{now.ID})
	if err != nil {
		return err
	}
	return s.indexEmail(ctx, &stored[0])
}

// index makes a user who is written next be found.
func (s *Store) index(ctx context.Context, u *chat.User) error {
	if err := s.listUser(ctx, u); err != nil {
		return err
	}
	return s.indexEmail(ctx, u)
}

// emailsIndexed is the row of TableMeta that says that the users of a store from before the index are in it.
const emailsIndexed = "emails_indexed"

// usersListed is the same for the lists of tenants' users.
const usersListed = "users_listed"

// IndexUsers puts the users of a store that is older than its indexes into them, once. It is called at the start.
func (s *Store) IndexUsers(ctx context.Context) error {
	if err := s.indexOnce(ctx, emailsIndexed, s.indexEmail); err != nil {
		return err
	}
	return s.indexOnce(ctx, usersListed, s.listUser)
}

func (s *Store) indexOnce(ctx context.Context, marker string, index func(context.Context, *chat.User) error) error {
	what := chat.UserKey{User: "all users"}
	_, err := s.engine.Get(ctx, TableMeta, Key{text(marker)}, nil)
	if err == nil {
		return nil
	}
	if !errors.Is(err, ErrNoRow) {
		return fail(err, "index", what)
	}
	var failed error
	err = s.engine.ScanTable(ctx, TableUsers, func(p Key, r Row) bool {
		u := decodeUser(chat.TenantID(p[0].string()), chat.UserID(p[1].string()), r.Columns)
		failed = index(ctx, &u)
		return failed == nil
	})
	if err == nil {
		err = failed
	}
	if err == nil {
		err = s.engine.Apply(ctx, Batch{Table: TableMeta, Partition: Key{text(marker)},
			Mutations: []Mutation{{Columns: []Value{number(1)}}}})
	}
	return fail(err, "index", what)
}
