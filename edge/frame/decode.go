package frame

import (
	"bytes"
	"math"
	"strconv"
	"strings"

	"github.com/zumodra/hub/chat"
)

// Bounds of a client frame beside those of package chat.
const (
	MaxRef     = 128    // bytes of a ref, as sent
	MaxToken   = 8192   // bytes of an auth token
	MaxResumes = 256    // conversations of one resume
	MaxUsers   = 10_000 // users named by one frame, as in a body of REST
)

// ResumePoint is one conversation of a resume frame.
type ResumePoint struct {
	Conversation chat.ConversationID
	LastSeq      uint64
}

// ClientFrame is one decoded frame of a client. Which fields are set is said in Types; a field that was not
// sent is zero.
type ClientFrame struct {
	Type         Type
	Ref          string // JSON text of the client's reference, ready to be echoed; empty: none
	Conversation chat.ConversationID

	Content   string // trimmed and checked: send_message, edit
	ClientID  string
	IsVoice   bool
	IsTyping  bool
	MessageID chat.MessageID
	Seq       uint64 // delivered.seq, read.up_to_seq
	Emoji     string
	Remove    bool
	ForMe     bool          // delete.scope
	Name      string        // create_group.group_name, rename.name, add_contact.name
	Email     string        // add_contact
	Users     []chat.UserID // create_group.members, add_participants, remove_participants: in the order sent
	Resumes   []ResumePoint
	Token     string
	Search    *chat.SearchQuery // search: checked, but for the conversation
	User      chat.UserID       // set_role
	Role      chat.Role         // set_role
	// ReplyTo of send_message; Mentions and MentionAll of that and of edit.
	ReplyTo    chat.MessageID
	Mentions   []chat.UserID
	MentionAll bool
	// Permissions of set_permissions; at least one is set.
	Permissions chat.Permissions
	File        *File       // send_message
	Upload      chat.FileID // send_message
}

// File is a file within a frame.
type File struct {
	Name string // as sent
	// Content is base64, unchecked. It may alias the payload: who keeps it copies it.
	Content []byte
}

// values are the raw JSON values of the known fields, nil where a field is absent or null.
type values [numFields][]byte

// Decode reads one text frame into dst, which it overwrites. The error is always an *Error; its Ref, and Ref,
// Type and Conversation of dst, are set if they could be read. Nothing of payload is kept but File.Content.
func Decode(payload []byte, dst *ClientFrame) error {
	*dst = ClientFrame{}
	var v values
	s := scanner{b: payload}
	s.space()
	if s.peek() != '{' {
		if !Valid(payload) {
			return &Error{Code: CodeInvalidJSON, Text: TextInvalidJSON}
		}
		return &Error{Code: CodeInvalidType, Text: "A frame is a JSON object"}
	}
	ok := s.members(MaxDepth, func(key, value []byte) {
		if f, known := lookup(key); known {
			v[f] = value
			if f != fieldIsTyping && value[0] == 'n' {
				v[f] = nil // null is "not given"; only is_typing must say true or false
			}
		}
	})
	if s.space(); !ok || s.i != len(payload) {
		return &Error{Code: CodeInvalidJSON, Text: TextInvalidJSON}
	}
	if err := v.decode(dst); err != nil {
		err.Ref = dst.Ref
		return err
	}
	return nil
}

func (v *values) decode(f *ClientFrame) *Error {
	if raw := v[fieldRef]; raw != nil {
		switch {
		case len(raw) > MaxRef+2:
			return &Error{Code: CodeTooLong, Text: "ref: at most 128 bytes"}
		case raw[0] == '"':
			f.Ref = reference(raw)
		case raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9':
			f.Ref = string(raw)
		default:
			return wrongType(fieldRef, "a string or a number")
		}
	}
	raw := v[fieldType]
	if raw == nil {
		return missing(fieldType)
	}
	if raw[0] != '"' {
		return wrongType(fieldType, "a string")
	}
	t, known := lookupType(raw[1 : len(raw)-1])
	if !known {
		return &Error{Code: CodeUnknownType, Text: "Unknown message type: " + chat.Truncate(unquote(raw), 50)}
	}
	f.Type = t
	if raw := v[fieldConversation]; raw != nil {
		if !uuid(raw, (*[16]byte)(&f.Conversation)) {
			return wrongType(fieldConversation, "a UUID")
		}
	}
	return v.fields(f)
}

