// Package rest is the HTTP API of the hub: the REST contract of the system that it replaces (conversations and
// messages under /api/v1/messages/), the operator's user API, development tokens, health, and a separate
// handler for the admin port.
//
// The job: turn a request into a chat command or query of an authenticated caller, and its result, or its
// error, into the status and the JSON shape that existing clients expect. Nothing is decided here: who may do
// what is the Hub's business, which is asked every time.
//
// Invariants:
//   - Every request ends in a response whose body is JSON in one of the contract's shapes; no query parameter,
//     header or body causes a 5xx by itself. A panic is answered 500 with an id, counted and logged.
//   - Bodies are bounded in size and in depth before they are decoded; lists in a body are bounded in length.
//   - A cookie alone never authorises an unsafe request (requirement 116).
//   - Nothing that a user wrote, no token and no e-mail address reaches a log.
//   - Every route of the mux is described by openapi.yaml and the reverse; a test compares them.
//
// The package knows neither WebSocket frames nor actors nor tables. It starts no goroutine: handlers run on
// the goroutines of the http.Server that serves them and end with the request's context, at the latest after
// Config.Timeout. It keeps one bounded cache, of user profiles.
package rest
