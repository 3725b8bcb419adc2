package chat

// Bounds of a LinkPreview, in code points.
const (
	MaxPreviewTitle       = 200
	MaxPreviewDescription = 500
	MaxPreviewSite        = 100
	// MaxPreviewURL bounds its URLs, in bytes.
	MaxPreviewURL = 2048
)

// LinkPreview is what a page says of itself. All of it was written by whoever made the page. Nothing has control
// characters in it.
type LinkPreview struct {
	URL         string // as it stands in the message
	Title       string
	Description string
	Image       string // the URL of a picture, which the hub has not looked at; http or https, or empty
	Site        string
}

// IsZero reports whether there is nothing to show.
func (p *LinkPreview) IsZero() bool { return p.Title == "" && p.Description == "" }

// PreviewNotice says what the link in a message leads to.
type PreviewNotice struct {
	Message MessageID
	Seq     uint64 // of the message
	Preview LinkPreview
}
