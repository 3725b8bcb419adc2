package membership

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/zumodra/hub/chat"
)

// Config of a Membership. Name, ID, Bind and Address are required.
type Config struct {
	Cluster string // whose nodes hear one another; others are not heard
	Name    string // of the node, the same in all its lives
	ID      chat.NodeID
	Roles   []string
	Address string // of the node's streams, for the others
	Version string
	Weight  uint
	State   State // at first; see SetState
	Follows string

	Bind      string   // host:port of gossip, TCP and UDP; port 0: any
	Advertise string   // how the others reach it, if otherwise
	Join      []string // host:port of some nodes; of a DNS name all addresses count
	KeyFile   string   // keys that gossip is encrypted with; see readKeys. Empty: it is not

	// Changed is told of all members, this node included, by name, whenever something changed: from one goroutine, which
	// it may hold up for a moment.
	Changed func([]Member)
	Logger  *slog.Logger // default: discard

	// Probe is the time between two looks at another node; default 600 ms. A node that vanished is found out about
	// within 8 of them.
	Probe  time.Duration
	Rejoin time.Duration // between two attempts at nodes that are missing; default 10 s, and a tenth before the first
	Forget time.Duration // how long former members are tried; default 10 min
	Rekey  time.Duration // between two looks at KeyFile; default 1 s

	transport memberlist.Transport // of tests
}

// gossip is what memberlist knows of a node.
type gossip struct {
	addr string
	meta []byte
}

// Membership of this node in the cluster. Its methods are safe for concurrent use.
type Membership struct {
	cfg  Config
	list *memberlist.Memberlist
	ring *memberlist.Keyring // nil: no encryption
	wake chan struct{}       // something changed
	stop chan struct{}
	wg   sync.WaitGroup

	mu     sync.Mutex
	self   Member
	meta   []byte
	known  []Member
	nodes  map[string]gossip    // by memberlist's name, as it last told: what it returns it changes meanwhile
	former map[string]time.Time // gossip address -> until when it is tried
	closed bool
}