// A switch and not a table of functions: what is called through a variable makes values and frame escape.
func (v *values) fields(f *ClientFrame) *Error {
	switch f.Type {
	case SendMessage:
		return v.sendMessage(f)
	case Typing:
		return v.boolean(fieldIsTyping, &f.IsTyping)
	case Read:
		if v[fieldMessageID] == nil && v[fieldUpToSeq] == nil {
			return missing(fieldMessageID)
		}
		return firstOf(v.messageID(f, false), v.number(fieldUpToSeq, &f.Seq))
	case Delivered:
		if v[fieldSeq] == nil {
			return missing(fieldSeq)
		}
		return v.number(fieldSeq, &f.Seq)
	case CreateGroup:
		return v.createGroup(f)
	case AddContact:
		return v.addContact(f)
	case Resume:
		return v.resume(f)
	case React:
		if err := firstOf(v.messageID(f, true), v.required(fieldEmoji, &f.Emoji), v.boolean(fieldRemove, &f.Remove)); err != nil {
			return err
		}
		var err error
		f.Emoji, err = chat.NormalizeEmoji(f.Emoji)
		return fromChat(err)
	case Edit:
		if err := firstOf(v.messageID(f, true), v.str(fieldContent, &f.Content), v.mentions(f)); err != nil {
			return err
		}
		return f.normalize()
	case Delete:
		return firstOf(v.messageID(f, true), v.scope(&f.ForMe))
	case Rename:
		if err := v.required(fieldName, &f.Name); err != nil {
			return err
		}
		return f.groupName()
	case AddParticipants, RemoveParticipants:
		return v.participants(f)
	case Auth:
		if err := v.required(fieldToken, &f.Token); err != nil {
			return err
		}
		if len(f.Token) > MaxToken {
			return &Error{Code: CodeTooLong, Text: "token: too long"}
		}
	case Search:
		return v.search(f)
	case Pin:
		return firstOf(v.messageID(f, true), v.boolean(fieldRemove, &f.Remove))
	case Forward:
		if err := firstOf(v.messageID(f, true), v.clientID(f)); err != nil {
			return err
		}
	case SetRole:
		if v[fieldRole] == nil {
			return missing(fieldRole)
		}
		return firstOf(v.user(fieldUserID, &f.User), v.role(fieldRole, &f.Role))
	case SetPermissions:
		return v.permissions(f)
	}
	return nil // Ping and Leave have no fields
}

// reference returns a quoted string as it may be put into a frame.
func reference(raw []byte) string {
	if plain(raw) && !bytes.ContainsAny(raw, "<>&\u2028\u2029") {
		return string(raw)
	}
	return string(chat.AppendJSONString(nil, unquote(raw)))
}

func (v *values) sendMessage(f *ClientFrame) *Error {
	if err := firstOf(v.str(fieldContent, &f.Content), v.boolean(fieldIsVoice, &f.IsVoice),
		v.mentions(f)); err != nil {
		return err
	}
	if raw := v[fieldReplyTo]; raw != nil && !uuid(raw, (*[16]byte)(&f.ReplyTo)) {
		return wrongType(fieldReplyTo, "a UUID")
	}
	if raw := v[fieldFile]; raw != nil {
		if err := v.file(f); err != nil {
			return err
		}
	}
	if raw := v[fieldUploadID]; raw != nil && (!uuid(raw, (*[16]byte)(&f.Upload)) || f.Upload.IsZero() || f.File != nil) {
		return wrongType(fieldUploadID, "the id of an upload, without a file")
	}
	attached := f.File != nil || !f.Upload.IsZero()
	if f.IsVoice && !attached { // a voice message is a file (defect D-30)
		return &Error{Code: CodeMissingField, Text: TextInvalidFile}
	}
	if err := v.clientID(f); err != nil {
		return err
	}
	if attached && strings.TrimSpace(f.Content) == "" {
		f.Content = ""
		return nil
	}
	return f.normalize()
}

