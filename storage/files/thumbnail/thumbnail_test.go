package thumbnail_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"runtime"
	"testing"

	"github.com/zumodra/hub/chat/attachment/attachmenttest"
	"github.com/zumodra/hub/storage/files/thumbnail"
)

func TestReq074_Sizes(t *testing.T) {
	for size, want := range map[[2]int][2]int{
		{1000, 500}: {320, 160}, {500, 1000}: {160, 320}, {320, 320}: {320, 320}, {10, 7}: {10, 7}, {3000, 1}: {320, 1}, {1, 3000}: {1, 320},
	} {
		for _, ext := range []string{"png", "gif", "jpg"} {
			b, err := thumbnail.Make(t.Context(), bytes.NewReader(attachmenttest.Picture(ext, size[0], size[1])))
			if err != nil {
				t.Fatalf("%s %v: %v", ext, size, err)
			}
			c, format, err := image.DecodeConfig(bytes.NewReader(b))
			if err != nil || format != "jpeg" || c.Width != want[0] || c.Height != want[1] {
				t.Errorf("%s %v: %s of %d by %d, %v", ext, size, format, c.Width, c.Height, err)
			}
		}
	}
}

// claim makes a PNG say that it has that many pixels, with a checksum that is right.
func claim(w, h uint32) []byte {
	b := attachmenttest.Picture("png", 9, 9)
	binary.BigEndian.PutUint32(b[16:], w)
	binary.BigEndian.PutUint32(b[20:], h)
	binary.BigEndian.PutUint32(b[29:], crc32.ChecksumIEEE(b[12:29]))
	return b
}

// TestReq074_BombsAreRefused: by what a picture says of itself, before any memory is taken for it.
func TestReq074_BombsAreRefused(t *testing.T) {
	for _, size := range [][2]uint32{{5001, 5000}, {100_000, 100_000}, {1 << 30, 1}, {0x7fffffff, 0x7fffffff}} {
		content := claim(size[0], size[1])
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := thumbnail.Make(t.Context(), bytes.NewReader(content))
		runtime.ReadMemStats(&after)
		if !errors.Is(err, thumbnail.ErrRefused) {
			t.Errorf("%v: %v", size, err)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 4<<20 {
			t.Errorf("%v took %d bytes", size, took)
		}
	}
	for what, b := range map[string][]byte{"nothing": nil, "no picture": []byte("hello"), "cut off": attachmenttest.Picture("jpg", 100, 100)[:200], "less than it says": claim(500, 500)} {
		if _, err := thumbnail.Make(t.Context(), bytes.NewReader(b)); !errors.Is(err, thumbnail.ErrRefused) {
			t.Errorf("%s: %v", what, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := thumbnail.Make(ctx, bytes.NewReader(attachmenttest.Picture("png", 100, 100))); !errors.Is(err, context.Canceled) {
		t.Errorf("without time: %v", err)
	}
}

func FuzzMake(f *testing.F) {
	for _, ext := range []string{"png", "gif", "jpg"} {
		f.Add(attachmenttest.Picture(ext, 20, 10))
	}
	f.Add(claim(1<<20, 1<<20))
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := thumbnail.Make(t.Context(), bytes.NewReader(b))
		if err != nil {
			return
		}
		if c, _, err := image.DecodeConfig(bytes.NewReader(out)); err != nil || c.Width > thumbnail.Side || c.Height > thumbnail.Side {
			t.Fatalf("%+v, %v", c, err)
		}
	})
}
