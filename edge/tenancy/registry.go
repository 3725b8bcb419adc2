package tenancy

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
)

// Store is what a Registry needs of storage. Errors are those of package chat, wrapped; chat.ErrConflict where a version
// is given.
type Store interface {
	GetTenant(ctx context.Context, id chat.TenantID) (chat.Tenant, error)
	ListTenants(ctx context.Context, after chat.TenantID, limit int) ([]chat.Tenant, error)
	SaveTenant(ctx context.Context, t chat.Tenant, before uint64) error
	GetKey(ctx context.Context, id string) (chat.APIKey, error)
	ListKeys(ctx context.Context, t chat.TenantID) ([]chat.APIKey, error)
	SaveKey(ctx context.Context, k chat.APIKey, before uint64) error
	Restrict(ctx context.Context, r chat.Restriction, change func(*chat.Restriction)) (chat.Restriction, error)
	GetRestriction(ctx context.Context, r chat.Restriction) (chat.Restriction, error)
	Restrictions(ctx context.Context, now time.Time, yield func(chat.Restriction) bool) error
	Announce(ctx context.Context, c chat.TenancyChange) error
	Announced(ctx context.Context, since uint64) (n uint64, changes []chat.TenancyChange, missed bool, err error)
	AppendAudit(ctx context.Context, e chat.AuditEntry) error
	ListAudit(ctx context.Context, q chat.AuditQuery, now time.Time) (chat.AuditPage, error)
	EraseAudit(ctx context.Context, t chat.TenantID) error

	GetUsers(ctx context.Context, t chat.TenantID, ids []chat.UserID) ([]chat.User, error)
	PutUser(ctx context.Context, u chat.User) error
	CreateUser(ctx context.Context, u chat.User) (chat.User, bool, error)
	WalkUsers(ctx context.Context, t chat.TenantID, after chat.UserCursor, limit int) ([]chat.User, chat.UserCursor, bool, error)
	CountUsers(ctx context.Context, t chat.TenantID, most int) (int, error)
}

// Config of a Registry. Store is required.
type Config struct {
	Store Store
	// Poll is how often announcements of other nodes are looked for; 0: never, the store is this process's alone.
	Poll time.Duration
	// Reload is how often everything is read again, which also forgets tokens that have expired; default 5 min, without
	// Poll 1 h.
	Reload time.Duration
	// Listed refuses tenants that were not created. Otherwise a tenant that tokens name is active.
	Listed bool
	// Changed is told, after a change is in force here, whose sessions are to be looked at again (Registry.Admit): those
	// of a user, with an empty User those of the tenant, with an empty Tenant all. It must not block for long.
	Changed func(chat.UserKey)
	Now     func() time.Time // default time.Now
	Log     *slog.Logger     // default: discard
}

// Registry is safe for concurrent use.
type Registry struct {
	cfg   Config
	store Store
	log   *slog.Logger

	tenants atomic.Pointer[map[chat.TenantID]chat.Tenant] // never changed in place

	mu     sync.RWMutex
	users  map[chat.UserKey]chat.Restriction
	tokens map[uint64]time.Time // by auth.Pass.Token: until

	applying sync.Mutex // one change, or load, at a time
	at       uint64     // number of the last announcement that is in force

	counts counts
	stats  stats

	stop context.CancelFunc
	wg   sync.WaitGroup
}

type stats struct{ refused, auditFailed, pollFailed atomic.Uint64 }

// Stats of a Registry: gauges, and counters since the start.
type Stats struct {
	Tenants, Restrictions int
	Refused               uint64 // who had a valid token but is kept out
	AuditFailed           uint64 // entries of the audit log that could not be written
	PollFailed            uint64 // looks for announcements that failed
}

