package wire

import (
	"fmt"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/wire/internal/pb"
)

func putParcel(m *pb.Parcel, p chat.Parcel) error {
	switch p := p.(type) {
	case *chat.ToHome:
		m.ToHome = putForward(p.Delivery, p.Shards)
	case *chat.ToEdge:
		m.ToEdge = putForward(p.Delivery, p.Shards)
	case *chat.Enrol:
		if p.Shard < 0 || p.Shard >= chat.Shards {
			return fmt.Errorf("wire: there is no shard %d", p.Shard)
		}
		m.Enrol = pb.EnrolFromVTPool()
		m.Enrol.Shard, m.Enrol.All, m.Enrol.Open = uint32(p.Shard), p.All, p.Open
		putUserKeys(&m.Enrol.Came, p.Came)
		putUserKeys(&m.Enrol.Left, p.Left)
	case *chat.Digests:
		m.Digests = pb.DigestsFromVTPool()
		for _, d := range p.List {
			if d.Shard < 0 || d.Shard >= chat.Shards {
				return fmt.Errorf("wire: there is no shard %d", d.Shard)
			}
			to := next(&m.Digests.List)
			to.Shard, to.Users, to.Sum = uint32(d.Shard), int64(d.Users), d.Sum
		}
	case *chat.Recount:
		m.Recount = pb.RecountFromVTPool()
		m.Recount.Shards, m.Recount.Missed = putShards(p.Shards), p.Missed
	case *chat.Charges:
		m.Charges = pb.ChargesFromVTPool()
		var t tenants
		for _, c := range p.List {
			to := next(&m.Charges.List)
			to.User = pb.UserKeyFromVTPool()
			putUserKey(to.User, c.User, &t)
			to.Amount = c.Amount
		}
	default:
		return fmt.Errorf("%w: parcel %T", ErrUnknownType, p)
	}
	return nil
}

func parcel(m *pb.Parcel) (chat.Parcel, error) {
	switch {
	case m.ToHome != nil:
		d, s, err := forward(m.ToHome)
		if err != nil {
			return nil, err
		}
		return &chat.ToHome{Delivery: d, Shards: s}, nil
	case m.ToEdge != nil:
		d, s, err := forward(m.ToEdge)
		if err != nil {
			return nil, err
		}
		return &chat.ToEdge{Delivery: d, Shards: s}, nil
	case m.Enrol != nil:
		shard, err := shardOf(m.Enrol.Shard)
		if err != nil {
			return nil, err
		}
		return &chat.Enrol{Shard: shard, Came: userKeys(m.Enrol.Came), Left: userKeys(m.Enrol.Left), All: m.Enrol.All, Open: m.Enrol.Open}, nil
	case m.Digests != nil:
		p := new(chat.Digests)
		if len(m.Digests.List) > 0 {
			p.List = make([]chat.ShardDigest, 0, len(m.Digests.List))
		}
		for _, d := range m.Digests.List {
			shard, err := shardOf(d.Shard)
			if err != nil {
				return nil, err
			}
			p.List = append(p.List, chat.ShardDigest{Shard: shard, Users: int(d.Users), Sum: d.Sum})
		}
		return p, nil
	case m.Recount != nil:
		s, err := shards(m.Recount.Shards)
		if err != nil {
			return nil, err
		}
		return &chat.Recount{Shards: s, Missed: m.Recount.Missed}, nil
	case m.Charges != nil:
		var t tenants
		return &chat.Charges{List: listOf(m.Charges.List, func(c *pb.Charge) chat.Charge {
			return chat.Charge{User: userKey(c.User, &t), Amount: c.Amount}
		})}, nil
	}
	return nil, fmt.Errorf("%w: parcel", ErrUnknownType)
}

func putForward(d *chat.Delivery, s *chat.ShardSet) *pb.Forward {
	m := pb.ForwardFromVTPool()
	m.Shards = putShards(s)
	if d == nil {
		return m
	}
	to := pb.DeliveryFromVTPool()
	m.Delivery = to
	to.Tenant = string(d.Key.Tenant)
	to.Hi, to.Lo = halves(d.Key.ID)
	to.Recipients = putSet(d.Recipients)
	for i := range d.Notices {
		putNotice(next(&to.Notices), &d.Notices[i])
	}
	to.Detached = putUsers(to.Detached, d.Detached)
	to.Gone, to.Epoch = d.Gone, d.Epoch
	return m
}

