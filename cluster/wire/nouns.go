package wire

import (
	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/wire/internal/pb"
)

func putPrincipal(p chat.Principal) *pb.Principal {
	m := pb.PrincipalFromVTPool()
	m.Tenant, m.User, m.Username = string(p.Tenant), string(p.User), p.Username
	return m
}

func principal(m *pb.Principal) chat.Principal {
	return chat.Principal{Tenant: chat.TenantID(m.GetTenant()), User: chat.UserID(m.GetUser()), Username: m.GetUsername()}
}

func putOrigin(o chat.Origin) *pb.Origin {
	if o == (chat.Origin{}) {
		return nil
	}
	m := pb.OriginFromVTPool()
	m.Node, m.Session, m.Ref = uint64(o.Node), uint64(o.Session), o.Ref
	return m
}

func origin(m *pb.Origin) chat.Origin {
	return chat.Origin{Node: chat.NodeID(m.GetNode()), Session: chat.SessionID(m.GetSession()), Ref: m.GetRef()}
}

func putHead(h *chat.Head) *pb.Head {
	m := pb.HeadFromVTPool()
	m.Tenant = string(h.Key.Tenant)
	m.Hi, m.Lo = halves(h.Key.ID)
	m.Kind = uint32(h.Kind)
	m.Name = h.Name
	m.CreatedBy = string(h.CreatedBy)
	m.CreatedAt = micros(h.CreatedAt)
	m.UpdatedAt = micros(h.UpdatedAt)
	m.Seq = h.Seq
	m.Epoch = h.Epoch
	m.MsgNo = h.MsgNo
	m.MemberCount = int64(h.MemberCount)
	m.LastSeq = h.Last.Seq
	m.LastHi, m.LastLo = halves(h.Last.ID)
	m.LastSender = string(h.Last.Sender)
	m.LastText = h.Last.Text
	m.LastAt = micros(h.Last.At)
	m.Permissions = putPermissions(h.Permissions)
	for _, id := range h.Pins {
		hi, lo := halves(id)
		m.Pins = append(m.Pins, hi, lo)
	}
	return m
}

func head(m *pb.Head) chat.Head {
	if m == nil {
		return chat.Head{}
	}
	return chat.Head{
		Key:         chat.ConversationKey{Tenant: chat.TenantID(m.Tenant), ID: whole[chat.ConversationID](m.Hi, m.Lo)},
		Kind:        chat.Kind(m.Kind),
		Name:        m.Name,
		CreatedBy:   chat.UserID(m.CreatedBy),
		CreatedAt:   instant(m.CreatedAt),
		UpdatedAt:   instant(m.UpdatedAt),
		Seq:         m.Seq,
		Epoch:       m.Epoch,
		MsgNo:       m.MsgNo,
		MemberCount: int(m.MemberCount),
		Last: chat.LastMessage{
			Seq:    m.LastSeq,
			ID:     whole[chat.MessageID](m.LastHi, m.LastLo),
			Sender: chat.UserID(m.LastSender),
			Text:   m.LastText,
			At:     instant(m.LastAt),
		},
		Permissions: permissions(m.Permissions),
		Pins:        pins(m.Pins),
	}
}

func pins(m []uint64) []chat.MessageID {
	var ids []chat.MessageID
	for ; len(m) >= 2; m = m[2:] {
		ids = append(ids, whole[chat.MessageID](m[0], m[1]))
	}
	return ids
}

func putPermissions(p chat.Permissions) *pb.Permissions {
	if p == (chat.Permissions{}) {
		return nil
	}
	m := pb.PermissionsFromVTPool()
	m.Add, m.Pin, m.MentionAll = uint32(p.Add), uint32(p.Pin), uint32(p.MentionAll)
	return m
}

func permissions(m *pb.Permissions) chat.Permissions {
	return chat.Permissions{Add: chat.Role(m.GetAdd()), Pin: chat.Role(m.GetPin()), MentionAll: chat.Role(m.GetMentionAll())}
}

func putExtras(x *chat.Extras) *pb.Extras {
	if x == nil {
		return nil
	}
	m := pb.ExtrasFromVTPool()
	m.ReplyHi, m.ReplyLo = halves(x.ReplyTo)
	m.Replies, m.LastReply = x.Replies, x.LastReply
	m.Mentions, m.MentionAll = putUsers(m.Mentions, x.Mentions), x.MentionAll
	m.ForwardedUser, m.ForwardedName = string(x.Forwarded.User), x.Forwarded.Name
	m.Preview = putPreview(x.Preview)
	return m
}

func extras(m *pb.Extras) *chat.Extras {
	if m == nil {
		return nil
	}
	return &chat.Extras{
		ReplyTo: whole[chat.MessageID](m.ReplyHi, m.ReplyLo), Replies: m.Replies, LastReply: m.LastReply,
		Mentions: usersOf(m.Mentions), MentionAll: m.MentionAll,
		Forwarded: chat.Attribution{User: chat.UserID(m.ForwardedUser), Name: m.ForwardedName}, Preview: preview(m.Preview),
	}
}

