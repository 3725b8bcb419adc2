package fts

import (
	"cmp"
	"math"
	"slices"

	"github.com/zumodra/hub/chat"
)

// placed is an event and where it belongs.
type placed struct {
	key   chat.ConversationKey
	event *chat.Event
	at    int64
}

// inTime returns the events of changes in the order of their times, and those of each conversation in the order in which they came.
// Rowids are times: FTS5 writes out what it holds, a segment that is to be merged later, whenever one is smaller than the last.
func inTime(changes []chat.IndexChange) []placed {
	n := 0
	for i := range changes {
		n += len(changes[i].Events)
	}
	all := make([]placed, 0, n)
	last := make(map[chat.ConversationKey]int64, len(changes))
	for i := range changes {
		c := &changes[i]
		at, ok := last[c.Key]
		if !ok {
			at = math.MinInt64
		}
		for j := range c.Events {
			at = max(at, micros(c.Events[j].At))
			all = append(all, placed{c.Key, &c.Events[j], at})
		}
		last[c.Key] = at
	}
	slices.SortStableFunc(all, func(a, b placed) int { return cmp.Compare(a.at, b.at) })
	return all
}
