package reactor

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestQueueProperties drives a queue with random operations beside a plain list: what comes out is what was admitted,
// in order, less shed ephemerals that were not begun; limits hold; accounts are right.
func TestQueueProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lim := queueLimits{bytes: rapid.IntRange(1, 200).Draw(t, "bytes"), frames: rapid.IntRange(1, 20).Draw(t, "frames")}
		var q queue
		type model struct {
			b     []byte
			class Class
		}
		var want []model
		begun := 0 // bytes of the first item that are written
		for i := range rapid.IntRange(1, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "op") {
			case 0, 1, 2, 3, 4, 5:
				it := item{b: bytes.Repeat([]byte{byte(i)}, rapid.IntRange(1, 60).Draw(t, "len")), class: Class(rapid.IntRange(0, 1).Draw(t, "class"))}
				empty := q.len() == 0
				v, dropped := q.offer(lim, it)
				if dropped > 0 {
					kept := want[:0:0]
					for k, m := range want {
						if m.class == Durable || k == 0 && begun > 0 {
							kept = append(kept, m)
						}
					}
					if len(want)-len(kept) != dropped {
						t.Fatalf("%d dropped, model says %d", dropped, len(want)-len(kept))
					}
					want = kept
				}
				if v == overflow && it.class == Ephemeral || v == shed && it.class == Durable || empty && v != admitted {
					t.Fatalf("verdict %d for class %d, empty %v", v, it.class, empty)
				}
				if v == admitted {
					want = append(want, model{it.b, it.class})
					if len(want) > 1 && (q.bytes > lim.bytes || q.len() > lim.frames) {
						t.Fatalf("%d bytes, %d frames within %v", q.bytes, q.len(), lim)
					}
				}
			case 6, 7, 8:
				if q.bytes == 0 {
					continue
				}
				n := rapid.IntRange(1, q.bytes).Draw(t, "written")
				q.written(n)
				for n > 0 {
					rest := len(want[0].b) - begun
					if n < rest {
						begun += n
						break
					}
					n -= rest
					want, begun = want[1:], 0
				}
			case 9:
				q.cut()
				if begun > 0 {
					want = want[:1]
				} else {
					want = nil
				}
			}
			total := -begun
			for k, m := range want {
				total += len(m.b)
				if !bytes.Equal(q.items[q.head+k].b, m.b) {
					t.Fatalf("item %d differs", k)
				}
			}
			if q.len() != len(want) || q.bytes != total || q.off != begun {
				t.Fatalf("%d items, %d bytes, %d begun; want %d, %d, %d", q.len(), q.bytes, q.off, len(want), total, begun)
			}
		}
	})
}

func TestSetIsSortedSplitAndWithoutDuplicates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seen := map[Handle]bool{}
		var in []Handle
		for range rapid.IntRange(0, 50).Draw(t, "n") {
			h := makeHandle(uint32(rapid.IntRange(1, 3).Draw(t, "gen")), rapid.IntRange(0, 3).Draw(t, "owner"), rapid.IntRange(0, 20).Draw(t, "fd"))
			if rapid.Bool().Draw(t, "zero") {
				h = 0
			} else {
				seen[h] = true
			}
			in = append(in, h)
		}
		s := NewSet(in)
		if s.Len() != len(seen) {
			t.Fatalf("%d handles, want %d", s.Len(), len(seen))
		}
		owner, n := -1, 0
		for _, p := range s.parts {
			if p.owner <= owner {
				t.Fatal("parts out of order")
			}
			owner = p.owner
			for i, h := range p.handles {
				if h.owner() != owner || !seen[h] || i > 0 && h.slot() < p.handles[i-1].slot() {
					t.Fatalf("handle %x in part %d", h, owner)
				}
				n++
			}
		}
		if n != len(seen) {
			t.Fatalf("%d in parts, want %d", n, len(seen))
		}
	})
}
