// Package client is the Go SDK of the hub: one multiplexed WebSocket that survives everything short of a
// revoked account, an outbox, and the REST calls that a chat program needs.
//
// What it promises its user:
//
//   - A send that was acknowledged is durable. A send that was accepted into the outbox is retried with the
//     same client id, across reconnects and (with a durable Store) across restarts of the program, until the
//     server acknowledges or refuses it. It never appears twice.
//   - Sends of one conversation leave in the order of the calls, and with Config.Window 1 (the default) they
//     enter the log in that order.
//   - Events of one conversation reach the handler in the order of its log, each once, none missing. What the
//     server can no longer replay is read from the history and handed over as one Gap event, never skipped in
//     silence.
//   - With Config.URLs, all of this holds across the nodes of a hub: the client moves on from one that fails.
//   - Every queue is bounded. A handler that is too slow costs no memory and does not hold up
//     acknowledgements: its conversations fall behind and are resumed from the log once it has caught up.
//
// Across a restart of the program the handler may see the last event of a conversation a second time: a
// position is stored after the handler returned.
//
// Goroutines: Run owns all of them (one that reads the socket, one that writes, one that calls the handler, one
// per history read in progress) and returns when they have ended. Nothing runs before Run and after it.
//
// The package must not know how the server works inside; it speaks the documented protocol alone.
package client
