package node

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/lease"
	"github.com/zumodra/hub/cluster/membership"
	"github.com/zumodra/hub/cluster/placement"
	"github.com/zumodra/hub/cluster/router"
	"github.com/zumodra/hub/cluster/transport"
	"github.com/zumodra/hub/edge/rest"
	"github.com/zumodra/hub/edge/session"
	"github.com/zumodra/hub/internal/config"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/scylla"
)

// clustering ties this node to the others that share its store. A node by itself is a cluster of one: it has no
// members and no streams, and is otherwise the same.
type clustering struct {
	node     *Node
	hub      *actors.Hub // when serving is set, as sessions
	sessions *session.Manager
	leases   *lease.Manager
	router   *router.Router
	streams  *transport.Transport   // nil: by itself
	members  *membership.Membership // nil: by itself

	mu      sync.Mutex
	known   []membership.Member
	edges   atomic.Pointer[[]chat.NodeID]
	serving atomic.Bool            // the hub is there
	up      sync.Map               // chat.NodeID -> struct{}: a stream stands
	missing atomic.Pointer[string] // who has to be reached before this node takes part; nil: it does, or has not asked
}

// topologyPoll is how often the hub is told to look whether shards have moved.
const topologyPoll = 200 * time.Millisecond

// openClustering listens; start begins to take part.
func (n *Node) openClustering(ctx context.Context) (err error) {
	e, ok := n.backing.Load().engine.(*scylla.Engine)
	if !ok {
		return errors.New("clustering needs a store that is shared")
	}
	c := &clustering{node: n}
	name := n.cfg.NodeName
	if name == "" {
		if name, err = os.Hostname(); err != nil {
			return fmt.Errorf("finding a name for the node, give --node-name: %w", err)
		}
	}
	floor, err := storage.LeaseEpoch(ctx, e, nodeLease)
	if err != nil {
		return err
	}
	var settle time.Duration
	if !n.cfg.Clustered() {
		settle = time.Millisecond // nobody else comes
	}
	c.leases, err = lease.New(lease.Config{
		Settle: settle,
		Name:   name, Store: leaseStore{n.store}, Duration: n.cfg.CQLLease, Now: uptime, Clock: e.Clock, Raise: e.RaiseClock, Logger: n.log, Floor: floor,
		Gained: c.gained, Release: c.release, Lost: c.lost,
	})
	if err != nil {
		return err
	}
	n.cluster.Store(c)
	self := c.leases.Self()
	c.edges.Store(&[]chat.NodeID{self})
	rc := router.Config{Self: self, Shards: c.leases, Peers: nobodyElse{}, Edges: func() []chat.NodeID { return *c.edges.Load() },
		NotSent: func(err error) bool { return errors.Is(err, transport.ErrNotSent) }, Logger: n.log}
	if !n.cfg.Clustered() {
		c.router = router.New(rc)
		return nil
	}
	var secure *tls.Config
	if n.cfg.ClusterCert != "" {
		if secure, err = clusterTLS(&n.cfg); err != nil {
			return err
		}
	}
	// The two need one another.
	in := &inbound{c: c}
	c.streams, err = transport.New(transport.Config{Self: self, Name: name, Cluster: n.cfg.CQLKeyspace, Listen: n.cfg.ClusterListen, TLS: secure,
		Handler: in, Logger: n.log})
	if err != nil {
		return fmt.Errorf("listening for other nodes: %w", err)
	}
	rc.Peers = c.streams
	c.router = router.New(rc)
	in.router.Store(c.router)
	c.members, err = membership.New(membership.Config{
		Cluster: n.cfg.CQLKeyspace, Name: name, ID: self, Roles: n.cfg.Roles, Version: n.opts.Version, State: membership.Joining, Follows: follows(&n.cfg),
		Bind: n.cfg.GossipListen, Advertise: n.cfg.GossipAdvertise, Address: c.address(),
		Join: n.cfg.Join, KeyFile: n.cfg.GossipKeyFile, Changed: c.changed, Logger: n.log,
	})
	if err != nil {
		return fmt.Errorf("listening for gossip: %w", err)
	}
	return nil
}

// nobodyElse is the transport of a cluster of one.
type nobodyElse struct{}

func (nobodyElse) Request(_ context.Context, _ chat.NodeID, _ []byte, done func([]byte, error)) {
	done(nil, transport.ErrNotSent)
}

func (nobodyElse) Deliver(_ chat.NodeID, _ []byte, done func(error)) { done(transport.ErrNotSent) }

// inbound is the transport's handler.
type inbound struct {
	c      *clustering
	router atomic.Pointer[router.Router]
}

func (i *inbound) Request(from chat.NodeID, timeout time.Duration, payload []byte, reply func([]byte, error)) {
	if r := i.router.Load(); r != nil {
		r.Request(from, timeout, payload, reply)
		return
	}
	reply(nil, chat.ErrUnavailable)
}

func (i *inbound) Deliver(from chat.NodeID, payload []byte, confirm func(error)) {
	if r := i.router.Load(); r != nil {
		r.Deliver(from, payload, confirm)
		return
	}
	confirm(chat.ErrUnavailable)
}

