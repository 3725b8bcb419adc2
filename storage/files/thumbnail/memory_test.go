package thumbnail_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"runtime"
	"testing"

	"github.com/zumodra/hub/storage/files/thumbnail"
)

// segment of a JPEG.
func segment(marker byte, b ...byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0xff, marker}, uint16(len(b)+2)), b...)
}

// gray is a JPEG of one colour; sampling has a byte per component.
func gray(progressive bool, side uint16, sampling ...byte) []byte {
	frame := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16([]byte{8}, side), side)
	frame, scan := append(frame, byte(len(sampling))), []byte{byte(len(sampling))}
	blocks, across := 0, 1
	for i, s := range sampling {
		frame, scan = append(frame, byte(i+1), s, 0), append(scan, byte(i+1), 0)
		blocks, across = blocks+int(s>>4)*int(s&15), max(across, int(s>>4))
	}
	start, last := byte(0xc0), byte(63)
	if progressive {
		start, last = 0xc2, 0
	}
	code := append([]byte{0, 1}, make([]byte, 16)...)            // one code of one bit, which says 0
	coefficients := append([]byte{0x10, 1}, make([]byte, 16)...) // as above: the end of the block
	var b []byte
	for _, s := range [][]byte{{0xff, 0xd8}, segment(0xee, []byte("Adobe\x00d\x00\x00\x00\x00\x02")...),
		segment(0xdb, append([]byte{0}, bytes.Repeat([]byte{1}, 64)...)...), segment(start, frame...), segment(0xc4, code...),
		segment(0xc4, coefficients...), segment(0xda, append(scan, 0, last, 0)...)} {
		b = append(b, s...)
	}
	units := (int(side) + 8*across - 1) / (8 * across)
	return append(append(b, make([]byte, units*units*blocks*2/8+1)...), 0xff, 0xd9)
}

// png16 is the beginning of a PNG of 16 bits a colour.
func png16(side uint32, interlaced byte) []byte {
	b := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"), side), side)
	b = append(b, 16, 6, 0, 0, interlaced)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[12:]))
}

// TestReq074_Memory: pictures within the bound of pixels whose decoders take several times as much for each as those of
// others are refused as well, before any memory is taken.
func TestReq074_Memory(t *testing.T) {
	for what, c := range map[string]struct {
		content []byte
		refused bool
	}{
		"progressive CMYK of 25 megapixels":    {gray(true, 5000, 0x11, 0x11, 0x11, 0x11), true},
		"progressive of 16":                    {gray(true, 4000, 0x11, 0x11, 0x11), true},
		"interlaced PNG of 16 bits and 16":     {png16(4000, 1), true},
		"progressive of 16, subsampled":        {gray(true, 4000, 0x22, 0x11, 0x11), false},
		"baseline of 1":                        {gray(false, 1000, 0x11, 0x11, 0x11), false},
		"progressive CMYK of half a megapixel": {gray(true, 700, 0x11, 0x11, 0x11, 0x11), false},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := thumbnail.Make(t.Context(), bytes.NewReader(c.content))
		runtime.ReadMemStats(&after)
		took := after.TotalAlloc - before.TotalAlloc
		if c.refused && (!errors.Is(err, thumbnail.ErrRefused) || took > 4<<20) || !c.refused && (err != nil || took > 200_000_000) {
			t.Errorf("%s: %v, %d bytes", what, err, took)
		}
	}
}
