package conversation

import (
	"fmt"
	"slices"

	"github.com/zumodra/hub/chat"
)

func (s *State) create(r *Request, c chat.Create) {
	me := r.Principal.User
	switch {
	case s.gone:
		s.fail(r, errGone)
		return
	case s.exists():
		m := s.find(me)
		if m == nil || s.head.Kind != c.Kind || c.Kind == chat.Group && s.head.CreatedBy != me {
			s.fail(r, chat.ErrNotFound)
			return
		}
		if s.bar.on {
			s.fail(r, chat.ErrBlocked)
			return
		}
		s.reply(r, chat.Result{View: s.view(m)})
		return
	}
	title, err := chat.NormalizeName(c.Title)
	if err != nil {
		s.fail(r, err)
		return
	}
	users := append(make([]chat.UserID, 0, len(c.Members)+1), me)
	seen := map[chat.UserID]bool{me: true}
	for _, u := range c.Members {
		if !seen[u] {
			seen[u] = true
			users = append(users, u)
		}
	}
	switch {
	case c.Kind != chat.Direct && c.Kind != chat.Group:
		err = fmt.Errorf("%w: kind of conversation", chat.ErrInvalid)
	case len(users) < 2:
		err = &chat.FieldError{Field: "participant_ids", Text: "Ensure this field has at least 1 elements."}
	case c.Kind == chat.Direct && len(users) != 2:
		err = fmt.Errorf("%w: a direct conversation has two members", chat.ErrInvalid)
	case len(users) > s.maxMembers(r):
		err = chat.ErrGroupFull
	}
	if err != nil {
		s.fail(r, err)
		return
	}
	it := item{req: r, has: true, ev: s.event(r, chat.EventConversation)}
	it.ev.Change, it.ev.Kind, it.ev.Name, it.ev.Users = chat.ChangeCreated, c.Kind, title, users
	s.queueBarrier(it)
}

func (s *State) participants(r *Request, c chat.Change, users ...chat.UserID) chat.Event {
	e := s.event(r, chat.EventParticipants)
	e.Change, e.Users = c, users
	return e
}

// maxMembers is the size of a group that the request may bring it to.
func (s *State) maxMembers(r *Request) int {
	if r.MaxMembers > 0 {
		return r.MaxMembers
	}
	return s.rules.MaxGroupSize
}

func (s *State) addMembers(r *Request, c chat.AddMembers, m *member) {
	var users []chat.UserID
	seen := make(map[chat.UserID]bool, len(c.Users))
	for _, u := range c.Users {
		if !seen[u] && s.find(u) == nil {
			seen[u] = true
			users = append(users, u)
		}
	}
	switch {
	case len(users) == 0:
		s.reply(r, chat.Result{View: s.view(m)})
	case len(s.members)+len(users) > s.maxMembers(r):
		s.fail(r, chat.ErrGroupFull)
	default:
		s.queueBarrier(item{req: r, has: true, ev: s.participants(r, chat.ChangeAdded, users...)})
	}
}

func (s *State) removeMembers(r *Request, c chat.RemoveMembers, m *member) {
	var users []chat.UserID
	for _, u := range c.Users {
		t := s.find(u)
		switch {
		case t == nil || u == m.User || slices.Contains(users, u):
		case t.Role == chat.RoleOwner || t.Role == chat.RoleAdmin && m.Role != chat.RoleOwner:
			s.fail(r, fmt.Errorf("remove_members: %w", chat.ErrForbidden))
			return
		default:
			users = append(users, u)
		}
	}
	if len(users) == 0 {
		s.reply(r, chat.Result{View: s.view(m)})
		return
	}
	s.queueBarrier(item{req: r, has: true, ev: s.participants(r, chat.ChangeRemoved, users...)})
}

func (s *State) leave(r *Request, m *member) {
	it := item{req: r, has: true, ev: s.participants(r, chat.ChangeLeft, m.User)}
	if heir := s.heir(m.User); m.Role == chat.RoleOwner && heir != nil {
		e := s.participants(r, chat.ChangeRole, heir.User)
		e.Role = chat.RoleOwner
		it.second = &e
	}
	s.queueBarrier(it)
}

// erase removes all members at once: what has none is deleted.
func (s *State) erase(r *Request) {
	if !s.exists() {
		s.reply(r, chat.Result{})
		return
	}
	users := make([]chat.UserID, len(s.members))
	for i := range s.members {
		users[i] = s.members[i].User
	}
	s.queueBarrier(item{req: r, has: true, ev: s.participants(r, chat.ChangeRemoved, users...)})
}

func (s *State) rename(r *Request, c chat.Rename) {
	title, err := chat.NormalizeName(c.Title)
	if err != nil {
		s.fail(r, err)
		return
	}
	it := item{req: r, has: true, ev: s.event(r, chat.EventConversation)}
	it.ev.Change, it.ev.Name = chat.ChangeRenamed, title
	s.queue(it)
}

func (s *State) setRole(r *Request, c chat.SetRole, m *member) {
	t := s.find(c.User)
	switch {
	case t == nil:
		s.fail(r, fmt.Errorf("set_role: %w", chat.ErrNotFound))
		return
	case c.Role < chat.RoleMember || c.Role > chat.RoleOwner:
		s.fail(r, fmt.Errorf("%w: role", chat.ErrInvalid))
		return
	case t.Role == c.Role:
		s.reply(r, chat.Result{View: s.view(m)})
		return
	case t == m:
		s.fail(r, &chat.FieldError{Field: "role", Text: "An owner hands ownership over by making another member owner."})
		return
	}
	it := item{req: r, has: true, ev: s.participants(r, chat.ChangeRole, c.User)}
	it.ev.Role = c.Role
	if c.Role == chat.RoleOwner {
		e := s.participants(r, chat.ChangeRole, m.User)
		e.Role = chat.RoleAdmin
		it.second = &e
	}
	s.queueBarrier(it)
}

func (s *State) setPermissions(r *Request, c chat.SetPermissions, m *member) {
	if !c.Permissions.Valid() {
		s.fail(r, fmt.Errorf("%w: role", chat.ErrInvalid))
		return
	}
	to := c.Permissions.Over(s.head.Permissions)
	if to.WithDefaults() == s.head.Permissions.WithDefaults() {
		s.reply(r, chat.Result{View: s.view(m)})
		return
	}
	it := item{req: r, has: true, ev: s.event(r, chat.EventConversation)}
	it.ev.Change, it.ev.Permissions = chat.ChangePermissions, to.WithDefaults()
	s.queueBarrier(it)
}
