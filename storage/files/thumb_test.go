package files_test

import (
	"bytes"
	"errors"
	"image"
	"io"
	"sync"
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/chat/attachment/attachmenttest"
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
