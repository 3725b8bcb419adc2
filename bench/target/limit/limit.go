package limit

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/bench/target"
	"github.com/zumodra/hub/bench/target/hub"
)

// Config of a Target.
type Config struct {
	URLs []string // http://host:port of one server
}

// Target is a server that Serve runs.
type Target struct{ addr netip.AddrPort }

var _ target.Target = (*Target)(nil)

// New looks the address up.
func New(cfg Config) (*Target, error) {
	if len(cfg.URLs) != 1 {
		return nil, fmt.Errorf("limit: one address is needed, not %d", len(cfg.URLs))
	}
	a, err := hub.Resolve(cfg.URLs[0])
	return &Target{a}, err
}

// Kind is limit.
func (t *Target) Kind() string { return "limit" }

// User is a number.
func (t *Target) User(n int) string { return strconv.Itoa(n) }

// Version is none.
func (t *Target) Version(context.Context) (string, error) { return "", nil }

// Prepare names conversations by who is in them.
func (t *Target) Prepare(_ context.Context, w target.World) ([]string, error) {
	ids := make([]string, len(w.Conversations))
	for i, members := range w.Conversations {
		if len(members) >= w.Users {
			ids[i] = everybody
			continue
		}
		if len(members) > maxNamed {
			return nil, fmt.Errorf("limit: conversation %d has %d of %d users: it can have all, or up to %d", i, len(members), w.Users, maxNamed)
		}
		names := make([]string, len(members))
		for j, u := range slices.Sorted(slices.Values(members)) {
			names[j] = strconv.Itoa(u)
		}
		ids[i] = strings.Join(names, ",")
	}
	return ids, nil
}

const (
	everybody = "all"
	maxNamed  = 1000
)

// Binary is false.
func (t *Target) Binary() bool { return false }

// Endpoint names the user in the path.
func (t *Target) Endpoint(user, _, _ int) target.Endpoint {
	return target.Endpoint{Addr: t.addr, Host: t.addr.String(), Path: "/ws/" + strconv.Itoa(user)}
}

// Open asks for a word that says that the connection is known.
func (t *Target) Open(dst []byte, _ int) []byte { return append(dst, "hello"...) }

// Send appends a message.
func (t *Target) Send(dst []byte, m target.Message) []byte {
	dst = append(dst, m.Conversation...)
	dst = append(dst, ' ')
	dst = append(dst, m.Key...)
	dst = append(dst, ' ')
	for range m.Size - len(m.Key) - 1 {
		dst = append(dst, '.')
	}
	return dst
}

// Parse reads a message that came back.
func (t *Target) Parse(b []byte, emit func(*target.Event)) error {
	if string(b) == "hello" {
		emit(&target.Event{Kind: target.Ready})
		return nil
	}
	conversation, rest, ok := bytes.Cut(b, []byte{' '})
	if !ok {
		return fmt.Errorf("limit: %.40q is no message", b)
	}
	key, _, _ := bytes.Cut(rest, []byte{' '})
	emit(&target.Event{Kind: target.Msg, Conversation: conversation, Key: key})
	return nil
}

// Typing, Read, React, Edit, Resume and Ping have nothing to say.

func (t *Target) Typing(dst []byte, _ string) []byte            { return dst }
func (t *Target) Read(dst []byte, _ string, _ uint64) []byte    { return dst }
func (t *Target) React(dst []byte, _, _, _ string) []byte       { return dst }
func (t *Target) Edit(dst []byte, _, _, _ string) []byte        { return dst }
func (t *Target) Resume(dst []byte, _ []target.Position) []byte { return dst }
func (t *Target) Ping(dst []byte) []byte                        { return dst }

// Call, Final, Last, Unread and Head are not supported: nothing is kept.

func (t *Target) Call(context.Context, string, int, string) error { return target.ErrNotSupported }
func (t *Target) Final(context.Context, int, string) ([]check.Entry, error) {
	return nil, target.ErrNotSupported
}
func (t *Target) Last(context.Context, int, string) ([]check.Entry, bool, error) {
	return nil, false, target.ErrNotSupported
}
func (t *Target) Unread(context.Context, int, string) (uint64, error) {
	return 0, target.ErrNotSupported
}
func (t *Target) Head(context.Context, int, string) (uint64, error) { return 0, target.ErrNotSupported }
