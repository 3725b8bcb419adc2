package files

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/chat/attachment"
)

const (
	// sumEvery is how long the sum of what other processes took in is believed.
	sumEvery = 5 * time.Second
	// maxCounted bounds the tenants whose uploads are counted in memory, each for up to two days; those of others are
	// written at once.
	maxCounted = 20_000
)

// quotas count the bytes of uploads of each day of UTC. Those of a user are a row in storage, changed by compare-and-set:
// no number of nodes lets in more than the limit. Those of a tenant every process counts for itself, writes every
// flushEvery and adds to what others wrote, read every sumEvery: other nodes may let in what they receive within ten
// seconds beyond the limit, and a process that is killed forgets five seconds.
type quotas struct {
	mu  sync.Mutex
	by  map[tenantDay]*counted
	max int // of by; 0: maxCounted
}

type tenantDay struct {
	tenant chat.TenantID
	day    int64
}

// counted is what this process took in from a tenant on a day.
type counted struct {
	mu      sync.Mutex // held while the others are summed up
	process string     // name of the row
	own     chat.UploadUsage
	stored  chat.UploadUsage
	others  chat.UploadUsage
	at      time.Time // of others; zero: never
}

// of returns the count of a tenant's day, nil if there are too many.
func (q *quotas) of(k tenantDay) *counted {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.by[k]
	if c == nil && len(q.by) < cmp.Or(q.max, maxCounted) {
		if q.by == nil {
			q.by = make(map[tenantDay]*counted)
		}
		c = newCounted(k.day)
		q.by[k] = c
	}
	return c
}

func newCounted(day int64) *counted {
	return &counted{process: uuid.NewString(), own: chat.UploadUsage{Day: day}, stored: chat.UploadUsage{Day: day}}
}

// counts returns those of all tenants that have one.
func (q *quotas) counts() map[tenantDay]*counted {
	q.mu.Lock()
	defer q.mu.Unlock()
	return maps.Clone(q.by)
}

func (q *quotas) forget(k tenantDay) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.by, k)
}

// sum brings others up to date. c.mu is held.
func (f *Files) sum(ctx context.Context, t chat.TenantID, c *counted) error {
	now := f.cfg.Now()
	if age := now.Sub(c.at); !c.at.IsZero() && age >= 0 && age < sumEvery {
		return nil
	}
	others, err := f.cfg.Store.SumUploads(ctx, t, c.own.Day, c.process)
	if err == nil {
		c.others, c.at = others, now
	}
	return err
}

// untilTomorrow is the time to the next day of UTC.
func untilTomorrow(now time.Time) time.Duration {
	return time.UnixMilli(0).Add(time.Duration(chat.UploadDay(now)+1) * 24 * time.Hour).Sub(now)
}

func (f *Files) limits(t chat.TenantID) chat.Limits {
	if f.cfg.Limits == nil {
		return chat.Limits{}
	}
	return f.cfg.Limits(t)
}

func (f *Files) used(limit, text string) error {
	return &chat.QuotaError{Limit: limit, Text: text, RetryAfter: untilTomorrow(f.cfg.Now())}
}

func (f *Files) userUsed() error {
	return f.used("upload_bytes_per_user", "You have uploaded as much as you may in a day.")
}

func (f *Files) tenantUsed() error {
	return f.used("upload_bytes", "As much has been uploaded as this service may in a day.")
}

// room says, before anything of an upload is read, whether there is room for even one byte.
func (f *Files) room(ctx context.Context, k chat.UserKey) error {
	l := f.limits(k.Tenant)
	day := chat.UploadDay(f.cfg.Now())
	if l.UploadBytesPerUser > 0 {
		u, err := f.cfg.Store.GetUserUploads(ctx, k, day)
		if err != nil {
			return err
		}
		if u.Bytes >= l.UploadBytesPerUser {
			return f.userUsed()
		}
	}
	if l.UploadBytes == 0 {
		return nil
	}
	u, err := f.tenantUsage(ctx, k.Tenant, day)
	if err == nil && u.Bytes >= l.UploadBytes {
		err = f.tenantUsed()
	}
	return err
}

