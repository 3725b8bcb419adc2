// Package searchtest holds what every index of messages must pass (Run), an index in memory that is the model others
// are compared with and a fast fake for the tests of other packages (NewMemory), and logs to feed them with (Log). It
// is for tests only. The index in memory starts no goroutine; the suite stops those it starts.
package searchtest
