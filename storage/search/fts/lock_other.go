//go:build !unix

package fts

// lockDir does nothing where there is no flock: the store beside the index keeps other processes out.
func lockDir(string) (release func() error, err error) { return func() error { return nil }, nil }

// syncDir does nothing where a directory cannot be synced.
func syncDir(string) error { return nil }