func forward(m *pb.Forward) (*chat.Delivery, *chat.ShardSet, error) {
	s, err := shards(m.Shards)
	if err != nil || m.Delivery == nil {
		return nil, s, err
	}
	set, err := setOf(m.Delivery.Recipients)
	if err != nil {
		return nil, nil, err
	}
	return &chat.Delivery{
		Key: chat.ConversationKey{
			Tenant: chat.TenantID(m.Delivery.Tenant), ID: whole[chat.ConversationID](m.Delivery.Hi, m.Delivery.Lo),
		},
		Recipients: set,
		Notices:    listOf(m.Delivery.Notices, notice),
		Detached:   usersOf(m.Delivery.Detached),
		Gone:       m.Delivery.Gone,
		Epoch:      m.Delivery.Epoch,
	}, s, nil
}

func putNotice(m *pb.Notice, n *chat.Notice) {
	m.Event = putEventPointer(n.Event)
	if t := n.Typing; t != nil {
		m.Typing = pb.TypingNoticeFromVTPool()
		m.Typing.User, m.Typing.Username, m.Typing.On = string(t.User), t.Username, t.On
	}
	if r := n.Read; r != nil {
		m.Read = pb.ReadNoticeFromVTPool()
		m.Read.Kind, m.Read.User, m.Read.Username = uint32(r.Kind), string(r.User), r.Username
		m.Read.MessageHi, m.Read.MessageLo = halves(r.Message)
		m.Read.Seq, m.Read.At, m.Read.Readers = r.Seq, micros(r.At), r.Readers
	}
	if h := n.Head; h != nil {
		m.Head = pb.HeadNoticeFromVTPool()
		m.Head.Seq = h.Seq
	}
	if o := n.Own; o != nil {
		m.Own = putOwn(o)
	}
	if l := n.Scheduled; l != nil {
		m.Scheduled = pb.ScheduledNoticeFromVTPool()
		m.Scheduled.IdHi, m.Scheduled.IdLo = halves(l.ID)
		m.Scheduled.Reason, m.Scheduled.SendAt = l.Reason, micros(l.SendAt)
	}
	m.Origin = putOrigin(n.Origin)
}

func putOwn(o *chat.OwnNotice) *pb.OwnNotice {
	m := pb.OwnNoticeFromVTPool()
	m.HiddenHi, m.HiddenLo = halves(o.Hidden)
	if s := o.Settings; s != nil {
		m.Settings = pb.SettingsFromVTPool()
		m.Settings.MutedUntil, m.Settings.Pinned, m.Settings.Archived = micros(s.MutedUntil), s.Pinned, s.Archived
	}
	if d := o.Draft; d != nil {
		m.Draft = pb.DraftFromVTPool()
		m.Draft.ConversationHi, m.Draft.ConversationLo = halves(d.Conversation)
		m.Draft.ReplyHi, m.Draft.ReplyLo = halves(d.ReplyTo)
		m.Draft.Text, m.Draft.At = d.Text, micros(d.At)
	}
	return m
}

func own(m *pb.OwnNotice) *chat.OwnNotice {
	o := &chat.OwnNotice{Hidden: whole[chat.MessageID](m.HiddenHi, m.HiddenLo)}
	if s := m.Settings; s != nil {
		o.Settings = &chat.Settings{MutedUntil: instant(s.MutedUntil), Pinned: s.Pinned, Archived: s.Archived}
	}
	if d := m.Draft; d != nil {
		o.Draft = &chat.Draft{
			Conversation: whole[chat.ConversationID](d.ConversationHi, d.ConversationLo),
			ReplyTo:      whole[chat.MessageID](d.ReplyHi, d.ReplyLo), Text: d.Text, At: instant(d.At),
		}
	}
	return o
}

func notice(m *pb.Notice) chat.Notice {
	n := chat.Notice{Event: eventPointer(m.Event), Origin: origin(m.Origin)}
	if t := m.Typing; t != nil {
		n.Typing = &chat.TypingNotice{User: chat.UserID(t.User), Username: t.Username, On: t.On}
	}
	if r := m.Read; r != nil {
		n.Read = &chat.ReadNotice{
			Kind: chat.ReceiptKind(r.Kind), User: chat.UserID(r.User), Username: r.Username,
			Message: whole[chat.MessageID](r.MessageHi, r.MessageLo), Seq: r.Seq, At: instant(r.At),
			Readers: r.Readers,
		}
	}
	if h := m.Head; h != nil {
		n.Head = &chat.HeadNotice{Seq: h.Seq}
	}
	if o := m.Own; o != nil {
		n.Own = own(o)
	}
	if l := m.Scheduled; l != nil {
		n.Scheduled = &chat.ScheduledNotice{ID: whole[chat.ScheduledID](l.IdHi, l.IdLo), Reason: l.Reason, SendAt: instant(l.SendAt)}
	}
	return n
}
