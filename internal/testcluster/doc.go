// Package testcluster runs a cluster of real `hub serve` processes on this machine: for the black-box tests of package
// clustertest and for `make cluster`. The nodes share one CQL keyspace, which must exist, and one development secret, so that
// a token of one is good at all.
//
// A node keeps its name, addresses and data directory over any number of processes; it can be started, killed, paused,
// drained, cut off from the store (its CQL connections then go through a Gate of this process), and, in a cluster with a
// network of its own (Config.Isolated: Linux, root), cut off from other nodes, in one direction or both: each node then
// lives in a network namespace behind a router that drops real packets. The namespaces have no names and end with this
// process, however it ends; so do the nodes.
//
// The package knows the command line and the admin port of the hub and nothing else of it. Nothing but tests and
// development may import it. Methods may be called from any goroutine, those of one Node from one at a time.
package testcluster
