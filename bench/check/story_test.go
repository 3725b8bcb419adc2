package check_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/zumodra/hub/bench/check"
)

// step is one call of a checker.
type step struct {
	what    string
	worker  int
	who     string // observer, sender, reader or user
	user    string
	conv    string
	entry   entry
	entries []entry
	count   uint64
	whole   bool
	read    int // which read begins or ends
}

// message is a send of a story, and what became of it.
type message struct {
	sender        string
	worker        int
	conv          string
	entry         // Seq 0: not in the log
	acked, refuse bool
}

// session is an observer of a story.
type session struct {
	name, user string
	worker     int
	at         map[string]uint64 // conversation -> seq; absent: does not follow
}

// story is a run of a hub that keeps every promise, as the calls that it leads to.
type story struct {
	workers  int
	convs    []string
	users    []string
	sessions []*session
	steps    []step
	messages []*message
	log      map[string][]entry
	member   map[string]map[string]bool // conversation -> user
	mark     map[string]uint64          // conversation and user
	reads    int
	open     []step
}

func (s *story) add(st step) { s.steps = append(s.steps, st) }

func (s *story) home(user string) int { return slices.Index(s.users, user) % s.workers }

func (s *story) event(conv string) uint64 {
	seq := uint64(len(s.log[conv]) + 1)
	s.log[conv] = append(s.log[conv], entry{Seq: seq})
	return seq
}

func (s *story) messagesOf(conv string) (list []entry) {
	for _, e := range s.log[conv] {
		if e.IsMessage() {
			list = append(list, e)
		}
	}
	return list
}

func pick[T any](t *rapid.T, list []T, label string) T {
	return list[rapid.IntRange(0, len(list)-1).Draw(t, label)]
}

// join makes a user a member of a conversation, from the event that says so.
func (s *story) join(t *rapid.T, conv, user string) {
	seq := s.event(conv)
	s.member[conv][user] = true
	s.add(step{what: "added", worker: rapid.IntRange(0, s.workers-1).Draw(t, "told by"), user: user, conv: conv, entry: entry{Seq: seq}})
	for _, o := range s.sessions {
		if o.user == user {
			o.at[conv] = seq - 1
			s.add(step{what: "follow", worker: o.worker, who: o.name, conv: conv, entry: entry{Seq: seq - 1}})
		}
	}
}

func (s *story) leave(t *rapid.T, conv, user string) {
	seq := s.event(conv)
	s.member[conv][user] = false
	s.add(step{what: "removed", worker: rapid.IntRange(0, s.workers-1).Draw(t, "told by"), user: user, conv: conv, entry: entry{Seq: seq}})
	for _, o := range s.sessions {
		if o.user == user {
			for o.at[conv] < seq {
				s.deliver(o, conv)
			}
			delete(o.at, conv)
			s.add(step{what: "leave", worker: o.worker, who: o.name, conv: conv})
		}
	}
}

func (s *story) deliver(o *session, conv string) {
	e := s.log[conv][o.at[conv]]
	o.at[conv] = e.Seq
	s.add(step{what: "saw", worker: o.worker, who: o.name, conv: conv, entry: e})
}

// commit appends a message of a conversation, the oldest of its sender.
func (s *story) commit(m *message) {
	m.Seq = s.event(m.conv)
	m.ID = fmt.Sprintf("%s#%d", m.conv, m.Seq)
	s.log[m.conv][m.Seq-1] = m.entry
}

func (s *story) waiting() (list []*message) {
	first := map[string]bool{}
	for _, m := range s.messages {
		if at := m.sender + m.conv; m.Seq == 0 && !m.refuse && !first[at] {
			first[at] = true
			list = append(list, m)
		}
	}
	return list
}

func (s *story) unacked() (list []*message) {
	for _, m := range s.messages {
		if m.Seq > 0 && !m.acked {
			list = append(list, m)
		}
	}
	return list
}

func (s *story) behind() (list [][2]any) {
	for _, o := range s.sessions {
		for _, c := range s.convs {
			if at, ok := o.at[c]; ok && at < uint64(len(s.log[c])) {
				list = append(list, [2]any{o, c})
			}
		}
	}
	return list
}

func (s *story) ack(m *message) {
	m.acked = true
	s.add(step{what: "acked", worker: m.worker, conv: m.conv, entry: m.entry})
}

