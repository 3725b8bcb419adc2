package projection_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/actors/projection"
)

func TestFollowsCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, projection.Config{}, "a", "b")
		w.start()
		defer w.stop()
		for i := range 50 {
			w.commit(key(i%7), 1+i%3)
		}
		w.settled()
		for _, c := range w.consumers {
			if c.applies > 3 {
				t.Errorf("%d applies for one burst: it was not batched", c.applies)
			}
		}
		w.remove(key(3))
		w.settled()
	})
}

func TestBatchesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, projection.Config{Batch: 20}, "a")
		w.start()
		defer w.stop()
		w.commit(key(1), 1000)
		for i := range 30 {
			w.commit(key(2+i), 5)
		}
		w.settled()
		if got := w.consumers[0].largest; got > 20 {
			t.Errorf("a batch of %d", got)
		}
	})
}

// A consumer that is down for an hour holds nobody up, keeps the marks, and gets everything when it is back.
func TestConsumerDownForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, projection.Config{Queue: 50}, "a", "b")
		w.start()
		defer w.stop()
		w.commit(key(1), 3)
		w.settled()
		a, b := w.consumers[0], w.consumers[1]
		a.set(func(c *consumer) { c.down = true })
		before := time.Duration(0)
		for i := range 3600 {
			w.commit(key(i%200), 1)
			time.Sleep(time.Second)
			if i == 600 || i == 3000 {
				s := w.runner.Stats()[0]
				if s.Healthy || s.Error == "" || s.Waiting > 50 || s.Lag < int64(i/2) || !s.Overflow {
					t.Errorf("after %d s: %+v", i, s)
				}
				if lag := time.Since(s.Oldest); lag <= before {
					t.Errorf("the lag does not grow: %v, then %v", before, lag)
				} else {
					before = lag
				}
			}
		}
		time.Sleep(time.Second)
		for k := range 200 {
			if got := b.cursor(key(k)); got != w.head(key(k)) {
				t.Fatalf("the other consumer has %d of %d of conversation %d", got, w.head(key(k)), k)
			}
		}
		if w.marked() != 200 {
			t.Fatalf("%d marks", w.marked())
		}
		if s := w.runner.Stats()[0]; s.Failures < 100 || s.Failures > 1000 {
			t.Errorf("%d attempts in an hour", s.Failures)
		}
		a.set(func(c *consumer) { c.down = false })
		w.settled()
	})
}

func TestRestartFeedsWhatIsMarked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, projection.Config{}, "a")
		w.start()
		for i := range 300 {
			w.commit(key(i), 2)
		}
		w.settled()
		w.consumers[0].set(func(c *consumer) { c.down = true })
		for i := range 300 {
			w.commit(key(i), 1)
		}
		w.remove(key(7))
		time.Sleep(time.Minute)
		w.stop()
		w.consumers[0].set(func(c *consumer) { c.down = false })
		w.start()
		w.settled()
		w.stop()
	})
}

// Data that was lost is fed again, also when the process ends in between, while changes go on.
func TestLostDataIsFedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, projection.Config{Page: 40, Batch: 16}, "a")
		w.start()
		for i := range 500 {
			w.commit(key(i), 3)
		}
		w.settled()
		w.stop()
		a := w.consumers[0]
		a.set(func(c *consumer) { c.data, c.generation, c.slow = data{}, 1, 50*time.Millisecond })
		w.start()
		for i := range 20 {
			time.Sleep(20 * time.Millisecond)
			w.commit(key(i*20), 1)
		}
		s := w.runner.Stats()[0]
		if !s.Feeding || s.Total != 500 || s.Done == 0 || s.Done == 500 {
			t.Errorf("%+v", s)
		}
		w.stop()
		if w.states["a"].Complete {
			t.Error("it is not complete")
		}
		applies := a.applies
		w.start()
		w.settled()
		if again := a.applies - applies; again > 2*500*3/16 {
			t.Errorf("%d applies after the restart: it began from nothing", again)
		}
		// While it runs, too.
		a.set(func(c *consumer) { c.data, c.generation = data{}, 7 })
		time.Sleep(2 * time.Minute)
		w.settled()
		w.stop()
	})
}

