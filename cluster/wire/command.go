package wire

import (
	"fmt"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/wire/internal/pb"
)

func putCommand(c chat.Command) (*pb.Command, error) {
	if c == nil {
		return nil, fmt.Errorf("%w: no command", ErrUnknownType)
	}
	m := pb.CommandFromVTPool()
	m.ConversationHi, m.ConversationLo = halves(c.Target())
	switch c := c.(type) {
	case chat.Create:
		m.Type = pb.CommandType_COMMAND_CREATE
		m.Kind, m.Title = uint32(c.Kind), c.Title
		m.Users = putUsers(m.Users, c.Members)
	case chat.Send:
		m.Type = pb.CommandType_COMMAND_SEND
		m.ClientId, m.Content, m.IsVoice, m.File = c.ClientID, c.Content, c.IsVoice, putFile(c.File)
		m.Extras = putSendExtras(&chat.Extras{ReplyTo: c.ReplyTo, Mentions: c.Mentions, MentionAll: c.MentionAll, Forwarded: c.Forwarded})
	case chat.Forward:
		m.Type = pb.CommandType_COMMAND_FORWARD
		m.FromHi, m.FromLo = halves(c.From)
		m.MessageHi, m.MessageLo = halves(c.Message)
		m.ClientId = c.ClientID
	case chat.Edit:
		m.Type = pb.CommandType_COMMAND_EDIT
		m.MessageHi, m.MessageLo = halves(c.Message)
		m.Content = c.Content
		m.Extras = putSendExtras(&chat.Extras{Mentions: c.Mentions, MentionAll: c.MentionAll})
	case chat.Delete:
		m.Type = pb.CommandType_COMMAND_DELETE
		m.MessageHi, m.MessageLo = halves(c.Message)
	case chat.Pin:
		m.Type = pb.CommandType_COMMAND_PIN
		m.MessageHi, m.MessageLo = halves(c.Message)
		m.Remove = c.Remove
	case chat.React:
		m.Type = pb.CommandType_COMMAND_REACT
		m.MessageHi, m.MessageLo = halves(c.Message)
		m.Emoji, m.Remove = c.Emoji, c.Remove
	case chat.Typing:
		m.Type = pb.CommandType_COMMAND_TYPING
		m.On = c.On
	case chat.MarkRead:
		m.Type = pb.CommandType_COMMAND_MARK_READ
		m.MessageHi, m.MessageLo = halves(c.Message)
		m.Seq, m.Private = c.Seq, c.Private
	case chat.MarkDelivered:
		m.Type = pb.CommandType_COMMAND_MARK_DELIVERED
		m.Seq, m.Private = c.Seq, c.Private
	case chat.AddMembers:
		m.Type = pb.CommandType_COMMAND_ADD_MEMBERS
		m.Users = putUsers(m.Users, c.Users)
	case chat.RemoveMembers:
		m.Type = pb.CommandType_COMMAND_REMOVE_MEMBERS
		m.Users = putUsers(m.Users, c.Users)
	case chat.Leave:
		m.Type = pb.CommandType_COMMAND_LEAVE
	case chat.Rename:
		m.Type = pb.CommandType_COMMAND_RENAME
		m.Title = c.Title
	case chat.SetRole:
		m.Type = pb.CommandType_COMMAND_SET_ROLE
		m.User, m.Role = string(c.User), uint32(c.Role)
	case chat.SetPermissions:
		m.Type = pb.CommandType_COMMAND_SET_PERMISSIONS
		m.Permissions = putPermissions(c.Permissions)
	case chat.Archive:
		m.Type = pb.CommandType_COMMAND_ARCHIVE
		m.On = c.On
	case chat.Erase:
		m.Type = pb.CommandType_COMMAND_ERASE
	case chat.Preview:
		m.Type = pb.CommandType_COMMAND_PREVIEW
		m.MessageHi, m.MessageLo = halves(c.Message)
		m.Extras = putExtras(&chat.Extras{Preview: &c.Preview})
	case chat.Hide:
		m.Type = pb.CommandType_COMMAND_HIDE
		m.MessageHi, m.MessageLo = halves(c.Message)
	case chat.Mute:
		m.Type = pb.CommandType_COMMAND_MUTE
		m.Until = micros(c.Until)
	case chat.PinConversation:
		m.Type = pb.CommandType_COMMAND_PIN_CONVERSATION
		m.On = c.On
	case chat.SetDraft:
		m.Type = pb.CommandType_COMMAND_SET_DRAFT
		m.Content = c.Text
		m.MessageHi, m.MessageLo = halves(c.ReplyTo)
	case chat.Attach:
		m.Type = pb.CommandType_COMMAND_ATTACH
		m.Join = c.Join
	case chat.Resume:
		m.Type = pb.CommandType_COMMAND_RESUME
		m.Seq, m.Limit = c.LastSeq, int64(c.Limit)
	default:
		return nil, fmt.Errorf("%w: command %T", ErrUnknownType, c)
	}
	return m, nil
}

