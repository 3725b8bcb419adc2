package files

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/chat/attachment"
	"github.com/zumodra/hub/storage"
)

// Claim is what a file is claimed for.
type Claim struct {
	Conversation chat.ConversationID
	After        uint64 // the conversation's head now: the message will come behind it
	ClientID     string // of the message; never empty, so that a file becomes one message
	Voice        bool
}

// Granted is a file that was claimed, for Unclaim.
type Granted struct {
	chat.Upload
	since time.Time // the claim as this grant left it; zero: somebody made it before
}

// Claim makes a ready file of the caller a part of the message that is about to be sent, and returns it: the
// message carries its File, and is a voice message if it says so. The same claim again is granted again; another one gets attachment.ErrNoUpload. A claim ends with Attach,
// Unclaim or Discard; one that does not, because the process ended, is settled by the cleanup.
func (f *Files) Claim(ctx context.Context, p chat.Principal, id chat.FileID, c Claim) (Granted, error) {
	u, err := f.Own(ctx, p, id)
	if err == nil && u.State == chat.UploadReceiving && u.Offset == u.File.Size {
		_, err = f.Finish(ctx, p, id) // which failed when the last part came
	}
	if errors.Is(err, chat.ErrNotFound) {
		return Granted{}, attachment.ErrNoUpload
	}
	if err != nil {
		return Granted{}, err
	}
	if _, err := attachment.Check(u.Name, c.Voice || u.Voice); err != nil {
		return Granted{}, err
	}
	again := false
	row, err := f.cfg.Store.ChangeFile(ctx, p.Tenant, id, func(row *storage.FileRow) error {
		same := row.Conversation == c.Conversation && row.ClientID == c.ClientID
		again = false
		switch {
		case row.Owner != p.User:
			return attachment.ErrNoUpload
		case row.State == chat.UploadAttached && same:
			return errDone
		case row.State == chat.UploadClaimed && same:
			// The grant before this one must not be taken back any more, nor must the cleanup think that it is over.
			again, row.ChangedAt = true, later(f.now(), row.ChangedAt)
			return nil
		case row.State != chat.UploadReady, f.stale(row):
			return attachment.ErrNoUpload
		}
		row.State, row.ChangedAt, row.Voice = chat.UploadClaimed, later(f.now(), row.ChangedAt), c.Voice || row.Voice
		row.Conversation, row.After, row.ClientID = c.Conversation, c.After, c.ClientID
		return nil
	})
	if err != nil && !errors.Is(err, errDone) {
		return Granted{}, err
	}
	g := Granted{Upload: row.Upload}
	if err == nil && !again {
		g.since = row.ChangedAt
	}
	return g, nil
}

// later is now, or the next moment that is stored if the last change was not before: no two grants look alike.
func later(now, last time.Time) time.Time {
	if now.After(last) {
		return now
	}
	return last.Add(time.Microsecond)
}

// stale reports whether an upload that was not sent is one that the cleanup removes.
func (f *Files) stale(row *storage.FileRow) bool {
	since := row.CreatedAt
	if row.State == chat.UploadClaimed {
		since = row.ChangedAt
	}
	return f.now().Sub(since) > f.cfg.Pending
}

// Attach says which message a claimed file became part of.
func (f *Files) Attach(ctx context.Context, tenant chat.TenantID, id chat.FileID, message chat.MessageID) error {
	_, err := f.cfg.Store.ChangeFile(ctx, tenant, id, func(row *storage.FileRow) error {
		if row.State != chat.UploadClaimed {
			return errDone
		}
		row.State, row.Message, row.ChangedAt = chat.UploadAttached, message, f.now()
		return nil
	})
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}

// Unclaim takes a claim back: the message was refused, and the file may be sent otherwise. It does so only for the one
// who made the claim, and while nobody else was granted it: a request that is repeated may be refused although the one
// before it sent the message, or is about to. Such a claim is left to be granted once more, or to the cleanup.
func (f *Files) Unclaim(ctx context.Context, tenant chat.TenantID, g Granted) error {
	if g.since.IsZero() {
		return nil
	}
	_, err := f.cfg.Store.ChangeFile(ctx, tenant, g.ID, func(row *storage.FileRow) error {
		if row.State != chat.UploadClaimed || !row.ChangedAt.Equal(g.since) {
			return errDone
		}
		row.State, row.ChangedAt = chat.UploadReady, f.now()
		row.Conversation, row.After, row.ClientID = chat.ConversationID{}, 0, ""
		return nil
	})
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}

// Discard removes the content of a file for good.
func (f *Files) Discard(ctx context.Context, tenant chat.TenantID, id chat.FileID) error {
	return f.remove(ctx, tenant, id, func(*storage.FileRow) bool { return true })
}

// Terminate removes an upload of the caller that was not sent. What has not come of it counts as uploaded no more.
func (f *Files) Terminate(ctx context.Context, p chat.Principal, id chat.FileID) error {
	u, err := f.Own(ctx, p, id)
	if err == nil && u.State != chat.UploadReceiving && u.State != chat.UploadReady {
		err = fmt.Errorf("file %s: %w", id, chat.ErrNotFound)
	}
	if err != nil {
		return err
	}
	missing := int64(0)
	row, err := f.cfg.Store.ChangeFile(ctx, p.Tenant, id, func(row *storage.FileRow) error {
		missing = 0
		switch row.State {
		case chat.UploadReceiving:
			missing = row.File.Size - row.Offset
		case chat.UploadReady:
		default: // another request was faster
			return errDone
		}
		row.State, row.ChangedAt = chat.UploadRemoved, f.now()
		return nil
	})
	switch {
	case errors.Is(err, errDone), errors.Is(err, chat.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	f.refund(ctx, p.Key(), missing, row.CreatedAt)
	return f.forget(ctx, &row)
}

// remove takes the content of a file away if it is still one that has to go: first the row says so, then the references
// are released, then the row forgets them. Whoever stops in between is followed by the cleanup.
func (f *Files) remove(ctx context.Context, tenant chat.TenantID, id chat.FileID, still func(*storage.FileRow) bool) error {
	row, err := f.cfg.Store.ChangeFile(ctx, tenant, id, func(row *storage.FileRow) error {
		if row.State == chat.UploadRemoved || !still(row) {
			return errDone
		}
		row.State, row.ChangedAt = chat.UploadRemoved, f.now()
		return nil
	})
	if err != nil && !errors.Is(err, errDone) {
		if errors.Is(err, chat.ErrNotFound) {
			return nil
		}
		return err
	}
	return f.forget(ctx, &row)
}

// forget releases what a removed file still refers to.
func (f *Files) forget(ctx context.Context, row *storage.FileRow) error {
	if row.State != chat.UploadRemoved || row.Content.Ref == "" && row.ThumbAt.Ref == "" && len(row.Parts) == 0 {
		return nil
	}
	if !f.release(ctx, row.Tenant, append([]storage.ContentRef{row.Content, row.ThumbAt}, row.Parts...)...) {
		return fmt.Errorf("release %s: %w", row.Key(), chat.ErrUnavailable)
	}
	_, err := f.cfg.Store.ChangeFile(ctx, row.Tenant, row.ID, func(now *storage.FileRow) error {
		now.Content.Ref, now.ThumbAt.Ref, now.Parts = "", "", nil
		return nil
	})
	return err
}
