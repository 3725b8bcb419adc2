package main

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/zumodra/hub/bench/vclient"
)

// slot is one conversation of a closed loop: the frame that it sends, encoded and masked once, of which only the
// counter changes.
type slot struct {
	frame  []byte
	digits []byte // the counter's place in frame
	mask   [4]byte
	sent   time.Time // zero: nothing in flight
}

// slotField is what {n} of a payload becomes: the slot, and how many messages it has sent.
const (
	slotField   = "000000-00000000"
	slotDigits  = 6
	countDigits = 8
)

func newSlot(text string, i int) (*slot, error) {
	at := bytes.Index([]byte(text), []byte("{n}"))
	if at < 0 {
		return nil, errors.New("the payload has no place for a counter")
	}
	payload := []byte(text[:at] + slotField + text[at+len("{n}"):])
	putDigits(payload[at:at+slotDigits], i, [4]byte{})
	s := &slot{frame: vclient.AppendText(nil, mask, payload)}
	at += len(s.frame) - len(payload)
	laid := s.frame[len(s.frame)-len(payload)-4:]
	count := at + slotDigits + 1
	s.digits = s.frame[count : count+countDigits]
	for j := range s.mask {
		s.mask[j] = laid[(count-(len(s.frame)-len(payload))+j)&3]
	}
	return s, nil
}

// putDigits writes n as decimal digits over b, masked.
func putDigits(b []byte, n int, mask [4]byte) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte('0'+n%10) ^ mask[i&3]
		n /= 10
	}
}

// closedLoop keeps one message of each of N conversations in flight: a conversation's next message leaves when the one
// before came back. The conversations share the first Sockets connections in turn (0: one each); what one read brought
// is answered with one write, as a gateway does. The reply holds the time of each round trip and the client's own CPU.
func (c *client) closedLoop(cmd command, d time.Duration) (reply, error) {
	texts, err := cmd.texts()
	if err != nil {
		return reply{}, err
	}
	sockets := cmd.Sockets
	if sockets == 0 {
		sockets = cmd.N
	}
	if sockets > len(c.conns) {
		return reply{}, fmt.Errorf("%d connections wanted, %d there", sockets, len(c.conns))
	}
	slots := make([]*slot, cmd.N)
	for i := range slots {
		if slots[i], err = newSlot(texts[i%len(texts)], i); err != nil {
			return reply{}, err
		}
	}
	r := reply{Millis: make([]float64, 0, 1<<20)}
	before := ownCPU()
	start := time.Now()
	stop := start.Add(d)
	sent, flying := 0, 0
	var failed error
	send := func(i int, now time.Time) {
		s := slots[i]
		sent++
		putDigits(s.digits, sent, s.mask)
		s.sent = now
		flying++
		k := &c.conns[i%sockets]
		k.out = append(k.out, s.frame...)
	}
	c.timed = func(i int, payload []byte, now time.Time) {
		if sockets < cmd.N {
			if i = slotOf(payload); i < 0 || i >= len(slots) {
				return
			}
		} else if i >= len(slots) {
			return
		}
		s := slots[i]
		if s.sent.IsZero() {
			return
		}
		if now.Before(stop) {
			r.N++
			r.Seconds = now.Sub(start).Seconds()
			r.Millis = append(r.Millis, now.Sub(s.sent).Seconds()*1e3)
		}
		s.sent = time.Time{}
		flying--
		if now.Before(stop) {
			send(i, now)
		}
	}
	c.flushed = func(err error) { failed = err }
	defer func() { c.timed, c.flushed = nil, nil }()
	for i := range slots {
		send(i, start)
	}
	for i := range sockets {
		c.flush(i)
	}
	// After the time is up, what is in flight is waited for: the next command starts from rest.
	if !c.until(d+30*time.Second, func() bool { return failed != nil || flying == 0 }) {
		return r, fmt.Errorf("%d messages were never answered, %s", flying, c.state())
	}
	r.CPU = ownCPU() - before
	return r, failed
}

// slotOf finds the slot in the client id that a message carries, -1 if there is none.
func slotOf(payload []byte) int {
	const field = `"client_id":"`
	at := bytes.Index(payload, []byte(field))
	if at < 0 {
		return -1
	}
	id := payload[at+len(field):]
	end := bytes.IndexByte(id, '"')
	if end < len(slotField) {
		return -1
	}
	n := 0
	for _, x := range id[end-len(slotField) : end-len(slotField)+slotDigits] {
		if x < '0' || x > '9' {
			return -1
		}
		n = 10*n + int(x-'0')
	}
	return n
}

// flush writes what a connection has gathered.
func (c *client) flush(i int) {
	k := &c.conns[i]
	if len(k.out) == 0 {
		return
	}
	if err := c.loop.WriteFrames(int32(i), k.out); err != nil && c.flushed != nil {
		c.flushed(err)
	}
	k.out = k.out[:0]
}
