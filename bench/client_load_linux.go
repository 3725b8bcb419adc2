package main

import (
	"errors"
	"fmt"
	"time"
)

// texts are the payloads of a load command: one per connection in turn, or one for all.
func (cmd command) texts() ([]string, error) {
	if cmd.Texts != "" {
		return readLines(cmd.Texts)
	}
	if cmd.Text == "" {
		return nil, errors.New("no payload")
	}
	return []string{cmd.Text}, nil
}

// flood has every connection send one message, Rounds times over, as fast as the server takes them. Going round
// keeps a server from finding two messages in one read.
func (c *client) flood(cmd command) (reply, error) {
	texts, err := cmd.texts()
	if err != nil {
		return reply{}, err
	}
	frames := make([][]byte, len(texts))
	for i, t := range texts {
		frames[i] = clientFrame(opText, []byte(t))
	}
	start := time.Now()
	sent := 0
	for range cmd.Rounds {
		for i := range c.conns {
			if err := c.write(i, frames[i%len(frames)]); err != nil {
				return reply{N: int64(sent)}, err
			}
			if sent++; sent%64 == 0 {
				if err := c.poll(0); err != nil {
					return reply{}, err
				}
			}
		}
	}
	return reply{N: int64(sent), Seconds: time.Since(start).Seconds()}, nil
}

// paced sends N messages a second for the time given, evenly spread, each payload from a connection of its
// own, in turn.
func (c *client) paced(cmd command, d time.Duration) (reply, error) {
	texts, err := cmd.texts()
	if err != nil {
		return reply{}, err
	}
	every := max(1, cmd.Every)
	if cmd.N <= 0 || len(texts)*every > len(c.conns) {
		return reply{}, fmt.Errorf("%d payloads for %d connections at %d a second", len(texts), len(c.conns), cmd.N)
	}
	start := time.Now()
	sent := 0
	for {
		at := time.Since(start)
		if at >= d {
			return reply{N: int64(sent), Seconds: at.Seconds()}, nil
		}
		for due := int(at.Seconds() * float64(cmd.N)); sent < due; sent++ {
			i := sent % len(texts)
			if err := c.write(i*every, clientFrame(opText, counterText(texts[i], sent))); err != nil {
				return reply{}, err
			}
		}
		if err := c.poll(1); err != nil {
			return reply{}, err
		}
	}
}

// closedLoop keeps one message of each of the first N connections in flight: a connection sends its next when the
// one it sent came back. The reply holds the time of each round trip.
func (c *client) closedLoop(cmd command, d time.Duration) (reply, error) {
	texts, err := cmd.texts()
	if err != nil {
		return reply{}, err
	}
	if cmd.N > len(c.conns) {
		return reply{}, fmt.Errorf("%d connections wanted, %d there", cmd.N, len(c.conns))
	}
	var r reply
	start := time.Now()
	stop := start.Add(d)
	sent, flying := 0, 0
	var failed error
	send := func(i int, now time.Time) {
		sent++
		c.conns[i].sent = now
		flying++
		if err := c.write(i, clientFrame(opText, counterText(texts[i%len(texts)], sent))); err != nil && failed == nil {
			failed = err
		}
	}
	c.timed = func(i int) {
		k := &c.conns[i]
		if k.sent.IsZero() {
			return
		}
		now := time.Now()
		if now.Before(stop) {
			r.N++
			r.Seconds = now.Sub(start).Seconds()
			r.Millis = append(r.Millis, now.Sub(k.sent).Seconds()*1e3)
		}
		k.sent = time.Time{}
		flying--
		if now.Before(stop) {
			send(i, now)
		}
	}
	defer func() { c.timed = nil }()
	for i := range cmd.N {
		send(i, time.Now())
	}
	// After the time is up, what is in flight is waited for: the next command starts from rest.
	if !c.until(d+30*time.Second, func() bool { return failed != nil || flying == 0 }) {
		return r, fmt.Errorf("%d messages were never answered, %d connections closed; last other message: %s", flying, c.closed(), c.other)
	}
	return r, failed
}
