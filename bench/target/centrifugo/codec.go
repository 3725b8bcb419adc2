package centrifugo

import (
	"bytes"
	"errors"
	"math"
	"strconv"

	"github.com/zumodra/hub/bench/target"
	"github.com/zumodra/hub/bench/target/jsonwalk"
)

var errFrame = errors.New("centrifugo: the frame is no reply of the protocol")

// Ids of commands. That of a subscription tells the channel, that of a publication the key; the server gives them back.
const (
	connectID      = 1
	firstChannelID = 2
	publishBit     = 1 << 31
)

// Error and unsubscribe codes, of https://centrifugal.dev/docs/server/codes.
const (
	codeInternal          = 100
	codeAlreadySubscribed = 105
	firstResubscribe      = 2500 // of unsubscribe codes: the client subscribes again
)

// Binary is false: frames are text, with a line of JSON for each command or reply.
func (t *Target) Binary() bool { return false }

// Open appends a connect.
func (t *Target) Open(dst []byte, user int) []byte {
	dst = append(dst, `{"id":1,"connect":{`...)
	if token := t.token(user); token != "" {
		dst = append(dst, `"token":"`...)
		dst = append(dst, token...)
		dst = append(dst, '"')
	}
	return append(dst, `}}`...)
}

// Send appends a publish.
func (t *Target) Send(dst []byte, m target.Message) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendUint(dst, uint64(t.sends.add(m.Key)), 10)
	dst = append(dst, `,"publish":{"channel":"`...)
	dst = append(dst, m.Conversation...)
	dst = append(dst, `","data":"`...)
	dst = target.AppendContent(dst, m.Key, m.Size)
	return append(dst, `"}}`...)
}

// Resume appends a subscribe for each conversation, that recovers what follows the position.
func (t *Target) Resume(dst []byte, positions []target.Position) []byte {
	for i, p := range positions {
		id, epoch := t.channels.use(p.Conversation)
		if i > 0 {
			dst = append(dst, '\n')
		}
		dst = append(dst, `{"id":`...)
		dst = strconv.AppendUint(dst, uint64(id), 10)
		dst = append(dst, `,"subscribe":{"channel":"`...)
		dst = append(dst, p.Conversation...)
		dst = append(dst, `","recover":true`...)
		if p.Seq > 0 {
			dst = append(dst, `,"offset":`...)
			dst = strconv.AppendUint(dst, p.Seq, 10)
		}
		if epoch != "" {
			dst = append(dst, `,"epoch":"`...)
			dst = append(dst, epoch...)
			dst = append(dst, '"')
		}
		dst = append(dst, `}}`...)
	}
	return dst
}

// Answer answers a ping. The server counts unasked pongs as an error, so Ping has nothing to say.
func (t *Target) Answer(dst []byte, e *target.Event) []byte {
	if e.Kind == target.Pinged {
		return append(dst, `{}`...)
	}
	return dst
}

// Subscribes says that clients have to.
func (t *Target) Subscribes() {}

// Typing, Read, React, Edit and Ping have nothing to say.

func (t *Target) Typing(dst []byte, _ string) []byte         { return dst }
func (t *Target) Read(dst []byte, _ string, _ uint64) []byte { return dst }
func (t *Target) React(dst []byte, _, _, _ string) []byte    { return dst }
func (t *Target) Edit(dst []byte, _, _, _ string) []byte     { return dst }
func (t *Target) Ping(dst []byte) []byte                     { return dst }

// Parse reads the replies of a frame.
func (t *Target) Parse(b []byte, emit func(*target.Event)) error {
	p := parser{t: t, emit: emit}
	for len(b) > 0 {
		line := b
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			line, b = b[:i], b[i+1:]
		} else {
			b = nil
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if err := p.reply(line); err != nil {
			return err
		}
	}
	return nil
}

// parser of one frame. The event is the same for all that it holds.
type parser struct {
	t    *Target
	emit func(*target.Event)
	e    target.Event
}

func (p *parser) say(e target.Event) {
	p.e = e
	p.emit(&p.e)
}

// fields calls f for the fields of an object.
func fields(b []byte, f func(key, value []byte, _ jsonwalk.Kind)) error {
	if jsonwalk.Fields(b, f) != nil {
		return errFrame
	}
	return nil
}