func putPreview(p *chat.LinkPreview) *pb.LinkPreview {
	if p == nil {
		return nil
	}
	m := pb.LinkPreviewFromVTPool()
	m.Url, m.Title, m.Description, m.Image, m.Site = p.URL, p.Title, p.Description, p.Image, p.Site
	return m
}

func preview(m *pb.LinkPreview) *chat.LinkPreview {
	if m == nil {
		return nil
	}
	return &chat.LinkPreview{URL: m.Url, Title: m.Title, Description: m.Description, Image: m.Image, Site: m.Site}
}

func putMember(m *pb.Member, c *chat.Member) {
	m.User = string(c.User)
	m.Role = uint32(c.Role)
	m.JoinedAt = micros(c.JoinedAt)
	m.JoinedSeq = c.JoinedSeq
	m.ReadSeq, m.ReadMsgNo, m.ReadAt = c.Read.Seq, c.Read.MsgNo, micros(c.Read.At)
	m.DeliveredSeq, m.DeliveredMsgNo, m.DeliveredAt = c.Delivered.Seq, c.Delivered.MsgNo, micros(c.Delivered.At)
	m.OwnAfterRead = c.OwnAfterRead
	m.ArchivedAt = c.ArchivedAt
	m.Hidden = c.Hidden
	m.HiddenMessages, m.HiddenLast, m.HiddenUnread = c.HiddenMessages, c.HiddenLast, c.HiddenUnread
	m.MutedUntil, m.PinnedAt, m.DraftAt = micros(c.MutedUntil), micros(c.PinnedAt), micros(c.DraftAt)
}

func member(m *pb.Member) chat.Member {
	if m == nil {
		return chat.Member{}
	}
	return chat.Member{
		User:         chat.UserID(m.User),
		Role:         chat.Role(m.Role),
		JoinedAt:     instant(m.JoinedAt),
		JoinedSeq:    m.JoinedSeq,
		Read:         chat.Watermark{Seq: m.ReadSeq, MsgNo: m.ReadMsgNo, At: instant(m.ReadAt)},
		Delivered:    chat.Watermark{Seq: m.DeliveredSeq, MsgNo: m.DeliveredMsgNo, At: instant(m.DeliveredAt)},
		OwnAfterRead: m.OwnAfterRead,
		ArchivedAt:   m.ArchivedAt,
		Hidden:       m.Hidden,

		HiddenMessages: m.HiddenMessages, HiddenLast: m.HiddenLast, HiddenUnread: m.HiddenUnread,
		MutedUntil: instant(m.MutedUntil), PinnedAt: instant(m.PinnedAt), DraftAt: instant(m.DraftAt),
	}
}

func putView(v *chat.View) *pb.View {
	if v == nil {
		return nil
	}
	m := pb.ViewFromVTPool()
	m.Head = putHead(&v.Head)
	m.Me = pb.MemberFromVTPool()
	putMember(m.Me, &v.Me)
	m.Members = putSet(v.Members)
	m.ReadSeq, m.ReadBy, m.ReadSeqOther = v.ReadSeq, string(v.ReadBy), v.ReadSeqOther
	return m
}

func view(m *pb.View) (*chat.View, error) {
	if m == nil {
		return nil, nil //nolint:nilnil // none was sent
	}
	set, err := setOf(m.Members)
	if err != nil {
		return nil, err
	}
	return &chat.View{
		Head: head(m.Head), Me: member(m.Me), Members: set,
		ReadSeq: m.ReadSeq, ReadBy: chat.UserID(m.ReadBy), ReadSeqOther: m.ReadSeqOther,
	}, nil
}

func putEvent(m *pb.Event, e *chat.Event) {
	m.Seq = e.Seq
	m.Epoch = e.Epoch
	m.MsgNo = e.MsgNo
	m.Type = uint32(e.Type)
	m.At = micros(e.At)
	m.Actor = string(e.Actor)
	m.ActorName = e.ActorName
	m.ClientId = e.ClientID
	m.MessageHi, m.MessageLo = halves(e.Message)
	m.MessageSeq = e.MessageSeq
	m.Content = e.Content
	m.IsVoice = e.IsVoice
	m.EditedAt = micros(e.EditedAt)
	m.DeletedAt = micros(e.DeletedAt)
	for i := range e.Reactions {
		r, to := &e.Reactions[i], next(&m.Reactions)
		to.User, to.Emoji, to.At = string(r.User), r.Emoji, micros(r.At)
	}
	m.Emoji = e.Emoji
	m.Removed = e.Removed
	m.Change = uint32(e.Change)
	m.Users = putUsers(m.Users, e.Users)
	m.Role = uint32(e.Role)
	m.Name = e.Name
	m.Kind = uint32(e.Kind)
	m.Permissions = putPermissions(e.Permissions)
	m.Extras = putExtras(e.Extras)
	m.File = putFile(e.File)
}

func putFile(f *chat.File) *pb.File {
	if f == nil {
		return nil
	}
	m := pb.FileFromVTPool()
	m.IdHi, m.IdLo = halves(f.ID)
	m.Name, m.Type, m.Size = f.Name, f.Type, f.Size
	return m
}

