// Package sets spares nodes to send one another the members of a large conversation with each of its deliveries. A
// Sender sends a set in full until the receiver has confirmed it, and names it by its version from then on; a Receiver
// keeps the sets that it was sent, and refuses a name that it does not know, upon which the set is sent again.
//
// Invariants: what a Receiver makes of a name is the very set that the sender means, since a sender's full set replaces
// the one before it of that conversation; the same set is the same pointer as long as it is kept, so that what others
// derive from it stays valid.
//
// Bounds: a Sender keeps a number of names, a Receiver sets with a number of members together; the least recently used
// go first. The package must not know who sends what to whom, or when.
package sets
