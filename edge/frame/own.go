package frame

import "github.com/zumodra/hub/chat"

// AppendOwn appends the frame that tells the sessions of one user what that user did for itself: message_hidden,
// conversation_settings or draft.
func AppendOwn(b []byte, conversation chat.ConversationID, n *chat.OwnNotice) []byte {
	switch {
	case n.Settings != nil:
		return appendSettings(b, conversation, n.Settings)
	case n.Draft != nil:
		return appendDraft(b, conversation, n.Draft)
	}
	return appendHidden(b, conversation, n.Hidden, 0)
}

// appendHidden: seq is that of the event that the frame stands for in a replay, else 0.
func appendHidden(b []byte, conversation chat.ConversationID, id chat.MessageID, seq uint64) []byte {
	b = append(b, `{"type":"message_hidden"`...)
	b = appendUUID(b, "message_id", id)
	b = appendUUID(b, "conversation_id", conversation)
	if seq > 0 {
		b = appendUint(b, "seq", seq)
	}
	return append(b, '}')
}

func appendSettings(b []byte, conversation chat.ConversationID, s *chat.Settings) []byte {
	b = append(b, `{"type":"conversation_settings"`...)
	b = appendUUID(b, "conversation_id", conversation)
	b = appendBool(b, "is_muted", !s.MutedUntil.IsZero())
	if !s.MutedUntil.IsZero() && s.MutedUntil.Before(chat.Forever) {
		b = appendTime(b, "muted_until", s.MutedUntil)
	}
	b = appendBool(b, "is_pinned", s.Pinned)
	b = appendBool(b, "is_archived", s.Archived)
	return append(b, '}')
}

func appendDraft(b []byte, conversation chat.ConversationID, d *chat.Draft) []byte {
	b = append(b, `{"type":"draft"`...)
	b = appendUUID(b, "conversation_id", conversation)
	b = appendString(b, "text", d.Text)
	if !d.ReplyTo.IsZero() {
		b = appendUUID(b, "reply_to", d.ReplyTo)
	}
	b = appendTime(b, "updated_at", d.At)
	return append(b, '}')
}
