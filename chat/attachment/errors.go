package attachment

import (
	"errors"

	"github.com/zumodra/hub/chat"
)

// Error is a chat.ErrInvalid about a file. Its text is the original system's and meant for clients.
// Errors are compared by identity.
type Error struct {
	Code string // for programs: one of the constants below
	Text string
}

// Codes of an Error.
const (
	CodeTooLarge    = "file_too_large"
	CodeInvalid     = "invalid_file"
	CodeNotAllowed  = "file_not_allowed"
	CodeMismatch    = "file_mismatch"
	CodeInfected    = "file_infected"
	CodeUnavailable = "file_unavailable" // it was uploaded by somebody else, used up, expired or never there
)

func (e *Error) Error() string { return e.Text }

// Is makes errors.Is(err, chat.ErrInvalid) hold.
func (e *Error) Is(target error) bool { return target == chat.ErrInvalid }

// What the rules refuse.
var (
	ErrTooLarge    = &Error{CodeTooLarge, "File too large (max 50MB)"}
	ErrInvalidData = &Error{CodeInvalid, "Invalid file data"} // no file, an empty one, or not base64
	ErrNoName      = &Error{CodeInvalid, "No filename provided"}
	ErrMismatch    = &Error{CodeMismatch, "File content does not match file extension"}
	// ErrInfected is what a virus scanner found, whose name for it is the operator's alone.
	ErrInfected = &Error{CodeInfected, "File was refused by the virus scanner"}
	// ErrNoUpload answers the id of an upload that the caller cannot send.
	ErrNoUpload = &Error{CodeUnavailable, "Upload not found"}
	// ErrFileGone refuses to forward a file whose time is over.
	ErrFileGone = &Error{CodeUnavailable, "The file has expired."}
)

// ErrExpired answers the download of a file whose time is over. It is no Error: nothing is wrong with the request.
var ErrExpired = errors.New("attachment: the file has expired")

func notAllowed(ext string) error {
	return &Error{CodeNotAllowed, "File type ." + ext + " is not allowed"}
}

func notSupported(ext string) error {
	return &Error{CodeNotAllowed, "File type ." + ext + " is not supported"}
}
