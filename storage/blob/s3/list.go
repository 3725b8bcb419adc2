package s3

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/zumodra/hub/storage/blob"
)

const pageSize = 1000 // the most that S3 answers

// page lists objects after the one named after. minio.Core's own listing takes no context.
func (s *Store) page(ctx context.Context, prefix, after string, limit int) ([]minio.ObjectInfo, error) {
	list := make([]minio.ObjectInfo, 0, limit)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for o := range s.core.ListObjectsIter(ctx, s.cfg.Bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true,
		StartAfter: after, MaxKeys: limit}) {
		if o.Err != nil {
			return nil, o.Err
		}
		if list = append(list, o); len(list) == limit {
			break
		}
	}
	return list, nil
}

// List implements blob.Store. It yields between requests, so that a slow yield holds no answer open.
func (s *Store) List(ctx context.Context, yield func(blob.Info) bool) error {
	prefix := s.cfg.Prefix + "blobs/"
	for after := ""; ; {
		if err := s.begin(ctx); err != nil {
			return err
		}
		list, err := s.page(ctx, prefix, after, pageSize)
		if err != nil {
			return s.failed(ctx, err, "list", bucket{s})
		}
		for _, o := range list {
			folder, name, _ := strings.Cut(strings.TrimPrefix(o.Key, prefix), "/")
			key, err := blob.ParseKey(folder, name)
			if err != nil {
				continue // not ours
			}
			if !yield(blob.Info{Key: key, Size: o.Size, Stored: o.LastModified}) {
				return nil
			}
		}
		if len(list) < pageSize {
			return nil
		}
		after = list[len(list)-1].Key
	}
}

// Clean implements blob.Store.
func (s *Store) Clean(ctx context.Context, before time.Time) (n int, err error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	prefix := s.cfg.Prefix + "tmp/"
	listing, cancel := context.WithCancel(ctx) // ends the library's goroutine if we stop early
	defer cancel()
	for u := range s.core.ListIncompleteUploads(listing, s.cfg.Bucket, prefix, true) {
		if u.Err != nil {
			err = errors.Join(err, s.failed(ctx, u.Err, "list unfinished uploads of", bucket{s}))
			break
		}
		if !u.Initiated.Before(before) {
			continue
		}
		if aerr := s.core.AbortMultipartUpload(ctx, s.cfg.Bucket, u.Key, u.UploadID); aerr != nil {
			if minio.ToErrorResponse(aerr).Code != "NoSuchUpload" {
				err = errors.Join(err, s.failed(ctx, aerr, "abort an upload in", bucket{s}))
			}
			continue
		}
		n++
	}
	list, lerr := s.page(ctx, prefix, "", pageSize) // more go with the next sweep
	if lerr != nil {
		return n, errors.Join(err, s.failed(ctx, lerr, "list uploads in", bucket{s}))
	}
	for _, o := range list {
		if !o.LastModified.Before(before) {
			continue
		}
		if rerr := s.core.RemoveObject(ctx, s.cfg.Bucket, o.Key, minio.RemoveObjectOptions{}); rerr != nil {
			err = errors.Join(err, s.failed(ctx, rerr, fmt.Sprintf("remove upload %s in", o.Key), bucket{s}))
			continue
		}
		n++
	}
	return n, err
}
