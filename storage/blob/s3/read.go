package s3

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/minio/minio-go/v7"

	"github.com/zumodra/hub/storage/blob"
)

// Open implements blob.Store. Each place that is read from after a seek is one request.
func (s *Store) Open(ctx context.Context, key blob.Key) (blob.Reader, error) {
	i, err := s.Stat(ctx, key)
	if err != nil {
		return nil, err
	}
	return &reader{ctx: ctx, store: s, info: i}, nil
}

type reader struct {
	ctx    context.Context
	store  *Store
	info   blob.Info
	offset int64
	body   io.ReadCloser // at offset; nil: not asked for
	closed bool
}

func (r *reader) Info() blob.Info { return r.info }

func (r *reader) Read(p []byte) (int, error) {
	switch {
	case r.closed:
		return 0, fmt.Errorf("read blob %s: %w", r.info.Key, blob.ErrClosed)
	case r.ctx.Err() != nil:
		return 0, r.ctx.Err()
	case len(p) == 0:
		return 0, nil
	case r.offset >= r.info.Size:
		return 0, io.EOF
	}
	if r.body == nil {
		if err := r.request(); err != nil {
			return 0, err
		}
	}
	n, err := r.body.Read(p)
	r.offset += int64(n)
	if err == nil || errors.Is(err, io.EOF) && r.offset == r.info.Size {
		return n, nil // the end is told by the next read
	}
	_ = r.body.Close() // it failed
	r.body = nil       // a further read asks again from where this one came to
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, r.store.failed(r.ctx, err, "read blob", r.info.Key)
}

func (r *reader) request() error {
	s := r.store
	if err := s.begin(r.ctx); err != nil {
		return err
	}
	var o minio.GetObjectOptions
	if r.offset > 0 {
		if err := o.SetRange(r.offset, 0); err != nil {
			return fmt.Errorf("read blob %s: %w", r.info.Key, err)
		}
	}
	body, _, _, err := s.core.GetObject(r.ctx, s.cfg.Bucket, s.object(r.info.Key), o)
	if err != nil {
		return s.failed(r.ctx, err, "read blob", r.info.Key)
	}
	r.body = body
	return nil
}

// Seek implements io.Seeker. It asks for nothing.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.offset
	case io.SeekEnd:
		offset += r.info.Size
	}
	if offset < 0 {
		return r.offset, fmt.Errorf("seek in blob %s: %d is before its beginning", r.info.Key, offset)
	}
	if offset != r.offset && r.body != nil {
		_ = r.body.Close() // what is not read is not needed
		r.body = nil
	}
	r.offset = offset
	return offset, nil
}

// Close implements io.Closer.
func (r *reader) Close() error {
	r.closed = true
	if r.body == nil {
		return nil
	}
	err := r.body.Close()
	r.body = nil
	return err
}
