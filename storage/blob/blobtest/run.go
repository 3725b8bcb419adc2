package blobtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/blob"
	"github.com/zumodra/hub/storage/storagetest"
)

// Open opens an empty store for one test, and closes it at the test's end if the test did not.
type Open func(t *testing.T) blob.Store

// Sizes around those that stores treat differently: nothing, a copy buffer, one part of a multipart upload, several.
var sizes = []int{0, 1, 1000, 128 << 10, 5<<20 - 1, 5 << 20, 5<<20 + 1, 12<<20 + 345}

// Content returns n bytes that depend on seed.
func Content(n int, seed uint64) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, seed))).Read(b) // never fails
	return b
}

// Run runs the suite.
func Run(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, blob.Store)
	}{
		{"RoundTrip", roundTrip},
		{"Ranges", ranges},
		{"ServeContent", serveContent},
		{"Limits", limits},
		{"CutStreams", cutStreams},
		{"Repeated", repeated},
		{"TenantsApart", tenants},
		{"Generations", generations},
		{"ConcurrentPuts", concurrent},
		{"DeleteAndList", deleteAndList},
		{"Clean", clean},
		{"NothingBeforePublish", invisible},
		{"Contexts", contexts},
		{"Library", library},
		{"Sweeper", sweeper},
		{"Close", closed},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

// Put stores content under generation 0.
func Put(t *testing.T, s blob.Store, tenant chat.TenantID, content []byte) blob.Info {
	t.Helper()
	st, err := s.Stage(t.Context(), tenant, bytes.NewReader(content), 0)
	must(t, err)
	defer st.Discard()
	if st.Sum() != sha256.Sum256(content) || st.Size() != int64(len(content)) {
		t.Fatalf("staged %d bytes with hash %s, want %d with %x", st.Size(), st.Sum(), len(content), sha256.Sum256(content))
	}
	i, err := st.Publish(t.Context(), 0)
	must(t, err)
	return i
}

func read(t *testing.T, s blob.Store, k blob.Key) []byte {
	t.Helper()
	r, err := s.Open(t.Context(), k)
	must(t, err)
	b, err := io.ReadAll(r)
	must(t, err)
	must(t, r.Close())
	return b
}

func same(t *testing.T, got, want []byte, what string) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("%s: got %d bytes, want %d, equal up to %d", what, len(got), len(want), prefix(got, want))
	}
}

