// Package directory knows which sessions a user has, and delivers to them what conversations publish.
//
// Users are spread over shards by chat.UserKey.Shard; a group of shards is one actor, which alone changes its
// users' sessions and alone calls Edge.Deliver for them. What one goroutine posts to a group is handled in
// that order: a Register before a Publish is seen by it, and deliveries of one conversation stay in order.
//
// A delivery costs a group one call of Edge.Deliver with a set of sessions that is cached per conversation: it
// stays valid while neither the members nor any member's sessions change, so that a large conversation costs
// nothing per member here.
//
// Bounds: a group takes at most Config.Queue deliveries. Beyond that a delivery of typing notices alone is
// dropped. One with anything durable is dropped too, and so is whatever its conversation publishes after it,
// until the edge has been told (Overflower) to close the sessions that miss it, so that their clients come back
// and resume. Nothing is lost in silence, no session sees a gap, and a publisher never waits.
//
// A delivery from a home of an earlier term of its conversation's shard than one before is refused (ToEdge), by each group
// for itself: no session gets what a former owner had on its way behind what its successor sent.
//
// The state is soft: it is rebuilt from connections. Goroutines: none of its own; handlers run on the workers
// of the actor system.
//
// The package must not know frames, storage or what a notice means.
package directory
