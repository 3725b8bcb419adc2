package node

import "time"

// requestRetry is the rule for the flag, whose zero means "at once" and not "the default".
func requestRetry(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}
