package frame

// Type of a client frame.
type Type uint8

const (
	SendMessage Type = iota + 1
	Typing
	Read
	Delivered
	CreateGroup
	AddContact
	Ping
	Resume
	React
	Edit
	Delete
	Rename
	AddParticipants
	RemoveParticipants
	Leave
	Auth
	Search
	SetRole
	SetPermissions
	Forward
	Pin
)

// String returns the name that the wire uses.
func (t Type) String() string {
	if t == 0 || int(t) > len(clientTypes) {
		return "unknown"
	}
	return clientTypes[t-1]
}

var clientTypes = [...]string{"send_message", "typing", "read", "delivered", "create_group", "add_contact", "ping",
	"resume", "react", "edit", "delete", "rename", "add_participants", "remove_participants", "leave", "auth", "search",
	"set_role", "set_permissions", "forward", "pin"}

// InConversation reports whether frames of the type are about one conversation: on the path of all
// conversations they must name it. A resume may name several in its own list instead.
func (t Type) InConversation() bool {
	switch t {
	case CreateGroup, AddContact, Ping, Auth, Search:
		return false
	}
	return true
}

type field uint8

const (
	fieldType field = iota
	fieldRef
	fieldConversation
	fieldContent
	fieldFile
	fieldIsVoice
	fieldClientID
	fieldIsTyping
	fieldMessageID
	fieldUpToSeq
	fieldSeq
	fieldGroupName
	fieldMembers
	fieldEmail
	fieldName
	fieldLastSeq
	fieldConversations
	fieldEmoji
	fieldRemove
	fieldUserIDs
	fieldToken
	fieldQuery
	fieldSenderID
	fieldDateFrom
	fieldDateTo
	fieldHasAttachments
	fieldUserID
	fieldRole
	fieldWhoCanAdd
	fieldWhoCanPin
	fieldWhoCanMentionAll
	fieldReplyTo
	fieldMentions
	fieldMentionAll
	fieldUploadID
	fieldScope
	numFields
)

var fieldNames = [numFields]string{"type", "ref", "conversation_id", "content", "file", "is_voice", "client_id",
	"is_typing", "message_id", "up_to_seq", "seq", "group_name", "members", "email", "name", "last_seq",
	"conversations", "emoji", "remove", "user_ids", "token", "query", "sender_id", "date_from", "date_to", "has_attachments",
	"user_id", "role", "who_can_add", "who_can_pin", "who_can_mention_all",
	"reply_to", "mentions", "mention_all",
	"upload_id", "scope"}

var (
	fieldsByName = func() map[string]field {
		m := make(map[string]field, numFields)
		for i, n := range fieldNames {
			m[n] = field(i)
		}
		return m
	}()
	typesByName = func() map[string]Type {
		m := make(map[string]Type, len(clientTypes))
		for i, n := range clientTypes {
			m[n] = Type(i + 1)
		}
		return m
	}()
)

// Field describes one field of a frame for documents.
type Field struct {
	Name string
	// Kind is string, bool, integer, uuid, user (number or string), time, object, or one of them in brackets
	// for an array; "object or null" may be either.
	Kind     string
	Required bool // a client must send it; the server always sends it
	Doc      string
}

// FrameType describes one type of frame for documents.
type FrameType struct {
	Name       string
	FromClient bool
	// InConversation: the frame has conversation_id (a client's on /ws/ must, on /ws/chat/{id}/ may).
	InConversation bool
	// Event is the original's internal name of the broadcast, if it had one (contract §12.10).
	Event  string
	Doc    string
	Fields []Field // in the order of the wire; type, and for clients conversation_id and ref, are understood
}

