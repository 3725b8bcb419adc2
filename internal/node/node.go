package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/actors/scheduled"
	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/edge/reactor"
	"github.com/zumodra/hub/edge/rest"
	"github.com/zumodra/hub/edge/session"
	"github.com/zumodra/hub/edge/tenancy"
	"github.com/zumodra/hub/internal/backups"
	"github.com/zumodra/hub/internal/config"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/pebble"
	"github.com/zumodra/hub/storage/scylla"
	"github.com/zumodra/hub/storage/search"
)

// Names below the data directory.
const (
	SecretFile = "auth-secret" // the token secret of --dev
	StoreDir   = "store"
	SearchDir  = "search"
)

// stopGrace is the time that conversations get to commit and save after the clients are gone.
const stopGrace = 20 * time.Second

// lostGrace is the same for a node whose keyspace another one has taken: nothing that it could save would count.
const lostGrace = time.Second

// Options of a Node besides its configuration.
type Options struct {
	Version string
	Logger  *slog.Logger     // default: discard
	Now     func() time.Time // default time.Now
	Index   search.Index     // default: what --search names. The Node closes it
	// Previews is asked for what messages link to; default: the pages themselves, with --link-previews.
	Previews actors.Previewer
	// EraseGrace is that of tenancy.EraserConfig.
	EraseGrace time.Duration
	// Fatal is told why the store cannot go on and must end the process; default: panic.
	Fatal func(text string)
}

// Node is one running hub.
type Node struct {
	cfg  config.Config
	opts Options
	log  *slog.Logger

	cql      scylla.Config
	cluster  atomic.Pointer[clustering] // nil: the store is this node's alone
	backing  atomic.Pointer[backing]    // the store, once it is open
	waiting  atomic.Pointer[string]     // what the start waits for
	store    *storage.Store
	strict   bool // fencing of the store; set with it
	blobs    atomic.Pointer[blobs]
	unerase  func()       // stops what erases tenants, and waits for it; nil: nothing runs
	unfiles  func()       // stops what keeps files, and waits for it; nil: nothing runs
	index    search.Index // nil: there is no search
	verifier *auth.Verifier
	tenancy  *tenancy.Registry
	hub      *actors.Hub
	watched  *audited
	sessions *session.Manager
	later    *scheduled.Scheduler // nil before it is there
	server   *reactor.Server
	admin    *http.Server
	adminLn  net.Listener
	metrics  *metrics
	backups  *backups.Live

	stop     chan struct{} // closed by Drain
	stopOnce sync.Once

	addr     atomic.Pointer[net.Addr] // public, once it is bound
	state    atomic.Int32             // starting, serving, draining
	repaired atomic.Int64
}

const (
	starting int32 = iota
	serving
	draining
)

// New opens the embedded store and binds the ports; nothing is served before Run. A cluster's store is opened by Run,
// and the public port bound after that. A Node that is not run must be closed by running it with a context that has
// ended.
func New(cfg config.Config, opts Options) (*Node, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	n := &Node{cfg: cfg, opts: opts, log: opts.Logger, metrics: newMetrics(opts.Version), stop: make(chan struct{})}
	if err := n.open(); err != nil {
		n.release()
		return nil, err
	}
	return n, nil
}

func (n *Node) open() (err error) {
	if err := n.openSearch(); err != nil {
		return err
	}
	if n.cfg.Store == config.StoreScylla {
		if n.cql, err = CQLConfig(&n.cfg); err != nil {
			return err
		}
		return n.openAdmin()
	}
	if err := n.openStore(); err != nil {
		return err
	}
	if err := n.assemble(); err != nil {
		return err
	}
	return n.openAdmin()
}

func (n *Node) openStore() error {
	minFree := n.cfg.MinFreeBytes
	if minFree == 0 {
		minFree = -1 // the engine's zero value is its default
	}
	e, err := pebble.Open(pebble.Config{Dir: filepath.Join(n.cfg.Data, StoreDir), MinFree: minFree, Logger: n.log, Now: n.opts.Now,
		Fatal: n.opts.Fatal})
	if err != nil {
		return fmt.Errorf("opening the store: %w", err)
	}
	n.use(e, false)
	return n.openBackups(e)
}

// Addr and AdminAddr are the addresses in use; ports given as 0 were chosen. Addr is nil until the public port is bound,
// which it is when the node is ready, or after New on the embedded store.
func (n *Node) Addr() net.Addr {
	if a := n.addr.Load(); a != nil {
		return *a
	}
	return nil
}

func (n *Node) AdminAddr() net.Addr { return n.adminLn.Addr() }

// ready answers the readiness checks.
func (n *Node) ready(ctx context.Context) []rest.Check {
	life := rest.Check{Name: "node"}
	switch n.state.Load() {
	case starting:
		life.Detail = fmt.Sprintf("starting, %d conversations repaired", n.repaired.Load())
	case serving:
		life.OK, life.Detail = true, "serving"
	default:
		life.Detail = "draining"
	}
	checks := append([]rest.Check{life}, n.storeChecks(ctx)...)
	if b := n.blobs.Load(); b != nil {
		checks = append(checks, b.check())
	}
	return append(checks, n.searchChecks()...)
}

