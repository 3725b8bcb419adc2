package client

// receive handles one frame of the server. An error ends the connection.
func (c *Client) receive(s *session, b []byte) error {
	f, err := decodeFrame(b)
	if err != nil {
		c.log.Warn("frame not understood", "error", err, "bytes", len(b))
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = c.cfg.Clock.Now()
	if f.Ref != "" {
		if in := c.refs[f.Ref]; in != nil && in.req != nil && f.Type != "error" {
			c.untrack(f.Ref)
			c.waiting--
			in.req.resolve(nil)
		}
	}
	switch f.Type {
	case "status":
		c.greet()
	case "ping", "pong", "ok", "auth":
	case "goaway":
		c.hint = f.retryAfter()
		return errGoaway
	case "error":
		c.onError(f)
	case "resumed":
		c.onResumed(s, f)
	case "gap":
		c.onGap(s, f)
	case "head":
		c.onHead(f)
	case "typing":
		name := f.TypingUser
		if name == "" {
			name = f.User
		}
		c.offer(&TypingEvent{f.Conversation, name, f.UserID, f.IsTyping})
	case "read", "delivered":
		seq, at := f.Seq, f.ReadAt
		if seq == 0 {
			seq = f.UpToSeq
		}
		if f.Type == "delivered" {
			at = f.GotAt
		}
		c.offer(&PositionEvent{f.Type, f.Conversation, f.User, f.UserID, f.MessageID, seq, at})
	case "read_count":
		c.offer(&ReadCountEvent{f.Conversation, f.MessageID, f.MessageSeq, f.ReadCount, f.ReadAt})
	case "message_hidden":
		if !c.onLog(f) {
			c.offer(&HiddenEvent{f.log(), f.MessageID})
		}
	case "conversation_settings":
		c.offer(&SettingsEvent{f.Conversation, f.IsMuted, f.MutedUntil, f.IsPinned, f.IsArchived})
	case "draft":
		c.offer(&DraftEvent{f.Conversation, Draft{f.Text, f.ReplyTo, f.UpdatedAt}})
	case "group_created":
		c.offer(&GroupCreatedEvent{f.Group.ID, f.Group.Name, f.Group.Participants})
	default:
		if !c.onLog(f) {
			c.offer(&UnknownEvent{Log: Log{Conversation: f.Conversation, At: f.Timestamp}, Type: f.Type, Raw: f.raw})
		}
	}
	return nil
}

func (c *Client) onError(f *serverFrame) {
	e := f.err()
	in := c.refs[f.Ref]
	if in == nil {
		if cause := c.byClient[f.ClientID]; f.ClientID != "" && cause != nil && cause.ref != "" {
			c.refuse(cause, e)
			return
		}
		if f.RetryAfterMS > 0 {
			c.hint = f.retryAfter()
		}
		c.offer(&ErrorEvent{e})
		return
	}
	pause := e.RetryAfter
	if pause == 0 {
		pause = retryPause
	}
	switch {
	case in.convs != nil: // of one of them, or of the request as a whole
		for _, cv := range in.convs {
			switch {
			case cv.ref != f.Ref || (f.Conversation != "" && f.Conversation != cv.id):
			case e.Temporary():
				c.wantLater(cv, pause)
			default:
				c.forget(cv, e)
			}
		}
	case in.out != nil:
		c.refuse(in.out, e)
	case in.req != nil:
		c.untrack(f.Ref)
		c.waiting--
		in.req.resolve(e)
	}
}

// queued is an event on its way to the handler.
type queued struct {
	ev     Event
	conv   string
	seq    uint64 // the position to store once the handler returned; 0: none
	forget bool
}

func (c *Client) push(q queued) {
	c.queue = append(c.queue, q)
	signal(c.qwake)
}

// offer queues an event that nobody will miss when the handler is behind.
func (c *Client) offer(ev Event) {
	if len(c.queue) < c.cfg.QueueLimit {
		c.push(queued{ev: ev})
	}
}

// dispatch calls the handler until the client ended.
func (c *Client) dispatch() {
	for {
		c.mu.Lock()
		if len(c.queue) == 0 {
			ending := c.ending
			c.mu.Unlock()
			if ending {
				return
			}
			<-c.qwake
			continue
		}
		q := c.queue[0]
		c.queue[0] = queued{}
		c.queue = c.queue[1:]
		if len(c.lagging) > 0 && len(c.queue) <= c.cfg.QueueLimit/2 {
			for _, cv := range c.lagging {
				if cv.phase == phaseLagging {
					c.want(cv)
				}
			}
			c.lagging = nil
		}
		c.mu.Unlock()

		c.cfg.Handler(q.ev)
		var err error
		switch {
		case q.forget:
			err = c.cfg.Store.DeletePosition(q.conv)
		case q.seq > 0:
			err = c.cfg.Store.SetPosition(q.conv, q.seq)
		}
		if err != nil {
			c.log.Error("cannot store a position", "conversation", q.conv, "error", err)
		}
	}
}
