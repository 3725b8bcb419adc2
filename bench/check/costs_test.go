package check_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/zumodra/hub/bench/check"
)

// heap is how much more is in use after f, for each of n.
func heap(n int, f func()) float64 {
	inUse := func() uint64 {
		runtime.GC()
		runtime.GC() // what finalizers held
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := inUse()
	f()
	return (float64(inUse()) - float64(before)) / float64(n)
}

func names(prefix string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("%s%d", prefix, i)
	}
	return list
}

// TestCosts holds the package comment to what it says. Names are made before, as a load harness has them anyway.
func TestCosts(t *testing.T) {
	c, err := check.New(check.Config{SpillDir: t.TempDir(), Receipts: 50_000})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	measure := func(what string, n int, atMost float64, f func()) {
		t.Helper()
		b := heap(n, f)
		t.Logf("%-45s %7.1f B", what, b)
		if b > atMost {
			t.Errorf("%s: %.1f B, more than %.0f", what, b, atMost)
		}
	}
	convs, people := names("conversation-", 10_000), names("o", 10_000)
	var obs []*check.Observer

	measure("conversation, its ring of 8", len(convs), 700, func() {
		o := c.Observer("o", "")
		for _, cv := range convs {
			o.Saw(cv, entry{Seq: 1})
		}
	})
	measure("observer", len(people), 160, func() {
		for _, p := range people {
			obs = append(obs, c.Observer(p, p))
		}
	})
	measure("observer and conversation, up to 8", 8*len(people), 40, func() {
		for i, o := range obs {
			for j := range 8 {
				o.Follow(convs[(i+j)%len(convs)], 0)
			}
		}
	})
	measure("observer and conversation, 9 to 24", 16*len(people), 120, func() {
		for i, o := range obs {
			for j := range 16 {
				o.Follow(convs[(i+8+j)%len(convs)], 0)
			}
		}
	})
	measure("receipt", 50_000, 60, func() {
		for i, p := range people[:1000] {
			for j := range 50 {
				obs[i].Receipt(convs[j], p, "read", 1)
			}
		}
	})
	measure("receipt beyond the bound", 50_000, 1, func() {
		for i, p := range people[1000:2000] {
			for j := range 50 {
				obs[i].Receipt(convs[j], p, "read", 1)
			}
		}
	})

	const sends = 200_000
	keys := names("k", sends)
	run := func(from, to int) {
		for i, key := range keys[from:to] {
			cv, seq := convs[i%100], uint64((from+i)/100+1)
			c.Sent(check.Send{Conversation: cv, Sender: people[i%100], Key: key, Intended: time.Now()})
			obs[i%100].Saw(cv, entry{Seq: seq, ID: key, Key: key})
			c.Acked(cv, key, key, seq)
		}
	}
	run(0, sends/2) // fills the buffers
	spilled := c.Spilled()
	measure("send, first delivery and ack, in memory", sends/2, 8, func() { run(sends/2, sends) })
	onDisk := float64(c.Spilled()-spilled) / (sends / 2)
	t.Logf("%-45s %7.1f B", "send, first delivery and ack, on disk", onDisk)
	if onDisk > 300 {
		t.Errorf("%.0f B on disk for a send", onDisk)
	}
	runtime.KeepAlive([]any{c, keys, people, convs, obs})
}

// TestSawAllocatesNothing of what is known.
func TestSawAllocatesNothing(t *testing.T) {
	c := newChecker()
	one, two := c.Observer("one", ""), c.Observer("two", "")
	for seq := uint64(1); seq <= 8; seq++ { // no more than a ring that nobody was late for remembers
		one.Saw("c", msg(seq))
	}
	two.Saw("c", msg(1))
	entries := []entry{msg(2), msg(3), msg(4), msg(5), msg(6), msg(7), msg(8)}
	i := 0
	if a := testing.AllocsPerRun(len(entries)-1, func() { two.Saw("c", entries[i]); i++ }); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

func BenchmarkSaw(b *testing.B) {
	for _, observers := range []int{10, 1000} {
		b.Run(fmt.Sprintf("known/observers=%d", observers), func(b *testing.B) {
			c := benchChecker(b)
			var obs []*check.Observer
			for i := range observers {
				obs = append(obs, c.Observer(fmt.Sprint(i), ""))
			}
			e := entry{ID: "018f3c2e-1111-7abc-9def-0123456789ab-17", Key: "w1/u12345/67890"}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%observers == 0 {
					e.Seq++
				}
				obs[i%observers].Saw("018f3c2e-5555-7abc-9def-0123456789ab", e)
			}
		})
	}
	b.Run("new", func(b *testing.B) {
		c := benchChecker(b)
		o := c.Observer("o", "")
		e := entry{ID: "018f3c2e-1111-7abc-9def-0123456789ab-17", Key: "w1/u12345/67890"}
		b.ReportAllocs()
		for b.Loop() {
			e.Seq++
			o.Saw("018f3c2e-5555-7abc-9def-0123456789ab", e)
		}
		b.ReportMetric(float64(c.Spilled())/float64(b.N), "disk-B/op")
	})
	b.Run("parallel", func(b *testing.B) {
		c := benchChecker(b)
		convs := names("018f3c2e-5555-7abc-9def-0123456", 1000)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			o := c.Observer("o", "")
			e := entry{ID: "018f3c2e-1111-7abc-9def-0123456789ab-17", Key: "w1/u12345/67890"}
			for i := 0; pb.Next(); i++ {
				if i%len(convs) == 0 {
					e.Seq++
				}
				o.Saw(convs[i%len(convs)], e)
			}
		})
	})
}

