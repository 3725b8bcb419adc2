package storage

import (
	"slices"
	"time"
)

// SchemaVersion is the version of the tables below together with the encodings of repositories. An engine refuses a
// store that carries another one (ErrSchema). Adding a column at the end of a table does not change it for readers of
// older rows, but older binaries cannot read the new rows: it does.
//
// 2: search cursors, blobs, people. 3: leases of nodes and owners of shards. 4: fences, which older programs would ignore;
// tenants, API keys, audit log; files. 5: permissions of groups, replies, mentions, forwarding, pins,
// what members keep for themselves: hidden messages, drafts, muting, pinned conversations; scheduled messages, link previews;
// counts of uploads.
const SchemaVersion = 5

// OldestSchema is the oldest version that this program turns into SchemaVersion by itself: all that was written since
// are new tables, and new columns at the end of old ones.
const OldestSchema = 1

// BucketBits is the size of a bucket of the log: 2^BucketBits events share a partition.
const BucketBits = 12

// DedupTTL is how long a client id is remembered after the message was derived.
const DedupTTL = 7 * 24 * time.Hour

// Columns of TableLog.
const (
	logMsgNo = iota
	logType
	logAt
	logActor
	logActorName
	logClientID
	logMessage
	logMessageSeq
	logContent
	logVoice
	logEditedAt
	logDeletedAt
	logReactions // list of (user, emoji, time)
	logEmoji
	logRemoved
	logChange
	logUsers // list of user ids
	logRole
	logName
	logKind
	logFile        // id, name, type, size
	logPermissions // as packPermissions
	logReplyTo
	logReplies
	logLastReply
	logMentions // list of user ids
	logMentionAll
	logForwardedUser
	logForwardedName
	logPreview // as appendPreview
	logColumns
)

// Columns of TableConversation. The head row has the first group, member rows the second.
const (
	convKind = iota
	convName
	convCreatedBy
	convCreatedAt
	convUpdatedAt
	convSeq
	convEpoch
	convMsgNo
	convMemberCount
	convLastSeq
	convLastID
	convLastSender
	convLastText
	convLastAt

	convRole
	convJoinedAt
	convJoinedSeq
	convReadSeq
	convReadMsgNo
	convReadAt
	convDeliveredSeq
	convDeliveredMsgNo
	convDeliveredAt
	convOwnAfterRead
	convArchivedAt
	convHidden
	convPermissions // of the head, as packPermissions
	convPins        // of the head: message ids one behind the other
	convOwn         // of a member, as appendPersonal
	convColumns
)

// Rows of a conversation's partition: the head, one per member, and, while a deletion is under way, its marker.
const (
	rowDeleting = "d"
	rowHead     = "h"
	rowMember   = "m/" // followed by the user id
)