func (i *inbound) Up(node chat.NodeID) {
	i.c.up.Store(node, struct{}{})
	i.c.node.log.Info("connected to a node", "node", node.String())
}

func (i *inbound) Down(node chat.NodeID, err error) {
	i.c.up.Delete(node)
	i.c.node.log.Warn("not connected to a node any more", "node", node.String(), "error", err)
	if r := i.router.Load(); r != nil {
		r.Down(node, err)
	}
}

// clusterTLS is what nodes show one another.
func clusterTLS(c *config.Config) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(c.ClusterCert, c.ClusterKey)
	if err != nil {
		return nil, fmt.Errorf("reading the node's certificate: %w", err)
	}
	pem, err := os.ReadFile(c.ClusterCA)
	if err != nil {
		return nil, fmt.Errorf("reading the certificates of nodes: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no PEM certificate", c.ClusterCA)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: roots, MinVersion: tls.VersionTLS13}, nil
}

// takePart takes a lease and shards, and returns when every shard has an owner that can be asked. The hub exists.
func (c *clustering) takePart(ctx context.Context) error {
	c.hub, c.sessions = c.node.hub, c.node.sessions
	c.router.Serve(c.hub)
	if err := c.admit(ctx); err != nil {
		return fmt.Errorf("joining the other nodes: %w", err)
	}
	c.serving.Store(true)
	if err := c.leases.Start(ctx); err != nil {
		return fmt.Errorf("taking a lease: %w", err)
	}
	// Whoever changes the fencing sees this lease, or this sees the change.
	if err := c.node.checkFencing(ctx, c.node.backing.Load().engine); err != nil {
		return err
	}
	self := c.leases.Self()
	if c.members == nil {
		c.leases.SetMembers([]placement.Node{{Name: c.leases.Status().Name, ID: self}})
	} else {
		c.members.SetState(membership.Serving)
		c.changed(c.members.Members())
	}
	return c.awaitShards(ctx)
}

// address is where the other nodes are told to reach this one.
func (c *clustering) address() string { return cmp.Or(c.node.cfg.ClusterAdvertise, c.streams.Addr()) }

// changed is told of all members whenever something changed. It does not block.
func (c *clustering) changed(list []membership.Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = list
	var peers []transport.Peer
	var actors []placement.Node
	var edges []chat.NodeID
	for _, m := range list {
		if m.ID != c.leases.Self() {
			peers = append(peers, transport.Peer{ID: m.ID, Name: m.Name, Addr: m.Address})
		}
		if slices.Contains(m.Roles, config.RoleActors) && m.State != membership.Draining {
			actors = append(actors, placement.Node{Name: m.Name, ID: m.ID, Weight: m.Weight})
		}
		if slices.Contains(m.Roles, config.RoleEdge) && (m.State != membership.Joining || m.ID == c.leases.Self()) {
			edges = append(edges, m.ID)
		}
	}
	c.edges.Store(&edges)
	c.streams.SetPeers(peers)
	c.leases.SetMembers(actors)
	if c.serving.Load() {
		c.hub.TopologyMoved()
	}
}

// watch tells the hub that shards may have moved, until ctx ends.
func (c *clustering) watch(ctx context.Context) {
	t := time.NewTicker(topologyPoll)
	defer t.Stop()
	for i := 0; ; i++ {
		select {
		case <-t.C:
			c.hub.TopologyMoved()
			if c.members != nil && i%25 == 0 {
				c.members.SetSessions(c.sessionCount())
			}
		case <-ctx.Done():
			return
		}
	}
}

// gained, release and lost are told by the leases.
func (c *clustering) gained(shard int, epoch uint64) {
	c.hub.DirectoryGained(shard)
	c.hub.Gained(shard, epoch)
}

func (c *clustering) release(ctx context.Context, shards []int) {
	h, log := c.hub, c.node.log
	if err := h.Release(ctx, shardSet(shards)); err != nil {
		log.Warn("not everything of the shards that are handed over was finished", "shards", len(shards), "error", err)
	}
	missed, err := h.FlushDeliveries(ctx, shards)
	if err != nil {
		log.Warn("not all deliveries of the shards that are handed over have arrived", "shards", len(shards), "error", err)
	}
	for _, key := range missed { // whoever takes them over announces what is marked
		if err := c.node.store.MarkDirty(ctx, key); err != nil {
			log.Warn("members of a conversation may lack something until they resume", "tenant", string(key.Tenant),
				"conversation", key.ID.String(), "error", err)
		}
	}
	h.DirectoryLost(shards)
}

func (c *clustering) lost(shards []int) {
	c.node.log.Error("shards were lost", "shards", len(shards))
	c.hub.Lost(shardSet(shards))
	c.hub.DirectoryLost(shards)
}

func shardSet(shards []int) *chat.ShardSet {
	s := new(chat.ShardSet)
	for _, i := range shards {
		s.Add(i)
	}
	return s
}

// reached reports how many shards have an owner that can be asked.
func (c *clustering) reached() (n int) {
	for i := range chat.Shards {
		owner := c.leases.Owner(i)
		if owner == c.leases.Self() {
			if _, ok := c.leases.Term(i); ok {
				n++
			}
		} else if _, up := c.up.Load(owner); up {
			n++
		}
	}
	return n
}

