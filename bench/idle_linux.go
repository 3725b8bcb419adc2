package main

import (
	"fmt"
	"time"
)

// measureIdle reads how much the resident memory of each server grows by a connection that says nothing. Each round
// has a server of its own: memory that one round has left behind would flatter the next.
func measureIdle(o options) (*report, error) {
	b, err := newBench(o)
	if err != nil {
		return nil, err
	}
	defer b.end()
	if o.conns == 0 {
		o.conns = 15_000
	}
	r := &report{Title: fmt.Sprintf("memory of an idle connection, %d of them (TLS: %d)", o.conns, tlsConns(o)), Unit: "bytes of RSS per connection"}
	type job struct {
		label, base string
		target      float64
		run         func() (float64, error)
	}
	jobs := []job{
		{"hub", "", 1024, func() (float64, error) { return b.idleHub(o.conns, false) }},
		{"reactor", "", 0, func() (float64, error) { return b.idlePeer("reactor", o.conns) }},
		{"gws", "", 0, func() (float64, error) { return b.idlePeer("gws", o.conns) }},
		{"gobwas", "", 0, func() (float64, error) { return b.idlePeer("gobwas", o.conns) }},
		{"gobwas+tls", "", 0, func() (float64, error) { return b.idlePeer("gobwas+tls", tlsConns(o)) }},
		{"reactor+tls", "gobwas+tls", 0.5, func() (float64, error) { return b.idlePeer("reactor+tls", tlsConns(o)) }},
		{"hub+tls", "gobwas+tls", 0.5, func() (float64, error) { return b.idleHub(tlsConns(o), true) }},
	}
	for range o.runs {
		for _, j := range jobs {
			if !b.wants(j.label) {
				continue
			}
			v, err := j.run()
			b.endServers()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", j.label, err)
			}
			x := r.row(j.label, j.base)
			x.Target = j.target
			x.add(v)
		}
	}
	r.note("growth of VmRSS of the whole process from 100 connections on, after GC, GC, FreeOSMemory on both sides; every connection has exchanged its first frames")
	r.note("hub: authenticated with a token of its own user; edge, session and directory together")
	r.note("gobwas+tls: goroutine per connection over crypto/tls")
	return r, nil
}

func tlsConns(o options) int { return min(3_000, o.conns) }

// endServers ends what a round has started and keeps the directory.
func (b *bench) endServers() {
	keep := b.keep
	b.keep = true
	b.end()
	b.keep = keep
}

// warm is how many connections come before the first reading: code pages and pools are not the price of a connection.
const warm = 100

func (b *bench) idlePeer(role string, n int) (float64, error) {
	p, err := startChild(role, serverCPU, "1h")
	if err != nil {
		return 0, err
	}
	b.atEnd(p.close)
	a, err := p.call(command{Op: "addr"})
	if err != nil {
		return 0, err
	}
	client := "client"
	if role == "gobwas+tls" || role == "reactor+tls" {
		client = "tls-client"
	}
	c, err := startChild(client, clientCPU)
	if err != nil {
		return 0, err
	}
	b.atEnd(c.close)
	connect := func(n int) error {
		r, err := c.call(command{Op: "connect", Addr: a.Addr, Path: "/", N: n})
		if err == nil && r.Failed > 0 {
			err = fmt.Errorf("%d of %d connections failed", r.Failed, n)
		}
		return err
	}
	collect := func() error {
		_, err := p.call(command{Op: "gc"})
		return err
	}
	return growth(p.process, n, connect, collect)
}

func (b *bench) idleHub(n int, secure bool) (float64, error) {
	var flags []string
	client := "client"
	if secure {
		cert, key, err := b.certificateFiles()
		if err != nil {
			return 0, err
		}
		flags = []string{"--tls-cert", cert, "--tls-key", key}
		client = "tls-client"
	}
	h, err := b.startHub(serverCPU, flags...)
	if err != nil {
		return 0, err
	}
	c, err := startChild(client, clientCPU)
	if err != nil {
		return 0, err
	}
	b.atEnd(c.close)
	from := 0
	connect := func(n int) error {
		defer func() { from += n }()
		return h.connect(c, "/ws/", from, n)
	}
	return growth(h.process, n, connect, h.collect)
}

// growth of a process's resident memory per connection.
func growth(p *process, n int, connect func(int) error, collect func() error) (float64, error) {
	var before int64
	for i, count := range []int{warm, n} {
		if err := connect(count); err != nil {
			return 0, err
		}
		time.Sleep(300 * time.Millisecond)
		if err := collect(); err != nil {
			return 0, err
		}
		time.Sleep(200 * time.Millisecond)
		if err := collect(); err != nil {
			return 0, err
		}
		rss, _, err := p.memory()
		if err != nil {
			return 0, err
		}
		if i == 1 {
			return float64(rss-before) / float64(n), nil
		}
		before = rss
	}
	return 0, nil
}
