//go:build linux && !reactor_portable

package reactor_test

import (
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zumodra/hub/edge/reactor"
)

// The benchmarks report CPU time of the process per operation (cpu-ns/op) beside wall time, because the client
// runs in the same process on the same cores. It includes the kernel's and, where one reads, the client's.

func cpuTime() time.Duration {
	var ru unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// sinks are client sockets that nobody reads but the benchmark's drain, between rounds.
func sinks(b *testing.B, addr string, n int) []net.Conn {
	b.Helper()
	cs := make([]net.Conn, n)
	for i := range cs {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { c.Close() })
		fmt.Fprintf(c, upgradeHead+"\r\n", "/")
		var buf [256]byte
		if _, err := c.Read(buf[:]); err != nil {
			b.Fatal(err)
		}
		cs[i] = c
	}
	return cs
}

func fds(b *testing.B, cs []net.Conn) []int {
	b.Helper()
	out := make([]int, len(cs))
	for i, c := range cs {
		rc, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			b.Fatal(err)
		}
		_ = rc.Control(func(fd uintptr) { out[i] = int(fd) })
	}
	return out
}

func drainAll(fds []int, buf []byte) {
	for _, fd := range fds {
		_, _, _ = unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), unix.MSG_DONTWAIT, 0, 0)
	}
}

// BenchmarkFanOut compares deliveries of broadcasts with a loop of raw sends on sockets of the same kind. One
// operation is one delivery.
func BenchmarkFanOut(b *testing.B) {
	const n = 2000
	payload := make([]byte, 128)
	var buf [64 << 10]byte
	for _, batch := range []int{1, 16} {
		b.Run(fmt.Sprintf("reactor/batch=%d", batch), func(b *testing.B) {
			h := &hooks{}
			s := start(b, reactor.Config{Reactors: 1, PingInterval: -1}, h)
			cs := sinks(b, s.Addr().String(), n)
			clients := fds(b, cs)
			eventually(b, "open", func() bool { return len(h.handles()) == n })
			set := reactor.NewSet(h.handles())
			f := reactor.NewFrame(false, payload)
			b.ReportAllocs()
			var cpu time.Duration
			b.ResetTimer()
			for done := 0; done < b.N; done += n * batch {
				before := cpuTime()
				want := s.Stats().FramesOut + uint64(n*batch)
				for range batch {
					s.Broadcast(set, f, reactor.Durable, 0)
				}
				for s.Stats().FramesOut < want {
					time.Sleep(200 * time.Microsecond)
				}
				cpu += cpuTime() - before
				b.StopTimer()
				drainAll(clients, buf[:])
				b.StartTimer()
			}
			ops := (b.N + n*batch - 1) / (n * batch) * n * batch
			b.ReportMetric(float64(cpu.Nanoseconds())/float64(ops), "cpu-ns/op")
		})
	}
	b.Run("limit", func(b *testing.B) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer ln.Close()
		var clients, servers []net.Conn
		for range n {
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			sc, err := ln.Accept()
			if err != nil {
				b.Fatal(err)
			}
			clients, servers = append(clients, c), append(servers, sc)
			b.Cleanup(func() { c.Close(); sc.Close() })
		}
		in, out := fds(b, clients), fds(b, servers)
		b.ReportAllocs()
		var cpu time.Duration
		b.ResetTimer()
		for done := 0; done < b.N; done += n {
			before := cpuTime()
			for _, fd := range out {
				_, _, _ = unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&payload[0])), uintptr(len(payload)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
			}
			cpu += cpuTime() - before
			b.StopTimer()
			drainAll(in, buf[:])
			b.StartTimer()
		}
		b.ReportMetric(float64(cpu.Nanoseconds())/float64((b.N+n-1)/n*n), "cpu-ns/op")
	})
}

// BenchmarkInbound measures messages of 100 bytes on 500 connections, the client's sends included, one per turn and connection.
func BenchmarkInbound(b *testing.B) {
	const n = 500
	got := 0
	turn := make(chan struct{}, 1)
	h := &hooks{message: func(reactor.Conn, bool, []byte) {
		if got++; got%n == 0 {
			turn <- struct{}{}
		}
	}}
	s := start(b, reactor.Config{Reactors: 1, PingInterval: -1}, h)
	clients := fds(b, sinks(b, s.Addr().String(), n))
	msg := maskedFrame(0x82, make([]byte, 100))
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime()
	sent := int64(0)
	for sent < int64(b.N) {
		for _, fd := range clients {
			_, _, _ = unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&msg[0])), uintptr(len(msg)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
			sent++
		}
		<-turn
	}
	b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/float64(sent), "cpu-ns/op")
}

// BenchmarkAccept measures connecting, upgrading and closing, the client's half included.
func BenchmarkAccept(b *testing.B) {
	h := &hooks{}
	s := start(b, reactor.Config{PingInterval: -1}, h)
	req := []byte(fmt.Sprintf(upgradeHead+"\r\n", "/"))
	b.ReportAllocs()
	before := cpuTime()
	for b.Loop() {
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		_, _ = c.Write(req)
		var buf [256]byte
		if _, err := c.Read(buf[:]); err != nil {
			b.Fatal(err)
		}
		_ = c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// BenchmarkIdleMemory reports what the Go heap and stacks hold per idle connection. Client sockets are raw descriptors.
func BenchmarkIdleMemory(b *testing.B) {
	const n = 5000
	var open atomic.Int64
	h := &quiet{open: &open}
	for b.Loop() {
		s, stop := serveQuiet(b, h)
		open.Store(0)
		var m0, m1 runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m0)
		addr := s.Addr().(*net.TCPAddr)
		sa := &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte{127, 0, 0, 1}}
		req := []byte(fmt.Sprintf(upgradeHead+"\r\n", "/"))
		var clients []int
		for range n {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				b.Fatal(err)
			}
			if err := unix.Connect(fd, sa); err != nil {
				b.Fatal(err)
			}
			_, _ = unix.Write(fd, req)
			clients = append(clients, fd)
		}
		eventually(b, "open", func() bool { return open.Load() == n })
		runtime.GC()
		runtime.ReadMemStats(&m1)
		grown := int64(m1.HeapInuse+m1.StackInuse) - int64(m0.HeapInuse+m0.StackInuse)
		b.ReportMetric(float64(grown)/n, "B/conn")
		for _, fd := range clients {
			unix.Close(fd)
		}
		stop()
	}
}

// quiet keeps nothing per connection.
type quiet struct{ open *atomic.Int64 }

func (q *quiet) Upgrade(*reactor.Request) reactor.Decision { return reactor.Decision{} }
func (q *quiet) Open(reactor.Conn)                         { q.open.Add(1) }
func (q *quiet) Message(reactor.Conn, bool, []byte)        {}
func (q *quiet) Closed(reactor.Conn, uint16, string)       {}

func serveQuiet(b *testing.B, h reactor.Handler) (*reactor.Server, func()) {
	b.Helper()
	s, err := reactor.New(reactor.Config{Addr: "127.0.0.1:0", Handler: h})
	if err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(b.Context()) })
	return s, func() { s.Close(); wg.Wait() }
}
