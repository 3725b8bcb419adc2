package main_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/client"
)

// load are clients that send until they are stopped, and what was acknowledged to them.
type load struct {
	mu    sync.Mutex
	acked map[string]map[string]uint64 // conversation → text → seq
	count int
}

// start lets so many users send to conversations with the next one until ctx ends.
func (l *load) start(ctx context.Context, t *testing.T, s *server, users int) *sync.WaitGroup {
	t.Helper()
	l.acked = make(map[string]map[string]uint64)
	var wg sync.WaitGroup
	for u := range users {
		s.login(fmt.Sprint("peer", u))
		c, _ := s.sdk(fmt.Sprint("sender", u))
		conv, err := c.CreateDirect(t.Context(), client.UserID(fmt.Sprint("peer", u)))
		if err != nil {
			t.Fatal(err)
		}
		acked := make(map[string]uint64)
		l.mu.Lock()
		l.acked[conv.ID] = acked
		l.mu.Unlock()
		for w := range 4 {
			wg.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					text := fmt.Sprintf("%d/%d %s", w, i, strings.Repeat("words ", i%200))
					if m, err := c.Send(ctx, conv.ID, text); err == nil {
						l.mu.Lock()
						acked[strings.TrimSpace(text)] = m.Seq
						l.count++
						l.mu.Unlock()
					}
				}
			})
		}
	}
	return &wg
}

func (l *load) total() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// snapshot copies what is acknowledged by now.
func (l *load) snapshot() map[string]map[string]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]map[string]uint64)
	for conv, texts := range l.acked {
		out[conv] = make(map[string]uint64, len(texts))
		for text, seq := range texts {
			out[conv][text] = seq
		}
	}
	return out
}

// wantStored checks that every message is stored once, at its seq, and that the history has no gap.
func wantStored(t *testing.T, s *server, acked map[string]map[string]uint64) {
	t.Helper()
	stored := 0
	for u := range len(acked) {
		c, _ := s.sdk(fmt.Sprint("sender", u))
		conv, err := c.CreateDirect(t.Context(), client.UserID(fmt.Sprint("peer", u)))
		if err != nil {
			t.Fatal(err)
		}
		texts, ok := acked[conv.ID]
		if !ok {
			t.Fatalf("conversation %s is a new one", conv.ID)
		}
		seen := map[string]uint64{}
		last := uint64(0)
		for before := ""; ; {
			page, err := c.Messages(t.Context(), conv.ID, before)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range page.Messages {
				if _, twice := seen[m.Content]; twice {
					t.Errorf("%.20q is there twice", m.Content)
				}
				seen[m.Content] = m.Seq
				last = max(last, m.Seq)
				before = m.ID
			}
			if len(page.Messages) == 0 {
				break
			}
		}
		// The first event is the creation of the conversation, every other one a message.
		if uint64(len(seen)) != last-1 {
			t.Errorf("%d messages, the last has seq %d", len(seen), last)
		}
		for text, seq := range texts {
			if seen[text] != seq {
				t.Errorf("%.20q was acknowledged as %d and is stored as %d", text, seq, seen[text])
			}
		}
		stored += len(seen)
	}
	t.Logf("%d messages restored", stored)
}

// stalls is more than what the kernel takes of a connection that nobody reads from.
const stalls = 64 << 20

func putBlob(t *testing.T, data, name string, content []byte) {
	t.Helper()
	file := filepath.Join(data, "blobs", name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, content, 0o600)); err != nil {
		t.Fatal(err)
	}
}

var stateHash = regexp.MustCompile(`state hash(?: verified:)? ([0-9a-f]{64})`)

func hashIn(t *testing.T, text string) string {
	t.Helper()
	m := stateHash.FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no state hash in %q", text)
	}
	return m[1]
}

