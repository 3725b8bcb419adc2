// Package membership says which nodes of the cluster are there, by gossip (hashicorp/memberlist, which is SWIM with
// suspicion: Das, Gupta and Motivala 2002; Dadgar, Phillips and Currey 2018).
//
// It says who should try, never who may: its view may be wrong for seconds, and two nodes' views may differ. Who serves
// a shard is decided by leases in storage. So a node that is suspected is there, one that was taken for dead and answers
// again is back, and a partition that heals needs nothing but time: seeds and former members that are missing are tried
// again and again.
//
// A node's name is the same in all its lives, but each life gossips under a name of its own (name/id): what is said
// of a former life is never taken for the next one's.
//
// What a node says of itself (roles, address, version, state, load) travels as metadata of at most 512 bytes.
//
// Goroutines: memberlist's, and two: one reports changes, the only one that calls Config.Changed, one joins and joins
// again. memberlist's callbacks only signal. Close stops all of them and waits for the latter.
//
// The package must not know shards, leases, or what nodes send one another.
package membership
