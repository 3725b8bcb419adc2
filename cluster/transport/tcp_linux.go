package transport

import (
	"net"

	"golang.org/x/sys/unix"
)

// tune makes the kernel give up on a peer that does not acknowledge as soon as we do. Nagle's algorithm is off by default.
func (t *Transport) tune(conn net.Conn) {
	c, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(t.cfg.PeerTimeout.Milliseconds()))
	})
}
