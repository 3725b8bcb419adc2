package control

import (
	"context"
	"errors"
	"fmt"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/bench/measure"
	"github.com/zumodra/hub/bench/worker"
)

// Protocol is the version of what controller and workers say to one another.
const Protocol = 2

// A connection carries messages in JSON; what a kind has filled is said there.
const (
	kindHello     = "hello"     // worker: Hello
	kindTime      = "time"      // controller: a question; worker: At, its clock
	kindPlan      = "plan"      // controller: Plan, Linear, Offset
	kindConnect   = "connect"   // controller
	kindProgress  = "progress"  // worker: Progress
	kindConnected = "connected" // worker: all are ready
	kindStart     = "start"     // controller: At, by its clock
	kindInterval  = "interval"  // worker: Interval, Violations
	kindSettle    = "settle"    // controller: the load is over
	kindSettled   = "settled"   // worker: Unsettled, what is under way and is waited for no more
	kindFinish    = "finish"    // controller: all have settled
	kindDone      = "done"      // worker: Report; its record was delivered before
	kindFailed    = "failed"    // worker: Error; it ends
)

type message struct {
	Kind       string           `json:"kind"`
	Hello      *hello           `json:"hello,omitempty"`
	At         int64            `json:"at,omitempty"`     // Unix nanoseconds
	Offset     int64            `json:"offset,omitempty"` // of the worker's clock, nanoseconds
	Plan       *worker.Plan     `json:"plan,omitempty"`
	Linear     check.Linear     `json:"linear,omitzero"`
	Progress   *worker.Progress `json:"progress,omitempty"`
	Interval   *measure.Part    `json:"interval,omitempty"`
	Violations int64            `json:"violations,omitempty"`
	Unsettled  worker.Unsettled `json:"unsettled,omitzero"`
	Report     *worker.Report   `json:"report,omitempty"`
	Error      string           `json:"error,omitempty"`
}

type hello struct {
	Protocol int    `json:"protocol"`
	Name     string `json:"name"`
	Host     string `json:"host"`
	PID      int    `json:"pid"`
}

// maxMessage bounds one message: a plan with the ids of all conversations is the longest.
const maxMessage = 256 << 20

func send(ctx context.Context, c *websocket.Conn, m *message) error {
	if err := wsjson.Write(ctx, c, m); err != nil {
		return fmt.Errorf("send %s: %w", m.Kind, err)
	}
	return nil
}

func receive(ctx context.Context, c *websocket.Conn) (*message, error) {
	m := new(message)
	if err := wsjson.Read(ctx, c, m); err != nil {
		var e websocket.CloseError
		if errors.As(err, &e) {
			return nil, fmt.Errorf("the other side closed: %s", e.Reason)
		}
		return nil, fmt.Errorf("receive: %w", err)
	}
	return m, nil
}
