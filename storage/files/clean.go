package files

import (
	"context"
	"errors"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
)

const (
	// keepRemoved is how long the row of a file is kept after its content: so long its download is answered "gone".
	keepRemoved = 30 * 24 * time.Hour
	flushEvery  = 5 * time.Second
)

// Pass is what one pass of the cleanup saw and did.
type Pass struct {
	Files   int // looked at, those of this node's shards alone
	Unsent  int // uploads removed that were never sent
	Orphans int // files removed whose message, or conversation, was deleted
	Expired int
	Settled int // claimed files that turned out to be part of a message
	Failed  int // the next pass tries again
	Took    time.Duration
	Err     error // why the pass ended early, if it did
}

// Run writes counts and cleans up until ctx ends; what was counted is then written once more, within a moment.
func (f *Files) Run(ctx context.Context) {
	flush, clean := time.NewTicker(flushEvery), time.NewTimer(f.cfg.Interval/10)
	defer flush.Stop()
	defer clean.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			f.Flush(last)
			cancel()
			return
		case <-flush.C:
			f.Flush(ctx)
		case <-clean.C:
			f.Clean(ctx)
			clean.Reset(f.cfg.Interval)
		}
	}
}

// Clean makes one pass over the files of the shards that this node owns, at no more than Config.Rate a second. All that
// it does is safe on any number of nodes at once: it is each node's share that keeps them from doing it all twice.
func (f *Files) Clean(ctx context.Context) Pass {
	start := f.cfg.Now()
	var p Pass
	pace := time.NewTicker(time.Second)
	defer pace.Stop()
	err := f.cfg.Store.Files(ctx, func(row storage.FileRow) bool {
		if f.cfg.Owns != nil && !f.cfg.Owns(shard(&row)) {
			return true
		}
		p.Files++
		if p.Files%f.cfg.Rate == 0 {
			select {
			case <-pace.C:
			case <-ctx.Done():
				return false
			}
		}
		if err := f.look(ctx, &row, &p); err != nil {
			p.Failed++
			f.cfg.Log.Debug("files: a file could not be cleaned up", "tenant", row.Tenant, "file", row.ID, "error", err)
		}
		return ctx.Err() == nil
	})
	if p.Err = errors.Join(err, ctx.Err()); p.Err != nil && ctx.Err() == nil {
		f.cfg.Log.Warn("files: a cleanup was not complete, the next one tries again", "error", p.Err)
	}
	p.Took = f.cfg.Now().Sub(start)
	f.cfg.Log.Info("files: cleaned up", "files", p.Files, "unsent", p.Unsent, "orphans", p.Orphans, "expired", p.Expired,
		"settled", p.Settled, "failed", p.Failed, "took", p.Took)
	f.cfg.Observer.Cleaned(p)
	return p
}

// shard is that of the conversation, or of the user while there is none.
func shard(row *storage.FileRow) int {
	if row.Conversation.IsZero() {
		return chat.UserKey{Tenant: row.Tenant, User: row.Owner}.Shard()
	}
	return chat.ConversationKey{Tenant: row.Tenant, ID: row.Conversation}.Shard()
}

// look does with one file what is due.
func (f *Files) look(ctx context.Context, row *storage.FileRow, p *Pass) error {
	switch row.State {
	case chat.UploadReceiving, chat.UploadReady:
		if !f.stale(row) {
			return nil
		}
		p.Unsent++
		return f.remove(ctx, row.Tenant, row.ID, func(now *storage.FileRow) bool {
			return (now.State == chat.UploadReceiving || now.State == chat.UploadReady) && f.stale(now)
		})
	case chat.UploadClaimed:
		if !f.stale(row) {
			return nil
		}
		return f.settle(ctx, row, p)
	case chat.UploadAttached:
		if row.Expired(f.now()) {
			p.Expired++
			return f.Discard(ctx, row.Tenant, row.ID)
		}
		orphan, err := f.orphan(ctx, row)
		if err != nil || !orphan {
			return err
		}
		p.Orphans++
		return f.Discard(ctx, row.Tenant, row.ID)
	case chat.UploadRemoved:
		if err := f.forget(ctx, row); err != nil {
			return err
		}
		if f.now().Sub(row.ChangedAt) > keepRemoved {
			return f.cfg.Store.DeleteFile(ctx, row.Tenant, row.ID)
		}
	}
	return nil
}

// orphan reports whether the message that the file was attached to is there no more, or has lost it. A message was
// committed before its file was attached, so that one which is not there was deleted with its conversation.
func (f *Files) orphan(ctx context.Context, row *storage.FileRow) (bool, error) {
	key := chat.ConversationKey{Tenant: row.Tenant, ID: row.Conversation}
	e, err := f.cfg.Store.GetEvent(ctx, key, row.Message.Seq())
	if errors.Is(err, chat.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return e.Message != row.Message || !e.DeletedAt.IsZero() || e.File == nil || e.File.ID != row.ID, nil
}

// settle finds out what became of a claim whose end was not written.
func (f *Files) settle(ctx context.Context, row *storage.FileRow, p *Pass) error {
	message, err := f.locate(ctx, row)
	switch {
	case err != nil:
		return err
	case !message.IsZero():
		p.Settled++
		return f.Attach(ctx, row.Tenant, row.ID, message)
	}
	p.Unsent++
	return f.remove(ctx, row.Tenant, row.ID, func(now *storage.FileRow) bool {
		return now.State == chat.UploadClaimed && f.stale(now)
	})
}

// Located is Find for a claimed file, with its message if the log holds one; what is found is written.
func (f *Files) Located(ctx context.Context, tenant chat.TenantID, id chat.FileID) (chat.Upload, error) {
	row, err := f.cfg.Store.GetFile(ctx, tenant, id)
	if err != nil || row.State != chat.UploadClaimed {
		return row.Upload, err
	}
	message, err := f.locate(ctx, &row)
	if err != nil || message.IsZero() {
		return row.Upload, err
	}
	row.Message = message
	return row.Upload, f.Attach(ctx, tenant, id, message)
}

// settleChunk is how many events are read at once in search of a message.
const settleChunk = 256

// locate looks for the message of a claimed file, which is in the log behind the claim or was never sent; zero then.
// Rows of an owner that was succeeded are among those read: they can keep a file that nobody needs, and not take one away.
func (f *Files) locate(ctx context.Context, row *storage.FileRow) (chat.MessageID, error) {
	key := chat.ConversationKey{Tenant: row.Tenant, ID: row.Conversation}
	until := row.ChangedAt.Add(f.cfg.Pending) // a message of the claim would have been committed by then
	for from := row.After + 1; ; {
		events, err := f.cfg.Store.ReadEvents(ctx, key, from, from+settleChunk, settleChunk)
		if err != nil || len(events) == 0 {
			return chat.MessageID{}, err
		}
		for i := range events {
			e := &events[i]
			switch {
			case e.IsMessage() && e.Actor == row.Owner && (e.File != nil && e.File.ID == row.ID || e.ClientID == row.ClientID):
				return e.Message, nil
			case e.At.After(until):
				return chat.MessageID{}, nil
			}
			from = e.Seq + 1
		}
	}
}
