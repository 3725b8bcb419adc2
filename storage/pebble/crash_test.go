package pebble_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/pebble"
	"github.com/zumodra/hub/storage/storagetest"
)

const crashChild = "HUB_CRASH_CHILD" // the directory, in the environment of the process that is killed

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashChild); dir != "" {
		if err := runCrashChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		return
	}
	os.Exit(m.Run())
}

const crashWriters = 16

func crashKey(i int) chat.ConversationKey {
	return chat.ConversationKey{Tenant: "t", ID: chat.ConversationID{0: 7, 15: byte(i)}}
}

// crashEvent is what stands at seq: everybody knows what must be there.
func crashEvent(key chat.ConversationKey, seq uint64) chat.Event {
	if seq == 1 {
		return conversationLog(key, 1)[0]
	}
	e := storagetest.Message(key, seq, 1)
	e.MsgNo--
	return e
}

// crashWrite appends to conversation i from where its log ends, and tells acked after each append, until it fails.
// Between appends it saves derived state, relaxed.
func crashWrite(ctx context.Context, s *storage.Store, i int, acked func(seq uint64)) error {
	key := crashKey(i)
	rng := rand.New(rand.NewPCG(rand.Uint64(), 0))
	log, err := s.ReadEvents(ctx, key, 1, 1<<62, 0)
	if err != nil {
		return err
	}
	for seq := uint64(len(log)); ; {
		var batch []chat.Event
		for range 1 + rng.IntN(4) {
			seq++
			batch = append(batch, crashEvent(key, seq))
		}
		if rng.IntN(2) == 0 {
			err = s.AppendEvents(ctx, key, batch)
		} else {
			err = s.AppendGroup(ctx, []chat.Append{{Key: key, Events: batch}})
		}
		if err != nil {
			return err
		}
		acked(seq)
		if rng.IntN(5) == 0 {
			last := batch[len(batch)-1]
			if err := s.SaveDerived(ctx, key, chat.Derived{Head: chat.Head{Key: key, Kind: chat.Group, Seq: seq, Epoch: 1, MsgNo: last.MsgNo, MemberCount: 1},
				Members: []chat.Member{{User: "alice", Role: chat.RoleOwner, JoinedSeq: 1, JoinedAt: storagetest.At(1)}}}); err != nil {
				return err
			}
		}
	}
}

// runCrashChild writes until it is killed, and prints what was acknowledged.
func runCrashChild(dir string) error {
	e, err := pebble.Open(pebble.Config{Dir: dir, MemTableBytes: 256 << 10}) // small: flushes and new logs happen too
	if err != nil {
		return err
	}
	s := storage.New(e, storage.Config{})
	var mu sync.Mutex
	errs := make(chan error)
	for i := range crashWriters {
		go func() {
			errs <- crashWrite(context.Background(), s, i, func(seq uint64) {
				var b [9]byte
				b[0] = byte(i)
				binary.BigEndian.PutUint64(b[1:], seq)
				mu.Lock()
				defer mu.Unlock()
				if _, err := os.Stdout.Write(b[:]); err != nil {
					os.Exit(4)
				}
			})
		}()
	}
	return <-errs
}

