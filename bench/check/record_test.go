package check_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/bench/check"
)

// talk lets writers and observers of a checker go at once: every writer sends n messages, and every observer sees all. It
// returns the history.
func talk(c *check.Checker, conversation string, writers, observers, n int) (final []entry) {
	var hub sync.Mutex
	var wg sync.WaitGroup
	var queues []chan entry
	for i := range observers {
		o, q := c.Observer(fmt.Sprint("o", i), ""), make(chan entry, writers*n)
		queues = append(queues, q)
		o.Follow(conversation, 0)
		wg.Go(func() {
			for e := range q {
				o.Saw(conversation, e)
			}
		})
	}
	var sending sync.WaitGroup
	for w := range writers {
		sending.Go(func() {
			for i := range n {
				e := entry{Key: fmt.Sprintf("%s/%d/%d", conversation, w, i)}
				c.Sent(check.Send{Conversation: conversation, Sender: fmt.Sprint("s", w), Key: e.Key})
				hub.Lock()
				e.Seq = uint64(len(final) + 1)
				e.ID = fmt.Sprint(conversation, e.Seq)
				final = append(final, e)
				for _, q := range queues {
					q <- e
				}
				hub.Unlock()
				c.Acked(conversation, e.Key, e.ID, e.Seq)
			}
		})
	}
	sending.Wait()
	for _, q := range queues {
		close(q)
	}
	wg.Wait()
	return final
}

