package actors_test

import (
	"strings"
	"testing"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/chat"
)

// Whoever asks for a log again and again has no more of it in memory than a connection takes: what is beyond is a gap, and the
// rest of it is not read.
func TestReq047_ResumesAreBoundedInBytes(t *testing.T) {
	r := newRig(t, actors.Config{})
	c := r.group("1", "2")
	head := uint64(1)
	send := func(n int, text string) {
		for range n {
			head = r.do("1", chat.Send{Conversation: c, Content: text}).Event.Seq
		}
	}
	send(900, "short")
	res := r.do("2", chat.Resume{Conversation: c, LastSeq: 1})
	if res.Gap || len(res.Events) != 900 {
		t.Fatalf("gap %v, %d events, want 900", res.Gap, len(res.Events))
	}
	for i := range res.Events {
		if res.Events[i].Seq != uint64(i)+2 {
			t.Fatalf("event %d at %d", res.Events[i].Seq, i)
		}
	}
	send(300, strings.Repeat("x", 10_000))
	for last, gap := range map[uint64]bool{head - 300: true, head - 900: true, head - 10: false, head: false} {
		res := r.do("2", chat.Resume{Conversation: c, LastSeq: last})
		if res.Gap != gap || res.View == nil || res.View.Head.Seq != head || !gap && uint64(len(res.Events)) != head-last {
			t.Errorf("after %d of %d: gap %v, %d events", last, head, res.Gap, len(res.Events))
		}
	}
}
