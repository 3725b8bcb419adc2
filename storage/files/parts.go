package files

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/chat/attachment"
	"github.com/zumodra/hub/storage"
)

// MaxParts is how many parts an upload may come in.
const MaxParts = 1000

// ErrOffset answers a part that does not begin where the one before ended.
var ErrOffset = fmt.Errorf("%w: the part does not begin where the last one ended", chat.ErrInvalid)

var errTooManyParts = &attachment.Error{Code: attachment.CodeInvalid, Text: "The upload has too many parts"}

// Begin announces a file of that size, whose content comes in parts. All of it counts as uploaded from now on.
func (f *Files) Begin(ctx context.Context, p chat.Principal, name string, voice bool, size int64) (chat.Upload, error) {
	file, err := attachment.Check(name, voice)
	switch {
	case err != nil:
		return chat.Upload{}, err
	case size <= 0:
		return chat.Upload{}, attachment.ErrInvalidData
	case size > attachment.MaxSize:
		return chat.Upload{}, attachment.ErrTooLarge
	}
	if err := f.charge(ctx, p.Key(), size); err != nil {
		return chat.Upload{}, err
	}
	row := f.row(p, file, voice)
	row.State, row.File.Size = chat.UploadReceiving, size
	err = f.cfg.Store.CreateFile(ctx, row)
	if err != nil && !errors.Is(err, chat.ErrUnknown) {
		f.refund(ctx, p.Key(), size, row.CreatedAt)
	}
	return row.Upload, err
}

// Append stores the next part of an upload, which begins at offset, and returns how much of it was stored: all that r
// yielded before its end. An error of r is that of the whole call, and nothing is stored.
func (f *Files) Append(ctx context.Context, p chat.Principal, id chat.FileID, offset int64, r io.Reader) (int64, error) {
	u, err := f.Own(ctx, p, id)
	if err != nil {
		return 0, err
	}
	if u.State != chat.UploadReceiving || u.Offset != offset {
		return 0, ErrOffset
	}
	if err := f.enter(p.Key()); err != nil {
		return 0, err
	}
	defer f.leave(p.Key())
	part, err := f.keep(ctx, p.Tenant, r, u.File.Size-offset)
	if err != nil {
		return 0, err
	}
	if part.Size == 0 {
		f.release(ctx, p.Tenant, part)
		return 0, nil
	}
	// What has come is not to be lost because the one who sent it is gone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	_, err = f.cfg.Store.ChangeFile(ctx, p.Tenant, id, func(row *storage.FileRow) error {
		switch {
		case row.State != chat.UploadReceiving || row.Offset != offset: // another request was faster
			return ErrOffset
		case len(row.Parts) >= MaxParts:
			return errTooManyParts
		}
		row.Parts = append(row.Parts, part)
		row.Offset += part.Size
		return nil
	})
	if err != nil {
		if !errors.Is(err, chat.ErrUnknown) { // else the row may name it; if it does not, that is a loss of room
			f.release(ctx, p.Tenant, part)
		}
		return 0, err
	}
	return part.Size, nil
}

// Finish makes one file of the parts of an upload, all of which have come, and judges it. One that the rules refuse is
// removed. It may be called again.
func (f *Files) Finish(ctx context.Context, p chat.Principal, id chat.FileID) (u chat.Upload, err error) {
	row, err := f.cfg.Store.GetFile(ctx, p.Tenant, id)
	switch {
	case err != nil:
		return u, err
	case row.Owner != p.User || row.State == chat.UploadRemoved:
		return u, fmt.Errorf("file %s: %w", id, chat.ErrNotFound)
	case row.State != chat.UploadReceiving:
		return row.Upload, nil
	case row.Offset != row.File.Size:
		return u, ErrOffset
	}
	start := f.cfg.Now()
	defer func() { f.cfg.Observer.Uploaded(outcome(err), row.File.Size, f.cfg.Now().Sub(start)) }()
	file, err := attachment.Check(row.Name, row.Voice)
	if err != nil {
		return u, err
	}
	whole := &joined{ctx: ctx, f: f, tenant: p.Tenant, parts: row.Parts}
	defer whole.close()
	content, err := f.put(ctx, p.Tenant, file, whole)
	if refused := (*attachment.Error)(nil); errors.As(err, &refused) {
		return u, errors.Join(err, f.Discard(ctx, p.Tenant, id))
	}
	if err != nil {
		return u, err
	}
	parts := row.Parts
	row, err = f.cfg.Store.ChangeFile(ctx, p.Tenant, id, func(row *storage.FileRow) error {
		if row.State != chat.UploadReceiving { // another request was faster
			return errDone
		}
		row.State, row.Parts, row.ChangedAt = chat.UploadReady, nil, f.now()
		row.Content, row.Sum = content, content.Sum
		return nil
	})
	switch {
	case errors.Is(err, errDone):
		f.release(ctx, p.Tenant, content)
		return f.Own(ctx, p, id)
	case err != nil && !errors.Is(err, chat.ErrUnknown):
		f.release(ctx, p.Tenant, content)
		return u, err
	case err != nil:
		return u, err
	}
	f.release(ctx, p.Tenant, parts...)
	return row.Upload, nil
}

// errDone ends a change that somebody else has made.
var errDone = errors.New("done already")

// joined reads parts one after the other.
type joined struct {
	ctx    context.Context
	f      *Files
	tenant chat.TenantID
	parts  []storage.ContentRef
	open   io.ReadCloser
}

// Read implements io.Reader.
func (j *joined) Read(p []byte) (int, error) {
	for {
		if j.open == nil {
			if len(j.parts) == 0 {
				return 0, io.EOF
			}
			r, err := j.f.cfg.Blobs.Open(j.ctx, contentKey(j.tenant, j.parts[0]))
			if err != nil {
				return 0, fail(err)
			}
			j.open, j.parts = r, j.parts[1:]
		}
		n, err := j.open.Read(p)
		if errors.Is(err, io.EOF) {
			j.close()
			if n == 0 {
				continue
			}
			err = nil
		}
		return n, err
	}
}

func (j *joined) close() {
	if j.open != nil {
		_ = j.open.Close() // it was only read
		j.open = nil
	}
}
