package searchtest

import (
	"encoding/binary"
	"time"

	"github.com/zumodra/hub/chat"
)

// Key returns the n-th conversation of a tenant.
func Key(t chat.TenantID, n int) chat.ConversationKey {
	k := chat.ConversationKey{Tenant: t, ID: chat.ConversationID{6: 0x70, 8: 0x80}}
	binary.BigEndian.PutUint32(k.ID[12:], uint32(n))
	return k
}

// At is second n of the suites' time.
func At(n int) time.Time {
	return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Second)
}

// Log is the log of one conversation. Like the real one it shows the present: an edit or a deletion changes the row of
// its message and is an event of its own as well.
type Log struct {
	Key    chat.ConversationKey
	Events []chat.Event
}

// NewLog returns a log that holds the conversation's creation at that time.
func NewLog(key chat.ConversationKey, at time.Time) *Log {
	l := &Log{Key: key}
	l.add(chat.Event{Type: chat.EventConversation, Change: chat.ChangeCreated, Kind: chat.Group, At: at, Actor: "alice",
		Users: []chat.UserID{"alice", "bob"}, Name: "needle group"})
	return l
}

func (l *Log) add(e chat.Event) uint64 {
	e.Seq, e.Epoch = uint64(len(l.Events)+1), 1
	if n := len(l.Events); n > 0 {
		e.MsgNo = l.Events[n-1].MsgNo
	}
	if e.Type == chat.EventMessage {
		e.MsgNo++
		e.MessageSeq = e.Seq
		e.Message = chat.NewMessageID(l.Key, e.Seq, e.At)
	}
	l.Events = append(l.Events, e)
	return e.Seq
}

// Say appends a message and returns its seq.
func (l *Log) Say(who chat.UserID, at time.Time, content string) uint64 {
	return l.add(chat.Event{Type: chat.EventMessage, At: at, Actor: who, ActorName: string(who), Content: content})
}

// Attach appends a message with a file.
func (l *Log) Attach(who chat.UserID, at time.Time, content string) uint64 {
	return l.add(chat.Event{Type: chat.EventMessage, At: at, Actor: who, ActorName: string(who), Content: content,
		File: &chat.File{ID: chat.FileID{1}, Name: "a.txt", Type: "text/plain", Size: 1}})
}

// Voice appends a voice message.
func (l *Log) Voice(who chat.UserID, at time.Time, content string) uint64 {
	return l.add(chat.Event{Type: chat.EventMessage, At: at, Actor: who, ActorName: string(who), Content: content, IsVoice: true})
}

// Edit changes the message at seq.
func (l *Log) Edit(seq uint64, at time.Time, content string) uint64 {
	m := &l.Events[seq-1]
	m.Content, m.EditedAt = content, at
	return l.add(chat.Event{Type: chat.EventEdited, At: at, Actor: m.Actor, Message: m.Message, MessageSeq: seq, Content: content})
}

// Delete deletes the message at seq.
func (l *Log) Delete(seq uint64, at time.Time) uint64 {
	m := &l.Events[seq-1]
	m.Content, m.DeletedAt = "", at
	return l.add(chat.Event{Type: chat.EventDeleted, At: at, Actor: m.Actor, Message: m.Message, MessageSeq: seq})
}

// React appends a reaction to the message at seq.
func (l *Log) React(seq uint64, at time.Time, emoji string) uint64 {
	m := &l.Events[seq-1]
	return l.add(chat.Event{Type: chat.EventReaction, At: at, Actor: "bob", Message: m.Message, MessageSeq: seq, Emoji: emoji})
}

// Join appends that somebody was added.
func (l *Log) Join(who chat.UserID, at time.Time) uint64 {
	return l.add(chat.Event{Type: chat.EventParticipants, Change: chat.ChangeAdded, At: at, Actor: "alice", Users: []chat.UserID{who}})
}

// Since returns the change that follows seq, with rows as they are now.
func (l *Log) Since(seq uint64) chat.IndexChange {
	events := make([]chat.Event, len(l.Events)-int(seq))
	copy(events, l.Events[seq:])
	return chat.IndexChange{Key: l.Key, Events: events}
}

// Hit is what a search that finds the message at seq answers.
func (l *Log) Hit(seq uint64) chat.SearchHit {
	return chat.SearchHit{Conversation: l.Key.ID, Seq: seq, Message: l.Events[seq-1].Message}
}
