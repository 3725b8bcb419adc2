package conformance

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"testing"
	"time"
)

// Target is the server under test. It must echo every message with the opcode it came with.
type Target struct {
	// Addr is the TCP address to dial, "host:port".
	Addr string
	// Path is the request target of the handshake; default "/".
	Path string
	// TLS, if not nil, is the client's configuration for TLS on Addr.
	TLS *tls.Config

	// MaxMessage is the largest message, in bytes after inflation, that the server accepts. More must be
	// answered by 1009. Zero: the server has no limit; cases about the limit do not apply, and no message
	// exceeds 1 MiB.
	MaxMessage int
	// MaxFragments is the largest number of frames of one message that the server accepts; more must be
	// answered by 1008. Zero: no limit.
	MaxFragments int
	// MaxHandshakeBytes is the largest request line and headers that the server accepts. Zero: no limit known;
	// cases about it do not apply.
	MaxHandshakeBytes int
	// Deflate says that the server accepts permessage-deflate.
	Deflate bool

	// Timeout bounds one case; default 2 minutes.
	Timeout time.Duration
	// Seed of the random cases; any value, zero included, is a valid seed.
	Seed uint64
}

func (t Target) path() string { return cmp.Or(t.Path, "/") }

// largest is the size of the largest message that a case may expect to be echoed.
func (t Target) largest() int { return cmp.Or(t.MaxMessage, 1<<20) }

// defaultTimeout bounds one case. Only a server that hangs reaches it, also on a machine that is overloaded.
const defaultTimeout = 2 * time.Minute

// Case is one check. The zero value is not usable; Cases returns them all.
type Case struct {
	// ID is unique and stable, like "5.3.2".
	ID string
	// Section is the part of the RFC that demands the behaviour; without a name RFC 6455 is meant.
	Section string
	// Title says what is sent.
	Title string
	// Expect says what must come back.
	Expect string

	needs needs
	run   func(s *session) error
}

// needs are conditions on the target under which a case has a meaning.
type needs struct {
	message      int  // bytes of the largest message that must be accepted
	fragments    int  // frames of one message that must be accepted
	deflate      bool // permessage-deflate is on
	messageLimit bool // there is a message limit
	fragLimit    bool // there is a limit of fragments
	headLimit    bool // there is a limit of the handshake
}

// Skip returns why the case does not apply to the target, or "" when it does.
func (c Case) Skip(t Target) string {
	n := c.needs
	switch {
	case n.message > t.largest():
		return fmt.Sprintf("needs messages of %d bytes, the server accepts %d", n.message, t.largest())
	case t.MaxFragments > 0 && n.fragments > t.MaxFragments:
		return fmt.Sprintf("needs messages of %d frames, the server accepts %d", n.fragments, t.MaxFragments)
	case n.deflate && !t.Deflate:
		return "needs permessage-deflate"
	case n.messageLimit && t.MaxMessage == 0:
		return "the server has no message limit"
	case n.fragLimit && t.MaxFragments == 0:
		return "the server has no limit of fragments"
	case n.headLimit && t.MaxHandshakeBytes == 0:
		return "the server's limit of the handshake is not known"
	}
	return ""
}

// Check runs the case and returns nil if the server did what the case expects. It may be called concurrently.
func (c Case) Check(ctx context.Context, t Target) error {
	timeout := cmp.Or(t.Timeout, defaultTimeout)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	s := &session{ctx: ctx, target: t}
	defer s.close()
	if err := c.run(s); err != nil {
		return fmt.Errorf("%s (RFC: %s) %s: want %s: %w", c.ID, c.Section, c.Title, c.Expect, err)
	}
	return nil
}

// Deviation says that a server is known to fail a case.
type Deviation struct {
	Why string
	// Racy: the server passes at times. Otherwise passing is an error of the list.
	Racy bool
}

// deviationTimeout bounds a case that the server is known to fail: often it never answers.
const deviationTimeout = 2 * time.Second

// Run checks all cases that apply to the target, each as a subtest named by the case's id. Up to eight cases
// are under way at a time.
//
// known lists, by id, cases that this server is known to fail. Such a case must fail: one that passes makes the
// test fail too, so that the list stays true. Those that do not apply may be listed. The hub's own server is run
// with none.
func Run(t *testing.T, target Target, known map[string]Deviation) {
	t.Helper()
	cases := Cases()
	ids := make(map[string]bool)
	for _, c := range cases {
		ids[c.ID] = true
	}
	for id := range known {
		if !ids[id] {
			t.Errorf("known deviation %q names no case", id)
		}
	}
	// Without this, a server that is down would fail hundreds of cases by the time limit, one after the other.
	reach := Case{ID: "0", Section: "4", Title: "open and close", Expect: clean.text, run: play(clean)}
	if err := reach.Check(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	results, wait := check(t.Context(), cases, target, known)
	// The context is cancelled before this, should subtests have been left out.
	t.Cleanup(wait)
	for i, result := range results {
		c := cases[i]
		t.Run(c.ID, func(t *testing.T) {
			if why := c.Skip(target); why != "" {
				t.Skip(why)
			}
			err := <-result
			d, deviates := known[c.ID]
			switch {
			case deviates && err == nil && !d.Racy:
				t.Errorf("%s: listed as a known deviation (%s), but the server conforms", c.ID, d.Why)
			case deviates:
				t.Logf("known deviation (%s): %v", d.Why, err)
			case err != nil:
				t.Error(err)
			}
		})
	}
}

// check starts the checks and returns a channel for the result of each case. Known deviations often are a server
// that never answers: those wait in goroutines of their own. wait returns when all checks, and their goroutines, have ended.
func check(ctx context.Context, cases []Case, target Target, known map[string]Deviation) (results []chan error, wait func()) {
	var wg sync.WaitGroup
	results = make([]chan error, len(cases))
	var queue []int
	for i, c := range cases {
		results[i] = make(chan error, 1)
		if c.Skip(target) != "" {
			continue
		}
		if _, ok := known[c.ID]; ok {
			short := target
			short.Timeout = deviationTimeout
			wg.Go(func() { results[i] <- c.Check(ctx, short) })
			continue
		}
		queue = append(queue, i)
	}
	next := make(chan int, len(queue))
	for _, i := range queue {
		next <- i
	}
	close(next)
	for range 8 {
		wg.Go(func() {
			for i := range next {
				results[i] <- cases[i].Check(ctx, target)
			}
		})
	}
	return results, wg.Wait
}

// Cases returns all cases, in the order of their groups.
func Cases() []Case {
	var b book
	b.handshake()
	b.encoding()
	b.framing()
	b.pings()
	b.reservedBits()
	b.reservedOpcodes()
	b.fragmentation()
	b.utf8()
	b.closing()
	b.large()
	b.autoFragmentation()
	b.deflateEcho()
	b.deflateOffers()
	b.deflateProtocol()
	b.random()
	return b.cases
}

// book collects cases.
type book struct{ cases []Case }

func (b *book) add(id, section, title, expect string, n needs, run func(s *session) error) {
	b.cases = append(b.cases, Case{ID: id, Section: section, Title: title, Expect: expect, needs: n, run: run})
}
