package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/chat/attachment"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/files/thumbnail"
)

// thumbTime bounds each of the wait for the turn of a thumbnail, the reading of the picture, the making, and the keeping.
const thumbTime = 15 * time.Second

// Thumbnail opens the small picture of a file, a JPEG, which is made the first time that it is asked for, one after the
// other. chat.ErrNotFound: the file is no picture, or none that could be made smaller, or thumbnails are switched off.
func (f *Files) Thumbnail(ctx context.Context, tenant chat.TenantID, id chat.FileID) (io.ReadSeekCloser, error) {
	none := fmt.Errorf("thumbnail of file %s: %w", id, chat.ErrNotFound)
	row, err := f.cfg.Store.GetFile(ctx, tenant, id)
	if err != nil {
		return nil, err
	}
	file, err := attachment.Check(row.Name, false)
	if err != nil || !file.Kind.Image || f.cfg.NoThumbnails || row.Thumb == storage.ThumbRefused || row.Content.Ref == "" || row.State == chat.UploadRemoved {
		return nil, none
	}
	if row.Thumb == storage.ThumbUnknown {
		if row, err = f.makeThumb(ctx, tenant, id); err != nil {
			return nil, err
		}
		if row.Thumb != storage.ThumbMade {
			return nil, none
		}
	}
	r, err := f.cfg.Blobs.Open(ctx, contentKey(tenant, row.ThumbAt))
	if err != nil {
		return nil, fail(err)
	}
	return r, nil
}

func (f *Files) makeThumb(ctx context.Context, tenant chat.TenantID, id chat.FileID) (row storage.FileRow, err error) {
	turn, over := context.WithTimeout(ctx, thumbTime)
	defer over()
	select {
	case f.thumbs <- struct{}{}:
		defer func() { <-f.thumbs }()
	case <-turn.Done():
		return row, fmt.Errorf("wait for a thumbnail: %w: %w", chat.ErrOverloaded, turn.Err())
	}
	if row, err = f.cfg.Store.GetFile(ctx, tenant, id); err != nil || row.Thumb != storage.ThumbUnknown {
		return row, err // somebody else made it meanwhile
	}
	state, at := storage.ThumbRefused, storage.ContentRef{}
	if row.File.Size <= thumbnail.MaxBytes {
		content, err := f.whole(ctx, tenant, id)
		if err != nil {
			f.cfg.Observer.Thumbnail("failed")
			return row, err
		}
		// Neither what the wait nor what a slow store has left: a picture that runs out of time is never tried again.
		making, stop := context.WithTimeout(ctx, thumbTime)
		picture, err := thumbnail.Make(making, bytes.NewReader(content))
		stop()
		if err != nil && !errors.Is(err, thumbnail.ErrRefused) && ctx.Err() != nil {
			f.cfg.Observer.Thumbnail("failed")
			return row, ctx.Err()
		}
		if err == nil {
			keeping, stop := context.WithTimeout(ctx, thumbTime)
			at, err = f.keep(keeping, tenant, bytes.NewReader(picture), int64(len(picture)))
			stop()
			if err != nil {
				f.cfg.Observer.Thumbnail("failed")
				return row, err
			}
			state = storage.ThumbMade
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	row, err = f.cfg.Store.ChangeFile(ctx, tenant, id, func(row *storage.FileRow) error {
		if row.Thumb != storage.ThumbUnknown || row.State == chat.UploadRemoved {
			return errDone
		}
		row.Thumb, row.ThumbAt = state, storage.ContentRef{Sum: at.Sum, Generation: at.Generation, Ref: at.Ref}
		return nil
	})
	if err != nil {
		if !errors.Is(err, chat.ErrUnknown) { // else the row may name it; if it does not, that is a loss of room
			f.release(ctx, tenant, at)
		}
		if errors.Is(err, errDone) {
			err = nil
		}
		return row, err
	}
	f.cfg.Observer.Thumbnail(map[storage.ThumbState]string{storage.ThumbMade: "made", storage.ThumbRefused: "refused"}[state])
	return row, nil
}

// whole reads a file of at most thumbnail.MaxBytes.
func (f *Files) whole(ctx context.Context, tenant chat.TenantID, id chat.FileID) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, thumbTime)
	defer cancel()
	r, err := f.Open(ctx, tenant, id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // it was only read
	b, err := io.ReadAll(io.LimitReader(r, thumbnail.MaxBytes))
	return b, fail(err)
}
