// Package chat holds the nouns of the hub and the rules that every layer shares: identifiers, conversations,
// members and roles, the events of a conversation's log, commands and their results, limits and errors.
//
// The layers (edge, actors, cluster, storage) never import one another; they meet in these types. The package
// imports nothing of the hub, does no I/O, starts no goroutine and keeps no state. It must not know JSON
// frames, HTTP, tables or actors.
//
// Values are plain data. Slices and pointers reachable from a value that was handed to another layer are
// immutable from then on: whoever wants to change one copies it.
package chat
