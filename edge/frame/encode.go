package frame

import (
	"encoding/hex"
	"strconv"
	"time"

	"github.com/zumodra/hub/chat"
)

// Status is the first frame of every connection, byte for byte the original's.
const Status = `{"type":"status","message":"Connected","is_online":true}`

// AppendStatus appends the status frame.
func AppendStatus(b []byte) []byte { return append(b, Status...) }

// AppendEvent appends the frame of a log event. isRead is of messages only. ref is the JSON text of the
// client's reference, empty for everybody but the session that caused the event.
func AppendEvent(b []byte, conversation chat.ConversationID, e *chat.Event, isRead bool, ref string) []byte {
	switch e.Type {
	case chat.EventMessage:
		return appendMessage(b, conversation, e, isRead, ref)
	case chat.EventHidden:
		return appendHidden(b, conversation, e.Message, e.Seq)
	}
	b = append(b, `{"type":"`...)
	b = append(b, e.Type.String()...)
	b = append(b, '"')
	switch e.Type {
	case chat.EventEdited:
		b = appendUUID(b, "message_id", e.Message)
		b = appendString(b, "content", e.Content)
		b = appendTime(b, "edited_at", e.At)
		b = appendMentions(b, e.Extras)
	case chat.EventDeleted:
		b = appendUUID(b, "message_id", e.Message)
		b = appendTime(b, "deleted_at", e.At)
	case chat.EventReaction:
		b = appendUUID(b, "message_id", e.Message)
		b = appendString(b, "emoji", e.Emoji)
		b = appendBool(b, "removed", e.Removed)
	case chat.EventPreview:
		b = appendUUID(b, "message_id", e.Message)
		b = appendPreview(b, e.More().Preview)
	case chat.EventPin:
		b = appendUUID(b, "message_id", e.Message)
		b = appendBool(b, "removed", e.Removed)
	case chat.EventParticipants:
		b = appendString(b, "change", e.Change.String())
		b = appendUsers(b, e.Users)
		if e.Change == chat.ChangeRole {
			b = appendString(b, "role", e.Role.String())
		}
	case chat.EventConversation:
		b = appendString(b, "change", e.Change.String())
		if e.Change == chat.ChangePermissions {
			p := e.Permissions.WithDefaults()
			b = appendString(b, "who_can_add", p.Add.String())
			b = appendString(b, "who_can_pin", p.Pin.String())
			b = appendString(b, "who_can_mention_all", p.MentionAll.String())
			break
		}
		b = appendString(b, "name", e.Name)
		if e.Change == chat.ChangeCreated {
			b = appendString(b, "kind", e.Kind.String())
			b = appendUsers(b, e.Users)
		}
	}
	b = appendString(b, "user", e.ActorName)
	b = appendUser(b, "user_id", e.Actor)
	b = appendTime(b, "timestamp", e.At)
	b = appendUUID(b, "conversation_id", conversation)
	b = appendUint(b, "seq", e.Seq)
	return appendEnd(b, ref)
}

