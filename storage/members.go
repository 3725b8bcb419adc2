package storage

import (
	"cmp"
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/chat"
)

// ListMembers returns the members of conversations in the order of joining (JoinedSeq, then user), at most limit of
// each if it is positive; none for a conversation that is not there or is being deleted.
//
// Members lie in one partition per conversation, so this is a range read of each. They do not wait for one another:
// up to Config.ParallelReads of them run at once, so a list of that many conversations takes as long as its slowest
// read. Every member row is read to find those who joined first.
func (s *Store) ListMembers(ctx context.Context, keys []chat.ConversationKey, limit int) ([][]chat.Member, error) {
	lists := make([][]chat.Member, len(keys))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.cfg.ParallelReads)
	for i := range keys {
		g.Go(func() error {
			var l firstMembers
			l.limit = limit
			deleting, err := s.scanConversation(ctx, keys[i], func(chat.Head) {}, l.add)
			if err != nil {
				return fail(err, "list members of", keys[i])
			}
			if deleting == nil {
				lists[i] = l.sorted()
			}
			return nil
		})
	}
	return lists, g.Wait()
}

// firstMembers keeps those who joined first: never more than twice the limit of them, however large the group.
type firstMembers struct {
	limit   int
	members []chat.Member
}

func (l *firstMembers) add(m chat.Member) {
	if l.members = append(l.members, m); l.limit > 0 && len(l.members) >= 2*max(l.limit, 8) {
		l.members = l.sorted()
	}
}

func (l *firstMembers) sorted() []chat.Member {
	slices.SortFunc(l.members, func(a, b chat.Member) int {
		return cmp.Or(cmp.Compare(a.JoinedSeq, b.JoinedSeq), cmp.Compare(a.User, b.User))
	})
	if l.limit > 0 && len(l.members) > l.limit {
		return l.members[:l.limit]
	}
	return l.members
}
