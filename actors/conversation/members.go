package conversation

import (
	"slices"
	"strings"
	"time"

	"github.com/zumodra/hub/chat"
)

type member struct {
	chat.Member
	dirty bool // its row in the store is not up to date
}

// roster is the members of a conversation: members[i] is set.Users[i].
type roster struct {
	set     *chat.MemberSet
	members []member

	readSeq      uint64
	readBy       chat.UserID
	readSeqOther uint64
}

func (r *roster) find(u chat.UserID) *member {
	i, ok := slices.BinarySearchFunc(r.members, u, func(m member, u chat.UserID) int {
		return strings.Compare(string(m.User), string(u))
	})
	if !ok {
		return nil
	}
	return &r.members[i]
}

// reset takes the members as stored.
func (r *roster) reset(ms []chat.Member, version uint64) {
	r.members = make([]member, len(ms))
	for i := range ms {
		r.members[i].Member = ms[i]
	}
	slices.SortFunc(r.members, func(a, b member) int { return strings.Compare(string(a.User), string(b.User)) })
	r.publish(version)
	r.recount()
}

func (r *roster) publish(version uint64) {
	users := make([]chat.UserID, len(r.members))
	for i := range r.members {
		users[i] = r.members[i].User
	}
	r.set = &chat.MemberSet{Version: version, Users: users}
}

// add makes users members as of the event. One who has a row of that very event keeps it: the row was saved
// before a crash and holds what was read since.
func (r *roster) add(users []chat.UserID, role chat.Role, at chat.Watermark) {
	var fresh []member
	for _, u := range users {
		m := member{dirty: true, Member: chat.Member{
			User: u, Role: role, JoinedAt: at.At, JoinedSeq: at.Seq, Read: at, Delivered: at}}
		switch old := r.find(u); {
		case old == nil:
			fresh = append(fresh, m)
		case old.JoinedSeq == at.Seq:
			old.dirty = true
		default:
			*old = m
		}
	}
	r.members = append(r.members, fresh...)
	slices.SortFunc(r.members, func(a, b member) int { return strings.Compare(string(a.User), string(b.User)) })
	r.publish(at.Seq)
}

func (r *roster) remove(users []chat.UserID, version uint64) {
	r.members = slices.DeleteFunc(r.members, func(m member) bool { return slices.Contains(users, m.User) })
	r.publish(version)
	r.recount()
}

// advanced notes how far m has read, as far as others may know. The position one joins with says nothing about reading.
func (r *roster) advanced(m *member) {
	seq, u := m.Shown(), m.User
	switch {
	case seq <= m.JoinedSeq:
	case u == r.readBy:
		r.readSeq = max(r.readSeq, seq)
	case seq > r.readSeq:
		r.readSeqOther, r.readSeq, r.readBy = r.readSeq, seq, u
	case seq > r.readSeqOther:
		r.readSeqOther = seq
	}
}

func (r *roster) recount() {
	r.readSeq, r.readBy, r.readSeqOther = 0, "", 0
	for i := range r.members {
		r.advanced(&r.members[i])
	}
}

// heir is who becomes owner when u, the owner, goes: the oldest admin, else the oldest member.
func (r *roster) heir(u chat.UserID) *member {
	var best *member
	for i := range r.members {
		m := &r.members[i]
		if m.User == u {
			continue
		}
		if best == nil || m.Role > best.Role || m.Role == best.Role && m.JoinedSeq < best.JoinedSeq {
			best = m
		}
	}
	return best
}

// sent accounts for a message of its own: one who had nothing unread has thereby read up to it. Who hid what was unread
// has not read it, and others must not take it for that.
func (m *member) sent(e *chat.Event) {
	if e.Seq <= m.Read.Seq {
		return // replayed: the stored position is ahead of the stored head
	}
	if m.Unread(e.MsgNo-1) > 0 || m.HiddenUnread > 0 {
		m.OwnAfterRead++
	} else {
		m.Read = chat.Watermark{Seq: e.Seq, MsgNo: e.MsgNo, At: e.At}
		m.OwnAfterRead = 0
		if m.Delivered.Seq < m.Read.Seq {
			m.Delivered = m.Read
		}
	}
	m.dirty = true
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
