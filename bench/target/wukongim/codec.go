package wukongim

import (
	"encoding/base64"
	"errors"
	"strconv"

	"github.com/zumodra/hub/bench/target"
	"github.com/zumodra/hub/bench/target/jsonwalk"
)

var errFrame = errors.New("wukongim: the frame is no JSON-RPC of the protocol")

// Ids of requests. That of a send is its key.
const (
	connectID = "connect"
	pingID    = "ping"
)

// Of the protocol.
const (
	groupChannel = 2
	deviceWeb    = 1
	reasonOK     = 1 // the documents have 0, the servers say 1
)

// Binary is false: frames are text.
func (t *Target) Binary() bool { return false }

// Open appends a connect. Every connection is another device of its user, since one that comes with the same name takes the other's place.
func (t *Target) Open(dst []byte, user int) []byte {
	dst = append(dst, `{"jsonrpc":"2.0","method":"connect","params":{"uid":"`...)
	dst = append(dst, t.User(user)...)
	dst = append(dst, `","token":"`...)
	dst = append(dst, t.token(user)...)
	dst = append(dst, `","deviceFlag":1,"deviceId":"`...)
	dst = append(dst, t.process...)
	dst = strconv.AppendUint(dst, t.devices.Add(1), 36)
	return append(dst, `"},"id":"connect"}`...)
}

// Send appends a send. What it carries is the JSON of a text message, in Base64.
func (t *Target) Send(dst []byte, m target.Message) []byte {
	dst = append(dst, `{"jsonrpc":"2.0","method":"send","params":{"clientMsgNo":"`...)
	dst = append(dst, m.Key...)
	dst = append(dst, `","channelId":"`...)
	dst = append(dst, m.Conversation...)
	dst = append(dst, `","channelType":2,"payload":"`...)
	from := len(dst)
	dst = append(dst, `{"type":1,"content":"`...)
	dst = target.AppendContent(dst, m.Key, m.Size)
	dst = append(dst, `"}`...)
	to := len(dst)
	dst = base64.StdEncoding.AppendEncode(dst, dst[from:to])
	dst = dst[:from+copy(dst[from:], dst[to:])]
	dst = append(dst, `"},"id":"`...)
	dst = append(dst, m.Key...)
	return append(dst, `"}`...)
}

// Ping appends a ping.
func (t *Target) Ping(dst []byte) []byte {
	return append(dst, `{"jsonrpc":"2.0","method":"ping","id":"ping"}`...)
}

// Answer acknowledges a message.
func (t *Target) Answer(dst []byte, e *target.Event) []byte {
	if e.Kind != target.Msg {
		return dst
	}
	dst = append(dst, `{"jsonrpc":"2.0","method":"recvack","params":{"messageId":"`...)
	dst = append(dst, e.ID...)
	dst = append(dst, `","messageSeq":`...)
	return append(strconv.AppendUint(dst, e.Seq, 10), `}}`...)
}

// Unordered says that clients see a channel in no certain order.
func (t *Target) Unordered() {}

// Typing, Read, React, Edit and Resume have nothing to say.

func (t *Target) Typing(dst []byte, _ string) []byte            { return dst }
func (t *Target) Read(dst []byte, _ string, _ uint64) []byte    { return dst }
func (t *Target) React(dst []byte, _, _, _ string) []byte       { return dst }
func (t *Target) Edit(dst []byte, _, _, _ string) []byte        { return dst }
func (t *Target) Resume(dst []byte, _ []target.Position) []byte { return dst }

// Parse reads a response or a notification.
func (t *Target) Parse(b []byte, emit func(*target.Event)) error {
	var method, id, params, result, failure []byte
	if jsonwalk.Fields(b, func(key, value []byte, _ jsonwalk.Kind) {
		switch string(key) {
		case "method":
			method = value
		case "id":
			id = value
		case "params":
			params = value
		case "result":
			result = value
		case "error":
			failure = value
		}
	}) != nil {
		return errFrame
	}
	var err error
	var e target.Event
	switch {
	case string(method) == "recv":
		e.Kind = target.Msg
		err = details(&e, params)
	case string(method) == "pong" || string(id) == pingID:
		e.Kind = target.Pong
	case len(method) > 0: // disconnect, event: the connection ends, or it is nothing of ours
	case failure != nil:
		e.Kind = target.Refused
		if string(id) != connectID {
			e.Key = id
		}
		err = details(&e, failure)
	case result != nil:
		e.Kind = target.Ack
		if err = details(&e, result); err == nil && jsonwalk.Uint(e.Code) > reasonOK {
			e.Kind = target.Refused
		}
		switch {
		case len(id) > 0 && string(id) != connectID:
			e.Key = id
		case e.Kind == target.Ack:
			e = target.Event{Kind: target.Ready}
		}
		if e.Kind == target.Ack {
			e.Code = nil
		}
	}
	if err != nil {
		return err
	}
	emit(&e)
	return nil
}

// details takes what concerns an event from the object of a notification, of a result or of an error.
func details(e *target.Event, b []byte) error {
	if jsonwalk.Fields(b, func(key, value []byte, _ jsonwalk.Kind) {
		switch string(key) {
		case "channelId":
			e.Conversation = value
		case "messageId":
			e.ID = value
		case "messageSeq":
			e.Seq = jsonwalk.Uint(value)
		case "clientMsgNo":
			e.Key = value
		case "reasonCode", "code":
			e.Code = value
		}
	}) != nil {
		return errFrame
	}
	return nil
}
