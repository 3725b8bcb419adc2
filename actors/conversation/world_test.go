package conversation_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/zumodra/hub/actors/conversation"
	"github.com/zumodra/hub/actors/internal/faultstore"
	"github.com/zumodra/hub/chat"
)

const tenant = chat.TenantID("t")

var bg = context.Background()

// world drives one State by hand: effects wait until the test carries them out, or loses them in a crash.
type world struct {
	key   chat.ConversationKey
	rules chat.Rules
	store *faultstore.Store
	state *conversation.State
	now   time.Time
	fx    conversation.Effects

	load   bool
	batch  *conversation.Batch
	write  *conversation.Write
	reads  []*conversation.Read
	looked map[*conversation.Read]bool
	barred conversation.Bar // as stored
	// privately is how far members have read, as stored, who did not tell all of it.
	privately map[chat.UserID]struct{ joined, read uint64 }
	// counted is what members have hidden, as of their stored rows; half is who may have rows beyond that: a crash came
	// between the two.
	counted map[chat.UserID]counted
	half    map[chat.UserID]bool

	answered map[*conversation.Request]int
	onReply  func(conversation.Reply)
	onOut    func(*chat.Delivery)
	trace    []string
}

type counted struct {
	joined uint64
	hidden []chat.HiddenMessage
}

func newWorld() *world {
	w := &world{key: chat.ConversationKey{Tenant: tenant, ID: chat.ConversationID{1, 6: 0x70, 8: 0x80}},
		rules: chat.Rules{MaxGroupSize: 5}.WithDefaults(), store: faultstore.New(),
		now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), answered: map[*conversation.Request]int{},
		counted: map[chat.UserID]counted{}, half: map[chat.UserID]bool{}}
	w.fresh()
	return w
}

func (w *world) fresh() {
	w.state = conversation.New(conversation.Params{Key: w.key, Epoch: 1, Rules: &w.rules})
	w.load, w.batch, w.write, w.reads = false, nil, nil, nil
	w.looked = map[*conversation.Read]bool{}
}

