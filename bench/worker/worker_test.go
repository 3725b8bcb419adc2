package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/bench/measure"
	"github.com/zumodra/hub/bench/scenario"
	"github.com/zumodra/hub/bench/target"
)

// words is a target whose frames are words: what is sent is what the codec is asked for, what comes is kind, conversation, seq,
// id and key.
type words struct{ final []check.Entry }

func (*words) Binary() bool                            { return false }
func (*words) Kind() string                            { return "words" }
func (*words) User(n int) string                       { return "u" + strconv.Itoa(n) }
func (*words) Version(context.Context) (string, error) { return "", nil }
func (*words) Endpoint(user, _, attempt int) target.Endpoint {
	return target.Endpoint{Path: fmt.Sprint(user, " ", attempt)}
}
func (*words) Open(dst []byte, _ int) []byte { return dst }
func (*words) Send(dst []byte, m target.Message) []byte {
	return fmt.Append(dst, "send ", m.Conversation, " ", m.Key)
}
func (*words) Typing(dst []byte, c string) []byte { return fmt.Append(dst, "typing ", c) }
func (*words) Read(dst []byte, c string, seq uint64) []byte {
	return fmt.Append(dst, "read ", c, " ", seq)
}
func (*words) React(dst []byte, c, id, _ string) []byte { return fmt.Append(dst, "react ", c, " ", id) }
func (*words) Edit(dst []byte, c, id, text string) []byte {
	return fmt.Append(dst, "edit ", c, " ", id, " ", text)
}
func (*words) Ping(dst []byte) []byte                                      { return append(dst, "ping"...) }
func (*words) Prepare(context.Context, target.World) ([]string, error)     { return nil, nil }
func (*words) Call(context.Context, string, int, string) error             { return nil }
func (w *words) Final(context.Context, int, string) ([]check.Entry, error) { return w.final, nil }
func (*words) Last(context.Context, int, string) ([]check.Entry, bool, error) {
	return nil, false, target.ErrNotSupported
}
func (*words) Unread(context.Context, int, string) (uint64, error) { return 0, nil }
func (*words) Head(context.Context, int, string) (uint64, error)   { return 0, nil }
func (*words) Resume(dst []byte, list []target.Position) []byte {
	dst = append(dst, "resume"...)
	for _, p := range list {
		dst = fmt.Append(dst, " ", p.Conversation, "@", p.Seq)
	}
	return dst
}

func (*words) Parse(b []byte, emit func(*target.Event)) error {
	f := append(strings.Fields(string(b)), "", "", "", "", "")
	kinds := map[string]target.EventKind{"ready": target.Ready, "msg": target.Msg, "logged": target.Logged, "ack": target.Ack, "refused": target.Refused,
		"resumed": target.Resumed, "gap": target.Gap, "receipt": target.Receipt, "head": target.Head, "pinged": target.Pinged}
	seq, _ := strconv.ParseUint(f[2], 10, 64)
	e := &target.Event{Kind: kinds[f[0]], Conversation: []byte(f[1]), Seq: seq, ID: []byte(f[3]), Key: []byte(f[4]), Code: []byte(f[5]), User: []byte(f[3])}
	if e.Kind == target.Other {
		return errors.New("what?")
	}
	emit(e)
	return nil
}

// hand is a loop that a test plays: it notes what was done, and keeps timers until they are wanted.
type hand struct {
	mu     sync.Mutex // of Do
	log    []string
	timers []func()
}

