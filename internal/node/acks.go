//go:build !ackfirst

package node

// promised is the engine that conversations are logged in: the engine itself. Builds that prove the checkers of the load
// harness have another (tag ackfirst).
func promised(t *timedEngine) *timedEngine { return t }