// TestSpilledRunsAreJudgedAlike: with a file, few seqs in memory and slow observers the verdict is the same, and the file is removed.
func TestSpilledRunsAreJudgedAlike(t *testing.T) {
	for _, wrong := range []bool{false, true} {
		dir := t.TempDir()
		c, err := check.New(check.Config{SpillDir: dir, Window: 8})
		if err != nil {
			t.Fatal(err)
		}
		final := talk(c, "c", 4, 3, 1000)
		if wrong {
			final[17].ID = "other"
		}
		c.Final("r", "c", final)
		if n := c.Violations(); n != 0 {
			t.Errorf("%d violations noticed while nothing was wrong", n)
		}
		if c.Spilled() == 0 {
			t.Error("nothing was spilled: the test tests nothing")
		}
		var record bytes.Buffer
		if err := c.Export(&record); err != nil {
			t.Fatal(err)
		}
		r, err := check.Merge(check.Linear{}, check.Part{R: &record})
		if err != nil {
			t.Fatal(err)
		}
		if wrong {
			if r.Counts[check.Changed] != 1 || r.Counts[check.Divergence] != 1 || len(r.Counts) != 2 {
				t.Error(r)
			}
		} else if !r.OK() || r.Acked != 4000 || r.Stored != 4000 || r.Observers != 3 {
			t.Error(r)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}

func TestSpillNeedsADirectory(t *testing.T) {
	if _, err := check.New(check.Config{SpillDir: "/nonexistent/x"}); err == nil {
		t.Fatal("no error")
	}
}

// TestClocksOfWorkers: B at another worker is sent 10 ms after A was acknowledged, by clocks that are 1 s apart, and stands before it.
func TestClocksOfWorkers(t *testing.T) {
	for _, tc := range []struct {
		offset, mistake time.Duration
		found           bool
	}{
		{-time.Second, 0, true},
		{-time.Second, 4 * time.Millisecond, true},
		{-time.Second, 6 * time.Millisecond, false}, // 12 of both
		{-time.Second - 20*time.Millisecond, 0, false},
		{0, 0, true},
	} {
		now := time.Unix(1000, 0)
		skew := time.Duration(0)
		clock := func() time.Time { return now.Add(skew) }
		one, _ := check.New(check.Config{Worker: "one", Now: clock})
		skew = time.Second
		two, err := check.New(check.Config{Worker: "two", Now: clock})
		if err != nil {
			t.Fatal(err)
		}
		skew = 0
		one.Sent(check.Send{Conversation: "c", Sender: "a", Key: "A"})
		now = now.Add(time.Millisecond)
		one.Acked("c", "A", "id2", 2)
		now = now.Add(10 * time.Millisecond)
		skew = time.Second
		two.Sent(check.Send{Conversation: "c", Sender: "b", Key: "B"})
		two.Acked("c", "B", "id1", 1)
		two.Final("r", "c", []entry{{Seq: 1, ID: "id1", Key: "B"}, {Seq: 2, ID: "id2", Key: "A"}})
		var a, b bytes.Buffer
		if err := errors.Join(one.Export(&a), two.Export(&b)); err != nil {
			t.Fatal(err)
		}
		r, err := check.Merge(check.Linear{}, check.Part{R: &a, Error: tc.mistake}, check.Part{R: &b, Offset: tc.offset, Error: tc.mistake})
		if err != nil {
			t.Fatal(err)
		}
		if r.Counts[check.RealTime] > 0 != tc.found || r.OK() == tc.found {
			t.Errorf("offset %v, error %v: %v", tc.offset, tc.mistake, r)
		}
	}
}

// TestClockThatStands: what comes first is first, also for a clock that does not go.
func TestClockThatStands(t *testing.T) {
	c, err := check.New(check.Config{Now: func() time.Time { return time.Unix(1, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	c.Sent(check.Send{Conversation: "c", Sender: "alice", Key: "k2"})
	c.Acked("c", "k2", "id2", 2)
	c.Sent(check.Send{Conversation: "c", Sender: "bob", Key: "k1"})
	c.Acked("c", "k1", "id1", 1)
	c.Final("r", "c", []entry{msg(1), msg(2)})
	if r := verdict(c); r.Counts[check.RealTime] != 1 {
		t.Error(r)
	}
}

// small is the record of a run that has one op of every kind.
func small(t testing.TB) []byte {
	c, err := check.New(check.Config{Worker: "w"})
	if err != nil {
		t.Fatal(err)
	}
	c.Added("c", "u", 1)
	o := c.Observer("o", "u")
	o.Follow("c", 0)
	o.Saw("c", entry{Seq: 1})
	c.Sent(check.Send{Conversation: "c", Sender: "s", User: "u", Key: "k", Intended: time.Now()})
	c.Acked("c", "k", "id", 2)
	done := c.Read("u", "c")
	done([]entry{{Seq: 2, ID: "id", Key: "k"}}, true)
	o.Gap("c", 2, []entry{{Seq: 2, ID: "id", Key: "k"}})
	o.Receipt("c", "u", "read", 2)
	c.Sent(check.Send{Conversation: "c", Sender: "s", Key: "no"})
	c.Refused("c", "no")
	c.Marked("c", "u", 1)
	c.Removed("c", "v", 1)
	c.Final("r", "c", []entry{{Seq: 2, ID: "id", Key: "k"}})
	c.Unread("c", "u", 0)
	var b bytes.Buffer
	if err := c.Export(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDamagedRecordsAreRefused(t *testing.T) {
	good := small(t)
	if r, err := check.Merge(check.Linear{}, check.Part{R: bytes.NewReader(good)}); err != nil || !r.OK() {
		t.Fatal(r, err)
	}
	for n := range good {
		if _, err := check.Merge(check.Linear{}, check.Part{R: bytes.NewReader(good[:n])}); !errors.Is(err, check.ErrFormat) {
			t.Fatalf("cut at %d of %d: %v", n, len(good), err)
		}
	}
	shards := bytes.IndexByte(good, '}') + 1 // the header has ended; the trailer is JSON again
	trailer := bytes.LastIndex(good, []byte(`{"observers"`)) - 2
	for i := shards; i < trailer; i++ {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if _, err := check.Merge(check.Linear{}, check.Part{R: bytes.NewReader(bad)}); !errors.Is(err, check.ErrFormat) {
			t.Fatalf("a bit of byte %d of %d is wrong: %v", i, len(good), err)
		}
	}
	if _, err := check.Merge(check.Linear{}, check.Part{R: io.MultiReader(bytes.NewReader(good), strings.NewReader("x"))}); !errors.Is(err, check.ErrFormat) {
		t.Fatalf("something follows: %v", err)
	}
}

func FuzzMerge(f *testing.F) {
	f.Add(small(f))
	f.Add([]byte("HUBRUN1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := check.Merge(check.Linear{Timeout: time.Second}, check.Part{R: bytes.NewReader(b)})
		if (r == nil) != (err != nil) {
			t.Fatal(r, err)
		}
		if err != nil && !errors.Is(err, check.ErrFormat) {
			t.Fatal(err)
		}
	})
}
