package pebble

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/zumodra/hub/storage"
)

// These tests are inside the package: the encodings are its private matter, but their order and robustness are what
// everything else rests on.

var fuzzTable = &storage.Table{ID: 7, Name: "fuzz",
	Partition: []storage.Column{{Name: "p", Kind: storage.Text}, {Name: "q", Kind: storage.Int}},
	Clustering: []storage.Column{{Name: "a", Kind: storage.Blob}, {Name: "b", Kind: storage.Text, Desc: true}, {Name: "c", Kind: storage.Time},
		{Name: "d", Kind: storage.Int, Desc: true}, {Name: "e", Kind: storage.Bool}},
	Columns: []storage.Column{{Name: "t", Kind: storage.Text}, {Name: "x", Kind: storage.Blob}, {Name: "i", Kind: storage.Int},
		{Name: "o", Kind: storage.Bool}, {Name: "w", Kind: storage.Time}}}

func fuzzKey(a, b []byte, c, d int64, e bool) storage.Key {
	k := storage.Key{{Set: true, B: a}, {Set: true, B: b}, {Set: true, I: c}, {Set: true, I: d}, {Set: true}}
	if e {
		k[4].I = 1
	}
	return k
}

func FuzzKeyOrder(f *testing.F) {
	f.Add([]byte("a"), []byte("b"), int64(1), int64(2), true, []byte("a\x00"), []byte("b\xff"), int64(-1), int64(-2), false)
	f.Add([]byte("\x00"), []byte(""), int64(0), int64(-1<<63), false, []byte("\x00\xff"), []byte("\x00"), int64(1<<63-1), int64(1<<63-1), true)
	f.Add([]byte("a\x00\x01"), []byte("\xff"), int64(5), int64(5), false, []byte("a"), []byte("\xff\xff"), int64(5), int64(5), false)
	f.Fuzz(func(t *testing.T, a1, b1 []byte, c1, d1 int64, e1 bool, a2, b2 []byte, c2, d2 int64, e2 bool) {
		k1, k2 := fuzzKey(a1, b1, c1, d1, e1), fuzzKey(a2, b2, c2, d2, e2)
		enc := func(k storage.Key) []byte {
			b := appendTable(nil, fuzzTable)
			b, err := appendKey(b, fuzzTable.Partition, storage.Key{{Set: true, B: k[1].B}, {Set: true, I: k[2].I}})
			if err != nil {
				t.Fatal(err)
			}
			if b, err = appendKey(b, fuzzTable.Clustering, k); err != nil {
				t.Fatal(err)
			}
			return b
		}
		x1, x2 := enc(k1), enc(k2)
		var d keyDecoder
		p, k, err := d.decodeRowKey(fuzzTable, nil, nil, x1)
		if err != nil || !bytes.Equal(p[0].B, b1) || p[1].I != c1 {
			t.Fatal(p, err)
		}
		for i := range k {
			if k[i].I != k1[i].I || !bytes.Equal(k[i].B, k1[i].B) {
				t.Fatalf("column %d: %v, want %v", i, k[i], k1[i])
			}
		}
		// The order of encoded clustering keys is that of the columns; no encoding is a prefix of another one.
		y1, err1 := appendKey(nil, fuzzTable.Clustering, k1)
		y2, err2 := appendKey(nil, fuzzTable.Clustering, k2)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		want := cmp.Or(bytes.Compare(a1, a2), bytes.Compare(b2, b1), cmp.Compare(c1, c2), cmp.Compare(d2, d1), cmp.Compare(k1[4].I, k2[4].I))
		if got := bytes.Compare(y1, y2); got != want {
			t.Fatalf("%x against %x: %d, want %d", y1, y2, got, want)
		}
		if !bytes.Equal(x1, x2) && (bytes.HasPrefix(x1, x2) || bytes.HasPrefix(x2, x1)) {
			t.Fatalf("%x and %x: one is a prefix of the other", x1, x2)
		}
		// All keys with a prefix lie below its successor, and the successor has not the prefix.
		for n := 2; n <= len(x1); n++ {
			s := appendSuccessor(nil, x1[:n])
			if bytes.Compare(x1, s) >= 0 || bytes.HasPrefix(s, x1[:n]) {
				t.Fatalf("successor of %x is %x", x1[:n], s)
			}
		}
	})
}

func FuzzKeyDecode(f *testing.F) {
	f.Add([]byte{0, 7, 'a', 0, 1, 0x80, 0, 0, 0, 0, 0, 0, 0, 'b', 0, 1, 0x9d, 0xff, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{0, 7, 'a', 0, 0xff, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var d keyDecoder
		p, k, err := d.decodeRowKey(fuzzTable, nil, nil, b)
		if err != nil {
			if !errors.Is(err, storage.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		again, err := appendKey(appendTable(nil, fuzzTable), fuzzTable.Partition, p)
		if err == nil {
			again, err = appendKey(again, fuzzTable.Clustering, k)
		}
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x decodes, but to what encodes as %x (%v)", b, again, err)
		}
	})
}

func FuzzValueDecode(f *testing.F) {
	good, err := appendValue(nil, fuzzTable.Columns, []storage.Value{{Set: true, B: []byte("t")}, {}, {Set: true, I: -5}, {Set: true, I: 1}, {Set: true, I: 1 << 60}}, 77)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{valueForever})
	f.Add([]byte{valueForever, 1, 200, 1, 2})
	f.Add([]byte{valueForever, 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		at, rest, err := expiry(b)
		v := make([]storage.Value, len(fuzzTable.Columns))
		if err == nil {
			err = decodeValue(v, fuzzTable.Columns, rest)
		}
		if err != nil {
			if !errors.Is(err, storage.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		again, err := appendValue(nil, fuzzTable.Columns, v, at)
		if err != nil {
			t.Fatal(err)
		}
		w := make([]storage.Value, len(v))
		at2, rest, err := expiry(again)
		if err != nil || at2 != at || decodeValue(w, fuzzTable.Columns, rest) != nil || !sameColumns(v, w) {
			t.Fatalf("%x is not what it encodes to, %x", b, again)
		}
	})
}

func FuzzLogCheck(f *testing.F) {
	block := make([]byte, walBlock+100)
	copy(block[walBlock:], []byte{1, 2, 3, 4, 5, 0, 9, 1, 0, 0, 0})
	f.Add(block, uint32(1))
	f.Add(binary.LittleEndian.AppendUint32(nil, 5), uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, number uint32) {
		if bad, promise := damagedBefore(b, number); bad < 0 || promise > 0 && promise <= uint64(bad) {
			t.Fatal(bad, promise)
		}
	})
}
