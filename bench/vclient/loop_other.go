//go:build !linux

package vclient

import (
	"context"
	"errors"
	"time"

	"github.com/zumodra/hub/bench/target"
)

// Loop is only there on Linux.
type Loop struct{}

// New fails: connections are held by epoll.
func New(Config) (*Loop, error) {
	return nil, errors.New("vclient: load can be generated on Linux alone")
}

func (*Loop) Run(context.Context) error         { return nil }
func (*Loop) Step(time.Duration) error          { return nil }
func (*Loop) Do(func())                         {}
func (*Loop) At(time.Time, func())              {}
func (*Loop) Open(int32, target.Endpoint) error { return ErrNoConn }
func (*Loop) Write(int32, []byte, bool) error   { return ErrNoConn }
func (*Loop) WriteFrames(int32, []byte) error   { return ErrNoConn }
func (*Loop) Drop(int32)                        {}
func (*Loop) Close(int32)                       {}
func (*Loop) SlowDown(int32, int)               {}
