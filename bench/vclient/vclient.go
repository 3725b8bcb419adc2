package vclient

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// Handler is told what happens to connections, on the loop's goroutine.
type Handler interface {
	// Opened: the upgrade is through (or, without WebSocket, the connection stands).
	Opened(id int32)
	// Frame is a message, or with a Splitter what it cut off. The payload is valid during the call.
	Frame(id int32, payload []byte, at time.Time)
	// Closed: the connection is gone, or could not be opened; Drop and Close do not tell. The id may be opened again at once.
	Closed(id int32, err error)
}

// Gatherer is a Handler that answers all that one read brought with one write, as a gateway does.
type Gatherer interface {
	Handler
	// Gathered: Frame was called for whatever was whole.
	Gathered(id int32)
}

// Config of a Loop. Handler is required.
type Config struct {
	Handler Handler
	// Pending bounds what a connection is to send and the kernel does not take yet; beyond it the connection is closed with
	// ErrStuck. Default 1 MiB.
	Pending int
	// Message bounds an arriving message. Default 16 MiB.
	Message int
	// Split cuts the first unit off what a connection without WebSocket received; 0: it is not whole yet.
	Split func(b []byte) (unit []byte, size int, err error)
}

const maxMessage = 16 << 20

// Errors of connections.
var (
	ErrStuck    = errors.New("vclient: the target does not read what it is sent")
	ErrProtocol = errors.New("vclient: the target broke the protocol")
	ErrRefused  = errors.New("vclient: the upgrade was refused")
	ErrNoConn   = errors.New("vclient: no such connection")
)

// CloseError is the close frame that the target sent.
type CloseError struct {
	Code   int // RFC 6455 §7.4; 1005: none was given
	Reason string
}

func (e *CloseError) Error() string {
	return fmt.Sprintf("vclient: closed by the target: %d %s", e.Code, e.Reason)
}

// Source is the address from which a connection to the loopback is made: one of many, each of which has ports of its own.
func Source(id int32) [4]byte {
	return [4]byte{127, 1, 1 + byte(os.Getpid()%250), 1 + byte(id%64)}
}