func prefix(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func list(t *testing.T, s blob.Store) []blob.Info {
	t.Helper()
	var l []blob.Info
	must(t, s.List(t.Context(), func(i blob.Info) bool { l = append(l, i); return true }))
	slices.SortFunc(l, func(a, b blob.Info) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	return l
}

func roundTrip(t *testing.T, s blob.Store) {
	start := time.Now()
	for i, n := range sizes {
		c := Content(n, uint64(i))
		info := Put(t, s, "acme", c)
		want := blob.Key{Tenant: "acme", Sum: sha256.Sum256(c)}
		if info.Key != want || info.Size != int64(n) {
			t.Fatalf("published as %+v, want %v of %d bytes", info, want, n)
		}
		got, err := s.Stat(t.Context(), want)
		must(t, err)
		if got.Key != want || got.Size != int64(n) || got.Stored.Before(start.Add(-time.Minute)) || got.Stored.After(time.Now().Add(time.Minute)) {
			t.Fatalf("stat: %+v", got)
		}
		same(t, read(t, s, want), c, fmt.Sprint("content of ", n))
		must(t, blob.Verify(t.Context(), s, want))
	}
	_, err := s.Stat(t.Context(), blob.Key{Tenant: "acme", Sum: blob.Sum{1}})
	wantErr(t, err, blob.ErrNotFound)
	_, err = s.Open(t.Context(), blob.Key{Tenant: "acme", Sum: blob.Sum{1}})
	wantErr(t, err, blob.ErrNotFound)
	must(t, s.Health(t.Context()))
}

func ranges(t *testing.T, s blob.Store) {
	c := Content(11<<20, 1)
	k := Put(t, s, "acme", c).Key
	for _, r := range [][2]int64{{0, 1}, {0, 0}, {1, 1}, {5<<20 - 1, 2}, {5 << 20, 100}, {int64(len(c)) - 1, 10}, {int64(len(c)), 5},
		{int64(len(c)) + 5, 5}, {100, -1}, {0, -1}} {
		rd, err := blob.OpenRange(t.Context(), s, k, r[0], r[1])
		must(t, err)
		got, err := io.ReadAll(rd)
		must(t, err)
		must(t, rd.Close())
		from := min(r[0], int64(len(c)))
		to := int64(len(c))
		if r[1] >= 0 {
			to = min(from+r[1], to)
		}
		same(t, got, c[from:to], fmt.Sprint("range ", r))
	}
	if _, err := blob.OpenRange(t.Context(), s, k, -1, 5); err == nil {
		t.Fatal("a negative offset was taken")
	}
	// Any order of seeks and reads.
	rd, err := s.Open(t.Context(), k)
	must(t, err)
	rnd := rand.New(rand.NewPCG(1, 2))
	pos := int64(0)
	for range 60 {
		switch rnd.IntN(4) {
		case 0:
			pos = rnd.Int64N(int64(len(c)) + 10)
			got, err := rd.Seek(pos, io.SeekStart)
			must(t, err)
			if got != pos {
				t.Fatalf("seek to %d answered %d", pos, got)
			}
		case 1:
			d := rnd.Int64N(1000)
			got, err := rd.Seek(-d-1, io.SeekEnd)
			must(t, err)
			if pos = int64(len(c)) - d - 1; got != pos {
				t.Fatalf("seek to %d answered %d", pos, got)
			}
		default:
			buf := make([]byte, rnd.IntN(70000)+1)
			n, err := io.ReadFull(rd, buf)
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatal(err)
			}
			from := min(pos, int64(len(c)))
			same(t, buf[:n], c[from:min(from+int64(len(buf)), int64(len(c)))], fmt.Sprint("read at ", pos))
			pos += int64(n)
		}
	}
	if _, err := rd.Seek(-1, io.SeekStart); err == nil {
		t.Fatal("seek before the beginning")
	}
	must(t, rd.Close())
}

// serveContent: a Reader is what http.ServeContent needs, ranges and all.
func serveContent(t *testing.T, s blob.Store) {
	c := Content(6<<20, 5)
	k := Put(t, s, "acme", c).Key
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rd, err := s.Open(r.Context(), k)
		if err != nil {
			t.Error(err)
			return
		}
		defer rd.Close()
		http.ServeContent(w, r, "", rd.Info().Stored, rd)
	})
	for header, want := range map[string][]byte{"": c, "bytes=10-19": c[10:20], "bytes=-7": c[len(c)-7:], "bytes=5242879-5242881": c[5242879:5242882]} {
		q := httptest.NewRequest("GET", "/", nil).WithContext(t.Context())
		if header != "" {
			q.Header.Set("Range", header)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, q)
		same(t, w.Body.Bytes(), want, "range "+header)
	}
}

