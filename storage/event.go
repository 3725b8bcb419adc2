package storage

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/zumodra/hub/chat"
)

// eventMutation describes the row of an event. Columns that a rewrite may empty are set whenever the event is a
// message, so that the row of an emptied one says so also on engines that keep what is not set.
func (a *arena) eventMutation(e *chat.Event) {
	key := Key(a.take(2))
	key[0], key[1] = number(e.Seq), number(e.Epoch)
	c := a.take(logColumns)
	c[logMsgNo], c[logType], c[logAt] = number(e.MsgNo), number(uint64(e.Type)), moment(e.At)
	c[logActor] = text(e.Actor)
	c[logActorName] = optionalText(e.ActorName)
	c[logClientID] = optionalText(e.ClientID)
	if !e.Message.IsZero() {
		c[logMessage] = blob(e.Message[:])
	}
	c[logMessageSeq] = optionalNumber(e.MessageSeq)
	if e.Type == chat.EventMessage {
		c[logContent] = text(e.Content)
		c[logReactions] = Value{Set: true}
	} else {
		c[logContent] = optionalText(e.Content)
	}
	c[logVoice] = optionalBool(e.IsVoice)
	switch f := e.File; {
	case f != nil:
		c[logFile] = blob(a.keep(fileSize(f), func(b []byte) []byte { return appendFile(b, f) }))
	case !e.DeletedAt.IsZero():
		c[logFile] = Value{Set: true}
	}
	c[logEditedAt], c[logDeletedAt] = moment(e.EditedAt), moment(e.DeletedAt)
	if len(e.Reactions) > 0 {
		c[logReactions] = blob(a.keep(reactionsSize(e.Reactions), func(b []byte) []byte { return appendReactions(b, e.Reactions) }))
	}
	c[logEmoji] = optionalText(e.Emoji)
	c[logRemoved] = optionalBool(e.Removed)
	c[logChange] = optionalNumber(uint64(e.Change))
	if len(e.Users) > 0 {
		c[logUsers] = blob(a.keep(usersSize(e.Users), func(b []byte) []byte { return appendUsers(b, e.Users) }))
	}
	c[logRole] = optionalNumber(uint64(e.Role))
	c[logName] = optionalText(e.Name)
	c[logKind] = optionalNumber(uint64(e.Kind))
	c[logPermissions] = optionalNumber(packPermissions(e.Permissions))
	a.extrasColumns(e, c)
	a.put(key, c)
}

// extrasColumns sets what edits and deletions may take back also where it is empty.
func (a *arena) extrasColumns(e *chat.Event, c []Value) {
	if e.Type == chat.EventMessage && !(e.EditedAt.IsZero() && e.DeletedAt.IsZero()) {
		c[logMentions], c[logMentionAll] = Value{Set: true}, Value{Set: true}
		c[logForwardedUser], c[logForwardedName] = Value{Set: true}, Value{Set: true}
		c[logPreview] = Value{Set: true}
	}
	x := e.Extras
	if x == nil {
		return
	}
	if !x.ReplyTo.IsZero() {
		c[logReplyTo] = blob(x.ReplyTo[:])
	}
	c[logReplies], c[logLastReply] = optionalNumber(x.Replies), optionalNumber(x.LastReply)
	if len(x.Mentions) > 0 {
		c[logMentions] = blob(a.keep(usersSize(x.Mentions), func(b []byte) []byte { return appendUsers(b, x.Mentions) }))
	}
	if x.MentionAll {
		c[logMentionAll] = boolean(true)
	}
	if x.Forwarded.User != "" {
		c[logForwardedUser], c[logForwardedName] = text(x.Forwarded.User), text(x.Forwarded.Name)
	}
	if p := x.Preview; p != nil {
		c[logPreview] = blob(a.keep(previewSize(p), func(b []byte) []byte { return appendPreview(b, p) }))
	}
}

func previewParts(p *chat.LinkPreview) [5]*string {
	return [...]*string{&p.URL, &p.Title, &p.Description, &p.Site, &p.Image}
}

func previewSize(p *chat.LinkPreview) (n int) {
	for _, s := range previewParts(p) {
		n += binary.MaxVarintLen16 + len(*s)
	}
	return n
}

// appendPreview writes each text behind its length.
func appendPreview(b []byte, p *chat.LinkPreview) []byte {
	for _, s := range previewParts(p) {
		b = append(binary.AppendUvarint(b, uint64(len(*s))), *s...)
	}
	return b
}