// advance lets one thing happen.
func (s *story) advance(t *rapid.T) {
	conv, user := pick(t, s.convs, "conversation"), pick(t, s.users, "user")
	switch what := rapid.IntRange(0, 20).Draw(t, "what"); {
	case what < 5:
		if s.member[conv][user] {
			m := &message{sender: user, worker: s.home(user), conv: conv, entry: entry{Key: fmt.Sprintf("k%d", len(s.messages))}}
			s.messages = append(s.messages, m)
			s.add(step{what: "sent", worker: m.worker, who: user, conv: conv, entry: m.entry})
		}
	case what < 9:
		if w := s.waiting(); len(w) > 0 {
			s.commit(pick(t, w, "commit"))
		}
	case what < 12:
		if u := s.unacked(); len(u) > 0 {
			s.ack(pick(t, u, "ack"))
		}
	case what < 15:
		if b := s.behind(); len(b) > 0 {
			at := pick(t, b, "deliver")
			s.deliver(at[0].(*session), at[1].(string))
		}
	case what == 15:
		if w := s.waiting(); len(w) > 0 && rapid.Bool().Draw(t, "refuse") {
			m := pick(t, w, "refused")
			m.refuse = true
			s.add(step{what: "refused", worker: m.worker, conv: conv, entry: m.entry})
			s.steps[len(s.steps)-1].conv = m.conv
		} else if b := s.behind(); len(b) > 0 {
			s.gap(pick(t, b, "gap"))
		}
	case what == 16:
		if o := pick(t, s.sessions, "resumes"); rapid.Bool().Draw(t, "resume") {
			if _, ok := o.at[conv]; ok {
				s.add(step{what: "resumed", worker: o.worker, who: o.name, conv: conv})
			}
		}
	case what == 17:
		if s.member[conv][user] && user != s.users[0] && rapid.IntRange(0, 2).Draw(t, "remove") == 0 {
			s.leave(t, conv, user)
		} else if !s.member[conv][user] {
			s.join(t, conv, user)
		}
	case what == 18:
		if head := uint64(len(s.log[conv])); s.member[conv][user] {
			seq := rapid.Uint64Range(s.mark[conv+user], head).Draw(t, "mark")
			s.mark[conv+user] = seq
			s.add(step{what: "mark", worker: s.home(user), user: user, conv: conv, entry: entry{Seq: seq}})
			for _, o := range s.sessions {
				if _, ok := o.at[conv]; ok {
					s.add(step{what: "receipt", worker: o.worker, who: o.name, user: user, conv: conv, entry: entry{Seq: seq}})
				}
			}
		}
	case what == 19:
		s.reads++
		s.open = append(s.open, step{what: "read", worker: rapid.IntRange(0, s.workers-1).Draw(t, "reader"), who: user, conv: conv, read: s.reads})
		s.add(s.open[len(s.open)-1])
	default:
		if len(s.open) > 0 {
			i := rapid.IntRange(0, len(s.open)-1).Draw(t, "read ends")
			st := s.open[i]
			s.open = slices.Delete(s.open, i, i+1)
			all := s.messagesOf(st.conv)
			from := 0
			if len(all) > 0 {
				from = rapid.IntRange(0, len(all)-1).Draw(t, "page")
			}
			st.what, st.entries, st.whole = "done", slices.Clone(all[from:]), from == 0
			s.add(st)
		}
	}
}

func (s *story) gap(at [2]any) {
	o, conv := at[0].(*session), at[1].(string)
	st := step{what: "gap", worker: o.worker, who: o.name, conv: conv, entry: entry{Seq: uint64(len(s.log[conv]))}}
	for _, e := range s.log[conv][o.at[conv]:] {
		if e.IsMessage() {
			st.entries = append(st.entries, e)
		}
	}
	o.at[conv] = st.entry.Seq
	s.add(st)
}

// tell makes a story.
func tell(t *rapid.T) *story {
	s := &story{workers: rapid.IntRange(1, 3).Draw(t, "workers"), log: map[string][]entry{}, member: map[string]map[string]bool{}, mark: map[string]uint64{}}
	for i := range rapid.IntRange(1, 2).Draw(t, "conversations") {
		s.convs = append(s.convs, fmt.Sprint("c", i))
	}
	for i := range rapid.IntRange(2, 4).Draw(t, "users") {
		u := fmt.Sprint("u", i)
		s.users = append(s.users, u)
		for j := range rapid.IntRange(1, 2).Draw(t, "sessions") {
			s.sessions = append(s.sessions, &session{name: fmt.Sprint(u, "/", j), user: u, worker: rapid.IntRange(0, s.workers-1).Draw(t, "at"), at: map[string]uint64{}})
		}
	}
	for _, c := range s.convs {
		s.member[c] = map[string]bool{}
		for _, u := range s.users[:rapid.IntRange(1, len(s.users)).Draw(t, "members")] {
			s.join(t, c, u)
		}
	}
	for range rapid.IntRange(20, 150).Draw(t, "length") {
		s.advance(t)
	}
	// One that must have come to something, for a verdict.
	m := &message{sender: s.users[0], worker: s.home(s.users[0]), conv: s.convs[0], entry: entry{Key: "last"}}
	s.add(step{what: "sent", worker: m.worker, who: m.sender, conv: m.conv, entry: m.entry})
	s.messages = append(s.messages, m)
	s.commit(m)
	s.ack(m)
	for b := s.behind(); len(b) > 0; b = s.behind() {
		s.deliver(b[0][0].(*session), b[0][1].(string))
	}
	for _, c := range s.convs {
		for range rapid.IntRange(1, 2).Draw(t, "readers") {
			s.add(step{what: "final", worker: rapid.IntRange(0, s.workers-1).Draw(t, "final"), who: "reader", conv: c, entries: s.messagesOf(c)})
		}
		for _, u := range s.users {
			if s.member[c][u] {
				s.add(step{what: "unread", worker: s.home(u), user: u, conv: c})
			}
		}
	}
	s.count()
	return s
}

