package rest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
)

// API is the handler of the public port. It is safe for concurrent use.
type API struct {
	cfg       Config
	mux       *http.ServeMux
	routes    []route
	missing   http.Handler // answers 404
	profiles  profiles
	throttles throttles
	tus       *tus // nil without Files
}

// call is one request on its way.
type call struct {
	r      *http.Request
	w      http.ResponseWriter
	p      chat.Principal // of an authenticated route
	user   chat.User      // the caller as stored
	source auth.Source    // where the credential came from
	admin  admin          // of an operator's route
}

type handler func(a *API, ctx context.Context, c *call) response

// access says who may call a route.
type access int

const (
	anybody     access = iota // no credential is asked for
	development               // nor here, but the route is there in development only
	signedIn                  // an access token
	operator                  // an API key
	bulk                      // the same, of a request that may take long: it ends when it makes no progress
	linked                    // an access token, or a URL that was signed for somebody who has one
)

// route is one path of the API without its trailing slash, which is canonical but not insisted on.
type route struct {
	path    string
	access  access
	methods map[string]handler
}

// slow reports whether requests carry files.
func (rt *route) slow() bool {
	const m = prefix + "/messages"
	return rt.path == m+"/messages" || strings.HasPrefix(rt.path, m+"/files/") || strings.HasPrefix(rt.path, m+"/uploads")
}

const prefix = "/api/v1"

func table() []route {
	const m = prefix + "/messages"
	const conversation = m + "/conversations/{id}"
	type methods = map[string]handler
	post := func(h handler) methods { return methods{http.MethodPost: h} }
	return []route{
		{m + "/conversations", signedIn, methods{"GET": (*API).listConversations, "POST": (*API).createConversation}},
		{conversation, signedIn, methods{"GET": (*API).getConversation, "PATCH": charged((*API).changeConversation)}},
		{conversation + "/mark_read", signedIn, post((*API).markRead)},
		{conversation + "/add_participants", signedIn, post(charged((*API).addParticipants))},
		{conversation + "/remove_participants", signedIn, post(charged((*API).removeParticipants))},
		// The original's spelling.
		{conversation + "/remove_participant", signedIn, post(charged((*API).removeParticipants))},
		{conversation + "/set_role", signedIn, post(charged((*API).setRole))},
		{conversation + "/transfer_ownership", signedIn, post(charged((*API).transferOwnership))},
		{conversation + "/pins", signedIn, methods{"GET": (*API).listPins}},
		{conversation + "/events", signedIn, methods{"GET": (*API).listEvents}},
		{conversation + "/leave", signedIn, post(charged((*API).leave))},
		{conversation + "/archive", signedIn, post((*API).archive)},
		{conversation + "/unarchive", signedIn, post((*API).unarchive)},
		{conversation + "/mute", signedIn, post((*API).mute)},
		{conversation + "/unmute", signedIn, post((*API).unmute)},
		{conversation + "/pin", signedIn, post((*API).pinConversation)},
		{conversation + "/unpin", signedIn, post((*API).unpinConversation)},
		{conversation + "/draft", signedIn,
			methods{"GET": (*API).getDraft, "PUT": (*API).putDraft, "DELETE": (*API).deleteDraft}},
		{m + "/messages", signedIn, methods{"GET": (*API).listMessages, "POST": (*API).sendMessage}},
		{m + "/messages/search", signedIn, methods{"GET": (*API).searchMessages, "POST": (*API).searchMessagesBody}},
		{m + "/messages/{id}", signedIn,
			methods{"GET": (*API).getMessage, "PATCH": (*API).editMessage, "DELETE": charged((*API).deleteMessage)}},
		{m + "/messages/{id}/forward", signedIn, post((*API).forwardMessage)},
		{m + "/messages/{id}/pin", signedIn, post(charged((*API).pinMessage))},
		{m + "/messages/{id}/unpin", signedIn, post(charged((*API).unpinMessage))},
		{m + "/messages/{id}/replies", signedIn, methods{"GET": (*API).listReplies}},
		{m + "/messages/{id}/readers", signedIn, methods{"GET": (*API).listReaders}},
		{prefix + "/auth/token", development, post((*API).obtainToken)},
		{prefix + "/auth/token/refresh", development, post((*API).refreshToken)},
		{prefix + "/auth/token/blacklist", development, post((*API).blacklistToken)},
		{prefix + "/auth/token/verify", development, post((*API).verifyToken)},
		{prefix + "/admin/users/{id}", operator,
			methods{"GET": scoped(chat.ScopeUsersRead, (*API).getUser), "PUT": scoped(chat.ScopeUsersWrite, (*API).putUser)}},
		{"/api/openapi.yaml", anybody, methods{"GET": (*API).document}},
		{"/api/asyncapi.yaml", anybody, methods{"GET": (*API).socketDocument}},
		{"/health", anybody, methods{"GET": (*API).health}},
		{"/health/ready", anybody, methods{"GET": (*API).healthReady}},
		{"/health/live", anybody, methods{"GET": (*API).healthLive}},
	}
}

