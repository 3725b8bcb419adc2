//go:build chaos

package main

import (
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// clockEnv names a file with a duration, such as 60s or -60s, by which the wall clock of this build is wrong. It is read
// again all the time: a new content is a jump.
const clockEnv = "HUB_CHAOS_CLOCK"

const rereadClock = 20 * time.Millisecond

// wallClock has no monotonic part: whoever measures a duration by it measures the jump, too. That is worse than a real jump.
var wallClock = func() func() time.Time {
	file := os.Getenv(clockEnv)
	if file == "" {
		return nil
	}
	started := time.Now()
	var offset, readAt atomic.Int64 // readAt: since started
	readAt.Store(-int64(rereadClock))
	return func() time.Time {
		if last, now := readAt.Load(), int64(time.Since(started)); now-last >= int64(rereadClock) && readAt.CompareAndSwap(last, now) {
			if b, err := os.ReadFile(file); err == nil {
				if d, err := time.ParseDuration(strings.TrimSpace(string(b))); err == nil {
					offset.Store(int64(d))
				}
			}
		}
		return time.Now().Round(0).Add(time.Duration(offset.Load()))
	}
}()