func (v *values) clientID(f *ClientFrame) *Error {
	if err := v.str(fieldClientID, &f.ClientID); err != nil {
		return err
	}
	id, err := chat.NormalizeClientID(f.ClientID)
	if err != nil {
		return &Error{Code: CodeInvalid, Text: "client_id: at most 128 bytes"}
	}
	f.ClientID = id
	return nil
}

// file reads the object that the original's clients send: name, content in base64, and a size that nobody looks at.
func (v *values) file(f *ClientFrame) *Error {
	raw := v[fieldFile]
	invalid := &Error{Code: CodeInvalidType, Text: TextInvalidFile}
	if raw[0] != '{' {
		return invalid
	}
	var name, content []byte
	s := scanner{b: raw}
	s.members(MaxDepth, func(key, value []byte) {
		switch string(key) {
		case `"name"`:
			name = value
		case `"content"`:
			content = value
		}
	})
	if len(content) == 0 || content[0] != '"' || len(name) > 0 && name[0] != '"' && name[0] != 'n' {
		return invalid
	}
	f.File = &File{Name: "file"}
	if len(name) > 0 && name[0] == '"' {
		f.File.Name = unquote(name)
	}
	if f.File.Content = content[1 : len(content)-1]; bytes.IndexByte(content, '\\') >= 0 {
		f.File.Content = []byte(unquote(content))
	}
	return nil
}

func (v *values) addContact(f *ClientFrame) *Error {
	for _, x := range [...]struct {
		field field
		dst   *string
	}{{fieldEmail, &f.Email}, {fieldName, &f.Name}} {
		raw := v[x.field]
		if raw == nil || raw[0] != '"' {
			return &Error{Code: CodeMissingField, Text: TextNoContactData}
		}
		if *x.dst = strings.TrimSpace(unquote(raw)); *x.dst == "" {
			return &Error{Code: CodeMissingField, Text: TextNoContactData}
		}
	}
	if len(f.Email) > chat.MaxEmail {
		return &Error{Code: CodeTooLong, Text: "email: at most 254 bytes"}
	}
	var err error
	f.Name, err = chat.NormalizeName(f.Name)
	return fromChat(err)
}

func (v *values) mentions(f *ClientFrame) *Error {
	if v[fieldMentions] == nil && v[fieldMentionAll] == nil {
		return nil
	}
	if err := firstOf(v.users(fieldMentions, &f.Mentions), v.boolean(fieldMentionAll, &f.MentionAll)); err != nil {
		return err
	}
	if len(f.Mentions) > chat.MaxMentions {
		return &Error{Code: CodeTooLong, Text: "mentions: at most 50 users"}
	}
	return nil
}

func (v *values) createGroup(f *ClientFrame) *Error {
	if err := firstOf(v.str(fieldGroupName, &f.Name), v.users(fieldMembers, &f.Users)); err != nil {
		return err
	}
	if err := f.groupName(); err != nil {
		return err
	}
	if len(f.Users) == 0 {
		return &Error{Code: CodeMissingField, Text: TextNoMembers}
	}
	return nil
}

func (v *values) participants(f *ClientFrame) *Error {
	if err := v.users(fieldUserIDs, &f.Users); err != nil {
		return err
	}
	if len(f.Users) == 0 {
		return missing(fieldUserIDs)
	}
	return nil
}

