package rest

import (
	"context"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/zumodra/hub/chat"
)

// readerPageSize is how many readers one answer has.
const readerPageSize = 100

// GET messages/{id}/readers/
func (a *API) listReaders(ctx context.Context, c *call) response {
	id, bad := messageID(c)
	if bad != nil {
		return *bad
	}
	q := chat.ReceiptQuery{Limit: readerPageSize}
	if s := c.r.URL.Query().Get("after"); s != "" {
		var valid bool
		if q.After, q.AfterUser, valid = parseReader(s); !valid {
			return invalid("after", "Must be taken from the URL of a next page.")
		}
	}
	found, err := a.cfg.Hub.Readers(ctx, c.p, id, q)
	if err != nil {
		return a.failure(err, texts{name: "list_readers"})
	}
	p := page{Count: found.Total, Results: viewReaders(found.Receipts)}
	if found.More {
		p.Next = orNull(a.link(c.r, "after", formatReader(found.Next, found.NextUser)))
	}
	return ok(p)
}

func viewReaders(receipts []chat.Receipt) []readView {
	out := make([]readView, len(receipts))
	for i, r := range receipts {
		out[i] = readView{string(r.User), stamp(r.At)}
	}
	return out
}

// A cursor names the last receipt of a page.
func formatReader(seq uint64, user chat.UserID) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatUint(seq, 10) + " " + string(user)))
}

func parseReader(s string) (seq uint64, user chat.UserID, valid bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	number, name, found := strings.Cut(string(b), " ")
	if err != nil || !found {
		return 0, "", false
	}
	if seq, err = strconv.ParseUint(number, 10, 53); err != nil || seq == 0 {
		return 0, "", false
	}
	user, err = chat.ParseUserID(name)
	return seq, user, err == nil
}
