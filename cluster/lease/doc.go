// Package lease decides which node may serve a shard. Membership only says who should try; this package asks storage, by
// compare-and-set, and never per message.
//
// Two kinds of rows. A node's lease says that one life of a node (an incarnation, chat.NodeID) is alive: the node renews
// it every few seconds. A shard's owner row names the incarnation that serves the shard and its epoch, which rises by
// every change of hands. A node serves a shard while the row names it and its own lease is valid by its own clock. Then:
//
//   - A lease holds from before its renewal was sent, less a margin. Who else wants the shards waits for the full duration
//     and a margin from when it first saw the renewal, on its own clock: no clocks are compared.
//   - Whoever saw a lease stand still for so long declares it dead, by compare-and-set on the version it saw, and only
//     then takes its shards. A renewal and a declaration exclude one another. The dead never renew again.
//   - What a holder wrote, it acknowledges only after MayAck, asked when the write has returned: then nobody had taken the
//     shard when the write was done, and whoever takes it later reads it. A write that lands after that is not
//     acknowledged, has a lower epoch than what the new owner writes, and is passed over by readers. model_test.go
//     searches every interleaving of this for a counterexample, and finds one when any of the rules is left out.
//   - An unknown outcome is never guessed at: the same compare-and-set is made again until it is known.
//
// It must not know what a shard holds, how nodes find one another, or which store the rows are in.
package lease
