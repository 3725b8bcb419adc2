package meili

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meilisearch/meilisearch-go"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/search"
)

func (x *Index) cursors(ctx context.Context, uid string, keys []chat.ConversationKey) ([]uint64, error) {
	ids := make([]string, len(keys))
	for i, k := range keys {
		ids[i] = cursorID(k)
	}
	slices.Sort(ids)
	hits, err := x.fetch(ctx, uid, slices.Compact(ids), []string{"id", "cursor"})
	if err != nil {
		return nil, err
	}
	found := make(map[string]uint64, len(hits))
	for _, h := range hits {
		var d document
		if err := h.DecodeInto(&d); err != nil {
			return nil, fmt.Errorf("%w: a cursor at %s is none", search.ErrUnavailable, x.cfg.URL)
		}
		found[d.ID] = d.Cursor
	}
	cursors := make([]uint64, len(keys))
	for i, k := range keys {
		cursors[i] = found[cursorID(k)]
	}
	return cursors, nil
}

// batch is what changes add up to: per message one operation, per conversation one cursor.
type batch struct {
	x             *Index
	uid           string
	conversations map[chat.ConversationKey]*pending
	order         []*pending
}

type pending struct {
	key    chat.ConversationKey
	cursor uint64
	moved  bool
	ops    map[uint64]*operation // by seq of the message
}

// operation on a message: a document to put, new content for one that may be there, or (neither) its removal.
type operation struct {
	put     *document
	content *string
}

// apply takes changes into an index. The deletion of a conversation waits for what came before it.
func (x *Index) apply(ctx context.Context, uid string, changes []chat.IndexChange) error {
	if len(changes) == 0 {
		return nil
	}
	select {
	case x.slots <- struct{}{}:
		defer func() { <-x.slots }()
	case <-ctx.Done():
		return x.failed(ctx, ctx.Err(), "waiting for other tasks")
	}
	for len(changes) > 0 {
		n := slices.IndexFunc(changes, func(c chat.IndexChange) bool { return c.Gone })
		if n < 0 {
			n = len(changes)
		}
		if err := x.add(ctx, uid, changes[:n]); err != nil {
			return err
		}
		changes = changes[n:]
		gone := slices.IndexFunc(changes, func(c chat.IndexChange) bool { return !c.Gone })
		if gone < 0 {
			gone = len(changes)
		}
		if err := x.remove(ctx, uid, changes[:gone]); err != nil {
			return err
		}
		changes = changes[gone:]
	}
	return nil
}

// remove removes conversations with their cursors, each in one task.
func (x *Index) remove(ctx context.Context, uid string, gone []chat.IndexChange) error {
	byTenant := make(map[chat.TenantID][]chat.ConversationID)
	for _, c := range gone {
		byTenant[c.Key.Tenant] = append(byTenant[c.Key.Tenant], c.Key.ID)
	}
	for tenant, ids := range byTenant {
		for chunk := range slices.Chunk(ids, maxConversations) {
			if err := x.do(ctx, "removing conversations", func(ctx context.Context) (*meilisearch.TaskInfo, error) {
				return x.client.Index(uid).DeleteDocumentsByFilterWithContext(ctx, scopeFilter(tenant, chunk), nil)
			}); err != nil {
				return err
			}
			x.removed.Add(uint64(len(chunk))) // at least: the server does not say how many messages
		}
	}
	return nil
}

