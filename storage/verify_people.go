package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/zumodra/hub/chat"
)

// people checks what is between users: each pair's row, and that the users' lists say what it says, both ways.
func (v *verifier) people(ctx context.Context) error {
	unsettled := make(map[chat.PairKey]bool)
	err := v.store.engine.ScanTable(ctx, TableUnsettled, func(p Key, r Row) bool {
		k := chat.PairKey{Tenant: chat.TenantID(r.Clustering[0].string()), Lo: chat.UserID(r.Clustering[1].string()),
			Hi: chat.UserID(r.Clustering[2].string())}
		if k.Lo >= k.Hi || k.Home().Shard() != int(p[0].I) {
			v.problem(TableUnsettled, rowName{p, r.Clustering}, "stands in shard %d, not %d, or is no pair", p[0].I, k.Home().Shard())
		}
		unsettled[k] = true
		return true
	})
	if err != nil {
		return err
	}
	v.sum.Unsettled = uint64(len(unsettled))
	if err := v.pairs(ctx, unsettled); err != nil {
		return err
	}
	for _, t := range []*Table{TableContacts, TableBlocks, TableRequests} {
		if err := v.listed(ctx, t, unsettled); err != nil {
			return err
		}
	}
	if err := v.emails(ctx); err != nil {
		return err
	}
	return v.listedUsers(ctx)
}

// pairs checks that what a pair says is in the lists of its users.
func (v *verifier) pairs(ctx context.Context, unsettled map[chat.PairKey]bool) error {
	var failed error
	err := v.store.engine.ScanTable(ctx, TablePairs, func(p Key, r Row) bool {
		k := chat.PairKey{Tenant: chat.TenantID(p[0].string()), Lo: chat.UserID(p[1].string()), Hi: chat.UserID(p[2].string())}
		pair, err := decodePair(k, r.Columns)
		if err != nil || k.Lo >= k.Hi {
			v.problem(TablePairs, k, "no pair of users in order, or %v", err)
			return true
		}
		if unsettled[k] {
			return true
		}
		for _, me := range [...]chat.UserID{k.Lo, k.Hi} {
			other, s := k.Other(me), pair.Of(me)
			for _, want := range []struct {
				t    *Table
				is   bool
				user chat.UserID
				row  Key
			}{
				{TableContacts, !s.ContactSince.IsZero(), me, Key{text(other)}},
				{TableBlocks, !s.BlockedAt.IsZero(), me, Key{text(other)}},
				{TableRequests, s.Request.State != chat.RequestNone, me, Key{number(requestSent), text(other)}},
				{TableRequests, s.Request.State != chat.RequestNone, other, Key{number(requestReceived), text(me)}},
			} {
				if !want.is {
					continue // listed looks for what is too much
				}
				_, err := v.store.engine.Get(ctx, want.t, Key{text(k.Tenant), text(want.user)}, want.row)
				switch {
				case errors.Is(err, ErrNoRow):
					v.problem(want.t, k, "the list of %s lacks what the pair says", want.user)
				case err != nil && !errors.Is(err, ErrCorrupt):
					failed = err
					return false
				}
			}
		}
		return true
	})
	if err == nil {
		err = failed
	}
	return err
}

// listed checks that what a list says is in the pair.
func (v *verifier) listed(ctx context.Context, t *Table, unsettled map[chat.PairKey]bool) error {
	var failed error
	err := v.store.engine.ScanTable(ctx, t, func(p Key, r Row) bool {
		me, last := chat.UserID(p[1].string()), r.Clustering[len(r.Clustering)-1]
		other := chat.UserID(last.string())
		k := chat.PairOf(chat.TenantID(p[0].string()), me, other)
		if unsettled[k] {
			return true
		}
		pair, err := v.store.GetPair(ctx, k)
		if errors.Is(err, ErrCorrupt) {
			return true // reported
		}
		if err != nil {
			failed = err
			return false
		}
		mine, theirs, agree := pair.Of(me), pair.Of(other), false
		switch t {
		case TableContacts:
			agree = r.Columns[0].time().Equal(mine.ContactSince) && r.Columns[1].bool() == mine.Favorite
		case TableBlocks:
			agree = r.Columns[0].time().Equal(mine.BlockedAt)
		case TableRequests:
			row, err := decodeRequest(me, r)
			if row.Sender == me {
				agree = err == nil && row.FriendRequest == mine.Request
			} else {
				agree = err == nil && row.FriendRequest == theirs.Request
			}
		}
		if !agree {
			v.problem(t, rowName{p, r.Clustering}, "is not what the pair says")
		}
		return true
	})
	if err == nil {
		err = failed
	}
	return err
}

// emails checks that every user's address finds the user, once the index says that it is complete.
func (v *verifier) emails(ctx context.Context) error {
	// Not the address itself: problems are logged.
	return v.indexed(ctx, emailsIndexed, TableEmails, emailRow, "the user's address is not in the index")
}

// listedUsers checks that every user is in the list of the tenant's users.
func (v *verifier) listedUsers(ctx context.Context) error {
	return v.indexed(ctx, usersListed, TableTenantUsers, func(u *chat.User) (partition, row Key, ok bool) {
		partition, row = tenantUserRow(u)
		return partition, row, true
	}, "the user is not in the list of the tenant")
}

func (v *verifier) indexed(ctx context.Context, marker string, t *Table, rowOf func(*chat.User) (partition, row Key, ok bool), lacks string) error {
	_, err := v.store.engine.Get(ctx, TableMeta, Key{text(marker)}, nil)
	if errors.Is(err, ErrNoRow) {
		return nil
	}
	if err != nil {
		return err
	}
	var failed error
	err = v.store.engine.ScanTable(ctx, TableUsers, func(p Key, r Row) bool {
		u := decodeUser(chat.TenantID(p[0].string()), chat.UserID(p[1].string()), r.Columns)
		partition, row, ok := rowOf(&u)
		if !ok {
			return true
		}
		_, err := v.store.engine.Get(ctx, t, partition, row)
		switch {
		case errors.Is(err, ErrNoRow):
			v.problem(t, chat.UserKey{Tenant: u.Tenant, User: u.ID}, "%s", lacks)
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

// checkTenancy checks a row that stands alone.
func checkTenancy(t *Table, p Key, r Row) error {
	switch t {
	case TableTenants:
		_, err := decodeTenant(chat.TenantID(r.Clustering[0].string()), r.Columns)
		return err
	case TableKeys:
		_, err := decodeKey(p[0].string(), r.Columns)
		return err
	case TableRestrictions:
		x, err := decodeRestriction(r.Clustering, r.Columns)
		if err == nil {
			if slot, _ := restrictionKey(&x); slot[0].I != p[0].I {
				err = fmt.Errorf("stands in slot %d, not %d", p[0].I, slot[0].I)
			}
		}
		return err
	case TableAudit:
		if p[1].I == auditDays {
			_, err := r.Clustering[0].uuid("id")
			return err
		}
		e, err := decodeAudit(chat.TenantID(p[0].string()), r)
		if err == nil && int64(dayOf(&e.ID)) != p[1].I {
			err = fmt.Errorf("stands in day %d, not %d", p[1].I, dayOf(&e.ID))
		}
		return err
	}
	return nil
}
