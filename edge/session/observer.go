package session

import (
	"time"

	"github.com/zumodra/hub/edge/frame"
)

// Observer sees what sessions do, for metrics. Its methods are called on hot paths from many goroutines and
// must not block.
type Observer interface {
	// Opened: d from the upgrade request to the status frame.
	Opened(single bool, d time.Duration)
	// Refused: a session that was closed before it was open, or an upgrade that was refused with an HTTP
	// status (code < 1000).
	Refused(code uint16)
	// Closed: the connection of an open session is gone.
	Closed(code uint16)
	// FrameIn: a frame of a client; type 0 if it could not be decoded.
	FrameIn(t frame.Type)
	// Command: d from the frame to its outcome; code is empty for success.
	Command(t frame.Type, code frame.Code, d time.Duration)
	// Delivered: one frame was handed to the transport for that many sessions.
	Delivered(name string, sessions int)
	// AcceptedToEdge: how long the oldest command of a delivery took until its frames were handed over.
	AcceptedToEdge(d time.Duration)
	// Resumed: outcome is resumed, gap or error.
	Resumed(outcome string, events int)
}

type nobody struct{}

func (nobody) Opened(bool, time.Duration)                    {}
func (nobody) Refused(uint16)                                {}
func (nobody) Closed(uint16)                                 {}
func (nobody) FrameIn(frame.Type)                            {}
func (nobody) Command(frame.Type, frame.Code, time.Duration) {}
func (nobody) Delivered(string, int)                         {}
func (nobody) AcceptedToEdge(time.Duration)                  {}
func (nobody) Resumed(string, int)                           {}
