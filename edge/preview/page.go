package preview

import (
	"io"
	"net/url"
	"strings"
	"unicode"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"golang.org/x/net/html/charset"

	"github.com/zumodra/hub/chat"
)

// Parse reads what a page says of itself, up to the end of its head. contentType is that of its HTTP header, base its URL. It
// never fails: of what is no HTML nothing is found.
func Parse(r io.Reader, contentType string, base *url.URL) (p chat.LinkPreview) {
	if decoded, err := charset.NewReader(r, contentType); err == nil {
		r = decoded
	}
	z := html.NewTokenizer(r)
	z.SetMaxBuf(64 << 10) // a tag
	meta := make(map[string]string)
	title, inTitle := "", false
	for {
		switch z.Next() {
		case html.ErrorToken:
			return found(meta, title, base)
		case html.TextToken:
			if inTitle {
				title, inTitle = string(z.Text()), false
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			name, more := z.TagName()
			switch atom.Lookup(name) {
			case atom.Body:
				return found(meta, title, base)
			case atom.Title:
				inTitle = title == ""
			case atom.Meta:
				key, content := "", ""
				for more {
					var k, v []byte
					k, v, more = z.TagAttr()
					switch string(k) {
					case "property", "name":
						key = strings.ToLower(string(v))
					case "content":
						content = string(v)
					}
				}
				if _, known := meta[key]; wanted[key] && !known && content != "" {
					meta[key] = content
				}
			}
		case html.EndTagToken:
			inTitle = false
			if name, _ := z.TagName(); atom.Lookup(name) == atom.Head {
				return found(meta, title, base)
			}
		}
	}
}

// wanted are the names of meta elements that are looked at, so that no page fills the memory with others.
var wanted = map[string]bool{"og:title": true, "og:description": true, "og:site_name": true, "og:image": true, "og:image:url": true,
	"og:image:secure_url": true, "twitter:title": true, "twitter:description": true, "twitter:image": true, "description": true}

func found(meta map[string]string, title string, base *url.URL) (p chat.LinkPreview) {
	first := func(n int, texts ...string) string {
		for _, s := range texts {
			if s = plain(s, n); s != "" {
				return s
			}
		}
		return ""
	}
	p.Title = first(chat.MaxPreviewTitle, meta["og:title"], meta["twitter:title"], title)
	p.Description = first(chat.MaxPreviewAbout, meta["og:description"], meta["twitter:description"], meta["description"])
	p.Site = first(chat.MaxPreviewTitle, meta["og:site_name"])
	for _, name := range []string{"og:image:secure_url", "og:image", "og:image:url", "twitter:image"} {
		u, err := base.Parse(strings.TrimSpace(meta[name]))
		if meta[name] == "" || err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
			continue
		}
		if s := u.String(); len(s) <= chat.MaxURL {
			p.Image = s
			break
		}
	}
	return p
}

// plain is one line of text without what could change how the text around it is shown.
func plain(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == unicode.ReplacementChar || !unicode.IsGraphic(r): // also what changes the direction of writing
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	return chat.Truncate(strings.Join(strings.Fields(s), " "), n)
}