func (w *world) say(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

func (w *world) request(u chat.UserID, c chat.Command) *conversation.Request {
	return &conversation.Request{Principal: chat.Principal{Tenant: tenant, User: u, Username: "n" + string(u)},
		Command: c, At: w.now, Origin: chat.Origin{Session: 1, Ref: "r"}}
}

func (w *world) submit(u chat.UserID, c chat.Command) *conversation.Request {
	r := w.request(u, c)
	w.step(r)
	return r
}

func (w *world) step(in conversation.Input) {
	w.fx.Reset()
	w.state.Step(in, w.now, &w.fx)
	for _, o := range w.fx.Out {
		if o.Delivery != nil {
			w.say("=> %s", describeDelivery(o.Delivery))
			if w.onOut != nil {
				w.onOut(o.Delivery)
			}
			continue
		}
		w.answered[o.Reply.Request]++
		w.say("-> %s", describeReply(o.Reply))
		if w.onReply != nil {
			w.onReply(o.Reply)
		}
	}
	if w.fx.Load {
		w.load = true
		w.say(".. load")
	}
	if w.fx.Commit != nil {
		w.batch = w.fx.Commit
		w.say(".. commit of %d, %d to check", w.batch.Len(), len(w.batch.Check))
	}
	if w.fx.Write != nil {
		w.write = w.fx.Write
		w.say(".. write %s", describeWrite(w.write))
	}
	for _, r := range w.fx.Reads {
		w.reads = append(w.reads, r)
		w.say(".. read %d %d-%d", r.Kind, r.From, r.To)
	}
}

// append makes the batch durable without telling the state.
func (w *world) append() {
	var found []uint64
	if len(w.batch.Check) > 0 {
		found, _ = w.store.FindDuplicates(bg, w.key, w.batch.Check)
	}
	w.batch.Number(found)
	if len(w.batch.Events) > 0 {
		_ = w.store.MarkDirty(bg, w.key)
		if err := w.store.AppendEvents(bg, w.key, w.batch.Events); err != nil {
			panic(err)
		}
	}
}

func (w *world) commit(err error) bool {
	b := w.batch
	if b == nil {
		return false
	}
	if err == nil {
		w.append()
	}
	w.batch = nil
	b.Err = err
	w.step(b)
	return true
}

func (w *world) applyWrite() {
	switch x := w.write; {
	case x.Watermarks:
		_ = w.store.SavePersonal(bg, w.key, x.Personal)
		for _, h := range x.Personal.Hidden {
			list, _ := w.store.ListHidden(bg, w.key, h.User)
			for _, m := range x.Members {
				if m.User == h.User {
					w.counted[h.User] = counted{m.JoinedSeq, list}
				}
			}
		}
		_ = w.store.SaveWatermarks(bg, w.key, x.Members, x.Receipts)
		for _, m := range x.Members {
			if m.Hidden > 0 {
				if w.privately == nil {
					w.privately = map[chat.UserID]struct{ joined, read uint64 }{}
				}
				w.privately[m.User] = struct{ joined, read uint64 }{m.JoinedSeq, m.Read.Seq}
			}
		}
	case x.Delete:
		_ = w.store.DeleteConversation(bg, w.key, x.Users)
	default:
		_ = w.store.SaveDerived(bg, w.key, *x.Derived)
	}
}

func (w *world) finishWrite(err error) bool {
	x := w.write
	if x == nil {
		return false
	}
	if err == nil {
		w.applyWrite()
	}
	w.write = nil
	x.Err = err
	w.step(x)
	return true
}

// look carries a read out; its answer comes later, when finishRead hands it over.
func (w *world) look() {
	for _, r := range w.reads {
		if !w.looked[r] {
			w.looked[r] = true
			w.readInto(r)
			return
		}
	}
}

func (w *world) finishRead() bool {
	if len(w.reads) == 0 {
		return false
	}
	r := w.reads[0]
	w.reads = w.reads[1:]
	if !w.looked[r] {
		w.readInto(r)
	}
	delete(w.looked, r)
	w.step(r)
	return true
}

func (w *world) readInto(r *conversation.Read) {
	log := w.store.Log(w.key)
	if r.To > uint64(len(log)) { // deleted meanwhile
		r.Err = chat.ErrNotFound
		return
	}
	if r.Conceal || r.Kind == conversation.ReadHidden {
		r.Hidden, _ = w.store.ListHidden(bg, w.key, r.User)
	}
	switch r.Kind {
	case conversation.ReadOne, conversation.ReadHidden:
		r.Events = log[r.To-1 : r.To]
	case conversation.ReadRange:
		r.Events = log[r.From-1 : r.To]
	case conversation.ReadCount:
		for _, e := range log[r.From-1 : r.To] {
			if e.IsMessage() && e.Actor == r.User {
				r.Count++
			}
		}
	case conversation.ReadBack:
		for i := int(r.To) - 1; i >= 0; i-- {
			if len(r.Events) == 0 || log[i].IsMessage() {
				r.Events = append(r.Events, log[i])
			}
			if log[i].IsMessage() {
				break
			}
		}
	}
}

// replay is how many recent events a load brings: few, so that tests reach beyond the window.
const replay = 4

func (w *world) finishLoad(err error) bool {
	if !w.load {
		return false
	}
	w.load = false
	l := &conversation.Loaded{Err: err}
	if err == nil {
		head, members, err := w.store.LoadConversation(bg, w.key)
		if err == nil {
			l.Head, l.Members = head, members
		}
		l.Tail, _ = w.store.ReadEvents(bg, w.key, l.Head.Seq+1, math.MaxInt64/2, math.MaxInt32)
		log := w.store.Log(w.key)
		if len(log) > 0 && log[0].Kind == chat.Direct {
			l.Barred, l.BarVersion = w.barred.On, w.barred.Version
		}
		l.Recent = log[max(0, int(l.Head.Seq)-replay):l.Head.Seq]
		for _, seq := range conversation.Targets(l.Tail) {
			l.Rows = append(l.Rows, log[seq-1])
		}
	}
	w.step(l)
	return true
}

// settle carries everything out until nothing is left to do.
func (w *world) settle() {
	for w.finishLoad(nil) || w.commit(nil) || w.finishRead() || w.finishWrite(nil) {
	}
}

// tick lets time pass.
func (w *world) tick(d time.Duration) {
	w.now = w.now.Add(d)
	w.step(conversation.Tick{})
}

// crash loses the state. What was on its way may have happened or not.
func (w *world) crash(appended, written bool) {
	if w.batch != nil && appended {
		w.append()
	}
	if w.write != nil && written {
		w.applyWrite()
	}
	if w.write != nil && !written && appended { // the first half of it
		_ = w.store.SavePersonal(bg, w.key, w.write.Personal)
		for _, h := range w.write.Personal.Hidden {
			w.half[h.User] = true
		}
		for _, d := range w.write.Personal.Drafts {
			w.half[d.User] = true
		}
	}
	w.fresh()
}

func describeReply(p conversation.Reply) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s:", p.Request.Principal.User, p.Request.Command.Name())
	if p.Err != nil {
		fmt.Fprintf(&b, " error %s", p.Err)
		return b.String()
	}
	if e := p.Result.Event; e != nil {
		fmt.Fprintf(&b, " %s", describeEvent(e))
	}
	if p.Result.Duplicate {
		b.WriteString(" duplicate")
	}
	if p.Result.Created {
		b.WriteString(" created")
	}
	if p.Result.Marked > 0 {
		fmt.Fprintf(&b, " marked %d", p.Result.Marked)
	}
	if p.Result.Gap {
		b.WriteString(" gap")
	}
	for i := range p.Result.Events {
		fmt.Fprintf(&b, " [%s]", describeEvent(&p.Result.Events[i]))
	}
	if v := p.Result.View; v != nil {
		fmt.Fprintf(&b, " view head %d %v unread %d role %v", v.Head.Seq, v.Members.Users, v.Me.Unread(v.Head.MsgNo), v.Me.Role)
		if seq := v.Head.Last.Seq; seq > 0 && v.ReadByOther(v.Head.Last.Sender, seq) {
			b.WriteString(" last read")
		}
	}
	return b.String()
}

