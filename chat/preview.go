package chat

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// Bounds of a link preview.
const (
	MaxURL          = 2048 // bytes
	MaxPreviewTitle = 300  // code points, of a title and of a site's name
	MaxPreviewAbout = 1000 // code points
)

// LinkPreview is what a page says of itself. Only URL is always there. Texts are plain: clients escape them.
type LinkPreview struct {
	URL         string `json:"url"` // as it stands in the message
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
	Site        string `json:"site_name,omitempty"`
	Image       string `json:"image_url,omitempty"` // http or https; the hub has not looked at it
}

// Valid reports whether the preview keeps the bounds.
func (p *LinkPreview) Valid() bool {
	short := func(s string, n int) bool { return utf8.ValidString(s) && utf8.RuneCountInString(s) <= n }
	return p.URL != "" && len(p.URL) <= MaxURL && len(p.Image) <= MaxURL && short(p.Title, MaxPreviewTitle) &&
		short(p.Site, MaxPreviewTitle) && short(p.Description, MaxPreviewAbout)
}

// FirstLink is the first http or https URL in a text, without the punctuation behind it; empty: there is none of at most
// MaxURL bytes.
func FirstLink(text string) string {
	for rest := text; ; {
		i := strings.Index(rest, "://")
		if i < 0 {
			return ""
		}
		scheme := 0
		for _, s := range [...]string{"https", "http"} {
			if i >= len(s) && strings.EqualFold(rest[i-len(s):i], s) {
				scheme = len(s)
				break
			}
		}
		end := i + len("://")
		if scheme == 0 {
			rest = rest[end:]
			continue
		}
		from := i - scheme
		if n := strings.IndexAny(rest[end:], " \t\r\n<>\"`{}|\\^\u00a0\u3000"); n >= 0 {
			end += n
		} else {
			end = len(rest)
		}
		link := strings.TrimRight(rest[from:end], ".,;:!?'*_~")
		for strings.HasSuffix(link, ")") && strings.Count(link, ")") > strings.Count(link, "(") {
			link = strings.TrimRight(link[:len(link)-1], ".,;:!?'*_~")
		}
		if u, err := url.Parse(link); err == nil && u.Hostname() != "" && len(link) <= MaxURL {
			return link
		}
		rest = rest[end:]
	}
}
