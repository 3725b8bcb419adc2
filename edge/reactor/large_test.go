package reactor_test

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"testing"

	"github.com/zumodra/hub/edge/reactor"
)

// beginning is the header of a masked text frame of that length and the first bytes of its payload.
func beginning(length, sent int) []byte {
	b := []byte{0x81, 0xFF}
	b = binary.BigEndian.AppendUint64(b, uint64(length))
	b = append(b, 0, 0, 0, 0) // the mask that changes nothing
	return append(b, bytes.Repeat([]byte("x"), sent)...)
}

// TestReq050_LargeMessagesShareRoom: messages that are being received take no more than LargeTotal together. Who finds no
// room is told to come back, small messages need none, and room comes back from whoever ends, however it ends.
func TestReq050_LargeMessagesShareRoom(t *testing.T) {
	h := &hooks{}
	h.message = func(c reactor.Conn, _ bool, p []byte) {
		_ = h.srv.Send(c.Handle, reactor.NewFrame(true, strconv.AppendInt(nil, int64(len(p)), 10)), reactor.Durable)
	}
	s := start(t, reactor.Config{MaxMessage: 1 << 20, LargeMessage: 1000, LargeTotal: 500_000}, h)
	addr := s.Addr().String()
	first, second := dial(t, addr, "/", ""), dial(t, addr, "/", "")
	first.write(beginning(300_000, 10))
	second.write(beginning(150_000, 10))
	eventually(t, "two messages are under way", func() bool { return s.Stats().LargeBytes == 450_000 })
	third := dial(t, addr, "/", "")
	third.write(beginning(100_000, 10))
	third.expectClose(reactor.CloseOverload, true)
	small := dial(t, addr, "/", "")
	small.text("hello")
	small.expectText("5")
	// One is completed, one is cut off.
	first.write(bytes.Repeat([]byte("x"), 299_990))
	first.expectText("300000")
	second.Close()
	for range 3 { // all of it, again and again
		eventually(t, "there is room for all", func() bool { return s.Stats().LargeBytes == 0 })
		c := dial(t, addr, "/", "")
		c.write(beginning(500_000, 500_000))
		c.expectText("500000")
	}
}

// A compressed message may become as long as a file makes it, and not a thousand times as long as it was.
func TestReq050_CompressedBombs(t *testing.T) {
	h := &hooks{}
	h.message = func(c reactor.Conn, _ bool, p []byte) {
		_ = h.srv.Send(c.Handle, reactor.NewFrame(true, strconv.AppendInt(nil, int64(len(p)), 10)), reactor.Durable)
	}
	s := start(t, reactor.Config{MaxMessage: 1 << 20, LargeMessage: 10_000, Compress: true}, h)
	for n, code := range map[int]uint16{9_000: 0, 500_000: reactor.CloseTooBig} {
		c := dial(t, s.Addr().String(), "/", "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n")
		c.send(0xC1, deflated(t, bytes.Repeat([]byte("a"), n)))
		if code != 0 {
			c.expectClose(code, true)
			continue
		}
		if f := c.read(); string(f.payload) != strconv.Itoa(n) {
			t.Errorf("%d: %q", n, f.payload)
		}
	}
}