// putSendExtras leaves out what most commands have none of.
func putSendExtras(x *chat.Extras) *pb.Extras {
	if x.ReplyTo.IsZero() && len(x.Mentions) == 0 && !x.MentionAll && x.Forwarded == (chat.Attribution{}) {
		return nil
	}
	return putExtras(x)
}

func sendExtras(m *pb.Extras) chat.Extras {
	if x := extras(m); x != nil {
		return *x
	}
	return chat.Extras{}
}

func command(m *pb.Command) (chat.Command, error) {
	if m == nil {
		return nil, fmt.Errorf("%w: no command", ErrUnknownType)
	}
	conversation := whole[chat.ConversationID](m.ConversationHi, m.ConversationLo)
	message := whole[chat.MessageID](m.MessageHi, m.MessageLo)
	switch m.Type {
	case pb.CommandType_COMMAND_CREATE:
		return chat.Create{Conversation: conversation, Kind: chat.Kind(m.Kind), Title: m.Title, Members: usersOf(m.Users)}, nil
	case pb.CommandType_COMMAND_SEND:
		x := sendExtras(m.Extras)
		return chat.Send{Conversation: conversation, ClientID: m.ClientId, Content: m.Content, IsVoice: m.IsVoice, File: file(m.File),
			ReplyTo: x.ReplyTo, Mentions: x.Mentions, MentionAll: x.MentionAll, Forwarded: x.Forwarded}, nil
	case pb.CommandType_COMMAND_FORWARD:
		return chat.Forward{Conversation: conversation, From: whole[chat.ConversationID](m.FromHi, m.FromLo), Message: message,
			ClientID: m.ClientId}, nil
	case pb.CommandType_COMMAND_EDIT:
		x := sendExtras(m.Extras)
		return chat.Edit{Conversation: conversation, Message: message, Content: m.Content, Mentions: x.Mentions, MentionAll: x.MentionAll}, nil
	case pb.CommandType_COMMAND_ERASE:
		return chat.Erase{Conversation: conversation}, nil
	case pb.CommandType_COMMAND_PREVIEW:
		c := chat.Preview{Conversation: conversation, Message: message}
		if x := sendExtras(m.Extras); x.Preview != nil {
			c.Preview = *x.Preview
		}
		return c, nil
	case pb.CommandType_COMMAND_DELETE:
		return chat.Delete{Conversation: conversation, Message: message}, nil
	case pb.CommandType_COMMAND_PIN:
		return chat.Pin{Conversation: conversation, Message: message, Remove: m.Remove}, nil
	case pb.CommandType_COMMAND_REACT:
		return chat.React{Conversation: conversation, Message: message, Emoji: m.Emoji, Remove: m.Remove}, nil
	case pb.CommandType_COMMAND_TYPING:
		return chat.Typing{Conversation: conversation, On: m.On}, nil
	case pb.CommandType_COMMAND_MARK_READ:
		return chat.MarkRead{Conversation: conversation, Message: message, Seq: m.Seq, Private: m.Private}, nil
	case pb.CommandType_COMMAND_MARK_DELIVERED:
		return chat.MarkDelivered{Conversation: conversation, Seq: m.Seq, Private: m.Private}, nil
	case pb.CommandType_COMMAND_ADD_MEMBERS:
		return chat.AddMembers{Conversation: conversation, Users: usersOf(m.Users)}, nil
	case pb.CommandType_COMMAND_REMOVE_MEMBERS:
		return chat.RemoveMembers{Conversation: conversation, Users: usersOf(m.Users)}, nil
	case pb.CommandType_COMMAND_LEAVE:
		return chat.Leave{Conversation: conversation}, nil
	case pb.CommandType_COMMAND_RENAME:
		return chat.Rename{Conversation: conversation, Title: m.Title}, nil
	case pb.CommandType_COMMAND_SET_ROLE:
		return chat.SetRole{Conversation: conversation, User: chat.UserID(m.User), Role: chat.Role(m.Role)}, nil
	case pb.CommandType_COMMAND_SET_PERMISSIONS:
		return chat.SetPermissions{Conversation: conversation, Permissions: permissions(m.Permissions)}, nil
	case pb.CommandType_COMMAND_ARCHIVE:
		return chat.Archive{Conversation: conversation, On: m.On}, nil
	case pb.CommandType_COMMAND_HIDE:
		return chat.Hide{Conversation: conversation, Message: message}, nil
	case pb.CommandType_COMMAND_MUTE:
		return chat.Mute{Conversation: conversation, Until: instant(m.Until)}, nil
	case pb.CommandType_COMMAND_PIN_CONVERSATION:
		return chat.PinConversation{Conversation: conversation, On: m.On}, nil
	case pb.CommandType_COMMAND_SET_DRAFT:
		return chat.SetDraft{Conversation: conversation, Text: m.Content, ReplyTo: message}, nil
	case pb.CommandType_COMMAND_ATTACH:
		return chat.Attach{Conversation: conversation, Join: m.Join}, nil
	case pb.CommandType_COMMAND_RESUME:
		return chat.Resume{Conversation: conversation, LastSeq: m.Seq, Limit: int(m.Limit)}, nil
	}
	return nil, fmt.Errorf("%w: command %d", ErrUnknownType, int32(m.Type))
}

