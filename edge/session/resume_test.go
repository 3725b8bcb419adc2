package session_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/frame"
)

// resumeOf is a frame that resumes n conversations.
func resumeOf(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,{"conversation_id":"00000000-0000-7000-8000-%012d","last_seq":1}`, i+1)
	}
	return `{"type":"resume","ref":"r","conversations":[` + b.String()[1:] + `]}`
}

// answerOne answers the oldest command that waits; false if there is none.
func (h *hub) answerOne() bool {
	h.mu.Lock()
	if len(h.waiting) == 0 {
		h.mu.Unlock()
		return false
	}
	s := h.waiting[0]
	h.waiting = h.waiting[1:]
	h.mu.Unlock()
	s.done(chat.Result{View: &chat.View{Head: chat.Head{Seq: 1}}}, nil)
	return true
}

func (h *hub) underWay() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.waiting)
}

// A frame of 20 KB must not make the hub read hundreds of logs at once: a session has a few resumes under way, the rest wait
// for their turn, and all are answered. What is beyond the bound is told to come again.
func TestResumesOfASessionWaitForOneAnother(t *testing.T) {
	b := newBed(t, nil)
	c, other := b.dial("/ws/", "alice"), b.dial("/ws/", "alice")
	b.frames(c)
	b.frames(other)
	b.hub.answer = nil
	b.send(c, resumeOf(frame.MaxResumes))
	few := b.hub.underWay()
	if few == 0 || few > 16 {
		t.Fatalf("%d resumes at once", few)
	}
	b.send(c, `{"type":"resume","conversation_id":"`+conv.String()+`","last_seq":1,"ref":"late"}`)
	if n := b.hub.underWay(); n != few {
		t.Fatalf("%d resumes at once after another frame", n)
	}
	b.send(other, `{"type":"resume","conversation_id":"`+conv.String()+`","last_seq":1}`)
	if n := b.hub.underWay(); n != few+1 {
		t.Fatalf("%d resumes at once: another session waits for this one", n)
	}
	for b.hub.answerOne() {
		if n := b.hub.underWay(); n > few+1 {
			t.Fatalf("%d resumes at once", n)
		}
	}
	got := b.frames(c)
	for i, f := range got {
		if !strings.HasPrefix(f, `{"type":"resumed"`) {
			t.Fatalf("%d: %s", i, f)
		}
	}
	if len(got) != frame.MaxResumes+1 || !strings.Contains(got[frame.MaxResumes], `"ref":"late"`) || len(b.frames(other)) != 1 {
		t.Fatalf("%d answers", len(got))
	}

	// As many frames as the bound takes, and one more.
	for range 4 {
		b.send(c, resumeOf(frame.MaxResumes))
	}
	b.send(c, resumeOf(frame.MaxResumes))
	got = b.frames(c)
	if len(got) != frame.MaxResumes {
		t.Fatalf("%d answers", len(got))
	}
	for i, f := range got {
		id := fmt.Sprintf(`"conversation_id":"00000000-0000-7000-8000-%012d"`, i+1)
		if !strings.Contains(f, `"code":"rate_limited"`) || !strings.Contains(f, id) || !strings.Contains(f, `"ref":"r","retry_after_ms":1000`) {
			t.Fatalf("%d: %s", i, f)
		}
	}
	// Who goes away leaves nothing that would still be read.
	b.close(c)
	for b.hub.answerOne() {
	}
	b.hub.mu.Lock()
	n := len(b.hub.commands)
	b.hub.mu.Unlock()
	if most := 2 + frame.MaxResumes + 2 + 2*few; n > most {
		t.Fatalf("%d commands, want at most %d", n, most)
	}
	// The record's next session begins with nothing.
	next := b.dial("/ws/", "bob")
	b.frames(next)
	b.hub.answer = func(chat.Principal, chat.Command) (chat.Result, error) {
		return chat.Result{View: &chat.View{Head: chat.Head{Seq: 1}}}, nil
	}
	b.send(next, resumeOf(frame.MaxResumes)) // answered at once, one by one
	if n := len(b.frames(next)); n != frame.MaxResumes {
		t.Fatalf("%d answers", n)
	}
}