// New listens and begins to join. It fails if the address cannot be had or the keys cannot be read; other nodes need not
// be there.
func New(c Config) (*Membership, error) {
	c.Probe = cmp.Or(c.Probe, 600*time.Millisecond)
	c.Rejoin = cmp.Or(c.Rejoin, 10*time.Second)
	c.Forget = cmp.Or(c.Forget, 10*time.Minute)
	c.Rekey = cmp.Or(c.Rekey, time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Changed == nil {
		c.Changed = func([]Member) {}
	}
	if c.Name == "" || c.ID == 0 || c.Address == "" {
		return nil, errors.New("membership: Name, ID and Address must be given")
	}
	m := &Membership{cfg: c, wake: make(chan struct{}, 1), stop: make(chan struct{}), former: make(map[string]time.Time), nodes: make(map[string]gossip),
		self: Member{Name: c.Name, ID: c.ID, Roles: c.Roles, Address: c.Address, Version: c.Version, Weight: c.Weight, State: c.State, Follows: c.Follows}}
	var err error
	if m.meta, err = m.self.encode(); err != nil {
		return nil, err
	}
	mc, err := m.settings()
	if err != nil {
		return nil, err
	}
	if m.list, err = memberlist.Create(mc); err != nil {
		return nil, fmt.Errorf("membership: %w", err)
	}
	m.refresh()
	m.wg.Go(m.report)
	m.wg.Go(m.keepJoined)
	return m, nil
}

func (m *Membership) settings() (*memberlist.Config, error) {
	c := &m.cfg
	mc := memberlist.DefaultLANConfig()
	mc.Name = c.Name + "/" + c.ID.String()
	mc.Delegate, mc.Events, mc.Conflict = m, m, m
	mc.Logger = log.New(lines{c.Logger}, "", 0)
	mc.Transport, mc.Label = c.transport, c.Cluster
	// A node that vanished is probed within two intervals, is suspected after half of one, and confirmed by others, or
	// not, is taken for dead after 4 to 6 more. Less would take busy nodes for dead, which costs moves of shards.
	mc.ProbeInterval, mc.ProbeTimeout = c.Probe, c.Probe/2
	mc.SuspicionMult, mc.SuspicionMaxTimeoutMult = 4, 1
	mc.GossipInterval = min(c.Probe/3, 200*time.Millisecond)
	mc.PushPullInterval = 25 * c.Probe
	host, port, err := split(c.Bind)
	if err != nil {
		return nil, fmt.Errorf("membership: %w", err)
	}
	mc.BindAddr, mc.BindPort = host, port
	mc.AdvertisePort = 0
	if c.Advertise != "" {
		if mc.AdvertiseAddr, mc.AdvertisePort, err = split(c.Advertise); err != nil {
			return nil, fmt.Errorf("membership: %w", err)
		}
	}
	if c.KeyFile != "" {
		keys, err := readKeys(c.KeyFile)
		if err != nil {
			return nil, err
		}
		if m.ring, err = memberlist.NewKeyring(keys[1:], keys[0]); err != nil {
			return nil, fmt.Errorf("membership: %w", err)
		}
		mc.Keyring = m.ring
	}
	return mc, nil
}

func split(addr string) (string, int, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if host == "" {
		host = "0.0.0.0"
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("%q is no port", text)
	}
	return host, int(port), nil
}

// lines turns memberlist's log into ours.
type lines struct{ log *slog.Logger }

func (l lines) Write(b []byte) (int, error) {
	text := strings.TrimSpace(string(b))
	level := slog.LevelDebug
	switch {
	case strings.HasPrefix(text, "[ERR]"), strings.HasPrefix(text, "[WARN]"):
		level = slog.LevelWarn
	case strings.HasPrefix(text, "[INFO]"):
		level = slog.LevelInfo
	}
	if i := strings.Index(text, "] "); i >= 0 {
		text = text[i+2:]
	}
	l.log.Log(context.Background(), level, "gossip: "+strings.TrimPrefix(text, "memberlist: "))
	return len(b), nil
}

func (m *Membership) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Memberlist calls what follows while it holds locks of its own.

// NotifyJoin implements memberlist.EventDelegate.
func (m *Membership) NotifyJoin(n *memberlist.Node) {
	m.mu.Lock()
	m.nodes[n.Name] = gossip{n.Address(), slices.Clone(n.Meta)}
	m.mu.Unlock()
	m.signal()
}

// NotifyUpdate implements memberlist.EventDelegate.
func (m *Membership) NotifyUpdate(n *memberlist.Node) { m.NotifyJoin(n) }

// NotifyLeave implements memberlist.EventDelegate.
func (m *Membership) NotifyLeave(n *memberlist.Node) {
	m.mu.Lock()
	delete(m.nodes, n.Name)
	if n.State == memberlist.StateDead { // one that left is not looked for
		m.former[n.Address()] = time.Now().Add(m.cfg.Forget)
	}
	m.mu.Unlock()
	m.signal()
}

// NotifyConflict implements memberlist.ConflictDelegate.
func (m *Membership) NotifyConflict(existing, other *memberlist.Node) {
	m.cfg.Logger.Error("two nodes gossip under one name", "node", existing.Name, "address", existing.Address(), "other", other.Address())
}

// NodeMeta implements memberlist.Delegate.
func (m *Membership) NodeMeta(int) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.meta
}

// NotifyMsg, GetBroadcasts, LocalState and MergeRemoteState implement memberlist.Delegate: there is nothing else to say.
func (m *Membership) NotifyMsg([]byte)                {}
func (m *Membership) GetBroadcasts(int, int) [][]byte { return nil }
func (m *Membership) LocalState(bool) []byte          { return nil }
func (m *Membership) MergeRemoteState([]byte, bool)   {}

// report tells of changes until Close.
func (m *Membership) report() {
	for {
		select {
		case <-m.wake:
		case <-m.stop:
			return
		}
		if list, changed := m.refresh(); changed {
			m.cfg.Changed(list)
		}
	}
}

// refresh makes the list of members anew.
func (m *Membership) refresh() (list []Member, changed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, n := range m.nodes {
		delete(m.former, n.addr)
		x, err := decode(n.meta)
		switch {
		case err == nil && x.ID == m.self.ID:
			x = m.self
		case err != nil:
			m.cfg.Logger.Warn("a node cannot be understood", "node", name, "error", err)
			continue
		}
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b Member) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	changed = !slices.EqualFunc(list, m.known, func(a, b Member) bool {
		return slices.Equal(a.Roles, b.Roles) && a.Name == b.Name && a.ID == b.ID && a.Address == b.Address && a.Version == b.Version &&
			a.Weight == b.Weight && a.State == b.State && a.Sessions == b.Sessions && a.Follows == b.Follows
	})
	m.known = list
	return list, changed
}

