package fts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"time"
	"unique"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/search"
)

const (
	// maxBatch is how many documents are written or removed in one transaction. It bounds the write-ahead log and how
	// long a change waits for another.
	maxBatch = 1000
	// maxContent is how long a message may be, in bytes; the hub's own limit is far below.
	maxContent = 1 << 20
	// Bounds of the writer's memory; what is full is emptied.
	maxSenders = 1 << 16
	maxKnown   = 1 << 18
)

type counts struct{ applied, removed, rejected uint64 }

func (c *counts) add(d counts) {
	c.applied += d.applied
	c.removed += d.removed
	c.rejected += d.rejected
}

// apply writes changes in transactions of up to about maxBatch documents. ctx is asked between documents: a
// transaction is short, and an interrupted one would cost more than its end.
func (f *file) apply(ctx context.Context, changes []chat.IndexChange) (n counts, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.damaged.Load() {
		return n, f.fail(ctx, "applying changes", errDamaged)
	}
	b := f.newBatch()
	for len(changes) > 0 && err == nil {
		if changes[0].Gone {
			err = b.gone(changes[0].Key)
			changes = changes[1:]
			continue
		}
		run := changes
		if i := slices.IndexFunc(changes, func(c chat.IndexChange) bool { return c.Gone }); i > 0 {
			run = changes[:i]
		}
		changes = changes[len(run):]
		for _, e := range inTime(run) {
			if err = ctx.Err(); err != nil {
				break
			}
			if b.size >= maxBatch {
				if err = b.commit(); err != nil {
					break
				}
				n.add(b.counts)
				b = f.newBatch()
			}
			if err = b.event(e.key, e.event); err != nil {
				break
			}
		}
	}
	if err == nil {
		err = b.commit()
	}
	if err != nil {
		b.rollback()
		return n, f.fail(ctx, "applying changes", err)
	}
	n.add(b.counts)
	f.words.warn(f.cfg.Logger)
	f.trim()
	if f.purge {
		if err := f.purgeGone(ctx); err != nil {
			return n, f.fail(ctx, "removing a conversation", err)
		}
	}
	return n, nil
}

// batch is a transaction, begun with its first write.
type batch struct {
	f       *file
	begun   bool
	size    int // documents written or removed
	convs   map[chat.ConversationKey]*conv
	drop    []chat.ConversationKey
	senders map[chat.UserKey]int64
	known   map[uint64]struct{}
	words   []string
	docs    int64
	drift   int64
	purge   bool
	counts  counts
	tokens  []search.Token
	text    []byte
}

type conv struct {
	id, last, docs int64
	cursor         uint64
	changed        bool
}

func (f *file) newBatch() *batch {
	return &batch{f: f, convs: map[chat.ConversationKey]*conv{}, senders: map[chat.UserKey]int64{}, known: map[uint64]struct{}{}, drift: f.drift.Load()}
}

// bg is the context of statements: see apply.
var bg = context.Background()

func (b *batch) begin() error {
	if b.begun {
		return nil
	}
	_, err := b.f.stmt.begin.ExecContext(bg)
	b.begun = err == nil
	return err
}

func (b *batch) rollback() {
	if b.begun {
		_, _ = b.f.stmt.rollback.ExecContext(bg) // an error: SQLite did it already
		b.begun = false
	}
}

// commit writes the conversations and, once all is safe, takes over into memory what was learnt.
func (b *batch) commit() error {
	if !b.begun {
		return nil
	}
	f := b.f
	for _, c := range b.convs {
		if c.changed {
			if _, err := f.stmt.setConv.ExecContext(bg, int64(c.cursor), c.last, c.docs, c.id); err != nil {
				return err
			}
		}
	}
	if b.drift > f.saved {
		if _, err := f.stmt.setDrift.ExecContext(bg, b.drift); err != nil {
			return err
		}
		f.drift.Store(max(b.drift, f.drift.Load())) // before documents that have it can be found
	}
	if _, err := f.stmt.commit.ExecContext(bg); err != nil {
		return err
	}
	b.begun = false
	f.saved = max(f.saved, b.drift)
	f.convs.update(b.convs, b.drop)
	if len(f.senders) > maxSenders {
		clear(f.senders)
	}
	for k, id := range b.senders {
		f.senders[k] = id
	}
	if len(f.known) > maxKnown {
		clear(f.known)
	}
	for h := range b.known {
		f.known[h] = struct{}{}
	}
	for _, w := range b.words {
		f.words.add(w)
	}
	f.docs.Add(b.docs)
	f.purge = f.purge || b.purge
	return nil
}

