package pebble_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/pebble"
)

// needsRoom are the operations that a full disk refuses. Syncs are not among them: see TestFailedSyncIsTheEnd.
func needsRoom(k errorfs.OpKind) bool {
	switch k {
	case errorfs.OpCreate, errorfs.OpLink, errorfs.OpRename, errorfs.OpReuseForWrite, errorfs.OpFileWrite, errorfs.OpFileWriteAt,
		errorfs.OpFilePreallocate, errorfs.OpMkdirAll:
		return true
	}
	return false
}

// fullDisk refuses some of what needs room.
type fullDisk struct {
	refuse  func(errorfs.Op) bool
	refused atomic.Int64
}

func (d *fullDisk) String() string { return "full disk" }

func (d *fullDisk) MaybeError(op errorfs.Op) error {
	if needsRoom(op.Kind) && d.refuse(op) {
		d.refused.Add(1)
		return &os.PathError{Op: "write", Path: op.Path, Err: syscall.ENOSPC}
	}
	return nil
}

// A disk without any room stops the acceptance of writes and nothing else; when there is room again the store goes on by
// itself, and all that was acknowledged is there.
func TestFullDiskIsOutlasted(t *testing.T) {
	var full atomic.Bool
	disk := &fullDisk{refuse: func(errorfs.Op) bool { return full.Load() }}
	mem := vfs.NewMem()
	cfg := pebble.Config{Dir: "store", FS: errorfs.Wrap(mem, disk), MinFree: -1, MemTableBytes: 256 << 10, Logger: slog.New(slog.DiscardHandler)}
	e := open(t, cfg)
	s := storage.New(e, storage.Config{})
	var acked [crashWriters]atomic.Uint64
	var appends, refusals atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer full.Store(false)
	defer cancel()
	for i := range crashWriters {
		wg.Go(func() {
			for { // a refused append is made again, as a client would
				err := crashWrite(ctx, s, i, func(seq uint64) { acked[i].Store(seq); appends.Add(1) })
				switch {
				case ctx.Err() != nil:
					return
				case errors.Is(err, chat.ErrUnavailable) && errors.Is(err, storage.ErrNoSpace):
					refusals.Add(1)
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	for round := range 6 {
		target := appends.Load() + 2000
		eventually(t, "appends", func() bool { return appends.Load() >= target || t.Failed() })
		before := disk.refused.Load()
		full.Store(true)
		eventually(t, "a write that is refused", func() bool { return disk.refused.Load() > before+3 })
		// The writers may all be waiting by now; newcomers are refused.
		probes := make(chan error, 1000)
		eventually(t, "newcomers that are refused", func() bool {
			go func() { probes <- s.PutUser(context.Background(), chat.User{Tenant: "t", ID: "newcomer"}) }()
			select {
			case err := <-probes:
				return errors.Is(err, storage.ErrNoSpace) && errors.Is(err, chat.ErrUnavailable)
			default:
				return false
			}
		})
		if err := e.Health(t.Context()); !errors.Is(err, storage.ErrNoSpace) {
			t.Errorf("round %d: health %v", round, err)
		}
		if _, err := s.ReadEvents(t.Context(), crashKey(round), 1, 1<<62, 0); err != nil {
			t.Errorf("round %d: reads go on: %v", round, err)
		}
		t.Logf("round %d: %d appends, %d refused", round, appends.Load(), refusals.Load())
		full.Store(false)
		eventually(t, "healthy again", func() bool { return e.Health(t.Context()) == nil })
	}
	cancel()
	wg.Wait()
	must(t, e.Close())
	before := make([]uint64, crashWriters)
	for i := range before {
		before[i] = acked[i].Load()
	}
	checkCrashed(t, pebble.Config{Dir: "store", FS: mem}, before)
}

// Whichever write it is that finds no room, nothing is lost and the store goes on: the n-th operation that needs room is
// refused, and the two after it, for every n that such a run has.
func TestEveryWriteMayFindNoRoom(t *testing.T) {
	run := func(t *testing.T, first int64) (ops int64) {
		var n atomic.Int64
		var counting atomic.Bool
		disk := &fullDisk{refuse: func(errorfs.Op) bool {
			if !counting.Load() {
				return false
			}
			at := n.Add(1)
			return at >= first && at < first+3
		}}
		mem := vfs.NewMem()
		e := open(t, pebble.Config{Dir: "store", FS: errorfs.Wrap(mem, disk), MinFree: -1, MemTableBytes: 64 << 10,
			Logger: slog.New(slog.DiscardHandler)})
		counting.Store(true)
		s, key := storage.New(e, storage.Config{}), crashKey(0)
		content := strings.Repeat("x", 3000)
		for seq := uint64(1); seq <= 40; seq++ {
			ev := crashEvent(key, seq)
			if seq > 1 {
				ev.Content = content
			}
			eventually(t, "the append", func() bool {
				err := s.AppendEvents(t.Context(), key, []chat.Event{ev})
				if err != nil && !errors.Is(err, storage.ErrNoSpace) {
					t.Fatal(err)
				}
				return err == nil
			})
		}
		must(t, e.Close())
		counting.Store(false)
		e = open(t, pebble.Config{Dir: "store", FS: mem})
		defer e.Close()
		log, err := storage.New(e, storage.Config{}).ReadEvents(t.Context(), key, 1, 1<<62, 0)
		if err != nil || len(log) != 40 {
			t.Fatalf("refused from operation %d: %d events, %v", first, len(log), err)
		}
		return n.Load()
	}
	ops := run(t, 1<<62)
	t.Logf("%d operations need room", ops)
	if ops < 40 {
		t.Fatal("too few: the test proves little")
	}
	for first := int64(1); first <= ops; first++ {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			run(t, first)
		})
	}
}

// In the environment of the process whose log cannot be synced: its directory, and whether it appends groups.
const (
	fullChild  = "HUB_FULL_CHILD"
	fullGroups = "HUB_FULL_GROUPS"
)

// A sync that fails is the end of the process, told through Config.Fatal, although the write was not acknowledged: nobody
// knows what of the log is on disk. The next start finds all that was acknowledged.
func TestFailedSyncIsTheEnd(t *testing.T) {
	dir := os.Getenv(fullChild)
	if dir != "" {
		var broken atomic.Bool
		disk := errorfs.InjectorFunc(func(op errorfs.Op) error {
			switch op.Kind {
			case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
				if broken.Load() {
					return syscall.ENOSPC
				}
			}
			return nil
		})
		e := open(t, pebble.Config{Dir: dir, FS: errorfs.Wrap(vfs.Default, disk), MinFree: -1, Logger: slog.New(slog.DiscardHandler),
			Fatal: func(text string) {
				_, _ = io.WriteString(os.Stdout, "FATAL "+text+"\n")
				os.Exit(7)
			}})
		s, key := storage.New(e, storage.Config{}), crashKey(0)
		grouped := os.Getenv(fullGroups) != ""
		for seq := uint64(1); ; seq++ {
			broken.Store(seq > 20)
			events := []chat.Event{crashEvent(key, seq)}
			var err error
			if grouped {
				err = s.AppendGroup(t.Context(), []chat.Append{{Key: key, Events: events}})
			} else {
				err = s.AppendEvents(t.Context(), key, events)
			}
			if err != nil || seq > 20 {
				_, _ = io.WriteString(os.Stdout, fmt.Sprintln("it goes on:", err))
				os.Exit(8)
			}
		}
	}
	for _, groups := range []string{"", "1"} {
		dir := filepath.Join(t.TempDir(), "store")
		exe, err := os.Executable()
		must(t, err)
		cmd := exec.Command(exe, "-test.run", "^TestFailedSyncIsTheEnd$")
		cmd.Env = append(os.Environ(), fullChild+"="+dir, fullGroups+"="+groups)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 7 || !strings.Contains(string(out), "FATAL the log of") {
			t.Fatalf("groups %q: %v: %s", groups, err, out)
		}
		acked := make([]uint64, crashWriters)
		acked[0] = 20
		checkCrashed(t, pebble.Config{Dir: dir}, acked)
	}
}

// A store that is closed while it waits for room ends the wait soon.
func TestCloseWhileTheDiskIsFull(t *testing.T) {
	if dir := os.Getenv(fullChild); dir != "" {
		var full atomic.Bool
		disk := &fullDisk{refuse: func(errorfs.Op) bool { return full.Load() }}
		e := open(t, pebble.Config{Dir: dir, FS: errorfs.Wrap(vfs.Default, disk), MinFree: -1, Logger: slog.New(slog.DiscardHandler),
			Fatal: func(string) { os.Exit(7) }})
		s, key := storage.New(e, storage.Config{}), crashKey(0)
		must(t, s.AppendEvents(t.Context(), key, []chat.Event{crashEvent(key, 1)}))
		full.Store(true)
		go func() { _ = s.AppendEvents(context.Background(), key, []chat.Event{crashEvent(key, 2)}) }()
		eventually(t, "a write that waits", func() bool { return e.Health(t.Context()) != nil })
		_ = e.Close() // the log cannot be written: this is the end
		os.Exit(8)
	}
	dir := filepath.Join(t.TempDir(), "store")
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe, "-test.run", "^TestCloseWhileTheDiskIsFull$")
	cmd.Env = append(os.Environ(), fullChild+"="+dir)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 && exit.ExitCode() != 8 {
		t.Fatalf("%v: %s", err, out)
	}
	acked := make([]uint64, crashWriters)
	acked[0] = 1
	checkCrashed(t, pebble.Config{Dir: dir}, acked)
}
