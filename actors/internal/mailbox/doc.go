// Package mailbox is the mailbox of the hub's actors. It does what protoactor's own do, without an allocation
// per message and per wake-up, and lets go of the memory of a burst.
//
// Bounds are kept in front of it: by the registry's inbox counter and the directory's queue counter.
package mailbox
