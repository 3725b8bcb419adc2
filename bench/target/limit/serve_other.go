//go:build !linux

package limit

import (
	"context"
	"errors"
	"net"
)

// Serve is only there on Linux.
func Serve(_ context.Context, l *net.TCPListener) error {
	l.Close()
	return errors.New("limit: the bare loop is epoll's, and Linux's alone")
}
