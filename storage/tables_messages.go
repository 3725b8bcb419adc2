package storage

var (
	// TableReplies holds one row per message that answers another: the messages of a thread are one range. A partition
	// is that of the answered message's bucket of the log.
	TableReplies = &Table{
		ID: 50, Name: "replies",
		Partition:  []Column{{Name: "tenant", Kind: Text}, {Name: "conversation", Kind: Blob}, {Name: "bucket", Kind: Int}},
		Clustering: []Column{{Name: "reply_to", Kind: Int}, {Name: "seq", Kind: Int}},
	}

	messageTables = []*Table{TableReplies}
)
