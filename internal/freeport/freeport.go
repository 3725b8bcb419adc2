package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
)

const lowest = 10_000 // below it are services that have a port of their own

var (
	mu    sync.Mutex
	given = map[int]bool{}
)

// Address returns an address of the loopback interface that nobody listens on, and that no other call in this process returns.
// Safe for any goroutine.
func Address() (string, error) {
	for range 1000 {
		port := 0 // the kernel's choice, should it leave too few
		if first := firstGivenAway(); first > lowest+1000 {
			port = lowest + rand.IntN(first-lowest)
		}
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		port = l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
		mu.Lock()
		again := given[port]
		given[port] = true
		mu.Unlock()
		if !again {
			return fmt.Sprintf("127.0.0.1:%d", port), nil
		}
	}
	return "", fmt.Errorf("freeport: no port from %d on is free", lowest)
}

// firstGivenAway is where the range begins from which the kernel chooses; 0 if it does not say.
func firstGivenAway() (port int) {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0
	}
	_, _ = fmt.Sscan(string(b), &port)
	return port
}
