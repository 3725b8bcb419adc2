package node

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/actors/conversation"
	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/edge/preview"
	"github.com/zumodra/hub/edge/reactor"
	"github.com/zumodra/hub/edge/rest"
	"github.com/zumodra/hub/edge/session"
	"github.com/zumodra/hub/edge/tenancy"
)

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

// restLimiter charges REST requests to the buckets of the sockets.
type restLimiter struct{ l *session.Limiter }

// Allow implements rest.Limiter.
func (r restLimiter) Allow(user chat.UserKey) (bool, time.Duration) {
	v := r.l.Allow(user, session.Change)
	return v.OK, v.RetryAfter
}

// edge breaks the circle between the hub, which delivers to sessions, and the sessions, which ask the hub.
type edge struct{ m *session.Manager }

func (e *edge) Deliver(set *chat.SessionSet, d *chat.Delivery) { e.m.Deliver(set, d) }

func (e *edge) Overflow(set *chat.SessionSet, key chat.ConversationKey) { e.m.Overflow(set, key) }