// conv returns the conversation's row, made if it is not there and make is set; nil otherwise.
func (b *batch) conv(key chat.ConversationKey, create bool) (*conv, error) {
	if c := b.convs[key]; c != nil {
		return c, nil
	}
	var c conv
	var cursor int64
	err := b.f.stmt.getConv.QueryRowContext(bg, string(key.Tenant), key.ID[:]).Scan(&c.id, &cursor, &c.last, &c.docs)
	if errors.Is(err, sql.ErrNoRows) {
		if !create {
			return nil, nil
		}
		if err = b.begin(); err == nil {
			var r sql.Result
			if r, err = b.f.stmt.addConv.ExecContext(bg, string(key.Tenant), key.ID[:]); err == nil {
				c.id, err = r.LastInsertId()
			}
		}
	}
	if err != nil {
		return nil, err
	}
	c.cursor = uint64(cursor)
	b.convs[key] = &c
	return &c, nil
}

func (b *batch) event(key chat.ConversationKey, e *chat.Event) error {
	c, err := b.conv(key, true)
	if err != nil {
		return err
	}
	if e.Seq <= c.cursor {
		return nil
	}
	if err := b.begin(); err != nil {
		return err
	}
	c.cursor, c.changed = e.Seq, true
	switch e.Type {
	case chat.EventMessage:
		if !e.DeletedAt.IsZero() {
			return nil
		}
		err = b.add(key, c, e)
	case chat.EventEdited:
		err = b.edit(key, c, e)
	case chat.EventDeleted:
		err = b.remove(c, e.MessageSeq)
	default:
		return nil
	}
	b.size++
	switch code(err) {
	case sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_RANGE:
		return b.reject(key, e, err)
	}
	return err
}

// reject leaves an event out that would never be taken.
func (b *batch) reject(key chat.ConversationKey, e *chat.Event, err error) error {
	b.counts.rejected++
	b.f.cfg.Logger.Warn("a message cannot be searched", "tenant", string(key.Tenant), "conversation", key.ID.String(), "seq", e.Seq, "error", err)
	return nil
}

var errTooLong = fmt.Errorf("it is longer than %d bytes", maxContent)

func (b *batch) add(key chat.ConversationKey, c *conv, e *chat.Event) error {
	if len(e.Content) > maxContent {
		return b.reject(key, e, errTooLong)
	}
	sender, err := b.sender(chat.UserKey{Tenant: key.Tenant, User: e.Actor})
	if err != nil {
		return err
	}
	flags := int64(0)
	if e.IsVoice || e.File != nil {
		flags |= flagAttachment
	}
	if b.analyze(e.Content) {
		flags |= flagText
	}
	var message any
	if id := chat.NewMessageID(key, e.Seq, e.At); id != e.Message {
		message = e.Message[:]
	}
	id, err := b.place(c, e, sender, flags, message)
	if err != nil {
		return err
	}
	c.last = id
	c.docs++
	b.docs++
	b.counts.applied++
	return b.index(id, c.id, sender, flags)
}

// place inserts the document at its time or the next free rowid.
func (b *batch) place(c *conv, e *chat.Event, sender, flags int64, message any) (int64, error) {
	at := micros(e.At)
	id := max(at, c.last+1, 1)
	for step := int64(1); ; step = min(2*step, 1<<20) {
		r, err := b.f.stmt.addDoc.ExecContext(bg, id, c.id, int64(e.Seq), sender, flags, id-at, message)
		if err != nil {
			return 0, err
		}
		n, err := r.RowsAffected()
		if err != nil {
			return 0, err
		}
		if n == 1 {
			b.drift = max(b.drift, id-at)
			return id, nil
		}
		id += step // wider and wider: thousands may have the same time
	}
}

// micros is a time in microseconds since 1970, within what leaves room in a rowid.
func micros(t time.Time) int64 { return min(max(t.UnixMicro(), -1<<61), 1<<61) }

func (b *batch) edit(key chat.ConversationKey, c *conv, e *chat.Event) error {
	var id, sender, flags int64
	err := b.f.stmt.getDoc.QueryRowContext(bg, c.id, int64(e.MessageSeq)).Scan(&id, &sender, &flags)
	if errors.Is(err, sql.ErrNoRows) {
		return nil // deleted, or rejected
	}
	if err != nil {
		return err
	}
	content := e.Content
	var rejected error
	if len(content) > maxContent {
		content, rejected = "", errTooLong // the old text must not be found any more
	}
	if flags&flagText != 0 {
		if _, err := b.f.stmt.dropText.ExecContext(bg, id); err != nil {
			return err
		}
	}
	before := flags
	flags &^= flagText
	if b.analyze(content) {
		flags |= flagText
	}
	if flags != before {
		if _, err := b.f.stmt.setFlags.ExecContext(bg, flags, id); err != nil {
			return err
		}
	}
	if rejected != nil {
		return b.reject(key, e, rejected)
	}
	b.counts.applied++
	return b.index(id, c.id, sender, flags)
}

