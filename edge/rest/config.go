package rest

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/edge/tenancy"
)

// Hub carries out commands and answers queries, authorised for the principal. Errors are those of package
// chat, possibly wrapped. All methods may be called concurrently and return soon after ctx ends.
type Hub interface {
	Do(ctx context.Context, p chat.Principal, cmd chat.Command) (chat.Result, error)
	Conversations(ctx context.Context, p chat.Principal, q chat.ListQuery) (chat.ConversationPage, error)
	Conversation(ctx context.Context, p chat.Principal, id chat.ConversationID) (chat.ConversationItem, error)
	Messages(ctx context.Context, p chat.Principal, q chat.MessageQuery) (chat.MessagePage, error)
	Message(ctx context.Context, p chat.Principal, id chat.MessageID) (chat.MessageItem, error)
	// Hide deletes a message for the caller alone.
	Hide(ctx context.Context, p chat.Principal, id chat.MessageID) error
	// Draft is what the caller has not sent, without text if there is nothing.
	Draft(ctx context.Context, p chat.Principal, id chat.ConversationID) (chat.Draft, error)
	// Pins are the pinned messages of a conversation.
	Pins(ctx context.Context, p chat.Principal, id chat.ConversationID) ([]chat.MessageItem, error)
	Readers(ctx context.Context, p chat.Principal, id chat.MessageID, q chat.ReceiptQuery) (chat.ReaderPage, error)
	// Events reads a part of a conversation's log.
	Events(ctx context.Context, p chat.Principal, q chat.EventQuery) (chat.EventPage, error)
	// Search answers at most chat.MaxSearchResults messages, newest first.
	Search(ctx context.Context, p chat.Principal, q chat.SearchQuery) ([]chat.SearchItem, error)
}

// Users stores what is known of users.
type Users interface {
	// GetUsers answers one user per id, in order; the zero User where there is none.
	GetUsers(ctx context.Context, tenant chat.TenantID, ids []chat.UserID) ([]chat.User, error)
	// PutUser writes a user, new or not. It is durable when it returns.
	PutUser(ctx context.Context, u chat.User) error
	// CreateUser writes a user unless there is one with that id, and answers the one that is there, and
	// whether it is new.
	CreateUser(ctx context.Context, u chat.User) (chat.User, bool, error)
}

// Verifier turns an access token into claims, or answers an error: chat.ErrUnauthorized, chat.ErrTokenExpired,
// chat.ErrUnavailable. *auth.Verifier is one. With chat.ErrSuspended and chat.ErrTokenRevoked it answers the claims as well.
type Verifier interface {
	VerifyContext(ctx context.Context, token string) (auth.Claims, error)
}

// APIKeys knows the keys of the operator's API. *auth.APIKeys is one.
type APIKeys interface {
	Valid(presented string) bool
}

// Files keep what is sent with messages. Errors are those of package chat, *attachment.Error for what the rules refuse,
// attachment.ErrExpired, and what the given reader answered.
type Files interface {
	// Store takes a whole file in.
	Store(ctx context.Context, p chat.Principal, name string, voice bool, r io.Reader) (chat.Upload, error)
	// Send sends a message with a file that the caller uploaded. The same file becomes one message.
	Send(ctx context.Context, p chat.Principal, o chat.Origin, s chat.Send, id chat.FileID) (chat.Result, error)
	// Drop removes a file that could not be sent.
	Drop(ctx context.Context, p chat.Principal, id chat.FileID)
	// Authorise answers what is known of a file to whom may read it now.
	Authorise(ctx context.Context, p chat.Principal, id chat.FileID) (chat.Upload, error)
	// Download and Preview open a file, or the small JPEG of an image, for whom may read it.
	Download(ctx context.Context, p chat.Principal, id chat.FileID) (chat.Upload, io.ReadSeekCloser, error)
	Preview(ctx context.Context, p chat.Principal, id chat.FileID) (chat.Upload, io.ReadSeekCloser, error)
	// Downloaded counts a download. It does not block.
	Downloaded(tenant chat.TenantID, id chat.FileID)

	// Begin announces an upload in parts, Append adds one that begins at offset and returns how much of it was kept,
	// Finish makes a file of them, Own answers how far it is, and Terminate gives it up. They know the caller's own only.
	Begin(ctx context.Context, p chat.Principal, name string, voice bool, size int64) (chat.Upload, error)
	Append(ctx context.Context, p chat.Principal, id chat.FileID, offset int64, r io.Reader) (int64, error)
	Finish(ctx context.Context, p chat.Principal, id chat.FileID) (chat.Upload, error)
	Own(ctx context.Context, p chat.Principal, id chat.FileID) (chat.Upload, error)
	Terminate(ctx context.Context, p chat.Principal, id chat.FileID) error
	// Pending is how long an upload is kept that is not sent.
	Pending() time.Duration
	// Usage is what was uploaded today by a user, without one by all of the tenant's.
	Usage(ctx context.Context, k chat.UserKey) (chat.UploadUsage, error)
}

