package hub

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/zumodra/hub/bench/target"
	"github.com/zumodra/hub/bench/target/jsonwalk"
)

var errFrame = errors.New("hub: the frame is not a JSON object")

// resumeRef marks the answers to a resume that failed: Event.Key of Refused.
const resumeRef = "resume"

// Binary is false: frames are text.
func (t *Target) Binary() bool { return false }

// Open has nothing to say: the token is in the request.
func (t *Target) Open(dst []byte, _ int) []byte { return dst }

// Send appends a send_message.
func (t *Target) Send(dst []byte, m target.Message) []byte {
	dst = command(dst, "send_message", m.Conversation)
	dst = append(dst, `,"client_id":"`...)
	dst = append(dst, m.Key...)
	dst = append(dst, `","ref":"`...)
	dst = append(dst, m.Key...)
	dst = append(dst, `","content":"`...)
	dst = target.AppendContent(dst, m.Key, m.Size)
	return append(dst, `"}`...)
}

// command begins a frame about a conversation.
func command(dst []byte, kind, conversation string) []byte {
	dst = append(dst, `{"type":"`...)
	dst = append(dst, kind...)
	dst = append(dst, `","conversation_id":"`...)
	dst = append(dst, conversation...)
	return append(dst, '"')
}

// Typing appends a typing.
func (t *Target) Typing(dst []byte, conversation string) []byte {
	return append(command(dst, "typing", conversation), `,"is_typing":true}`...)
}

// Read appends a read.
func (t *Target) Read(dst []byte, conversation string, seq uint64) []byte {
	dst = append(command(dst, "read", conversation), `,"up_to_seq":`...)
	return append(strconv.AppendUint(dst, seq, 10), '}')
}

// React appends a react.
func (t *Target) React(dst []byte, conversation, id, emoji string) []byte {
	return fmt.Appendf(command(dst, "react", conversation), `,"message_id":"%s","emoji":"%s"}`, id, emoji)
}

// Edit appends an edit.
func (t *Target) Edit(dst []byte, conversation, id, content string) []byte {
	return fmt.Appendf(command(dst, "edit", conversation), `,"message_id":"%s","content":"%s"}`, id, content)
}

// Resume appends a resume of conversations.
func (t *Target) Resume(dst []byte, positions []target.Position) []byte {
	dst = append(dst, `{"type":"resume","ref":"`+resumeRef+`","conversations":[`...)
	for i, p := range positions {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"conversation_id":"`...)
		dst = append(dst, p.Conversation...)
		dst = append(dst, `","last_seq":`...)
		dst = append(strconv.AppendUint(dst, p.Seq, 10), '}')
	}
	return append(dst, `]}`...)
}

// Ping appends a ping.
func (t *Target) Ping(dst []byte) []byte { return append(dst, `{"type":"ping"}`...) }

// kinds of the frames that matter.
var kinds = map[string]target.EventKind{
	"status": target.Ready, "message": target.Msg, "error": target.Refused, "resumed": target.Resumed, "gap": target.Gap,
	"head": target.Head, "read": target.Receipt, "pong": target.Pong,
	"message_edited": target.Logged, "message_deleted": target.Logged, "reaction": target.Logged, "message_pinned": target.Logged,
	"message_hidden": target.Logged, "participants_changed": target.Logged, "conversation_updated": target.Logged, "link_preview": target.Logged,
}

// Parse reads a frame. It allocates nothing.
func (t *Target) Parse(b []byte, emit func(*target.Event)) error {
	var e target.Event
	var content, ref []byte
	var headSeq uint64
	if jsonwalk.Fields(b, func(key, value []byte, kind jsonwalk.Kind) {
		if kind == jsonwalk.Nested {
			return
		}
		switch string(key) {
		case "type":
			e.Kind = kinds[string(value)]
		case "conversation_id":
			e.Conversation = value
		case "id":
			e.ID = value
		case "seq":
			e.Seq = jsonwalk.Uint(value)
		case "head_seq":
			headSeq = jsonwalk.Uint(value)
		case "content":
			content = value
		case "user_id":
			e.User = value
		case "code":
			e.Code = value
		case "ref":
			ref = value
		}
	}) != nil {
		return errFrame
	}
	switch e.Kind {
	case target.Msg:
		e.Key = jsonwalk.Word(content)
	case target.Refused:
		e.Key = ref
	case target.Resumed, target.Gap, target.Head:
		e.Seq = headSeq
	case target.Logged:
		e.ID, e.Key = nil, nil
		if e.Seq == 0 {
			e.Kind = target.Other
		}
	}
	emit(&e)
	return nil
}