var (
	// TableLog holds the events. bucket = seq >> BucketBits, so no bucket is ever empty between others.
	TableLog = &Table{
		ID: 1, Name: "log", Fenced: true,
		Partition:  []Column{{Name: "tenant", Kind: Text}, {Name: "conversation", Kind: Blob}, {Name: "bucket", Kind: Int}},
		Clustering: []Column{{Name: "seq", Kind: Int}, {Name: "epoch", Kind: Int}},
		Columns: []Column{
			logMsgNo: {Name: "msg_no", Kind: Int}, logType: {Name: "type", Kind: Int}, logAt: {Name: "at", Kind: Time},
			logActor: {Name: "actor", Kind: Text}, logActorName: {Name: "actor_name", Kind: Text},
			logClientID: {Name: "client_id", Kind: Text}, logMessage: {Name: "message", Kind: Blob},
			logMessageSeq: {Name: "message_seq", Kind: Int}, logContent: {Name: "content", Kind: Text},
			logVoice: {Name: "is_voice", Kind: Bool}, logEditedAt: {Name: "edited_at", Kind: Time},
			logDeletedAt: {Name: "deleted_at", Kind: Time}, logReactions: {Name: "reactions", Kind: Blob},
			logEmoji: {Name: "emoji", Kind: Text}, logRemoved: {Name: "removed", Kind: Bool},
			logChange: {Name: "change", Kind: Int}, logUsers: {Name: "users", Kind: Blob},
			logRole: {Name: "role", Kind: Int}, logName: {Name: "name", Kind: Text}, logKind: {Name: "kind", Kind: Int},
			logFile:        {Name: "file", Kind: Blob},
			logPermissions: {Name: "permissions", Kind: Int}, logReplyTo: {Name: "reply_to", Kind: Blob},
			logReplies: {Name: "replies", Kind: Int}, logLastReply: {Name: "last_reply", Kind: Int},
			logMentions: {Name: "mentions", Kind: Blob}, logMentionAll: {Name: "mention_all", Kind: Bool},
			logForwardedUser: {Name: "forwarded_user", Kind: Text}, logForwardedName: {Name: "forwarded_name", Kind: Text},
			logPreview: {Name: "link_preview", Kind: Blob},
		},
	}
	// TableConversation holds the derived state: head and members in one partition, so that a step is one batch.
	TableConversation = &Table{
		ID: 2, Name: "conversation",
		Partition:  []Column{{Name: "tenant", Kind: Text}, {Name: "conversation", Kind: Blob}},
		Clustering: []Column{{Name: "row", Kind: Text}},
		Columns: []Column{
			convKind: {Name: "kind", Kind: Int}, convName: {Name: "name", Kind: Text},
			convCreatedBy: {Name: "created_by", Kind: Text}, convCreatedAt: {Name: "created_at", Kind: Time},
			convUpdatedAt: {Name: "updated_at", Kind: Time}, convSeq: {Name: "seq", Kind: Int},
			convEpoch: {Name: "epoch", Kind: Int}, convMsgNo: {Name: "msg_no", Kind: Int},
			convMemberCount: {Name: "member_count", Kind: Int}, convLastSeq: {Name: "last_seq", Kind: Int},
			convLastID: {Name: "last_id", Kind: Blob}, convLastSender: {Name: "last_sender", Kind: Text},
			convLastText: {Name: "last_text", Kind: Text}, convLastAt: {Name: "last_at", Kind: Time},
			convRole: {Name: "role", Kind: Int}, convJoinedAt: {Name: "joined_at", Kind: Time},
			convJoinedSeq: {Name: "joined_seq", Kind: Int}, convReadSeq: {Name: "read_seq", Kind: Int},
			convReadMsgNo: {Name: "read_msg_no", Kind: Int}, convReadAt: {Name: "read_at", Kind: Time},
			convDeliveredSeq:   {Name: "delivered_seq", Kind: Int},
			convDeliveredMsgNo: {Name: "delivered_msg_no", Kind: Int},
			convDeliveredAt:    {Name: "delivered_at", Kind: Time},
			convOwnAfterRead:   {Name: "own_after_read", Kind: Int}, convArchivedAt: {Name: "archived_at", Kind: Int},
			convHidden: {Name: "hidden", Kind: Int}, convPermissions: {Name: "permissions", Kind: Int},
			convPins: {Name: "pins", Kind: Blob}, convOwn: {Name: "own", Kind: Blob},
		},
	}
	// TableReceipts holds one row per advance of a watermark. Clustered by seq, so that the advances that reach a seq
	// are one range; that of each user which began before it is the answer.
	TableReceipts = &Table{
		ID: 3, Name: "receipts",
		Partition: []Column{{Name: "tenant", Kind: Text}, {Name: "conversation", Kind: Blob},
			{Name: "kind", Kind: Int}},
		Clustering: []Column{{Name: "seq", Kind: Int}, {Name: "user", Kind: Text}},
		Columns:    []Column{{Name: "at", Kind: Time}, {Name: "from_seq", Kind: Int}},
	}
	// TableDedup maps client ids to what they became.
	TableDedup = &Table{
		ID: 4, Name: "dedup", TTL: DedupTTL,
		Partition: []Column{{Name: "tenant", Kind: Text}, {Name: "conversation", Kind: Blob},
			{Name: "sender", Kind: Text}},
		Clustering: []Column{{Name: "client_id", Kind: Text}},
		Columns:    []Column{{Name: "seq", Kind: Int}},
	}
	// TableMemberships is a user's list of conversations.
	TableMemberships = &Table{
		ID: 5, Name: "memberships",
		Partition:  []Column{{Name: "tenant", Kind: Text}, {Name: "user", Kind: Text}},
		Clustering: []Column{{Name: "conversation", Kind: Blob}},
		Columns:    []Column{{Name: "kind", Kind: Int}, {Name: "joined_at", Kind: Time}},
	}
	// TableDirty marks conversations whose derived rows or projections may be behind their logs; also, of a
	// conversation that is there no more, that projections have not heard of it yet.
	TableDirty = &Table{
		ID: 6, Name: "dirty",
		Partition:  []Column{{Name: "shard", Kind: Int}},
		Clustering: []Column{{Name: "tenant", Kind: Text}, {Name: "conversation", Kind: Blob}},
	}
	// TableUsers holds what is known of users.
	TableUsers = &Table{
		ID: 7, Name: "users",
		Partition: []Column{{Name: "tenant", Kind: Text}, {Name: "user", Kind: Text}},
		Columns: []Column{{Name: "username", Kind: Text}, {Name: "email", Kind: Text},
			{Name: "first_name", Kind: Text}, {Name: "last_name", Kind: Text}, {Name: "avatar_url", Kind: Text},
			{Name: "created_at", Kind: Time}, {Name: "updated_at", Kind: Time}},
	}
	// TableMeta holds facts about the store itself; its schema version is the row "schema".
	TableMeta = &Table{
		ID: 8, Name: "meta",
		Partition: []Column{{Name: "name", Kind: Text}},
		Columns:   []Column{{Name: "number", Kind: Int}, {Name: "text", Kind: Text}},
	}
	// TableCursors holds what is known of each consumer of the log: which generation of it was fed, and whether that
	// one has been fed everything once. How far it is with each conversation it knows itself.
	TableCursors = &Table{
		ID: 9, Name: "cursors",
		Partition: []Column{{Name: "consumer", Kind: Text}},
		Columns:   []Column{{Name: "generation", Kind: Text}, {Name: "complete", Kind: Bool}},
	}
	// TableBlobRefs says who refers to content, per generation of its copy (storage/blob, Library). The row of
	// generation -1 holds the generation under which the content is stored from now on; without it that is 0.
	TableBlobRefs = &Table{
		ID: 10, Name: "blob_refs",
		Partition:  []Column{{Name: "tenant", Kind: Text}, {Name: "sha256", Kind: Blob}},
		Clustering: []Column{{Name: "generation", Kind: Int}, {Name: "ref", Kind: Text}},
		Columns:    []Column{{Name: "current", Kind: Int}},
	}
)

// Tables returns every table, by ascending id.
func Tables() []*Table {
	return slices.Concat([]*Table{TableLog, TableConversation, TableReceipts, TableDedup, TableMemberships, TableDirty, TableUsers,
		TableMeta, TableCursors, TableBlobRefs}, peopleTables, clusterTables, fileTables, tenancyTables,
		messageTables, laterTables)
}
