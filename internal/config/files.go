package config

import (
	"net"
	"strings"
	"time"
)

// MaxFile is the largest file that is ever taken (contract §5).
const MaxFile = 50 << 20

func (c *Config) checkFiles(bad func(flag, format string, args ...any)) {
	if c.FileTTL < 0 {
		bad("file-ttl", "%v is negative; 0 means for ever", c.FileTTL)
	}
	if c.FileURLTTL != 0 && (c.FileURLTTL < time.Minute || c.FileURLTTL > 7*24*time.Hour) {
		bad("file-url-ttl", "%v is not between 1m and 168h", c.FileURLTTL)
	}
	if c.SocketFileBytes < 0 || c.SocketFileBytes > MaxFile {
		bad("socket-file-bytes", "%d is not between 0 and %d", c.SocketFileBytes, int64(MaxFile))
	}
	if c.SocketFileBytes > 0 && c.SocketFileTotal != 0 && c.SocketFileTotal < c.FrameBytes() {
		bad("socket-file-total", "%d is less than one frame of --socket-file-bytes needs (%d)", c.SocketFileTotal, c.FrameBytes())
	}
	if c.UploadsPerUser < 0 || c.Uploads < 0 {
		bad("uploads", "negative; 0 means the default")
	}
	if c.Clamd != "" && !strings.HasPrefix(c.Clamd, "/") {
		if _, _, err := net.SplitHostPort(c.Clamd); err != nil {
			bad("clamd", "%q is neither HOST:PORT nor the path of a socket", c.Clamd)
		}
	}
	if c.ClamdTimeout < 0 {
		bad("clamd-timeout", "%v is negative", c.ClamdTimeout)
	}
}

// FrameBytes is how long a WebSocket message may be: what a file in base64 and the rest of its frame need, with room for
// a file that is a little too large to be answered so instead of losing its connection.
func (c *Config) FrameBytes() int64 {
	if c.SocketFileBytes == 0 {
		return int64(c.MaxMessageBytes)
	}
	return max(int64(c.MaxMessageBytes), 64<<10) + (c.SocketFileBytes+1<<20+2)/3*4
}