// Types lists every frame of the protocol. Every client frame may carry ref, a string or number of at most
// MaxRef bytes that its answer echoes.
var Types = []FrameType{
	{"send_message", true, true, "", "Send a message. The answer is the message frame.", []Field{
		{"content", "string", true, "1 to 10,000 code points after trimming; may be missing or empty with a file"},
		{"client_id", "string", false, "the client's own id of the message, up to 128 bytes: sending it again yields the same message"},
		{"file", "object or null", false, "{name, content, size}: a file whose content is base64 (RFC 4648 §4, padded); size is ignored"},
		{"upload_id", "uuid", false, "instead of file: a file that was uploaded before (REST uploads/)"},
		{"is_voice", "bool", false, "default false; the file is a voice message: mp3, wav, webm or ogg"},
		{"reply_to", "uuid", false, "the message of the same conversation that this one answers; not a deleted one"},
		{"mentions", "[user]", false, "up to 50 users whom it mentions, beside those whose id stands behind an @ in content; others than members are left out"},
		{"mention_all", "bool", false, "mentions everybody, as does @all in the content of one who may"}}},
	{"typing", true, true, "", "Tell the others that the user types, or stopped.", []Field{
		{"is_typing", "bool", false, "default false"}}},
	{"read", true, true, "", "Mark everything up to a message as read.", []Field{
		{"message_id", "uuid", false, "one of the two is required"},
		{"up_to_seq", "integer", false, "instead of message_id"}}},
	{"delivered", true, true, "", "Mark everything up to an event as received.", []Field{
		{"seq", "integer", true, ""}}},
	{"create_group", true, false, "", "Create a group. The answer is group_created.", []Field{
		{"group_name", "string", true, "1 to 255 code points after trimming"},
		{"members", "[user]", true, "the others, at least one, at most 10,000"}}},
	{"add_contact", true, false, "", "Make the user with an e-mail address a contact, and ask them for friendship. The answer is contact_added.", []Field{
		{"email", "string", true, "up to 254 bytes"},
		{"name", "string", true, "1 to 255 code points after trimming"},
		{"invitation_message", "string", false, "ignored"}}},
	{"ping", true, false, "", "Answered by pong.", nil},
	{"resume", true, true, "", "Ask for what was missed. Answered by the events and then resumed, or by gap, for each conversation.", []Field{
		{"last_seq", "integer", false, "the last event that the client has; required without conversations"},
		{"conversations", "[object]", false, "on /ws/: up to 256 of {conversation_id, last_seq}"}}},
	{"react", true, true, "", "Add a reaction, or take it back. Idempotent.", []Field{
		{"message_id", "uuid", true, ""},
		{"emoji", "string", true, "1 to 64 bytes"},
		{"remove", "bool", false, "default false"}}},
	{"edit", true, true, "", "Replace the content of one's own message.", []Field{
		{"message_id", "uuid", true, ""},
		{"content", "string", true, "as in send_message"},
		{"mentions", "[user]", false, "as in send_message; they replace those there were"},
		{"mention_all", "bool", false, "as in send_message"}}},
	{"delete", true, true, "", "Empty a message for all, or hide it from oneself. Idempotent.", []Field{
		{"message_id", "uuid", true, ""},
		{"scope", "string", false, "all or me: me hides anybody's message from this user alone, for good; default all"}}},
	{"rename", true, true, "", "Rename a group; admins only.", []Field{
		{"name", "string", true, "1 to 255 code points after trimming"}}},
	{"add_participants", true, true, "", "Add users to a group.", []Field{
		{"user_ids", "[user]", true, "at least one, at most 10,000"}}},
	{"remove_participants", true, true, "", "Remove users from a group; admins only.", []Field{
		{"user_ids", "[user]", true, "at least one, at most 10,000"}}},
	{"leave", true, true, "", "Leave a group.", nil},
	{"auth", true, false, "", "Replace the token before it expires; it must be of the same user. Answered by auth.", []Field{
		{"token", "string", true, ""}}},
	{"search", true, false, "", "Search the messages of one's conversations, or of the connection's one. Answered by search_results.", []Field{
		{"query", "string", true, "2 to 100 code points after trimming"},
		{"conversation_id", "uuid", false, "only in this conversation"},
		{"sender_id", "user", false, "only messages of this user"},
		{"date_from", "time", false, "only messages sent then or later; a date or a date and time"},
		{"date_to", "time", false, "only messages sent until then; a date means all of that day (UTC)"},
		{"has_attachments", "bool", false, ""}}},
	{"set_role", true, true, "", "Make a member of a group an admin, a plain member, or hand ownership over; the owner only.", []Field{
		{"user_id", "user", true, ""},
		{"role", "string", true, "owner, admin or member"}}},
	{"set_permissions", true, true, "", "Say who may do what in a group; admins only. What is not given stays.", permissionFields},
	{"forward", true, true, "", "Send a copy of a message that one may read, of any conversation, into this one. The answer is the message frame.", []Field{
		{"message_id", "uuid", true, ""},
		{"client_id", "string", false, "as in send_message"}}},
	{"pin", true, true, "", "Pin a message for all, or take that back. Idempotent.", []Field{
		{"message_id", "uuid", true, ""},
		{"remove", "bool", false, "default false"}}},

	{"status", false, false, "", "The first frame of every connection.", []Field{
		{"message", "string", true, "Connected"},
		{"is_online", "bool", true, "true"}}},
	{"message", false, true, "chat_message", "A message, also one's own.", []Field{
		{"id", "uuid", true, ""},
		{"sender", "string", true, "username"},
		{"content", "string", true, "empty once deleted"},
		{"timestamp", "time", true, ""},
		{"file", "string", true, "path of the file at the REST API, which asks for a token; empty if there is none"},
		{"is_voice", "bool", true, ""},
		{"is_read", "bool", true, "somebody else has read it"},
		{"conversation_id", "uuid", true, ""},
		{"sender_id", "user", true, ""},
		{"seq", "integer", true, "number in the conversation's log"},
		{"client_id", "string", false, "as the sender called it"},
		{"attachment", "object", false, "{id, name, type, size}, if there is a file"},
		{"reactions", "[object]", false, "{user_id, emoji}, in the order of arrival"},
		{"edited_at", "time", false, ""},
		{"deleted_at", "time", false, ""},
		{"reply_to", "uuid", false, "the message that it answers"},
		{"reply_count", "integer", false, "how many messages answer it, deleted ones included"},
		{"mentions", "[user]", false, "members whom it mentions"},
		{"mention_all", "bool", false, "true: it mentions everybody"},
		{"forwarded_from", "object", false, "{user, user_id}: who wrote what was forwarded"},
		{"link_preview", "object", false, previewFields},
		{"ref", "", false, ""}}},
	{"typing", false, true, "typing_status", "Somebody types, or stopped. May be dropped.", []Field{
		{"typing_user", "string", true, "username"},
		{"is_typing", "bool", true, ""},
		{"conversation_id", "uuid", true, ""},
		{"user_id", "user", true, ""}}},
	{"read", false, true, "message_read", "Somebody has read everything up to a message.", []Field{
		{"message_id", "uuid", true, "the newest message of it"},
		{"user", "string", true, "username"},
		{"read_at", "time", true, ""},
		{"user_id", "user", true, ""},
		{"conversation_id", "uuid", true, ""},
		{"seq", "integer", true, "everything up to this event"}}},
	{"read_count", false, true, "", "In a group of more than 256 members (`--named-readers`), once a second at most: so many have read a message, the newest that anybody " +
		"has read. Who reads there is told to their own sockets alone, by read; delivered is told to nobody.", []Field{
		{"message_id", "uuid", true, ""},
		{"read_count", "integer", true, "members who have read it, its sender and who has turned receipts off not counted"},
		{"read_at", "time", true, "when the last of them did"},
		{"conversation_id", "uuid", true, ""},
		{"message_seq", "integer", true, "its number in the log"}}},
	{"delivered", false, true, "", "Somebody has received everything up to an event. May be dropped.", []Field{
		{"message_id", "uuid", true, "the newest message of it"},
		{"user", "string", true, "username"},
		{"delivered_at", "time", true, ""},
		{"user_id", "user", true, ""},
		{"conversation_id", "uuid", true, ""},
		{"seq", "integer", true, "everything up to this event"}}},
	{"message_edited", false, true, "", "A message has new content.", append([]Field{
		{"message_id", "uuid", true, ""},
		{"content", "string", true, ""},
		{"edited_at", "time", true, ""},
		{"mentions", "[user]", false, "members whom it mentions now"},
		{"mention_all", "bool", false, ""}}, eventFields...)},
	{"message_deleted", false, true, "", "A message has been emptied.", append([]Field{
		{"message_id", "uuid", true, ""},
		{"deleted_at", "time", true, ""}}, eventFields...)},
	{"reaction", false, true, "", "A reaction has been added, or taken back.", append([]Field{
		{"message_id", "uuid", true, ""},
		{"emoji", "string", true, ""},
		{"removed", "bool", true, ""}}, eventFields...)},
	{"message_pinned", false, true, "", "A message was pinned, or is no more. One that is deleted is pinned no more, without this frame.", append([]Field{
		{"message_id", "uuid", true, ""},
		{"removed", "bool", true, ""}}, eventFields...)},
	{"message_hidden", false, true, "", "The user has hidden a message (delete with scope me). Sent to that user's connections alone.", []Field{
		{"message_id", "uuid", true, ""},
		{"conversation_id", "uuid", true, ""},
		{"seq", "integer", false, "in a replay and in the log over REST: of the event about that message that it stands for"}}},
	{"conversation_settings", false, true, "", "The user has muted, pinned or archived a conversation, or taken that back. Sent to that user's connections alone.", []Field{
		{"conversation_id", "uuid", true, ""},
		{"is_muted", "bool", true, ""},
		{"muted_until", "time", false, "if it is muted: until then; without it, without an end"},
		{"is_pinned", "bool", true, "it comes first in the list"},
		{"is_archived", "bool", true, ""}}},
	{"draft", false, true, "", "The user has written something without sending it. Sent to that user's connections alone.", []Field{
		{"conversation_id", "uuid", true, ""},
		{"text", "string", true, "empty: there is no draft any more"},
		{"reply_to", "uuid", false, "the message that it is to answer"},
		{"updated_at", "time", true, "the draft with the latest counts"}}},
	{"participants_changed", false, true, "", "Members came, went, or got another role.", append([]Field{
		{"change", "string", true, "added, removed, left or role"},
		{"user_ids", "[user]", true, "whom it is about"},
		{"role", "string", false, "owner, admin or member, with change role"}}, eventFields...)},
	{"conversation_updated", false, true, "", "The conversation was created (event 1) or renamed, or who may do what changed.", append([]Field{
		{"change", "string", true, "created, renamed or permissions"},
		{"name", "string", false, "with change created or renamed"},
		{"kind", "string", false, "direct or group, with change created"},
		{"user_ids", "[user]", false, "the members, with change created"},
		{"who_can_add", "string", false, "with change permissions, as are the next two: owner, admin or member"},
		{"who_can_pin", "string", false, ""},
		{"who_can_mention_all", "string", false, ""}}, eventFields...)},
	{"group_created", false, false, "group_created", "A group with this user in it was created.", []Field{
		{"group", "object", true, "{name, id, participant_count}"},
		{"ref", "", false, ""}}},
	{"contact_added", false, false, "contact_added", "The contact has been added.", []Field{
		{"contact", "object", true, "{username}"},
		{"ref", "", false, ""}}},
	{"resumed", false, true, "", "All that was missed has been sent.", []Field{
		{"conversation_id", "uuid", true, ""},
		{"last_seq", "integer", true, "as asked"},
		{"head_seq", "integer", true, "the newest event"},
		{"ref", "", false, ""}}},
	{"gap", false, true, "", "What was missed cannot be replayed: read the history instead.", []Field{
		{"conversation_id", "uuid", true, ""},
		{"last_seq", "integer", true, "as asked"},
		{"head_seq", "integer", true, "the newest event"},
		{"ref", "", false, ""}}},
	{"head", false, true, "", "How far the log of a conversation reaches: events may have got lost on their way. Who has less resumes.", []Field{
		{"conversation_id", "uuid", true, ""},
		{"head_seq", "integer", true, "the newest event"}}},
	{"scheduled_failed", false, true, "", "A message that this user had scheduled was refused at its time. Not replayed by a resume: REST scheduled/ lists it.", []Field{
		{"id", "uuid", true, "of the scheduled message"},
		{"conversation_id", "uuid", true, ""},
		{"reason", "string", true, "a code, as in scheduled/"},
		{"send_at", "time", true, ""}}},
	{"link_preview", false, true, "", "What the first link of a message leads to, in the words of that page: plain text, to be escaped, and not to be trusted. " +
		"It is gone when an edit takes the link away, without a frame. Only where the operator lets the hub look.", append([]Field{
		{"message_id", "uuid", true, ""},
		{"link_preview", "object", true, previewFields}}, eventFields...)},
	{"search_results", false, false, "", "What a search found, newest first, at most 50.", []Field{
		{"query", "string", true, "as it was searched for"},
		{"count", "integer", true, "number of results"},
		{"results", "[object]", true, "{id, conversation_id, conversation_name, sender, sender_id, content, content_highlight, timestamp, seq}; content_highlight is HTML, escaped but for <mark>"},
		{"truncated", "bool", true, "there are more results, which did not fit into one frame: REST answers them"},
		{"ref", "", false, ""}}},
	{"ok", false, false, "", "A request with a ref has been carried out and has no other answer.", []Field{
		{"ref", "", true, ""}}},
	{"pong", false, false, "", "The answer to ping.", []Field{
		{"ref", "", false, ""}}},
	{"auth", false, false, "", "The new token is in force.", []Field{
		{"expires_at", "time", true, ""},
		{"ref", "", false, ""}}},
	{"error", false, false, "", "A request was refused; the connection stays open.", []Field{
		{"message", "string", true, "text"},
		{"code", "string", true, "see the table of codes"},
		{"conversation_id", "uuid", false, "of the request, if it had one"},
		{"ref", "", false, ""},
		{"retry_after_ms", "integer", false, ""}}},
	{"goaway", false, false, "", "The connection will be closed; come back after the given time.", []Field{
		{"retry_after_ms", "integer", true, ""}}},
}

// permissionFields say the lowest role that may do something.
var permissionFields = []Field{
	{"who_can_add", "string", false, "members: owner, admin or member; at first member"},
	{"who_can_pin", "string", false, "and unpin messages; at first admin"},
	{"who_can_mention_all", "string", false, "at first admin"},
}

const previewFields = "{url, title, description, site_name, image_url}: strings, empty where the page does not say"

// eventFields end every frame of a log event but message.
var eventFields = []Field{
	{"user", "string", true, "username of who did it"},
	{"user_id", "user", true, "who did it"},
	{"timestamp", "time", true, ""},
	{"conversation_id", "uuid", true, ""},
	{"seq", "integer", true, "number in the conversation's log"},
	{"ref", "", false, ""},
}
