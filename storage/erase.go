package storage

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/chat"
)

// What is erased with a tenant is found by walking through whole tables: no list of what a tenant has is complete, and
// nobody can say afterwards that something was missed. It is a rare thing to do.

// TenantConversations calls yield for every conversation of a tenant of which there is a derived row or a dirty mark: also
// for those that are gone, and of whose end consumers have not heard. The order means nothing, and one may come twice. It
// ends when yield returns false.
func (s *Store) TenantConversations(ctx context.Context, t chat.TenantID, yield func(chat.ConversationKey) bool) error {
	var failed error
	var last chat.ConversationKey
	more := true
	each := func(tenant, conversation Value) bool {
		if string(tenant.B) != string(t) {
			return true
		}
		var key chat.ConversationKey
		if key, failed = keyOf(tenant, conversation); failed != nil {
			return false
		}
		if key == last { // the rows of a partition come together
			return true
		}
		last = key
		more = yield(key)
		return more
	}
	err := s.engine.ScanTable(ctx, TableConversation, func(p Key, _ Row) bool { return each(p[0], p[1]) })
	if err == nil && failed == nil && more {
		err = s.engine.ScanTable(ctx, TableDirty, func(_ Key, r Row) bool { return each(r.Clustering[0], r.Clustering[1]) })
	}
	if err == nil {
		err = failed
	}
	return fail(err, "list conversations of", chat.UserKey{Tenant: t})
}

// ErasedTables are those that EraseRows takes a tenant's rows out of: all that can have some, but for the tenant itself and
// its audit log.
func (s *Store) ErasedTables() []string {
	var names []string
	for _, t := range Tables() {
		if erasable(t) && !(t.Fenced && s.cfg.Fences != nil) {
			names = append(names, t.Name)
		}
	}
	return names
}

func tenantColumn(list []Column) int {
	return slices.IndexFunc(list, func(c Column) bool { return c.Name == "tenant" })
}

func erasable(t *Table) bool {
	return t != TableTenants && t != TableAudit && max(tenantColumn(t.Partition), tenantColumn(t.Clustering), tenantColumn(t.Columns)) >= 0
}

// EraseRows deletes all rows of a tenant from one of ErasedTables, however many, and returns how many rows, or partitions,
// it found. Nothing of the tenant may be in use. Doing it again is safe.
func (s *Store) EraseRows(ctx context.Context, t chat.TenantID, table string) (int, error) {
	for _, x := range Tables() {
		if x.Name == table && erasable(x) {
			return s.eraseRows(ctx, t, x)
		}
	}
	return 0, nil // of another version of the program
}

func (s *Store) eraseRows(ctx context.Context, t chat.TenantID, table *Table) (int, error) {
	partition, clustering, column := tenantColumn(table.Partition), tenantColumn(table.Clustering), tenantColumn(table.Columns)
	n := 0
	var last Key
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(s.cfg.Parallel)
	remove := func(p, c Key) {
		n++
		g.Go(func() error {
			return s.engine.Apply(gctx, Batch{Table: table, Partition: p, Mutations: []Mutation{{Clustering: c, Delete: true}}})
		})
	}
	of := func(v Value) bool { return string(v.B) == string(t) }
	err := s.engine.ScanTable(ctx, table, func(p Key, r Row) bool {
		switch {
		case partition >= 0:
			if of(p[partition]) && !sameKey(p, last) { // the rows of a partition come together
				last = cloneKey(p)
				remove(last, nil)
			}
		case clustering >= 0:
			if of(r.Clustering[clustering]) {
				remove(cloneKey(p), cloneKey(r.Clustering))
			}
		default:
			if of(r.Columns[column]) {
				remove(cloneKey(p), cloneKey(r.Clustering))
			}
		}
		return gctx.Err() == nil
	})
	if failed := g.Wait(); failed != nil {
		err = failed
	}
	return n, fail(err, "erase from "+table.Name+" what is of", chat.UserKey{Tenant: t})
}

func cloneKey(k Key) Key {
	c := slices.Clone(k)
	for i := range c {
		c[i].B = slices.Clone(c[i].B)
	}
	return c
}

func sameKey(a, b Key) bool {
	return slices.EqualFunc(a, b, func(x, y Value) bool { return x.I == y.I && string(x.B) == string(y.B) })
}

// EraseAudit deletes the audit log of a tenant.
func (s *Store) EraseAudit(ctx context.Context, t chat.TenantID) error {
	_, err := s.eraseRows(ctx, t, TableAudit)
	s.days.forget(t) // what is appended next names its day again
	return err
}
