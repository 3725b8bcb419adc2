// Package crashtest kills the real binary and checks that nothing that was promised is lost. It is a test
// alone: `make test-crash` builds cmd/hub, starts it on a fresh data directory, lets clients of the SDK talk in
// direct and group conversations, kills the process with SIGKILL at random moments (also while it recovers),
// starts it again, and in the end compares every send, every acknowledgement, every delivery and the history
// read by REST (package bench/check). The clients live through all of it and repair themselves.
//
// SIGKILL leaves what the process had handed to the kernel: this proves that an acknowledged message was
// written and that recovery is right, not that it reached the platter; that is the matter of fsync, which the
// storage tests fail on purpose.
//
// HUB_CRASH_CYCLES is the number of kills (unset: the test is skipped), HUB_CRASH_SEED repeats the moments of
// an earlier run as far as scheduling allows, HUB_CRASH_RACE=1 builds the server with the race detector, HUB_CRASH_BIN
// names a binary to test instead.
package crashtest
