package mailbox_test

import (
	"log/slog"
	"sync"
	"testing"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/zumodra/hub/actors/internal/mailbox"
)

type goer struct{}

func (goer) Schedule(f func()) { go f() }
func (goer) Throughput() int   { return 3 }

type msg struct{ from, n int }

// Many senders: each one's messages arrive once, in its order, by one goroutine at a time; a panic on the way
// does not stop the actor.
func TestOrder(t *testing.T) {
	sys := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.DiscardHandler)
	}))
	defer sys.Shutdown()
	const senders, each = 8, 2000
	next := make([]int, senders) // unsynchronised on purpose: the race detector watches
	total := 0
	done := make(chan struct{})
	props := actor.PropsFromFunc(func(c actor.Context) {
		m, ok := c.Message().(msg)
		if !ok {
			return
		}
		if next[m.from] != m.n {
			t.Errorf("sender %d: got %d, want %d", m.from, m.n, next[m.from])
		}
		next[m.from] = m.n + 1
		if total++; total == senders*each {
			close(done)
		}
		if total == 777 {
			panic("once")
		}
	}, actor.WithMailbox(mailbox.New), actor.WithDispatcher(goer{}))
	pid := sys.Root.Spawn(props)
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				sys.Root.Send(pid, msg{s, i})
			}
		})
	}
	wg.Wait()
	<-done
}
