package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Processors of the transport measurements. A machine with one processor runs everything there.
const (
	serverCPU = 0
	clientCPU = 1
	anyCPU    = -1
)

// process is a child whose CPU and memory can be read from outside.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// startPinned starts cmd with its threads confined to one processor, so that a Go program in it sees one.
func startPinned(cmd *exec.Cmd, cpu int) (*process, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if cpu != anyCPU && cpu < runtime.NumCPU() {
		var was, set unix.CPUSet
		if err := unix.SchedGetaffinity(0, &was); err != nil {
			return nil, fmt.Errorf("reading the affinity: %w", err)
		}
		set.Set(cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return nil, fmt.Errorf("pinning to processor %d: %w", cpu, err)
		}
		defer unix.SchedSetaffinity(0, &was)
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// cpu is the CPU time that all threads of the process have used, dead ones included, in seconds. It reads the
// scheduler's clock of the process (nanoseconds), the one that getrusage(2) splits into user and system time.
func (p *process) cpu() (float64, error) {
	// The clock id of another process, as clock_getcpuclockid(3) makes it.
	const scheduler = 2
	id := int32(^p.cmd.Process.Pid)<<3 | scheduler
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0, fmt.Errorf("CPU clock of process %d: %w", p.cmd.Process.Pid, err)
	}
	return float64(ts.Sec) + float64(ts.Nsec)/1e9, nil
}

// memory returns VmRSS and its anonymous part in bytes.
func (p *process) memory() (rss, anon int64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			rss = n << 10
		case "RssAnon:":
			anon = n << 10
		}
	}
	if rss == 0 {
		return 0, 0, errors.New("no VmRSS in /proc status")
	}
	return rss, anon, nil
}

// written is what the process caused to be sent to the disk, in bytes.
func (p *process) written() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return n
		}
	}
	return 0
}

// stop ends the process: politely, and after grace by force.
func (p *process) stop(grace time.Duration) {
	select {
	case <-p.done:
		return
	default:
	}
	p.cmd.Process.Signal(unix.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(grace):
		p.cmd.Process.Kill()
		<-p.done
	}
}

// child is this program in one of its hidden roles, commanded over its standard input.
type child struct {
	*process
	role string
	mu   sync.Mutex
	in   io.WriteCloser
	out  *bufio.Reader
}

// startChild starts a role ("client", or a peer server "serve-…").
func startChild(role string, cpu int, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, append([]string{childArg, role}, args...)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = w
	p, err := startPinned(cmd, cpu)
	w.Close()
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("starting %s: %w", role, err)
	}
	return &child{process: p, role: role, in: in, out: bufio.NewReaderSize(r, 1<<20)}, nil
}

// call sends a command and waits for its reply.
func (c *child) call(cmd command) (reply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := json.Marshal(cmd)
	if err != nil {
		return reply{}, err
	}
	if _, err := c.in.Write(append(b, '\n')); err != nil {
		return reply{}, fmt.Errorf("%s %s: %w", c.role, cmd.Op, err)
	}
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return reply{}, fmt.Errorf("%s %s: the child ended: %w", c.role, cmd.Op, err)
	}
	var r reply
	if err := json.Unmarshal(line, &r); err != nil {
		return reply{}, fmt.Errorf("%s %s: %w", c.role, cmd.Op, err)
	}
	if r.Err != "" {
		return r, fmt.Errorf("%s %s: %s", c.role, cmd.Op, r.Err)
	}
	return r, nil
}

// close ends the child: the end of its input tells it to.
func (c *child) close() {
	c.in.Close()
	select {
	case <-c.done:
	case <-time.After(5 * time.Second):
		c.stop(time.Second)
	}
}

// serveCommands is the other end of call.
func serveCommands(handle func(command) reply) error {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var c command
		if err := json.Unmarshal(line, &c); err != nil {
			return err
		}
		if err := out.Encode(handle(c)); err != nil {
			return err
		}
	}
}

func runChild(role string, args []string) error {
	if role == "client" {
		return runClient()
	}
	if role == "tls-client" {
		return runTLSClient()
	}
	return runPeer(role, args)
}
