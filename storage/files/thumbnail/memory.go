package thumbnail

import (
	"bufio"
	"encoding/binary"
	"image"
	"image/color"
	"io"
)

// maxMemory is what the decoding of a picture may take, in bytes.
const maxMemory = 8 * MaxPixels

// memory is how many bytes the decoder of a picture takes, by what it says of itself: beside its pixels, a progressive
// JPEG is kept as coefficients of four bytes each, and an interlaced PNG in passes.
func memory(r io.Reader, c image.Config, format string) (int64, error) {
	in := bufio.NewReader(r)
	pixels := int64(c.Width) * int64(c.Height)
	switch format {
	case "jpeg":
		n, err := memoryOfJPEG(in)
		if c.ColorModel == color.CMYKModel || c.ColorModel == color.RGBAModel { // put together once more
			n += 4 * pixels
		}
		return n, err
	case "png":
		var header [29]byte // up to the last byte of the first chunk
		if _, err := io.ReadFull(in, header[:]); err != nil {
			return 0, err
		}
		n := 4 * pixels
		if header[24] == 16 { // bits of a colour
			n *= 2
		}
		if header[28] != 0 { // interlaced
			n *= 2
		}
		return n, nil
	}
	return 4 * pixels, nil
}

// memoryOfJPEG reads segments up to the one that says how large the picture is.
func memoryOfJPEG(in *bufio.Reader) (int64, error) {
	for {
		marker, err := nextMarker(in)
		if err != nil {
			return 0, err
		}
		if marker <= 0x01 || marker >= 0xd0 && marker <= 0xd8 { // stands alone
			continue
		}
		var two [2]byte
		if _, err := io.ReadFull(in, two[:]); err != nil {
			return 0, err
		}
		n := int(binary.BigEndian.Uint16(two[:])) - 2
		if marker < 0xc0 || marker > 0xc2 {
			if _, err := in.Discard(max(n, 0)); err != nil {
				return 0, err
			}
			continue
		}
		b := make([]byte, max(n, 6))
		if _, err := io.ReadFull(in, b); err != nil {
			return 0, err
		}
		return memoryOfFrame(b, marker == 0xc2), nil
	}
}

func nextMarker(in *bufio.Reader) (byte, error) {
	for last := byte(0); ; {
		b, err := in.ReadByte()
		if err != nil {
			return 0, err
		}
		if last == 0xff && b != 0xff && b != 0 {
			return b, nil
		}
		last = b
	}
}

// memoryOfFrame reads the header of a frame: precision, height, width, the number of components, and of each its id, how
// many samples of it there are across and down, and a table.
func memoryOfFrame(b []byte, progressive bool) int64 {
	height, width := int64(binary.BigEndian.Uint16(b[1:])), int64(binary.BigEndian.Uint16(b[3:]))
	across, down, blocks := int64(1), int64(1), int64(0) // blocks of 8 by 8 samples in the smallest unit
	components := b[6:]
	for ; len(components) >= 3; components = components[3:] {
		h, v := int64(components[1]>>4), int64(components[1]&15)
		across, down, blocks = max(across, h), max(down, v), blocks+h*v
	}
	units := ((width + 8*across - 1) / (8 * across)) * ((height + 8*down - 1) / (8 * down))
	n := 64 * blocks * units
	if progressive {
		n *= 5
	}
	return n
}
