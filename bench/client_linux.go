package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	loaded "github.com/zumodra/hub/bench/target"
	"github.com/zumodra/hub/bench/vclient"
)

// client holds many WebSocket connections on one thread, which does nothing else: the loop of the load harness, a step of which is taken
// whenever a command waits for something.
type client struct {
	loop  *vclient.Loop
	cmds  chan command
	ended atomic.Bool
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
	// To explain a failure: the last message that was not counted, and why the last connection closed.
	other string
	why   error
	// timed is set during a closed loop: what to do with a counted message that a read at now brought; flushed takes
	// what failed of the writes.
	timed   func(i int, payload []byte, now time.Time)
	flushed func(error)
}

type clientConn struct {
	state uint8
	out   []byte // what a closed loop is about to send
}

const (
	stNone uint8 = iota
	stOpening
	stUpgraded // waits for its first message
	stReady
	stClosed
)

// maxPending is what a connection may be behind with what it is to send. A flood waits in the client, as it would in the kernel.
const maxPending = 64 << 20

func runClient() error {
	c := &client{cmds: make(chan command, 1)}
	var err error
	if c.loop, err = vclient.New(vclient.Config{Handler: c, Pending: maxPending, Split: vclient.Cut}); err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() {
		failed <- c.readCommands()
		c.ended.Store(true)
		c.wake()
	}()
	out := json.NewEncoder(os.Stdout)
	for !c.ended.Load() {
		if err := c.loop.Step(-1); err != nil {
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
		c.wake()
	}
}

func (c *client) wake() { c.loop.Do(func() {}) }

// until serves the connections until cond holds or the time is up.
func (c *client) until(timeout time.Duration, cond func() bool) bool {
	end := time.Now().Add(timeout)
	for !cond() {
		left := time.Until(end)
		if left <= 0 || c.ended.Load() {
			return false
		}
		if err := c.loop.Step(min(left, time.Second)); err != nil {
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
		r := reply{N: c.counted, Seconds: time.Since(start).Seconds(), Bytes: int64(serverFrame(c.length))}
		if !ok {
			return r, fmt.Errorf("%d of %d messages after %v, %s", c.counted, cmd.N, timeout, c.state())
		}
		return r, nil
	case "send": // the frames of one burst leave in one system call, from one connection
		var b []byte
		for _, text := range strings.Split(cmd.Text, "\n") {
			b = vclient.AppendText(b, mask, []byte(text))
		}
		if cmd.N < 0 || cmd.N >= len(c.conns) {
			return reply{}, fmt.Errorf("no connection %d", cmd.N)
		}
		return reply{}, c.loop.WriteFrames(int32(cmd.N), b)
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

// mask of the frames that are encoded once: any is as good as another to what is measured.
const mask = 0x3d21fa37

// serverFrame is the length of a server's frame with a payload of n bytes.
func serverFrame(n int) int {
	switch {
	case n < 126:
		return n + 2
	case n < 1<<16:
		return n + 4
	default:
		return n + 10
	}
}

// state is what may explain that something did not come.
func (c *client) state() string {
	n := 0
	for i := range c.conns {
		if c.conns[i].state == stClosed {
			n++
		}
	}
	return fmt.Sprintf("%d connections closed, the last one: %v; last other message: %s", n, c.why, c.other)
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
	c.conns = append(c.conns, make([]clientConn, cmd.N)...)
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
		return r, fmt.Errorf("%d of %d connections ready after %v, %s", c.ready, cmd.N, timeout, c.state())
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
	e := loaded.Endpoint{Addr: c.target, Host: c.job.Addr, Path: c.job.Path, TCP: c.job.Raw}
	if len(c.tokens) > 0 {
		e.Header = "Authorization: Bearer " + c.tokens[i%len(c.tokens)] + "\r\n"
	}
	c.conns[i] = clientConn{state: stOpening}
	return c.loop.Open(int32(i), e)
}

// Opened implements vclient.Handler.
func (c *client) Opened(id int32) {
	c.conns[id].state = stUpgraded
	if !c.job.First {
		c.isReady(id)
	}
}

func (c *client) isReady(id int32) {
	c.conns[id].state = stReady
	c.ready++
}

// Frame implements vclient.Handler.
func (c *client) Frame(id int32, payload []byte, at time.Time) {
	if c.conns[id].state == stUpgraded {
		c.isReady(id)
	}
	if len(c.match) > 0 && !bytes.Contains(payload[:min(len(payload), 256)], c.match) {
		c.other = string(payload[:min(len(payload), 200)])
		return
	}
	c.counted++
	c.length = len(payload)
	if c.timed != nil {
		c.timed(int(id), payload, at)
	}
}

// Gathered implements vclient.Gatherer.
func (c *client) Gathered(id int32) { c.flush(int(id)) }

// Closed implements vclient.Handler.
func (c *client) Closed(id int32, err error) {
	k := &c.conns[id]
	if c.failed == 0 && k.state < stReady {
		fmt.Fprintln(os.Stderr, "bench client:", err)
	}
	c.why = err
	c.gone(k)
}

// gone keeps the accounts of the connect command.
func (c *client) gone(k *clientConn) {
	if k.state == stOpening || k.state == stUpgraded {
		c.failed++
	}
	*k = clientConn{state: stClosed}
}

// drop closes a connection.
func (c *client) drop(i int) {
	c.loop.Drop(int32(i))
	c.gone(&c.conns[i])
}
