//go:build !reactor_portable

package reactor

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// listen binds n sockets to one address by SO_REUSEPORT. They are raw plain-TCP sockets: net.Listen would make
// MPTCP ones. Options set here are inherited by accepted sockets.
func listen(address string, n int) (fds []int, addr net.Addr, err error) {
	tcp, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, nil, fmt.Errorf("reactor: listen address: %w", err)
	}
	defer func() {
		if err != nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
		}
	}()
	for range n {
		fd, err := listenOne(tcp)
		if err != nil {
			return fds, nil, fmt.Errorf("reactor: listen on %s: %w", tcp, err)
		}
		fds = append(fds, fd)
		if tcp.Port == 0 {
			sa, err := unix.Getsockname(fd)
			if err != nil {
				return fds, nil, fmt.Errorf("reactor: getsockname: %w", err)
			}
			tcp.Port = int(sockaddrPort(sa))
		}
	}
	return fds, tcp, nil
}

func listenOne(a *net.TCPAddr) (fd int, err error) {
	family := unix.AF_INET6
	if a.IP.To4() != nil {
		family = unix.AF_INET
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err == unix.EAFNOSUPPORT && len(a.IP) == 0 {
		family = unix.AF_INET
		fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	}
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	for _, o := range []struct {
		name              string
		level, opt, value int
	}{
		{"SO_REUSEADDR", unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
		{"SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1},
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		// A stalled reader then costs the kernel 72 KB instead of 3.9 MB.
		{"TCP_NOTSENT_LOWAT", unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, 16 << 10},
		{"TCP_DEFER_ACCEPT", unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 2},
		{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 20_000},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.opt, o.value); err != nil {
			return -1, os.NewSyscallError(o.name, err)
		}
	}
	var sa unix.Sockaddr
	if family == unix.AF_INET {
		sa4 := &unix.SockaddrInet4{Port: a.Port}
		copy(sa4.Addr[:], a.IP.To4())
		sa = sa4
	} else {
		if len(a.IP) == 0 {
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
		}
		sa6 := &unix.SockaddrInet6{Port: a.Port}
		copy(sa6.Addr[:], a.IP.To16())
		if a.Zone != "" {
			if ifi, err := net.InterfaceByName(a.Zone); err == nil {
				sa6.ZoneId = uint32(ifi.Index)
			}
		}
		sa = sa6
	}
	if err := unix.Bind(fd, sa); err != nil {
		return -1, os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(fd, backlog()); err != nil {
		return -1, os.NewSyscallError("listen", err)
	}
	return fd, nil
}

// backlog is the largest accept queue that the kernel grants.
func backlog() int {
	b, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		return unix.SOMAXCONN
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || n <= 0 {
		return unix.SOMAXCONN
	}
	return n
}

func sockaddrPort(sa unix.Sockaddr) uint16 {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return uint16(sa.Port)
	case *unix.SockaddrInet6:
		return uint16(sa.Port)
	}
	return 0
}

// peerName is the remote address of a connection, invalid if it is gone.
func peerName(fd int32) netip.AddrPort {
	sa, err := unix.Getpeername(int(fd))
	if err != nil {
		return netip.AddrPort{}
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// acceptBatch bounds the accepts of one round, so that a reconnect storm does not starve the connected.
const acceptBatch = 64

// accept takes new connections from the listener, which is level-triggered.
func (r *reactor) accept() {
	for range acceptBatch {
		fd, errno := r.accept4()
		switch errno {
		case 0:
			r.admit(fd)
		case unix.EAGAIN:
			return
		case unix.EINTR, unix.ECONNABORTED, unix.EPROTO:
		case unix.EMFILE, unix.ENFILE:
			r.stats.acceptErrors.Add(1)
			switch r.refuseWithReserve() {
			case 0:
			case unix.EAGAIN: // the descriptor is asked for before the queue is looked at
				return
			default:
				r.muteListener()
				return
			}
		default: // ENOBUFS, ENOMEM and network errors of the new connection
			r.stats.acceptErrors.Add(1)
			r.muteListener()
			return
		}
	}
}

func (r *reactor) accept4() (int, unix.Errno) {
	fd, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(r.listener), 0, 0,
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int(fd), errno
}

// admit registers an accepted descriptor, or refuses it.
func (r *reactor) admit(fd int) {
	r.stats.accepted.Add(1)
	c := r.s.table.make(fd)
	if c == nil || r.s.total.Add(1) > int64(r.s.cfg.MaxConnections) {
		if c != nil {
			r.s.total.Add(-1)
		}
		r.refuse(fd)
		return
	}
	if c.owner.Load() != 0 {
		panic("reactor: the kernel gave a descriptor that is in use")
	}
	gen := c.gen + 1
	if gen == 0 {
		gen = 1
	}
	c.gen, c.fd, c.session, c.flags, c.lastRx = gen, int32(fd), 0, 0, r.now
	c.out, c.in, c.tls = 0, 0, 0
	c.owner.Store(uint32(r.index) + 1)
	c.state = stHead
	c.deadline = r.after(r.s.cfg.HandshakeTimeout)
	r.stats.handshaking.Add(1)
	r.schedule(c, c.deadline)
	if err := r.watch(fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET, gen); err != nil {
		r.stats.acceptErrors.Add(1)
		r.drop(c)
		return
	}
	if r.s.cfg.TLS != nil {
		r.startTLS(c)
	}
}

// refuse answers 503 with what the socket takes at once, and closes. What the client has sent already is read
// first: closing over unread data would reset the connection and lose the answer.
func (r *reactor) refuse(fd int) {
	r.stats.refused.Add(1)
	if r.s.cfg.TLS == nil {
		_, _ = recv(int32(fd), r.buf)
		_, _ = send(int32(fd), overloaded)
		_ = unix.Shutdown(fd, unix.SHUT_WR)
	}
	unix.Close(fd)
}

// refuseWithReserve survives running out of descriptors: it gives up the reserve, takes and refuses one connection
// with it, and gets the reserve back. Otherwise the listener would stay readable and the reactor spin.
func (r *reactor) refuseWithReserve() unix.Errno {
	if r.reserve < 0 {
		return unix.EMFILE
	}
	unix.Close(r.reserve)
	r.reserve = -1
	fd, errno := r.accept4()
	if errno == 0 {
		r.stats.accepted.Add(1)
		r.refuse(fd)
	}
	r.openReserve()
	return errno
}

func (r *reactor) openReserve() {
	fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		fd = -1
	}
	r.reserve = fd
}

// muteListener stops watching the listener until the next tick.
func (r *reactor) muteListener() {
	if r.muted || r.listener < 0 {
		return
	}
	r.muted = true
	_ = unix.EpollCtl(r.epfd, unix.EPOLL_CTL_DEL, r.listener, nil)
}

// unmuteListener resumes accepting.
func (r *reactor) unmuteListener() {
	if !r.muted || r.listener < 0 {
		return
	}
	if r.reserve < 0 {
		r.openReserve()
	}
	r.muted = r.watch(r.listener, unix.EPOLLIN, 0) != nil
}

// stopAccepting closes the listener. Connections in its backlog are reset by the kernel.
func (r *reactor) stopAccepting() {
	if r.listener >= 0 {
		unix.Close(r.listener)
		r.listener = -1
	}
}

// send and recv never sleep, so the scheduler need not hear of them: a plain Syscall costs 40 % more here.
func send(fd int32, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func recv(fd int32, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func sendmsg(fd int32, iov []unix.Iovec) (int, unix.Errno) {
	h := unix.Msghdr{Iov: &iov[0]}
	h.SetIovlen(len(iov))
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&h)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