// Limiter is the per-user bucket of sent messages that sockets and REST share (requirement 118).
type Limiter interface {
	// Allow takes one token, or says how long until there is one.
	Allow(user chat.UserKey) (ok bool, retryAfter time.Duration)
}

// Observer is told of every request. Its methods are called concurrently and must not block.
type Observer interface {
	// ObserveRequest: route is a pattern of the mux, never a path; method one of the known ones or "other";
	// class "1xx" … "5xx".
	ObserveRequest(route, method, class string, d time.Duration)
	// ObservePanic counts a handler that panicked.
	ObservePanic(route string)
}

// Check is the state of one thing that readiness depends on.
type Check struct {
	Name   string // as "storage", "shards"
	OK     bool
	Detail string // fit for an operator; shown on the admin port only
}

// Config of the API. Hub, Users and Verifier are required, everything else has a working zero value.
type Config struct {
	Hub      Hub
	Users    Users
	People   People // nil: their routes answer 404
	Verifier Verifier
	Limiter  Limiter  // nil: no limit
	Observer Observer // nil: none
	Logger   *slog.Logger

	// Scheduled keeps messages that are to be sent later; nil: their routes answer 404.
	Scheduled Scheduled

	// Files keep what is sent with messages; nil: there are none, and their routes answer 404.
	Files Files
	// FileKey, of at least 32 bytes, signs the URLs of files; required with Files. All nodes have the same.
	FileKey []byte
	// FileURLTTL is how long such a URL is good; default 1 hour.
	FileURLTTL time.Duration
	// UploadTimeout bounds a request with a file; default 1 hour. A client that sends, or takes, nothing for IdleTimeout
	// (default 30 s) is given up before.
	UploadTimeout, IdleTimeout time.Duration

	// Dev, if set, opens the token endpoints, which give anybody a token for any user. Development only.
	Dev *DevTokens
	// APIKeys open all of the administrative API, for all tenants; nil: none does.
	APIKeys APIKeys
	// Tenancy has tenants and their own API keys; nil: their routes answer 404.
	Tenancy *tenancy.Registry
	// Mint signs the tokens that API keys of the scope tokens:mint ask for; nil: they are not made here.
	Mint Signer
	// Throttles by scope (ParseThrottles); they count on this node alone.
	Throttles map[string]Throttle
	// Proxies in front of the hub, whose X-Forwarded-For is believed; nil: none.
	Proxies *auth.Proxies
	// SessionCookie is the name of the cookie that may carry an access token; default "sessionid".
	SessionCookie string
	// Origins are the web pages that may call the API (CORS), and with a cookie; nil: pages of the hub's own
	// host only. The sockets use the same list.
	Origins *auth.Origins
	// PublicURL is the scheme and host that links are made of, as "https://chat.example.org"; empty: those
	// of the request.
	PublicURL string
	// Root serves everything that is not the API; nil: a small index.
	Root http.Handler
	// Ready answers the state of the node for the health endpoints; nil: always ready.
	Ready func(context.Context) []Check
	// Version is shown by /health/.
	Version string
	// Sockets describe the WebSocket protocol; without them their paths answer 404.
	Sockets SocketDocuments
	// Timeout bounds a request; default 10 s.
	Timeout time.Duration
	// MaxBody bounds a request's body in bytes; default 1 MiB.
	MaxBody int64
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// SocketDocuments describe the WebSocket protocol, which this package does not know.
type SocketDocuments struct {
	AsyncAPI []byte // YAML
	Page     []byte // HTML without scripts
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Observer == nil {
		c.Observer = noObserver{}
	}
	if c.Limiter == nil {
		c.Limiter = noLimit{}
	}
	if c.Origins == nil {
		c.Origins = new(auth.Origins)
	}
	if c.SessionCookie == "" {
		c.SessionCookie = "sessionid"
	}
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	if c.FileURLTTL <= 0 {
		c.FileURLTTL = time.Hour
	}
	if c.UploadTimeout <= 0 {
		c.UploadTimeout = time.Hour
	}
	if c.IdleTimeout <= 0 {
		c.IdleTimeout = 30 * time.Second
	}
	if c.MaxBody <= 0 {
		c.MaxBody = 1 << 20
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if u, err := url.Parse(c.PublicURL); err != nil || u.Host == "" {
		c.PublicURL = ""
	}
	return c
}

type noObserver struct{}

func (noObserver) ObserveRequest(string, string, string, time.Duration) {}
func (noObserver) ObservePanic(string)                                  {}

type noLimit struct{}

func (noLimit) Allow(chat.UserKey) (bool, time.Duration) { return true, 0 }
