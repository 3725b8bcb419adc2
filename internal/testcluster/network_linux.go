package testcluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// network is a star of namespaces: one per node, and a router in the middle, where packets are dropped and where this
// process's own connections to the nodes begin. The machine's own network is not touched.
type network struct {
	router *os.File

	mu    sync.Mutex
	nodes map[int]*os.File
	cuts  [][2]string
}

// Addresses: node i is 10.77.i+1.2, its gateway 10.77.i+1.1.
func (*network) host(i int) string { return fmt.Sprintf("10.77.%d.2", i+1) }

func newNetwork() (*network, error) {
	router, err := newNamespace()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoNetwork, err)
	}
	n := &network{router: router, nodes: map[int]*os.File{}}
	err = within(router, func() error {
		if err := ip("link set lo up"); err != nil {
			return err
		}
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
	})
	if err != nil {
		n.close()
		return nil, fmt.Errorf("%w: %w", ErrNoNetwork, err)
	}
	return n, nil
}

// newNamespace makes a network namespace that lasts as long as the file is open and somebody is in it.
func newNamespace() (*os.File, error) {
	var f *os.File
	err := apart(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		f, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return f, err
}

// apart runs f on a thread that nothing else runs on before or after.
func apart(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread, which may be anywhere by now, ends with the goroutine
		done <- f()
	}()
	return <-done
}

// within runs f in a namespace. What f opens and starts stays there.
func within(ns *os.File, f func() error) error {
	return apart(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("testcluster: enter a network namespace: %w", err)
		}
		return f()
	})
}

func ip(format string, args ...any) error { return tool("ip", format, args...) }

func tc(format string, args ...any) error { return tool("tc", format, args...) }

// tool runs a command of iproute2 in the caller's namespace.
func tool(name, format string, args ...any) error {
	cmd := exec.Command(name, strings.Fields(fmt.Sprintf(format, args...))...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("testcluster: %s: %w: %s", cmd, err, out)
	}
	return nil
}

// add connects the namespace of a new node.
func (n *network) add(i int) (string, error) {
	ns, err := newNamespace()
	if err != nil {
		return "", fmt.Errorf("testcluster: %w", err)
	}
	err = within(n.router, func() error {
		return errors.Join(ip("link add r%d type veth peer name e0 netns /proc/%d/fd/%d", i, os.Getpid(), ns.Fd()),
			ip("addr add 10.77.%d.1/24 dev r%d", i+1, i), ip("link set r%d up", i))
	})
	if err == nil {
		err = within(ns, func() error {
			return errors.Join(ip("link set lo up"), ip("addr add %s/24 dev e0", n.host(i)), ip("link set e0 up"),
				ip("route add default via 10.77.%d.1", i+1))
		})
	}
	if err != nil {
		_ = ns.Close()
		return "", err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes[i] = ns
	return n.host(i), nil
}

// inside runs f in the namespace of a node.
func (n *network) inside(i int, f func() error) error {
	n.mu.Lock()
	ns := n.nodes[i]
	n.mu.Unlock()
	return within(ns, f)
}

// enter moves the caller's thread, which it must have locked for good, to the namespace of a node.
func (n *network) enter(i int, f func() error) error {
	n.mu.Lock()
	ns := n.nodes[i]
	n.mu.Unlock()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("testcluster: enter a network namespace: %w", err)
	}
	return f()
}

// dial connects from the router. The address must be an IP: then one socket is made, on the calling thread.
func (n *network) dial(ctx context.Context, _, address string) (net.Conn, error) {
	var conn net.Conn
	err := within(n.router, func() (err error) {
		conn, err = (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp4", address)
		return err
	})
	return conn, err
}

func (n *network) cut(from, to string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := within(n.router, func() error { return ip("rule add from %s to %s blackhole", from, to) }); err != nil {
		return err
	}
	n.cuts = append(n.cuts, [2]string{from, to})
	return nil
}

func (n *network) mend(from, to string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := slices.Index(n.cuts, [2]string{from, to})
	if i < 0 {
		return nil
	}
	n.cuts = slices.Delete(n.cuts, i, i+1)
	return within(n.router, func() error { return ip("rule del from %s to %s blackhole", from, to) })
}

// delays tries out whether the kernel has netem.
func (n *network) delays() error {
	err := apart(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		return errors.Join(ip("link set lo up"), tc("qdisc add dev lo root netem delay 1ms"))
	})
	if err != nil {
		return fmt.Errorf("testcluster: links cannot be delayed: %w", err)
	}
	return nil
}

// slow shapes both ends of a node's link: each sends only what it sends.
func (n *network) slow(i int, delay time.Duration, rate int64) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	shape := func(dev string) func() error {
		return func() error {
			switch {
			case delay > 0 && rate > 0:
				return tc("qdisc replace dev %s root netem delay %dus rate %d limit 100000", dev, delay.Microseconds(), rate)
			case delay > 0:
				return tc("qdisc replace dev %s root netem delay %dus limit 100000", dev, delay.Microseconds())
			case rate > 0: // a burst of one full frame at least, or 10 ms
				return tc("qdisc replace dev %s root tbf rate %dbit burst %d latency 400ms", dev, rate, max(2*1600, rate/8/100))
			}
			_ = tc("qdisc del dev %s root", dev) // none is there: nothing to do
			return nil
		}
	}
	return errors.Join(within(n.router, shape(fmt.Sprintf("r%d", i))), within(n.nodes[i], shape("e0")))
}

func (n *network) heal() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for _, c := range n.cuts {
		errs = append(errs, within(n.router, func() error { return ip("rule del from %s to %s blackhole", c[0], c[1]) }))
	}
	n.cuts = nil
	return errors.Join(errs...)
}

func (n *network) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, ns := range n.nodes {
		_ = ns.Close()
	}
	_ = n.router.Close()
}
