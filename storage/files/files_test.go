package files_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/chat/attachment"
	"github.com/zumodra/hub/chat/attachment/attachmenttest"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/blob"
	"github.com/zumodra/hub/storage/blob/fs"
	"github.com/zumodra/hub/storage/files"
	"github.com/zumodra/hub/storage/pebble"
)

var (
	ann = chat.Principal{Tenant: "acme", User: "ann", Username: "ann"}
	bob = chat.Principal{Tenant: "acme", User: "bob", Username: "bob"}
)

// bench is Files over the embedded engine, with a clock that stands still.
type bench struct {
	t     *testing.T
	f     *files.Files
	store *storage.Store
	blobs blob.Store
	lib   *blob.Library
	mu    sync.Mutex
	clock time.Time
	doubt atomic.Bool // the next compare-and-set is carried out, and nobody is told so
}

// doubtful is an engine whose answer can get lost.
type doubtful struct {
	storage.Engine
	b *bench
}

func (d doubtful) CompareAndSet(ctx context.Context, t *storage.Table, partition, clustering storage.Key, expect, set []storage.Value) (bool, storage.Row, error) {
	applied, found, err := d.Engine.CompareAndSet(ctx, t, partition, clustering, expect, set)
	if d.b.doubt.CompareAndSwap(true, false) {
		err = storage.ErrUnknownOutcome
	}
	return applied, found, err
}

func (b *bench) now() time.Time { b.mu.Lock(); defer b.mu.Unlock(); return b.clock }

func (b *bench) advance(d time.Duration) { b.mu.Lock(); defer b.mu.Unlock(); b.clock = b.clock.Add(d) }

