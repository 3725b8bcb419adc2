package fts

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"sync"
	"unique"

	"github.com/zumodra/hub/chat"
)

// maxConvCache bounds the conversations whose numbers are kept in memory: about 10 MiB. When it is full, an eighth of
// it makes way, whichever.
const maxConvCache = 1 << 17

// convCache knows the numbers of conversations and how many documents they have.
type convCache struct {
	mu      sync.Mutex
	version uint64 // changes when one is gone
	m       map[chat.ConversationKey]convInfo
}

type convInfo struct{ id, docs int64 }

func newConvCache() *convCache { return &convCache{m: map[chat.ConversationKey]convInfo{}} }

// update takes over what a transaction did.
func (c *convCache) update(changed map[chat.ConversationKey]*conv, gone []chat.ConversationKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range gone {
		delete(c.m, k)
		c.version++
	}
	for k, v := range changed {
		if _, ok := c.m[k]; ok {
			c.m[k] = convInfo{v.id, v.docs}
		}
	}
}

func (c *convCache) put(found map[chat.ConversationKey]convInfo, version uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.version != version {
		return // one of them may be gone
	}
	for k, v := range found {
		if len(c.m) >= maxConvCache {
			n := 0
			for k := range c.m {
				if delete(c.m, k); n > maxConvCache/8 {
					break
				}
				n++
			}
		}
		k.Tenant = unique.Make(k.Tenant).Value()
		c.m[k] = v
	}
}

// convScope is the conversations of a query that have been heard of.
type convScope struct {
	ids  []int64
	docs int64
	keys map[int64]chat.ConversationID
}

func (f *file) scope(ctx context.Context, q chat.IndexQuery) (convScope, error) {
	s := convScope{keys: make(map[int64]chat.ConversationID, len(q.Conversations))}
	take := func(id chat.ConversationID, c convInfo) {
		if _, twice := s.keys[c.id]; !twice {
			s.keys[c.id] = id
			s.ids = append(s.ids, c.id)
			s.docs += c.docs
		}
	}
	var missing []string
	f.convs.mu.Lock()
	version := f.convs.version
	for _, id := range q.Conversations {
		if !q.Conversation.IsZero() && id != q.Conversation {
			continue
		}
		if c, ok := f.convs.m[chat.ConversationKey{Tenant: q.Tenant, ID: id}]; ok {
			take(id, c)
		} else {
			missing = append(missing, hex.EncodeToString(id[:]))
		}
	}
	f.convs.mu.Unlock()
	if len(missing) == 0 {
		return s, nil
	}
	list, err := json.Marshal(missing)
	if err != nil {
		return s, err
	}
	rows, err := f.read.QueryContext(ctx, `SELECT c.conversation, c.id, c.docs FROM json_each(?) j CROSS JOIN conv c
		ON c.tenant = ? AND c.conversation = unhex(j.value) AND c.gone = 0`, string(list), string(q.Tenant))
	if err != nil {
		return s, err
	}
	defer rows.Close()
	found := map[chat.ConversationKey]convInfo{}
	for rows.Next() {
		var id []byte
		var c convInfo
		if err := rows.Scan(&id, &c.id, &c.docs); err != nil {
			return s, err
		}
		k := chat.ConversationKey{Tenant: q.Tenant, ID: chat.ConversationID(id)}
		found[k] = c
		take(k.ID, c)
	}
	if err := rows.Err(); err != nil {
		return s, err
	}
	f.convs.put(found, version)
	return s, nil
}