// charge counts an upload of so many bytes, or refuses it: *chat.QuotaError if what was uploaded today leaves no room for
// it, attachment.CodeTooLarge if no day has room for it.
func (f *Files) charge(ctx context.Context, k chat.UserKey, bytes int64) error {
	l := f.limits(k.Tenant)
	for _, limit := range []int64{l.UploadBytesPerUser, l.UploadBytes} {
		if limit > 0 && bytes > limit {
			return &attachment.Error{Code: attachment.CodeTooLarge, Text: fmt.Sprintf("File too large (no more than %d bytes can be uploaded in a day)", limit)}
		}
	}
	add := chat.UploadUsage{Day: chat.UploadDay(f.cfg.Now()), Bytes: bytes, Files: 1}
	c := f.quotas.of(tenantDay{k.Tenant, add.Day})
	alone := c == nil
	if alone {
		c = newCounted(add.Day)
	}
	if err := f.reserve(ctx, k.Tenant, c, bytes, l.UploadBytes); err != nil {
		return err
	}
	_, fits, err := f.cfg.Store.AddUserUploads(ctx, k, add, l.UploadBytesPerUser)
	if err == nil && fits {
		if alone {
			f.write(ctx, k.Tenant, add)
		}
		return nil
	}
	c.add(-bytes, -1)
	switch {
	case err == nil:
		return f.userUsed()
	case errors.Is(err, chat.ErrUnknown): // of the count: there is no upload
		return fmt.Errorf("%w: %v", chat.ErrUnavailable, err) //nolint:errorlint // that nobody knows it is not to be told
	}
	return err
}

// reserve takes room from the tenant's limit, 0: none.
func (f *Files) reserve(ctx context.Context, t chat.TenantID, c *counted, bytes, limit int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if limit > 0 {
		if err := f.sum(ctx, t, c); err != nil {
			return err
		}
		if c.own.Bytes+c.others.Bytes+bytes > limit {
			return f.tenantUsed()
		}
	}
	c.own.Bytes += bytes
	c.own.Files++
	return nil
}

func (c *counted) add(bytes, files int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.own.Bytes += bytes
	c.own.Files += files
}

// refund takes back what was counted for bytes that did not come, if that was today. What cannot be taken back stays
// counted.
func (f *Files) refund(ctx context.Context, k chat.UserKey, bytes int64, at time.Time) {
	day := chat.UploadDay(at)
	if bytes <= 0 || day != chat.UploadDay(f.cfg.Now()) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	if _, _, err := f.cfg.Store.AddUserUploads(ctx, k, chat.UploadUsage{Day: day, Bytes: -bytes}, 0); err != nil {
		f.cfg.Log.Warn("files: bytes that did not come stay counted", "tenant", k.Tenant, "bytes", bytes, "error", err)
		return
	}
	if c := f.quotas.of(tenantDay{k.Tenant, day}); c != nil {
		c.add(-bytes, 0)
	} else {
		f.write(ctx, k.Tenant, chat.UploadUsage{Day: day, Bytes: -bytes})
	}
}

// write counts what no memory is kept for, as a process of its own. A failure forgets it, as that of a process does.
func (f *Files) write(ctx context.Context, t chat.TenantID, u chat.UploadUsage) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	if err := f.cfg.Store.PutUploads(ctx, t, uuid.NewString(), u); err != nil {
		f.cfg.Log.Warn("files: an upload is not counted", "tenant", t, "bytes", u.Bytes, "error", err)
	}
}

// tenantUsage is what a tenant's users uploaded on a day, as far as is known here.
func (f *Files) tenantUsage(ctx context.Context, t chat.TenantID, day int64) (chat.UploadUsage, error) {
	c := f.quotas.of(tenantDay{t, day})
	if c == nil {
		return f.cfg.Store.SumUploads(ctx, t, day, "")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	err := f.sum(ctx, t, c)
	u := c.own
	u.Bytes += c.others.Bytes
	u.Files += c.others.Files
	return u, err
}

// Usage is what was uploaded today (UTC) by a user, without one by all of the tenant's: on other nodes until some seconds
// ago.
func (f *Files) Usage(ctx context.Context, k chat.UserKey) (chat.UploadUsage, error) {
	day := chat.UploadDay(f.cfg.Now())
	if k.User != "" {
		return f.cfg.Store.GetUserUploads(ctx, k, day)
	}
	return f.tenantUsage(ctx, k.Tenant, day)
}

// flushQuotas writes what was counted since the last time, and forgets the days that are over.
func (f *Files) flushQuotas(ctx context.Context) {
	today := chat.UploadDay(f.cfg.Now())
	all := f.quotas.counts()
	keys := slices.SortedFunc(maps.Keys(all), func(a, b tenantDay) int { return int(a.day - b.day) })
	for _, k := range keys {
		c := all[k]
		c.mu.Lock()
		now, process := c.own, c.process
		dirty := now != c.stored
		c.mu.Unlock()
		if dirty {
			if err := f.cfg.Store.PutUploads(ctx, k.tenant, process, now); err != nil {
				f.cfg.Log.Debug("files: uploads could not be counted, the next time", "tenant", k.tenant, "error", err)
				continue
			}
			c.mu.Lock()
			c.stored = now
			dirty = c.own != now
			c.mu.Unlock()
		}
		if !dirty && k.day < today-1 {
			f.quotas.forget(k)
		}
	}
}