func limits(t *testing.T, s blob.Store) {
	for _, n := range []int{1, 1000, 128 << 10, 5 << 20, 11 << 20} {
		c := Content(n, uint64(n))
		for _, limit := range []int64{int64(n), int64(n) + 1} {
			st, err := s.Stage(t.Context(), "acme", bytes.NewReader(c), limit)
			must(t, err)
			st.Discard()
		}
		_, err := s.Stage(t.Context(), "acme", bytes.NewReader(c), max(1, int64(n)-1))
		if n > 1 {
			wantErr(t, err, blob.ErrTooLarge)
		}
	}
	// An endless stream ends at the limit.
	_, err := s.Stage(t.Context(), "acme", endless{}, 7<<20)
	wantErr(t, err, blob.ErrTooLarge)
	if l := list(t, s); len(l) != 0 {
		t.Fatalf("there are blobs: %v", l)
	}
	if _, err := s.Stage(t.Context(), "", strings.NewReader("x"), 0); err == nil {
		t.Fatal("content without a tenant was taken")
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// cutStreams: what the reader fails with comes back, io.ErrUnexpectedEOF of a body that was cut off included, and
// nothing is stored.
func cutStreams(t *testing.T, s blob.Store) {
	broken := errors.New("the line went dead")
	for _, n := range []int{0, 10, 128 << 10, 5<<20 - 1, 5 << 20, 7 << 20} {
		for _, with := range []error{broken, io.ErrUnexpectedEOF, io.ErrClosedPipe} {
			r := io.MultiReader(bytes.NewReader(Content(n, 9)), iotest.ErrReader(with))
			_, err := s.Stage(t.Context(), "acme", r, 0)
			wantErr(t, err, with)
			// The error may come with the last bytes.
			_, err = s.Stage(t.Context(), "acme", &withData{bytes.NewReader(Content(n, 9)), with}, 0)
			wantErr(t, err, with)
		}
	}
	_, err := s.Stage(t.Context(), "acme", stuck{}, 0)
	wantErr(t, err, io.ErrNoProgress)
	for _, r := range []io.Reader{iotest.OneByteReader(bytes.NewReader(Content(3000, 1))), iotest.DataErrReader(bytes.NewReader(Content(3000, 1)))} {
		st, err := s.Stage(t.Context(), "acme", r, 0)
		must(t, err)
		if st.Size() != 3000 {
			t.Fatalf("%d bytes", st.Size())
		}
		st.Discard()
	}
	if l := list(t, s); len(l) != 0 {
		t.Fatalf("there are blobs: %v", l)
	}
	if n, err := s.Clean(t.Context(), time.Now().Add(time.Hour)); err != nil || n != 0 {
		t.Fatalf("%d uploads were left behind, %v", n, err)
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

type withData struct {
	r    *bytes.Reader
	with error
}

func (w *withData) Read(p []byte) (int, error) {
	n, _ := w.r.Read(p)
	if w.r.Len() == 0 {
		return n, w.with
	}
	return n, nil
}

func repeated(t *testing.T, s blob.Store) {
	for _, n := range []int{100, 6 << 20} {
		c := Content(n, 3)
		first := Put(t, s, "acme", c)
		for range 2 {
			if again := Put(t, s, "acme", c); again.Key != first.Key || again.Size != first.Size {
				t.Fatalf("%+v, then %+v", first, again)
			}
		}
		// Publishing twice, and under two generations, from one upload.
		st, err := s.Stage(t.Context(), "acme", bytes.NewReader(c), 0)
		must(t, err)
		for _, g := range []uint64{0, 0, 7} {
			i, err := st.Publish(t.Context(), g)
			must(t, err)
			same(t, read(t, s, i.Key), c, i.Key.String())
		}
		st.Discard()
		same(t, read(t, s, first.Key), c, "after discard")
	}
	if l := list(t, s); len(l) != 4 {
		t.Fatalf("%d blobs, want 4: %v", len(l), l)
	}
}

func tenants(t *testing.T, s blob.Store) {
	c := Content(200, 4)
	names := []chat.TenantID{"a", "A", ".", "..", "a.b", "A-b_c", chat.TenantID(strings.Repeat("t", chat.MaxTenantID))}
	for _, n := range names {
		if _, err := s.Stat(t.Context(), blob.Key{Tenant: n, Sum: sha256.Sum256(c)}); !errors.Is(err, blob.ErrNotFound) {
			t.Fatalf("tenant %q sees what others stored: %v", n, err)
		}
		Put(t, s, n, c)
	}
	if l := list(t, s); len(l) != len(names) {
		t.Fatalf("%d blobs, want %d", len(l), len(names))
	}
	must(t, s.Delete(t.Context(), blob.Key{Tenant: "a", Sum: sha256.Sum256(c)}))
	for _, n := range names[1:] {
		same(t, read(t, s, blob.Key{Tenant: n, Sum: sha256.Sum256(c)}), c, string(n))
	}
}

func generations(t *testing.T, s blob.Store) {
	c := Content(300, 6)
	st, err := s.Stage(t.Context(), "acme", bytes.NewReader(c), 0)
	must(t, err)
	defer st.Discard()
	var keys []blob.Key
	for g := range uint64(12) {
		i, err := st.Publish(t.Context(), g)
		must(t, err)
		keys = append(keys, i.Key)
	}
	if l := list(t, s); len(l) != len(keys) {
		t.Fatalf("%d blobs, want %d: %v", len(l), len(keys), l)
	}
	must(t, s.Delete(t.Context(), keys[1]))
	_, err = s.Stat(t.Context(), keys[1])
	wantErr(t, err, blob.ErrNotFound)
	same(t, read(t, s, keys[11]), c, "generation 11")
	same(t, read(t, s, keys[0]), c, "generation 0")
}

func concurrent(t *testing.T, s blob.Store) {
	contents := [][]byte{Content(50, 1), Content(70000, 2), Content(6<<20, 3)}
	var wg sync.WaitGroup
	for w := range 12 {
		wg.Go(func() {
			c := contents[w%len(contents)]
			st, err := s.Stage(t.Context(), "acme", bytes.NewReader(c), 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer st.Discard()
			if _, err := st.Publish(t.Context(), 0); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if l := list(t, s); len(l) != len(contents) {
		t.Fatalf("%d blobs, want %d: %v", len(l), len(contents), l)
	}
	for _, c := range contents {
		same(t, read(t, s, blob.Key{Tenant: "acme", Sum: sha256.Sum256(c)}), c, "content")
	}
	if n, err := s.Clean(t.Context(), time.Now().Add(time.Hour)); err != nil || n != 0 {
		t.Fatalf("%d uploads were left behind, %v", n, err)
	}
}

func deleteAndList(t *testing.T, s blob.Store) {
	want := map[blob.Key]int64{}
	for i := range 25 {
		info := Put(t, s, chat.TenantID(fmt.Sprint("t", i%3)), Content(i*10, uint64(i)))
		want[info.Key] = info.Size
	}
	check := func() {
		t.Helper()
		l := list(t, s)
		if len(l) != len(want) {
			t.Fatalf("%d blobs, want %d", len(l), len(want))
		}
		for _, i := range l {
			if size, ok := want[i.Key]; !ok || size != i.Size || time.Since(i.Stored).Abs() > time.Hour {
				t.Fatalf("listed %+v, want size %d", i, size)
			}
		}
	}
	check()
	for k := range want {
		must(t, s.Delete(t.Context(), k))
		must(t, s.Delete(t.Context(), k)) // again
		delete(want, k)
		if len(want) == 10 {
			break
		}
	}
	check()
	n := 0
	must(t, s.List(t.Context(), func(blob.Info) bool { n++; return n < 3 }))
	if n != 3 {
		t.Fatalf("yield was called %d times after it said stop at 3", n)
	}
	// Deleting what is listed, while listing.
	must(t, s.List(t.Context(), func(i blob.Info) bool {
		if err := s.Delete(t.Context(), i.Key); err != nil {
			t.Error(err)
		}
		return true
	}))
	if l := list(t, s); len(l) != 0 {
		t.Fatalf("%d blobs are left", len(l))
	}
}

func clean(t *testing.T, s blob.Store) {
	Put(t, s, "acme", Content(10, 1))
	small, err := s.Stage(t.Context(), "acme", bytes.NewReader(Content(100, 2)), 0)
	must(t, err)
	large, err := s.Stage(t.Context(), "acme", bytes.NewReader(Content(6<<20, 2)), 0)
	must(t, err)
	if n, err := s.Clean(t.Context(), time.Now().Add(-time.Hour)); err != nil || n != 0 {
		t.Fatalf("removed %d young uploads, %v", n, err)
	}
	for _, st := range []blob.Staged{small, large} {
		i, err := st.Publish(t.Context(), 0)
		must(t, err)
		must(t, blob.Verify(t.Context(), s, i.Key))
	}
	n, err := s.Clean(t.Context(), time.Now().Add(time.Hour))
	must(t, err)
	if n < 1 || n > 2 {
		t.Fatalf("removed %d old uploads", n)
	}
	small.Discard()
	large.Discard()
	if l := list(t, s); len(l) != 3 {
		t.Fatalf("%d blobs, want 3", len(l))
	}
}

func invisible(t *testing.T, s blob.Store) {
	for _, n := range []int{100, 6 << 20} {
		c := Content(n, 8)
		k := blob.Key{Tenant: "acme", Sum: sha256.Sum256(c)}
		st, err := s.Stage(t.Context(), "acme", bytes.NewReader(c), 0)
		must(t, err)
		_, err = s.Stat(t.Context(), k)
		wantErr(t, err, blob.ErrNotFound)
		if l := list(t, s); len(l) != 0 {
			t.Fatalf("listed before it was published: %v", l)
		}
		st.Discard()
		_, err = s.Stat(t.Context(), k)
		wantErr(t, err, blob.ErrNotFound)
	}
	if n, err := s.Clean(t.Context(), time.Now().Add(time.Hour)); err != nil || n != 0 {
		t.Fatalf("%d uploads were left behind, %v", n, err)
	}
}

func contexts(t *testing.T, s blob.Store) {
	k := Put(t, s, "acme", Content(6<<20, 1)).Key
	ctx, cancel := context.WithCancel(t.Context())
	rd, err := s.Open(ctx, k)
	must(t, err)
	_, err = io.ReadFull(rd, make([]byte, 10))
	must(t, err)
	// An upload is ended between two reads.
	_, err = s.Stage(ctx, "acme", &cancelling{bytes.NewReader(Content(8<<20, 2)), 6 << 20, cancel}, 0)
	wantErr(t, err, context.Canceled)
	_, err = rd.Seek(5<<20, io.SeekStart)
	must(t, err)
	_, err = io.ReadAll(rd)
	wantErr(t, err, context.Canceled)
	_ = rd.Close()
	_, err = s.Stage(ctx, "acme", strings.NewReader("x"), 0)
	wantErr(t, err, context.Canceled)
	_, err = s.Stat(ctx, k)
	wantErr(t, err, context.Canceled)
	_, err = s.Open(ctx, k)
	wantErr(t, err, context.Canceled)
	wantErr(t, s.Delete(ctx, k), context.Canceled)
	wantErr(t, s.List(ctx, func(blob.Info) bool { return true }), context.Canceled)
	_, err = s.Clean(ctx, time.Now())
	wantErr(t, err, context.Canceled)
	wantErr(t, s.Health(ctx), context.Canceled)
	st, err := s.Stage(t.Context(), "acme", strings.NewReader("x"), 0)
	must(t, err)
	_, err = st.Publish(ctx, 0)
	wantErr(t, err, context.Canceled)
	st.Discard()
	must(t, blob.Verify(t.Context(), s, k))
	if n, err := s.Clean(t.Context(), time.Now().Add(time.Hour)); err != nil || n != 0 {
		t.Fatalf("%d uploads were left behind, %v", n, err)
	}
}

type cancelling struct {
	r      io.Reader
	left   int
	cancel func()
}

func (c *cancelling) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.left -= n; c.left < 0 {
		c.cancel()
	}
	return n, err
}

func library(t *testing.T, s blob.Store) {
	e := storagetest.Memory()
	refs := storage.New(e, storage.Config{})
	l := blob.NewLibrary(s, refs)
	for _, n := range []int{100, 6 << 20} {
		c := Content(n, 21)
		a, err := l.Put(t.Context(), "acme", "att-1", bytes.NewReader(c), 0)
		must(t, err)
		b, err := l.Put(t.Context(), "acme", "att-2", bytes.NewReader(c), 0)
		must(t, err)
		if a.Key != b.Key {
			t.Fatalf("%v and %v", a.Key, b.Key)
		}
		sweep := func(k blob.Key, want bool) {
			t.Helper()
			got, err := l.Sweep(t.Context(), k)
			must(t, err)
			if got != want {
				t.Fatalf("swept %v: %v, want %v", k, got, want)
			}
		}
		sweep(a.Key, false)
		must(t, l.Release(t.Context(), a.Key, "att-1"))
		must(t, l.Release(t.Context(), a.Key, "att-1"))
		sweep(a.Key, false)
		must(t, l.Release(t.Context(), a.Key, "att-2"))
		sweep(a.Key, true)
		sweep(a.Key, true) // by somebody else, late
		again, err := l.Put(t.Context(), "acme", "att-3", bytes.NewReader(c), 0)
		must(t, err)
		if again.Key == a.Key {
			t.Fatalf("the name %v was used again", a.Key)
		}
		sweep(a.Key, true) // the late delete of the old copy
		sweep(again.Key, false)
		must(t, blob.Verify(t.Context(), s, again.Key))
	}
	_, err := l.Put(t.Context(), "acme", "att-4", endless{}, 100)
	wantErr(t, err, blob.ErrTooLarge)
}

func sweeper(t *testing.T, s blob.Store) {
	now := time.Now()
	refs := storage.New(storagetest.Memory(), storage.Config{})
	l := blob.NewLibrary(s, refs)
	kept, err := l.Put(t.Context(), "acme", "att-1", bytes.NewReader(Content(100, 1)), 0)
	must(t, err)
	var passes passes
	sw := blob.NewSweeper(blob.SweeperConfig{Library: l, Now: func() time.Time { return now }, Observer: &passes})
	orphan := Put(t, s, "acme", Content(2000, 2))
	upload, err := s.Stage(t.Context(), "acme", bytes.NewReader(Content(6<<20, 3)), 0)
	must(t, err)
	now = now.Add(23 * time.Hour)
	if p := sw.Sweep(t.Context()); p.Err != nil || p.RemovedBlobs != 0 || p.Uploads != 0 || p.Blobs != 2 || p.Bytes != 2100 {
		t.Fatalf("within the grace period: %+v", p)
	}
	now = now.Add(2 * time.Hour)
	if p := sw.Sweep(t.Context()); p.Err != nil || p.RemovedBlobs != 1 || p.RemovedBytes != 2000 || p.Uploads != 1 || p.Failed != 0 {
		t.Fatalf("after it: %+v", p)
	}
	upload.Discard()
	_, err = s.Stat(t.Context(), orphan.Key)
	wantErr(t, err, blob.ErrNotFound)
	must(t, blob.Verify(t.Context(), s, kept.Key))
	if p := sw.Sweep(t.Context()); p.Err != nil || p.RemovedBlobs != 0 || p.Uploads != 0 || p.Blobs != 1 {
		t.Fatalf("nothing left to do: %+v", p)
	}
	if len(passes) != 3 || passes[1].RemovedBlobs != 1 {
		t.Fatalf("the observer heard %+v", passes)
	}
}

type passes []blob.Pass

func (p *passes) Swept(pass blob.Pass) { *p = append(*p, pass) }

func closed(t *testing.T, s blob.Store) {
	k := Put(t, s, "acme", Content(10, 1)).Key
	must(t, s.Close())
	wantErr(t, s.Close(), blob.ErrClosed)
	_, err := s.Stage(t.Context(), "acme", strings.NewReader("x"), 0)
	wantErr(t, err, blob.ErrClosed)
	_, err = s.Stat(t.Context(), k)
	wantErr(t, err, blob.ErrClosed)
	_, err = s.Open(t.Context(), k)
	wantErr(t, err, blob.ErrClosed)
	wantErr(t, s.Delete(t.Context(), k), blob.ErrClosed)
	wantErr(t, s.List(t.Context(), func(blob.Info) bool { return true }), blob.ErrClosed)
	_, err = s.Clean(t.Context(), time.Now())
	wantErr(t, err, blob.ErrClosed)
	wantErr(t, s.Health(t.Context()), blob.ErrClosed)
}
