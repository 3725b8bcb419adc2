package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/rest"
	"github.com/zumodra/hub/edge/session"
	"github.com/zumodra/hub/edge/tenancy"
	"github.com/zumodra/hub/storage"
)

const (
	// followTenancy is how often a node of a cluster looks for changes of tenants, suspensions and revocations, which
	// are to hold everywhere within a second: one read of one row.
	followTenancy = 250 * time.Millisecond
	// readTenancy bounds the reading of all of them at the start.
	readTenancy = 2 * time.Minute
)

// openTenancy reads who is let in. The sessions to look at after a change are those of the manager that is put into the
// pointer.
func (n *Node) openTenancy() (*atomic.Pointer[session.Manager], error) {
	watcher := new(atomic.Pointer[session.Manager])
	c := tenancy.Config{Store: n.store, Listed: n.cfg.TenantsListed, Now: n.opts.Now, Log: n.log, Changed: func(k chat.UserKey) {
		if m := watcher.Load(); m != nil {
			m.Recheck(k)
		}
	}}
	if n.backing.Load().shared {
		c.Poll = followTenancy
	}
	ctx, cancel := context.WithTimeout(context.Background(), readTenancy)
	defer cancel()
	for {
		r, err := tenancy.Open(ctx, c)
		if err == nil {
			n.tenancy = r
			return watcher, nil
		}
		if c.Poll == 0 || errors.Is(err, storage.ErrCorrupt) || ctx.Err() != nil {
			return watcher, err
		}
		n.log.Warn("reading the tenants: the store failed, once more", "error", err)
		select {
		case <-time.After(retryStore):
		case <-n.leaseLost():
			return watcher, errLeaseLost
		case <-ctx.Done():
			return watcher, err
		}
	}
}

// throttles of REST: what is configured goes over the defaults, which development has none of.
func (n *Node) throttles() (map[string]rest.Throttle, error) {
	usual := rest.DefaultThrottles + ","
	if n.cfg.Dev {
		usual = ""
	}
	return rest.ParseThrottles(usual + n.cfg.Throttles)
}

// sessionLimits are those of tenants' sockets.
func (n *Node) sessionLimits() func(chat.TenantID) session.Limits {
	limits, user, address := n.tenancy.Limits, n.cfg.SessionsPerUser, n.cfg.SessionsPerAddress
	or := func(own, usual int) int {
		if own > 0 {
			return own
		}
		return usual
	}
	return func(t chat.TenantID) session.Limits {
		l := limits(t)
		return session.Limits{Tenant: l.Connections, User: or(l.ConnectionsPerUser, user), Address: or(l.ConnectionsPerAddress, address)}
	}
}

// audited is the hub, with an entry in the audit log for each sensitive action of a user that changed something
// (requirement 120). The entry is there before a request of REST is answered; a socket may see the event that its command
// made a moment earlier. It belongs to the node that the user is
// connected to, so that there is one whichever node carries the action out.
type audited struct {
	*actors.Hub
	tenancy  *tenancy.Registry
	sessions *session.Manager
	now      func() time.Time
	entries  sync.WaitGroup
}

// sensitive is what an entry says of a command that has been carried out; ok is false for what needs none.
func sensitive(cmd chat.Command, res *chat.Result) (a chat.Action, objects []string, ok bool) {
	if res.Event == nil || res.Duplicate {
		return "", nil, false // nothing has changed
	}
	switch c := cmd.(type) {
	case chat.Delete:
		a, objects = chat.ActionDeleteMessage, []string{c.Conversation.String(), c.Message.String()}
	case chat.RemoveMembers:
		a, objects = chat.ActionRemove, []string{c.Conversation.String()}
		for _, u := range res.Event.Users {
			objects = append(objects, string(u))
		}
	case chat.SetRole:
		a, objects = chat.ActionRole, []string{c.Conversation.String(), string(c.User), c.Role.String()}
	default:
		return "", nil, false
	}
	return a, objects, true
}

// maxObjects bounds the ids in an entry.
const maxObjects = 100

func (x *audited) record(ctx context.Context, p chat.Principal, address string, a chat.Action, objects []string) {
	if more := len(objects) - maxObjects; more > 0 {
		objects = append(objects[:maxObjects:maxObjects], fmt.Sprintf("and %d more", more))
	}
	e := chat.NewAuditEntry(x.now(), p.Tenant, chat.Actor{Kind: chat.ActorUser, ID: string(p.User)}, a, objects...)
	e.Address = address
	x.tenancy.Record(ctx, e)
}

// Do is that of the Hub.
func (x *audited) Do(ctx context.Context, p chat.Principal, cmd chat.Command) (chat.Result, error) {
	res, err := x.Hub.Do(ctx, p, cmd)
	if err == nil {
		if a, objects, ok := sensitive(cmd, &res); ok {
			x.record(ctx, p, chat.AddressOf(ctx), a, objects)
		}
	}
	return res, err
}

// Submit is that of the Hub. Sensitive commands are few, and bounded by the limit of requests of their users: each entry
// is written by a goroutine of its own.
func (x *audited) Submit(p chat.Principal, o chat.Origin, cmd chat.Command, done func(chat.Result, error)) {
	switch cmd.(type) {
	case chat.Delete, chat.RemoveMembers, chat.SetRole:
	default:
		x.Hub.Submit(p, o, cmd, done)
		return
	}
	address := x.sessions.AddressOf(p.Key(), o.Session) // the session may be gone afterwards
	x.Hub.Submit(p, o, cmd, func(res chat.Result, err error) {
		a, objects, ok := sensitive(cmd, &res)
		if err != nil || !ok {
			done(res, err)
			return
		}
		x.entries.Go(func() {
			x.record(context.Background(), p, address, a, objects)
			done(res, err)
		})
	})
}

// Relate is that of the Hub.
func (x *audited) Relate(ctx context.Context, p chat.Principal, cmd chat.PeopleCommand) (chat.Pair, error) {
	pair, err := x.Hub.Relate(ctx, p, cmd)
	if err != nil {
		return pair, err
	}
	switch c := cmd.(type) {
	case chat.Block:
		x.record(ctx, p, chat.AddressOf(ctx), chat.ActionBlock, []string{string(c.User)})
	case chat.Unblock:
		x.record(ctx, p, chat.AddressOf(ctx), chat.ActionUnblock, []string{string(c.User)})
	}
	return pair, nil
}

// close waits for the entries under way. The hub has been closed before.
func (x *audited) close() { x.entries.Wait() }

func tenancyCollector(take func() tenancy.Stats) prometheus.Collector {
	type S = tenancy.Stats
	c := &snapshot[S]{take: take}
	c.gauge("hub_tenants", "Tenants that were created.", func(s *S) float64 { return float64(s.Tenants) })
	c.gauge("hub_restrictions", "Suspended users and revoked tokens.", func(s *S) float64 { return float64(s.Restrictions) })
	c.counter("hub_refused_passes_total", "Valid tokens that were refused: suspended or revoked.", func(s *S) float64 { return float64(s.Refused) })
	c.counter("hub_audit_failures_total", "Entries of the audit log that could not be written.", func(s *S) float64 { return float64(s.AuditFailed) })
	c.counter("hub_tenancy_poll_failures_total", "Looks for changes of tenants that failed.", func(s *S) float64 { return float64(s.PollFailed) })
	return c
}