func appendMessage(b []byte, conversation chat.ConversationID, e *chat.Event, isRead bool, ref string) []byte {
	b = append(b, `{"type":"message"`...)
	b = appendUUID(b, "id", e.Message)
	b = appendString(b, "sender", e.ActorName)
	b = appendString(b, "content", e.Content)
	b = appendTime(b, "timestamp", e.At)
	if e.File == nil {
		b = append(b, `,"file":""`...)
	} else {
		b = appendString(b, "file", e.File.Path())
	}
	b = appendBool(b, "is_voice", e.IsVoice)
	b = appendBool(b, "is_read", isRead)
	b = appendUUID(b, "conversation_id", conversation)
	b = appendUser(b, "sender_id", e.Actor)
	b = appendUint(b, "seq", e.Seq)
	if own := chat.OwnClientID(e.ClientID); own != "" {
		b = appendString(b, "client_id", own)
	}
	if f := e.File; f != nil {
		b = append(b, `,"attachment":{"id":"`...)
		b = append(b, f.ID.String()...)
		b = append(b, '"')
		b = appendString(b, "name", f.Name)
		b = appendString(b, "type", f.Type)
		b = appendUint(b, "size", uint64(max(f.Size, 0)))
		b = append(b, '}')
	}
	if len(e.Reactions) > 0 {
		b = append(b, `,"reactions":[`...)
		for i := range e.Reactions {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"user_id":`...)
			b = e.Reactions[i].User.AppendJSON(b)
			b = appendString(b, "emoji", e.Reactions[i].Emoji)
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	if !e.EditedAt.IsZero() {
		b = appendTime(b, "edited_at", e.EditedAt)
	}
	if !e.DeletedAt.IsZero() {
		b = appendTime(b, "deleted_at", e.DeletedAt)
	}
	b = appendExtras(b, e.Extras)
	return appendEnd(b, ref)
}

func appendExtras(b []byte, x *chat.Extras) []byte {
	if x == nil {
		return b
	}
	if !x.ReplyTo.IsZero() {
		b = appendUUID(b, "reply_to", x.ReplyTo)
	}
	if x.Replies > 0 {
		b = appendUint(b, "reply_count", x.Replies)
	}
	b = appendMentions(b, x)
	if x.Forwarded.User != "" {
		b = append(b, `,"forwarded_from":{"user":`...)
		b = chat.AppendJSONString(b, x.Forwarded.Name)
		b = append(appendUser(b, "user_id", x.Forwarded.User), '}')
	}
	return appendPreview(b, x.Preview)
}

func appendPreview(b []byte, p *chat.LinkPreview) []byte {
	if p == nil {
		return b
	}
	b = append(b, `,"link_preview":{"url":`...)
	b = chat.AppendJSONString(b, p.URL)
	b = appendString(b, "title", p.Title)
	b = appendString(b, "description", p.Description)
	b = appendString(b, "site_name", p.Site)
	b = appendString(b, "image_url", p.Image)
	return append(b, '}')
}

func appendMentions(b []byte, x *chat.Extras) []byte {
	if x == nil {
		return b
	}
	if len(x.Mentions) > 0 {
		b = appendUserList(b, "mentions", x.Mentions)
	}
	if x.MentionAll {
		b = appendBool(b, "mention_all", true)
	}
	return b
}

// AppendTyping appends a typing frame.
func AppendTyping(b []byte, conversation chat.ConversationID, n *chat.TypingNotice) []byte {
	b = append(b, `{"type":"typing"`...)
	b = appendString(b, "typing_user", n.Username)
	b = appendBool(b, "is_typing", n.On)
	b = appendUUID(b, "conversation_id", conversation)
	b = appendUser(b, "user_id", n.User)
	return append(b, '}')
}

// AppendReceipt appends a read, a delivered or, of a notice that names nobody, a read_count frame.
func AppendReceipt(b []byte, conversation chat.ConversationID, n *chat.ReadNotice) []byte {
	if n.User == "" {
		b = append(b, `{"type":"read_count"`...)
		b = appendUUID(b, "message_id", n.Message)
		b = appendUint(b, "read_count", n.Readers)
		b = appendTime(b, "read_at", n.At)
		b = appendUUID(b, "conversation_id", conversation)
		b = appendUint(b, "message_seq", n.Seq) // it is no event: no client may take it for the next one
		return append(b, '}')
	}
	name, at := `{"type":"read"`, "read_at"
	if n.Kind == chat.ReceiptDelivered {
		name, at = `{"type":"delivered"`, "delivered_at"
	}
	b = append(b, name...)
	b = appendUUID(b, "message_id", n.Message)
	b = appendString(b, "user", n.Username)
	b = appendTime(b, at, n.At)
	b = appendUser(b, "user_id", n.User)
	b = appendUUID(b, "conversation_id", conversation)
	b = appendUint(b, "seq", n.Seq)
	return append(b, '}')
}

// AppendHead appends a head frame.
func AppendHead(b []byte, conversation chat.ConversationID, n *chat.HeadNotice) []byte {
	b = append(b, `{"type":"head"`...)
	b = appendUUID(b, "conversation_id", conversation)
	b = appendUint(b, "head_seq", n.Seq)
	return append(b, '}')
}

// AppendScheduledFailed appends a scheduled_failed frame.
func AppendScheduledFailed(b []byte, conversation chat.ConversationID, n *chat.ScheduledNotice) []byte {
	b = append(b, `{"type":"scheduled_failed"`...)
	b = appendUUID(b, "id", n.ID)
	b = appendUUID(b, "conversation_id", conversation)
	b = appendString(b, "reason", n.Reason)
	b = appendTime(b, "send_at", n.SendAt)
	return append(b, '}')
}

// AppendGroupCreated appends a group_created frame; participants counts the creator, too (requirement 39).
func AppendGroupCreated(b []byte, conversation chat.ConversationID, name string, participants int, ref string) []byte {
	b = append(b, `{"type":"group_created","group":{"name":`...)
	b = chat.AppendJSONString(b, name)
	b = appendUUID(b, "id", conversation)
	b = appendUint(b, "participant_count", uint64(max(participants, 0)))
	b = append(b, '}')
	return appendEnd(b, ref)
}

// AppendContactAdded appends the answer to add_contact.
func AppendContactAdded(b []byte, username, ref string) []byte {
	b = append(b, `{"type":"contact_added","contact":{"username":`...)
	b = chat.AppendJSONString(b, username)
	b = append(b, '}')
	return appendEnd(b, ref)
}

// AppendResumed appends the frame that ends a replay.
func AppendResumed(b []byte, conversation chat.ConversationID, lastSeq, headSeq uint64, ref string) []byte {
	return appendResume(b, `{"type":"resumed"`, conversation, lastSeq, headSeq, ref)
}

// AppendGap appends the frame that says that there is no replay.
func AppendGap(b []byte, conversation chat.ConversationID, lastSeq, headSeq uint64, ref string) []byte {
	return appendResume(b, `{"type":"gap"`, conversation, lastSeq, headSeq, ref)
}

func appendResume(b []byte, head string, conversation chat.ConversationID, lastSeq, headSeq uint64, ref string) []byte {
	b = append(b, head...)
	b = appendUUID(b, "conversation_id", conversation)
	b = appendUint(b, "last_seq", lastSeq)
	b = appendUint(b, "head_seq", headSeq)
	return appendEnd(b, ref)
}

// AppendSearchResults appends the answer to a search: as many of the results as fit into limit bytes, at least one. It
// returns the frame and how many there are in it.
func AppendSearchResults(b []byte, query string, items []chat.SearchItem, limit int, ref string) ([]byte, int) {
	start, n := len(b), 0
	var list []byte
	for n < len(items) {
		size := len(list)
		if n > 0 {
			list = append(list, ',')
		}
		list = appendSearchItem(list, &items[n])
		if n > 0 && len(list) > limit {
			list = list[:size]
			break
		}
		n++
	}
	b = append(b[:start], `{"type":"search_results"`...)
	b = appendString(b, "query", query)
	b = appendUint(b, "count", uint64(n))
	b = append(appendKey(b, "results"), '[')
	b = append(append(b, list...), ']')
	b = appendBool(b, "truncated", n < len(items))
	return appendEnd(b, ref), n
}

func appendSearchItem(b []byte, it *chat.SearchItem) []byte {
	e := &it.Event
	name := it.Sender.Username
	if name == "" {
		name = e.ActorName
	}
	b = append(b, `{"id":"`...)
	b = append(b, e.Message.String()...)
	b = append(b, '"')
	b = appendUUID(b, "conversation_id", it.Conversation)
	if it.ConversationName == "" {
		b = append(appendKey(b, "conversation_name"), "null"...)
	} else {
		b = appendString(b, "conversation_name", it.ConversationName)
	}
	b = appendString(b, "sender", name)
	b = appendUser(b, "sender_id", e.Actor)
	b = appendString(b, "content", e.Content)
	b = appendString(b, "content_highlight", it.Highlight)
	b = appendTime(b, "timestamp", e.At)
	b = appendUint(b, "seq", e.Seq)
	return append(b, '}')
}

// AppendOK appends the answer to a request that has no other.
func AppendOK(b []byte, ref string) []byte { return appendEnd(append(b, `{"type":"ok"`...), ref) }

// AppendPong appends the answer to a ping.
func AppendPong(b []byte, ref string) []byte { return appendEnd(append(b, `{"type":"pong"`...), ref) }

// AppendAuth appends the answer to an auth frame.
func AppendAuth(b []byte, expires time.Time, ref string) []byte {
	b = append(b, `{"type":"auth"`...)
	b = appendTime(b, "expires_at", expires)
	return appendEnd(b, ref)
}

// AppendError appends an error frame. conversation is zero if the request was about none.
func AppendError(b []byte, e *Error, conversation chat.ConversationID) []byte {
	b = append(b, `{"type":"error"`...)
	b = appendString(b, "message", e.Text)
	b = appendString(b, "code", string(e.Code))
	if !conversation.IsZero() {
		b = appendUUID(b, "conversation_id", conversation)
	}
	if e.Ref != "" {
		b = append(b, `,"ref":`...)
		b = append(b, e.Ref...)
	}
	if e.RetryAfter > 0 {
		b = appendUint(b, "retry_after_ms", millis(e.RetryAfter))
	}
	return append(b, '}')
}

// AppendGoaway appends the frame that announces a close.
func AppendGoaway(b []byte, retryAfter time.Duration) []byte {
	b = append(b, `{"type":"goaway"`...)
	b = appendUint(b, "retry_after_ms", millis(retryAfter))
	return append(b, '}')
}

// millis rounds up: who comes back a fraction too early is refused again.
func millis(d time.Duration) uint64 {
	return uint64((max(d, 0) + time.Millisecond - 1) / time.Millisecond)
}

func appendKey(b []byte, key string) []byte {
	b = append(b, ',', '"')
	b = append(b, key...)
	return append(b, '"', ':')
}

func appendString(b []byte, key, s string) []byte { return chat.AppendJSONString(appendKey(b, key), s) }

func appendBool(b []byte, key string, v bool) []byte { return strconv.AppendBool(appendKey(b, key), v) }

func appendUint(b []byte, key string, n uint64) []byte {
	return strconv.AppendUint(appendKey(b, key), n, 10)
}

func appendUser(b []byte, key string, u chat.UserID) []byte { return u.AppendJSON(appendKey(b, key)) }

func appendUsers(b []byte, users []chat.UserID) []byte { return appendUserList(b, "user_ids", users) }

func appendUserList(b []byte, key string, users []chat.UserID) []byte {
	b = append(appendKey(b, key), '[')
	for i, u := range users {
		if i > 0 {
			b = append(b, ',')
		}
		b = u.AppendJSON(b)
	}
	return append(b, ']')
}

func appendUUID(b []byte, key string, id [16]byte) []byte {
	b = append(appendKey(b, key), '"')
	b = hex.AppendEncode(b, id[:4])
	b = hex.AppendEncode(append(b, '-'), id[4:6])
	b = hex.AppendEncode(append(b, '-'), id[6:8])
	b = hex.AppendEncode(append(b, '-'), id[8:10])
	b = hex.AppendEncode(append(b, '-'), id[10:])
	return append(b, '"')
}

// appendTime writes what Python's isoformat wrote: microseconds always, the offset as +00:00.
func appendTime(b []byte, key string, t time.Time) []byte {
	b = append(appendKey(b, key), '"')
	b = t.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000+00:00")
	return append(b, '"')
}

// AppendWithRef appends a frame that was encoded without a ref as it is with one.
func AppendWithRef(b, encoded []byte, ref string) []byte {
	return appendEnd(append(b, encoded[:len(encoded)-1]...), ref)
}

func appendEnd(b []byte, ref string) []byte {
	if ref != "" {
		b = append(b, `,"ref":`...)
		b = append(b, ref...)
	}
	return append(b, '}')
}
