package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/blob"
)

// Stage implements blob.Store.
func (s *Store) Stage(ctx context.Context, tenant chat.TenantID, r io.Reader, limit int64) (blob.Staged, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	if tenant == "" {
		return nil, errors.New("stage blob: no tenant given")
	}
	select {
	case s.slots <- struct{}{}:
	default:
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for one of %d uploads to end: %w", s.cfg.Uploads, ctx.Err())
		}
	}
	st := &staged{store: s, key: blob.Key{Tenant: tenant}, part: s.parts.Get().(*[partSize]byte)}
	if err := st.fill(ctx, r, blob.Limit(limit)); err != nil {
		st.Discard()
		return nil, err
	}
	return st, nil
}

type staged struct {
	store *Store
	key   blob.Key
	size  int64
	part  *[partSize]byte // holds all of it if there is no object

	object string // in tmp, if it has more than one part
	upload string // id of the multipart upload while it is not complete
	parts  []minio.CompletePart
}

func (st *staged) Sum() blob.Sum { return st.key.Sum }
func (st *staged) Size() int64   { return st.size }

func (st *staged) fill(ctx context.Context, r io.Reader, limit int64) error {
	h := sha256.New()
	for {
		if err := st.store.begin(ctx); err != nil {
			return err
		}
		n, rerr := blob.Fill(ctx, r, st.part[:])
		if st.size+int64(n) > limit {
			return blob.TooLarge(limit)
		}
		if rerr != nil && !errors.Is(rerr, io.EOF) {
			return fmt.Errorf("reading content to store: %w", rerr)
		}
		h.Write(st.part[:n])
		st.size += int64(n)
		last := rerr != nil
		if last && st.object == "" { // all of it is in memory
			h.Sum(st.key.Sum[:0])
			return nil
		}
		if n > 0 {
			if err := st.send(ctx, st.part[:n]); err != nil {
				return st.store.failed(ctx, err, "stage blob of", st.key)
			}
		}
		if last {
			h.Sum(st.key.Sum[:0])
			return st.store.failed(ctx, st.complete(ctx), "stage blob", st.key)
		}
	}
}

// send uploads a part. The server refuses it if it is not what its hash in the request's signature says.
// (DisableContentSha256 turns off the library's signing of chunks, in favour of the hash that we give.)
func (st *staged) send(ctx context.Context, b []byte) (err error) {
	s := st.store
	if st.object == "" {
		object := s.temporary()
		if st.upload, err = s.core.NewMultipartUpload(ctx, s.cfg.Bucket, object, minio.PutObjectOptions{}); err != nil {
			return err
		}
		st.object = object
	}
	sum := sha256.Sum256(b)
	p, err := s.core.PutObjectPart(ctx, s.cfg.Bucket, st.object, st.upload, len(st.parts)+1, bytes.NewReader(b),
		int64(len(b)), minio.PutObjectPartOptions{Sha256Hex: hex.EncodeToString(sum[:]), DisableContentSha256: true})
	if err != nil {
		return err
	}
	st.parts = append(st.parts, minio.CompletePart{PartNumber: p.PartNumber, ETag: p.ETag})
	return nil
}

func (st *staged) complete(ctx context.Context) error {
	s := st.store
	if _, err := s.core.CompleteMultipartUpload(ctx, s.cfg.Bucket, st.object, st.upload, st.parts, minio.PutObjectOptions{}); err != nil {
		return err
	}
	st.upload = ""
	o, err := s.core.StatObject(ctx, s.cfg.Bucket, st.object, minio.StatObjectOptions{})
	if err == nil && o.Size != st.size {
		err = fmt.Errorf("%w: %d bytes were sent and %d arrived", blob.ErrCorrupt, st.size, o.Size)
	}
	return err
}

// Publish implements blob.Staged.
func (st *staged) Publish(ctx context.Context, generation uint64) (blob.Info, error) {
	s := st.store
	if err := s.begin(ctx); err != nil {
		return blob.Info{}, err
	}
	key := st.key
	key.Generation = generation
	if i, err := s.stat(ctx, key); err == nil && i.Size == st.size {
		return i, nil
	} else if err != nil && !errors.Is(err, blob.ErrNotFound) {
		return blob.Info{}, err
	}
	var err error
	if st.object == "" {
		_, err = s.core.PutObject(ctx, s.cfg.Bucket, s.object(key), bytes.NewReader(st.part[:st.size]), st.size, "",
			key.Sum.String(), minio.PutObjectOptions{DisableMultipart: true, DisableContentSha256: true})
	} else {
		_, err = s.core.CopyObject(ctx, s.cfg.Bucket, st.object, s.cfg.Bucket, s.object(key), nil, minio.CopySrcOptions{},
			minio.PutObjectOptions{})
	}
	if err != nil {
		if err = s.failed(ctx, err, "publish blob", key); errors.Is(err, blob.ErrNotFound) {
			err = fmt.Errorf("publish blob %s: %w: the upload was removed meanwhile", key, blob.ErrUnavailable)
		}
		return blob.Info{}, err
	}
	i, err := s.stat(ctx, key)
	switch {
	case errors.Is(err, blob.ErrNotFound): // published and swept within this call: the library finds out by the generation
		return blob.Info{Key: key, Size: st.size, Stored: time.Now()}, nil
	case err == nil && i.Size != st.size:
		err = fmt.Errorf("publish blob %s: %w: it has %d bytes, not %d", key, blob.ErrCorrupt, i.Size, st.size)
	}
	return i, err
}

// discardTime bounds tidying up for callers whose context may have ended.
const discardTime = 10 * time.Second

// Discard implements blob.Staged. What it cannot remove is left to Clean.
func (st *staged) Discard() {
	s := st.store
	s.parts.Put(st.part)
	st.part = nil
	<-s.slots
	if st.object == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), discardTime)
	defer cancel()
	if st.upload != "" {
		_ = s.core.AbortMultipartUpload(ctx, s.cfg.Bucket, st.object, st.upload)
		return
	}
	_ = s.core.RemoveObject(ctx, s.cfg.Bucket, st.object, minio.RemoveObjectOptions{})
}
