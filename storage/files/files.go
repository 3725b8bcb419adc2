package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/chat/attachment"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/blob"
)

// Scanner looks for viruses. It is safe for concurrent use.
type Scanner interface {
	// Scan begins to look at one file. ctx ends it.
	Scan(ctx context.Context) (Scan, error)
}

// Scan of one file. It is used by one goroutine. Errors but attachment.ErrInfected mean that nothing is known.
type Scan interface {
	io.Writer
	// Verdict says, after everything was written, whether the file is clean (nil) or attachment.ErrInfected.
	Verdict() error
	// Close gives the scan up, or ends it after the verdict.
	Close()
}

// Observer is told what happens. Its methods are called concurrently and must not block.
type Observer interface {
	Uploaded(outcome string, bytes int64, took time.Duration)
	Scanned(outcome string) // clean, infected, failed, skipped (let through although the scan failed)
	Downloaded()
	Thumbnail(outcome string) // made, refused, failed
	Cleaned(p Pass)
}

// Config of Files. Store, Blobs and Library are required.
type Config struct {
	Store    *storage.Store
	Blobs    blob.Store
	Library  *blob.Library
	Scanner  Scanner // nil: files are not scanned
	ScanOpen bool    // a file that could not be scanned is let through instead of refused
	// TTL is how long a file can be downloaded; 0: for ever.
	TTL time.Duration
	// Pending is how long an upload is kept that is not sent; default 24 hours.
	Pending time.Duration
	// PerUser and Parallel bound the uploads that this node receives at once; default 4 and 64. Beyond the first an
	// upload is refused with chat.ErrRateLimited, beyond the second with chat.ErrOverloaded.
	PerUser, Parallel int
	// Limits are those of a tenant, which may change at any time: what may be uploaded in a day; nil: there are none. It
	// must not block.
	Limits       func(chat.TenantID) chat.Limits
	NoThumbnails bool
	// Owns says which shards this node cleans up for; nil: all.
	Owns func(shard int) bool
	// Interval between two passes of the cleanup; default 1 hour. Rate bounds the files that it looks at in a second;
	// default 500.
	Interval time.Duration
	Rate     int
	Now      func() time.Time // default time.Now
	Log      *slog.Logger     // default: discard
	Observer Observer         // nil: none
}

// Files is safe for concurrent use. Errors: *attachment.Error for a file that the rules refuse, chat.ErrNotFound,
// chat.ErrUnavailable, chat.ErrRateLimited, chat.ErrOverloaded, *chat.QuotaError, what the given reader answered, and those of the context.
type Files struct {
	cfg     Config
	mu      sync.Mutex
	active  map[chat.UserKey]int // uploads under way
	running int
	counts  counts
	quotas  quotas
	thumbs  chan struct{} // one is made at a time: a picture takes much more memory than its file
}

// New returns Files, whose Run counts and cleans up.
func New(c Config) *Files {
	if c.Pending <= 0 {
		c.Pending = 24 * time.Hour
	}
	if c.PerUser <= 0 {
		c.PerUser = 4
	}
	if c.Parallel <= 0 {
		c.Parallel = 64
	}
	if c.Interval <= 0 {
		c.Interval = time.Hour
	}
	if c.Rate <= 0 {
		c.Rate = 500
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Observer == nil {
		c.Observer = nobody{}
	}
	return &Files{cfg: c, active: make(map[chat.UserKey]int), counts: counts{pending: make(map[fileKey]uint64)}, thumbs: make(chan struct{}, 1)}
}

type nobody struct{}

func (nobody) Uploaded(string, int64, time.Duration) {}
func (nobody) Scanned(string)                        {}
func (nobody) Downloaded()                           {}
func (nobody) Thumbnail(string)                      {}
func (nobody) Cleaned(Pass)                          {}

// enter takes a place among the uploads, for leave to give back.
func (f *Files) enter(k chat.UserKey) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.active[k] >= f.cfg.PerUser:
		return &chat.RateLimitError{RetryAfter: time.Second}
	case f.running >= f.cfg.Parallel:
		return fmt.Errorf("upload: %w", chat.ErrOverloaded)
	}
	f.active[k]++
	f.running++
	return nil
}

func (f *Files) leave(k chat.UserKey) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running--
	if f.active[k]--; f.active[k] == 0 {
		delete(f.active, k)
	}
}

// Active is how many uploads are being received.
func (f *Files) Active() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running
}

// now has the precision that is stored.
func (f *Files) now() time.Time { return f.cfg.Now().UTC().Truncate(time.Microsecond) }

func (f *Files) row(p chat.Principal, file attachment.File, voice bool) storage.FileRow {
	now := f.now()
	r := storage.FileRow{Tenant: p.Tenant, ChangedAt: now, Upload: chat.Upload{Owner: p.User, Voice: voice, CreatedAt: now,
		File: chat.File{ID: chat.NewFileID(), Name: file.Name, Type: file.Kind.Type}}}
	if f.cfg.TTL > 0 {
		r.ExpiresAt = now.Add(f.cfg.TTL)
	}
	return r
}