// New returns the handler of the public port: the API, the health endpoints, and Config.Root for the rest.
func New(cfg Config) (*API, error) {
	if cfg.Hub == nil || cfg.Users == nil || cfg.Verifier == nil {
		return nil, errors.New("rest: Hub, Users and Verifier are required")
	}
	if d := cfg.Dev; d != nil && (d.Signer == nil || d.Refresh == nil || d.Refused == nil) {
		return nil, errors.New("rest: Signer, Refresh and Refused of DevTokens are required")
	}
	a := &API{
		cfg:    cfg.withDefaults(),
		mux:    http.NewServeMux(),
		routes: table(),
	}
	a.throttles.rates = cfg.Throttles
	if cfg.People != nil {
		a.routes = append(a.routes, peopleTable()...)
	}
	if cfg.Scheduled != nil {
		a.routes = append(a.routes, scheduledTable()...)
	}
	if cfg.Tenancy != nil {
		a.routes = append(a.routes, tenancyTable()...)
	}
	if cfg.Files != nil {
		if err := a.openFiles(); err != nil {
			return nil, err
		}
		a.routes = append(a.routes, fileTable()...)
		if cfg.Tenancy != nil {
			a.routes = append(a.routes, usageTable()...)
		}
	}
	for _, rt := range a.routes {
		a.mux.Handle(rt.path, a.serve(rt))
	}
	a.browse()
	a.missing = a.serve(route{path: "other", methods: map[string]handler{}})
	for _, p := range []string{"/api", "/api/", "/health/"} {
		a.mux.Handle(p, a.missing)
	}
	return a, nil
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := r.URL.Path
	if p != "/api" && p != "/health" && !strings.HasPrefix(p, "/api/") && !strings.HasPrefix(p, "/health/") {
		a.root(w, r)
		return
	}
	// The original's URLs end in a slash. Both spellings are the same resource, without a redirect: clients
	// drop the body of a redirected POST.
	if strings.HasSuffix(p, "/") && (r.URL.RawPath == "" || strings.HasSuffix(r.URL.RawPath, "/")) {
		u := *r.URL
		u.Path, u.RawPath = strings.TrimSuffix(p, "/"), strings.TrimSuffix(u.RawPath, "/")
		r2 := *r
		r2.URL = &u
		r = &r2
	}
	// The mux would redirect to the clean path, with a page of HTML.
	if path.Clean(r.URL.Path) != r.URL.Path {
		a.missing.ServeHTTP(w, r)
		return
	}
	a.mux.ServeHTTP(w, r)
}

// Routes lists the operations that the API serves, each as "METHOD /path", in the spelling of the document.
func (a *API) Routes() []string {
	var list []string
	for _, rt := range a.routes {
		p := rt.path
		if !strings.HasSuffix(p, ".yaml") {
			p += "/"
		}
		for m := range rt.methods {
			list = append(list, m+" "+p)
		}
	}
	slices.Sort(list)
	return list
}

// serve is what surrounds every handler: observation, panics, deadline, CORS, credentials, methods.
func (a *API) serve(rt route) http.Handler {
	allowed := []string{http.MethodOptions}
	for m := range rt.methods {
		allowed = append(allowed, m)
		if m == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	slices.Sort(allowed)
	allow := strings.Join(allowed, ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := a.cfg.Now()
		rec := &recorder{ResponseWriter: w}
		defer func() {
			if v := recover(); v != nil {
				if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(v)
				}
				a.panicked(rec, r, rt.path, v)
			}
			a.cfg.Observer.ObserveRequest(rt.path, knownMethod(r.Method), rec.class(), a.cfg.Now().Sub(start))
		}()
		timeout := a.cfg.Timeout
		switch {
		case rt.access == bulk:
			timeout = bulkTimeout
		case rt.slow():
			timeout = a.cfg.UploadTimeout
		}
		client := a.client(r)
		ctx, cancel := context.WithTimeout(chat.WithAddress(r.Context(), client), timeout)
		defer cancel()
		a.cors(rec, r, allow)
		if r.Method == http.MethodOptions && a.present(rt) {
			a.tus.describe(rec.Header(), rt.path)
			response{status: http.StatusNoContent, header: map[string]string{"Allow": allow}}.write(rec, r.Method)
			return
		}
		c := &call{r: r, w: rec}
		res := a.dispatch(ctx, rt, c, allow)
		switch {
		case res.written:
		case res.stream != nil && r.Method != http.MethodHead:
			res.stream(rec)
		default:
			res.write(rec, r.Method)
		}
	})
}

