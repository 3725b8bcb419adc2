package storage

// Columns of TableScheduled.
const (
	scheduledState = iota
	scheduledConversation
	scheduledUsername
	scheduledClientID
	scheduledContent
	scheduledReplyTo
	scheduledMentions // list of user ids
	scheduledMentionAll
	scheduledSendAt
	scheduledReason
	scheduledCreatedAt
	scheduledChangedAt
	scheduledDue
	scheduledTurn
	scheduledColumns
)

var (
	// TableScheduled holds messages that are to be sent later, those of a user in one partition. Rows are made and changed
	// by compare-and-set alone, since any node may do so; they are deleted a while after the last change.
	TableScheduled = &Table{
		ID: 54, Name: "scheduled",
		Partition:  []Column{{Name: "tenant", Kind: Text}, {Name: "user", Kind: Text}},
		Clustering: []Column{{Name: "id", Kind: Blob}},
		Columns: []Column{
			scheduledState: {Name: "state", Kind: Int}, scheduledConversation: {Name: "conversation", Kind: Blob},
			scheduledUsername: {Name: "username", Kind: Text}, scheduledClientID: {Name: "client_id", Kind: Text},
			scheduledContent: {Name: "content", Kind: Text}, scheduledReplyTo: {Name: "reply_to", Kind: Blob},
			scheduledMentions: {Name: "mentions", Kind: Blob}, scheduledMentionAll: {Name: "mention_all", Kind: Bool},
			scheduledSendAt: {Name: "send_at", Kind: Time}, scheduledReason: {Name: "reason", Kind: Text},
			scheduledCreatedAt: {Name: "created_at", Kind: Time}, scheduledChangedAt: {Name: "changed_at", Kind: Time},
			scheduledDue: {Name: "due", Kind: Time}, scheduledTurn: {Name: "turn", Kind: Int},
		},
	}
	// TableScheduledDue is the calendar: it says when which of them is to be looked at. There is an entry before the row of
	// TableScheduled says that time; entries with another time, or turn, than the row are void. No key is ever
	// written again once it was deleted.
	TableScheduledDue = &Table{
		ID: 55, Name: "scheduled_due",
		Partition: []Column{{Name: "slot", Kind: Int}},
		Clustering: []Column{{Name: "due", Kind: Int}, {Name: "tenant", Kind: Text}, {Name: "user", Kind: Text},
			{Name: "id", Kind: Blob}, {Name: "turn", Kind: Int}},
		Columns: []Column{{Name: "conversation", Kind: Blob}},
	}

	laterTables = []*Table{TableScheduled, TableScheduledDue}
)
