package clamd_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/zumodra/hub/chat/attachment"
	"github.com/zumodra/hub/storage/files/clamd"
	"github.com/zumodra/hub/storage/files/clamd/clamdtest"
)

func scan(ctx context.Context, c *clamd.Client, content []byte) error {
	s, err := c.Scan(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err := s.Write(content); err != nil {
		return err
	}
	return s.Verdict()
}

func TestReq073_Verdicts(t *testing.T) {
	srv := clamdtest.Start(t, 1<<20)
	c := clamd.New(clamd.Config{Address: srv.Addr()})
	big := bytes.Repeat([]byte("0123456789"), 100_000) // many chunks
	if err := scan(t.Context(), c, big); err != nil {
		t.Errorf("a clean file: %v", err)
	}
	for _, infected := range [][]byte{[]byte(clamdtest.EICAR), append(big[:900_000:900_000], clamdtest.EICAR...)} {
		if err := scan(t.Context(), c, infected); !errors.Is(err, attachment.ErrInfected) {
			t.Errorf("an infected file: %v", err)
		}
	}
	unknown := func(what string, c *clamd.Client, ctx context.Context, content []byte) {
		t.Helper()
		if err := scan(ctx, c, content); err == nil || errors.Is(err, attachment.ErrInfected) {
			t.Errorf("%s: %v", what, err)
		}
	}
	unknown("beyond the daemon's limit", c, t.Context(), append(big, big...))
	srv.Bad.Store(true)
	unknown("another answer", c, t.Context(), []byte("x"))
	srv.Bad.Store(false)
	srv.Mute.Store(true)
	unknown("no answer", clamd.New(clamd.Config{Address: srv.Addr(), Timeout: 50 * time.Millisecond}), t.Context(), []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	unknown("the caller went away", c, ctx, []byte("x"))
	srv.Close()
	unknown("no daemon", c, t.Context(), []byte("x"))
}