// Store takes a whole file in. Nothing is left of one that is refused.
func (f *Files) Store(ctx context.Context, p chat.Principal, name string, voice bool, r io.Reader) (u chat.Upload, err error) {
	start := f.cfg.Now()
	defer func() { f.cfg.Observer.Uploaded(outcome(err), u.File.Size, f.cfg.Now().Sub(start)) }()
	file, err := attachment.Check(name, voice)
	if err != nil {
		return u, err
	}
	if err := f.enter(p.Key()); err != nil {
		return u, err
	}
	defer f.leave(p.Key())
	if err := f.room(ctx, p.Key()); err != nil {
		return u, err
	}
	row := f.row(p, file, voice)
	row.State = chat.UploadReady
	if row.Content, err = f.put(ctx, p.Tenant, file, r); err != nil {
		return u, err
	}
	if err := f.charge(ctx, p.Key(), row.Content.Size); err != nil {
		f.release(ctx, p.Tenant, row.Content)
		return u, err
	}
	row.File.Size, row.Sum = row.Content.Size, row.Content.Sum
	if err := f.cfg.Store.CreateFile(ctx, row); err != nil {
		f.release(ctx, p.Tenant, row.Content)
		return u, err
	}
	return row.Upload, nil
}

// put judges, scans and stores content.
func (f *Files) put(ctx context.Context, tenant chat.TenantID, file attachment.File, r io.Reader) (storage.ContentRef, error) {
	r = file.NewReader(r, attachment.MaxSize)
	if f.cfg.Scanner != nil {
		s := &scanning{ctx: ctx, f: f, r: r}
		defer s.close()
		r = s
	}
	return f.keep(ctx, tenant, r, attachment.MaxSize)
}

// keep stores content.
func (f *Files) keep(ctx context.Context, tenant chat.TenantID, r io.Reader, limit int64) (storage.ContentRef, error) {
	ref := "file/" + uuid.NewString()
	info, err := f.cfg.Library.Put(ctx, tenant, ref, r, limit)
	if err != nil {
		return storage.ContentRef{}, fail(err)
	}
	return storage.ContentRef{Sum: info.Key.Sum, Generation: info.Key.Generation, Ref: ref, Size: info.Size}, nil
}

func contentKey(tenant chat.TenantID, c storage.ContentRef) blob.Key {
	return blob.Key{Tenant: tenant, Sum: c.Sum, Generation: c.Generation}
}

// releaseTime bounds the removal of references for a caller whose context may have ended.
const releaseTime = 10 * time.Second

// release gives content up that no row names. What cannot be released now is kept for nobody, which is no more than a loss of room.
func (f *Files) release(ctx context.Context, tenant chat.TenantID, list ...storage.ContentRef) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	done := true
	for _, c := range list {
		if c.Ref == "" {
			continue
		}
		if err := f.cfg.Library.Release(ctx, contentKey(tenant, c), c.Ref); err != nil {
			f.cfg.Log.Warn("files: content could not be released", "tenant", tenant, "blob", contentKey(tenant, c).Name(), "error", err)
			done = false
		}
	}
	return done
}

// fail turns errors of the store of blobs into those of package chat.
func fail(err error) error {
	var refused *attachment.Error
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, blob.ErrTooLarge):
		return attachment.ErrTooLarge
	case errors.Is(err, blob.ErrUnavailable), errors.Is(err, blob.ErrClosed):
		return fmt.Errorf("%w: %w", chat.ErrUnavailable, err)
	case errors.Is(err, blob.ErrNotFound):
		return fmt.Errorf("%w: %w", chat.ErrNotFound, err)
	}
	return err
}

// outcome is the label of a metric.
func outcome(err error) string {
	var refused *attachment.Error
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &refused):
		return refused.Code
	case errors.Is(err, chat.ErrRateLimited):
		return "rate_limited"
	case errors.Is(err, chat.ErrQuota):
		return "quota"
	case errors.Is(err, chat.ErrOverloaded):
		return "overloaded"
	case errors.Is(err, chat.ErrUnavailable):
		return "unavailable"
	}
	return "broken" // the client went away, or the time was over
}

// Find returns what is known of a file, or chat.ErrNotFound. Whether the caller may know is not asked.
func (f *Files) Find(ctx context.Context, tenant chat.TenantID, id chat.FileID) (chat.Upload, error) {
	row, err := f.cfg.Store.GetFile(ctx, tenant, id)
	row.Downloads += f.counts.of(fileKey{tenant, id})
	return row.Upload, err
}

// Pending is how long an upload is kept that is not sent.
func (f *Files) Pending() time.Duration { return f.cfg.Pending }

// Log is where it tells what goes wrong.
func (f *Files) Log() *slog.Logger { return f.cfg.Log }

// Own is Find for the one who uploaded the file.
func (f *Files) Own(ctx context.Context, p chat.Principal, id chat.FileID) (chat.Upload, error) {
	u, err := f.Find(ctx, p.Tenant, id)
	if err == nil && (u.Owner != p.User || u.State == chat.UploadRemoved) {
		err = fmt.Errorf("file %s: %w", id, chat.ErrNotFound)
	}
	return u, err
}

// Open opens the content of a file that is ready.
func (f *Files) Open(ctx context.Context, tenant chat.TenantID, id chat.FileID) (io.ReadSeekCloser, error) {
	row, err := f.cfg.Store.GetFile(ctx, tenant, id)
	if err != nil {
		return nil, err
	}
	if row.Content.Ref == "" || row.State == chat.UploadRemoved {
		return nil, fmt.Errorf("file %s: %w", id, chat.ErrNotFound)
	}
	r, err := f.cfg.Blobs.Open(ctx, contentKey(tenant, row.Content))
	if err != nil {
		return nil, fail(err)
	}
	return r, nil
}
