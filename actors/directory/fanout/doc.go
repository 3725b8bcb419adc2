// Package fanout takes what conversations of this node publish to the owners of the recipients' directory shards (package
// home), and remembers what did not arrive.
//
// Invariants:
//   - The deliveries of a conversation reach each edge in the order in which they were published: while the owners of
//     directory shards change, those that would go another way wait until those under way are confirmed or lost.
//   - A delivery of events that was not confirmed leaves its conversation missed, from which its owner is asked to
//     announce the head, again and again, until a head notice published after the loss was confirmed everywhere. Users
//     who were to be told that they are members no more are told again, likewise.
//   - A conversation that is settled (Settled) has nothing under way and nothing missed: its dirty mark may go.
//
// Bounds: deliveries of one conversation that wait (Config.Queue), deliveries of all (Config.UnderWay), and conversations
// that are missed (Config.Missed). What exceeds the first two is missed at once, but for the one head notice, and the one
// repetition, of a conversation that is missed; beyond the last, edges are asked to have the sessions of the users
// concerned come back and resume. What is ephemeral (typing, delivered positions) is neither kept nor repeated.
//
// Goroutine: one, for what has to be done later; Close stops it and waits. Callbacks are called with nothing locked but
// Parcel, which may answer at once. The package must not know sessions, storage, or how heads are announced.
package fanout