func (b *batch) remove(c *conv, seq uint64) error {
	var id, sender, flags int64
	err := b.f.stmt.getDoc.QueryRowContext(bg, c.id, int64(seq)).Scan(&id, &sender, &flags)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err == nil {
		err = b.f.drop(id, flags)
	}
	if err != nil {
		return err
	}
	c.docs--
	b.docs--
	b.counts.removed++
	return nil
}

func (f *file) drop(id, flags int64) error {
	if flags&flagText != 0 {
		if _, err := f.stmt.dropText.ExecContext(bg, id); err != nil {
			return err
		}
	}
	_, err := f.stmt.dropDoc.ExecContext(bg, id)
	return err
}

// analyze makes b.text of the content's tokens; false if there are none.
func (b *batch) analyze(content string) bool {
	b.tokens = search.AppendTokens(b.tokens[:0], content)
	b.text = b.text[:0]
	for i := range b.tokens {
		if i > 0 {
			b.text = append(b.text, ' ')
		}
		b.text = append(b.text, b.tokens[i].Text...)
	}
	return len(b.tokens) > 0
}

// index writes what analyze made.
func (b *batch) index(id, conv, sender, flags int64) error {
	if flags&flagText == 0 {
		return nil
	}
	s := scope(scopeConversation, conv) + " " + scope(scopeSender, sender)
	if flags&flagAttachment != 0 {
		s += " " + scopeAttachment
	}
	if _, err := b.f.stmt.addText.ExecContext(bg, id, s, string(b.text)); err != nil {
		return err
	}
	return b.learn()
}

var seed = maphash.MakeSeed()

// learn puts new words of b.tokens into the vocabulary.
func (b *batch) learn() error {
	for i := range b.tokens {
		t := &b.tokens[i]
		if t.Gram {
			continue
		}
		h := maphash.String(seed, t.Text)
		if _, ok := b.f.known[h]; ok {
			continue
		}
		if _, ok := b.known[h]; ok {
			continue
		}
		r, err := b.f.stmt.addWord.ExecContext(bg, t.Text)
		if err != nil {
			return err
		}
		if n, err := r.RowsAffected(); err != nil {
			return err
		} else if n == 1 {
			b.words = append(b.words, t.Text)
		}
		b.known[h] = struct{}{}
	}
	return nil
}

func (b *batch) sender(key chat.UserKey) (int64, error) {
	if id, ok := b.f.senders[key]; ok {
		return id, nil
	}
	if id, ok := b.senders[key]; ok {
		return id, nil
	}
	var id int64
	err := b.f.stmt.getSender.QueryRowContext(bg, string(key.Tenant), string(key.User)).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		var r sql.Result
		if r, err = b.f.stmt.addSender.ExecContext(bg, string(key.Tenant), string(key.User)); err == nil {
			id, err = r.LastInsertId()
		}
	}
	if err != nil {
		return 0, err
	}
	b.senders[chat.UserKey{Tenant: unique.Make(key.Tenant).Value(), User: key.User}] = id
	return id, nil
}

// gone makes the conversation unknown. Its documents cannot be found without its number, which is not used again.
func (b *batch) gone(key chat.ConversationKey) error {
	c, err := b.conv(key, false)
	if err != nil || c == nil {
		return err
	}
	if err := b.begin(); err != nil {
		return err
	}
	if _, err := b.f.stmt.goneConv.ExecContext(bg, c.id); err != nil {
		return err
	}
	// The row keeps the number of documents that are left to remove.
	if _, err := b.f.stmt.setConv.ExecContext(bg, 0, 0, c.docs, c.id); err != nil {
		return err
	}
	delete(b.convs, key)
	b.drop = append(b.drop, key)
	b.purge = true
	return nil
}

func (f *file) cursors(ctx context.Context, keys []chat.ConversationKey) ([]uint64, error) {
	f.gate.RLock()
	defer f.gate.RUnlock()
	st, err := f.read.PrepareContext(ctx, "SELECT cursor FROM conv WHERE tenant = ? AND conversation = ? AND gone = 0")
	if err != nil {
		return nil, f.fail(ctx, "reading cursors", err)
	}
	defer st.Close()
	cursors := make([]uint64, len(keys))
	for i, k := range keys {
		var c int64
		if err := st.QueryRowContext(ctx, string(k.Tenant), k.ID[:]).Scan(&c); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, f.fail(ctx, "reading cursors", err)
		}
		cursors[i] = uint64(c)
	}
	return cursors, nil
}
