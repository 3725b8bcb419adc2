package reactor

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"
)

// Handle identifies one WebSocket connection for as long as it lives: a generation in the upper 32 bits and
// a slot in the lower 32. A handle of a closed connection never names a later one; zero names none.
// Handles order by slot, which on Linux is the index of the reactor in its upper 8 bits and the descriptor in its
// lower 24: sorted sets are walked reactor by reactor, in accept order. Use Decision.Session, not the slot, as an index.
type Handle uint64

// Class says what may happen to a frame whose receiver is slow.
type Class uint8

const (
	// Durable frames are never dropped: a connection that cannot take one is closed with CloseSlowConsumer.
	Durable Class = iota
	// Ephemeral frames (typing, presence) are shed first, silently.
	Ephemeral
)

// Close codes of RFC 6455 §7.4.1 and of the hub's contract §12.3 that the transport itself uses.
const (
	CloseNormal       uint16 = 1000
	CloseGoingAway    uint16 = 1001
	CloseProtocol     uint16 = 1002
	CloseInvalidData  uint16 = 1007
	ClosePolicy       uint16 = 1008
	CloseTooBig       uint16 = 1009
	CloseInternal     uint16 = 1011
	CloseOverload     uint16 = 1013
	CloseSlowConsumer uint16 = 4008
	// CloseAbnormal is reported to Handler.Closed when the peer vanished without a close frame; never sent.
	CloseAbnormal uint16 = 1006
)

// ErrClosed reports a send to, or a close of, a connection that is gone or closing.
var ErrClosed = errors.New("reactor: connection closed")

// ErrServerClosed is returned by Serve after Shutdown or Close.
var ErrServerClosed = errors.New("reactor: server closed")

// Request is an upgrade request whose headers were received completely within the limits.
// It and its strings may be kept.
type Request struct {
	Path     string // escaped path, without the query
	RawQuery string
	Host     string
	Remote   netip.AddrPort
	TLS      bool
	Header   http.Header // canonical keys
}

// Decision is the handler's answer to an upgrade request.
type Decision struct {
	// Session is stored in the connection record and passed back to every callback. It is the index of the
	// caller's own state; the reactor does not interpret it.
	Session uint32
	// Subprotocol is echoed in Sec-WebSocket-Protocol if not empty. It must be one that the client offered.
	Subprotocol string
	// Status refuses the upgrade with this HTTP status (400–599) when not zero; Body is sent as text/plain,
	// RetryAfter, if positive, as the Retry-After header, rounded up to seconds.
	Status     int
	Body       string
	RetryAfter time.Duration
}

// Conn names a connection in a callback.
type Conn struct {
	Handle  Handle
	Session uint32
}

// Handler receives what happens on connections. All callbacks of one connection come from one goroutine, in
// order Upgrade, Open, Message…, Closed; callbacks of different connections run concurrently. A callback must
// not block: it runs on the event loop of thousands of connections. Closed is called exactly once for every
// accepted Upgrade, also when the connection died before Open.
type Handler interface {
	Upgrade(r *Request) Decision
	Open(c Conn)
	// Message delivers one complete message (reassembled, inflated, UTF-8 checked when text).
	// payload is valid only during the call and may be modified by it.
	Message(c Conn, text bool, payload []byte)
	// Closed reports the code that the peer sent, or that the server closed with, or CloseAbnormal.
	Closed(c Conn, code uint16, reason string)
}

// Config of a Server. Zero values mean the documented default.
type Config struct {
	// Addr is the TCP address to listen on, "host:port"; port 0 picks one (then Reactors share it).
	Addr string
	// Reactors is the number of event loops; default GOMAXPROCS.
	Reactors int
	Handler  Handler
	// HTTP serves every request that is not a WebSocket upgrade, by net/http on the same port. Nil answers 404.
	// The first request of a connection decides; an upgrade on one that served HTTP before is answered 421, for the
	// client to open its own. Requests must arrive within a minute, body included; a handler that streams for longer lifts
	// that with http.ResponseController. HTTP/2 is not offered.
	HTTP http.Handler
	// TLS enables TLS on the port. Certificates are reloaded through GetCertificate or GetConfigForClient.
	TLS *tls.Config

	MaxHandshakeBytes int           // request line and headers; default 8192
	HandshakeTimeout  time.Duration // accept to complete headers, TLS handshake included; default 5 s
	MaxMessage        int           // bytes of one message after inflation, which may lengthen one beyond LargeMessage 20 times; default 65536; more closes with 1009
	LargeMessage      int           // bytes from which on a message needs room within LargeTotal; default MaxMessage: none does
	LargeTotal        int64         // bytes of larger messages that are being received, of all connections; default 256 MiB; who finds no room is closed with CloseOverload
	MaxFragments      int           // frames of one message; default 64; more closes with 1008
	PingInterval      time.Duration // silence after which the server pings; default 20 s; negative: never
	PongTimeout       time.Duration // silence after a ping that closes the connection; default 30 s
	CloseTimeout      time.Duration // wait for the peer's close frame; default 5 s
	MaxConnections    int           // default: 90 % of RLIMIT_NOFILE; beyond it 503 with Retry-After
	AcceptRate        int           // upgrades per second and process, answered 503 beyond; 0: no limit

	QueueBytes  int           // per connection; default 256 KiB
	QueueFrames int           // per connection; default 1024
	QueueAge    time.Duration // oldest frame; default 10 s
	QueueTotal  int64         // bytes queued in all connections; default 256 MiB; the reactor that exceeds it closes its longest queue

	InboxBytes int // frames staged for one reactor and not yet handed to connections; default 64 MiB

	// BatchDelay bounds how long broadcasts may be held to leave as one send: 0 means "until the end of the
	// event round", at most 10 ms. Because of the order contract, all that is staged for a reactor is held with them.
	BatchDelay time.Duration

	// Compress offers permessage-deflate (RFC 7692) without context takeover in both directions.
	Compress          bool
	CompressThreshold int // smallest payload worth deflating; default 512 bytes

	Logger *slog.Logger // default: discard
}

// Stats is a snapshot of counters since start and of gauges, summed over the reactors.
type Stats struct {
	Connections, Handshaking                             int64 // gauges
	Accepted, Upgraded, UpgradeRejected, Refused         uint64
	FramesIn, FramesOut, BytesIn, BytesOut, Sends        uint64 // Sends: system calls that wrote data
	PingsSent, HalfOpenClosed, SlowClosed, EphemeralShed uint64
	QueuedBytes, QueuedConnections                       int64 // gauges
	ProtocolErrors, TooBig, HandshakeTimeouts, HTTPConns uint64
	AcceptErrors                                         uint64 // EMFILE and the like, survived
	InboxOverflows                                       uint64 // Durable frames that found a full inbox
	InboxBytes, LargeBytes                               int64  // gauges; LargeBytes: how much of LargeTotal is taken
	ClosedByCode                                         map[uint16]uint64
}
