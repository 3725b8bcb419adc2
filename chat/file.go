package chat

import (
	"net/url"
	"time"

	"github.com/google/uuid"
)

// FileID names a file from the beginning of its upload on: a random UUID, which cannot be guessed.
type FileID [16]byte

// NewFileID returns a new one.
func NewFileID() FileID { return FileID(uuid.New()) }

// ParseFileID accepts the hyphenated and the plain form.
func ParseFileID(s string) (FileID, error) {
	u, err := parseUUID(s)
	return FileID(u), err
}

// String returns the canonical hyphenated form.
func (f FileID) String() string { return uuid.UUID(f).String() }

// IsZero reports whether f names nothing.
func (f FileID) IsZero() bool { return f == FileID{} }

// MarshalText implements encoding.TextMarshaler.
func (f FileID) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText accepts what ParseFileID accepts.
func (f *FileID) UnmarshalText(b []byte) error {
	id, err := ParseFileID(string(b))
	if err == nil {
		*f = id
	}
	return err
}

// File is what a message carries of the file that belongs to it. Immutable.
type File struct {
	ID   FileID
	Name string // safe: one component of a path, see package attachment
	Type string // media type
	Size int64  // bytes
}

// FilesPath is below which the API serves files.
const FilesPath = "/api/v1/messages/files/"

// Path is where the API serves the file to those who may read its message. Frames and REST say it.
func (f *File) Path() string {
	return FilesPath + f.ID.String() + "/" + url.PathEscape(f.Name)
}

// UploadState says how far a file has come.
type UploadState uint8

const (
	UploadReceiving UploadState = 1 // in parts
	UploadReady     UploadState = 2 // may be sent
	UploadClaimed   UploadState = 3 // is being sent, or was by a process that ended in between
	UploadAttached  UploadState = 4 // is part of a message
	UploadRemoved   UploadState = 5 // its content is gone
)

// Upload is a file with all that is known of it.
type Upload struct {
	File
	Owner     UserID // who uploaded it
	Voice     bool
	State     UploadState
	Offset    int64 // bytes received, of Size, while UploadReceiving
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never

	Conversation ConversationID // from UploadClaimed on
	Message      MessageID      // from UploadAttached on
	Downloads    uint64         // that began at the first byte
	Sum          [32]byte       // SHA-256 of the content, from UploadReady on
}

// UploadDay numbers the days of UTC, from 1 January 1970.
func UploadDay(at time.Time) int64 {
	const day = 24 * time.Hour
	return at.UnixMilli() / day.Milliseconds()
}

// UploadUsage is what was uploaded in one day of UTC: by a user, or by all of a tenant's.
type UploadUsage struct {
	Day   int64 // as UploadDay
	Bytes int64
	Files int64
}

// Expired reports whether the file may no longer be downloaded.
func (u *Upload) Expired(now time.Time) bool {
	return u.State == UploadRemoved || !u.ExpiresAt.IsZero() && !now.Before(u.ExpiresAt)
}