func decodePreview(v Value) (*chat.LinkPreview, error) {
	b := v.B
	if len(b) == 0 {
		return nil, nil //nolint:nilnil // none, or taken back
	}
	p := new(chat.LinkPreview)
	for _, s := range previewParts(p) {
		n, width := binary.Uvarint(b)
		if width <= 0 || n > uint64(len(b)-width) {
			return nil, fmt.Errorf("%w: link preview is cut off", ErrCorrupt)
		}
		*s, b = string(b[width:width+int(n)]), b[width+int(n):]
	}
	return p, nil
}

func decodeExtras(c []Value) (_ *chat.Extras, err error) {
	if !c[logReplyTo].Set && !c[logReplies].Set && !c[logMentions].Set && !c[logMentionAll].Set && !c[logForwardedUser].Set && !c[logPreview].Set {
		return nil, nil //nolint:nilnil // nearly every event
	}
	x := chat.Extras{Replies: c[logReplies].uint(), LastReply: c[logLastReply].uint(), MentionAll: c[logMentionAll].bool(),
		Forwarded: chat.Attribution{User: chat.UserID(c[logForwardedUser].string()), Name: c[logForwardedName].string()}}
	if x.ReplyTo, err = c[logReplyTo].uuid("reply_to"); err != nil {
		return nil, err
	}
	if x.Mentions, err = decodeUsers(c[logMentions].B); err != nil {
		return nil, fmt.Errorf("mentions: %w", err)
	}
	if x.Preview, err = decodePreview(c[logPreview]); err != nil {
		return nil, err
	}
	if x.ReplyTo.IsZero() && x.Replies == 0 && len(x.Mentions) == 0 && !x.MentionAll && x.Forwarded.User == "" && x.Preview == nil {
		return nil, nil //nolint:nilnil // taken back
	}
	return &x, nil
}

// decodeEvent builds an event from a row of the log; it shares no memory with the row.
func decodeEvent(r Row) (e chat.Event, err error) {
	c := r.Columns
	e.Seq, e.Epoch, e.MsgNo = r.Clustering[0].uint(), r.Clustering[1].uint(), c[logMsgNo].uint()
	if e.Type, err = small(c[logType], chat.LastEventType, "type"); err != nil {
		return e, err
	}
	if e.Type == 0 || !c[logMsgNo].Set || !c[logAt].Set {
		return e, fmt.Errorf("%w: event %d lacks its type, number or time", ErrCorrupt, e.Seq)
	}
	e.At, e.EditedAt, e.DeletedAt = c[logAt].time(), c[logEditedAt].time(), c[logDeletedAt].time()
	// One string holds the texts that nearly every message has.
	actor, name, id := c[logActor].B, c[logActorName].B, c[logClientID].B
	n1 := len(actor)
	n2 := n1 + len(name)
	n3 := n2 + len(id)
	all := string(append(append(append(append(make([]byte, 0, n3+len(c[logContent].B)), actor...), name...), id...), c[logContent].B...))
	e.Actor, e.ActorName, e.ClientID, e.Content = chat.UserID(all[:n1]), all[n1:n2], all[n2:n3], all[n3:]
	if e.Message, err = c[logMessage].uuid("message"); err != nil {
		return e, err
	}
	e.MessageSeq, e.IsVoice, e.Removed = c[logMessageSeq].uint(), c[logVoice].bool(), c[logRemoved].bool()
	if e.Reactions, err = decodeReactions(c[logReactions].B); err != nil {
		return e, err
	}
	e.Emoji, e.Name = c[logEmoji].string(), c[logName].string()
	if e.Change, err = small(c[logChange], chat.LastChange, "change"); err != nil {
		return e, err
	}
	if e.Users, err = decodeUsers(c[logUsers].B); err != nil {
		return e, err
	}
	if e.Role, err = small(c[logRole], chat.RoleOwner, "role"); err != nil {
		return e, err
	}
	if e.Kind, err = small(c[logKind], chat.Group, "kind"); err != nil {
		return e, err
	}
	if e.Permissions, err = unpackPermissions(c[logPermissions]); err != nil {
		return e, err
	}
	if e.Extras, err = decodeExtras(c); err != nil {
		return e, err
	}
	e.File, err = decodeFile(c[logFile].B)
	return e, err
}

// Lists are the number of entries and the entries: texts as length and bytes, times as microseconds, all varints.

