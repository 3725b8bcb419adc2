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

// connect opens n client sockets to a loopback address. They are bare descriptors: those of package net would be
// polled by this process's runtime, at the expense of what is measured.
func connect(b *testing.B, addr net.Addr, n int) []int {
	b.Helper()
	sa := &unix.SockaddrInet4{Port: addr.(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	var out []int
	b.Cleanup(func() {
		for _, fd := range out {
			unix.Close(fd)
		}
	})
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		out = append(out, fd)
		if err := unix.Connect(fd, sa); err != nil {
			b.Fatal(err)
		}
	}
	return out
}

// sinks are WebSocket clients that nobody reads but drainAll.
func sinks(b *testing.B, addr net.Addr, n int) []int {
	b.Helper()
	fds := connect(b, addr, n)
	req := []byte(fmt.Sprintf(upgradeHead+"\r\n", "/"))
	var buf [256]byte
	for _, fd := range fds {
		if _, err := unix.Write(fd, req); err != nil {
			b.Fatal(err)
		}
		if _, err := unix.Read(fd, buf[:]); err != nil {
			b.Fatal(err)
		}
	}
	return fds
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
			clients := sinks(b, s.Addr(), n)
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
		lf, err := ln.(*net.TCPListener).File()
		if err != nil {
			b.Fatal(err)
		}
		defer lf.Close()
		var in, out []int
		defer func() {
			for _, fd := range out {
				unix.Close(fd)
			}
		}()
		for range n {
			in = append(in, connect(b, ln.Addr(), 1)...)
			fd, _, err := unix.Accept4(int(lf.Fd()), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			if err != nil {
				b.Fatal(err)
			}
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
			out = append(out, fd)
		}
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
	clients := sinks(b, s.Addr(), n)
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
		req := []byte(fmt.Sprintf(upgradeHead+"\r\n", "/"))
		for _, fd := range connect(b, s.Addr(), n) {
			_, _ = unix.Write(fd, req)
		}
		eventually(b, "open", func() bool { return open.Load() == n })
		runtime.GC()
		runtime.ReadMemStats(&m1)
		grown := int64(m1.HeapInuse+m1.StackInuse) - int64(m0.HeapInuse+m0.StackInuse)
		b.ReportMetric(float64(grown)/n, "B/conn")
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
