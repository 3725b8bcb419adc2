//go:build !linux || reactor_portable

package reactor_test

// portable says which implementation is under test.
const portable = true