// checkCrashed opens what a crash left and checks that every log is a prefix that holds all that was acknowledged.
func checkCrashed(t *testing.T, cfg pebble.Config, acked []uint64) {
	t.Helper()
	e := open(t, cfg)
	defer e.Close()
	s := storage.New(e, storage.Config{})
	for i := range acked {
		key := crashKey(i)
		log, err := s.ReadEvents(t.Context(), key, 1, 1<<62, 0)
		must(t, err)
		if uint64(len(log)) < acked[i] {
			t.Fatalf("conversation %d: %d events acknowledged, %d left", i, acked[i], len(log))
		}
		for j := range log {
			want := crashEvent(key, uint64(j+1))
			if log[j].Seq != want.Seq || log[j].MsgNo != want.MsgNo || log[j].Content != want.Content || log[j].ClientID != want.ClientID {
				t.Fatalf("conversation %d: event %d is %+v", i, j+1, log[j])
			}
		}
		// Nothing stands beyond the end: an append is there as a whole and in order or not at all.
		past := 0
		must(t, e.Scan(t.Context(), storage.Range{Table: storage.TableLog, Partition: storage.Key{text("t"), {Set: true, B: key.ID[:]},
			number(int64(len(log)+1) >> storage.BucketBits)}, From: storage.Key{number(int64(len(log) + 1))}}, func(storage.Row) bool { past++; return true }))
		if past > 0 {
			t.Fatalf("conversation %d: %d rows beyond a gap at %d", i, past, len(log)+1)
		}
		if head, err := s.GetHead(t.Context(), key); err != nil || head.Seq > uint64(len(log)) {
			t.Fatalf("conversation %d: head at %d of %d, %v", i, head.Seq, len(log), err)
		}
	}
	must(t, e.Close())
}

// TestKill9 kills a process with concurrent writers again and again. HUB_CRASH_LOOPS says how often, default 8.
func TestKill9(t *testing.T) {
	loops := 8
	if n, err := strconv.Atoi(os.Getenv("HUB_CRASH_LOOPS")); err == nil {
		loops = n
	}
	dir := t.TempDir()
	acked := make([]uint64, crashWriters)
	rng := rand.New(rand.NewPCG(1, 0))
	total := 0
	for loop := range loops {
		total += killOnce(t, dir, acked, 100+rng.IntN(700))
		checkCrashed(t, pebble.Config{Dir: dir}, acked)
		if t.Failed() {
			t.Fatalf("in loop %d", loop)
		}
	}
	if _, problems := verifyDir(t, dir); len(problems) > 0 {
		t.Error(problems)
	}
	t.Logf("%d loops, %d acknowledged appends, logs at %v", loops, total, acked)
}

// killOnce starts a child, kills it after some acknowledgements, and notes all that it gave.
func killOnce(t *testing.T, dir string, acked []uint64, after int) (acks int) {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), crashChild+"="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	in := bufio.NewReader(out)
	for killed := false; ; {
		var b [9]byte
		if _, err := io.ReadFull(in, b[:]); err != nil {
			break
		}
		acks++
		i := int(b[0])
		acked[i] = max(acked[i], binary.BigEndian.Uint64(b[1:]))
		if acks >= after && !killed {
			killed = true
			must(t, cmd.Process.Kill())
		}
	}
	_ = cmd.Process.Kill()
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != -1 || acks < after {
		t.Fatalf("the child was not killed: %v after %d acknowledgements: %s", err, acks, stderr.String())
	}
	return acks
}

// TestPowerLoss copies the file system as a power failure would leave it, with none, some or most of what was not
// synced, while writers are at work.
func TestPowerLoss(t *testing.T) {
	fs := vfs.NewCrashableMem()
	e := open(t, pebble.Config{Dir: "store", FS: fs, MemTableBytes: 256 << 10})
	s := storage.New(e, storage.Config{})
	var acked [crashWriters]atomic.Uint64
	var appends atomic.Int64
	tokens := make(chan struct{}, 600) // what the writers may still do, or the logs outgrow the test
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for i := range crashWriters {
		wg.Go(func() {
			if err := crashWrite(ctx, s, i, func(seq uint64) {
				acked[i].Store(seq)
				appends.Add(1)
				select {
				case <-tokens:
				case <-ctx.Done():
				}
			}); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	rng := rand.New(rand.NewPCG(2, 0))
	for round := range 12 {
		target := appends.Load() + 300
		for len(tokens) < 500 { // enough to be at work when the power fails
			tokens <- struct{}{}
		}
		eventually(t, "300 appends", func() bool { return appends.Load() >= target || t.Failed() })
		before := make([]uint64, crashWriters)
		for i := range before {
			before[i] = acked[i].Load()
		}
		clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 30, 70, 100}[round%4], RNG: rng})
		checkCrashed(t, pebble.Config{Dir: "store", FS: clone}, before)
	}
}

