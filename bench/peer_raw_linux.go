package main

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"unsafe"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// rawPeer is the kernel's limit: sockets accepted and otherwise left alone, and a loop of send(2) over them in
// descriptor order. It speaks no WebSocket.
type rawPeer struct {
	lfd  int
	port int
	mu   sync.Mutex
	fds  []int32
	at   int
	done chan struct{}
}

func newRawPeer() (peer, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	p := &rawPeer{lfd: fd, done: make(chan struct{})}
	// As the hub's listener: what accepted sockets inherit must not differ.
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, 16<<10)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return nil, err
	}
	if err := unix.Listen(fd, 4096); err != nil {
		return nil, err
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return nil, err
	}
	p.port = sa.(*unix.SockaddrInet4).Port
	go p.accept()
	return p, nil
}

func (p *rawPeer) accept() {
	defer close(p.done)
	for {
		poll := []unix.PollFd{{Fd: int32(p.lfd), Events: unix.POLLIN}}
		unix.Poll(poll, 200)
		for {
			fd, _, err := unix.Accept4(p.lfd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			if errors.Is(err, unix.EBADF) || errors.Is(err, unix.EINVAL) {
				return
			}
			if err != nil {
				break
			}
			p.mu.Lock()
			p.fds = append(p.fds, int32(fd))
			p.mu.Unlock()
		}
	}
}

func (p *rawPeer) addr() string { return fmt.Sprintf("127.0.0.1:%d", p.port) }

func (p *rawPeer) conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.fds)
}

func (p *rawPeer) inbound() int64 { return 0 }

// rawSend is sendto(2) without telling the scheduler: MSG_DONTWAIT never sleeps.
func rawSend(fd int32, b []byte) syscall.Errno {
	_, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return e
}

func (p *rawPeer) broadcast(payload []byte, k int) error {
	frame := ws.MustCompileFrame(ws.NewTextFrame(payload))
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.Sort(p.fds)
	var failed syscall.Errno
	for range k {
		for i, fd := range p.fds {
			if e := rawSend(fd, frame); e != 0 {
				failed = e
			}
			if i%4096 == 4095 {
				runtime.Gosched()
			}
		}
	}
	if failed != 0 {
		return failed
	}
	return nil
}

func (p *rawPeer) next(payload []byte, n int) error {
	frame := ws.MustCompileFrame(ws.NewTextFrame(payload))
	p.mu.Lock()
	defer p.mu.Unlock()
	for range n {
		if e := rawSend(p.fds[p.at%len(p.fds)], frame); e != 0 {
			return e
		}
		p.at++
	}
	return nil
}

func (p *rawPeer) close() {
	unix.Close(p.lfd)
}