func (x *Index) add(ctx context.Context, uid string, changes []chat.IndexChange) error {
	b := &batch{x: x, uid: uid, conversations: make(map[chat.ConversationKey]*pending)}
	keys := make([]chat.ConversationKey, 0, len(changes))
	for i := range changes {
		if len(changes[i].Events) > 0 {
			keys = append(keys, changes[i].Key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	cursors, err := x.cursors(ctx, uid, keys)
	if err != nil {
		return err
	}
	for i, k := range keys {
		if b.conversations[k] == nil {
			p := &pending{key: k, cursor: cursors[i], ops: make(map[uint64]*operation)}
			b.conversations[k], b.order = p, append(b.order, p)
		}
	}
	for i := range changes {
		for j := range changes[i].Events {
			b.conversations[changes[i].Key].event(&changes[i].Events[j])
		}
	}
	if err := b.edits(ctx); err != nil {
		return err
	}
	if err := b.deletions(ctx); err != nil {
		return err
	}
	return b.puts(ctx)
}

func (p *pending) event(e *chat.Event) {
	if e.Seq <= p.cursor {
		return
	}
	p.cursor, p.moved = e.Seq, true
	switch e.Type {
	case chat.EventMessage:
		if e.DeletedAt.IsZero() {
			p.ops[e.Seq] = &operation{put: newMessage(p.key, e)}
		}
	case chat.EventEdited:
		switch op := p.ops[e.MessageSeq]; {
		case op == nil:
			p.ops[e.MessageSeq] = &operation{content: &e.Content}
		case op.put != nil:
			op.put.say(e.Content)
		case op.content != nil:
			op.content = &e.Content
		}
	case chat.EventDeleted:
		p.ops[e.MessageSeq] = &operation{}
	}
}

// edits turns new contents into documents, with what the index has of the messages.
func (b *batch) edits(ctx context.Context) error {
	var ids []string
	where := make(map[string]*operation)
	for _, p := range b.order {
		for seq, op := range p.ops {
			if op.content != nil {
				id := messageID(p.key, seq)
				ids, where[id] = append(ids, id), op
			}
		}
	}
	if len(ids) == 0 {
		return nil
	}
	hits, err := b.x.fetch(ctx, b.uid, ids, nil)
	if err != nil {
		return err
	}
	for _, h := range hits {
		d := new(document)
		if err := h.DecodeInto(d); err != nil {
			return fmt.Errorf("%w: a document at %s is not a message", search.ErrUnavailable, b.x.cfg.URL)
		}
		if op := where[d.ID]; op != nil && op.content != nil {
			d.say(*op.content)
			op.put, op.content = d, nil
		}
	}
	for _, p := range b.order { // of messages that were deleted, or left out
		maps.DeleteFunc(p.ops, func(_ uint64, op *operation) bool { return op.content != nil })
	}
	return nil
}

// deletions come first: with the puts come the cursors.
func (b *batch) deletions(ctx context.Context) error {
	var ids []string
	for _, p := range b.order {
		for seq, op := range p.ops {
			if op.put == nil {
				ids = append(ids, messageID(p.key, seq))
			}
		}
	}
	for chunk := range slices.Chunk(ids, b.x.cfg.MaxDocuments) {
		if err := b.x.do(ctx, "removing messages", func(ctx context.Context) (*meilisearch.TaskInfo, error) {
			return b.x.client.Index(b.uid).DeleteDocumentsWithContext(ctx, chunk, nil)
		}); err != nil {
			return err
		}
		b.x.removed.Add(uint64(len(chunk)))
	}
	return nil
}

// line is a document on its way.
type line struct {
	json []byte
	key  chat.ConversationKey
	seq  uint64 // 0: a cursor
}

// puts sends documents in payloads of bounded size, each conversation's cursor after its last message.
func (b *batch) puts(ctx context.Context) error {
	var payload []line
	size := 0
	flush := func() error {
		if len(payload) == 0 {
			return nil
		}
		err := b.x.send(ctx, b.uid, payload)
		payload, size = payload[:0], 0
		return err
	}
	add := func(l line, d *document) (err error) {
		if l.json, err = json.Marshal(d); err != nil {
			return fmt.Errorf("search: encode a document: %w", err)
		}
		if len(payload) > 0 && (size+len(l.json) > b.x.cfg.MaxBytes || len(payload) >= b.x.cfg.MaxDocuments) {
			if err := flush(); err != nil {
				return err
			}
		}
		payload, size = append(payload, l), size+len(l.json)+1
		return nil
	}
	for _, p := range b.order {
		for _, seq := range slices.Sorted(maps.Keys(p.ops)) {
			if d := p.ops[seq].put; d != nil {
				if err := add(line{key: p.key, seq: seq}, d); err != nil {
					return err
				}
			}
		}
		if p.moved {
			d := &document{ID: cursorID(p.key), Cursor: p.cursor, Tenant: hexText(p.key.Tenant), Conversation: hex.EncodeToString(p.key.ID[:])}
			if err := add(line{key: p.key}, d); err != nil {
				return err
			}
		}
	}
	return flush()
}

// send puts documents in one task. If the task fails for what is in it, it is the halves' turn.
func (x *Index) send(ctx context.Context, uid string, lines []line) error {
	var body bytes.Buffer
	for _, l := range lines {
		body.Write(l.json)
		body.WriteByte('\n')
	}
	err := x.do(ctx, "putting documents", func(ctx context.Context) (*meilisearch.TaskInfo, error) {
		return x.client.Index(uid).AddDocumentsNdjsonWithContext(ctx, body.Bytes(), nil)
	})
	switch {
	case err == nil:
		for _, l := range lines {
			if l.seq > 0 {
				x.applied.Add(1)
			}
		}
		return nil
	case !blamesDocuments(err):
		return err
	case len(lines) > 1:
		// In order: no cursor before its messages.
		if err := x.send(ctx, uid, lines[:len(lines)/2]); err != nil {
			return err
		}
		return x.send(ctx, uid, lines[len(lines)/2:])
	case lines[0].seq == 0:
		return err // a cursor is never to blame
	}
	if perr := x.probe(ctx, uid); perr != nil {
		return errors.Join(err, perr) // it is the server
	}
	l := lines[0]
	x.rejected.Add(1)
	x.cfg.Logger.Warn("search: a message cannot be indexed and is left out", "tenant", string(l.key.Tenant),
		"conversation", l.key.ID.String(), "seq", l.seq, "code", codeOf(err))
	return nil
}

// probe reports whether the index takes a document that it surely can.
func (x *Index) probe(ctx context.Context, uid string) error {
	g, err := x.generation(ctx, uid)
	if err != nil {
		return err
	}
	return x.do(ctx, "trying to put a document", func(ctx context.Context) (*meilisearch.TaskInfo, error) {
		return x.client.Index(uid).AddDocumentsNdjsonWithContext(ctx, fmt.Appendf(nil, `{"id":%q,"generation":%q}`, generationID, g), nil)
	})
}

// blamesDocuments reports whether sending less may help.
func blamesDocuments(err error) bool {
	var t *taskError
	var a *apiError
	switch {
	case errors.As(err, &t):
		// "system" is the disk, "auth" the key; "internal" may be a document that the server stumbles over.
		return t.kind == "invalid_request" && t.code != "index_not_found" || t.kind == "internal"
	case errors.As(err, &a):
		return a.status == 413 || a.status == 400 && (strings.HasPrefix(a.code, "malformed") || strings.HasPrefix(a.code, "invalid_document"))
	}
	return false
}

func codeOf(err error) string {
	var t *taskError
	var a *apiError
	switch {
	case errors.As(err, &t):
		return t.code
	case errors.As(err, &a):
		return a.code
	}
	return "unknown"
}
