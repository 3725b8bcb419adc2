package tenancy

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/zumodra/hub/chat"
)

// counts remembers for a while how many users tenants with a limit have. It holds tenants with a limit alone.
type counts struct {
	mu sync.Mutex
	by map[chat.TenantID]count
}

type count struct {
	n  int
	at time.Time
}

// recount is how long a number of users is believed, save for those who were added here.
const recount = 30 * time.Second

// Seen stores a user whom a token introduced, unless the user is there already, and answers what is stored.
// *chat.QuotaError if the tenant has as many users as it may have.
func (r *Registry) Seen(ctx context.Context, u chat.User) (chat.User, error) {
	stored, _, err := r.CreateUser(ctx, u)
	return stored, err
}

// GetUsers answers one user per id, in order; the zero User where there is none.
func (r *Registry) GetUsers(ctx context.Context, t chat.TenantID, ids []chat.UserID) ([]chat.User, error) {
	return r.store.GetUsers(ctx, t, ids)
}

// CreateUser writes a user unless there is one with that id, and answers the one that is there, and whether it is new.
// *chat.QuotaError if the tenant has as many users as it may have.
func (r *Registry) CreateUser(ctx context.Context, u chat.User) (chat.User, bool, error) {
	if err := r.open(u.Tenant); err != nil {
		return chat.User{}, false, err
	}
	limit := r.Limits(u.Tenant).Users
	if limit == 0 {
		return r.store.CreateUser(ctx, u)
	}
	stored, there, err := r.stored(ctx, u.Tenant, u.ID)
	if err != nil || there {
		return stored, false, err
	}
	if err := r.room(ctx, u.Tenant, limit); err != nil {
		return stored, false, err
	}
	stored, created, err := r.store.CreateUser(ctx, u)
	if !created && !errors.Is(err, chat.ErrUnknown) {
		r.leave(u.Tenant)
	}
	return stored, created, err
}

// PutUser writes a user, new or not. *chat.QuotaError as in CreateUser.
func (r *Registry) PutUser(ctx context.Context, u chat.User) error {
	if err := r.open(u.Tenant); err != nil {
		return err
	}
	limit := r.Limits(u.Tenant).Users
	if limit == 0 {
		return r.store.PutUser(ctx, u)
	}
	_, there, err := r.stored(ctx, u.Tenant, u.ID)
	if err == nil && !there {
		err = r.room(ctx, u.Tenant, limit)
	}
	if err != nil {
		return err
	}
	err = r.store.PutUser(ctx, u)
	if err != nil && !there && !errors.Is(err, chat.ErrUnknown) {
		r.leave(u.Tenant)
	}
	return err
}

func (r *Registry) stored(ctx context.Context, t chat.TenantID, id chat.UserID) (chat.User, bool, error) {
	list, err := r.store.GetUsers(ctx, t, []chat.UserID{id})
	if err != nil || len(list) == 0 || list[0].ID == "" {
		return chat.User{}, false, err
	}
	return list[0], true, nil
}

// leave gives back a place that room had taken.
func (r *Registry) leave(t chat.TenantID) {
	r.counts.mu.Lock()
	defer r.counts.mu.Unlock()
	if c, ok := r.counts.by[t]; ok && c.n > 0 {
		c.n--
		r.counts.by[t] = c
	}
}

// room takes a place for one more user of the tenant, if there is one.
func (r *Registry) room(ctx context.Context, t chat.TenantID, limit int) error {
	r.counts.mu.Lock()
	defer r.counts.mu.Unlock() // also while counting: who comes meanwhile would count the same
	now := r.cfg.Now()
	c, ok := r.counts.by[t]
	if !ok || now.Sub(c.at) >= recount || now.Before(c.at) {
		n, err := r.store.CountUsers(ctx, t, limit)
		if err != nil {
			return err
		}
		c = count{n, now}
	}
	if r.counts.by == nil || len(r.counts.by) >= chat.MaxTenants {
		r.counts.by = make(map[chat.TenantID]count)
	}
	if c.n >= limit {
		r.counts.by[t] = c
		return &chat.QuotaError{Limit: "users", Text: "The tenant has as many users as it may have."}
	}
	c.n++
	r.counts.by[t] = c
	return nil
}

// WalkUsers returns at most limit users of a tenant after a cursor, and where to go on; done at the end.
func (r *Registry) WalkUsers(ctx context.Context, t chat.TenantID, after chat.UserCursor, limit int) ([]chat.User, chat.UserCursor, bool, error) {
	return r.store.WalkUsers(ctx, t, after, limit)
}
