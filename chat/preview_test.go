package chat_test

import (
	"strings"
	"testing"

	"github.com/zumodra/hub/chat"
)

func TestFirstLink(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "",
		"no link, ftp://example.org":       "",
		"see https://example.org/a?b=c#d.": "https://example.org/a?b=c#d",
		"(https://example.org/x_(y))":      "https://example.org/x_(y)",
		"(see http://example.org)":         "http://example.org",
		"HTTPS://Example.org, and http://other.org": "HTTPS://Example.org",
		"ftp://a http://b.example":                  "http://b.example",
		"<https://example.org>":                     "https://example.org",
		"http:// https://":                          "",
		"http://[::1":                               "",
		"**http://example.org**":                    "http://example.org",
		"http://e.org/" + strings.Repeat("x", 2100) + " http://f.org": "http://f.org",
		"日本語http://example.org/日本\u3000x":                             "http://example.org/日本",
	} {
		if got := chat.FirstLink(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzFirstLink(f *testing.F) {
	f.Add("see (https://example.org/x_(y)), http://[::1")
	f.Fuzz(func(t *testing.T, text string) {
		link := chat.FirstLink(text)
		if link == "" {
			return
		}
		if !strings.Contains(text, link) || len(link) > chat.MaxURL || chat.FirstLink(link) != link {
			t.Errorf("%q in %q", link, text)
		}
	})
}
