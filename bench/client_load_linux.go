package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/zumodra/hub/bench/vclient"
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
		frames[i] = vclient.AppendText(nil, mask, []byte(t))
	}
	start := time.Now()
	sent := 0
	for range cmd.Rounds {
		for i := range c.conns {
			if err := c.loop.WriteFrames(int32(i), frames[i%len(frames)]); err != nil {
				return reply{N: int64(sent)}, err
			}
			if sent++; sent%64 == 0 {
				if err := c.loop.Step(0); err != nil {
					return reply{}, err
				}
			}
		}
	}
	return reply{N: int64(sent), Seconds: time.Since(start).Seconds()}, nil
}

// flap closes N connections a minute for the time given, in turn, and opens each again at once, as the last connect command
// said. The reply counts those that were opened, and those of them that failed.
func (c *client) flap(cmd command, d time.Duration) (reply, error) {
	if cmd.N <= 0 || len(c.conns) == 0 {
		return reply{}, errors.New("nothing to close and open")
	}
	start := time.Now()
	opened := 0
	c.ready, c.failed = 0, 0
	for time.Since(start) < d {
		for due := int(time.Since(start).Minutes() * float64(cmd.N)); opened < due; opened++ {
			i := opened % len(c.conns)
			c.drop(i)
			if err := c.open(i); err != nil {
				return reply{}, err
			}
		}
		if err := c.loop.Step(10 * time.Millisecond); err != nil {
			return reply{}, err
		}
	}
	r := reply{N: int64(opened), Seconds: time.Since(start).Seconds()}
	if !c.until(10*time.Second, func() bool { return c.ready+c.failed >= opened }) {
		return r, fmt.Errorf("%d of %d connections are not ready", opened-c.ready, opened)
	}
	r.Failed = int64(c.failed)
	return r, nil
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
			if err := c.loop.Write(int32(i*every), counterText(texts[i], sent), false); err != nil {
				return reply{}, err
			}
		}
		if err := c.loop.Step(time.Millisecond); err != nil {
			return reply{}, err
		}
	}
}