func (v *values) resume(f *ClientFrame) *Error {
	raw := v[fieldConversations]
	if raw == nil {
		if v[fieldLastSeq] == nil {
			return missing(fieldLastSeq)
		}
		f.Resumes = []ResumePoint{{Conversation: f.Conversation}}
		return v.number(fieldLastSeq, &f.Resumes[0].LastSeq)
	}
	if raw[0] != '[' {
		return wrongType(fieldConversations, "an array")
	}
	var bad *Error
	s := scanner{b: raw}
	s.elements(MaxDepth, func(el []byte) bool {
		if el[0] != '{' {
			bad = wrongType(fieldConversations, "an array of objects")
			return false
		}
		if len(f.Resumes) == MaxResumes {
			bad = &Error{Code: CodeTooLong, Text: "conversations: at most 256 at a time"}
			return false
		}
		var p ResumePoint
		var id, seq bool
		o := scanner{b: el}
		o.members(MaxDepth, func(key, value []byte) {
			switch f, _ := lookup(key); f {
			case fieldConversation:
				id = uuid(value, (*[16]byte)(&p.Conversation))
			case fieldLastSeq:
				p.LastSeq, seq = unsigned(value)
			}
		})
		if !id || !seq {
			bad = wrongType(fieldConversations, "an array of {conversation_id, last_seq}")
			return false
		}
		f.Resumes = append(f.Resumes, p)
		return true
	})
	if bad == nil && len(f.Resumes) == 0 {
		return missing(fieldConversations)
	}
	return bad
}

func (f *ClientFrame) normalize() *Error {
	var err error
	f.Content, err = chat.NormalizeContent(f.Content)
	return fromChat(err)
}

func (f *ClientFrame) groupName() *Error {
	var err error
	if f.Name, err = chat.NormalizeName(f.Name); err != nil {
		return fromChat(err)
	}
	if f.Name == "" {
		return &Error{Code: CodeMissingField, Text: TextNoGroupName}
	}
	return nil
}

func (v *values) str(f field, dst *string) *Error {
	raw := v[f]
	if raw == nil {
		return nil
	}
	if raw[0] != '"' {
		return wrongType(f, "a string")
	}
	*dst = unquote(raw)
	return nil
}

func (v *values) required(f field, dst *string) *Error {
	if err := v.str(f, dst); err != nil {
		return err
	}
	if *dst == "" {
		return missing(f)
	}
	return nil
}

func (v *values) boolean(f field, dst *bool) *Error {
	switch raw := v[f]; {
	case raw == nil:
	case raw[0] == 't':
		*dst = true
	case raw[0] != 'f':
		return wrongType(f, "true or false")
	}
	return nil
}

func (v *values) number(f field, dst *uint64) *Error {
	raw := v[f]
	if raw == nil {
		return nil
	}
	var ok bool
	if *dst, ok = unsigned(raw); !ok {
		return wrongType(f, "a non-negative integer")
	}
	return nil
}

func (v *values) messageID(f *ClientFrame, required bool) *Error {
	raw := v[fieldMessageID]
	switch {
	case raw == nil && required:
		return missing(fieldMessageID)
	case raw != nil && !uuid(raw, (*[16]byte)(&f.MessageID)):
		return wrongType(fieldMessageID, "a UUID")
	}
	return nil
}

// user reads a user id that must be there.
func (v *values) user(f field, dst *chat.UserID) *Error {
	raw := v[f]
	switch {
	case raw == nil:
		return missing(f)
	case dst.UnmarshalJSON(raw) != nil:
		return wrongType(f, "a user id")
	}
	return nil
}

func (v *values) role(f field, dst *chat.Role) *Error {
	raw := v[f]
	if raw == nil {
		return nil
	}
	var ok bool
	if raw[0] == '"' {
		*dst, ok = chat.ParseRole(unquote(raw))
	}
	if !ok {
		return wrongType(f, "owner, admin or member")
	}
	return nil
}

