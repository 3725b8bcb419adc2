// Package system starts what a scenario loads, on this machine: one hub with the embedded store, or full nodes and edges on an
// Apache Cassandra, each a real process with the limits on clients off. Attach takes what `make cluster` has started instead.
//
// A System gives a target its addresses and secrets and a watcher its processes, and is a chaos.Driver: it can kill, stop, drain
// and start each node and each server of the store, cut nodes off from the store (of a cluster), change their clocks (hubs built
// with -tags chaos), and, with scenario.System.Isolated (Linux, root), cut and slow down the links between them. The nodes of an
// isolated system are reached through forwarders in this process: good for faults, not for measurements.
//
// All processes end with this one, however it ends. The package knows the command line and the admin port of the hub, and nothing
// else of it.
package system
