//go:build !linux

package testcluster

import (
	"context"
	"net"
	"os/exec"
	"time"
)

func startWithParent(cmd *exec.Cmd, inside func(func() error) error, ended func(error)) error {
	if err := inside(cmd.Start); err != nil {
		return err
	}
	go func() { ended(cmd.Wait()) }()
	return nil
}

// network is a matter of Linux.
type network struct{}

func newNetwork() (*network, error)                                     { return nil, ErrNoNetwork }
func (*network) add(int) (string, error)                                { return "", ErrNoNetwork }
func (*network) inside(int, func() error) error                         { return ErrNoNetwork }
func (*network) enter(int, func() error) error                          { return ErrNoNetwork }
func (*network) cut(string, string) error                               { return ErrNoNetwork }
func (*network) mend(string, string) error                              { return ErrNoNetwork }
func (*network) slow(int, time.Duration, int64) error                   { return ErrNoNetwork }
func (*network) delays() error                                          { return ErrNoNetwork }
func (*network) heal() error                                            { return ErrNoNetwork }
func (*network) close()                                                 {}
func (*network) dial(context.Context, string, string) (net.Conn, error) { return nil, ErrNoNetwork }
