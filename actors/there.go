package actors

import "github.com/zumodra/hub/chat"

// there reports whether the user has a session.
func (h *Hub) there(k chat.UserKey) bool { return h.dir.Online(k) }