func putPeopleCommand(c chat.PeopleCommand) (*pb.PeopleCommand, error) {
	if c == nil {
		return nil, fmt.Errorf("%w: no command", ErrUnknownType)
	}
	m := pb.PeopleCommandFromVTPool()
	m.User = string(c.About())
	switch c := c.(type) {
	case chat.AddContact:
		m.Type = pb.PeopleCommandType_PEOPLE_ADD_CONTACT
		m.Favorite, m.Ask = c.Favorite, c.Ask
	case chat.SetFavorite:
		m.Type = pb.PeopleCommandType_PEOPLE_SET_FAVORITE
		m.On = c.On
	case chat.RemoveContact:
		m.Type = pb.PeopleCommandType_PEOPLE_REMOVE_CONTACT
	case chat.RequestFriend:
		m.Type = pb.PeopleCommandType_PEOPLE_REQUEST_FRIEND
		m.Quiet = c.Quiet
	case chat.AnswerRequest:
		m.Type = pb.PeopleCommandType_PEOPLE_ANSWER_REQUEST
		m.RequestHi, m.RequestLo = halves(c.ID)
		m.Accept = c.Accept
	case chat.CancelRequest:
		m.Type = pb.PeopleCommandType_PEOPLE_CANCEL_REQUEST
		m.RequestHi, m.RequestLo = halves(c.ID)
	case chat.Block:
		m.Type = pb.PeopleCommandType_PEOPLE_BLOCK
	case chat.Unblock:
		m.Type = pb.PeopleCommandType_PEOPLE_UNBLOCK
	default:
		return nil, fmt.Errorf("%w: command %T", ErrUnknownType, c)
	}
	return m, nil
}

func peopleCommand(m *pb.PeopleCommand) (chat.PeopleCommand, error) {
	if m == nil {
		return nil, fmt.Errorf("%w: no command", ErrUnknownType)
	}
	user, request := chat.UserID(m.User), whole[chat.RequestID](m.RequestHi, m.RequestLo)
	switch m.Type {
	case pb.PeopleCommandType_PEOPLE_ADD_CONTACT:
		return chat.AddContact{User: user, Favorite: m.Favorite, Ask: m.Ask}, nil
	case pb.PeopleCommandType_PEOPLE_SET_FAVORITE:
		return chat.SetFavorite{User: user, On: m.On}, nil
	case pb.PeopleCommandType_PEOPLE_REMOVE_CONTACT:
		return chat.RemoveContact{User: user}, nil
	case pb.PeopleCommandType_PEOPLE_REQUEST_FRIEND:
		return chat.RequestFriend{User: user, Quiet: m.Quiet}, nil
	case pb.PeopleCommandType_PEOPLE_ANSWER_REQUEST:
		return chat.AnswerRequest{User: user, ID: request, Accept: m.Accept}, nil
	case pb.PeopleCommandType_PEOPLE_CANCEL_REQUEST:
		return chat.CancelRequest{User: user, ID: request}, nil
	case pb.PeopleCommandType_PEOPLE_BLOCK:
		return chat.Block{User: user}, nil
	case pb.PeopleCommandType_PEOPLE_UNBLOCK:
		return chat.Unblock{User: user}, nil
	}
	return nil, fmt.Errorf("%w: command %d", ErrUnknownType, int32(m.Type))
}