// A consumer that was away while marks went without it is fed everything when it comes back.
func TestConsumerThatWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, projection.Config{}, "a", "b")
		w.start()
		w.commit(key(1), 3)
		w.settled()
		w.stop()
		all := w.consumers
		w.consumers = all[:1]
		w.start()
		w.commit(key(1), 2)
		w.commit(key(2), 2)
		w.settled()
		w.stop()
		w.consumers = all
		w.start()
		w.settled()
		w.stop()
	})
}

// A consumer that knows more than there is (the store was restored from a copy) is told all of it anew.
func TestConsumerAheadOfTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, projection.Config{}, "a")
		w.consumers[0].data[key(1)] = 70
		w.start()
		defer w.stop()
		w.commit(key(1), 3)
		w.settled()
	})
}

// One conversation that cannot be read holds no other up, and is tried again.
func TestUnreadableConversation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, projection.Config{}, "a")
		w.start()
		defer w.stop()
		time.Sleep(time.Second)
		w.breakNext("ReadEvent", 5)
		for i := range 5 {
			w.commit(key(i), 1)
		}
		time.Sleep(500 * time.Millisecond)
		w.commit(key(9), 1)
		time.Sleep(200 * time.Millisecond)
		if got := w.consumers[0].cursor(key(9)); got != 1 {
			t.Errorf("another conversation is at %d", got)
		}
		w.settled()
	})
}

func TestRebuild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, projection.Config{Batch: 16}, "a")
		w.start()
		defer w.stop()
		for i := range 200 {
			w.commit(key(i), 3)
		}
		w.settled()
		a := w.consumers[0]
		a.set(func(c *consumer) { c.slow = 20 * time.Millisecond })
		if _, ok := w.runner.RebuildStatus("a"); ok {
			t.Error("a status without a rebuild")
		}
		if err := w.runner.CancelRebuild("a"); !errors.Is(err, projection.ErrNoRebuild) {
			t.Error(err)
		}
		if err := w.runner.Rebuild("b"); !errors.Is(err, projection.ErrNoRebuild) {
			t.Error(err)
		}
		if err := w.runner.Rebuild("a"); err != nil {
			t.Fatal(err)
		}
		if err := w.runner.Rebuild("a"); !errors.Is(err, projection.ErrRebuilding) {
			t.Error(err)
		}
		for i := range 30 { // live changes go to both
			w.commit(key(i), 1)
			time.Sleep(10 * time.Millisecond)
		}
		w.remove(key(5))
		w.remove(key(199))
		st, _ := w.runner.RebuildStatus("a")
		if st.Phase != projection.PhaseFeeding || st.Total < 198 || st.Events == 0 || !st.Running() {
			t.Errorf("%+v", st)
		}
		for st.Running() {
			time.Sleep(50 * time.Millisecond)
			st, _ = w.runner.RebuildStatus("a")
		}
		if st.Phase != projection.PhaseDone || st.Done != st.Total || a.generation != 1 {
			t.Errorf("%+v, generation %d", st, a.generation)
		}
		w.settled()

		// Cancelled, nothing changes but that what waits is still fed.
		if err := w.runner.Rebuild("a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Millisecond)
		w.commit(key(3), 1)
		if err := w.runner.CancelRebuild("a"); err != nil {
			t.Fatal(err)
		}
		w.settled()
		if st, _ = w.runner.RebuildStatus("a"); st.Phase != projection.PhaseCancelled || a.generation != 1 {
			t.Errorf("%+v, generation %d", st, a.generation)
		}
	})
}

// The rebuild's consumer fails for a while and heals; a rebuild that the process takes along leaves the data in use.
func TestRebuildSurvivesFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, projection.Config{Batch: 16}, "a")
		w.start()
		for i := range 100 {
			w.commit(key(i), 3)
		}
		w.settled()
		a := w.consumers[0]
		a.set(func(c *consumer) { c.slow = 20 * time.Millisecond })
		if err := w.runner.Rebuild("a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		a.set(func(c *consumer) { c.down, c.partly = true, true })
		for i := range 50 {
			w.commit(key(i), 1)
			time.Sleep(time.Second)
		}
		if st, _ := w.runner.RebuildStatus("a"); st.Failures == 0 || st.Error == "" {
			t.Errorf("%+v", st)
		}
		a.set(func(c *consumer) { c.down = false })
		time.Sleep(time.Minute)
		if st, _ := w.runner.RebuildStatus("a"); st.Phase != projection.PhaseDone {
			t.Errorf("%+v", st)
		}
		w.settled()
		if err := w.runner.Rebuild("a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		w.commit(key(1), 1)
		w.stop()
		w.start()
		w.settled()
		w.stop()
	})
}

