// Package session keeps the authenticated client connections of one node: it opens them (token, first sight of
// the user, membership), turns their frames into commands, and turns deliveries into frames.
//
// A session is a state machine: verifying → introducing → attaching → open → closing. Each step but the first
// is asynchronous; frames that arrive before open are kept, bounded, and carried out in order when it is
// reached. Invariants:
//   - The status frame is the first frame of every session; nothing is sent before it and nothing after Closed.
//   - Every session that was registered in the directory is unregistered, once.
//   - Commands of one session are submitted in the order in which they arrived, but for resumes, of which a few are under
//     way at once and the rest wait for them, and frames with files.
//   - A frame is encoded once per delivery, however many sessions get it.
//   - A request with a ref is answered with that ref exactly once: by its event's frame, by ok, resumed, gap,
//     group_created, search_results, auth or pong, or by error.
//
// An idle session costs a record in a slab and a share of its user's entry: no goroutine, timer or channel.
//
// The package must not know sockets (Transport does), how commands are decided (Dispatcher does), or storage.
//
// Goroutines: New starts a fixed number of workers for what may wait (key fetches, introducing users) and one
// that ends sessions whose token has expired; a search has one of its own, a bounded number at once. Close stops them and
// waits.
package session
