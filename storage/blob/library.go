package blob

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/zumodra/hub/chat"
)

// References tell which blobs are in use. *storage.Store is one. Reads see every write that returned before they
// began (a quorum does, so does the embedded engine). Errors are passed on.
type References interface {
	// BlobGeneration is the generation under which this content is stored from now on; 0 at first.
	BlobGeneration(ctx context.Context, tenant chat.TenantID, sum [32]byte) (uint64, error)
	// AdvanceBlobGeneration durably makes it from+1, if it is from. It is no error if it is not.
	AdvanceBlobGeneration(ctx context.Context, tenant chat.TenantID, sum [32]byte, from uint64) error
	// AddBlobRef durably writes a reference by an id that is unique within the tenant.
	AddBlobRef(ctx context.Context, tenant chat.TenantID, sum [32]byte, generation uint64, ref string) error
	// RemoveBlobRef durably removes a reference; one that is not there is fine.
	RemoveBlobRef(ctx context.Context, tenant chat.TenantID, sum [32]byte, generation uint64, ref string) error
	// HasBlobRefs reports whether anything refers to that generation.
	HasBlobRefs(ctx context.Context, tenant chat.TenantID, sum [32]byte, generation uint64) (bool, error)
}

// Library stores content together with references to it, and removes what has none.
//
// Somebody may put content while a sweeper, perhaps on another machine, perhaps stopped for an hour in the middle of
// its work, decides to remove an equal old copy. No store offers "delete unless somebody cares", and a delete that was
// sent may take effect at any later time. So the name of a copy that may be removed is never used again:
//
//	put                                       sweep of generation g
//	P1  g := generation                       S1  g has no references (else stop)
//	P2  publish the content under g           S2  advance the generation from g to g+1
//	P3  write the reference to g              S3  g has no references (else stop; g stays, and is kept by them)
//	P4  generation is still g? done           S4  delete the copy g, now or at any later time
//	    else remove the reference, from P1
//
// Each side writes first and looks afterwards: a put that saw g at P4 had its reference written before S2 returned, so
// S3 sees it; a put whose reference S3 did not see sees the new generation at P4 and uses g+1, which nobody deletes
// under the decision on g. Grace periods only save work; no clock is part of the argument. TestEveryInterleaving runs
// all orders of these steps.
type Library struct {
	store Store
	refs  References
}

// NewLibrary returns a library over a store and references, which stay the caller's to close.
func NewLibrary(s Store, r References) *Library { return &Library{s, r} }

// maxRounds bounds Put: each further round needs a sweep that began after the one before.
const maxRounds = 5

// Put stores what r yields, at most limit bytes, and durably refers to it as ref. That is an id that no other Put of
// the tenant uses, nor this one again, and that the caller remembers, with the key, only afterwards. After an error
// there is no reference, unless it could not be taken back either: it then keeps content that nobody uses.
func (l *Library) Put(ctx context.Context, tenant chat.TenantID, ref string, r io.Reader, limit int64) (Info, error) {
	st, err := l.store.Stage(ctx, tenant, r, limit)
	if err != nil {
		return Info{}, err
	}
	defer st.Discard()
	sum := st.Sum()
	for range maxRounds {
		g, err := l.refs.BlobGeneration(ctx, tenant, sum)
		if err != nil {
			return Info{}, fmt.Errorf("put blob: %w", err)
		}
		info, err := st.Publish(ctx, g)
		if err != nil {
			return Info{}, err
		}
		if err = l.refs.AddBlobRef(ctx, tenant, sum, g, ref); err == nil {
			var now uint64
			if now, err = l.refs.BlobGeneration(ctx, tenant, sum); err == nil && now == g {
				return info, nil
			}
		}
		if rerr := l.takeBack(ctx, info.Key, ref); err == nil {
			err = rerr
		}
		if err != nil {
			return Info{}, fmt.Errorf("put blob %s: %w", info.Key, err)
		}
	}
	return Info{}, fmt.Errorf("put blob: %w: the same content was being removed %d times", ErrUnavailable, maxRounds)
}

// Share durably refers to content that is there already as ref, another id of the kind that Put wants. The caller then looks
// whether a reference that it knew of before is still there, which makes the content stay: a sweep that did not see the new one
// would have seen that. If it is gone, the new reference must be released.
func (l *Library) Share(ctx context.Context, key Key, ref string) error {
	if err := l.refs.AddBlobRef(ctx, key.Tenant, key.Sum, key.Generation, ref); err != nil {
		return fmt.Errorf("share blob %s: %w", key, err)
	}
	return nil
}

// takeBackTime bounds the removal of a reference for a caller whose context may have ended.
const takeBackTime = 10 * time.Second

func (l *Library) takeBack(ctx context.Context, key Key, ref string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeBackTime)
	defer cancel()
	return l.refs.RemoveBlobRef(ctx, key.Tenant, key.Sum, key.Generation, ref)
}

// Release removes a reference. The content goes with a later sweep, if it was the last one.
func (l *Library) Release(ctx context.Context, key Key, ref string) error {
	if err := l.refs.RemoveBlobRef(ctx, key.Tenant, key.Sum, key.Generation, ref); err != nil {
		return fmt.Errorf("release blob %s: %w", key, err)
	}
	return nil
}

// Sweep removes one blob if nothing refers to it, and reports whether it did. It may be called at any time, by any
// number of processes.
func (l *Library) Sweep(ctx context.Context, key Key) (bool, error) {
	used, err := l.refs.HasBlobRefs(ctx, key.Tenant, key.Sum, key.Generation)
	if err != nil || used {
		return false, err
	}
	g, err := l.refs.BlobGeneration(ctx, key.Tenant, key.Sum)
	if err != nil {
		return false, err
	}
	if g < key.Generation {
		// Whoever published it had read that generation, so it was there: not our references, or they were lost.
		return false, fmt.Errorf("blob %s is of a generation that is not known yet (%d): another hub's store?", key, g)
	}
	if g == key.Generation {
		if err := l.refs.AdvanceBlobGeneration(ctx, key.Tenant, key.Sum, g); err != nil {
			return false, err
		}
	}
	if used, err = l.refs.HasBlobRefs(ctx, key.Tenant, key.Sum, key.Generation); err != nil || used {
		return false, err
	}
	return true, l.store.Delete(ctx, key)
}
