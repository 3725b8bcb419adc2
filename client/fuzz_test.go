package client

import (
	"bytes"
	"context"
	"sync"
	"testing"
)

// FuzzServerFrames feeds frames, one per line, to a client that follows c from 10, and checks what must hold
// whatever a server sends: no panic, events of a conversation in unbroken order, bounded buffers.
func FuzzServerFrames(f *testing.F) {
	for _, s := range []string{
		`{"type":"message","conversation_id":"c","seq":11,"id":"x","sender_id":7,"client_id":"k","ref":"c1"}`,
		`{"type":"message","conversation_id":"c","seq":13}` + "\n" + `{"type":"message","conversation_id":"c","seq":12}`,
		`{"type":"resumed","conversation_id":"c","head_seq":18446744073709551615,"ref":"c1"}`,
		`{"type":"gap","conversation_id":"c","head_seq":3}`,
		`{"type":"error","code":"rate_limited","retry_after_ms":-5,"ref":"c2"}`,
		`{"type":"error","code":"not_found","ref":"c1"}` + "\n" + `{"type":"message","conversation_id":"c","seq":18446744073709551615}`,
		`{"type":"status"}` + "\n" + `{"type":"goaway","retry_after_ms":9223372036854775807}`,
		`{"type":"typing","conversation_id":7,"is_typing":"yes"}`,
		`{"type":"group_created","group":{"id":"g","name":null,"participant_count":3}}`,
		`{"type":"future","conversation_id":"c","seq":11,"user_id":1e3}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := New(Config{URL: "http://hub.test", TokenSource: StaticToken("t"), QueueLimit: 64})
		if err != nil {
			t.Fatal(err)
		}
		c.Follow("c", 10)
		if _, err := c.SendAsync("c", "x", WithClientID("k")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(ErrClosed) // history reads end at once
		var wg sync.WaitGroup
		s := &session{c: c, ctx: ctx, cancel: cancel, wg: &wg}
		c.mu.Lock()
		c.begin()
		c.greet()
		c.mu.Unlock()
		collect := func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if _, _, err := c.collect(c.cfg.Clock.Now()); err != nil {
				t.Fatal(err)
			}
		}
		collect()
		for len(in) > 0 {
			line := in
			if i := bytes.IndexByte(in, '\n'); i >= 0 {
				line, in = in[:i], in[i+1:]
			} else {
				in = nil
			}
			_ = c.receive(s, line)
			collect()
		}
		wg.Wait()

		c.mu.Lock()
		defer c.mu.Unlock()
		last := map[string]uint64{"c": 10}
		for _, q := range c.queue {
			l, log := logOf(q.ev)
			switch {
			case q.forget:
				delete(last, q.conv)
			case !log:
				if q.seq > 0 {
					last[q.conv] = q.seq
				}
			default:
				if at, known := last[q.conv]; known && l.Seq != at+1 {
					t.Fatalf("seq %d of %q follows %d", l.Seq, q.conv, at)
				}
				last[q.conv] = l.Seq
			}
		}
		slots, behind := 0, 0
		for _, cv := range c.convs {
			slots += slot(cv.phase)
			behind += unsynced(cv.phase)
			if len(cv.buffer) > maxBuffer || cv.inflight < 0 || cv.inflight > c.cfg.Window {
				t.Fatalf("%q holds %d events, %d sends under way", cv.id, len(cv.buffer), cv.inflight)
			}
		}
		if slots != c.slots || behind != c.unsynced || slots > maxResumes {
			t.Fatalf("%d slots, counted %d; %d behind, counted %d", slots, c.slots, behind, c.unsynced)
		}
	})
}

func logOf(e Event) (Log, bool) {
	switch e := e.(type) {
	case *MessageEvent:
		return Log{Conversation: e.Conversation, Seq: e.Seq}, true
	case *EditedEvent:
		return e.Log, true
	case *DeletedEvent:
		return e.Log, true
	case *ReactionEvent:
		return e.Log, true
	case *ChangeEvent:
		return e.Log, true
	case *UnknownEvent:
		return e.Log, e.Seq > 0
	}
	return Log{}, false
}
