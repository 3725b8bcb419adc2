package files

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/chat/attachment"
	"github.com/zumodra/hub/storage"
)

// Copy makes a file of the caller's out of one that is part of a message, to be sent as one that was uploaded. The two share
// their content, which stays until both are gone, and the time at which they expire. Whether the caller may read the
// message is not asked. attachment.ErrFileGone if its time is over.
func (f *Files) Copy(ctx context.Context, p chat.Principal, id chat.FileID) (chat.Upload, error) {
	from, err := f.readable(ctx, p.Tenant, id)
	if err != nil {
		return chat.Upload{}, err
	}
	now := f.now()
	to := storage.FileRow{Tenant: p.Tenant, ChangedAt: now, Content: from.Content, Upload: chat.Upload{
		File:  chat.File{ID: chat.NewFileID(), Name: from.Name, Type: from.Type, Size: from.File.Size},
		Owner: p.User, Voice: from.Voice, State: chat.UploadReady, CreatedAt: now, ExpiresAt: from.ExpiresAt, Sum: from.Sum}}
	to.Content.Ref = "file/" + uuid.NewString()
	if err := f.cfg.Library.Share(ctx, contentKey(p.Tenant, to.Content), to.Content.Ref); err != nil {
		return chat.Upload{}, fail(err)
	}
	// A row says that its file is removed before its reference is.
	if _, err = f.readable(ctx, p.Tenant, id); err == nil {
		err = f.cfg.Store.CreateFile(ctx, to)
	}
	if err != nil {
		f.release(ctx, p.Tenant, to.Content)
		return chat.Upload{}, err
	}
	return to.Upload, nil
}

// readable answers the row of a file that is part of a message and has not expired.
func (f *Files) readable(ctx context.Context, tenant chat.TenantID, id chat.FileID) (storage.FileRow, error) {
	row, err := f.cfg.Store.GetFile(ctx, tenant, id)
	switch {
	case errors.Is(err, chat.ErrNotFound):
		return row, attachment.ErrFileGone
	case err != nil:
		return row, err
	case row.State != chat.UploadAttached && row.State != chat.UploadClaimed, row.Content.Ref == "", row.Expired(f.now()):
		return row, attachment.ErrFileGone
	}
	return row, nil
}
