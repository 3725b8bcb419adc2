package rest

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/frame"
)

// eventPageSize is how many events a page of a log has.
const eventPageSize = 50

// GET conversations/{id}/events/: the log, in the frames of the sockets.
func (a *API) listEvents(ctx context.Context, c *call) response {
	id, bad := conversationID(c)
	if bad != nil {
		return *bad
	}
	params := c.r.URL.Query()
	q := chat.EventQuery{Conversation: id, Limit: eventPageSize}
	for _, name := range [...]string{"after", "before"} {
		s := params.Get(name)
		if s == "" {
			continue
		}
		n, err := strconv.ParseUint(s, 10, 53)
		switch {
		case err != nil:
			return invalid(name, "A valid integer is required.")
		case name == "after":
			q.After = &n
		case n == 0:
			return invalid(name, "Ensure this value is greater than or equal to 1.")
		default:
			q.Before = n
		}
	}
	if q.After != nil && q.Before > 0 {
		return invalid("before", "Give either after or before.")
	}
	found, err := a.cfg.Hub.Events(ctx, c.p, q)
	if err != nil {
		return a.failure(err, texts{name: "list_events"})
	}
	v := eventsView{HeadSeq: found.Head, Results: make([]json.RawMessage, len(found.Items))}
	for i := range found.Items {
		it := &found.Items[i]
		if it.Event.Actor != c.p.User {
			it.Event.ClientID = "" // a client's own id means something to that client only
		}
		v.Results[i] = frame.AppendEvent(nil, id, &it.Event, it.IsRead, "")
	}
	if found.More {
		name := "before"
		if q.After != nil {
			name = "after"
		}
		v.Next = orNull(a.link(c.r, name, strconv.FormatUint(found.Items[len(found.Items)-1].Event.Seq, 10)))
	}
	return ok(v)
}

type eventsView struct {
	HeadSeq uint64            `json:"head_seq"`
	Next    *string           `json:"next"`
	Results []json.RawMessage `json:"results"`
}
