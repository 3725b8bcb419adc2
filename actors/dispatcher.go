package actors

import (
	"runtime"
	"sync"
)

// workers is a dispatcher with a fixed number of goroutines, whose grown stacks are reused: a goroutine per
// wake-up costs twice as much. When its queue is full it starts a goroutine rather than block the caller.
type workers struct {
	queue chan func()
	stop  chan struct{}
	wg    sync.WaitGroup
}

const dispatcherQueue = 64 << 10

func newWorkers(n int) *workers {
	if n <= 0 {
		n = 4 * runtime.GOMAXPROCS(0)
	}
	w := &workers{queue: make(chan func(), dispatcherQueue), stop: make(chan struct{})}
	for range n {
		w.wg.Go(func() {
			for {
				select {
				case f := <-w.queue:
					f()
				case <-w.stop:
					return
				}
			}
		})
	}
	return w
}

// Schedule implements actor.Dispatcher.
func (w *workers) Schedule(f func()) {
	select {
	case w.queue <- f:
	default:
		go f()
	}
}

// Throughput implements actor.Dispatcher: messages of one actor before others get a chance.
func (w *workers) Throughput() int { return 100 }

func (w *workers) close() {
	close(w.stop)
	w.wg.Wait()
	for { // late wake-ups of actors that are gone
		select {
		case f := <-w.queue:
			f()
		default:
			return
		}
	}
}
