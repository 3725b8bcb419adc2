package transport

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

type parsed struct {
	h header
	p string
}

// parse feeds a parser in pieces of the sizes given.
func parse(b []byte, sizes []byte, limit int) (frames []parsed, held int, err error) {
	p := newParser(32, limit)
	for i := 0; ; i++ {
		for {
			h, payload, ok, err := p.next()
			if err != nil {
				return frames, held, err
			}
			if !ok {
				break
			}
			frames = append(frames, parsed{h, string(payload)})
		}
		if len(b) == 0 {
			return frames, held, nil
		}
		n := 1
		if len(sizes) > 0 {
			n = 1 + int(sizes[i%len(sizes)])
		}
		space := p.space()
		held = max(held, len(p.buf))
		n = copy(space[:min(n, len(space))], b)
		b = b[n:]
		p.added(n)
	}
}

func FuzzParser(f *testing.F) {
	f.Add(appendFrame(appendFrame(nil, header{kind: frameDeliver, id: 7}, []byte("hello")), header{kind: 99}, nil), []byte{3})
	f.Add([]byte{255, 255, 255, 255, 7, 0, 0x55, 0x48, 0, 0, 0, 0, 0, 0, 0, 0}, []byte{})
	f.Fuzz(func(t *testing.T, b, sizes []byte) {
		const limit = 4096
		whole, _, err := parse(b, []byte{255}, limit)
		split, held, err2 := parse(b, sizes, limit)
		if !slices.Equal(whole, split) || (err == nil) != (err2 == nil) {
			t.Fatalf("in pieces: %v %v\nat once: %v %v", split, err2, whole, err)
		}
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		if held > max(readBuffer, 2*len(b)+64) {
			t.Fatalf("a buffer of %d for %d bytes", held, len(b))
		}
		var again []byte
		for _, f := range whole {
			again = appendFrame(again, f.h, []byte(f.p))
		}
		if !bytes.HasPrefix(b, again) {
			t.Fatal("frames do not encode to what was parsed")
		}
	})
}

func FuzzHello(f *testing.F) {
	f.Add(hello{min: 1, max: 2, node: 3, wanted: 4, cluster: "c", name: "n"}.append(nil))
	f.Add([]byte(helloMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHello(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.HasPrefix(b, h.append(nil)) {
			t.Fatalf("%+v does not encode to what was parsed", h)
		}
	})
}

func FuzzRuns(f *testing.F) {
	f.Add(appendRuns(nil, []uint64{1, 2, 3, 9, 10, 500}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var last uint64
		_ = parseRuns(b, func(first, n uint64) error {
			if first < last || n == 0 || first+n < first {
				t.Fatal(first, n, last)
			}
			last = first + n
			return nil
		})
	})
}

func TestRunsAreTheIDs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOf(rapid.Uint64Range(0, 200)).Draw(t, "ids")
		if rapid.Bool().Draw(t, "far") {
			ids = append(ids, 1<<62)
		}
		var got []uint64
		if err := parseRuns(appendRuns(nil, slices.Clone(ids)), func(first, n uint64) error {
			for i := range n {
				got = append(got, first+i)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(ids)
		if want := slices.Compact(ids); !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}

func TestVersions(t *testing.T) {
	for _, c := range []struct {
		a, b [2]uint16
		want uint16
	}{
		{[2]uint16{1, 1}, [2]uint16{1, 1}, 1}, {[2]uint16{1, 3}, [2]uint16{2, 5}, 3}, {[2]uint16{1, 2}, [2]uint16{3, 4}, 0}, {[2]uint16{4, 4}, [2]uint16{1, 3}, 0},
	} {
		v, err := common(hello{min: c.a[0], max: c.a[1]}, hello{min: c.b[0], max: c.b[1]})
		if v != c.want || (err != nil) != (c.want == 0) {
			t.Errorf("%v: %d %v", c, v, err)
		}
	}
}

func TestLedgerIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l ledger[int]
		l.first = rapid.SampledFrom([]uint64{0, 5, 1 << 40}).Draw(t, "first")
		l.next = l.first
		model := make(map[uint64]int)
		var ids []uint64
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				for range rapid.IntRange(1, 100).Draw(t, "n") {
					v := len(ids)
					id := l.add(v)
					model[id] = v
					ids = append(ids, id)
				}
			},
			"take": func(t *rapid.T) {
				if len(ids) == 0 {
					t.Skip()
				}
				for range rapid.IntRange(1, 100).Draw(t, "n") {
					id := rapid.SampledFrom(ids).Draw(t, "id")
					v, ok := l.take(id)
					want, there := model[id]
					if ok != there || v != want {
						t.Fatalf("take(%d) = %d %v, want %d %v", id, v, ok, want, there)
					}
					delete(model, id)
				}
			},
			"": func(t *rapid.T) {
				n := 0
				for id := range l.ids {
					if v, ok := l.get(id); !ok || v != model[id] {
						t.Fatal(id)
					}
					n++
				}
				if n != len(model) || l.live != n {
					t.Fatalf("%d there, live is %d, want %d", n, l.live, len(model))
				}
			},
		})
	})
}

func TestStragglersDoNotMakeTheLedgerGrow(t *testing.T) {
	var l ledger[int]
	first, second := l.add(1), l.add(2)
	for range 3 * maxRing {
		id := l.add(3)
		if _, ok := l.take(id); !ok {
			t.Fatal(id)
		}
	}
	if len(l.ring) > maxRing || l.live != 2 {
		t.Fatalf("a ring of %d, %d live", len(l.ring), l.live)
	}
	for _, id := range []uint64{second, first} {
		if _, ok := l.take(id); !ok {
			t.Fatal("lost")
		}
	}
	if l.live != 0 || len(l.stragglers) != 0 {
		t.Fatal(l.live)
	}
}