func (p *parser) reply(line []byte) error {
	var id uint64
	var push, failure, connect, subscribe []byte
	n := 0
	err := fields(line, func(key, v []byte, _ jsonwalk.Kind) {
		n++
		switch string(key) {
		case "id":
			id = jsonwalk.Uint(v)
		case "push":
			push = v
		case "error":
			failure = v
		case "connect":
			connect = v
		case "subscribe":
			subscribe = v
		}
	})
	switch {
	case err != nil:
		return err
	case n == 0:
		p.say(target.Event{Kind: target.Pinged})
	case push != nil:
		return p.push(push)
	case failure != nil:
		return p.failed(uint32(id), failure)
	case connect != nil:
		p.say(target.Event{Kind: target.Ready})
	case subscribe != nil:
		return p.subscribed(uint32(id), subscribe)
	}
	return nil // the reply to a publish: the message itself comes, too
}

func (p *parser) push(b []byte) error {
	var channel, pub, unsubscribe []byte
	err := fields(b, func(key, v []byte, _ jsonwalk.Kind) {
		switch string(key) {
		case "channel":
			channel = v
		case "pub":
			pub = v
		case "unsubscribe":
			unsubscribe = v
		}
	})
	switch {
	case err != nil:
		return err
	case pub != nil:
		return p.publication(channel, pub)
	case unsubscribe != nil:
		code, err := codeOf(unsubscribe)
		if err != nil {
			return err
		}
		if jsonwalk.Uint(code) >= firstResubscribe { // the server lost the thread: who is asked to have everything subscribes again
			p.say(target.Event{Kind: target.Head, Conversation: channel, Seq: math.MaxUint64})
			return nil
		}
		p.say(target.Event{Kind: target.Refused, Conversation: channel, Code: code})
	}
	return nil
}

func (p *parser) publication(channel, b []byte) error {
	e := target.Event{Kind: target.Msg, Conversation: channel}
	err := fields(b, func(key, v []byte, _ jsonwalk.Kind) {
		switch string(key) {
		case "data":
			e.Key = jsonwalk.Word(v)
			e.ID = e.Key
		case "offset":
			e.Seq = jsonwalk.Uint(v)
		}
	})
	if err == nil {
		p.say(e)
	}
	return err
}

func codeOf(b []byte) (code []byte, err error) {
	return code, fields(b, func(key, v []byte, _ jsonwalk.Kind) {
		if string(key) == "code" {
			code = v
		}
	})
}

var internal = []byte("internal")

func (p *parser) failed(id uint32, b []byte) error {
	e := target.Event{Kind: target.Refused}
	var err error
	if e.Code, err = codeOf(b); err != nil {
		return err
	}
	code := jsonwalk.Uint(e.Code)
	if code == codeInternal {
		e.Code = internal // what was asked for may have been done
	}
	switch {
	case id&publishBit != 0:
		e.Key = []byte(p.t.sends.key(id))
	case id >= firstChannelID:
		e.Conversation = []byte(p.t.channels.name(id))
		if code == codeAlreadySubscribed {
			e = target.Event{Kind: target.Resumed, Conversation: e.Conversation}
		}
	}
	p.say(e)
	return nil
}

func (p *parser) subscribed(id uint32, b []byte) error {
	channel := []byte(p.t.channels.name(id))
	if len(channel) == 0 {
		return errFrame
	}
	var epoch, publications []byte
	var offset uint64
	var recoverable, recovered bool
	err := fields(b, func(key, v []byte, _ jsonwalk.Kind) {
		switch string(key) {
		case "epoch":
			epoch = v
		case "offset":
			offset = jsonwalk.Uint(v)
		case "publications":
			publications = v
		case "recoverable":
			recoverable = string(v) == "true"
		case "recovered":
			recovered = string(v) == "true"
		}
	})
	if err != nil {
		return err
	}
	p.t.channels.learn(id, epoch)
	if recoverable && !recovered { // what is there begins later, or is another stream
		p.say(target.Event{Kind: target.Gap, Conversation: channel, Seq: offset})
		return nil
	}
	if publications != nil {
		if jsonwalk.Elements(publications, func(v []byte, _ jsonwalk.Kind) error { return p.publication(channel, v) }) != nil {
			return errFrame
		}
	}
	p.say(target.Event{Kind: target.Resumed, Conversation: channel, Seq: offset})
	return nil
}
