package tenancy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/zumodra/hub/chat"
)

// open refuses what would write something of a tenant whose data are being erased, or were.
func (r *Registry) open(t chat.TenantID) error {
	if s := (*r.tenants.Load())[t].State; s == chat.TenantErasing || s == chat.TenantErased {
		return &chat.SuspendedError{Tenant: true}
	}
	return nil
}

// EraseTenant keeps a tenant out, closes its sessions on every node within a second, and has an Eraser erase all of its
// data, which takes a while. It cannot be taken back; wanting it again changes nothing.
func (r *Registry) EraseTenant(ctx context.Context, by chat.Actor, id chat.TenantID, version uint64) (chat.Tenant, error) {
	address := chat.AddressOf(ctx)
	return r.update(ctx, by, id, version, chat.ActionTenantErase, func(t *chat.Tenant) bool {
		if t.State == chat.TenantErasing || t.State == chat.TenantErased {
			return false
		}
		t.State, t.Reason = chat.TenantErasing, ""
		t.Erasure = chat.Erasure{By: by, Address: address, At: r.now()}
		return true
	})
}

// again makes a tenant anew whose id belonged to one that was erased long enough ago.
func (r *Registry) again(ctx context.Context, t chat.Tenant) (chat.Tenant, error) {
	old, err := r.store.GetTenant(ctx, t.ID)
	if err != nil {
		return t, err
	}
	if old.State != chat.TenantErased || r.cfg.Now().Sub(old.UpdatedAt) < chat.EraseRest {
		return t, fmt.Errorf("create tenant %s: %w", t.ID, chat.ErrConflict)
	}
	t.Version = old.Version + 1
	return t, r.store.SaveTenant(ctx, t, old.Version)
}

// EraseStep is a part of the erasing of a tenant.
type EraseStep struct {
	Name string // stored while it is under way
	// Do erases all that it finds, or some of it, and says how much that was. It is called again until it finds nothing,
	// and may be called by two nodes at once.
	Do func(ctx context.Context, t chat.TenantID) (found int, err error)
}

// EraserConfig configures an Eraser. Registry and Steps are required.
type EraserConfig struct {
	Registry *Registry
	Steps    []EraseStep // in order
	// Owns says whether this node erases a tenant's data; nil: it does.
	Owns func(chat.TenantID) bool
	// Grace is how long after the tenant was closed the erasing begins: what was under way on any node has ended by then.
	// Default 30 s.
	Grace time.Duration
	// Pause between two looks for something to do; default 2 s. A step that finds something again and again is repeated
	// after twice the pause of before, up to a minute.
	Pause time.Duration
	Log   *slog.Logger // default: discard
}

// Eraser erases the data of tenants, one after the other: all steps until a whole pass of them finds nothing. How far it
// is, is in the tenant's row, so that another process goes on where one ended.
type Eraser struct{ cfg EraserConfig }

// NewEraser returns an Eraser, which does nothing before Run.
func NewEraser(c EraserConfig) *Eraser {
	if c.Owns == nil {
		c.Owns = func(chat.TenantID) bool { return true }
	}
	if c.Grace <= 0 {
		c.Grace = 30 * time.Second
	}
	if c.Pause <= 0 {
		c.Pause = 2 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Eraser{c}
}

const longestPause = time.Minute

// Run erases until ctx ends.
func (e *Eraser) Run(ctx context.Context) {
	for sleep(ctx, e.cfg.Pause) {
		for _, t := range e.cfg.Registry.erasing() {
			if ctx.Err() != nil || !e.cfg.Owns(t) {
				continue
			}
			if err := e.erase(ctx, t); err != nil && ctx.Err() == nil {
				e.cfg.Log.Warn("erasing a tenant: broken off, it will be gone on with", "tenant", t, "error", err)
			}
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// erasing are the tenants whose data are to be erased.
func (r *Registry) erasing() []chat.TenantID {
	var list []chat.TenantID
	for id, t := range *r.tenants.Load() {
		if t.State == chat.TenantErasing {
			list = append(list, id)
		}
	}
	slices.Sort(list)
	return list
}

var errNotMine = errors.New("another node goes on with it")

// erase goes on with one tenant, to the end if nothing comes in between.
func (e *Eraser) erase(ctx context.Context, id chat.TenantID) error {
	r := e.cfg.Registry
	t, err := r.store.GetTenant(ctx, id)
	if err != nil {
		return err
	}
	if t.State != chat.TenantErasing {
		return r.apply(ctx, chat.TenancyChange{Tenant: id}) // its announcement got lost
	}
	if r.cfg.Now().Sub(t.Erasure.At) < e.cfg.Grace {
		return nil
	}
	first := slices.IndexFunc(e.cfg.Steps, func(s EraseStep) bool { return s.Name == t.Erasure.Step })
	whole := first <= 0 // from the first step on: else this pass says nothing about those before
	total := 0
	for first = max(first, 0); ; first, whole = 0, true {
		found := 0
		for _, s := range e.cfg.Steps[first:] {
			n, err := e.step(ctx, id, s)
			found += n
			if err != nil {
				return fmt.Errorf("%s: %w", s.Name, err)
			}
		}
		total += found
		if found == 0 && whole {
			break
		}
	}
	if err := e.finish(ctx, id); err != nil {
		return err
	}
	e.cfg.Log.Info("a tenant was erased", "tenant", id, "found", total, "took", r.cfg.Now().Sub(t.Erasure.At).Round(time.Second))
	return nil
}

// step does one step until it finds nothing.
func (e *Eraser) step(ctx context.Context, id chat.TenantID, s EraseStep) (total int, err error) {
	if err := e.mark(ctx, id, s.Name); err != nil {
		return 0, err
	}
	for pause := time.Duration(0); ; pause = min(max(2*pause, e.cfg.Pause), longestPause) { // the second look comes at once
		n, err := s.Do(ctx, id)
		total += n
		if err != nil || n == 0 {
			return total, err
		}
		switch {
		case !sleep(ctx, pause):
			return total, ctx.Err()
		case !e.cfg.Owns(id):
			return total, errNotMine
		}
	}
}

// mark durably says which step is under way.
func (e *Eraser) mark(ctx context.Context, id chat.TenantID, step string) error {
	r := e.cfg.Registry
	t, err := r.store.GetTenant(ctx, id)
	switch {
	case err != nil:
		return err
	case t.State != chat.TenantErasing || !e.cfg.Owns(id):
		return errNotMine
	case t.Erasure.Step == step:
		return nil
	}
	before := t.Version
	t.Version++
	t.Erasure.Step = step
	return r.store.SaveTenant(ctx, t, before)
}

// finish leaves one entry of the audit log, and the tenant's id.
func (e *Eraser) finish(ctx context.Context, id chat.TenantID) error {
	r := e.cfg.Registry
	if err := r.store.EraseAudit(ctx, id); err != nil {
		return err
	}
	t, err := r.store.GetTenant(ctx, id)
	switch {
	case err != nil:
		return err
	case t.State != chat.TenantErasing:
		return errNotMine
	}
	entry := chat.NewAuditEntry(r.cfg.Now(), id, t.Erasure.By, chat.ActionTenantErased, string(id))
	entry.Address = t.Erasure.Address
	if err := r.store.AppendAudit(ctx, entry); err != nil {
		return err
	}
	left := chat.Tenant{ID: id, State: chat.TenantErased, Version: t.Version + 1, CreatedAt: t.CreatedAt, UpdatedAt: r.now()}
	if err := r.store.SaveTenant(ctx, left, t.Version); err != nil {
		return err
	}
	return r.changed(ctx, chat.TenancyChange{Tenant: id})
}
