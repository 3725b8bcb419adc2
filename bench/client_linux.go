package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// client holds many WebSocket connections on one thread: epoll, no goroutine and no buffer per connection.
type client struct {
	ep    int
	wake  int // eventfd: a command is waiting
	cmds  chan command
	ended atomic.Bool
	buf   []byte
	conns []clientConn

	// The connect command in progress.
	job     command
	tokens  []string
	target  netip.AddrPort
	started int
	ready   int
	failed  int

	match   []byte
	counted int64
	length  int
	other   string // the last message that was not counted, to explain a failure
	// timed is set during a closed loop: what to do with a counted message that a read at now brought; flushed takes
	// what failed of the writes.
	timed   func(i int, payload []byte, now time.Time)
	flushed func(error)
}

type clientConn struct {
	fd    int32
	state uint8
	held  []byte // an incomplete frame
	out   []byte // what a closed loop is about to send
}

const (
	stIdle uint8 = iota
	stConnecting
	stHandshake
	stUpgraded // waits for its first message
	stReady
	stClosed
)

func runClient() error {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return err
	}
	c := &client{ep: ep, wake: wake, cmds: make(chan command, 1), buf: make([]byte, 256<<10)}
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: -1}); err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() {
		failed <- c.readCommands()
		c.ended.Store(true)
		c.signal()
	}()
	out := json.NewEncoder(os.Stdout)
	for !c.ended.Load() {
		if err := c.poll(-1); err != nil {
			return err
		}
		select {
		case cmd := <-c.cmds:
			r, err := c.handle(cmd)
			if err != nil {
				r.Err = err.Error()
			}
			if err := out.Encode(r); err != nil {
				return err
			}
		default:
		}
	}
	return <-failed
}

func (c *client) readCommands() error {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var cmd command
		if err := json.Unmarshal(line, &cmd); err != nil {
			return err
		}
		c.cmds <- cmd
		c.signal()
	}
}

func (c *client) signal() { unix.Write(c.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// poll handles what has happened, waiting for it at most this long (milliseconds, -1: for ever).
func (c *client) poll(ms int) error {
	var events [512]unix.EpollEvent
	n, err := unix.EpollWait(c.ep, events[:], ms)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return err
	}
	for _, e := range events[:max(n, 0)] {
		if e.Fd < 0 {
			var b [8]byte
			unix.Read(c.wake, b[:])
			continue
		}
		c.event(int(e.Fd))
	}
	return nil
}

// until polls until cond holds or the time is up.
func (c *client) until(timeout time.Duration, cond func() bool) bool {
	end := time.Now().Add(timeout)
	for !cond() {
		left := time.Until(end)
		if left <= 0 || c.ended.Load() {
			return false
		}
		if err := c.poll(int(min(left.Milliseconds()+1, 1000))); err != nil {
			return false
		}
	}
	return true
}

func (c *client) handle(cmd command) (reply, error) {
	timeout := 60 * time.Second
	if cmd.Seconds > 0 {
		timeout = time.Duration(cmd.Seconds * float64(time.Second))
	}
	switch cmd.Op {
	case "connect":
		return c.connect(cmd, timeout)
	case "reset":
		c.counted, c.match = 0, []byte(cmd.Match)
		return reply{}, nil
	case "await":
		start := time.Now()
		ok := c.until(timeout, func() bool { return c.counted >= int64(cmd.N) })
		r := reply{N: c.counted, Seconds: time.Since(start).Seconds(), Bytes: int64(c.length)}
		if !ok {
			return r, fmt.Errorf("%d of %d messages after %v, %d connections closed; last other message: %s", c.counted, cmd.N, timeout, c.closed(), c.other)
		}
		return r, nil
	case "send": // the frames of one burst leave in one system call, from one connection
		var b []byte
		for _, text := range strings.Split(cmd.Text, "\n") {
			b = append(b, clientFrame(opText, []byte(text))...)
		}
		if cmd.N < 0 || cmd.N >= len(c.conns) {
			return reply{}, fmt.Errorf("no connection %d", cmd.N)
		}
		return reply{}, c.write(cmd.N, b)
	case "flood":
		return c.flood(cmd)
	case "paced":
		return c.paced(cmd, timeout)
	case "flap":
		return c.flap(cmd, timeout)
	case "loop":
		return c.closedLoop(cmd, timeout)
	case "close":
		for i := range c.conns {
			c.drop(i)
		}
		c.conns = c.conns[:0]
		return reply{}, nil
	}
	return reply{}, fmt.Errorf("unknown command %q", cmd.Op)
}

func (c *client) closed() (n int) {
	for i := range c.conns {
		if c.conns[i].state == stClosed {
			n++
		}
	}
	return n
}

func (c *client) connect(cmd command, timeout time.Duration) (reply, error) {
	var err error
	if c.target, err = netip.ParseAddrPort(cmd.Addr); err != nil {
		return reply{}, err
	}
	if c.tokens = nil; cmd.Tokens != "" {
		if c.tokens, err = readLines(cmd.Tokens); err != nil {
			return reply{}, err
		}
	}
	if cmd.Window == 0 {
		cmd.Window = 128
	}
	c.job, c.started, c.ready, c.failed = cmd, 0, 0, 0
	start := time.Now()
	first := len(c.conns)
	for range cmd.N {
		c.conns = append(c.conns, clientConn{fd: -1})
	}
	next := first
	ok := c.until(timeout, func() bool {
		for next < len(c.conns) && c.started-c.ready-c.failed < cmd.Window {
			if err = c.open(next); err != nil {
				return true
			}
			next++
			c.started++
		}
		return c.ready+c.failed == cmd.N
	})
	r := reply{N: int64(c.ready), Failed: int64(c.failed), Seconds: time.Since(start).Seconds()}
	switch {
	case err != nil:
		return r, err
	case !ok:
		return r, fmt.Errorf("%d of %d connections ready after %v", c.ready, cmd.N, timeout)
	}
	return r, nil
}

func readLines(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimRight(string(b), "\n"), "\n"), nil
}

