package session

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/chat/attachment"
	"github.com/zumodra/hub/edge/frame"
)

const (
	// largeFrame is the length from which on a frame is not decoded on the event loop: only files make it longer.
	largeFrame = 64 << 10
	// fileTime bounds the storing of a file and the sending of its message.
	fileTime = time.Minute
)

// Files keeps what is sent with messages. Its methods may wait, for as long as the context lasts. Errors as in
// package rest.
type Files interface {
	Store(ctx context.Context, p chat.Principal, name string, voice bool, r io.Reader) (chat.Upload, error)
	// Send sends a message with a file that the caller uploaded. Its event is delivered to the origin with its ref.
	Send(ctx context.Context, p chat.Principal, o chat.Origin, s chat.Send, id chat.FileID) (chat.Result, error)
	Drop(ctx context.Context, p chat.Principal, id chat.FileID)
}

// take reserves memory for a frame, for give to return.
func (m *Manager) take(n int) bool {
	if m.files.Add(int64(n)) > m.cfg.FileBytes {
		m.files.Add(-int64(n))
		return false
	}
	return true
}

func (m *Manager) give(n int) { m.files.Add(-int64(n)) }

// large carries out a frame off the event loop, which decoding it would hold up. What a client sends after it may
// overtake it.
func (m *Manager) large(c caller, text bool, payload []byte) {
	n := len(payload)
	if !m.take(n) {
		m.fail(&request{caller: c, begin: m.cfg.Now()}, chat.ErrOverloaded)
		return
	}
	kept := bytes.Clone(payload)
	c.owned = true
	m.wg.Go(func() {
		defer m.give(n)
		m.frame(c, text, kept)
	})
}

// sendFile sends a message with a file: one within the frame, or one that was uploaded before.
func (m *Manager) sendFile(q request, f *frame.ClientFrame) {
	if m.cfg.Files == nil || f.File != nil && m.cfg.MaxFile == 0 {
		m.fail(&q, &frame.Error{Code: frame.CodeNotSupported, Text: "Files are not taken over WebSockets: upload it by REST"})
		return
	}
	if q.owned {
		m.storeFile(q, *f)
		return
	}
	n := 0
	file := *f
	if f.File != nil {
		n = len(f.File.Content)
	}
	if !m.take(n + largeFrame) { // so that small ones are bounded, too
		m.fail(&q, chat.ErrOverloaded)
		return
	}
	if f.File != nil {
		file.File = &frame.File{Name: f.File.Name, Content: bytes.Clone(f.File.Content)}
	}
	m.wg.Go(func() {
		defer m.give(n + largeFrame)
		m.storeFile(q, file)
	})
}

func (m *Manager) storeFile(q request, f frame.ClientFrame) {
	ctx, cancel := context.WithTimeout(m.life, fileTime)
	defer cancel()
	p := q.u.principal()
	id := f.Upload
	if f.File != nil {
		content, err := m.decode(f.File.Content)
		if err != nil {
			// The name is judged first, as always.
			if _, bad := attachment.Check(f.File.Name, f.IsVoice); bad != nil {
				err = bad
			}
			m.fail(&q, err)
			return
		}
		u, err := m.cfg.Files.Store(ctx, p, f.File.Name, f.IsVoice, content)
		if err != nil {
			m.fail(&q, err)
			return
		}
		id = u.ID
	}
	send := sendOf(&q, &f)
	res, err := m.cfg.Files.Send(ctx, p, chat.Origin{Node: m.cfg.Self, Session: chat.SessionID(q.h), Ref: q.ref}, send, id)
	if err != nil && f.File != nil {
		m.cfg.Files.Drop(ctx, p, id) // does nothing if the message may have been sent
	}
	m.finish(&q, send, res, err)
}

// decode returns a reader of base64 content, whose errors are attachment.ErrInvalidData.
func (m *Manager) decode(content []byte) (io.Reader, error) {
	size := int64(base64.StdEncoding.DecodedLen(len(content)))
	if bytes.HasSuffix(content, []byte("==")) {
		size -= 2
	} else if bytes.HasSuffix(content, []byte("=")) {
		size--
	}
	switch {
	case !isBase64(content):
		return nil, attachment.ErrInvalidData
	case size > attachment.MaxSize:
		return nil, attachment.ErrTooLarge
	case size > m.cfg.MaxFile:
		return nil, &attachment.Error{Code: attachment.CodeTooLarge,
			Text: fmt.Sprintf("File too large for a WebSocket (max %d bytes): upload it by REST", m.cfg.MaxFile)}
	}
	return strict{base64.NewDecoder(base64.StdEncoding.Strict(), bytes.NewReader(content))}, nil
}

// isBase64 reports whether content is of the alphabet throughout, and padded: what follows is then judged by what it
// says. The decoder alone would pass over line ends, and find the rest only where it gets to it.
func isBase64(content []byte) bool {
	digits := bytes.TrimRight(content, "=")
	if len(content)%4 != 0 || len(content)-len(digits) > 2 {
		return false
	}
	for _, c := range digits {
		if !(c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/') {
			return false
		}
	}
	return true
}

// strict turns what is not base64 into the error that the client is told.
type strict struct{ r io.Reader }

// Read implements io.Reader.
func (s strict) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		err = attachment.ErrInvalidData
	}
	return n, err
}