func usersSize(users []chat.UserID) int {
	n := binary.MaxVarintLen32
	for _, u := range users {
		n += binary.MaxVarintLen32 + len(u)
	}
	return n
}

func appendUsers(b []byte, users []chat.UserID) []byte {
	b = binary.AppendUvarint(b, uint64(len(users)))
	for _, u := range users {
		b = appendString(b, string(u))
	}
	return b
}

func decodeUsers(b []byte) ([]chat.UserID, error) {
	if len(b) == 0 {
		return nil, nil
	}
	n, b, err := listLength(b)
	if err != nil {
		return nil, fmt.Errorf("users: %w", err)
	}
	users := make([]chat.UserID, n)
	for i := range users {
		var s string
		if s, b, err = cutString(b); err != nil {
			return nil, fmt.Errorf("users: %w", err)
		}
		users[i] = chat.UserID(s)
	}
	return users, listEnd(b, "users")
}

func reactionsSize(rs []chat.Reaction) int {
	n := binary.MaxVarintLen32
	for i := range rs {
		n += 2*binary.MaxVarintLen32 + binary.MaxVarintLen64 + len(rs[i].User) + len(rs[i].Emoji)
	}
	return n
}

func appendReactions(b []byte, rs []chat.Reaction) []byte {
	b = binary.AppendUvarint(b, uint64(len(rs)))
	for i := range rs {
		b = appendString(b, string(rs[i].User))
		b = appendString(b, rs[i].Emoji)
		b = binary.AppendVarint(b, rs[i].At.UnixMicro())
	}
	return b
}

func decodeReactions(b []byte) ([]chat.Reaction, error) {
	if len(b) == 0 {
		return nil, nil
	}
	n, b, err := listLength(b)
	if err != nil {
		return nil, fmt.Errorf("reactions: %w", err)
	}
	rs := make([]chat.Reaction, n)
	for i := range rs {
		var user string
		if user, b, err = cutString(b); err != nil {
			return nil, fmt.Errorf("reactions: %w", err)
		}
		rs[i].User = chat.UserID(user)
		if rs[i].Emoji, b, err = cutString(b); err != nil {
			return nil, fmt.Errorf("reactions: %w", err)
		}
		at, k := binary.Varint(b)
		if k <= 0 {
			return nil, fmt.Errorf("reactions: %w: list is cut off", ErrCorrupt)
		}
		rs[i].At, b = time.UnixMicro(at).UTC(), b[k:]
	}
	return rs, listEnd(b, "reactions")
}

func fileSize(f *chat.File) int {
	return len(f.ID) + 2*binary.MaxVarintLen32 + binary.MaxVarintLen64 + len(f.Name) + len(f.Type)
}

func appendFile(b []byte, f *chat.File) []byte {
	b = append(b, f.ID[:]...)
	b = appendString(b, f.Name)
	b = appendString(b, f.Type)
	return binary.AppendVarint(b, f.Size)
}

func decodeFile(b []byte) (*chat.File, error) {
	if len(b) == 0 {
		return nil, nil //nolint:nilnil // there is none
	}
	f := new(chat.File)
	if len(b) < len(f.ID) {
		return nil, fmt.Errorf("file: %w: cut off", ErrCorrupt)
	}
	var err error
	b = b[copy(f.ID[:], b):]
	if f.Name, b, err = cutString(b); err != nil {
		return nil, fmt.Errorf("file: %w", err)
	}
	if f.Type, b, err = cutString(b); err != nil {
		return nil, fmt.Errorf("file: %w", err)
	}
	n, k := binary.Varint(b)
	if k <= 0 {
		return nil, fmt.Errorf("file: %w: cut off", ErrCorrupt)
	}
	f.Size = n
	return f, listEnd(b[k:], "file")
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func cutString(b []byte) (s string, rest []byte, err error) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)-k) {
		return "", nil, fmt.Errorf("%w: list is cut off", ErrCorrupt)
	}
	return string(b[k : k+int(n)]), b[k+int(n):], nil
}

// listLength reads the number of entries, each of which has at least one byte.
func listLength(b []byte) (int, []byte, error) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n == 0 || n > uint64(len(b)-k) {
		return 0, nil, fmt.Errorf("%w: bad length of list", ErrCorrupt)
	}
	return int(n), b[k:], nil
}

func listEnd(b []byte, what string) error {
	if len(b) > 0 {
		return fmt.Errorf("%s: %w: %d bytes after the list", what, ErrCorrupt, len(b))
	}
	return nil
}
