package conformance

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
)

// random: group R, random valid streams must be echoed exactly.
func (b *book) random() {
	for i := range 8 {
		deflate := i%2 == 1
		title := fmt.Sprintf("a random valid stream, number %d", i+1)
		if deflate {
			title += ", with permessage-deflate"
		}
		b.add(fmt.Sprintf("R.%d", i+1), "5, 7692 §6", title, clean.text, needs{deflate: deflate, fragments: 8}, func(s *session) error {
			rng := rand.New(rand.NewPCG(s.target.Seed, uint64(i)))
			if err := s.stream(rng, deflate, 60); err != nil {
				return fmt.Errorf("seed %d: %w", s.target.Seed, err)
			}
			return nil
		})
	}
}

// Source is what Stream needs of a random generator: rand/v2's Rand is one, and a property test can supply one.
type Source interface {
	// IntN returns a number in [0, n).
	IntN(n int) int
}

// Stream sends one random valid stream of messages to the target, with or without permessage-deflate, and returns
// nil if everything came back exactly. It is what the cases of group R do, for property tests.
func Stream(ctx context.Context, t Target, rng Source, deflate bool, messages int) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(t.Timeout, defaultTimeout))
	defer cancel()
	s := &session{ctx: ctx, target: t}
	defer s.close()
	return s.stream(rng, deflate, messages)
}

// stream sends a number of random valid messages with random sizes, contents, fragments, interleaved control
// frames, compression and chops, and wants all of them back.
func (s *session) stream(rng Source, deflate bool, messages int) error {
	extensions := ""
	if deflate {
		extensions = []string{"permessage-deflate", "permessage-deflate; client_max_window_bits", "permessage-deflate; server_no_context_takeover"}[rng.IntN(3)]
	}
	c, err := s.open(extensions)
	if err != nil {
		return err
	}
	if deflate && !c.ext.on {
		return fmt.Errorf("the offer %q was declined", extensions)
	}
	var wants []event
	for i := range messages {
		kind := rng.IntN(len(samples))
		op := samples[kind].op
		p := sample(kind, s.randomSize(rng), rand.New(rand.NewPCG(uint64(rng.IntN(1<<30)), uint64(i))))
		body, rsv := p, byte(0)
		if c.ext.on && rng.IntN(3) > 0 {
			body, rsv = c.compress.message(p), rsv1
		}
		frames := []frame{{op: op, rsv: rsv, payload: body}}
		if rng.IntN(2) == 0 {
			frames = fragment(op, rsv, body, max(1, (len(body)+6)/(1+rng.IntN(7))))
		}
		var out []frame
		for k, f := range frames {
			f.mask = [4]byte{byte(rng.IntN(256)), byte(rng.IntN(256)), byte(rng.IntN(256)), 1}
			out = append(out, f)
			switch rng.IntN(8) {
			case 0:
				q := fmt.Sprintf("ping %d.%d", i, k)
				out = append(out, ping(q))
				wants = append(wants, event{kind: evPong, payload: []byte(q)})
			case 1:
				out = append(out, pong("unsolicited"))
			}
		}
		// A ping after the last frame is answered after the echo: it was put before it, so move it behind.
		want := event{kind: evMessage, op: op, payload: p}
		if out[len(out)-1].op == opPing {
			last := wants[len(wants)-1]
			wants = append(wants[:len(wants)-1], want, last)
		} else {
			wants = append(wants, want)
		}
		data := encode(out...)
		chop := 0
		if rng.IntN(2) == 0 {
			chop = 1 + rng.IntN(len(data))
			if rng.IntN(4) == 0 {
				chop = 1 + rng.IntN(20)
			}
		}
		if chop > 0 {
			// A few hundred pieces are enough.
			chop = max(chop, len(data)/400)
		}
		c.send(data, chop)
		// Let some messages be under way, but not so many that both sides wait for the other to read.
		for len(wants) > rng.IntN(8) {
			if err := c.expect(wants[0]); err != nil {
				return fmt.Errorf("message %d: %w", i, err)
			}
			wants = wants[1:]
		}
	}
	for _, w := range wants {
		if err := c.expect(w); err != nil {
			return fmt.Errorf("at the end: %w", err)
		}
	}
	return c.closeNormally()
}

// randomSize prefers the borders of the length encodings.
func (s *session) randomSize(rng Source) int {
	limit := min(s.target.largest(), 200_000)
	var n int
	switch rng.IntN(10) {
	case 0:
		n = 0
	case 1, 2:
		n = 123 + rng.IntN(6)
	case 3:
		n = 65530 + rng.IntN(10)
	case 4:
		n = rng.IntN(limit + 1)
	default:
		n = rng.IntN(3000)
	}
	return min(n, limit)
}
