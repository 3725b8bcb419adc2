// Package preview asks the pages that messages link to what they say of themselves: title, description, name of the site and
// image, by Open Graph (https://ogp.me) or HTML.
//
// Whoever writes a message chooses what the server connects to, so this is the place where server-side request forgery is
// kept out. Invariants:
//
//   - Only http and https, on ports 80 and 443, to addresses that are globally reachable (public.go): checked on the address
//     that the connection is made to, after the name was resolved, so that a name which changes its address gains nothing, and
//     at every redirect. No proxy is used, and no credentials, cookies or Referer are sent.
//   - A page costs at most Timeout, MaxBytes of what was decompressed, and three redirects; Parallel pages are fetched at once,
//     and one host is asked PerHost times a second.
//   - What a page said, or that it said nothing, is remembered for a while, in bounded memory.
//   - What comes out keeps the bounds of chat.LinkPreview and is plain text without control characters.
//
// The image is named and not fetched. The package must not know who asks, or what becomes of a preview. It has no goroutines
// but those of net/http, which end with the request.
package preview
