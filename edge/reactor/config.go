package reactor

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"time"
)

// setDefaults fills zero values and validates.
func (c *Config) setDefaults() error {
	if c.Handler == nil {
		return errors.New("reactor: config without a handler")
	}
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		return fmt.Errorf("reactor: listen address: %w", err)
	}
	c.Reactors = cmp.Or(c.Reactors, runtime.GOMAXPROCS(0))
	if c.Reactors < 0 || c.Reactors >= maxReactors {
		return fmt.Errorf("reactor: %d reactors; 1 to %d are possible", c.Reactors, maxReactors-1)
	}
	if c.HTTP == nil {
		c.HTTP = http.NotFoundHandler()
	}
	c.MaxHandshakeBytes = cmp.Or(c.MaxHandshakeBytes, 8192)
	c.HandshakeTimeout = cmp.Or(c.HandshakeTimeout, 5*time.Second)
	c.MaxMessage = cmp.Or(c.MaxMessage, 65536)
	c.LargeMessage = cmp.Or(c.LargeMessage, c.MaxMessage)
	c.LargeTotal = cmp.Or(c.LargeTotal, 256<<20)
	c.MaxFragments = cmp.Or(c.MaxFragments, 64)
	c.PingInterval = cmp.Or(c.PingInterval, 20*time.Second)
	c.PongTimeout = cmp.Or(c.PongTimeout, 30*time.Second)
	c.CloseTimeout = cmp.Or(c.CloseTimeout, 5*time.Second)
	c.QueueBytes = cmp.Or(c.QueueBytes, 256<<10)
	c.QueueFrames = cmp.Or(c.QueueFrames, 1024)
	c.QueueAge = cmp.Or(c.QueueAge, 10*time.Second)
	c.QueueTotal = cmp.Or(c.QueueTotal, 256<<20)
	c.InboxBytes = cmp.Or(c.InboxBytes, 64<<20)
	c.CompressThreshold = cmp.Or(c.CompressThreshold, 512)
	if c.MaxConnections == 0 {
		c.MaxConnections = defaultMaxConnections()
	}
	for name, v := range map[string]int64{
		"MaxHandshakeBytes": int64(c.MaxHandshakeBytes), "HandshakeTimeout": int64(c.HandshakeTimeout),
		"MaxMessage": int64(c.MaxMessage), "MaxFragments": int64(c.MaxFragments), "LargeMessage": int64(c.LargeMessage), "LargeTotal": c.LargeTotal, "PongTimeout": int64(c.PongTimeout),
		"CloseTimeout": int64(c.CloseTimeout), "QueueBytes": int64(c.QueueBytes), "QueueFrames": int64(c.QueueFrames),
		"QueueAge": int64(c.QueueAge), "QueueTotal": c.QueueTotal, "InboxBytes": int64(c.InboxBytes),
		"MaxConnections": int64(c.MaxConnections), "CompressThreshold": int64(c.CompressThreshold),
	} {
		if v < 0 {
			return fmt.Errorf("reactor: %s is negative", name)
		}
	}
	if c.AcceptRate < 0 || c.BatchDelay < 0 || c.BatchDelay > 10*time.Millisecond {
		return errors.New("reactor: AcceptRate must not be negative, BatchDelay be within 0 and 10 ms")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// maxRatio is how much longer than on the wire a large message may become: a file in base64, not a bomb.
const maxRatio = 20

// inflated is how long a message of n compressed bytes may become.
func (c *Config) inflated(n int) int { return min(c.MaxMessage, max(c.LargeMessage, maxRatio*n)) }

// limits of a connection's inbound messages.
func (c *Config) limits(deflate bool) limits {
	return limits{message: c.MaxMessage, fragments: c.MaxFragments, deflate: deflate, large: c.LargeMessage}
}

// tick is the resolution of timers: a tenth of the shortest interval, between 5 ms and 1 s.
func (c *Config) tick() time.Duration {
	d := min(c.HandshakeTimeout, c.PongTimeout, c.CloseTimeout, c.QueueAge)
	if c.PingInterval > 0 {
		d = min(d, c.PingInterval)
	}
	return min(max(d/10, 5*time.Millisecond), time.Second)
}
