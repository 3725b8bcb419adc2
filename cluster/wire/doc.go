// Package wire writes what nodes of a hub tell one another, the questions, answers and parcels of package chat, as
// protobuf messages (wire.proto), and reads them. It knows nothing of streams, frames and nodes.
//
// What is decoded equals what was encoded, but for this: empty lists become nil, times are UTC and whole microseconds,
// Delivery.AcceptedAt does not travel (its clock is another machine's), and an error is another value that errors.Is and
// errors.As tell apart in the same way, with the same text.
//
// Peers are authenticated, so what they say is taken as it is: ids and texts are not checked again. But no input makes a
// decoder panic, shard numbers are in range, and what a decoder allocates is linear in what it is given; the transport
// bounds that. Whoever encodes sends nothing larger than a frame.
//
// Nodes of two versions understand one another: fields that are not known are skipped, and kinds that are not known are
// ErrUnknownType. Decoded values share no memory with the input. All functions may be called concurrently.
package wire
