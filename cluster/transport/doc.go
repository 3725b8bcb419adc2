// Package transport carries bytes between the nodes of a cluster: requests with answers, and deliveries that are handled
// in order and confirmed. Nothing is lost without being reported.
//
//	Request ─▶ queue ─┐                                        ┌─▶ Handler.Request ─▶ reply ──┐
//	                  ├─▶ writer ══ one TCP connection ══ reader                              ├─▶ writer ══ same connection
//	Deliver ─▶ queue ─┘      (per ordered pair of nodes)       └─▶ Handler.Deliver ─▶ confirm ┘
//
// A node dials every peer that SetPeers names and sends on that connection alone; the peer answers and confirms on it.
// Thus two nodes have two connections, and neither waits for the other's traffic.
//
// # Frames
//
// A frame is a header of 16 bytes (length, type, status, a mark, id; little-endian) and at most Config.MaxFrame bytes.
// The first frame each way is a hello: cluster, node, name, and the versions of the protocol that the node speaks; the
// highest that both speak is used. Frames of a type that is not known are skipped and counted. A frame that is too
// long or malformed ends the connection: what follows it cannot be trusted.
//
// # Outcomes
//
// done is called exactly once for every Request and Deliver, whatever happens, Close included:
//
//   - nil: the peer answered, or confirmed.
//   - ErrFailed: the peer's handler said so; its text comes along.
//   - ErrNotSent: nothing of it reached the peer.
//   - ErrUnknown: it was written, and the connection broke, or the context ended, before the outcome came.
//
// # Order
//
// Deliveries of one node to another are handled in the order of the calls. What is handled between Up and Down is a
// prefix of what was handed over: when a connection breaks, the deliveries that wait behind it fail with those that are
// under way, so that there is no gap that nobody was told of. Those handed over later wait for the next connection, for
// Config.PeerTimeout at most. Requests have no order, neither among themselves nor with deliveries; those that were not
// written when a connection broke wait for the next until their context ends.
//
// # Bounds
//
// Per peer: deliveries not yet written (MaxQueue, MaxQueueBytes), else the connection is closed and all deliveries
// that are pending fail; deliveries written and not confirmed (Window, WindowBytes), else the writer waits; requests
// under way (MaxRequests, MaxQueueBytes), else ErrNotSent; answers that the peer does not read (MaxQueueBytes), else the
// connection is closed. What a handler holds between Deliver and confirm is bounded by the sender's window. Connections
// that have not said hello yet: MaxHandshakes, each for PeerTimeout.
//
// A peer that sends no byte for PeerTimeout, or that does not take what is written for so long, is cut off. Each
// connection has a reader and a writer of its own, so one that stalls delays nobody else.
//
// # Payloads
//
// What is given to Request, Deliver and reply is copied before the call returns: the caller may use it again. What
// Handler and done are given is the reader's buffer: it is valid until they return.
//
// # Goroutines
//
// One that accepts, one that keeps watch, two per connection, one per peer that is being dialled, and one for the
// failures of an overflow while they are reported. Close stops them and waits.
//
// The package must not know what the bytes mean, who is a member (SetPeers says it) or who owns what.
package transport
