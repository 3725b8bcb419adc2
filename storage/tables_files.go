package storage

// Columns of TableFiles.
const (
	fileOwner = iota
	fileState
	fileName
	fileType
	fileVoice
	fileSizeColumn
	fileOffset
	fileParts
	fileSum
	fileGeneration
	fileRef
	fileCreatedAt
	fileExpiresAt
	fileChangedAt
	fileConversation
	fileAfter
	fileClientID
	fileMessage
	fileDownloads
	fileThumbState
	fileThumbSum
	fileThumbGeneration
	fileThumbRef
	fileColumns
)

// TableFiles holds what is known of each file, from the beginning of its upload until some time after its content is
// gone. Rows are made and changed by compare-and-set alone, since any node may do so; they are deleted long after the last
// change.
var TableFiles = &Table{
	ID: 40, Name: "files",
	Partition: []Column{{Name: "tenant", Kind: Text}, {Name: "file", Kind: Blob}},
	Columns: []Column{
		fileOwner: {Name: "owner", Kind: Text}, fileState: {Name: "state", Kind: Int}, fileName: {Name: "name", Kind: Text},
		fileType: {Name: "type", Kind: Text}, fileVoice: {Name: "is_voice", Kind: Bool},
		fileSizeColumn: {Name: "size", Kind: Int}, fileOffset: {Name: "received", Kind: Int}, fileParts: {Name: "parts", Kind: Blob},
		fileSum: {Name: "sha256", Kind: Blob}, fileGeneration: {Name: "generation", Kind: Int}, fileRef: {Name: "ref", Kind: Text},
		fileCreatedAt: {Name: "created_at", Kind: Time}, fileExpiresAt: {Name: "expires_at", Kind: Time},
		fileChangedAt:    {Name: "changed_at", Kind: Time},
		fileConversation: {Name: "conversation", Kind: Blob}, fileAfter: {Name: "after_seq", Kind: Int},
		fileClientID: {Name: "client_id", Kind: Text}, fileMessage: {Name: "message", Kind: Blob},
		fileDownloads:  {Name: "downloads", Kind: Int},
		fileThumbState: {Name: "thumb_state", Kind: Int}, fileThumbSum: {Name: "thumb_sha256", Kind: Blob},
		fileThumbGeneration: {Name: "thumb_generation", Kind: Int}, fileThumbRef: {Name: "thumb_ref", Kind: Text},
	},
}

var fileTables = []*Table{TableFiles}