func (h *hand) Open(id int32, e target.Endpoint) error {
	h.log = append(h.log, fmt.Sprintf("%d open %s", id, e.Path))
	return nil
}
func (h *hand) Write(id int32, b []byte, _ bool) error {
	h.log = append(h.log, fmt.Sprintf("%d %s", id, b))
	return nil
}
func (h *hand) Drop(id int32)            { h.log = append(h.log, fmt.Sprintf("%d drop", id)) }
func (h *hand) SlowDown(int32, int)      {}
func (h *hand) At(_ time.Time, f func()) { h.timers = append(h.timers, f) }
func (h *hand) Do(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

func (h *hand) fire() {
	list := h.timers
	h.timers = nil
	for _, f := range list {
		f()
	}
}

// said returns what was done since the last time.
func (h *hand) said() []string {
	l := h.log
	h.log = nil
	return l
}

type play struct {
	t *testing.T
	w *Worker
	h *hand
}

// begin is a worker with two users in one conversation, c, whose log had 5 events, both of them connected.
func begin(t *testing.T) *play {
	t.Helper()
	p := prepare(t, &words{})
	for i := range int32(2) {
		p.w.open(i)
		p.w.Opened(i)
		p.gets(i, "ready")
	}
	p.want("0 open 0 0", "1 open 1 0")
	return p
}

// prepare is such a worker before it connects.
func prepare(t *testing.T, tgt target.Target) *play {
	t.Helper()
	sc, err := scenario.Decode(strings.NewReader("name: x\nusers: 2\nduration: 5s\nconversations: [{name: d, count: 1, members: 2}]\nload: [{op: send, arrival: 1/s}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := New(Config{Plan: Plan{Parts: 1, Run: "run", IDs: []string{"c"}, Heads: []uint64{5}}}, sc, tgt)
	if err != nil {
		t.Fatal(err)
	}
	h := &hand{}
	w.loop = h
	w.ctx, w.stop = context.WithCancel(t.Context())
	t.Cleanup(func() { _ = w.Close() })
	return &play{t, w, h}
}

func (p *play) gets(i int32, frames ...string) {
	for _, f := range frames {
		p.w.Frame(i, []byte(f), time.Now())
	}
}

func (p *play) want(lines ...string) {
	p.t.Helper()
	if got := p.h.said(); !slices.Equal(got, lines) {
		p.t.Fatalf("it did %q, want %q", got, lines)
	}
}

// sends has user i send, and returns the key.
func (p *play) sends(i int32) string {
	now := time.Now()
	p.w.send(&stream{load: scenario.Load{Size: scenario.Size{Fixed: 10}}}, 0, i, now, now)
	return p.w.pending[p.w.sends].key
}

func (p *play) report() *check.Report {
	p.t.Helper()
	r, err := p.w.chk.Check()
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

func TestSendsAreAcknowledgedByWhatComesBack(t *testing.T) {
	p := begin(t)
	k := p.sends(0)
	p.want("0 send c " + k)
	p.gets(1, "msg c 6 m6 "+k)
	if len(p.w.pending) != 1 {
		t.Fatal("another member's frame was taken for the answer")
	}
	p.gets(0, "msg c 6 m6 "+k)
	if len(p.w.pending) != 0 {
		t.Fatal("the answer was not seen")
	}
	part := p.w.rec.Cut(0, 2)
	if part.Counts[measure.CountAcked] != 1 || part.Counts[measure.CountDelivered] != 1 {
		t.Errorf("%v", part.Counts)
	}
	p.w.chk.Final("u0", "c", []check.Entry{{Seq: 6, ID: "m6", Key: k}})
	if r := p.report(); !r.OK() {
		t.Error(r)
	}
}

// A hole is asked for; what is beyond it is put aside until it comes in its place.
func TestHolesAreAskedFor(t *testing.T) {
	p := begin(t)
	a, b := p.sends(0), p.sends(0)
	p.want("0 send c "+a, "0 send c "+b)
	p.gets(0, "msg c 6 m6 "+a, "msg c 7 m7 "+b)
	p.gets(1, "msg c 7 m7 "+b, "msg c 8 m8 x")
	p.want("1 resume c@5")
	p.gets(1, "msg c 6 m6 "+a, "msg c 7 m7 "+b, "resumed c", "msg c 7 m7 "+b) // the last one, once more: allowed around a resume
	p.want()
	p.gets(1, "head c 9")
	p.want("1 resume c@7")
	p.gets(1, "refused c 0 x resume overloaded")
	p.h.fire()
	p.want("1 resume c@7")
	p.gets(1, "gap c 9")
	p.want("1 resume c@9")
	p.gets(1, "resumed c")
	if got := p.w.conns[1].obs.Last("c"); got != 9 {
		t.Errorf("it is at %d", got)
	}
	if n := p.w.Violations(); n != 0 {
		t.Errorf("%d violations", n)
	}
}

// What comes twice when nothing was asked for is a violation.
func TestRepetitionsAreSeen(t *testing.T) {
	p := begin(t)
	p.gets(1, "logged c 6", "logged c 6")
	if n := p.w.Violations(); n != 1 {
		t.Errorf("%d violations", n)
	}
	p.want()
}

// A lost connection comes back, by another address if it fails, resumes, and repeats what was not answered.
func TestComingBack(t *testing.T) {
	p := begin(t)
	k := p.sends(0)
	p.want("0 send c " + k)
	p.w.Closed(0, errors.New("gone"))
	waiting := p.sends(0) // while it is away
	p.want()
	p.h.fire()
	p.want("0 open 0 1")
	p.w.Closed(0, errors.New("refused"))
	p.h.fire()
	p.want("0 open 0 2")
	p.w.Opened(0)
	p.gets(0, "ready")
	p.want("0 resume c@5")
	p.gets(0, "msg c 6 m6 "+k, "resumed c")
	p.want("0 send c " + waiting) // the other one was in what it missed
	part := p.w.rec.Cut(0, 2)
	if part.Counts[measure.CountResumed] != 1 || part.Counts[measure.CountClosed] != 1 || part.Counts[measure.CountAcked] != 1 {
		t.Errorf("%v", part.Counts)
	}
	p.w.lose(1)
	p.want("1 drop", "1 open 1 0")
}

// What is sent while the client catches up waits for its turn behind what has to be repeated.
func TestRepeatedSendsGoFirst(t *testing.T) {
	p := begin(t)
	first := p.sends(0)
	p.want("0 send c " + first)
	p.w.Closed(0, errors.New("gone"))
	p.h.fire()
	p.w.Opened(0)
	p.gets(0, "ready")
	p.want("0 open 0 1", "0 resume c@5")
	second := p.sends(0)
	p.want()
	p.gets(0, "resumed c")
	p.want("0 send c "+first, "0 send c "+second)
}

func TestRefusals(t *testing.T) {
	p := begin(t)
	sure, open := p.sends(0), p.sends(0)
	p.h.said()
	p.gets(0, "refused c 0 x "+sure+" forbidden", "refused c 0 x "+open+" outcome_unknown", "refused c 0 x other invalid", "what")
	if len(p.w.pending) != 0 {
		t.Error("still waiting")
	}
	part := p.w.rec.Cut(0, 0)
	if part.Counts[measure.CountRefused] != 2 || part.Counts["refused.forbidden"] != 1 || part.Counts["errors.invalid"] != 1 || part.Counts[measure.CountErrors] != 1 {
		t.Errorf("%v", part.Counts)
	}
	// It was told that the first one is not there, and it is; of the second nothing is known.
	p.w.chk.Final("u0", "c", []check.Entry{{Seq: 6, ID: "m6", Key: sure}, {Seq: 7, ID: "m7", Key: open}})
	if r := p.report(); r.Counts[check.Refused] != 1 {
		t.Error(r)
	}
}

// Marks count for the unread counts at the end when they were confirmed and the connection stayed.
func TestMarks(t *testing.T) {
	p := begin(t)
	p.gets(1, "msg c 6 m6 x")
	p.w.marking(1, 0, 6)
	p.w.marking(0, 0, 5)
	p.gets(1, "receipt c 6 u1")
	if m := p.w.marks[place{1, 0}]; m != (mark{6, 6}) {
		t.Errorf("%+v", m)
	}
	p.w.lose(0)
	if len(p.w.marks) != 1 {
		t.Errorf("%v", p.w.marks)
	}
}

func TestKeys(t *testing.T) {
	at := time.UnixMicro(1_795_683_864_691_165)
	k := key("abcd1234", 12, 99_999, at)
	part, n, intended, ok := parseKey("abcd1234", []byte(k))
	if !ok || part != 12 || n != 99_999 || intended != at.UnixMicro() {
		t.Errorf("%s: %d %d %d %v", k, part, n, intended, ok)
	}
	for _, bad := range []string{"", "abcd1234", "abcd1234.", "abcd1234..", "abcd1234.1.2", "abcd1234.1.2.", "abcd1235.1.2.3", "abcd1234.1.-2.3", "abcd1234.A.2.3", "abcd1234.1.2.3333333333333"} {
		if _, _, _, ok := parseKey("abcd1234", []byte(bad)); ok {
			t.Errorf("%q is a key", bad)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add("run", 3, uint64(7), int64(9))
	f.Fuzz(func(t *testing.T, run string, part int, n uint64, at int64) {
		part, n, at = part&0xffff, n>>8, at&(1<<51-1)
		p, m, i, ok := parseKey(run, []byte(key(run, part, n, time.UnixMicro(at))))
		if !ok || p != part || m != n || i != at {
			t.Fatalf("%d %d %d %v", p, m, i, ok)
		}
	})
}

func TestShares(t *testing.T) {
	for share, want := range map[float64]int{0: 0, 0.005: 5, 0.01: 10, 0.1: 100, 1.0 / 3: 333, 0.999: 999, 1: 1000} {
		n := 0
		for i := range 1000 {
			if isOf(share, i) {
				n++
			}
		}
		if n != want {
			t.Errorf("%v of 1000 are %d, want %d", share, n, want)
		}
	}
}
