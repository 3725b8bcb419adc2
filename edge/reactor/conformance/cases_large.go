package conformance

import (
	"fmt"
	"math/rand/v2"
)

// size names a number of bytes.
func size(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}

// large: group 9.
func (b *book) large() {
	for g, op := range []byte{opText, opBinary} {
		for i, n := range []int{64 << 10, 256 << 10, 1 << 20, 4 << 20, 8 << 20, 16 << 20} {
			b.add(fmt.Sprintf("9.%d.%d", g+1, i+1), "5.2", fmt.Sprintf("%s message of %s", opName(op), size(n)), clean.text,
				needs{message: n}, func(s *session) error {
					p := content(op, n)
					return play(clean, send(whole, frame{op: op, payload: p}), wantMessage(op, p))(s)
				})
		}
		total := 1 << 20
		for i, n := range []int{64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20} {
			b.add(fmt.Sprintf("9.%d.%d", g+3, i+1), "5.4", fmt.Sprintf("%s message of %s in fragments of %s", opName(op), size(total), size(n)), clean.text,
				needs{message: total, fragments: total / n}, func(s *session) error {
					p := content(op, total)
					return play(clean, send(whole, fragment(op, 0, p, n)...), wantMessage(op, p))(s)
				})
		}
		for i, n := range []int{64, 128, 256, 512, 1024, 2048, 65537} {
			b.add(fmt.Sprintf("9.%d.%d", g+5, i+1), "5.2", fmt.Sprintf("%s message of %s in chops of %d bytes", opName(op), size(total), n), clean.text,
				needs{message: total}, func(s *session) error {
					p := content(op, total)
					return play(clean, send(n, frame{op: op, payload: p}), wantMessage(op, p))(s)
				})
		}
		for i, n := range []int{0, 16, 64, 256, 1024, 4096, 16384, 65536} {
			const rounds = 100
			b.add(fmt.Sprintf("9.%d.%d", g+7, i+1), "5.2", fmt.Sprintf("%d round trips of %s messages of %s", rounds, opName(op), size(n)), clean.text,
				needs{message: n}, func(s *session) error {
					p := content(op, n)
					var steps []step
					for range rounds {
						steps = append(steps, send(whole, frame{op: op, payload: p}), wantMessage(op, p))
					}
					return play(clean, steps...)(s)
				})
		}
	}
	// The largest message as multi-byte text in which no fragment ends between two characters.
	for i, n := range []int{1000, 4097, 65535} {
		const total = 512 << 10
		b.add(fmt.Sprintf("9.9.%d", i+1), "5.4, 8.1", fmt.Sprintf("multi-byte text of %s in fragments of %d bytes and chops of 8191", size(total), n), clean.text,
			needs{message: total + 4, fragments: total/n + 1}, func(s *session) error {
				p := sample(3, total, rand.New(rand.NewPCG(9, 9)))
				return play(clean, send(8191, fragment(opText, 0, p, n)...), wantMessage(opText, p))(s)
			})
	}
}

// autoFragmentation: group 10.
func (b *book) autoFragmentation() {
	i := 0
	for _, op := range []byte{opText, opBinary} {
		for _, c := range []struct{ total, size int }{
			{65536, 1300}, {65536, 1024}, {65535, 16384}, {65536, 65535}, {4000, 125}, {4000, 126}, {4000, 127},
		} {
			i++
			p := content(op, c.total)
			b.script(fmt.Sprintf("10.1.%d", i), "5.4", fmt.Sprintf("%s message of %d bytes in frames of at most %d", opName(op), c.total, c.size),
				needs{message: c.total, fragments: (c.total + c.size - 1) / c.size}, clean,
				send(whole, fragment(op, 0, p, c.size)...), wantMessage(op, p))
		}
	}
	p := filler(60000)
	b.script("10.2.1", "5.4, 5.5", "a message in 46 frames with a ping before each of them", needs{message: 60000, fragments: 46}, clean,
		func(c *conn) error {
			frames := fragment(opText, 0, p, 1305)
			for i, f := range frames {
				c.send(encode(ping(fmt.Sprint(i)), f), 0)
			}
			for i := range frames {
				if err := c.expectPong(fmt.Sprint(i)); err != nil {
					return err
				}
			}
			return c.expectMessage(opText, p)
		})
}