// A backup is made while several clients send, after one whose command was killed midway. What is restored from it
// holds every message that was acknowledged before it began, once and in order, has the state hash of the backup, and
// serves.
func TestReq149_BackupUnderLoad(t *testing.T) {
	embeddedOnly(t)
	data, dir := t.TempDir(), t.TempDir()
	s := serve(t, data, "--dev", "--user-rate", "0")
	putBlob(t, data, "ab/cd/abcd", []byte("a blob"))
	putBlob(t, data, "tmp/half", []byte("not a blob yet"))
	putBlob(t, data, "ff/ff/large", make([]byte, stalls))
	ctx, stop := context.WithCancel(t.Context())
	var l load
	senders := l.start(ctx, t, s, 3)
	defer senders.Wait()
	defer stop()
	s.await("2000 messages", func() bool { return l.total() > 2000 })

	// The first backup stalls, because nobody takes what it prints, and is killed.
	temp := filepath.Join(data, "backup.tmp")
	stalled := exec.Command(binary, "backup", "--admin", s.admin, "--out", "-")
	pipe, err := stalled.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := stalled.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(pipe, make([]byte, 4096)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(temp); err != nil {
		t.Error(err)
	}
	if _, stderr, code := run(t, nil, "backup", "--admin", s.admin, "--out", filepath.Join(dir, "second.tar")); code != 1 || !strings.Contains(stderr, "409") || !strings.Contains(stderr, "one at a time") {
		t.Errorf("a second backup at once: exit %d: %s", code, stderr)
	}
	_ = stalled.Process.Kill()
	_ = stalled.Wait()
	s.await("the copy of the killed backup is gone", func() bool {
		_, err := os.Stat(temp)
		return errors.Is(err, os.ErrNotExist)
	})

	more := l.total() + 500
	s.await("more messages", func() bool { return l.total() > more })
	before := l.snapshot()
	file := filepath.Join(dir, "hub.tar")
	_, made, code := run(t, []string{"HUB_DATA=elsewhere"}, "backup", "--admin", s.admin, "--out", file)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, made)
	}
	sent := l.total()
	s.await("sending goes on", func() bool { return l.total() > sent+100 })
	stop()
	senders.Wait()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v beside the backup: %v", entries, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	if _, err := os.Stat(temp); !errors.Is(err, os.ErrNotExist) {
		t.Error("the copy of the store is still there:", err)
	}

	shown, stderr, code := run(t, nil, "backup", "--verify", file)
	if code != 0 || hashIn(t, shown) != hashIn(t, made) {
		t.Fatalf("exit %d: %s%s", code, shown, stderr)
	}
	created := regexp.MustCompile(`made (\S+) by`).FindStringSubmatch(shown)[1]
	restored := filepath.Join(dir, "restored", "data")
	_, stderr, code = run(t, nil, "restore", "--in", file, "--data", restored, "--verify")
	if code != 0 || hashIn(t, stderr) != hashIn(t, made) {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	if out, stderr, code := run(t, nil, "verify", "--data", restored, "--hash", "--at", created); code != 0 || hashIn(t, out) != hashIn(t, made) {
		t.Fatalf("exit %d: %s%s", code, out, stderr)
	}
	if b, err := os.ReadFile(filepath.Join(restored, "blobs/ab/cd/abcd")); err != nil || string(b) != "a blob" {
		t.Errorf("%q %v", b, err)
	}
	for _, never := range []string{"auth-secret", "blobs/tmp", "backup.tmp"} {
		if _, err := os.Stat(filepath.Join(restored, never)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s was restored: %v", never, err)
		}
	}
	s.kill()
	s = serve(t, restored, "--dev", "--user-rate", "0")
	wantStored(t, s, before)
	c, _ := s.sdk("sender0")
	conv, err := c.CreateDirect(t.Context(), "peer0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Send(t.Context(), conv.ID, "after the restore"); err != nil {
		t.Fatal(err)
	}
	page, err := c.Messages(t.Context(), conv.ID, "")
	if err != nil || !slices.ContainsFunc(page.Messages, func(m client.Message) bool { return m.Content == "after the restore" }) {
		t.Errorf("%+v %v", page, err)
	}
}

