package transport_test

import (
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/transport"
)

// cpu is the process's processor time so far.
func cpu() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// slots keep at most n messages under way.
type slots chan struct{}

func (s slots) free(error) { <-s }

func pair(b *testing.B) (*node, *node) {
	x, y := start(b, 1), &quiet{}
	cfg := config(2, y)
	tr, err := transport.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = tr.Close() })
	n := &node{id: 2, Transport: tr}
	x.SetPeers([]transport.Peer{n.peer()})
	eventually(b, "a stream", func() bool { return x.stats(2).Connected })
	return x, n
}

// quiet answers and confirms at once.
type quiet struct{}

func (quiet) Request(_ chat.NodeID, _ time.Duration, p []byte, reply func([]byte, error)) {
	reply(p, nil)
}
func (quiet) Deliver(_ chat.NodeID, _ []byte, confirm func(error)) { confirm(nil) }
func (quiet) Up(chat.NodeID)                                       {}
func (quiet) Down(chat.NodeID, error)                              {}

// Both nodes are in this process: cpu-µs/op is for sender and receiver together.
func BenchmarkDeliver(b *testing.B) {
	for _, under := range []int{1, 64, 8192} {
		b.Run("under_way="+strconv.Itoa(under), func(b *testing.B) {
			x, _ := pair(b)
			payload := make([]byte, 150)
			s := make(slots, under)
			done := s.free
			b.ReportAllocs()
			b.ResetTimer()
			start := cpu()
			for b.Loop() {
				s <- struct{}{}
				x.Transport.Deliver(2, payload, done)
			}
			for range cap(s) {
				s <- struct{}{}
			}
			b.ReportMetric(float64((cpu()-start).Nanoseconds())/1000/float64(b.N), "cpu-µs/op")
		})
	}
}

func BenchmarkRequest(b *testing.B) {
	for _, under := range []int{1, 16, 128, 8192} {
		b.Run("under_way="+strconv.Itoa(under), func(b *testing.B) {
			x, _ := pair(b)
			payload := make([]byte, 150)
			s := make(slots, under)
			done := func([]byte, error) { <-s }
			ctx := b.Context()
			b.ReportAllocs()
			b.ResetTimer()
			start := cpu()
			for b.Loop() {
				s <- struct{}{}
				x.Transport.Request(ctx, 2, payload, done)
			}
			for range cap(s) {
				s <- struct{}{}
			}
			b.ReportMetric(float64((cpu()-start).Nanoseconds())/1000/float64(b.N), "cpu-µs/op")
		})
	}
}

// Many goroutines that each wait for their answer, as callers do.
func BenchmarkRequestClosedLoop(b *testing.B) {
	for _, callers := range []int{1, 16, 128} {
		b.Run("callers="+strconv.Itoa(callers), func(b *testing.B) {
			x, _ := pair(b)
			payload := make([]byte, 150)
			ctx := b.Context()
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			start := cpu()
			for i := range callers {
				n := b.N / callers
				if i == 0 {
					n += b.N % callers
				}
				wg.Go(func() {
					c := make(chan error, 1)
					done := func(_ []byte, err error) { c <- err }
					for range n {
						x.Transport.Request(ctx, 2, payload, done)
						if err := <-c; err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64((cpu()-start).Nanoseconds())/1000/float64(b.N), "cpu-µs/op")
			runtime.KeepAlive(x)
		})
	}
}
