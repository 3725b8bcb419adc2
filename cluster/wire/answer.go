package wire

import (
	"fmt"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/wire/internal/pb"
)

func putAnswer(m *pb.Answer, a chat.Answer) error {
	switch a := a.(type) {
	case chat.Done:
		m.Done = pb.DoneFromVTPool()
		m.Done.Result = putResult(&a.Result)
	case chat.Reading:
		m.Reading = pb.ReadingFromVTPool()
		m.Reading.View = putView(a.View)
		for _, e := range a.Rewritten {
			putEvent(next(&m.Reading.Rewritten), e)
		}
	case chat.Snapshots:
		m.Snapshots = pb.SnapshotsFromVTPool()
		for i := range a.List {
			putSnapshot(next(&m.Snapshots.List), &a.List[i])
		}
	case chat.Related:
		m.Related = pb.RelatedFromVTPool()
		m.Related.Pair = putPair(&a.Pair)
	case chat.Preferred:
		m.Preferred = pb.PreferredFromVTPool()
		m.Preferred.HideReceipts, m.Preferred.Invisible = a.Preferences.HideReceipts, a.Preferences.Invisible
	case chat.PresenceOf:
		m.PresenceOf = pb.PresenceOfFromVTPool()
		for _, p := range a.List {
			to := next(&m.PresenceOf.List)
			to.Connected, to.Seen, to.Moved = p.Connected, micros(p.Seen), p.Moved
		}
	case chat.Noted:
		m.Noted = pb.NotedFromVTPool()
	default:
		return fmt.Errorf("%w: answer %T", ErrUnknownType, a)
	}
	return nil
}

func answer(m *pb.Answer) (chat.Answer, error) {
	switch {
	case m.Done != nil:
		r, err := result(m.Done.Result)
		if err != nil {
			return nil, err
		}
		return chat.Done{Result: r}, nil
	case m.Reading != nil:
		v, err := view(m.Reading.View)
		if err != nil {
			return nil, err
		}
		return chat.Reading{View: v, Rewritten: listOf(m.Reading.Rewritten, eventPointer)}, nil
	case m.Snapshots != nil:
		if len(m.Snapshots.List) == 0 {
			return chat.Snapshots{}, nil
		}
		list := make([]chat.Snapshot, len(m.Snapshots.List))
		for i, s := range m.Snapshots.List {
			if err := snapshot(s, &list[i]); err != nil {
				return nil, err
			}
		}
		return chat.Snapshots{List: list}, nil
	case m.Related != nil:
		return chat.Related{Pair: pair(m.Related.Pair)}, nil
	case m.Preferred != nil:
		return chat.Preferred{Preferences: chat.Preferences{
			HideReceipts: m.Preferred.HideReceipts, Invisible: m.Preferred.Invisible,
		}}, nil
	case m.PresenceOf != nil:
		return chat.PresenceOf{List: listOf(m.PresenceOf.List, func(p *pb.Presence) chat.Presence {
			return chat.Presence{Connected: p.Connected, Seen: instant(p.Seen), Moved: p.Moved}
		})}, nil
	case m.Noted != nil:
		return chat.Noted{}, nil
	}
	return nil, fmt.Errorf("%w: answer", ErrUnknownType)
}

func putSnapshot(m *pb.Snapshot, s *chat.Snapshot) {
	m.Gone, m.Exists, m.Known, m.Moved, m.Version = s.Gone, s.Exists, s.Known, s.Moved, s.Version
	m.Head = putHead(&s.Head)
	if s.Me != (chat.Member{}) {
		m.Me = pb.MemberFromVTPool()
		putMember(m.Me, &s.Me)
	}
	m.Set = putSet(s.Set)
	for i := range s.Members {
		putMember(next(&m.Members), &s.Members[i])
	}
	for _, e := range s.Rewritten {
		putEvent(next(&m.Rewritten), e)
	}
}

func snapshot(m *pb.Snapshot, s *chat.Snapshot) error {
	set, err := setOf(m.Set)
	if err != nil {
		return err
	}
	*s = chat.Snapshot{
		Head: head(m.Head), Me: member(m.Me), Set: set, Members: listOf(m.Members, member),
		Gone: m.Gone, Exists: m.Exists, Known: m.Known, Moved: m.Moved, Version: m.Version, Rewritten: listOf(m.Rewritten, eventPointer),
	}
	return nil
}
