// Package actors decides: its Hub is every command and query of the product, authorised, as Go methods.
//
// A command goes to the one live conversation that it names (package conversation) and what that publishes goes
// to the sessions of its members (package directory). Queries ask the conversation first and then read the
// store, no further than the head that they were told.
//
// This is the only home of protoactor, and of its actor package alone, with a mailbox of our own that does not
// allocate per message (internal/mailbox): handlers run on the workers of one
// dispatcher and never block. Goroutines: the workers, conversation's I/O, and one per Create or AddMembers
// while their users are looked up. Close stops and waits for all of them.
//
// The package must not know JSON, frames, HTTP or tables.
package actors
