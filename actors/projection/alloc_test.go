package projection_test

import (
	"fmt"
	"testing"

	"github.com/zumodra/hub/actors/projection"
)

// A commit leaves a note and allocates nothing for it.
func TestCommittedDoesNotAllocate(t *testing.T) {
	w := newWorld(t, projection.Config{Queue: 100}, "a", "b")
	w.config.Conversations, w.config.Store = w, w
	for _, c := range w.consumers {
		w.config.Consumers = append(w.config.Consumers, c)
	}
	r := projection.New(w.config)
	defer r.Close()
	for i := range 200 { // half of them find the queue full
		r.Committed(key(i), 1, 1)
	}
	n := uint64(1)
	if got := testing.AllocsPerRun(1000, func() {
		n++
		r.Committed(key(int(n%200)), n, 1)
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// BenchmarkCommitted is what a commit costs its conversation, for one consumer that cannot keep up.
func BenchmarkCommitted(b *testing.B) {
	for _, conversations := range []int{1, 1000} {
		b.Run(fmt.Sprint(conversations), func(b *testing.B) {
			r := projection.New(projection.Config{Consumers: []projection.Consumer{&consumer{name: "a"}}})
			defer r.Close()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				r.Committed(key(i%conversations), uint64(i), 1)
			}
		})
	}
}
