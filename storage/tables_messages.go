package storage

var (
	// TableReplies holds one row per message that answers another: the messages of a thread are one range. A partition
	// is that of the answered message's bucket of the log.
	TableReplies = &Table{
		ID: 50, Name: "replies",
		Partition:  []Column{{Name: "tenant", Kind: Text}, {Name: "conversation", Kind: Blob}, {Name: "bucket", Kind: Int}},
		Clustering: []Column{{Name: "reply_to", Kind: Int}, {Name: "seq", Kind: Int}},
	}

	// TableHidden holds one row per message that a member has deleted for itself.
	TableHidden = &Table{
		ID: 51, Name: "hidden",
		Partition:  []Column{{Name: "tenant", Kind: Text}, {Name: "conversation", Kind: Blob}, {Name: "user", Kind: Text}},
		Clustering: []Column{{Name: "seq", Kind: Int}},
		Columns: []Column{hiddenMsgNo: {Name: "msg_no", Kind: Int}, hiddenReplyTo: {Name: "reply_to", Kind: Int},
			hiddenOwn: {Name: "own", Kind: Bool}},
	}
	// TableDrafts holds what users have written and not sent, one row per conversation. Every row is written whole.
	TableDrafts = &Table{
		ID: 52, Name: "drafts",
		Partition:  []Column{{Name: "tenant", Kind: Text}, {Name: "user", Kind: Text}},
		Clustering: []Column{{Name: "conversation", Kind: Blob}},
		Columns: []Column{draftText: {Name: "text", Kind: Text}, draftReplyTo: {Name: "reply_to", Kind: Blob},
			draftAt: {Name: "at", Kind: Time}},
	}

	messageTables = []*Table{TableReplies, TableHidden, TableDrafts}
)