func BenchmarkSentAcked(b *testing.B) {
	c := benchChecker(b)
	keys := names("w1/u12345/", 1<<16)
	now := time.Now()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		key := keys[i%len(keys)]
		c.Sent(check.Send{Conversation: "018f3c2e-5555-7abc-9def-0123456789ab", Sender: "u12345", Key: key, Intended: now})
		c.Acked("018f3c2e-5555-7abc-9def-0123456789ab", key, "018f3c2e-1111-7abc-9def-0123456789ab-17", uint64(i+1))
	}
	b.ReportMetric(float64(c.Spilled())/float64(b.N), "disk-B/op")
}

// BenchmarkCheck judges a run of 100,000 sends in 1000 conversations, each seen by 3; one op is a send with all of that.
func BenchmarkCheck(b *testing.B) {
	const n = 100_000
	convs := names("conversation-", 1000)
	var r *check.Report
	for b.Loop() {
		b.StopTimer()
		c := benchChecker(b)
		var obs []*check.Observer
		for i := range 3 {
			obs = append(obs, c.Observer(fmt.Sprint(i), ""))
		}
		final := make([][]entry, len(convs))
		for i := range n {
			cv := i % len(convs)
			e := entry{Seq: uint64(len(final[cv]) + 1), ID: fmt.Sprint("id", i), Key: fmt.Sprint("k", i)}
			final[cv] = append(final[cv], e)
			c.Sent(check.Send{Conversation: convs[cv], Sender: "s", Key: e.Key})
			for _, o := range obs {
				o.Saw(convs[cv], e)
			}
			c.Acked(convs[cv], e.Key, e.ID, e.Seq)
		}
		for i, cv := range convs {
			c.Final("r", cv, final[i])
		}
		b.StartTimer()
		r = verdict(c)
	}
	if !r.OK() {
		b.Fatal(r)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/send")
}

// BenchmarkSoak is 8 hours of the scenario soak as its checkers see them, 20 sends a second in 700 conversations, half of which have an
// observer; one op is all of it. It reports what a worker holds in the end, its record, and what judging takes.
func BenchmarkSoak(b *testing.B) {
	const sends, conversations = 20 * (8*3600 + 600), 700
	convs := names("018f3c2e-5555-7abc-9def-0123456", conversations)
	inUse := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / (1 << 20)
	}
	id := func(i int) string { return fmt.Sprintf("018f3c2e-1111-7abc-9def-%012d", i) }
	for b.Loop() {
		c := benchChecker(b)
		before := inUse()
		var obs []*check.Observer
		for i := range 200 {
			obs = append(obs, c.Observer(fmt.Sprint("user", i), ""))
		}
		for i := range sends {
			cv := i % conversations
			e := entry{Seq: uint64(i/conversations + 1), ID: id(i), Key: fmt.Sprint("w1/u12345/", i)}
			c.Sent(check.Send{Conversation: convs[cv], Sender: fmt.Sprint("user", cv), Key: e.Key})
			if cv < len(obs)*7/4 {
				obs[cv%len(obs)].Saw(convs[cv], e)
			}
			c.Acked(convs[cv], e.Key, e.ID, e.Seq)
		}
		held := inUse()
		b.ReportMetric(held-before, "held-MiB")
		for cv := range convs {
			var final []entry
			for i := cv; i < sends; i += conversations {
				final = append(final, entry{Seq: uint64(len(final) + 1), ID: id(i), Key: fmt.Sprint("w1/u12345/", i)})
			}
			c.Final("r", convs[cv], final)
		}
		b.ReportMetric(float64(c.Spilled())/1e6, "record-MB")
		ended, peak := make(chan struct{}), make(chan float64)
		go func() {
			most := 0.0
			for {
				select {
				case <-ended:
					peak <- most
					return
				case <-time.After(20 * time.Millisecond):
					var m runtime.MemStats
					runtime.ReadMemStats(&m)
					most = max(most, float64(m.HeapAlloc)/(1<<20))
				}
			}
		}()
		r := verdict(c)
		close(ended)
		b.ReportMetric(<-peak-held, "judging-MiB")
		if !r.OK() {
			b.Fatal(r)
		}
	}
}

func benchChecker(b *testing.B) *check.Checker {
	c, err := check.New(check.Config{SpillDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	return c
}