func describeEvent(e *chat.Event) string {
	s := fmt.Sprintf("%d:%s", e.Seq, e.Type)
	switch e.Type {
	case chat.EventMessage:
		s += fmt.Sprintf(" #%d by %s %q", e.MsgNo, e.Actor, e.Content)
		if !e.EditedAt.IsZero() {
			s += " edited"
		}
		if !e.DeletedAt.IsZero() {
			s += " deleted"
		}
		for _, r := range e.Reactions {
			s += fmt.Sprintf(" %s%s", r.User, r.Emoji)
		}
		if p := e.More().Preview; p != nil {
			s += fmt.Sprintf(" to %s: %s", p.URL, p.Title)
		}
	case chat.EventHidden:
		s += fmt.Sprintf(" of %d", e.MessageSeq)
	case chat.EventPreview:
		s += fmt.Sprintf(" of %d %s: %s", e.MessageSeq, e.Extras.Preview.URL, e.Extras.Preview.Title)
	case chat.EventEdited, chat.EventDeleted, chat.EventReaction:
		s += fmt.Sprintf(" of %d %q %s", e.MessageSeq, e.Content, e.Emoji)
	default:
		s += fmt.Sprintf(" %s %v", e.Change, e.Users)
		if e.Role != 0 {
			s += " " + e.Role.String()
		}
		if e.Name != "" {
			s += " " + e.Name
		}
	}
	return strings.TrimSpace(s)
}

func describeDelivery(d *chat.Delivery) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v", d.Recipients.Users)
	for _, n := range d.Notices {
		switch {
		case n.Event != nil:
			fmt.Fprintf(&b, " [%s]", describeEvent(n.Event))
		case n.Typing != nil:
			fmt.Fprintf(&b, " [typing %s %v]", n.Typing.User, n.Typing.On)
		case n.Read != nil && n.Read.User == "":
			fmt.Fprintf(&b, " [%d have read %d]", n.Read.Readers, n.Read.Seq)
		case n.Read != nil:
			fmt.Fprintf(&b, " [%s %s up to %d]", map[chat.ReceiptKind]string{1: "read", 2: "delivered"}[n.Read.Kind], n.Read.User, n.Read.Seq)
		case n.Own != nil && n.Own.Settings != nil:
			s := n.Own.Settings
			fmt.Fprintf(&b, " [settings muted %v pinned %v archived %v]", !s.MutedUntil.IsZero(), s.Pinned, s.Archived)
		case n.Own != nil && n.Own.Draft != nil:
			fmt.Fprintf(&b, " [draft %q to %d]", n.Own.Draft.Text, n.Own.Draft.ReplyTo.Seq())
		case n.Own != nil:
			fmt.Fprintf(&b, " [hidden %d]", n.Own.Hidden.Seq())
		}
	}
	if d.Detached != nil {
		fmt.Fprintf(&b, " detached %v", d.Detached)
	}
	if d.Gone {
		b.WriteString(" gone")
	}
	return b.String()
}

func describeWrite(x *conversation.Write) string {
	switch {
	case x.Watermarks:
		s := "positions"
		for _, m := range x.Members {
			s += fmt.Sprintf(" %s read %d delivered %d own %d archived %d", m.User, m.Read.Seq, m.Delivered.Seq, m.OwnAfterRead, m.ArchivedAt)
			if m.HiddenMessages > 0 {
				s += fmt.Sprintf(" hidden %d up to %d, %d unread", m.HiddenMessages, m.HiddenLast, m.HiddenUnread)
			}
		}
		if p := x.Personal; !p.IsZero() {
			s += fmt.Sprintf(", rows of %d hidden and %d drafts", len(p.Hidden), len(p.Drafts))
		}
		return s + fmt.Sprintf(", %d receipts", len(x.Receipts))
	case x.Delete:
		return fmt.Sprintf("delete %v", x.Users)
	}
	d := x.Derived
	return fmt.Sprintf("derived head %d, %d members, removed %v, %d rewritten, %d sent", d.Head.Seq, len(d.Members), d.Removed, len(d.Rewritten), len(d.Sent))
}

var errRefused = fmt.Errorf("%w: disk is full", chat.ErrUnavailable)
