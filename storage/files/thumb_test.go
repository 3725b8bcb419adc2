package files_test

import (
	"bytes"
	"context"
	"errors"
	"image"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/chat/attachment/attachmenttest"
	"github.com/zumodra/hub/storage/blob"
	"github.com/zumodra/hub/storage/files"
)

func TestReq074_Thumbnails(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	for _, ext := range []string{"png", "gif", "jpg"} {
		u := b.put(ann, "a."+ext, attachmenttest.Picture(ext, 800, 400))
		var wg sync.WaitGroup
		for range 4 { // all at once: one is made
			wg.Go(func() {
				r, err := b.f.Thumbnail(ctx, "acme", u.ID)
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = r.Close() }()
				c, format, err := image.DecodeConfig(r)
				if err != nil || format != "jpeg" || c.Width != 320 || c.Height != 160 {
					t.Errorf("%s: %s of %d by %d, %v", ext, format, c.Width, c.Height, err)
				}
			})
		}
		wg.Wait()
	}
	if n := b.sweep(); n != 5 { // GIF and PNG have the same colours here
		t.Errorf("%d blobs, want three pictures and two that were made of them", n)
	}
	none := func(what string, f *files.Files, name string, content []byte) chat.FileID {
		t.Helper()
		u, err := f.Store(ctx, ann, name, false, bytes.NewReader(content))
		b.must(err)
		for range 2 {
			if _, err := f.Thumbnail(ctx, "acme", u.ID); !errors.Is(err, chat.ErrNotFound) {
				t.Errorf("%s: %v", what, err)
			}
		}
		return u.ID
	}
	none("a text", b.f, "a.txt", []byte("x"))
	none("a broken picture", b.f, "a.png", attachmenttest.Picture("png", 50, 50)[:60])
	bomb := attachmenttest.Picture("png", 9, 9)
	copy(bomb[16:24], []byte{0, 0, 0x80, 0, 0, 0, 0x80, 0}) // says that it has 32,768 by 32,768 pixels
	none("a bomb", b.f, "a.png", bomb)
	off := newBench(t, func(c *files.Config) { c.NoThumbnails = true })
	none("switched off", off.f, "a.png", attachmenttest.Picture("png", 50, 50))
	// It goes with its file.
	u := b.put(ann, "last.png", attachmenttest.Picture("png", 400, 400))
	r, err := b.f.Thumbnail(ctx, "acme", u.ID)
	b.must(err)
	_, err = io.Copy(io.Discard, r)
	b.must(err)
	b.must(r.Close())
	before := b.sweep()
	b.must(b.f.Discard(ctx, "acme", u.ID))
	if n := b.sweep(); n != before-2 {
		t.Errorf("%d blobs, want %d", n, before-2)
	}
}

// A thumbnail that was stored stays, although its maker was not told so.
func TestThumbnailOfUnknownOutcome(t *testing.T) {
	b := newBench(t)
	u := b.put(ann, "a.png", attachmenttest.Picture("png", 800, 400))
	b.doubt.Store(true)
	if _, err := b.f.Thumbnail(t.Context(), "acme", u.ID); !errors.Is(err, chat.ErrUnknown) {
		t.Fatalf("%v", err)
	}
	b.sweep()
	r, err := b.f.Thumbnail(t.Context(), "acme", u.ID)
	b.must(err)
	_ = r.Close()
}

// opened tells when content is opened, and lets it be when told so.
type opened struct {
	blob.Store
	opens chan context.Context
	goOn  chan struct{}
}

func (o opened) Open(ctx context.Context, key blob.Key) (blob.Reader, error) {
	o.opens <- ctx
	<-o.goOn
	return o.Store.Open(ctx, key)
}

// watched tells when somebody is about to wait for it.
type watched struct {
	context.Context
	waits chan struct{}
}

func (w watched) Done() <-chan struct{} {
	select {
	case w.waits <- struct{}{}:
	default:
	}
	return w.Context.Done()
}

// TestThumbnailsDoNotPayForTheWait: the time that a picture may take begins with its turn. One that had to wait long for
// that would else be refused for good.
func TestThumbnailsDoNotPayForTheWait(t *testing.T) {
	o := opened{opens: make(chan context.Context), goOn: make(chan struct{})}
	b := newBench(t, func(c *files.Config) { o.Store, c.Blobs = c.Blobs, &o })
	thumbnail := func(ctx context.Context, id chat.FileID) {
		r, err := b.f.Thumbnail(ctx, "acme", id)
		if err != nil {
			t.Error(err)
			return
		}
		_ = r.Close()
	}
	one, two := b.put(ann, "a.png", attachmenttest.Picture("png", 400, 400)), b.put(ann, "b.png", attachmenttest.Picture("png", 400, 500))
	waits := make(chan struct{}, 1)
	var wg sync.WaitGroup
	wg.Go(func() { thumbnail(t.Context(), one.ID) })
	<-o.opens // it is the turn of the first
	wg.Go(func() { thumbnail(watched{t.Context(), waits}, two.ID) })
	<-waits
	turn := time.Now()
	o.goOn <- struct{}{} // which is read now
	var second context.Context
	for range 3 { // the first's thumbnail, and both of the second
		ctx := <-o.opens
		if second == nil && ctx.Value(watchedKey{}) != nil {
			second = ctx
		}
		o.goOn <- struct{}{}
	}
	wg.Wait()
	if end, ok := second.Deadline(); !ok || end.Before(turn.Add(files.ThumbTime)) {
		t.Errorf("the second's time ends at %v, its turn was after %v", end, turn)
	}
}

type watchedKey struct{}

// Value implements context.Context.
func (w watched) Value(key any) any {
	if _, mine := key.(watchedKey); mine {
		return true
	}
	return w.Context.Value(key)
}

// late is a store whose content does not come in time, once.
type late struct {
	blob.Store
	once *atomic.Bool
}

func (l late) Open(ctx context.Context, key blob.Key) (blob.Reader, error) {
	r, err := l.Store.Open(ctx, key)
	if err == nil && l.once.CompareAndSwap(false, true) {
		return lateReader{r}, nil
	}
	return r, err
}

type lateReader struct{ blob.Reader }

func (lateReader) Read([]byte) (int, error) { return 0, context.DeadlineExceeded }

// TestThumbnailOfASlowStore: that a picture could not be read in time says nothing of the picture.
func TestThumbnailOfASlowStore(t *testing.T) {
	b := newBench(t, func(c *files.Config) { c.Blobs = late{c.Blobs, new(atomic.Bool)} })
	u := b.put(ann, "a.png", attachmenttest.Picture("png", 400, 400))
	if _, err := b.f.Thumbnail(t.Context(), "acme", u.ID); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	r, err := b.f.Thumbnail(t.Context(), "acme", u.ID)
	b.must(err)
	_ = r.Close()
}
