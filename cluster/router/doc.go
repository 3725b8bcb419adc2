// Package router finds the node that owns a shard and asks it: here, without encoding anything, or over the transport. It
// goes after a shard that moves until the question's deadline, and it is the receiving end of other nodes' questions. It
// knows neither how ownership is decided (Ownership) nor how bytes travel (Transport) nor what is answered (Handler).
//
// # Outcomes
//
// An attempt ends with an answer or a refusal of the owner, which is the outcome; or it is made again, after a back-off and
// with what is then known of the owner: the owner is not known, the node that was asked does not own the shard
// (chat.ErrMoved) or is shutting down, nothing of the question was sent, or it is not known what became of it and it is
// Repeatable. A repeatable question is also asked again when a node has not answered for Config.Attempt: that one may be
// stopped, and its shards may be another's by then. When time is up the outcome is chat.ErrUnavailable; chat.ErrUnknown if
// an attempt may have been carried out. done is called once.
//
// # Order
//
// What a user does to one conversation is carried out in the order in which it was handed to Ask, also while the
// conversation moves, and so are a user's changes of preferences and declarations of presence. Such questions form a line
// (by shard, user and conversation). Those of a line follow one another without waiting, a burst, as long as nothing goes
// wrong and all go to the same node and term. When one fails, only the oldest of the line is tried again; the others wait
// behind it, and when it is through they go out as a new burst.
//
// What of the burst was under way behind the one that failed must not be carried out before it, although the node may have
// become the owner between the two, or a connection may have been replaced. So each question carries its place in
// its burst, and a receiver refuses one whose predecessor it did not accept, as if the shard had moved. What it remembers
// for that has a fixed size: what it forgot is refused and asked again as the first of a burst.
//
// Parcels to one node are handed over, or, to this node itself, handled in the order of the calls.
//
// # Bounds
//
// Questions under way (Config.Limit), in one line (Config.Line) and those of others being answered (Config.Inbound);
// beyond that chat.ErrOverloaded. There is no goroutine of the router's own: what is done is done by those who call, by the
// transport's callbacks, and by timers, of which there is one for each question that waits and one for each attempt.
package router