// count tells all users of as many unread messages as there are.
func (s *story) count() {
	final := map[string][]entry{}
	sender := map[string]string{}
	for _, m := range s.messages {
		sender[m.conv+m.Key] = m.sender
	}
	for _, st := range s.steps {
		if _, ok := final[st.conv]; st.what == "final" && !ok {
			final[st.conv] = st.entries
		}
	}
	for i, st := range s.steps {
		if st.what == "unread" {
			n := uint64(0)
			for _, e := range final[st.conv] {
				if from := sender[st.conv+e.Key]; e.Seq > s.mark[st.conv+st.user] && from != "" && from != st.user {
					n++
				}
			}
			s.steps[i].count = n
		}
	}
}

// play tells the story to its checkers and returns the verdict: of one by itself, of several merged.
func (s *story) play(t *rapid.T, merge bool, linear check.Linear) *check.Report {
	now := time.Unix(1_000_000, 0)
	var checkers []*check.Checker
	for i := range s.workers {
		c, err := check.New(check.Config{Worker: fmt.Sprint("w", i), Window: 8, Linear: linear, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		checkers = append(checkers, c)
	}
	obs := map[string]*check.Observer{}
	for _, o := range s.sessions {
		obs[o.name] = checkers[o.worker].Observer(o.name, o.user)
	}
	reads := map[int]func([]entry, bool){}
	for _, st := range s.steps {
		now = now.Add(time.Millisecond)
		c, o := checkers[st.worker], obs[st.who]
		switch st.what {
		case "sent":
			c.Sent(check.Send{Conversation: st.conv, Sender: st.who, Key: st.entry.Key, Intended: now.Add(-time.Microsecond)})
		case "acked":
			c.Acked(st.conv, st.entry.Key, st.entry.ID, st.entry.Seq)
		case "refused":
			c.Refused(st.conv, st.entry.Key)
		case "saw":
			o.Saw(st.conv, st.entry)
		case "gap":
			o.Gap(st.conv, st.entry.Seq, st.entries)
		case "follow":
			o.Follow(st.conv, st.entry.Seq)
		case "leave":
			o.Leave(st.conv)
		case "resumed":
			o.Resumed(st.conv)
		case "added":
			c.Added(st.conv, st.user, st.entry.Seq)
		case "removed":
			c.Removed(st.conv, st.user, st.entry.Seq)
		case "mark":
			c.Marked(st.conv, st.user, st.entry.Seq)
		case "receipt":
			o.Receipt(st.conv, st.user, "read", st.entry.Seq)
		case "read":
			reads[st.read] = c.Read(st.who, st.conv)
		case "done":
			reads[st.read](st.entries, st.whole)
		case "final":
			c.Final(st.who, st.conv, st.entries)
		case "unread":
			c.Unread(st.conv, st.user, st.count)
		default:
			t.Fatalf("a step %q", st.what)
		}
	}
	if s.workers == 1 && !merge {
		return verdict(checkers[0])
	}
	var parts []check.Part
	for _, c := range checkers {
		var b bytes.Buffer
		if err := c.Export(&b); err != nil {
			t.Fatal(err)
		}
		parts = append(parts, check.Part{R: &b})
	}
	r, err := check.Merge(linear, parts...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestStoriesAreFine(t *testing.T) {
	decided := 0
	rapid.Check(t, func(t *rapid.T) {
		s := tell(t)
		r := s.play(t, rapid.Bool().Draw(t, "merge"), check.Linear{})
		if !r.OK() {
			t.Fatalf("%v\n%v", r, s)
		}
		decided += r.Linear.Decided
	})
	if decided == 0 {
		t.Error("no conversation was given to the linearizability checker")
	}
}

func (s *story) String() string {
	var b bytes.Buffer
	for _, st := range s.steps {
		fmt.Fprintf(&b, "w%d %s %s %s %s %v %v %d\n", st.worker, st.what, st.conv, st.who, st.user, st.entry, st.entries, st.count)
	}
	return b.String()
}
