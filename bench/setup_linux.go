package main

import (
	"errors"
	"fmt"
	"time"
)

func measurements() []measurement {
	return []measurement{
		{"targets", "the targets of the project in ten minutes, with the load harness", measureTargets},
		{"idle", "memory of an idle authenticated connection; TLS against goroutine + crypto/tls", measureIdle},
		{"fanout", "CPU of a delivery to 10,000 connections against a send(2) loop", measureFanout},
		{"inbound", "CPU of a received message against gws and gobwas", measureInbound},
		{"trickle", "CPU of 15,000 connections that get a message a second", measureTrickle},
		{"accept", "CPU of accept + upgrade, and with authentication", measureAccept},
		{"allocs", "heap allocations of a send and of a delivery, in one process", measureAllocs},
		{"search", "the embedded index: messages a second, size, and how long queries take", measureSearch},
		{"lag", "how far the search index is behind the log, and what it costs a send", measureLag},
		{"cql", "durable sends on a CQL server against inserts by the bare driver", measureCQL},
		{"sends", "durable sends against the store's own commit rate", measureSends},
		{"presence", "what a large group sees of members who come and go, and what it costs", measurePresence},
		{"receipts", "frames when all of a large group read one message at once", measureReceipts},
		{"scoped", "search of a user who is in 2,000 conversations, over REST", measureScoped},
		{"reads", "newest 50 messages and lists, with 5 M messages stored", measureReads},
	}
}

// target is a server under test together with the clients that load it.
type target struct {
	name   string
	server interface {
		cpu() (float64, error)
		memory() (int64, int64, error)
	}
	peer   *child // nil: the hub
	hub    *hub   // nil: a peer
	client *child
	addr   string
}

// startPeer starts a peer server and a client for it.
func (b *bench) startPeer(role string, args ...string) (*target, error) {
	p, err := startChild(role, serverCPU, args...)
	if err != nil {
		return nil, err
	}
	b.atEnd(p.close)
	r, err := p.call(command{Op: "addr"})
	if err != nil {
		return nil, err
	}
	t := &target{name: role, server: p, peer: p, addr: r.Addr}
	if t.client, err = b.startClient(); err != nil {
		return nil, err
	}
	return t, nil
}

func (b *bench) startClient() (*child, error) {
	c, err := startChild("client", clientCPU)
	if err != nil {
		return nil, err
	}
	b.atEnd(c.close)
	return c, nil
}

// connect opens n connections to a peer and waits until the server has them all.
func (t *target) connect(n int) error {
	r, err := t.client.call(command{Op: "connect", Addr: t.addr, Path: "/", N: n, Raw: t.name == "raw"})
	if err != nil {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	if r.Failed > 0 {
		return fmt.Errorf("%s: %d of %d connections failed", t.name, r.Failed, n)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		r, err := t.peer.call(command{Op: "conns"})
		if err != nil || int(r.N) == n {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: the server counts %d of %d connections", t.name, r.N, n)
		}
	}
}

// clocked runs f and returns the CPU seconds that the server used during it.
func (t *target) clocked(f func() error) (float64, error) {
	before, err := t.server.cpu()
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, fmt.Errorf("%s: %w", t.name, err)
	}
	after, err := t.server.cpu()
	return after - before, err
}

// settled waits until the server uses less than 1 % of a processor, so that what came before is not charged to
// what comes next.
func (t *target) settled() error {
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); {
		used, err := t.clocked(func() error { time.Sleep(100 * time.Millisecond); return nil })
		if err != nil || used < 0.001 {
			return err
		}
	}
	return errors.New(t.name + ": the server does not come to rest")
}
