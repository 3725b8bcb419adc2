package chat

// EventRef says where an event is. Epoch is the likeliest epoch of its row, that of the conversation's head: a guess
// that is wrong costs time and nothing else.
type EventRef struct {
	Key        ConversationKey
	Seq, Epoch uint64
}

// Reply ties a message to the one that it answers, by their places in one log.
type Reply struct{ To, Seq uint64 }

// ConsumerState is what is remembered of a consumer of the logs.
type ConsumerState struct {
	Name string
	// Generation of the consumer's own data that is being fed.
	Generation string
	// Complete: that generation has been fed every conversation once; since then the dirty marks tell what it lacks.
	Complete bool
}
