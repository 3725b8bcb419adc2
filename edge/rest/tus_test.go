package rest_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/rest"
)

// refusing are files that take no upload in.
type refusing struct {
	rest.Files
	err error
}

func (f refusing) Begin(context.Context, chat.Principal, string, bool, int64) (chat.Upload, error) {
	return chat.Upload{}, f.err
}

// Whoever cannot upload for now is told when to come again, as everywhere else.
func TestUploadsSayWhenToComeAgain(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		retry  string
	}{
		{&chat.RateLimitError{RetryAfter: 1500 * time.Millisecond}, 429, "2"},
		{&chat.QuotaError{Text: "Full today.", RetryAfter: time.Hour}, 429, "3600"},
		{fmt.Errorf("upload: %w", chat.ErrOverloaded), 503, "2"},
		{fmt.Errorf("upload: %w", chat.ErrUnavailable), 503, "2"},
	} {
		b := newBench(t, func(cfg *rest.Config) { cfg.Files = refusing{cfg.Files, c.err} })
		r := httptest.NewRequest("POST", api+"uploads/", nil)
		for k, v := range map[string]string{"Authorization": "Bearer " + b.token("1"), "Tus-Resumable": "1.0.0", "Upload-Length": "5",
			"Upload-Metadata": "filename YS50eHQ="} {
			r.Header.Set(k, v)
		}
		a := b.call(r)
		if got := a.header.Get("Retry-After"); a.status != c.status || got != c.retry {
			t.Errorf("%v: %d, Retry-After %q, want %d, %q", c.err, a.status, got, c.status, c.retry)
		}
	}
}
