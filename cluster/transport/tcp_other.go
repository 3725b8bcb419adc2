//go:build !linux

package transport

import "net"

// tune has nothing to tell other kernels: deadlines and pings do the work.
func (t *Transport) tune(net.Conn) {}