// TestDamagedLog damages the newest write-ahead log of a store that was not closed. Whatever opens must hold a prefix
// of what was written; damage before the last synced record must not open at all.
func TestDamagedLog(t *testing.T) {
	dir := t.TempDir()
	e := open(t, pebble.Config{Dir: dir})
	s, key := storage.New(e, storage.Config{}), crashKey(0)
	const events = 400
	for seq := uint64(1); seq <= events; seq++ {
		must(t, s.AppendEvents(t.Context(), key, []chat.Event{crashEvent(key, seq)}))
	}
	crashed := t.TempDir()
	copyDir(t, dir, crashed)
	must(t, e.Close())
	wal := newestLog(t, crashed)
	whole, err := os.ReadFile(wal)
	must(t, err)
	end := len(whole)
	for end > 0 && whole[end-1] == 0 {
		end-- // what is allocated in advance
	}
	end++ // the last value ends with the length of an empty list
	if end < 50_000 {
		t.Fatalf("the log has only %d bytes", end)
	}
	// left is how many events there are, -1 if the store reported corruption.
	left := func(content []byte) int {
		t.Helper()
		d := t.TempDir()
		copyDir(t, crashed, d)
		must(t, os.WriteFile(filepath.Join(d, filepath.Base(wal)), content, 0o644))
		e, err := pebble.Open(pebble.Config{Dir: d})
		if err != nil {
			if !errors.Is(err, storage.ErrCorrupt) {
				t.Fatalf("an error that does not say what is wrong: %v", err)
			}
			return -1
		}
		defer e.Close()
		log, err := storage.New(e, storage.Config{}).ReadEvents(t.Context(), key, 1, 1<<62, 0)
		must(t, err)
		rows := 0
		must(t, e.ScanTable(t.Context(), storage.TableLog, func(storage.Key, storage.Row) bool { rows++; return true }))
		if rows != len(log) {
			t.Fatalf("%d rows, of which %d are before a gap", rows, len(log))
		}
		return len(log)
	}
	if n := left(whole); n != events {
		t.Fatalf("undamaged: %d of %d events", n, events)
	}
	if n := left(append(slices.Clone(whole[:end]), make([]byte, 5000)...)); n != events {
		t.Errorf("zeros after the end: %d events", n)
	}
	junk := make([]byte, 900)
	rng := rand.New(rand.NewPCG(3, 0))
	for i := range junk {
		junk[i] = byte(rng.Uint32())
	}
	if n := left(append(slices.Clone(whole[:end]), junk...)); n != events {
		t.Errorf("a torn write after the end: %d of %d events", n, events)
	}
	last := events
	for _, cut := range []int{1, 7, 20, 150, 400, 5000} {
		n := left(whole[:end-cut])
		if n < 0 || n > last || n < events-1-cut/100 {
			t.Errorf("%d bytes cut off: %d events", cut, n)
		}
		last = n
	}
	for _, at := range []int{end / 10, end / 4, end / 2, end * 3 / 4} {
		b := slices.Clone(whole)
		b[at] ^= 0xff
		if n := left(b); n != -1 {
			t.Errorf("byte %d of %d flipped: opened silently with %d of %d events", at, end, n, events)
		}
	}
	b := slices.Clone(whole)
	b[end-3] ^= 0xff
	if n := left(b); n != events-1 && n != -1 {
		t.Errorf("the last record damaged: %d of %d events", n, events)
	}
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	entries, err := os.ReadDir(from)
	must(t, err)
	for _, f := range entries {
		if f.Name() == "LOCK" || f.IsDir() {
			continue
		}
		b, err := os.ReadFile(filepath.Join(from, f.Name()))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(to, f.Name()), b, 0o644))
	}
}

func newestLog(t *testing.T, dir string) string {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	must(t, err)
	if len(logs) == 0 {
		t.Fatal("no log")
	}
	slices.Sort(logs)
	return logs[len(logs)-1]
}
