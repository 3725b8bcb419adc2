// Package reactor terminates WebSocket connections (RFC 6455, RFC 7692): it accepts, upgrades, frames, queues,
// pings and closes them, and hands every other HTTP request on the same port to net/http.
//
//	socket → reactor (epoll, run to completion) → parser → Handler      inbound
//	Send, Broadcast, CloseConn → inbox of the owning reactor → socket   outbound
//
// It knows nothing of users, conversations, tenants or message formats. The caller keeps its own state in a slab
// and gives its index back as Decision.Session.
//
// # Order
//
// Frames given by one goroutine to Send, Broadcast and CloseConn for one connection leave in the order of the
// calls, whatever the mix: every one of these calls stages into the first-in-first-out inbox of the reactor that
// owns the connection, and only that reactor writes to it. Frames of different goroutines have no order.
// What a handler sent before a later frame of the peer was read leaves before the pong or close that the frame asks for.
// What a connection receives is a prefix of what was given for it (less shed Ephemeral frames): once a Durable
// frame cannot be taken, nothing after it is delivered and the connection is closed with CloseSlowConsumer.
//
// # Bounds
//
// Inbound: headers by MaxHandshakeBytes and HandshakeTimeout, a message by MaxMessage (declared and inflated) and
// MaxFragments; buffers exist only while something is partial and grow with the bytes received, never with the
// length declared. Outbound: each connection's queue by QueueBytes, QueueFrames and QueueAge, all of them by
// QueueTotal. An empty queue takes any one frame. Ephemeral frames are shed when a queue is half full, and
// before a Durable one is refused. Each reactor's inbox is bounded by InboxBytes: when it is half full, Ephemeral
// frames are shed (Stats.EphemeralShed); when it is full, the connections that a Durable frame was meant for are
// closed with CloseSlowConsumer (Stats.InboxOverflows, SlowClosed). Publishers are never blocked.
//
// # Invariants
//
//  1. Only the owning reactor touches a connection's record and socket (two atomic words excepted), and only it
//     calls close(2), after it took the generation out of use: a handle never reaches a later connection.
//  2. No goroutine, buffer, timer object or Go pointer per idle plaintext connection.
//  3. A raw system call never sleeps: every socket is non-blocking and every call says MSG_DONTWAIT.
//  4. Handler.Closed is called once for every accepted Upgrade, when the connection leaves the open state: after it,
//     sends report ErrClosed and no message is delivered, while the closing handshake may still be under way.
//
// # Goroutines
//
// Serve owns all of them and waits for them before it returns: one per reactor, those of net/http for non-upgrade
// requests (Shutdown waits for their handlers, Close only cuts their connections), and one per TLS handshake under way
// (bounded). Shutdown, Close, or the end of Serve's context stops them.
//
// Off Linux (and with the build tag reactor_portable) the same contract is served by two goroutines per connection.
package reactor