// awaitShards waits until every shard has an owner that can be asked.
func (c *clustering) awaitShards(ctx context.Context) error {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	told := time.Now()
	for {
		if c.reached() == chat.Shards {
			return nil
		}
		if time.Since(told) >= tellStore {
			told = time.Now()
			c.node.log.Info("waiting for shards that another hub holds", "reached", c.reached(), "of", chat.Shards)
		}
		select {
		case <-t.C:
		case <-c.leases.Dead():
			return errLeaseLost
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// check is the readiness of the cluster.
func (c *clustering) check() rest.Check {
	n := c.reached()
	k := rest.Check{Name: "shards", OK: n == chat.Shards, Detail: fmt.Sprintf("%d of %d have an owner that can be asked", n, chat.Shards)}
	if text := c.missing.Load(); text != nil && *text != "" {
		k.OK = false
		k.Detail += "; not joined yet: " + *text
	} else if c.node.state.Load() == starting && !k.OK {
		k.Detail += "; the others are held by another hub, or being taken over"
	}
	if c.serving.Load() && c.leases.Status().Valid <= 0 {
		k.OK = false
		k.Detail += "; the lease could not be renewed: nothing is acknowledged"
	}
	return k
}

// leaveTime bounds leave, so that a store that is away does not keep clients from being told.
const leaveTime = 10 * time.Second

// leave hands everything over.
func (c *clustering) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	if c.members != nil {
		c.members.SetState(membership.Draining)
	}
	if err := c.leases.Leave(ctx); err != nil {
		c.node.log.Warn("other nodes have to wait for our lease to run out", "error", err)
	}
}

// close ends the streams and gossip. Everything has been handed over, or never will be.
func (c *clustering) close() {
	ctx, cancel := context.WithTimeout(context.Background(), lostGrace)
	defer cancel()
	c.leases.Close()
	if c.router != nil { // it was not opened in full
		if err := c.router.Close(ctx); err != nil {
			c.node.log.Warn("closing the router", "error", err)
		}
	}
	if c.members != nil {
		_ = c.members.Leave(ctx) // the others notice
		if err := c.members.Close(); err != nil {
			c.node.log.Warn("closing gossip", "error", err)
		}
	}
	if c.streams != nil {
		if err := c.streams.Close(); err != nil {
			c.node.log.Warn("closing streams", "error", err)
		}
	}
}

// status is for /debug/cluster.
func (c *clustering) status() ClusterStatus {
	ls := c.leases.Status()
	st := ClusterStatus{Self: ls.Self.String(), Shards: chat.Shards, LeaseLeft: ls.Valid.Milliseconds()}
	shards := make(map[chat.NodeID]int)
	for i := range chat.Shards {
		shards[c.leases.Owner(i)]++
	}
	c.mu.Lock()
	list := c.known
	c.mu.Unlock()
	if c.members == nil {
		list = []membership.Member{{Name: ls.Name, ID: ls.Self, Roles: c.node.cfg.Roles, Version: c.node.opts.Version}}
	}
	protocols := c.protocols()
	for _, m := range list {
		_, up := c.up.Load(m.ID)
		cm := ClusterMember{Name: m.Name, ID: m.ID.String(), Roles: m.Roles, State: m.State.String(), Version: m.Version, Address: m.Address, Follows: m.Follows,
			Shards: shards[m.ID], Sessions: m.Sessions, Reached: up || m.ID == ls.Self, Protocol: protocols[m.ID]}
		if m.ID == ls.Self {
			cm.State = [...]string{starting: "starting", serving: "serving", draining: "draining"}[c.node.state.Load()]
			cm.Sessions = c.sessionCount()
		}
		delete(shards, m.ID)
		st.Members = append(st.Members, cm)
	}
	for _, n := range shards {
		st.Unowned += n
	}
	slices.SortFunc(st.Members, func(a, b ClusterMember) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return st
}

// protocols are the versions of the protocol that nodes are spoken to with, and those that this one speaks.
func (c *clustering) protocols() map[chat.NodeID]string {
	lowest, highest := transport.Versions()
	all := map[chat.NodeID]string{c.leases.Self(): strconv.Itoa(lowest)}
	if lowest != highest {
		all[c.leases.Self()] = fmt.Sprintf("%d-%d", lowest, highest)
	}
	for _, p := range c.streamStats().Peers {
		if p.Connected {
			all[p.Node] = strconv.Itoa(p.Version)
		}
	}
	return all
}

func (c *clustering) sessionCount() int {
	if !c.serving.Load() {
		return 0
	}
	return int(c.sessions.Stats().Open)
}

func (n *Node) clusterPage(w http.ResponseWriter, _ *http.Request) {
	c := n.cluster.Load()
	if c == nil {
		http.Error(w, "this node is not part of a cluster (yet): it has --store pebble, or waits for its store", http.StatusNotFound)
		return
	}
	b, err := json.MarshalIndent(c.status(), "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(b, '\n')) // the client is gone
}
