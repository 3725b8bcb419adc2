// Package enrol makes the users who have sessions on this node known to the owners of their directory shards (package
// home), so that what is delivered to them comes here.
//
// A shard is registered at one home at a time: everybody who is there (Enrol.All), then who comes and goes. Parcels to
// a node are handled in order; when one gets lost, is refused, or the shard's owner is another node, the shard is
// registered again. Invariants:
//   - A session may open once the home where the shard is registered has confirmed its user, who stays enrolled until a
//     while after the last one has closed.
//   - What a home holds of this node and what was sent to it are compared by digests, and differences end.
//   - When a home cannot tell what this node missed, sessions that opened before are ended: they come back and resume.
//
// Bounds: an entry per user with sessions. Callbacks are called with nothing locked. Goroutine: one, which sends
// everything; Close stops it and waits. The package must not know deliveries, or what a session is.
package enrol
