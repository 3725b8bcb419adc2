package storagetest

import (
	"errors"
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
)

func storeBlobRefs(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx := t.Context()
	sum, other := [32]byte{1}, [32]byte{2}
	has := func(tenant chat.TenantID, sum [32]byte, g uint64, want bool) {
		t.Helper()
		got, err := s.HasBlobRefs(ctx, tenant, sum, g)
		must(t, err)
		equal(t, got, want)
	}
	generation := func(tenant chat.TenantID, sum [32]byte, want uint64) {
		t.Helper()
		got, err := s.BlobGeneration(ctx, tenant, sum)
		must(t, err)
		equal(t, got, want)
	}
	has("acme", sum, 0, false)
	generation("acme", sum, 0)
	for _, ref := range []string{"a", "b", "b", "att/\x00ü"} {
		must(t, s.AddBlobRef(ctx, "acme", sum, 0, ref))
	}
	must(t, s.AddBlobRef(ctx, "acme", sum, 2, "c"))
	has("acme", sum, 0, true)
	has("acme", sum, 1, false)
	has("acme", sum, 2, true)
	has("acme", other, 0, false)
	has("umbra", sum, 0, false)
	for _, ref := range []string{"a", "a", "b", "nobody"} {
		must(t, s.RemoveBlobRef(ctx, "acme", sum, 0, ref))
	}
	has("acme", sum, 0, true)
	must(t, s.RemoveBlobRef(ctx, "acme", sum, 0, "att/\x00ü"))
	has("acme", sum, 0, false)
	has("acme", sum, 2, true)

	must(t, s.AdvanceBlobGeneration(ctx, "acme", sum, 0))
	generation("acme", sum, 1)
	must(t, s.AdvanceBlobGeneration(ctx, "acme", sum, 0)) // too late
	must(t, s.AdvanceBlobGeneration(ctx, "acme", sum, 5))
	generation("acme", sum, 1)
	must(t, s.AdvanceBlobGeneration(ctx, "acme", sum, 1))
	generation("acme", sum, 2)
	generation("acme", other, 0)
	generation("umbra", sum, 0)
	has("acme", sum, 0, false) // the generation is no reference
	for _, err := range []error{s.AddBlobRef(ctx, "acme", sum, 0, ""), s.AddBlobRef(ctx, "", sum, 0, "a")} {
		if !errors.Is(err, chat.ErrInvalid) {
			t.Fatalf("error %v", err)
		}
	}
}
