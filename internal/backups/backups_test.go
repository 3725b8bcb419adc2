package backups_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/internal/backups"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/backup"
	"github.com/zumodra/hub/storage/pebble"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// engine is the embedded one with things that happen during a copy and a health of its own.
type engine struct {
	*pebble.Engine
	during func() error
	health atomic.Pointer[error]
}

func (e *engine) Checkpoint(ctx context.Context, dir string) error {
	if e.during != nil {
		if err := e.during(); err != nil {
			return err
		}
	}
	return e.Engine.Checkpoint(ctx, dir)
}

func (e *engine) Health(ctx context.Context) error {
	if p := e.health.Load(); p != nil {
		return *p
	}
	return e.Engine.Health(ctx)
}

// rig is a data directory whose store is open and has a few rows, and a server that makes backups of it.
type rig struct {
	data   string
	engine *engine
	url    string
	live   *backups.Live
	mu     sync.Mutex
	ended  []string
}

func (r *rig) outcomes() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ended)
}

func newRig(t *testing.T) *rig { return newRigThatWaits(t, time.Minute) }

// newRigThatWaits waits so long for a client that takes nothing.
func newRigThatWaits(t *testing.T, stalled time.Duration) *rig {
	t.Helper()
	r := &rig{data: t.TempDir()}
	e, err := pebble.Open(pebble.Config{Dir: filepath.Join(r.data, backups.StoreDir)})
	must(t, err)
	t.Cleanup(func() { _ = e.Close() })
	s := storage.New(e, storage.Config{})
	for _, id := range []chat.UserID{"a", "b", "c"} {
		must(t, s.PutUser(t.Context(), chat.User{Tenant: "t", ID: id}))
	}
	r.engine = &engine{Engine: e}
	r.live, err = backups.NewLive(backups.LiveConfig{Engine: r.engine, Data: r.data, Version: "v1", Stalled: stalled,
		Observe: func(outcome string, _ time.Time, _ time.Duration) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.ended = append(r.ended, outcome)
		}})
	must(t, err)
	srv := httptest.NewServer(r.live)
	t.Cleanup(func() { srv.CloseClientConnections(); r.live.Close(); srv.Close() })
	r.url = srv.URL
	return r
}

func (r *rig) blob(t *testing.T, name, content string) string {
	t.Helper()
	file := filepath.Join(r.data, backups.BlobsDir, name)
	must(t, os.MkdirAll(filepath.Dir(file), 0o700))
	must(t, os.WriteFile(file, []byte(content), 0o600))
	return file
}

func (r *rig) wantClean(t *testing.T) {
	t.Helper()
	r.live.Close() // waits for the handler
	if _, err := os.Stat(filepath.Join(r.data, backups.TempDir)); !errors.Is(err, os.ErrNotExist) {
		t.Error("the copy is left:", err)
	}
}

// Blobs that come or go while the store is copied are in the backup if its rows may name them.
func TestBlobsOfTheCopy(t *testing.T) {
	r := newRig(t)
	old := r.blob(t, "aa/aa/old", "named by rows, which are deleted right after the copy")
	r.blob(t, "lock", "")
	r.blob(t, "tmp/123", "half of an upload")
	r.engine.during = func() error {
		r.blob(t, "bb/bb/new", "written before the row that names it")
		return os.Remove(old)
	}
	var b bytes.Buffer
	m, err := backups.Download(t.Context(), r.url, &b, nil)
	must(t, err)
	var names []string
	for _, f := range m.Files {
		if strings.HasPrefix(f.Name, "blobs/") {
			names = append(names, f.Name)
		}
	}
	if got := strings.Join(names, " "); got != "blobs/bb/bb/new" && got != "blobs/aa/aa/old blobs/bb/bb/new" {
		t.Error(got)
	} else if len(names) != 2 {
		t.Error("the blob that was removed after the copy began is missing")
	}
	restored := filepath.Join(t.TempDir(), "data")
	_, err = backups.Restore(t.Context(), &b, backups.RestoreConfig{Data: restored, Verify: func(p storage.Problem) { t.Error(p) }})
	must(t, err)
	content, err := os.ReadFile(filepath.Join(restored, "blobs/aa/aa/old"))
	if err != nil || !strings.HasPrefix(string(content), "named by rows") {
		t.Error(string(content), err)
	}
	r.wantClean(t)
	if got := r.outcomes(); !slices.Equal(got, []string{"ok"}) {
		t.Error(got)
	}
}

// A backup is given up when the disk gets too full, and says so to whoever reads it.
func TestFullDiskEndsABackup(t *testing.T) {
	r := newRig(t)
	r.blob(t, "aa/aa/large", strings.Repeat("x", 64<<20)) // more than connections hold
	pipe, w := io.Pipe()
	full := storage.ErrNoSpace
	done := make(chan error, 1)
	go func() {
		_, err := backups.Download(context.Background(), r.url, w, nil)
		_ = w.CloseWithError(err)
		done <- err
	}()
	_, err := io.ReadFull(pipe, make([]byte, 10_000))
	must(t, err)
	r.engine.health.Store(&full)
	_, _ = io.Copy(io.Discard, pipe)
	if err := <-done; err == nil || !strings.Contains(err.Error(), "the server gave up") || !strings.Contains(err.Error(), "free disk space") {
		t.Error(err)
	}
	r.wantClean(t)
	if got := r.outcomes(); !slices.Equal(got, []string{"error"}) {
		t.Error(got)
	}
}