// Open reads who is kept out and starts the goroutine that follows the changes of other nodes and forgets what is over.
// Close stops it.
func Open(ctx context.Context, cfg Config) (*Registry, error) {
	if cfg.Reload <= 0 {
		cfg.Reload = 5 * time.Minute
		if cfg.Poll == 0 {
			cfg.Reload = time.Hour
		}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Changed == nil {
		cfg.Changed = func(chat.UserKey) {}
	}
	r := &Registry{cfg: cfg, store: cfg.Store, log: cfg.Log}
	if err := r.load(ctx); err != nil {
		return nil, fmt.Errorf("reading the tenants: %w", err)
	}
	run, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.wg.Go(func() { r.follow(run) })
	return r, nil
}

// Close stops following changes and waits for that.
func (r *Registry) Close() {
	r.stop()
	r.wg.Wait()
}

// Stats returns a snapshot for metrics.
func (r *Registry) Stats() Stats {
	r.mu.RLock()
	n := len(r.users) + len(r.tokens)
	r.mu.RUnlock()
	return Stats{Tenants: len(*r.tenants.Load()), Restrictions: n, Refused: r.stats.refused.Load(),
		AuditFailed: r.stats.auditFailed.Load(), PollFailed: r.stats.pollFailed.Load()}
}

// load reads everything.
func (r *Registry) load(ctx context.Context) error {
	r.applying.Lock()
	defer r.applying.Unlock()
	// The number comes first: what is announced while the rest is read is read again.
	at, _, _, err := r.store.Announced(ctx, r.at)
	if err != nil {
		return err
	}
	tenants := make(map[chat.TenantID]chat.Tenant)
	const page = 500
	for after := chat.TenantID(""); ; {
		list, err := r.store.ListTenants(ctx, after, page)
		if err != nil {
			return err
		}
		for _, t := range list {
			tenants[t.ID] = slim(t)
		}
		if len(list) < page {
			break
		}
		after = list[len(list)-1].ID
	}
	users, tokens := make(map[chat.UserKey]chat.Restriction), make(map[uint64]time.Time)
	now := r.cfg.Now()
	err = r.store.Restrictions(ctx, now, func(x chat.Restriction) bool {
		switch {
		case x.Empty(now):
		case x.Token != "":
			tokens[auth.TokenHash(x.Tenant, x.Token)] = x.Until
		default:
			users[chat.UserKey{Tenant: x.Tenant, User: x.User}] = x
		}
		return true
	})
	if err != nil {
		return err
	}
	r.tenants.Store(&tenants)
	r.mu.Lock()
	r.users, r.tokens = users, tokens
	r.mu.Unlock()
	r.at = at
	return nil
}

// slim drops what is not needed in memory.
func slim(t chat.Tenant) chat.Tenant {
	t.Settings = ""
	return t
}

// follow looks for the announcements of other nodes, if there are any, until ctx ends.
func (r *Registry) follow(ctx context.Context) {
	every := r.cfg.Poll
	if every <= 0 {
		every = r.cfg.Reload
	}
	t := time.NewTicker(every)
	defer t.Stop()
	last, quiet := time.Now(), time.Time{}
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		err := r.poll(ctx, time.Since(last) >= r.cfg.Reload, &last)
		if err == nil || ctx.Err() != nil {
			continue
		}
		r.stats.pollFailed.Add(1)
		if now := time.Now(); now.After(quiet) {
			quiet = now.Add(10 * time.Second)
			r.log.Warn("changes of tenants and suspensions cannot be followed", "error", err)
		}
	}
}

func (r *Registry) poll(ctx context.Context, everything bool, loaded *time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r.applying.Lock()
	since := r.at
	r.applying.Unlock()
	n, changes, missed, err := r.store.Announced(ctx, since)
	if err != nil {
		return err
	}
	if missed || everything {
		if err := r.load(ctx); err != nil {
			return err
		}
		*loaded = time.Now()
		r.cfg.Changed(chat.UserKey{})
		return nil
	}
	for _, c := range changes {
		if err := r.apply(ctx, c); err != nil {
			return err
		}
	}
	r.applying.Lock()
	r.at = max(r.at, n)
	r.applying.Unlock()
	return nil
}

// apply puts one change into force here.
func (r *Registry) apply(ctx context.Context, c chat.TenancyChange) error {
	look, err := r.reread(ctx, c)
	if err == nil && look {
		r.cfg.Changed(chat.UserKey{Tenant: c.Tenant, User: c.User})
	}
	return err
}

