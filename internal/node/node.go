package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/actors/conversation"
	"github.com/zumodra/hub/actors/scheduled"
	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/edge/preview"
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

// restLimiter charges REST requests to the buckets of the sockets.
type restLimiter struct{ l *session.Limiter }

// Allow implements rest.Limiter.
func (r restLimiter) Allow(user chat.UserKey) (bool, time.Duration) {
	v := r.l.Allow(user, session.Change)
	return v.OK, v.RetryAfter
}

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

// edge breaks the circle between the hub, which delivers to sessions, and the sessions, which ask the hub.
type edge struct{ m *session.Manager }

func (e *edge) Deliver(set *chat.SessionSet, d *chat.Delivery) { e.m.Deliver(set, d) }

func (e *edge) Overflow(set *chat.SessionSet, key chat.ConversationKey) { e.m.Overflow(set, key) }

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

// assemble builds everything on top of the open store.
func (n *Node) assemble() error {
	b, err := openBlobs(&n.cfg, n.store, n.log, n.metrics.registry, n.opts.Now)
	if err != nil {
		return err
	}
	n.blobs.Store(b)
	signer, err := n.openAuth()
	if err != nil {
		return err
	}
	watcher, err := n.openTenancy()
	if err != nil {
		return err
	}
	return n.join(signer, watcher)
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

func (n *Node) openAuth() (signer *auth.Signer, err error) {
	c := auth.Config{JWKSURL: n.cfg.AuthJwksURL, Issuer: n.cfg.AuthIssuer, Audience: n.cfg.AuthAudience, Now: n.opts.Now, Logger: n.log}
	if n.cfg.AuthSecretFile != "" && !n.cfg.Dev {
		secret, err := auth.LoadSecret(n.cfg.AuthSecretFile)
		if err != nil {
			return nil, err
		}
		c.Secrets = [][]byte{secret}
		if signer, err = auth.NewSigner(secret); err != nil {
			return nil, err
		}
	}
	if n.cfg.AuthPublicKeyFile != "" {
		c.PublicKeyFiles = []string{n.cfg.AuthPublicKeyFile}
	}
	if n.cfg.Dev {
		file := n.cfg.AuthSecretFile // of all nodes of a cluster
		if file == "" {
			file = filepath.Join(n.cfg.Data, SecretFile)
		}
		secret, err := auth.EnsureSecret(file)
		if err != nil {
			return nil, err
		}
		c.Secrets = [][]byte{secret}
		if signer, err = auth.NewSigner(secret); err != nil {
			return nil, err
		}
	}
	n.verifier, err = auth.New(c)
	return signer, err
}

// join makes the layers and ties them together.
func (n *Node) join(signer *auth.Signer, watcher *atomic.Pointer[session.Manager]) error {
	list := n.cfg.AllowedOrigins
	if n.cfg.Dev {
		list = []string{"*"}
	}
	origins, err := auth.ParseOrigins(list)
	if err != nil {
		return err
	}
	var keys rest.APIKeys
	if n.cfg.AdminKeyFile != "" {
		k, err := auth.LoadAPIKeys(n.cfg.AdminKeyFile)
		if err != nil {
			return err
		}
		keys = k
	}
	reg := n.metrics.registry
	out := &edge{}
	hc := actors.Config{
		Store: n.store, People: n.store, Edge: out, Observer: newActorMetrics(reg), Now: n.opts.Now, Log: n.log, Idle: n.cfg.IdleAfter,
		Rules:        chat.Rules{MaxGroupSize: n.cfg.MaxGroupSize, NamedReaders: n.cfg.NamedReaders, EditWindow: n.cfg.EditWindow, RequestRetry: requestRetry(n.cfg.RequestRetry)},
		EmailPrivacy: n.cfg.EmailPrivacy, Limits: n.tenancy.Limits,
	}
	if n.strict {
		hc.Under = func(epoch uint64) conversation.FencedStore { return n.store.Under(epoch) }
	}
	n.joinSearch(&hc)
	if hc.Previews = n.opts.Previews; hc.Previews == nil && n.cfg.LinkPreviews {
		hc.Previews = preview.New(preview.Config{Agent: "hub-link-preview/" + n.opts.Version})
	}
	rate := n.cfg.UserRate
	if rate == 0 {
		rate = -1 // the limiter's zero value is its default
	}
	limits := n.tenancy.Limits
	lc := session.LimiterConfig{Rate: rate, Burst: n.cfg.UserBurst, Now: n.opts.Now, Of: func(t chat.TenantID) (float64, int) {
		l := limits(t)
		return l.MessageRate, l.MessageBurst
	}}
	var self chat.NodeID
	var hub *actors.Hub
	if c := n.cluster.Load(); c != nil {
		hc.Cluster, self = c.router, c.router.Self()
		lc.Spent = func(k chat.UserKey) { hub.Spent(k) }
	}
	limiter := session.NewLimiter(lc)
	hc.Charged = limiter.Take
	var files *attachments
	hc.ForwardFile = func(ctx context.Context, p chat.Principal, o chat.Origin, s chat.Send, id chat.FileID) (chat.Result, error) {
		return files.Forward(ctx, p, o, s, id)
	}
	hub = actors.New(hc)
	n.hub = hub
	proxies, err := auth.ParseProxies(n.cfg.TrustedProxies)
	if err != nil {
		return err
	}
	verifier := tenancy.Verifier{Verifier: n.verifier, Registry: n.tenancy}
	watched := &audited{Hub: n.hub, tenancy: n.tenancy, now: n.opts.Now}
	n.watched = watched
	key, err := n.fileKey()
	if err != nil {
		return err
	}
	files = &attachments{n.newFiles(hub), hub, n.opts.Now}
	n.runFiles(files.Files)
	n.later = n.newScheduler(hub, limiter)
	n.runEraser(hub)
	n.sessions = session.New(session.Config{
		Files: files, MaxFile: n.cfg.SocketFileBytes, FileBytes: n.cfg.SocketFileTotal,
		Dispatcher: watched, Verifier: verifier, Users: n.tenancy, Contacts: n.hub, Searcher: n.hub, Limiter: limiter, Origins: origins,
		CookieName: n.cfg.AuthCookie, PreAcceptReject: n.cfg.PreAcceptReject,
		Limits: n.sessionLimits(), Admit: n.tenancy.Admit, Proxies: proxies,
		Now: n.opts.Now, Observer: newSessionMetrics(reg), Logger: n.log, Self: self,
	})
	out.m, watched.sessions = n.sessions, n.sessions
	watcher.Store(n.sessions)
	sockets, err := socketDocuments()
	if err != nil {
		return err
	}
	rc := rest.Config{
		Sockets: sockets,
		Hub:     watched, Users: n.tenancy, People: watched, Verifier: verifier, Tenancy: n.tenancy, Proxies: proxies,
		Limiter: restLimiter{limiter}, Observer: n.metrics, Logger: n.log,
		Scheduled: n.later, Files: files, FileKey: key, FileURLTTL: n.cfg.FileURLTTL,
		APIKeys: keys, SessionCookie: n.cfg.AuthCookie, Origins: origins, Ready: n.ready, Version: n.opts.Version, Now: n.opts.Now,
	}
	if rc.Throttles, err = n.throttles(); err != nil {
		return err
	}
	if signer != nil {
		rc.Mint = signer
	}
	if n.cfg.Dev {
		rc.Dev = &rest.DevTokens{Signer: signer, Refresh: verifier, Refused: n.store}
	}
	api, err := rest.New(rc)
	if err != nil {
		return err
	}
	tr := reactor.Config{
		Addr: n.cfg.Listen, Reactors: n.cfg.Reactors, Handler: n.sessions, HTTP: api,
		MaxMessage: int(n.cfg.FrameBytes()), LargeMessage: n.cfg.MaxMessageBytes, LargeTotal: n.cfg.SocketFileTotal, PingInterval: n.cfg.PingInterval, PongTimeout: n.cfg.PongTimeout,
		MaxConnections: n.cfg.MaxConnections, AcceptRate: n.cfg.AcceptRate, BatchDelay: n.cfg.BatchDelay,
		Compress: n.cfg.Compress, Logger: n.log,
	}
	if n.cfg.TLSCert != "" {
		cert, err := newCertificate(n.cfg.TLSCert, n.cfg.TLSKey, n.log, n.opts.Now)
		if err != nil {
			return err
		}
		tr.TLS = cert.config()
	}
	if n.server, err = reactor.New(tr); err != nil {
		return fmt.Errorf("listening on %s: %w", n.cfg.Listen, err)
	}
	addr := n.server.Addr()
	n.addr.Store(&addr)
	n.sessions.Bind(n.server)
	reg.MustRegister(edgeCollector(n.server.Stats), hubCollector(n.hub.Stats), sessionCollector(n.sessions.Stats), tenancyCollector(n.tenancy.Stats))
	n.watchSearch(reg)
	if c := n.cluster.Load(); c != nil {
		reg.MustRegister(c.collector())
	}
	return nil
}

func (n *Node) openAdmin() (err error) {
	n.adminLn, err = net.Listen("tcp", n.cfg.AdminListen)
	if err != nil {
		return fmt.Errorf("listening on the admin address: %w", err)
	}
	n.admin = &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
		Handler: rest.AdminHandler(rest.AdminConfig{
			Ready:   n.ready,
			Metrics: promhttp.HandlerFor(n.metrics.registry, promhttp.HandlerOpts{Registry: n.metrics.registry}),
			Debug:   map[string]http.Handler{"gc": http.HandlerFunc(collectGarbage), "cluster": http.HandlerFunc(n.clusterPage)},
			Backup:  n.backupHandler(),
			Drain:   n.Drain,
			Reindex: http.HandlerFunc(n.reindex),
		}),
	}
	return nil
}

// collectGarbage gives all unused memory back, so that what is left can be measured.
func collectGarbage(w http.ResponseWriter, r *http.Request) {
	runtime.GC()
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Fprintf(w, "heap_alloc %d\nheap_inuse %d\nstack_inuse %d\nsys %d\ngoroutines %d\n",
		m.HeapAlloc, m.HeapInuse, m.StackInuse, m.Sys, runtime.NumGoroutine())
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
