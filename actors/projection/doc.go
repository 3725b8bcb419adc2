// Package projection runs what follows the logs of conversations: a consumer (a search index, notifications, …) is
// told every event of every conversation, in order, at least once, however often the process dies in between.
//
// Nothing is remembered here. How far a consumer is with a conversation it knows itself (Cursors), and that a
// conversation may be behind is said by its dirty mark in the store, which is there before the first event that a
// consumer does not know and goes when all consumers reported the head. So a Runner begins by feeding every marked
// conversation; after that it is told of commits (Committed).
//
// Invariants:
//
//   - A conversation is reported as followed (Conversations.Followed) up to a seq only when every consumer has applied
//     everything up to it, and as gone only when every consumer has applied that.
//   - The Runner is told of a commit before anybody can see its head. So a conversation that does not wait for a
//     consumer has been applied there as far as anybody saw.
//   - Changes of one conversation reach a consumer one after the other.
//   - Committed never blocks and does not allocate. The conversations that wait for a consumer are bounded (Queue):
//     beyond that they are found again by their marks, for which the Runner then looks.
//   - A consumer that fails is tried again, later and later, without end, and delays no other consumer.
//   - A consumer whose data is another than the one fed before (Generation), or that is new, is fed every
//     conversation, while live changes go on. After a crash the same is begun again, and skips what the consumer has.
//
// Where several nodes share the conversations (Config.Owns), each feeds those of its shards. A shard that is gained has
// its marks looked for, and is fed from the beginning unless it is remembered that all of it was (shards.go). Of one
// that is lost nothing is reported any more; an Apply that is under way when a shard is lost may come to an end beside
// its new owner's, so consumers must not let older data take the place of newer, or live with it until the next change.
// All nodes must have the same consumers: a node without one lets marks go that the consumer needs, and only forgets,
// at its start, that all was fed. Rebuild needs all shards on one node, and ends when one is lost.
//
// Goroutines: a few workers per consumer, and one per rebuild. Close stops them and waits.
//
// The package must not know what a consumer does with events, nor tables, actors or HTTP.
package projection
