// Package placement says which node should have which shard. It is a pure function of the nodes: all who know the same
// ones agree, without asking one another, and when a node comes or goes only its own shards move.
//
// A plan is a wish. Who may serve a shard is decided in storage (package lease); nodes that see different members for
// some seconds have different plans, and that is all right.
//
// It must not know about time, the network or storage.
package placement
