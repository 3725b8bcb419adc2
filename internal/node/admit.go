package node

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/lease"
	"github.com/zumodra/hub/cluster/membership"
	"github.com/zumodra/hub/internal/config"
)

// admit waits until most nodes that take part can be reached and reach this one (see lease.Manager.Admit), and none of
// them feeds other consumers.
func (c *clustering) admit(ctx context.Context) error {
	defer c.missing.Store(nil)
	next := time.Now().Add(time.Second) // at once there are some that were not tried yet
	wait := func(text string) {
		c.missing.Store(&text)
		if now := time.Now(); now.After(next) {
			next = now.Add(tellStore)
			c.node.log.Warn("not joined yet: " + text)
		}
	}
	for {
		if err := c.leases.Admit(ctx, c.reaches, func(away []lease.Holder) { wait(c.absent(away)) }); err != nil {
			return err
		}
		others := c.differing()
		if others == "" {
			return nil
		}
		wait(others)
		select {
		case <-time.After(topologyPoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// follows names the consumers of the logs that a configuration has. What one node feeds its consumers, and another one does
// not, would be missing there once a shard has been at both.
func follows(c *config.Config) string {
	if c.Search != "meili" {
		return "search " + cmp.Or(c.Search, "off")
	}
	sum := sha256.Sum256([]byte(strings.TrimSuffix(c.MeiliURL, "/") + " " + c.MeiliIndexPrefix))
	return "search meili " + hex.EncodeToString(sum[:4])
}

// differing says which nodes that serve feed other consumers than this one; empty: none.
func (c *clustering) differing() string {
	if c.members == nil {
		return ""
	}
	own := follows(&c.node.cfg)
	var parts []string
	for _, m := range c.members.Members() {
		if m.ID != c.leases.Self() && m.State == membership.Serving && m.Follows != "" && m.Follows != own {
			parts = append(parts, m.Name+" has "+m.Follows)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, ", ") + "; this node has " + own + ": all nodes need the same --search (and --meili-url, --meili-index-prefix). It waits until they have it, or are gone"
}

// reaches reports whether this node and another can ask one another.
func (c *clustering) reaches(id chat.NodeID) bool {
	_, up := c.up.Load(id)
	return up && c.streams.Inbound(id)
}

// absent says of nodes that hold leases and are not reached why not, as far as is known.
func (c *clustering) absent(away []lease.Holder) string {
	var parts []string
	for _, h := range away {
		parts = append(parts, h.Name+" "+c.trouble(h.ID))
	}
	return strings.Join(parts, "; ")
}

// trouble is why a node is not reached.
func (c *clustering) trouble(id chat.NodeID) string {
	if c.members == nil {
		return "shares the store: this node waits until it is gone (several need --gossip-listen, --cluster-listen and --join)"
	}
	if !slices.ContainsFunc(c.members.Members(), func(m membership.Member) bool { return m.ID == id }) {
		return "shares the store and is not heard by gossip (are --join and the keys in --gossip-key-file right? Or it has died a moment ago)"
	}
	if _, up := c.up.Load(id); up {
		return "does not connect to this node (can it reach " + c.address() + ", and does it accept this node's certificate?)"
	}
	for _, p := range c.streams.Stats().Peers {
		if p.Node == id && p.LastError != "" {
			return "cannot be reached at " + p.Addr + ": " + p.LastError
		}
	}
	return "is not connected yet"
}