func newBench(t *testing.T, change ...func(*files.Config)) *bench {
	t.Helper()
	b := &bench{t: t, clock: time.Now().UTC().Truncate(time.Microsecond)}
	engine, err := pebble.Open(pebble.Config{Dir: t.TempDir(), MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	b.store = storage.New(doubtful{engine, b}, storage.Config{})
	if b.blobs, err = fs.Open(fs.Config{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.blobs.Close() })
	b.lib = blob.NewLibrary(b.blobs, b.store)
	cfg := files.Config{Store: b.store, Blobs: b.blobs, Library: b.lib, Now: b.now, TTL: 30 * 24 * time.Hour}
	for _, f := range change {
		f(&cfg)
	}
	b.f = files.New(cfg)
	return b
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) put(p chat.Principal, name string, content []byte) chat.Upload {
	b.t.Helper()
	u, err := b.f.Store(b.t.Context(), p, name, false, bytes.NewReader(content))
	b.must(err)
	return u
}

// content reads a file back.
func (b *bench) content(id chat.FileID) []byte {
	b.t.Helper()
	r, err := b.f.Open(b.t.Context(), "acme", id)
	b.must(err)
	defer func() { _ = r.Close() }()
	all, err := io.ReadAll(r)
	b.must(err)
	return all
}

// sweep removes what nothing refers to, and counts what is left.
func (b *bench) sweep() int64 {
	b.t.Helper()
	p := blob.NewSweeper(blob.SweeperConfig{Library: b.lib, Grace: time.Nanosecond, Now: func() time.Time { return time.Now().Add(time.Hour) }}).Sweep(b.t.Context())
	b.must(p.Err)
	return p.Blobs - p.RemovedBlobs
}

// TestReq070_StoreFollowsTheRules walks through the shared table. Of what is refused nothing is left.
func TestReq070_StoreFollowsTheRules(t *testing.T) {
	b := newBench(t)
	want := map[[32]byte]bool{}
	for _, c := range attachmenttest.Cases() {
		u, err := b.f.Store(t.Context(), ann, c.Name, c.Voice, bytes.NewReader(c.Content))
		switch {
		case (err != nil) != (c.Want != "") || err != nil && err.Error() != c.Want:
			t.Errorf("%s: %q: %v, want %q", c.What, c.Name, err, c.Want)
		case err == nil && (u.Sum != sha256.Sum256(c.Content) || u.File.Size != int64(len(c.Content)) || c.Safe != "" && u.Name != c.Safe || u.State != chat.UploadReady):
			t.Errorf("%s: %+v", c.What, u)
		case err == nil:
			want[u.Sum] = true
			if !bytes.Equal(b.content(u.ID), c.Content) {
				t.Errorf("%s: other content than was stored", c.What)
			}
		}
	}
	if left := b.sweep(); left != int64(len(want)) {
		t.Errorf("%d blobs, want %d", left, len(want))
	}
}

// A client that goes away in the middle leaves nothing.
func TestInterruptedUploadLeavesNothing(t *testing.T) {
	b := newBench(t)
	gone := errors.New("gone")
	_, err := b.f.Store(t.Context(), ann, "a.txt", false, io.MultiReader(strings.NewReader("half"), iotest.ErrReader(gone)))
	if !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
	if n := b.sweep(); n != 0 || b.f.Active() != 0 {
		t.Errorf("%d blobs, %d uploads", n, b.f.Active())
	}
}

func TestUploadsOfAUserAreBounded(t *testing.T) {
	b := newBench(t, func(c *files.Config) { c.PerUser, c.Parallel = 2, 3 })
	var wg sync.WaitGroup
	var held []*io.PipeWriter
	hold := func(p chat.Principal) {
		r, w := io.Pipe()
		held = append(held, w)
		wg.Go(func() {
			if _, err := b.f.Store(t.Context(), p, "a.txt", false, r); err != nil {
				t.Error(err)
			}
		})
		if _, err := w.Write([]byte("x")); err != nil { // returns when it was read: the upload is under way
			t.Error(err)
		}
	}
	hold(ann)
	hold(ann)
	if _, err := b.f.Store(t.Context(), ann, "a.txt", false, strings.NewReader("x")); !errors.Is(err, chat.ErrRateLimited) {
		t.Errorf("the third of a user: %v", err)
	}
	hold(bob)
	if _, err := b.f.Store(t.Context(), bob, "a.txt", false, strings.NewReader("x")); !errors.Is(err, chat.ErrOverloaded) {
		t.Errorf("the fourth: %v", err)
	}
	for _, w := range held {
		_ = w.Close()
	}
	wg.Wait()
	b.put(ann, "a.txt", []byte("x"))
}

func TestParts(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	content := bytes.Repeat([]byte("Grüße 🌍 "), 5000)
	u, err := b.f.Begin(ctx, ann, "../a.txt", false, int64(len(content)))
	b.must(err)
	if u.Name != "a.txt" || u.State != chat.UploadReceiving {
		t.Fatalf("%+v", u)
	}
	for at := 0; at < len(content); {
		n := min(7777, len(content)-at)
		stored, err := b.f.Append(ctx, ann, u.ID, int64(at), bytes.NewReader(content[at:at+n]))
		b.must(err)
		at += int(stored)
		got, err := b.f.Own(ctx, ann, u.ID)
		b.must(err)
		if got.Offset != int64(at) {
			t.Fatalf("at %d, want %d", got.Offset, at)
		}
		if _, err := b.f.Append(ctx, ann, u.ID, int64(at+1), strings.NewReader("x")); !errors.Is(err, files.ErrOffset) {
			t.Fatalf("a hole: %v", err)
		}
		if _, err := b.f.Finish(ctx, ann, u.ID); at < len(content) && !errors.Is(err, files.ErrOffset) {
			t.Fatalf("finished at %d: %v", at, err)
		}
	}
	if _, err := b.f.Own(ctx, bob, u.ID); !errors.Is(err, chat.ErrNotFound) {
		t.Errorf("somebody else's: %v", err)
	}
	u, err = b.f.Finish(ctx, ann, u.ID)
	b.must(err)
	if u.State != chat.UploadReady || u.Sum != sha256.Sum256(content) || !bytes.Equal(b.content(u.ID), content) {
		t.Errorf("%+v", u)
	}
	if n := b.sweep(); n != 1 {
		t.Errorf("%d blobs: the parts are not gone", n)
	}
	// Content that is not what its name says is refused at the end, and gone.
	bad, err := b.f.Begin(ctx, ann, "a.pdf", false, 5)
	b.must(err)
	_, err = b.f.Append(ctx, ann, bad.ID, 0, strings.NewReader("hello"))
	b.must(err)
	if _, err := b.f.Finish(ctx, ann, bad.ID); !errors.Is(err, attachment.ErrMismatch) {
		t.Errorf("%v", err)
	}
	if _, err := b.f.Own(ctx, ann, bad.ID); !errors.Is(err, chat.ErrNotFound) {
		t.Errorf("a refused upload: %v", err)
	}
	if n := b.sweep(); n != 1 {
		t.Errorf("%d blobs", n)
	}
	for size, want := range map[int64]error{0: attachment.ErrInvalidData, 52_428_801: attachment.ErrTooLarge, 52_428_800: nil} {
		if _, err := b.f.Begin(ctx, ann, "a.pdf", false, size); !errors.Is(err, want) {
			t.Errorf("%d bytes: %v, want %v", size, err, want)
		}
	}
}

func TestClaims(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	c := files.Claim{Conversation: chat.ConversationID{1}, After: 3, ClientID: "c"}
	u := b.put(ann, "a.ogg", attachmenttest.Sample("ogg"))
	refused := func(what string, p chat.Principal, id chat.FileID, c files.Claim) {
		t.Helper()
		if _, err := b.f.Claim(ctx, p, id, c); !errors.Is(err, attachment.ErrNoUpload) {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("somebody else's", bob, u.ID, c)
	refused("none", ann, chat.NewFileID(), c)
	got, err := b.f.Claim(ctx, ann, u.ID, c)
	b.must(err)
	if got.File != u.File || got.Voice {
		t.Errorf("%+v, want %+v", got.File, u.File)
	}
	refused("of another message", ann, u.ID, files.Claim{Conversation: c.Conversation, ClientID: "d"})
	refused("of another conversation", ann, u.ID, files.Claim{Conversation: chat.ConversationID{2}, ClientID: "c"})
	b.must(b.f.Unclaim(ctx, "acme", got))
	other := files.Claim{Conversation: chat.ConversationID{2}, ClientID: "d", Voice: true}
	got, err = b.f.Claim(ctx, ann, u.ID, other)
	b.must(err)
	if again, err := b.f.Claim(ctx, ann, u.ID, other); err != nil || again.Upload != got.Upload {
		t.Errorf("the same again: %+v, %v", again, err)
	}
	b.must(b.f.Attach(ctx, "acme", u.ID, chat.MessageID{9}))
	b.must(b.f.Unclaim(ctx, "acme", got)) // too late
	if err := b.f.Terminate(ctx, ann, u.ID); !errors.Is(err, chat.ErrNotFound) {
		t.Errorf("what was sent cannot be taken back as an upload: %v", err)
	}
	own, err := b.f.Own(ctx, ann, u.ID)
	b.must(err)
	if own.State != chat.UploadAttached || !own.Voice || own.Message != (chat.MessageID{9}) || own.Conversation != other.Conversation {
		t.Errorf("%+v", own)
	}
	text := b.put(ann, "a.txt", []byte("x"))
	if _, err := b.f.Claim(ctx, ann, text.ID, files.Claim{Conversation: c.Conversation, ClientID: "v", Voice: true}); err == nil || err.Error() != "File type .txt is not supported" {
		t.Errorf("a text as a voice message: %v", err)
	}
	// An upload is good for a day.
	b.advance(25 * time.Hour)
	refused("too old", ann, text.ID, c)
	b.must(b.f.Terminate(ctx, ann, text.ID))
	refused("terminated", ann, text.ID, c)
}

// message appends a message to the log as a conversation would.
func (b *bench) message(conversation chat.ConversationID, seq uint64, file *chat.File, clientID string) chat.MessageID {
	b.t.Helper()
	key := chat.ConversationKey{Tenant: "acme", ID: conversation}
	e := chat.Event{Seq: seq, Epoch: 1, MsgNo: seq, Type: chat.EventMessage, At: b.now(), Actor: "ann", ClientID: clientID, File: file, MessageSeq: seq,
		Message: chat.NewMessageID(key, seq, b.now())}
	b.must(b.store.AppendEvents(b.t.Context(), key, []chat.Event{e}))
	return e.Message
}

// TestReq075_Cleanup: what was never sent, what a crash left in between, what was deleted and what expired.
func TestReq075_Cleanup(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	conversation := chat.ConversationID{1}
	claim := func(name string, after uint64) chat.Upload {
		u := b.put(ann, name, []byte(name))
		_, err := b.f.Claim(ctx, ann, u.ID, files.Claim{Conversation: conversation, After: after, ClientID: name})
		b.must(err)
		return u
	}
	unsent := b.put(ann, "unsent.txt", []byte("unsent"))
	half, err := b.f.Begin(ctx, ann, "half.txt", false, 100)
	b.must(err)
	_, err = b.f.Append(ctx, ann, half.ID, 0, strings.NewReader("half"))
	b.must(err)
	b.message(conversation, 1, nil, "")
	lost := claim("lost.txt", 1) // the process ended before the message
	sent := claim("sent.txt", 1) // and here after it
	b.message(conversation, 2, &sent.File, "sent.txt")
	kept, deleted, gone := claim("kept.txt", 2), claim("deleted.txt", 2), claim("gone.txt", 2)
	b.must(b.f.Attach(ctx, "acme", kept.ID, b.message(conversation, 3, &kept.File, "kept.txt")))
	message := b.message(conversation, 4, &deleted.File, "deleted.txt")
	b.must(b.f.Attach(ctx, "acme", deleted.ID, message))
	b.must(b.f.Attach(ctx, "acme", gone.ID, chat.NewMessageID(chat.ConversationKey{Tenant: "acme", ID: conversation}, 99, b.now())))

	p := b.f.Clean(ctx)
	if p.Files != 7 || p.Unsent+p.Settled+p.Expired+p.Failed != 0 || p.Orphans != 1 {
		t.Errorf("a young pass: %+v", p)
	}
	key := chat.ConversationKey{Tenant: "acme", ID: conversation}
	e, err := b.store.GetEvent(ctx, key, 4)
	b.must(err)
	e.File, e.DeletedAt = nil, b.now()
	b.must(b.store.AppendEvents(ctx, key, []chat.Event{e}))
	b.advance(25 * time.Hour)
	if p = b.f.Clean(ctx); p.Unsent != 3 || p.Settled != 1 || p.Orphans != 1 || p.Failed != 0 {
		t.Errorf("%+v", p)
	}
	for what, id := range map[string]chat.FileID{"unsent": unsent.ID, "half": half.ID, "lost": lost.ID, "deleted": deleted.ID, "gone": gone.ID} {
		if _, err := b.f.Open(ctx, "acme", id); !errors.Is(err, chat.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, id := range []chat.FileID{kept.ID, sent.ID} {
		if u, err := b.f.Find(ctx, "acme", id); err != nil || u.State != chat.UploadAttached || len(b.content(id)) == 0 {
			t.Errorf("%+v, %v", u, err)
		}
	}
	if n := b.sweep(); n != 2 {
		t.Errorf("%d blobs, want the two of messages", n)
	}
	b.advance(30 * 24 * time.Hour)
	if p = b.f.Clean(ctx); p.Expired != 2 || b.sweep() != 0 {
		t.Errorf("%+v", p)
	}
	b.advance(31 * 24 * time.Hour)
	b.f.Clean(ctx)
	if p = b.f.Clean(ctx); p.Files != 0 {
		t.Errorf("rows are left: %+v", p)
	}
}

// A node cleans up for its own shards.
func TestCleanupIsShared(t *testing.T) {
	var mine int
	b := newBench(t, func(c *files.Config) { c.Owns = func(shard int) bool { return shard == mine } })
	b.put(ann, "a.txt", []byte("a"))
	b.advance(25 * time.Hour)
	mine = (chat.UserKey{Tenant: "acme", User: "ann"}.Shard() + 1) % chat.Shards
	if p := b.f.Clean(t.Context()); p.Files != 0 {
		t.Errorf("%+v", p)
	}
	mine = chat.UserKey{Tenant: "acme", User: "ann"}.Shard()
	if p := b.f.Clean(t.Context()); p.Unsent != 1 {
		t.Errorf("%+v", p)
	}
}

func TestReq074_DownloadsAreCounted(t *testing.T) {
	b := newBench(t)
	u := b.put(ann, "a.txt", []byte("a"))
	check := func(want uint64) {
		t.Helper()
		if got, err := b.f.Find(t.Context(), "acme", u.ID); err != nil || got.Downloads != want {
			t.Errorf("%d downloads, want %d: %v", got.Downloads, want, err)
		}
	}
	for i := range uint64(3) {
		b.f.Downloaded("acme", u.ID)
		check(i + 1)
	}
	b.f.Flush(t.Context())
	check(3)
	b.f.Downloaded("acme", u.ID)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b.f.Run(ctx) // writes what is left
	if row, err := b.store.GetFile(t.Context(), "acme", u.ID); err != nil || row.Downloads != 4 {
		t.Errorf("%d stored, %v", row.Downloads, err)
	}
}
