package limit

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// server is one thread's.
type server struct {
	ep, l, wake int
	buf, out    []byte
	conns       []conn          // by descriptor
	users       map[int][]int32 // descriptors
	open        []int32
}

type conn struct {
	user  int32
	state uint8 // 0: none, 1: upgrading, 2: open
	at    int32 // in open
	in    []byte
}

// Serve passes messages on until ctx ends. It takes over the listener. One processor is all that it uses.
func Serve(ctx context.Context, l *net.TCPListener) error {
	defer l.Close()
	f, err := l.File()
	if err != nil {
		return fmt.Errorf("limit: %w", err)
	}
	defer f.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s := &server{l: int(f.Fd()), buf: make([]byte, 256<<10), users: map[int][]int32{}}
	if err := unix.SetNonblock(s.l, true); err != nil {
		return fmt.Errorf("limit: %w", err)
	}
	if s.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("limit: %w", err)
	}
	defer unix.Close(s.ep)
	if s.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("limit: %w", err)
	}
	defer unix.Close(s.wake)
	for _, fd := range []int{s.l, s.wake} {
		if err := unix.EpollCtl(s.ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return fmt.Errorf("limit: %w", err)
		}
	}
	stop := context.AfterFunc(ctx, func() { _, _ = unix.Write(s.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) })
	defer stop()
	defer func() {
		for fd := range s.conns {
			s.drop(int32(fd))
		}
	}()
	var events [512]unix.EpollEvent
	for ctx.Err() == nil {
		n, err := unix.EpollWait(s.ep, events[:], -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("limit: %w", err)
		}
		for _, e := range events[:max(n, 0)] {
			switch int(e.Fd) {
			case s.l:
				s.accept()
			case s.wake:
			default:
				s.read(e.Fd)
			}
		}
	}
	return nil
}

func (s *server) accept() {
	for {
		fd, _, err := unix.Accept4(s.l, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		for fd >= len(s.conns) {
			s.conns = append(s.conns, conn{})
		}
		s.conns[fd] = conn{state: 1}
		if unix.EpollCtl(s.ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(fd)}) != nil {
			s.drop(int32(fd))
		}
	}
}

func (s *server) drop(fd int32) {
	c := &s.conns[fd]
	if c.state == 0 {
		return
	}
	unix.Close(int(fd))
	if c.state == 2 {
		last := s.open[len(s.open)-1]
		s.open[c.at], s.conns[last].at = last, c.at
		s.open = s.open[:len(s.open)-1]
		list := s.users[int(c.user)]
		for i, x := range list {
			if x == fd {
				s.users[int(c.user)] = append(list[:i], list[i+1:]...)
				break
			}
		}
	}
	*c = conn{}
}

func (s *server) read(fd int32) {
	c := &s.conns[fd]
	if c.state == 0 {
		return
	}
	n, err := unix.Read(int(fd), s.buf)
	if n <= 0 {
		if !errors.Is(err, unix.EAGAIN) {
			s.drop(fd)
		}
		return
	}
	b := s.buf[:n]
	if len(c.in) > 0 {
		c.in = append(c.in, b...)
		b = c.in
	}
	rest, ok := s.input(fd, b)
	if !ok {
		s.drop(fd)
		return
	}
	if c.in = append(c.in[:0], rest...); len(c.in) == 0 {
		c.in = nil
	}
}

// input does what came and returns what is incomplete. False: the connection is to be closed.
func (s *server) input(fd int32, b []byte) ([]byte, bool) {
	c := &s.conns[fd]
	if c.state == 1 {
		end := bytes.Index(b, []byte("\r\n\r\n"))
		if end < 0 {
			return b, len(b) < 16<<10
		}
		if !s.upgrade(fd, b[:end+2]) {
			return nil, false
		}
		b = b[end+4:]
	}
	for len(b) >= 6 {
		n, head := int(b[1]&0x7f), 2
		switch n {
		case 126:
			n, head = int(binary.BigEndian.Uint16(b[2:])), 4
		case 127:
			return nil, false // longer than anything that is measured
		}
		if len(b) < head+4+n {
			return b, true
		}
		op, mask, payload := b[0]&0xf, b[head:head+4], b[head+4:head+4+n]
		for i := range payload {
			payload[i] ^= mask[i&3]
		}
		switch op {
		case 1, 2:
			s.pass(fd, payload)
		case 8:
			return nil, false
		}
		b = b[head+4+n:]
	}
	return b, true
}

func (s *server) upgrade(fd int32, head []byte) bool {
	path, _, _ := bytes.Cut(bytes.TrimPrefix(head, []byte("GET /ws/")), []byte(" "))
	user, err := strconv.Atoi(string(path))
	_, key, ok := bytes.Cut(head, []byte("Sec-WebSocket-Key: "))
	if err != nil || !ok {
		return false
	}
	key, _, _ = bytes.Cut(key, []byte("\r\n"))
	sum := sha1.Sum(append(key[:len(key):len(key)], "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"...))
	s.out = append(s.out[:0], "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	s.out = append(base64.StdEncoding.AppendEncode(s.out, sum[:]), "\r\n\r\n"...)
	s.send(fd, s.out)
	s.conns[fd] = conn{state: 2, user: int32(user), at: int32(len(s.open))}
	s.open = append(s.open, fd)
	s.users[user] = append(s.users[user], fd)
	return true
}

// pass writes a message to those whom it is for.
func (s *server) pass(from int32, payload []byte) {
	b := append(s.out[:0], 0x81)
	if n := len(payload); n < 126 {
		b = append(b, byte(n))
	} else {
		b = append(b, 126, byte(n>>8), byte(n))
	}
	b = append(b, payload...)
	s.out = b
	conversation, _, ok := bytes.Cut(payload, []byte{' '})
	switch {
	case !ok:
		s.send(from, b)
	case string(conversation) == everybody:
		for _, fd := range s.open {
			s.send(fd, b)
		}
	default:
		user := 0
		for i, d := range conversation {
			if d != ',' {
				user = user*10 + int(d-'0')
			}
			if d == ',' || i == len(conversation)-1 {
				for _, fd := range s.users[user] {
					s.send(fd, b)
				}
				user = 0
			}
		}
	}
}

// send gives the kernel what it takes. Who does not read loses frames: nothing is kept for anybody.
func (s *server) send(fd int32, b []byte) {
	_ = unix.Sendto(int(fd), b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
}
