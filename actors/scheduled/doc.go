// Package scheduled sends messages at a time in the future. A Scheduler keeps what users asked for (Schedule, List,
// Change, Cancel), on any node, and sends what is due of the shards that this node owns.
//
// What is to be sent is a row of the user's and an entry of the calendar, which has few parts, is read in the order of
// time and only up to now (Store). At the time of sending:
//
//  1. the row becomes "sending", by compare-and-set: from then on it can be neither changed nor cancelled;
//  2. the message is sent as if its user did so at that moment, under a client id that is made of the row's own id;
//  3. the row becomes "sent", or "failed" with the reason, and is forgotten later.
//
// Whoever dies in between is followed by whoever owns the conversation's shard next, who finds the row due and "sending"
// and goes on at 2: the client id makes it one message, however often that happens and whoever else is at it at the same
// time. Client ids are remembered for days (storage.DedupTTL); what was "sending" for longer than Config.Memory is not sent any
// more, but "failed": nobody can tell. Nor can anybody where what was "sending" is refused when it is tried again, as of who has
// left meanwhile.
//
// Messages of one conversation are sent one after the other in the order of their times, also those that are overdue
// because nothing ran. One that cannot be sent now (the rate of its user, an owner that is not there) is tried again,
// later and later up to Config.MaxBackoff, and holds back those of the same user and conversation behind it.
//
// Goroutines: one, and up to Config.Parallel while something is due. Close stops them and waits.
//
// The package must not know tables, actors or HTTP.
package scheduled