func (a *API) dispatch(ctx context.Context, rt route, c *call, allow string) response {
	if !a.present(rt) {
		return notFound
	}
	switch rt.access {
	case signedIn:
		if res := a.authenticate(ctx, c); res != nil {
			return a.unauthorized(res, chat.AddressOf(ctx))
		}
	case linked:
		if res := a.authenticateLink(ctx, c); res != nil {
			return a.unauthorized(res, chat.AddressOf(ctx))
		}
	case operator, bulk:
		if res := a.authenticateOperator(ctx, c); res != nil {
			return a.unauthorized(res, chat.AddressOf(ctx))
		}
	}
	if res := a.throttleCall(&rt, c, chat.AddressOf(ctx)); res != nil {
		return *res
	}
	method := c.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	h := rt.methods[method]
	if h == nil {
		res := fail(http.StatusMethodNotAllowed,
			`Method "`+strings.ToValidUTF8(chat.Truncate(c.r.Method, 20), "\ufffd")+`" not allowed.`)
		res.header = map[string]string{"Allow": allow}
		return res
	}
	if rt.access == signedIn && unsafe(method) && c.source.Ambient() {
		if res := a.crossSite(c.r); res != nil {
			return *res
		}
	}
	return h(a, ctx, c)
}

// present reports whether a route is there with this configuration.
func (a *API) present(rt route) bool {
	switch rt.access {
	case development:
		return a.cfg.Dev != nil
	case operator, bulk:
		return a.cfg.APIKeys != nil || a.cfg.Tenancy != nil
	}
	return len(rt.methods) > 0
}

func unsafe(method string) bool {
	return method != http.MethodGet && method != http.MethodHead && method != http.MethodOptions
}

// panicked answers 500 with an id that the log has too. The panic's value may hold what a user wrote, so only
// its type is logged, and its text where the runtime made it.
func (a *API) panicked(rec *recorder, r *http.Request, route string, v any) {
	id := rand.Text()
	text := fmt.Sprintf("%T", v)
	if e, ok := v.(interface{ RuntimeError() }); ok {
		text = fmt.Sprint(e)
	}
	a.cfg.Observer.ObservePanic(route)
	a.cfg.Logger.Error("rest: handler panicked", "error_id", id, "route", route, "method", knownMethod(r.Method),
		"panic", text, "stack", string(debug.Stack()))
	if rec.status == 0 {
		internal(id).write(rec, r.Method)
	}
}

type internalError struct {
	Detail string `json:"detail"`
	ID     string `json:"error_id"`
}

func internal(id string) response {
	return response{status: http.StatusInternalServerError, body: internalError{"Internal server error.", id}}
}

// link is the absolute URL of the request with one query parameter changed.
func (a *API) link(r *http.Request, key, value string) string {
	base := a.base(r)
	q := r.URL.Query()
	if value == "" {
		q.Del(key)
	} else {
		q.Set(key, value)
	}
	u := url.URL{Path: r.URL.Path + "/", RawQuery: q.Encode()}
	return strings.TrimSuffix(base, "/") + u.String()
}

// client is the address of who sent the request, empty if it is not known.
func (a *API) client(r *http.Request) string {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return a.cfg.Proxies.Client(remote.Addr(), r.Header).String()
}

// base is the scheme and host of absolute URLs.
func (a *API) base(r *http.Request) string {
	if a.cfg.PublicURL != "" {
		return strings.TrimSuffix(a.cfg.PublicURL, "/")
	}
	scheme := "http"
	if a.secure(r) {
		scheme = "https"
	}
	return (&url.URL{Scheme: scheme, Host: r.Host}).String()
}

// secure reports whether the client speaks TLS, to us or to what stands before us.
func (a *API) secure(r *http.Request) bool {
	return r.TLS != nil || strings.HasPrefix(a.cfg.PublicURL, "https:")
}

// recorder remembers the status.
type recorder struct {
	http.ResponseWriter
	status int
}

// Unwrap serves http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

func (r *recorder) class() string {
	switch r.status / 100 {
	case 1:
		return "1xx"
	case 2, 0:
		return "2xx"
	case 3:
		return "3xx"
	case 4:
		return "4xx"
	}
	return "5xx"
}

// knownMethod keeps what clients invent out of the metrics' labels.
func knownMethod(m string) string {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return m
	}
	return "other"
}
