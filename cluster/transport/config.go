package transport

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/zumodra/hub/chat"
)

var (
	// ErrNotSent: the peer has certainly not handled it.
	ErrNotSent = errors.New("transport: not sent")
	// ErrUnknown: it was written, and no answer came.
	ErrUnknown = errors.New("transport: outcome unknown")
	// ErrFailed: the peer's handler answered with an error.
	ErrFailed = errors.New("transport: failed at the peer")

	// ErrNoPeer comes with ErrNotSent: the node is not one of those SetPeers named.
	ErrNoPeer = errors.New("no such peer")
	// ErrTooLarge comes with ErrNotSent: more than Config.MaxFrame.
	ErrTooLarge = errors.New("too large for a frame")
	// ErrFull comes with ErrNotSent or ErrUnknown: a bound of the peer's queue was reached.
	ErrFull = errors.New("queue is full")
	// ErrClosed comes with ErrNotSent or ErrUnknown: the transport, or the peer, was closed.
	ErrClosed = errors.New("closed")
	// ErrPeerTimeout is why a stream was cut off: no byte came for Config.PeerTimeout.
	ErrPeerTimeout = errors.New("transport: peer is silent")
	// ErrOtherNode is why a peer cannot be reached: another node answers at its address, perhaps its next life.
	ErrOtherNode = errors.New("transport: another node answers")
	// ErrVersion is why a peer cannot be reached: there is no version of the protocol that both speak.
	ErrVersion = errors.New("transport: no common protocol version")
	// ErrCluster is why a peer cannot be reached: it belongs to another cluster.
	ErrCluster = errors.New("transport: another cluster")
	// ErrCorrupt is why a stream was closed: what came is not a frame, or too long for one.
	ErrCorrupt = errors.New("transport: corrupt stream")
)

// Handler is who gets what peers send, and learns of the streams to them. Its methods must not block: each holds up all
// that comes after it from the same peer. Payloads are valid until the method returns.
type Handler interface {
	// Request is a question; reply is to be called once, from any goroutine, with the answer, which it copies, or with
	// an error, whose text reaches the asker with ErrFailed. timeout is what was left to the asker when the
	// question was written; 0: no limit.
	Request(from chat.NodeID, timeout time.Duration, payload []byte, reply func([]byte, error))
	// Deliver is called in the order of the peer's deliveries, one at a time. confirm is to be called once, from any
	// goroutine and in any order; until then the delivery counts against the peer's window.
	Deliver(from chat.NodeID, payload []byte, confirm func(error))
	// Up says that a stream to the node stands.
	Up(node chat.NodeID)
	// Down says that it does no longer, after all that was under way on it has been reported. It also comes,
	// without an Up, when another node answers at the address (ErrOtherNode), once for as long as that is so.
	Down(node chat.NodeID, err error)
}

// Peer is a node that may be sent to.
type Peer struct {
	ID   chat.NodeID
	Name string // for logs and Stats
	Addr string // host:port
}

// Config of a Transport. Self, Cluster and Handler must be given.
type Config struct {
	Self    chat.NodeID
	Name    string // the node's, at most 255 bytes
	Cluster string // its name: nodes of another are refused; at most 255 bytes
	// Listen is the address, "127.0.0.1:0" if empty.
	Listen string
	// TLS, if not nil, is used both ways, and both sides must show a certificate. Certificates (or GetCertificate and
	// GetClientCertificate) and RootCAs must be set; ClientCAs is RootCAs, MinVersion TLS 1.3 unless set. ServerName, if
	// set, is the name expected of every peer; else it is the host of the peer's address.
	TLS     *tls.Config
	Handler Handler
	Logger  *slog.Logger // slog.Default if nil

	MaxFrame      int           // bytes of a payload; 16 MiB
	MaxQueue      int           // deliveries to a peer that are not written yet; 65,536
	MaxQueueBytes int           // their bytes, those of requests under way, and those of answers not yet written, each; 64 MiB
	Window        int           // deliveries to a peer that are written and not confirmed; 16,384
	WindowBytes   int           // their bytes; 16 MiB
	MaxRequests   int           // to a peer, under way; 65,536
	MaxHandshakes int           // connections that have not said hello yet; 256
	PeerTimeout   time.Duration // see ErrPeerTimeout; 4 s. A quarter of it is the time between pings
	MinBackoff    time.Duration // between attempts to connect; 50 ms, doubled up to
	MaxBackoff    time.Duration // 2 s
}

func (c Config) withDefaults() (Config, error) {
	if c.Self == 0 || c.Cluster == "" || c.Handler == nil {
		return c, errors.New("transport: Self, Cluster and Handler must be given")
	}
	if len(c.Name) > maxName || len(c.Cluster) > maxName {
		return c, fmt.Errorf("transport: names have at most %d bytes", maxName)
	}
	c.Listen = cmp.Or(c.Listen, "127.0.0.1:0")
	c.Logger = cmp.Or(c.Logger, slog.Default())
	c.MaxFrame = cmp.Or(c.MaxFrame, 16<<20)
	c.MaxQueue = cmp.Or(c.MaxQueue, 65536)
	c.MaxQueueBytes = cmp.Or(c.MaxQueueBytes, 64<<20)
	c.Window = cmp.Or(c.Window, 16384)
	c.WindowBytes = cmp.Or(c.WindowBytes, 16<<20)
	c.MaxRequests = cmp.Or(c.MaxRequests, 65536)
	c.MaxHandshakes = cmp.Or(c.MaxHandshakes, 256)
	c.PeerTimeout = cmp.Or(c.PeerTimeout, 4*time.Second)
	c.MinBackoff = cmp.Or(c.MinBackoff, 50*time.Millisecond)
	c.MaxBackoff = max(c.MinBackoff, cmp.Or(c.MaxBackoff, 2*time.Second))
	for _, n := range []int{c.MaxQueue, c.MaxQueueBytes, c.Window, c.WindowBytes, c.MaxRequests, c.MaxHandshakes, int(c.PeerTimeout), int(c.MinBackoff)} {
		if n < 0 {
			return c, errors.New("transport: a bound is negative")
		}
	}
	if c.MaxFrame < minFrame || c.MaxFrame > maxFrame {
		return c, fmt.Errorf("transport: MaxFrame must be %d to %d bytes", minFrame, maxFrame)
	}
	if c.TLS == nil {
		return c, nil
	}
	t := c.TLS.Clone()
	if len(t.Certificates) == 0 && (t.GetCertificate == nil || t.GetClientCertificate == nil) {
		return c, errors.New("transport: TLS needs a certificate: a node shows one whichever side it is on")
	}
	if t.RootCAs == nil {
		return c, errors.New("transport: TLS needs RootCAs: those of the system vouch for the web, not for nodes")
	}
	if t.ClientCAs == nil {
		t.ClientCAs = t.RootCAs
	}
	t.ClientAuth = tls.RequireAndVerifyClientCert
	t.MinVersion = max(t.MinVersion, tls.VersionTLS13)
	c.TLS = t
	return c, nil
}

// outcome joins what is known of a message with why.
func outcome(what, why error) error {
	if why == nil || errors.Is(why, what) {
		return what
	}
	return fmt.Errorf("%w: %w", what, why)
}
