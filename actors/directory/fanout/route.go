package fanout

import (
	"sync"

	"github.com/zumodra/hub/actors/directory/sets"
	"github.com/zumodra/hub/chat"
)

// lane is a home and those of its shards that have recipients.
type lane struct {
	node   chat.NodeID // 0: nobody is known to own them
	shards *chat.ShardSet
}

// keptRoutes is for how many large conversations the way is remembered.
const keptRoutes = 4096

// routes remembers the ways to large sets.
type routes struct {
	mu sync.Mutex
	m  map[chat.ConversationKey]route
}

type route struct {
	set     *chat.MemberSet
	version uint64
	lanes   []lane
}

func (p *Publisher) lanes(t *table, d *chat.Delivery) []lane {
	if len(d.Recipients.Users) < sets.Large {
		return find(t, d)
	}
	p.routes.mu.Lock()
	defer p.routes.mu.Unlock()
	r, ok := p.routes.m[d.Key]
	if ok && r.set == d.Recipients && r.version == t.version {
		return r.lanes
	}
	if p.routes.m == nil {
		p.routes.m = make(map[chat.ConversationKey]route)
	}
	if !ok && len(p.routes.m) >= keptRoutes {
		for k := range p.routes.m { // any one: what is in use comes back
			delete(p.routes.m, k)
			break
		}
	}
	r = route{d.Recipients, t.version, find(t, d)}
	p.routes.m[d.Key] = r
	return r.lanes
}

func find(t *table, d *chat.Delivery) (lanes []lane) {
next:
	for _, u := range d.Recipients.Users {
		i := chat.UserKey{Tenant: d.Key.Tenant, User: u}.Shard()
		for _, l := range lanes {
			if l.node == t.owner[i] {
				l.shards.Add(i)
				continue next
			}
		}
		l := lane{t.owner[i], new(chat.ShardSet)}
		l.shards.Add(i)
		lanes = append(lanes, l)
	}
	return lanes
}
