// Package frame is the WebSocket protocol of the hub: JSON text frames to and from the nouns of package chat,
// with the names, shapes and error texts that existing clients know.
//
// Invariants:
//   - Server frames that the original system had are byte for byte the original's, with new fields after them.
//   - Decoding is strict about the types of known fields and indifferent to unknown ones; it accepts exactly
//     the JSON that encoding/json accepts, down to MaxDepth.
//   - What a client sent is echoed (ref) as the same JSON value and never unescaped into a frame.
//
// The package is pure: no I/O, no goroutine, no state. It must not know connections, sessions or HTTP.
package frame
