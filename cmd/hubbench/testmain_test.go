package main

import (
	"os"
	"testing"
)

// TestMain is the command itself when the command starts it again, as a worker or as the bare loop.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "worker" || os.Args[1] == "limit") {
		main()
		return
	}
	os.Exit(m.Run())
}