// keepJoined tries nodes that are missing, and looks at the keys, until Close.
func (m *Membership) keepJoined() {
	rejoin, rekey := time.NewTimer(0), time.NewTicker(m.cfg.Rekey)
	defer rejoin.Stop()
	defer rekey.Stop()
	failed := ""
	for {
		select {
		case <-m.stop:
			return
		case <-rekey.C:
			if m.ring != nil {
				m.rekey()
			}
		case <-rejoin.C:
			missing := m.missing()
			alone := m.list.NumMembers() == 1
			if len(missing) > 0 {
				if _, err := m.list.Join(missing); err != nil {
					if text := err.Error(); alone && text != failed {
						failed = text
						m.cfg.Logger.Warn("no node to join yet", "addresses", strings.Join(m.cfg.Join, ","), "error", err)
					}
				} else {
					failed = ""
				}
			}
			if alone && len(m.cfg.Join) > 0 {
				rejoin.Reset(m.cfg.Rejoin / 10)
			} else {
				rejoin.Reset(m.cfg.Rejoin)
			}
		}
	}
}

func (m *Membership) rekey() {
	keys, err := readKeys(m.cfg.KeyFile)
	changed := false
	if err == nil {
		changed, err = rotate(m.ring, keys)
	}
	switch {
	case err != nil:
		m.cfg.Logger.Error("the keys of gossip stay as they are", "error", err)
	case changed:
		m.cfg.Logger.Info("the keys of gossip have changed", "keys", len(keys))
	}
}

// missing are the addresses of seeds and former members that are not members.
func (m *Membership) missing() (list []string) {
	there := make(map[string]bool)
	m.mu.Lock()
	for _, n := range m.nodes {
		there[n.addr] = true
	}
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	wanted := make(map[string]bool)
	for _, addr := range m.cfg.Join {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			continue
		}
		hosts, err := net.DefaultResolver.LookupHost(ctx, host)
		if err != nil {
			m.cfg.Logger.Warn("a name of nodes to join cannot be resolved", "name", host, "error", err)
		}
		for _, h := range hosts {
			wanted[net.JoinHostPort(h, port)] = true
		}
	}
	now := time.Now()
	m.mu.Lock()
	maps.DeleteFunc(m.former, func(_ string, until time.Time) bool { return now.After(until) })
	for addr := range m.former {
		wanted[addr] = true
	}
	m.mu.Unlock()
	for addr := range wanted {
		if !there[addr] {
			list = append(list, addr)
		}
	}
	slices.Sort(list)
	return list
}

// Members are all nodes that are there, this one included, by name.
func (m *Membership) Members() []Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known
}

// Addr is where gossip listens.
func (m *Membership) Addr() string { return m.list.LocalNode().Address() }

// SetState tells the others, without waiting until they know.
func (m *Membership) SetState(s State) { m.say(func(x *Member) { x.State = s }) }

// SetSessions tells the others how many are open here.
func (m *Membership) SetSessions(n int) { m.say(func(x *Member) { x.Sessions = n }) }

func (m *Membership) say(change func(*Member)) {
	m.mu.Lock()
	next := m.self
	change(&next)
	b, err := next.encode()
	same := err != nil || string(b) == string(m.meta)
	if !same {
		m.self, m.meta = next, b
	}
	closed := m.closed
	m.mu.Unlock()
	if same || closed {
		return
	}
	_ = m.list.UpdateNode(time.Millisecond) // it is queued: only the wait for it can fail
	m.signal()
}

// Leave tells the others that this node goes, until ctx ends.
func (m *Membership) Leave(ctx context.Context) error {
	limit := time.Second
	if d, ok := ctx.Deadline(); ok {
		limit = time.Until(d)
	}
	if err := m.list.Leave(max(limit, time.Millisecond)); err != nil {
		return fmt.Errorf("membership: leave: %w", err)
	}
	return nil
}

// Close stops at once; the others find out, unless Leave told them.
func (m *Membership) Close() error {
	m.mu.Lock()
	again := m.closed
	m.closed = true
	m.mu.Unlock()
	if again {
		return nil
	}
	close(m.stop)
	err := m.list.Shutdown()
	m.wg.Wait()
	if err != nil {
		return fmt.Errorf("membership: %w", err)
	}
	return nil
}