// A client that takes nothing does not hold the copy for ever.
func TestStalledClient(t *testing.T) {
	r := newRigThatWaits(t, 100*time.Millisecond)
	r.blob(t, "aa/aa/large", strings.Repeat("x", 64<<20)) // more than connections hold
	resp, err := http.Post(r.url, "", nil)
	must(t, err)
	defer resp.Body.Close()
	for end := time.Now().Add(2 * time.Minute); len(r.outcomes()) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the backup goes on although nobody takes it")
		}
	}
	if got := r.outcomes(); got[0] == "ok" {
		t.Error(got)
	}
	r.wantClean(t)
	if _, err := backups.Check(t.Context(), resp.Body, nil); err == nil {
		t.Error("what was left of it passes for a backup")
	}
}

func TestLiveRefuses(t *testing.T) {
	r := newRig(t)
	r.engine.during = func() error { return storage.ErrNoSpace }
	if _, err := backups.Download(t.Context(), r.url, io.Discard, nil); err == nil || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), "disk space") {
		t.Error(err)
	}
	r.engine.during = func() error { return errors.New("a broken disk") }
	if _, err := backups.Download(t.Context(), r.url, io.Discard, nil); err == nil || !strings.Contains(err.Error(), "500") || !strings.Contains(err.Error(), "a broken disk") {
		t.Error(err)
	}
	r.engine.during = nil
	if _, err := backups.Download(t.Context(), r.url, io.Discard, nil); err != nil {
		t.Error("after failures:", err)
	}
	r.wantClean(t)
	if _, err := backups.Download(t.Context(), r.url, io.Discard, nil); err == nil || !strings.Contains(err.Error(), "stopping") {
		t.Error(err)
	}
}

// archiveOf makes an archive of a directory with a state hash that may be wrong.
func archiveOf(t *testing.T, w io.Writer, store string, state storage.State) error {
	t.Helper()
	_, err := backup.Write(t.Context(), w, backup.Header{Hub: "v1", Schema: storage.SchemaVersion, Created: time.Now()},
		func(context.Context) (storage.State, error) { return state, nil }, nil,
		backup.Source{Name: "store", Dir: store, Skip: func(n string) bool { return n == "LOCK" }})
	return err
}

// What an archive holds must be the rows of its state hash, and a store at all.
func TestRestoreChecksTheRows(t *testing.T) {
	r := newRig(t)
	must(t, r.engine.Close())
	var good bytes.Buffer
	m, err := backups.Stopped(t.Context(), r.data, "v1", &good, nil)
	must(t, err)
	store := filepath.Join(r.data, backups.StoreDir)

	wrong := m.State
	wrong.Tables = slices.Clone(wrong.Tables)
	wrong.Tables[0].Hash[3] ^= 1
	var other, nothing bytes.Buffer
	must(t, archiveOf(t, &other, store, wrong))
	must(t, archiveOf(t, &nothing, t.TempDir(), storage.State{}))
	parent := t.TempDir()
	target := filepath.Join(parent, "data")
	for name, c := range map[string]struct {
		archive []byte
		want    error
	}{
		"other rows": {other.Bytes(), backups.ErrState}, "no store": {nothing.Bytes(), nil}, "torn": {good.Bytes()[:good.Len()/2], backup.ErrDamaged},
	} {
		if _, err := backups.Restore(t.Context(), bytes.NewReader(c.archive), backups.RestoreConfig{Data: target}); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v %v", name, left, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := backups.Restore(ctx, bytes.NewReader(good.Bytes()), backups.RestoreConfig{Data: target}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// A directory that is there keeps what a file system put into it, and what an interrupted restore left.
	mount := t.TempDir()
	must(t, os.Mkdir(filepath.Join(mount, "lost+found"), 0o700))
	must(t, os.Mkdir(filepath.Join(mount, ".restore-123"), 0o700))
	_, err = backups.Restore(t.Context(), bytes.NewReader(good.Bytes()), backups.RestoreConfig{Data: mount})
	must(t, err)
	entries, err := os.ReadDir(mount)
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if !slices.Equal(names, []string{".restore-123", "lost+found", "store"}) {
		t.Error(names)
	}
	state, err := backups.Hash(t.Context(), mount, m.Created)
	if err != nil || state.Hash != m.State.Hash || state.Rows != 7 { // three users, each in the list of the tenant, and the version
		t.Error(state, err)
	}
	if _, err := backups.Restore(t.Context(), bytes.NewReader(good.Bytes()), backups.RestoreConfig{Data: mount}); !errors.Is(err, backups.ErrNotEmpty) {
		t.Error(err)
	}
}

// An archive that is larger than the disk is refused before it fills it.
func TestRestoreNeedsRoom(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "000001.sst"))
	must(t, err)
	must(t, errors.Join(f.Truncate(1<<42), f.Close()))
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(archiveOf(t, w, dir, storage.State{})) }()
	_, err = backups.Restore(t.Context(), r, backups.RestoreConfig{Data: filepath.Join(t.TempDir(), "data")})
	_ = r.Close()
	if !errors.Is(err, storage.ErrNoSpace) {
		t.Error(err)
	}
}
