//go:build !linux

package node

import "time"

// uptime may stand still while the machine sleeps.
func uptime() time.Duration { return sinceStart() }