// reread reports whether somebody is kept out now.
func (r *Registry) reread(ctx context.Context, c chat.TenancyChange) (bool, error) {
	r.applying.Lock()
	defer r.applying.Unlock()
	if c.User == "" && c.Token == "" {
		t, err := r.store.GetTenant(ctx, c.Tenant)
		if err != nil {
			return false, err
		}
		m := maps.Clone(*r.tenants.Load())
		if t.Version > 0 {
			m[t.ID] = slim(t)
		}
		r.tenants.Store(&m)
		if t.State == chat.TenantErased {
			r.forget(t.ID)
		}
		return t.State != chat.TenantActive, nil
	}
	x, err := r.store.GetRestriction(ctx, chat.Restriction{Tenant: c.Tenant, User: c.User, Token: c.Token})
	if err != nil {
		return false, err
	}
	out := !x.Empty(r.cfg.Now())
	r.mu.Lock()
	defer r.mu.Unlock()
	switch k := (chat.UserKey{Tenant: c.Tenant, User: c.User}); {
	case c.Token != "" && out:
		r.tokens[auth.TokenHash(c.Tenant, c.Token)] = x.Until
	case c.Token != "":
		delete(r.tokens, auth.TokenHash(c.Tenant, c.Token))
	case out:
		r.users[k] = x
	default:
		delete(r.users, k)
	}
	return out, nil
}

// forget drops the suspensions of a tenant's users; what was revoked stays so until everything is read again.
func (r *Registry) forget(t chat.TenantID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.users, func(k chat.UserKey, _ chat.Restriction) bool { return k.Tenant == t })
}

// changed announces what was stored and puts it into force here.
func (r *Registry) changed(ctx context.Context, c chat.TenancyChange) error {
	err := r.store.Announce(ctx, c)
	for range 3 {
		if err == nil {
			break
		}
		err = r.store.Announce(ctx, c) // on clusters, others at the same time get in the way
	}
	if here := r.apply(ctx, c); err == nil {
		err = here
	}
	return err
}

// Admit answers whether somebody with a valid token is let in: chat.ErrSuspended, chat.ErrTokenRevoked, or
// chat.ErrUnauthorized for a tenant that is not there. It does not block.
func (r *Registry) Admit(p auth.Pass) error {
	err := r.admit(p)
	if err != nil {
		r.stats.refused.Add(1)
	}
	return err
}

func (r *Registry) admit(p auth.Pass) error {
	t, known := (*r.tenants.Load())[p.User.Tenant]
	switch {
	case !known && r.cfg.Listed && p.User.Tenant != chat.DefaultTenant:
		return fmt.Errorf("%w: tenant is not known", chat.ErrUnauthorized)
	case t.State == chat.TenantSuspended:
		return &chat.SuspendedError{Tenant: true, Reason: t.Reason}
	case t.State != chat.TenantActive:
		return &chat.SuspendedError{Tenant: true}
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if until, ok := r.tokens[p.Token]; ok && p.Token != 0 && r.cfg.Now().Before(until) {
		return chat.ErrTokenRevoked
	}
	x, ok := r.users[p.User]
	switch {
	case ok && x.Suspended:
		return &chat.SuspendedError{Reason: x.Reason}
	case ok && time.Unix(int64(p.Issued), 0).Before(x.RevokedBefore):
		return chat.ErrTokenRevoked
	}
	return nil
}

// Limits of a tenant; zero values are the hub's. It does not block.
func (r *Registry) Limits(t chat.TenantID) chat.Limits { return (*r.tenants.Load())[t].Limits }

// Verifier verifies tokens and lets in only whom the Registry admits. With an error of Registry.Admit its methods answer
// the claims of the token, too, which is valid by itself.
type Verifier struct {
	Verifier *auth.Verifier
	Registry *Registry
}

// Verify is as that of auth.Verifier, with the errors of Registry.Admit.
func (v Verifier) Verify(token string) (auth.Claims, error) {
	return v.admitted(v.Verifier.Verify(token))
}

// VerifyContext is as that of auth.Verifier, with the errors of Registry.Admit.
func (v Verifier) VerifyContext(ctx context.Context, token string) (auth.Claims, error) {
	return v.admitted(v.Verifier.VerifyContext(ctx, token))
}

// VerifyRefresh is as that of auth.Verifier, with the errors of Registry.Admit.
func (v Verifier) VerifyRefresh(ctx context.Context, token string) (auth.Claims, error) {
	return v.admitted(v.Verifier.VerifyRefresh(ctx, token))
}

func (v Verifier) admitted(c auth.Claims, err error) (auth.Claims, error) {
	if err == nil {
		err = v.Registry.Admit(c.Pass())
	}
	return c, err
}
