package conformance

import (
	"fmt"
	"slices"
)

// step is one thing that a case does on an open connection.
type step func(c *conn) error

// Chops of a write: whole, frame by frame, octet by octet.
const (
	whole   = 0
	octets  = 1
	byFrame = -1
)

// chopNames are the usual three ways to write the same bytes.
var chops = []struct {
	name string
	chop int
}{{"in one write", whole}, {"frame by frame", byFrame}, {"octet by octet", octets}}

// send writes frames in the given chop.
func send(chop int, frames ...frame) step {
	return func(c *conn) error {
		if chop != byFrame {
			c.send(encode(frames...), chop)
			return nil
		}
		for _, f := range frames {
			data := encode(f)
			// As one piece, followed by the pause of a chop.
			c.send(data, len(data))
		}
		return nil
	}
}

// sendRaw writes bytes in the given chop.
func sendRaw(chop int, data []byte) step {
	return func(c *conn) error { c.send(data, chop); return nil }
}

func wantText(s string) step {
	return func(c *conn) error { return c.expectMessage(opText, []byte(s)) }
}

func wantMessage(op byte, p []byte) step {
	return func(c *conn) error { return c.expectMessage(op, p) }
}

func wantPong(s string) step {
	return func(c *conn) error { return c.expectPong(s) }
}

// ends of a case. Each is a step with a text of what is expected.
type ending struct {
	step step
	text string
}

// clean ends a case by a normal closing handshake from the client.
var clean = ending{(*conn).closeNormally, "clean: everything answered, closing handshake with 1000"}

// failed ends a case by the server failing the connection with one of the codes.
func failed(codes ...uint16) ending {
	return ending{
		func(c *conn) error { return c.expectClose(false, codes...) },
		fmt.Sprintf("failed: close code %s, then the end", codeList(codes)),
	}
}

// closes ends a case in which the client has sent a close frame: the server answers with one of the codes.
func closes(codes ...uint16) ending {
	return ending{
		func(c *conn) error { return c.expectClose(true, codes...) },
		fmt.Sprintf("clean: close frame answered with %s, then the end", codeList(codes)),
	}
}

func codeList(codes []uint16) string {
	s := ""
	for i, c := range slices.Compact(slices.Clone(codes)) {
		if i > 0 {
			s += " or "
		}
		if c == 0 {
			s += "no code"
		} else {
			s += fmt.Sprint(c)
		}
	}
	return s
}

// play returns the run of a case that opens a connection without extensions and takes the steps.
func play(end ending, steps ...step) func(s *session) error {
	return func(s *session) error {
		c, err := s.open("")
		if err != nil {
			return err
		}
		return c.take(end, steps...)
	}
}

// take takes the steps and the ending.
func (c *conn) take(end ending, steps ...step) error {
	for i, st := range steps {
		if err := st(c); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return end.step(c)
}

// script adds a case that is a list of steps.
func (b *book) script(id, section, title string, n needs, end ending, steps ...step) {
	b.add(id, section, title, end.text, n, play(end, steps...))
}