// Drain makes Run end in an orderly way, as the end of its context does. It does not wait.
func (n *Node) Drain() { n.stopOnce.Do(func() { close(n.stop) }) }

// Run serves until ctx ends or Drain is called, then drains; it returns nil after an orderly end. Everything is closed afterwards.
func (n *Node) Run(ctx context.Context) error {
	defer n.release()
	ctx, end := context.WithCancel(ctx)
	defer end()
	go func() {
		select {
		case <-n.stop:
			end()
		case <-ctx.Done():
		}
	}()
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	g, run := errgroup.WithContext(run)
	g.Go(func() error { return ended("admin server", n.admin.Serve(n.adminLn), http.ErrServerClosed) })
	g.Go(func() error {
		defer func() { _ = n.admin.Close() }()
		start := n.opts.Now()
		if n.cfg.Store == config.StoreScylla {
			if err := n.awaitStore(ctx); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return fmt.Errorf("opening the store: %w", err)
			}
			if err := n.openClustering(ctx); err != nil {
				return err
			}
			if err := n.assemble(); err != nil {
				return err
			}
		}
		if err := n.repair(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("repairing conversations: %w", err)
		}
		if c := n.cluster.Load(); c != nil {
			if err := c.takePart(ctx); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			watched, unwatch := context.WithCancel(run)
			defer unwatch()
			g.Go(func() error { c.watch(watched); return nil })
		}
		n.log.Info("ready", "listen", n.Addr().String(), "admin", n.AdminAddr().String(), "data", n.cfg.Data,
			"repaired", n.repaired.Load(), "took", n.opts.Now().Sub(start).Round(time.Millisecond), "dev", n.cfg.Dev, "version", n.opts.Version)
		served := make(chan error, 1)
		go func() { served <- n.server.Serve(context.WithoutCancel(run)) }()
		if n.cfg.Clustered() && !n.cfg.HasRole(config.RoleEdge) {
			_ = n.sessions.Drain(run) // there are none, and none are to come
		}
		n.later.Start()
		n.state.Store(serving)
		select {
		case err := <-served:
			return fmt.Errorf("public server: %w", err)
		case <-n.leaseLost():
			n.log.Error(errLeaseLost.Error())
			n.drain(lostGrace)
			<-served
			return errLeaseLost
		case <-ctx.Done():
		case <-run.Done():
		}
		n.drain(n.cfg.DrainTimeout + stopGrace)
		return ended("public server", <-served, reactor.ErrServerClosed)
	})
	return g.Wait()
}

// drain closes the clients, then lets the conversations finish, all within limit.
func (n *Node) drain(limit time.Duration) {
	n.state.Store(draining)
	open := n.server.Stats().Connections
	n.log.Info("draining", "connections", open)
	// Half of the time for the closes, at no more than a thousand a second: clients come back elsewhere, or here.
	pace := min(n.cfg.DrainTimeout/2, limit, time.Duration(open)*time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c := n.cluster.Load()
	if c != nil && c.members != nil { // first: clients can stay until their conversations are somebody else's
		c.leave(ctx)
	}
	if err := n.sessions.Drain(ctx); err != nil {
		n.log.Warn("draining sessions", "error", err)
	}
	if err := n.server.Shutdown(ctx, reactor.CloseGoingAway, "shutting down", pace); err != nil {
		n.log.Warn("closing connections", "error", err)
	}
	if c != nil && c.members == nil {
		c.leave(ctx)
	}
	n.later.Close()
	n.stopEraser()
	if err := n.hub.Close(ctx); err != nil {
		n.log.Error("stopping conversations", "error", err)
	}
	n.log.Info("stopped")
}

// release closes whatever is open, in the reverse order of opening. It may be called more than once.
func (n *Node) release() {
	n.state.Store(draining) // the admin port may be asked until it is closed
	if n.server != nil {
		_ = n.server.Close()
	}
	if n.later != nil {
		n.later.Close()
		n.later = nil
	}
	n.stopEraser()
	if n.hub != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
		_ = n.hub.Close(ctx) // a second time does nothing
		cancel()
		n.hub = nil
	}
	if n.watched != nil {
		n.watched.close() // entries of what the hub has just finished
		n.watched = nil
	}
	if n.tenancy != nil {
		n.tenancy.Close()
		n.tenancy = nil
	}
	if c := n.cluster.Swap(nil); c != nil {
		c.close()
	}
	if n.sessions != nil {
		n.sessions.Close()
		n.sessions = nil
	}
	if n.unfiles != nil { // which sessions may have been waiting for
		n.unfiles()
		n.unfiles = nil
	}
	if n.verifier != nil {
		n.verifier.Close()
		n.verifier = nil
	}
	if n.adminLn != nil {
		_ = n.adminLn.Close()
	}
	if n.index != nil {
		if err := n.index.Close(); err != nil {
			n.log.Error("closing the search index", "error", err)
		}
		n.index = nil
	}
	if b := n.blobs.Load(); b != nil {
		b.close()
	}
	if n.backups != nil {
		n.backups.Close()
		n.backups = nil
	}
	n.closeStore()
}

func ended(what string, err, orderly error) error {
	if err == nil || errors.Is(err, orderly) {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
