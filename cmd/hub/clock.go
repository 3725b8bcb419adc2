//go:build !chaos

package main

import "time"

// wallClock is the node's: nil, the system's. Builds for fault tests have another (tag chaos).
var wallClock func() time.Time
