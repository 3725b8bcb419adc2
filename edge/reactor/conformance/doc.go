// Package conformance checks that a WebSocket server does what RFC 6455 (the protocol) and RFC 7692
// (permessage-deflate) demand. It is a black box: it needs an address at which a server echoes every message
// with the same opcode, and speaks to it over TCP or TLS with a client of its own that can also send what no
// decent client sends: any bytes, in any chops.
//
// The cases are grouped by what they exercise; an id is "group.subgroup.number":
//
//	H   opening handshake (RFC 6455 §4, RFC 9112)
//	F   masking, length encodings, message limit
//	1   framing of text and binary messages
//	2   pings and pongs
//	3   reserved bits
//	4   reserved opcodes
//	5   fragmentation
//	6   UTF-8
//	7   closing handshake
//	9   large messages, many fragments, many chops
//	10  automatic fragmentation
//	12  permessage-deflate: echoes of different data and sizes
//	13  permessage-deflate: negotiation, and what must and must not be accepted
//	R   random valid streams, which must come back exactly
//
// The numbers follow the groups that conformance suites for WebSocket traditionally use; the cases themselves
// are written from the RFCs.
//
// Invariants:
//   - A case is strict: where the RFC names a close code (or says which applies), exactly this code must arrive
//     in a close frame. Where the RFC leaves a choice, the case accepts every permitted behaviour and says so in
//     its title or beside the code. Where neither RFC says anything, the hub's documented behaviour is
//     demanded: 1007 for data that does not inflate, 1008 for a message of too many frames, refusal of folded
//     header lines and of lengths that are not minimal, answers in the order of what they answer.
//   - Everything that the server sends is checked: minimal lengths, no mask, reserved bits, fragmentation
//     rules, UTF-8 of text and of close reasons, legal close codes, and (with an inflater of the package's own)
//     that a compressed message stays within the window and the context rule that were negotiated.
//   - No verdict depends on timing. A case that waits for something fails after Target.Timeout, never passes
//     by it. Pauses between chops make it likely that the server reads them one by one; they decide nothing.
//
// What it must not know: anything of the server but Target. It imports nothing of the hub; its tests run it
// against independent servers first, and against the hub's reactor after that.
//
// Goroutines: each connection has one that writes; the connection's close stops it and waits for it. Run checks
// cases in goroutines that end with the cases; the test does not end before them. Naming subtests with -run
// chooses what is reported, not what is checked: all cases run, which takes a few seconds.
package conformance
