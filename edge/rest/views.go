package rest

import (
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/zumodra/hub/chat"
)

// userView is the User of contract §3.2.
type userView struct {
	ID        chat.UserID `json:"id"`
	Email     string      `json:"email"` // the caller's own; "" of everybody else (D-20)
	FirstName string      `json:"first_name"`
	LastName  string      `json:"last_name"`
	FullName  string      `json:"full_name"`
	AvatarURL *string     `json:"avatar_url"`
	Role      string      `json:"role,omitempty"` // of a participant of a group
}

func viewUser(u chat.User, caller chat.UserID) userView {
	v := userView{ID: u.ID, FirstName: u.FirstName, LastName: u.LastName, FullName: u.Name(), AvatarURL: orNull(u.AvatarURL)}
	if u.ID == caller {
		v.Email = u.Email
	}
	if v.FullName == "" {
		v.FullName = string(u.ID)
	}
	return v
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// conversationView holds the fields that ConversationList and ConversationDetail share, in the order of the
// contract up to where they part.
type conversationView struct {
	ID                  string     `json:"id"`
	Name                *string    `json:"name"`
	Participants        []userView `json:"participants"`
	LastMessageText     *string    `json:"last_message_text"`
	LastMessageAt       stamp      `json:"last_message_at"`
	LastMessageSenderID *string    `json:"last_message_sender_id"`
	LastMessagePreview  *preview   `json:"last_message_preview,omitempty"`
	UnreadCount         uint64     `json:"unread_count"`
	IsGroup             bool       `json:"is_group"`
	OtherParticipant    *userView  `json:"other_participant"`
	UpdatedAt           stamp      `json:"updated_at"`
	ownView
	*conversationDetail // nil in lists
}

type conversationDetail struct {
	CanLeave           bool  `json:"can_leave"`
	CanAddParticipants bool  `json:"can_add_participants"`
	CreatedAt          stamp `json:"created_at"`
	*permissionsView         // of a group
}

// permissionsView says who may do what in a group, and what the caller's role is.
type permissionsView struct {
	MyRole     string `json:"my_role"`
	Add        string `json:"who_can_add"`
	Pin        string `json:"who_can_pin"`
	MentionAll string `json:"who_can_mention_all"`
}

// preview is a string, or null without a message; it is absent from details.
type preview struct{ text *string }

func (p preview) MarshalJSON() ([]byte, error) {
	if p.text == nil {
		return []byte("null"), nil
	}
	return chat.AppendJSONString(nil, *p.text), nil
}

func (a *API) viewConversation(it *chat.ConversationItem) conversationView {
	caller, h := it.Me.User, &it.Head
	v := conversationView{
		ID:           h.Key.ID.String(),
		Name:         orNull(h.Name),
		Participants: make([]userView, len(it.Members)),
		UnreadCount:  it.Unread,
		IsGroup:      h.Kind == chat.Group,
		UpdatedAt:    stamp(h.UpdatedAt),
	}
	for i, u := range it.Members {
		v.Participants[i] = viewUser(u, caller)
		if v.IsGroup && i < len(it.Roles) {
			v.Participants[i].Role = it.Roles[i].String()
		}
	}
	v.ownView = a.viewOwn(it)
	if it.Other != nil {
		o := viewUser(*it.Other, caller)
		v.OtherParticipant = &o
	}
	if !h.Last.ID.IsZero() {
		sender := legacyUserID(h.Last.Sender)
		v.LastMessageText, v.LastMessageAt, v.LastMessageSenderID = &h.Last.Text, stamp(h.Last.At), &sender
	}
	return v
}

func (a *API) listConversation(it *chat.ConversationItem) conversationView {
	v := a.viewConversation(it)
	v.LastMessagePreview = &preview{}
	if v.LastMessageText != nil {
		p := chat.Truncate(*v.LastMessageText, chat.PreviewText)
		if utf8.RuneCountInString(*v.LastMessageText) > chat.PreviewText {
			p += "..."
		}
		v.LastMessagePreview.text = &p
	}
	return v
}

func (a *API) detailConversation(it *chat.ConversationItem) conversationView {
	v := a.viewConversation(it)
	v.conversationDetail = &conversationDetail{
		CanLeave:           it.Head.Kind == chat.Group,
		CanAddParticipants: it.Head.Kind == chat.Group && it.CanAdd,
		CreatedAt:          stamp(it.Head.CreatedAt),
	}
	if v.IsGroup {
		p := it.Head.Permissions.WithDefaults()
		v.permissionsView = &permissionsView{it.Me.Role.String(), p.Add.String(), p.Pin.String(), p.MentionAll.String()}
	}
	return v
}

// legacyUserID is how the original stores the sender of the last message: an integer id as the UUID of that
// value. Other ids stay as they are.
func legacyUserID(u chat.UserID) string {
	n, integer := u.Integer()
	if !integer {
		return string(u)
	}
	hex := fmt.Sprintf("%032x", n)
	return hex[:8] + "-" + hex[8:12] + "-" + hex[12:16] + "-" + hex[16:20] + "-" + hex[20:]
}

// extras are the fields that the hub adds to the original's messages, so that a client can merge a page of
// history with the frames of its socket.
type extras struct {
	Seq       uint64         `json:"seq"`
	ClientID  *string        `json:"client_id"`
	Reactions []reactionView `json:"reactions"`
	EditedAt  stamp          `json:"edited_at"`
	DeletedAt stamp          `json:"deleted_at"`
	extrasView
	// Attachment tells more of the file than the original's fields do.
	Attachment *attachmentView `json:"attachment"`
}

// extrasView is what few messages have.
type extrasView struct {
	ReplyTo       *string          `json:"reply_to"`
	ReplyCount    uint64           `json:"reply_count"`
	Mentions      []chat.UserID    `json:"mentions"`
	MentionAll    bool             `json:"mention_all"`
	ForwardedFrom *attributionView `json:"forwarded_from"`
	LinkPreview   *previewView     `json:"link_preview,omitempty"` // where the operator lets the hub look
}

// previewView has all fields, as frames do.
type previewView struct {
	URL         string `json:"url"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Site        string `json:"site_name"`
	Image       string `json:"image_url"`
}

type attributionView struct {
	User   string      `json:"user"`
	UserID chat.UserID `json:"user_id"`
}

func viewMore(e *chat.Event) extrasView {
	x := e.More()
	v := extrasView{ReplyCount: x.Replies, Mentions: x.Mentions, MentionAll: x.MentionAll}
	if v.Mentions == nil {
		v.Mentions = []chat.UserID{}
	}
	if !x.ReplyTo.IsZero() {
		v.ReplyTo = orNull(x.ReplyTo.String())
	}
	if x.Forwarded.User != "" {
		v.ForwardedFrom = &attributionView{x.Forwarded.Name, x.Forwarded.User}
	}
	if x.Preview != nil {
		v.LinkPreview = (*previewView)(x.Preview)
	}
	return v
}

type reactionView struct {
	Emoji  string      `json:"emoji"`
	UserID chat.UserID `json:"user_id"`
}

func viewExtras(e *chat.Event, own bool) extras {
	x := extras{Seq: e.Seq, EditedAt: stamp(e.EditedAt), DeletedAt: stamp(e.DeletedAt), Attachment: viewAttachment(e.File), Reactions: make([]reactionView, len(e.Reactions)),
		extrasView: viewMore(e)}
	if own { // a client's own id means something to that client only
		x.ClientID = orNull(chat.OwnClientID(e.ClientID))
	}
	for i, r := range e.Reactions {
		x.Reactions[i] = reactionView{r.Emoji, r.User}
	}
	return x
}

type messageListView struct {
	ID            string   `json:"id"`
	Conversation  string   `json:"conversation"`
	Sender        userView `json:"sender"`
	Content       string   `json:"content"`
	IsOwn         bool     `json:"is_own"`
	HasAttachment bool     `json:"has_attachment"`
	IsRead        bool     `json:"is_read"`
	IsVoice       bool     `json:"is_voice"`
	Timestamp     stamp    `json:"timestamp"`
	extras
}

func listMessage(it *chat.MessageItem, caller chat.UserID) messageListView {
	e := &it.Event
	return messageListView{
		ID:           e.Message.String(),
		Conversation: it.Conversation.String(),
		Sender:       viewSender(it, caller),
		Content:      e.Content,
		IsOwn:        it.IsOwn,
		IsRead:       it.IsRead,
		IsVoice:      e.IsVoice,
		Timestamp:    stamp(e.At),
		extras:       viewExtras(e, it.IsOwn),

		HasAttachment: e.File != nil,
	}
}

// viewSender is the sender as stored, or, where nothing is stored of them any more, as the message names them.
func viewSender(it *chat.MessageItem, caller chat.UserID) userView {
	u := it.Sender
	if u.ID == "" {
		u = chat.User{ID: it.Event.Actor, Username: it.Event.ActorName}
	}
	return viewUser(u, caller)
}

type messageDetailView struct {
	ID              string     `json:"id"`
	Conversation    string     `json:"conversation"`
	Sender          userView   `json:"sender"`
	Content         string     `json:"content"`
	File            *string    `json:"file"`
	FileURL         *string    `json:"file_url"`
	VoiceMessage    *string    `json:"voice_message"`
	VoiceMessageURL *string    `json:"voice_message_url"`
	IsVoice         bool       `json:"is_voice"`
	IsRead          bool       `json:"is_read"`
	IsOwn           bool       `json:"is_own"`
	ReadBy          []readView `json:"read_by"`
	ReadCount       int        `json:"read_count"`
	Timestamp       stamp      `json:"timestamp"`
	extras
}

type readView struct {
	UserID string `json:"user_id"` // a string even where ids are integers, as in the original
	ReadAt stamp  `json:"read_at"`
}

func (a *API) detailMessage(c *call, it *chat.MessageItem) messageDetailView {
	e, caller := &it.Event, c.p.User
	f := a.fileFields(c, e)
	v := messageDetailView{
		ID:           e.Message.String(),
		Conversation: it.Conversation.String(),
		Sender:       viewSender(it, caller),
		Content:      e.Content,
		File:         f.file,
		FileURL:      f.fileURL,
		VoiceMessage: f.voice,
		IsVoice:      e.IsVoice,
		IsRead:       it.IsRead,
		IsOwn:        it.IsOwn,
		ReadBy:       viewReaders(it.ReadBy),
		ReadCount:    it.Readers,
		Timestamp:    stamp(e.At),
		extras:       viewExtras(e, it.IsOwn),

		VoiceMessageURL: f.voiceURL,
	}
	return v
}

// sentView is the answer to POST messages/: the original's four keys, and what it lacked (§12.6).
type sentView struct {
	Content      string   `json:"content"`
	File         *string  `json:"file"`
	VoiceMessage *string  `json:"voice_message"`
	IsVoice      bool     `json:"is_voice"`
	ID           string   `json:"id"`
	Conversation string   `json:"conversation"`
	Sender       userView `json:"sender"`
	Timestamp    stamp    `json:"timestamp"`
	Seq          uint64   `json:"seq"`
	ClientID     *string  `json:"client_id"`
	extrasView

	Attachment *attachmentView `json:"attachment"`
}

// page is DRF's page of a list.
type page struct {
	Count    int     `json:"count"`
	Next     *string `json:"next"`
	Previous *string `json:"previous"`
	Results  any     `json:"results"`
}

const pageSize = 20

// maxPage keeps offsets far from overflow; nobody has that many pages.
const maxPage = 50_000_000

// pageNumber parses ?page; "last" is 0, and so is not a page that anything else names.
func pageNumber(s string) (n int, valid bool) {
	switch s {
	case "":
		return 1, true
	case "last":
		return 0, true
	}
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 1 && n <= maxPage
}

// lastPage is the number of the last page of that many items; an empty list has one page.
func lastPage(total int) int { return max(1, (total+pageSize-1)/pageSize) }
