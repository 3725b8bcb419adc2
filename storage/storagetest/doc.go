// Package storagetest holds what every storage engine must pass (Run, and RunStore for the domain's repositories on
// top of it) and an in-memory engine, the model that others are compared with and a fast fake for the tests of other
// packages. It is for tests only. The in-memory engine starts no goroutine; the suites stop those they start.
package storagetest