func file(m *pb.File) *chat.File {
	if m == nil {
		return nil
	}
	return &chat.File{ID: whole[chat.FileID](m.IdHi, m.IdLo), Name: m.Name, Type: m.Type, Size: m.Size}
}

// putEventPointer is putEvent for one that may be missing.
func putEventPointer(e *chat.Event) *pb.Event {
	if e == nil {
		return nil
	}
	m := pb.EventFromVTPool()
	putEvent(m, e)
	return m
}

func event(m *pb.Event, e *chat.Event) {
	*e = chat.Event{
		Seq:        m.Seq,
		Epoch:      m.Epoch,
		MsgNo:      m.MsgNo,
		Type:       chat.EventType(m.Type),
		At:         instant(m.At),
		Actor:      chat.UserID(m.Actor),
		ActorName:  m.ActorName,
		ClientID:   m.ClientId,
		Message:    whole[chat.MessageID](m.MessageHi, m.MessageLo),
		MessageSeq: m.MessageSeq,
		Content:    m.Content,
		IsVoice:    m.IsVoice,
		EditedAt:   instant(m.EditedAt),
		DeletedAt:  instant(m.DeletedAt),
		Reactions:  listOf(m.Reactions, reaction),
		Emoji:      m.Emoji,
		Removed:    m.Removed,
		Change:     chat.Change(m.Change),
		Users:      usersOf(m.Users),
		Role:       chat.Role(m.Role),
		Name:       m.Name,
		Kind:       chat.Kind(m.Kind),

		Permissions: permissions(m.Permissions),
		Extras:      extras(m.Extras),
		File:        file(m.File),
	}
}

func eventPointer(m *pb.Event) *chat.Event {
	if m == nil {
		return nil
	}
	e := new(chat.Event)
	event(m, e)
	return e
}

func reaction(m *pb.Reaction) chat.Reaction {
	return chat.Reaction{User: chat.UserID(m.User), Emoji: m.Emoji, At: instant(m.At)}
}

func putResult(r *chat.Result) *pb.Result {
	m := pb.ResultFromVTPool()
	m.Event = putEventPointer(r.Event)
	m.Duplicate = r.Duplicate
	m.Created = r.Created
	m.Marked = r.Marked
	m.View = putView(r.View)
	for i := range r.Events {
		putEvent(next(&m.Events), &r.Events[i])
	}
	m.Gap = r.Gap
	return m
}

func result(m *pb.Result) (chat.Result, error) {
	if m == nil {
		return chat.Result{}, nil
	}
	v, err := view(m.View)
	if err != nil {
		return chat.Result{}, err
	}
	r := chat.Result{
		Event:     eventPointer(m.Event),
		Duplicate: m.Duplicate,
		Created:   m.Created,
		Marked:    m.Marked,
		View:      v,
		Gap:       m.Gap,
	}
	if len(m.Events) > 0 {
		r.Events = make([]chat.Event, len(m.Events))
		for i, e := range m.Events {
			event(e, &r.Events[i])
		}
	}
	return r, nil
}

func putPair(p *chat.Pair) *pb.Pair {
	m := pb.PairFromVTPool()
	m.Tenant, m.Lo, m.Hi = string(p.Key.Tenant), string(p.Key.Lo), string(p.Key.Hi)
	m.Version = p.Version
	m.LoSide, m.HiSide = putSide(&p.Lo), putSide(&p.Hi)
	return m
}

func pair(m *pb.Pair) chat.Pair {
	if m == nil {
		return chat.Pair{}
	}
	return chat.Pair{
		Key:     chat.PairKey{Tenant: chat.TenantID(m.Tenant), Lo: chat.UserID(m.Lo), Hi: chat.UserID(m.Hi)},
		Version: m.Version,
		Lo:      side(m.LoSide),
		Hi:      side(m.HiSide),
	}
}

func putSide(s *chat.Side) *pb.Side {
	m := pb.SideFromVTPool()
	m.ContactSince = micros(s.ContactSince)
	m.Favorite = s.Favorite
	m.BlockedAt = micros(s.BlockedAt)
	m.RequestHi, m.RequestLo = halves(s.Request.ID)
	m.RequestState = uint32(s.Request.State)
	m.RequestCreatedAt = micros(s.Request.CreatedAt)
	m.RequestDecidedAt = micros(s.Request.DecidedAt)
	m.RequestQuiet = s.Request.Quiet
	return m
}

func side(m *pb.Side) chat.Side {
	if m == nil {
		return chat.Side{}
	}
	return chat.Side{
		ContactSince: instant(m.ContactSince),
		Favorite:     m.Favorite,
		BlockedAt:    instant(m.BlockedAt),
		Request: chat.FriendRequest{
			ID:        whole[chat.RequestID](m.RequestHi, m.RequestLo),
			State:     chat.RequestState(m.RequestState),
			CreatedAt: instant(m.RequestCreatedAt),
			DecidedAt: instant(m.RequestDecidedAt),
			Quiet:     m.RequestQuiet,
		},
	}
}
