package thumbnail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	_ "image/gif" // decoders
	"image/jpeg"
	_ "image/png"
	"io"

	"golang.org/x/image/draw"
	_ "golang.org/x/image/webp"
)

const (
	// Side is the longer side of a thumbnail, in pixels.
	Side = 320
	// MaxPixels is the largest picture that is decoded, if 8 bytes for each, 200 MB, are enough for it. They are not for
	// the largest progressive JPEGs and interlaced PNGs.
	MaxPixels = 25_000_000
	// MaxBytes is the largest file that is looked at.
	MaxBytes = 25 << 20
	// Type of all thumbnails.
	Type    = "image/jpeg"
	quality = 80
)

// ErrRefused answers a picture that is too large, broken, or none.
var ErrRefused = errors.New("thumbnail: not a picture that can be made smaller")

// Make returns a JPEG of at most Side pixels on each side. Errors other than ErrRefused and those of the context are
// those of r.
func Make(ctx context.Context, r io.ReadSeeker) ([]byte, error) {
	in := &input{ctx: ctx, r: r}
	c, format, err := image.DecodeConfig(in)
	if err != nil {
		return nil, in.why(err)
	}
	if c.Width <= 0 || c.Height <= 0 || c.Width > MaxPixels/c.Height {
		return nil, fmt.Errorf("%w: %d by %d pixels", ErrRefused, c.Width, c.Height)
	}
	if in, err = again(ctx, r); err != nil {
		return nil, err
	}
	switch n, err := memory(in, c, format); {
	case err != nil:
		return nil, in.why(err)
	case n > maxMemory:
		return nil, fmt.Errorf("%w: it takes %d bytes of memory", ErrRefused, n)
	}
	if in, err = again(ctx, r); err != nil {
		return nil, err
	}
	m, _, err := image.Decode(in)
	if err != nil {
		return nil, in.why(err)
	}
	size := fit(m.Bounds().Dx(), m.Bounds().Dy())
	small := image.NewRGBA(size)
	draw.Draw(small, size, image.White, image.Point{}, draw.Src) // JPEG has no transparency
	draw.ApproxBiLinear.Scale(small, size, m, m.Bounds(), draw.Over, nil)
	var b bytes.Buffer
	if err := jpeg.Encode(&b, small, &jpeg.Options{Quality: quality}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return b.Bytes(), nil
}

// again reads from the beginning.
func again(ctx context.Context, r io.ReadSeeker) (*input, error) {
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return &input{ctx: ctx, r: r}, nil
}

// fit is the size of the thumbnail: in proportion, never larger than the picture, at least one pixel.
func fit(w, h int) image.Rectangle {
	if w > Side || h > Side {
		if w >= h {
			w, h = Side, h*Side/w
		} else {
			w, h = w*Side/h, Side
		}
	}
	return image.Rect(0, 0, max(w, 1), max(h, 1))
}

// input bounds what a decoder reads, and ends it with the context: decoding itself cannot be interrupted, and a
// picture may have any number of passes over itself.
type input struct {
	ctx  context.Context
	r    io.Reader
	n    int64
	fail error // of r, or of the context
}

// Read implements io.Reader.
func (i *input) Read(p []byte) (int, error) {
	if i.fail = i.ctx.Err(); i.fail != nil {
		return 0, i.fail
	}
	if i.n += int64(len(p)); i.n > MaxBytes+64<<10 {
		return 0, fmt.Errorf("%w: larger than %d bytes", ErrRefused, MaxBytes)
	}
	n, err := i.r.Read(p[:min(len(p), 4096)])
	i.n += int64(n - len(p))
	if err != nil && !errors.Is(err, io.EOF) {
		i.fail = err
	}
	return n, err
}

// why tells a picture that is broken from a source that is.
func (i *input) why(err error) error {
	if i.fail != nil {
		return i.fail
	}
	return fmt.Errorf("%w: %w", ErrRefused, err)
}
