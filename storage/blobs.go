package storage

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/zumodra/hub/chat"
)

// contentName names content in errors.
type contentName struct {
	tenant chat.TenantID
	sum    [32]byte
}

func (c contentName) String() string { return string(c.tenant) + "/" + hex.EncodeToString(c.sum[:]) }

func blobPartition(tenant chat.TenantID, sum *[32]byte) Key { return Key{text(tenant), blob(sum[:])} }

var generationRow = Key{Value{Set: true, I: -1}, text("")}

// BlobGeneration returns the generation under which this content of the tenant is stored from now on.
func (s *Store) BlobGeneration(ctx context.Context, tenant chat.TenantID, sum [32]byte) (uint64, error) {
	r, err := s.engine.Get(ctx, TableBlobRefs, blobPartition(tenant, &sum), generationRow)
	switch {
	case errors.Is(err, ErrNoRow):
		return 0, nil
	case err != nil:
		return 0, fail(err, "read the generation of blob", contentName{tenant, sum})
	case !r.Columns[0].Set || r.Columns[0].I < 1:
		return 0, fmt.Errorf("read the generation of blob %s: %w: it is %d", contentName{tenant, sum}, ErrCorrupt, r.Columns[0].I)
	}
	return r.Columns[0].uint(), nil
}

// AdvanceBlobGeneration durably makes the generation from+1 if it is from; else it changes nothing.
func (s *Store) AdvanceBlobGeneration(ctx context.Context, tenant chat.TenantID, sum [32]byte, from uint64) error {
	var expect []Value
	if from > 0 {
		expect = []Value{number(from)}
	}
	_, _, err := s.engine.CompareAndSet(ctx, TableBlobRefs, blobPartition(tenant, &sum), generationRow, expect,
		[]Value{number(from + 1)})
	return fail(err, "advance the generation of blob", contentName{tenant, sum})
}

// AddBlobRef durably writes that ref, an id that is unique within the tenant, refers to that generation of the content.
func (s *Store) AddBlobRef(ctx context.Context, tenant chat.TenantID, sum [32]byte, generation uint64, ref string) error {
	name := contentName{tenant, sum}
	if tenant == "" || ref == "" {
		return fmt.Errorf("add a reference to blob %s: %w: tenant and reference are needed", name, chat.ErrInvalid)
	}
	return fail(s.engine.Apply(ctx, Batch{Table: TableBlobRefs, Partition: blobPartition(tenant, &sum),
		Mutations: []Mutation{{Clustering: Key{number(generation), text(ref)}, Whole: true}}}), "add a reference to blob", name)
}

// RemoveBlobRef durably removes a reference; one that is not there is fine.
func (s *Store) RemoveBlobRef(ctx context.Context, tenant chat.TenantID, sum [32]byte, generation uint64, ref string) error {
	return fail(s.engine.Apply(ctx, Batch{Table: TableBlobRefs, Partition: blobPartition(tenant, &sum),
		Mutations: []Mutation{{Clustering: Key{number(generation), text(ref)}, Delete: true}}}),
		"remove a reference to blob", contentName{tenant, sum})
}

// HasBlobRefs reports whether anything refers to that generation of the content.
func (s *Store) HasBlobRefs(ctx context.Context, tenant chat.TenantID, sum [32]byte, generation uint64) (bool, error) {
	found := false
	err := s.engine.Scan(ctx, Range{Table: TableBlobRefs, Partition: blobPartition(tenant, &sum),
		From: Key{number(generation)}, To: Key{number(generation)}, ToInclusive: true, Limit: 1, Hint: 1},
		func(Row) bool { found = true; return false })
	return found, fail(err, "read the references to blob", contentName{tenant, sum})
}
