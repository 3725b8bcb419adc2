// Package user decides about people: what is between two users (contacts, friend requests, blocks), and what a user
// prefers.
//
// Whatever is between two users is decided by one of them: the actor of the one whose id sorts first, their pair's
// home. It carries out one operation of a pair at a time: read the pair, Decide, write it durably, write both users'
// lists, tell the direct conversation of a block, and only then answer. So of an acceptance, a cancellation and a
// block that come at once, one wins and the others are judged against what it left (ADR 8). Preferences of a user are
// kept by the user's own actor in the same way, and are in memory while it lives.
//
// Like a conversation it has two layers. Decide and State are pure: the rules about a pair, and the order of
// operations. Registry and its activations are the shell, one protoactor actor per user who was asked about lately.
//
// Invariants:
//   - The pair is stored before anybody hears of the change, and a block is known to the direct conversation before
//     it is answered.
//   - A pair that was stored, but not all of whose consequences were carried out, is marked unsettled in the store;
//     Repair carries them out again. All of them are idempotent.
//   - Everything happens in a term: the epoch under which this node serves the user's shard (Owner). Nothing is answered
//     as done unless the term lasted until after the write, and what comes under a later term waits for the writes of
//     the earlier one.
//   - One operation per pair, and one of a user's preferences, is under way at a time, in the order of arrival.
//
// Goroutines: handlers run on the workers of the actor system and never block; each operation under way has one
// goroutine, bounded by Config.Operations; one sweeps idle actors out of memory. Close waits for all of them.
//
// The package must not know sessions, HTTP, frames, tables, nor how a conversation does what it is told.
package user