func (c *client) open(i int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	// Closing resets: no port stays in TIME_WAIT for the next round.
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	src := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 1 + byte(os.Getpid()%200), 1 + byte(i%64)}}
	if err := unix.Bind(fd, src); err != nil {
		unix.Close(fd)
		return fmt.Errorf("bind: %w", err)
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(c.target.Port()), Addr: c.target.Addr().As4()})
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		unix.Close(fd)
		return fmt.Errorf("connect: %w", err)
	}
	c.conns[i] = clientConn{fd: int32(fd), state: stConnecting}
	return unix.EpollCtl(c.ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLOUT | unix.EPOLLRDHUP, Fd: int32(i)})
}

func (c *client) event(i int) {
	if i >= len(c.conns) {
		return
	}
	k := &c.conns[i]
	if k.state == stConnecting {
		if e, err := unix.GetsockoptInt(int(k.fd), unix.SOL_SOCKET, unix.SO_ERROR); err != nil || e != 0 {
			c.drop(i)
			return
		}
		unix.EpollCtl(c.ep, unix.EPOLL_CTL_MOD, int(k.fd), &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(i)})
		if c.job.Raw {
			k.state = stReady
			c.ready++
			return
		}
		k.state = stHandshake
		if err := c.write(i, c.request(i)); err != nil {
			c.drop(i)
		}
		return
	}
	if k.state == stIdle || k.state == stClosed {
		return
	}
	n, err := unix.Read(int(k.fd), c.buf)
	if n <= 0 {
		if !errors.Is(err, unix.EAGAIN) {
			c.drop(i)
		}
		return
	}
	b := c.buf[:n]
	if len(k.held) > 0 {
		k.held = append(k.held, b...)
		b = k.held
	}
	rest := c.input(i, b)
	switch {
	case k.state == stClosed:
		k.held = nil
		return
	case len(rest) == 0:
		if k.held = k.held[:0]; c.timed == nil || cap(k.held) > 4*len(c.buf) {
			k.held = nil
		}
	default:
		k.held = append(k.held[:0], rest...) // it may lie in held already: copied forward
	}
	c.flush(i)
}

func (c *client) request(i int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n",
		c.job.Path, c.job.Addr, base64.StdEncoding.EncodeToString([]byte(fmt.Sprintf("%016d", i))))
	if len(c.tokens) > 0 {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", c.tokens[i%len(c.tokens)])
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// input consumes what arrived and returns what is incomplete.
func (c *client) input(i int, b []byte) []byte {
	k := &c.conns[i]
	if k.state == stHandshake {
		end := bytes.Index(b, []byte("\r\n\r\n"))
		if end < 0 {
			return b
		}
		if !bytes.HasPrefix(b, []byte("HTTP/1.1 101 ")) {
			if c.failed == 0 {
				fmt.Fprintf(os.Stderr, "bench client: refused: %.300s\n", b)
			}
			c.drop(i)
			return nil
		}
		b = b[end+4:]
		if k.state = stUpgraded; !c.job.First {
			k.state = stReady
			c.ready++
		}
	}
	var now time.Time
	if c.timed != nil {
		now = time.Now()
	}
	for {
		op, payload, size, err := nextFrame(b)
		if err != nil {
			c.drop(i)
			return nil
		}
		if size == 0 {
			return b
		}
		switch op {
		case opPing:
			c.write(i, clientFrame(opPong, payload))
		case opClose:
			if c.failed == 0 {
				fmt.Fprintf(os.Stderr, "bench client: closed by the server: %q\n", payload)
			}
			c.drop(i)
			return nil
		case opText:
			if k.state == stUpgraded {
				k.state = stReady
				c.ready++
			}
			if len(c.match) == 0 || bytes.Contains(payload[:min(len(payload), 256)], c.match) {
				c.counted++
				c.length = size
				if c.timed != nil {
					c.timed(i, payload, now)
				}
			} else {
				c.other = string(payload[:min(len(payload), 200)])
			}
		}
		b = b[size:]
	}
}

// drop closes a connection and keeps the accounts of the connect command.
func (c *client) drop(i int) {
	k := &c.conns[i]
	if k.state == stClosed || k.fd < 0 {
		return
	}
	if k.state < stReady {
		c.failed++
	}
	unix.Close(int(k.fd))
	k.state, k.fd, k.held = stClosed, -1, nil
}

// write sends all of b, handling what arrives meanwhile when the socket is full.
func (c *client) write(i int, b []byte) error {
	for len(b) > 0 {
		k := &c.conns[i]
		if k.state == stClosed || k.fd < 0 {
			return errors.New("connection closed")
		}
		n, err := unix.Write(int(k.fd), b)
		switch {
		case err == nil:
			b = b[n:]
		case errors.Is(err, unix.EAGAIN):
			p := []unix.PollFd{{Fd: k.fd, Events: unix.POLLOUT}}
			unix.Poll(p, 100)
		case !errors.Is(err, unix.EINTR):
			return err
		}
	}
	return nil
}