// TestModel plays random commits, deletions, failures, losses, rebuilds and restarts. In the end everybody has
// exactly the logs, and marks went only when that was so.
func TestModel(t *testing.T) {
	runs := 60
	if testing.Short() {
		runs = 15
	}
	for seed := range runs {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(uint64(seed), 7))
				play(t, func(n int) int { return rng.IntN(n) }, 150)
			})
		})
	}
}

// FuzzRunner reads a run from the bytes of its input.
func FuzzRunner(f *testing.F) {
	f.Add([]byte("commit, fail, restart and so on"))
	f.Add([]byte{2, 3, 1, 9, 0, 12, 4, 1, 7, 0, 0, 13, 3, 10, 1, 0, 14, 0, 11, 0, 5})
	f.Fuzz(func(t *testing.T, b []byte) {
		synctest.Test(t, func(t *testing.T) {
			moves := min(len(b), 200)
			play(t, func(n int) int {
				if len(b) == 0 {
					return 0
				}
				x := int(b[0])
				b = b[1:]
				return x % n
			}, moves)
		})
	})
}

func play(t *testing.T, n func(int) int, moves int) {
	names := []string{"a", "b", "c"}[:1+n(3)]
	w := newWorld(t, projection.Config{Batch: 1 + n(20), Queue: 2 + n(30), Page: 1 + n(40), Workers: 1 + n(3),
		MaxBackoff: time.Second, Recheck: 5 * time.Second}, names...)
	w.start()
	defer func() { w.stop() }()
	keys := 5 + n(60)
	who := func() *consumer { return w.consumers[n(len(w.consumers))] }
	next := keys // ids are never used again
	ids := make([]int, keys)
	for i := range ids {
		ids[i] = i
	}
	for range moves {
		switch n(16) {
		case 0, 1, 2, 3, 4:
			w.commit(key(ids[n(keys)]), 1+n(4))
		case 5:
			w.commit(key(ids[n(keys)]), 1+n(100))
		case 6:
			i := n(keys)
			w.remove(key(ids[i]))
			if w.head(key(ids[i])) == 0 {
				ids[i] = next
				next++
			}
		case 7:
			c := who()
			down, partly := n(2) == 0, n(2) == 0
			c.set(func(c *consumer) { c.down, c.partly = down, partly })
		case 8:
			c, d := who(), time.Duration(n(200))*time.Millisecond
			c.set(func(c *consumer) { c.slow = d })
		case 9:
			w.unseen = []time.Duration{0, 0, 10 * time.Millisecond, 300 * time.Millisecond}[n(4)]
		case 10, 11:
			time.Sleep(time.Duration(n(700)) * time.Millisecond)
		case 12:
			w.stop()
			w.start()
		case 13:
			w.breakNext([]string{"ReadEvents", "ReadEvent", "Positions", "Position", "Followed", "DirtyShard", "Conversations",
				"PutConsumer", "Consumers"}[n(9)], 1+n(3))
		case 14:
			_ = w.runner.Rebuild(who().name) // or there is one
			if n(3) == 0 {
				time.Sleep(time.Duration(n(300)) * time.Millisecond)
				_ = w.runner.CancelRebuild(who().name)
			}
		case 15:
			if n(3) == 0 { // its data is lost between two runs
				w.stop()
				who().set(func(c *consumer) { c.data, c.fresh, c.generation = data{}, nil, c.generation+100 })
				w.start()
			}
		}
		for _, s := range w.runner.Stats() {
			if most := w.config.Queue*2 + 3*(w.config.Batch+1) + 200; s.Waiting > most {
				t.Errorf("%d conversations wait, %d are allowed", s.Waiting, most)
			}
		}
	}
	for _, c := range w.consumers {
		c.set(func(c *consumer) { c.down, c.slow = false, 0 })
	}
	w.settled()
}
