package wire

import (
	"fmt"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/wire/internal/pb"
)

func putQuestion(m *pb.Question, q chat.Question) (err error) {
	switch q := q.(type) {
	case chat.CarryOut:
		to := pb.CarryOutFromVTPool()
		m.CarryOut = to
		to.Principal, to.Origin = putPrincipal(q.Principal), putOrigin(q.Origin)
		to.Command, err = putCommand(q.Command)
	case chat.Read:
		m.Read = pb.ReadFromVTPool()
		m.Read.Principal = putPrincipal(q.Principal)
		m.Read.Hi, m.Read.Lo = halves(q.Conversation)
	case chat.Peek:
		m.Peek = pb.PeekFromVTPool()
		m.Peek.User, m.Peek.Members, m.Peek.Rewritten = string(q.User), int64(q.Members), q.Rewritten
		var t tenants
		for _, k := range q.Keys {
			to := next(&m.Peek.Keys)
			to.Tenant, to.SameTenant = t.put(k.Tenant)
			to.Hi, to.Lo = halves(k.ID)
		}
	case chat.FoundDirect:
		to := pb.FoundDirectFromVTPool()
		m.FoundDirect = to
		to.Principal, to.Origin = putPrincipal(q.Principal), putOrigin(q.Origin)
		to.Create, err = putCommand(q.Create)
	case chat.Relate:
		m.Relate = pb.RelateFromVTPool()
		m.Relate.Caller = putPrincipal(q.Caller)
		m.Relate.Command, err = putPeopleCommand(q.Command)
	case chat.Bar:
		m.Bar = pb.BarFromVTPool()
		m.Bar.Pair, m.Bar.By = putPair(&q.Pair), putPrincipal(q.By)
	case chat.Prefer:
		m.Prefer = pb.PreferFromVTPool()
		m.Prefer.Tenant, m.Prefer.User = string(q.User.Tenant), string(q.User.User)
		m.Prefer.HideReceipts, m.Prefer.Invisible = putChoice(q.Change.HideReceipts), putChoice(q.Change.Invisible)
	case chat.AskPresence:
		m.AskPresence = pb.AskPresenceFromVTPool()
		m.AskPresence.Tenant, m.AskPresence.Users = string(q.Tenant), putUsers(m.AskPresence.Users, q.Users)
	case chat.Declare:
		m.Declare = pb.DeclareFromVTPool()
		m.Declare.Tenant, m.Declare.User, m.Declare.On = string(q.User.Tenant), string(q.User.User), q.On
	default:
		return fmt.Errorf("%w: question %T", ErrUnknownType, q)
	}
	return err
}

func question(m *pb.Question) (chat.Question, error) {
	switch {
	case m.CarryOut != nil:
		c, err := command(m.CarryOut.Command)
		if err != nil {
			return nil, err
		}
		return chat.CarryOut{Principal: principal(m.CarryOut.Principal), Origin: origin(m.CarryOut.Origin), Command: c}, nil
	case m.Read != nil:
		return chat.Read{Principal: principal(m.Read.Principal), Conversation: whole[chat.ConversationID](m.Read.Hi, m.Read.Lo)}, nil
	case m.Peek != nil:
		var t tenants
		keys := listOf(m.Peek.Keys, func(k *pb.ConversationKey) chat.ConversationKey {
			return chat.ConversationKey{Tenant: t.of(k.Tenant, k.SameTenant), ID: whole[chat.ConversationID](k.Hi, k.Lo)}
		})
		return chat.Peek{User: chat.UserID(m.Peek.User), Keys: keys, Members: int(m.Peek.Members), Rewritten: m.Peek.Rewritten}, nil
	case m.FoundDirect != nil:
		c, err := command(m.FoundDirect.Create)
		if err != nil {
			return nil, err
		}
		create, ok := c.(chat.Create)
		if !ok {
			return nil, fmt.Errorf("%w: %s founds no direct conversation", ErrMalformed, c.Name())
		}
		return chat.FoundDirect{Principal: principal(m.FoundDirect.Principal), Origin: origin(m.FoundDirect.Origin), Create: create}, nil
	case m.Relate != nil:
		c, err := peopleCommand(m.Relate.Command)
		if err != nil {
			return nil, err
		}
		return chat.Relate{Caller: principal(m.Relate.Caller), Command: c}, nil
	case m.Bar != nil:
		return chat.Bar{Pair: pair(m.Bar.Pair), By: principal(m.Bar.By)}, nil
	case m.Prefer != nil:
		return chat.Prefer{
			User:   chat.UserKey{Tenant: chat.TenantID(m.Prefer.Tenant), User: chat.UserID(m.Prefer.User)},
			Change: chat.PreferencesChange{HideReceipts: choice(m.Prefer.HideReceipts), Invisible: choice(m.Prefer.Invisible)},
		}, nil
	case m.AskPresence != nil:
		return chat.AskPresence{Tenant: chat.TenantID(m.AskPresence.Tenant), Users: usersOf(m.AskPresence.Users)}, nil
	case m.Declare != nil:
		return chat.Declare{
			User: chat.UserKey{Tenant: chat.TenantID(m.Declare.Tenant), User: chat.UserID(m.Declare.User)},
			On:   m.Declare.On,
		}, nil
	}
	return nil, fmt.Errorf("%w: question", ErrUnknownType)
}

func putChoice(b *bool) uint32 {
	switch {
	case b == nil:
		return 0
	case *b:
		return 2
	}
	return 1
}

func choice(n uint32) *bool {
	if n == 0 {
		return nil
	}
	on := n == 2
	return &on
}