// scope tells deleting for oneself from deleting for all.
func (v *values) scope(dst *bool) *Error {
	raw := v[fieldScope]
	if raw == nil {
		return nil
	}
	var s string
	if raw[0] == '"' {
		s = unquote(raw)
	}
	if *dst = s == "me"; !*dst && s != "all" {
		return wrongType(fieldScope, "all or me")
	}
	return nil
}

func (v *values) permissions(f *ClientFrame) *Error {
	p := &f.Permissions
	err := firstOf(v.role(fieldWhoCanAdd, &p.Add), v.role(fieldWhoCanPin, &p.Pin), v.role(fieldWhoCanMentionAll, &p.MentionAll))
	if err == nil && *p == (chat.Permissions{}) {
		return missing(fieldWhoCanAdd)
	}
	return err
}

func (v *values) users(f field, dst *[]chat.UserID) *Error {
	raw := v[f]
	if raw == nil {
		return nil
	}
	if raw[0] != '[' {
		return wrongType(f, "an array of user ids")
	}
	var bad *Error
	s := scanner{b: raw}
	s.elements(MaxDepth, func(el []byte) bool {
		var id chat.UserID
		if len(*dst) == MaxUsers { // a frame that has room for a file has room for millions
			bad = &Error{Code: CodeTooLong, Text: fieldNames[f] + ": at most 10,000 users"}
			return false
		}
		if id.UnmarshalJSON(el) != nil {
			bad = wrongType(f, "an array of user ids")
			return false
		}
		*dst = append(*dst, id)
		return true
	})
	return bad
}

// unsigned reads an integer that every JSON reader can hold exactly (RFC 8259 §6).
func unsigned(raw []byte) (uint64, bool) {
	if len(raw) > 16 || raw[0] < '0' || raw[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(raw), 10, 64)
	return n, err == nil && n < 1<<53
}

// uuid reads a quoted UUID, hyphenated or as 32 hex digits, without allocating.
func uuid(raw []byte, dst *[16]byte) bool {
	if raw[0] != '"' {
		return false
	}
	in := raw[1 : len(raw)-1]
	hyphens := len(in) == 36
	if hyphens && (in[8] != '-' || in[13] != '-' || in[18] != '-' || in[23] != '-') || !hyphens && len(in) != 32 {
		return false
	}
	var id [16]byte
	j := 0
	for i := range id {
		if hyphens && (j == 8 || j == 13 || j == 18 || j == 23) {
			j++
		}
		hi, lo := hexValue(in[j]), hexValue(in[j+1])
		if hi|lo == math.MaxUint8 {
			return false
		}
		id[i] = hi<<4 | lo
		j += 2
	}
	*dst = id
	return true
}

// hexValue returns MaxUint8 for what is not a hex digit: or'ed with anything it stays that.
func hexValue(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return math.MaxUint8
}

// lookup finds a field by its quoted key, which may hold escapes.
func lookup(key []byte) (field, bool) {
	key = key[1 : len(key)-1]
	if bytes.IndexByte(key, '\\') >= 0 {
		f, ok := fieldsByName[unquote(append(append([]byte{'"'}, key...), '"'))]
		return f, ok
	}
	f, ok := fieldsByName[string(key)]
	return f, ok
}

func lookupType(name []byte) (Type, bool) {
	if bytes.IndexByte(name, '\\') >= 0 {
		t, ok := typesByName[unquote(append(append([]byte{'"'}, name...), '"'))]
		return t, ok
	}
	t, ok := typesByName[string(name)]
	return t, ok
}

func missing(f field) *Error {
	return &Error{Code: CodeMissingField, Text: fieldNames[f] + ": required"}
}

func wrongType(f field, want string) *Error {
	return &Error{Code: CodeInvalidType, Text: fieldNames[f] + ": must be " + want}
}

func firstOf(errs ...*Error) *Error {
	for _, e := range errs {
		if e != nil {
			return e
		}
	}
	return nil
}

func fromChat(err error) *Error {
	if err == nil {
		return nil
	}
	return ErrorOf(err, "")
}