// smallBackup is the backup of a server with a few messages, made after it stopped.
func smallBackup(t *testing.T) (data, file string) {
	t.Helper()
	data, file = t.TempDir(), filepath.Join(t.TempDir(), "hub.tar")
	s := serve(t, data, "--dev")
	c, _ := s.sdk("alice")
	s.login("bob")
	conv, err := c.CreateDirect(t.Context(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if _, err := c.Send(t.Context(), conv.ID, fmt.Sprint("message ", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, stderr, code := run(t, nil, "backup", "--data", data, "--out", file); code != 1 || !strings.Contains(stderr, "in use by another process") {
		t.Errorf("the directory of a running server: exit %d: %s", code, stderr)
	}
	if code := s.terminate(); code != 0 {
		t.Fatalf("exit %d", code)
	}
	if _, stderr, code := run(t, nil, "backup", "--data", data, "--out", file); code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	return data, file
}

func TestReq149_DamagedBackupIsRefused(t *testing.T) {
	embeddedOnly(t)
	data, file := smallBackup(t)
	out, _, _ := run(t, nil, "verify", "--data", data, "--hash")
	shown, _, _ := run(t, nil, "backup", "--verify", file)
	if hashIn(t, out) != hashIn(t, shown) {
		t.Errorf("the stopped store has the state hash %s, its backup %s", out, shown)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	in := bytes.NewReader(whole)
	damaged := 0
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Size == 0 {
			continue
		}
		damaged++
		at := len(whole) - in.Len() + int(h.Size)/2
		for how, content := range map[string][]byte{"a byte changed": flipped(whole, at), "cut off": whole[:at]} {
			bad := filepath.Join(t.TempDir(), "bad.tar")
			if err := os.WriteFile(bad, content, 0o600); err != nil {
				t.Fatal(err)
			}
			target := filepath.Join(t.TempDir(), "data")
			for _, args := range [][]string{{"backup", "--verify", bad}, {"restore", "--in", bad, "--data", target}} {
				if _, stderr, code := run(t, nil, args...); code != 1 || !strings.Contains(stderr, h.Name) || !strings.Contains(stderr, "damaged") {
					t.Errorf("%s, %s, %s: exit %d: %s", h.Name, how, args[0], code, stderr)
				}
			}
			if left, err := os.ReadDir(filepath.Dir(target)); err != nil || len(left) > 0 {
				t.Errorf("%s, %s: left %v, %v", h.Name, how, left, err)
			}
		}
	}
	if damaged < 6 {
		t.Errorf("only %d entries", damaged)
	}
}

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 0x10
	return b
}

func TestBackupRefuses(t *testing.T) {
	embeddedOnly(t)
	_, file := smallBackup(t)
	dir := t.TempDir()
	full := filepath.Join(dir, "full")
	if err := errors.Join(os.Mkdir(full, 0o700), os.WriteFile(filepath.Join(full, "something"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("this is no archive\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := run(t, nil, "backup"); code != 2 {
		t.Errorf("a wrong command line: exit %d: %s", code, stderr)
	}
	for say, args := range map[string][]string{
		"--out FILE is needed":          {"backup"},
		"give one of them":              {"backup", "--out", filepath.Join(dir, "x"), "--admin", "http://127.0.0.1:1", "--data", dir},
		"it goes with none of":          {"backup", "--verify", file, "--out", "x"},
		"is there already":              {"backup", "--out", file, "--data", dir},
		"connection refused":            {"backup", "--out", filepath.Join(dir, "x"), "--admin", "http://127.0.0.1:1"},
		"there is no store in":          {"backup", "--out", filepath.Join(dir, "x"), "--data", filepath.Join(dir, "nothing")},
		"full holds something":          {"restore", "--in", file, "--data", full},
		"not an entry of an archive":    {"restore", "--in", text, "--data", filepath.Join(dir, "new")},
		"no such file":                  {"restore", "--in", filepath.Join(dir, "none"), "--data", filepath.Join(dir, "new")},
		"not a backup of the hub":       {"backup", "--verify", foreignTar(t)},
		"no such file or directory":     {"backup", "--verify", filepath.Join(dir, "none")},
		"the server answers 404":        {"backup", "--out", filepath.Join(dir, "x"), "--admin", serve(t, t.TempDir(), "--dev").url},
		"text/none/x: no such file":     {"backup", "--out", filepath.Join(dir, "text/none/x"), "--data", dir},
		"missing flags: --data=DIR, --": {"restore"},
	} {
		_, stderr, code := run(t, nil, args...)
		if code == 0 || !strings.Contains(stderr, say) && !strings.Contains(stderr, "not a directory") {
			t.Errorf("%q: exit %d: %s", args, code, stderr)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("left behind: %v %v", left, err)
	}
	// An empty directory is fine; so is what comes by a pipe.
	empty := t.TempDir()
	cmd := exec.Command(binary, "restore", "--in", "-", "--data", empty)
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd.Stdin = in
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, stderr, code := run(t, nil, "verify", "--data", empty); code != 0 {
		t.Errorf("exit %d: %s%s", code, out, stderr)
	}
}

func foreignTar(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "foreign.tar")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "etc/passwd", Mode: 0o600}), w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return file
}

// What a server that was killed during a backup leaves is removed by the next one.
func TestBackupOfAKilledServer(t *testing.T) {
	embeddedOnly(t)
	data := t.TempDir()
	s := serve(t, data, "--dev", "--user-rate", "0")
	ctx, stop := context.WithCancel(t.Context())
	var l load
	senders := l.start(ctx, t, s, 1)
	s.await("1500 messages", func() bool { return l.total() > 1500 })
	stop()
	senders.Wait()
	putBlob(t, data, "ff/ff/large", make([]byte, stalls))
	resp, err := http.Post(s.admin+"/admin/backup", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	temp := filepath.Join(data, "backup.tmp")
	if entries, err := os.ReadDir(filepath.Join(temp, "store")); err != nil || len(entries) < 4 {
		t.Fatal(entries, err)
	}
	s.kill()
	if _, err := os.Stat(temp); err != nil {
		t.Fatal("it is gone before the next start: the test shows nothing:", err)
	}
	s = serve(t, data, "--dev", "--user-rate", "0")
	if _, err := os.Stat(temp); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	wantStored(t, s, l.snapshot())
	// A page of another origin cannot start one; a GET is not one.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.admin+"/admin/backup", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	for want, do := range map[int]func() (*http.Response, error){
		http.StatusForbidden:        func() (*http.Response, error) { return http.DefaultClient.Do(req) },
		http.StatusMethodNotAllowed: func() (*http.Response, error) { return http.Get(s.admin + "/admin/backup") },
	} {
		resp, err := do()
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%d, want %d", resp.StatusCode, want)
		}
	}
	// The end of the server ends a backup that its reader does not take.
	stuck, err := http.Post(s.admin+"/admin/backup", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Body.Close()
	began := time.Now()
	if code := s.terminate(); code != 0 {
		t.Errorf("exit %d", code)
	}
	if _, err := os.Stat(temp); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left after an orderly end (%v): %v", time.Since(began), err)
	}
}
