package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/search/fts"
)

// searchBatch is how many messages the indexer hands over at once.
const searchBatch = 200

// searchSetup is what the index is measured with.
type searchSetup struct {
	docs, convs int // messages and conversations, beside those of the big one
	big         int // messages of conversation 0, spread over the time of all
	queries     int // of each kind, scope and round
}

// searchKind is a way of asking.
type searchKind struct {
	name string
	ask  func(c *corpus) string
}

// measureSearch fills the embedded index and asks it.
func measureSearch(o options) (*report, error) {
	s := searchSetup{docs: o.docs, convs: max(o.docs/50, 1), queries: 100}
	s.big = o.docs / 10
	if o.queries > 0 {
		s.queries = o.queries
	}
	b, err := newBench(o)
	if err != nil {
		return nil, err
	}
	defer b.end()
	dir := filepath.Join(b.dir, "search")
	ix, err := fts.Open(fts.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	b.atEnd(func() { _ = ix.Close() })
	r := &report{Title: fmt.Sprintf("embedded search, %d messages in %d conversations, one of them with %d", s.docs, s.convs, s.big), Unit: "ms; a row's values are the p99 of each round"}
	c := newCorpus(s)
	if err := c.fill(ix, r, o); err != nil {
		return nil, err
	}
	size, err := dirBytes(dir)
	if err != nil {
		return nil, err
	}
	r.sized("size on disk", "MB", float64(size)/1e6, fmt.Sprintf("%.0f bytes a message", float64(size)/float64(s.docs)))
	if rss, ok := residentBytes(); ok {
		r.sized("resident after indexing", "MB", float64(rss)/1e6, "the whole process, its generator included")
	}
	if err := c.reopen(b, &ix, dir, r); err != nil {
		return nil, err
	}
	if err := c.ask(ix, r, o); err != nil {
		return nil, err
	}
	if err := c.askWhileIndexing(ix, r); err != nil {
		return nil, err
	}
	if rss, ok := residentBytes(); ok {
		r.sized("resident after searching", "MB", float64(rss)/1e6, "")
	}
	return r, nil
}

func (r *report) sized(name, unit string, v float64, extra string) {
	x := r.row(name, "")
	x.Unit, x.Extra = unit, extra
	x.add(v)
}

// corpus makes messages of a vocabulary whose words are as unequally common as those of a language (Zipf), with accents,
// and one in eighteen in Chinese or Japanese.
type corpus struct {
	searchSetup
	rng   *rand.Rand
	zipf  *rand.Zipf
	words []string // the commonest first
	han   *rand.Zipf
	runes []rune
	seqs  []uint64
	made  int
	began time.Time
}

func newCorpus(s searchSetup) *corpus {
	c := &corpus{searchSetup: s, rng: rand.New(rand.NewPCG(1, 2)), seqs: make([]uint64, s.convs), began: time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)}
	const words = 60_000
	c.zipf = rand.NewZipf(c.rng, 1.08, 2.7, words-1)
	syllables := strings.Fields("a e i o u ba be bi bo ca ce ci co da de di do fa fe fi fo ga ge gi go la le li lo ma me mi mo na ne ni no pa pe pi po ra re ri ro sa se si so ta te ti to va ve vi vo é è ü ö ñ ç an en in on er st tr pl sh th ing ion ment")
	seen := map[string]bool{}
	for len(c.words) < words {
		n := 1 + c.rng.IntN(2)
		if len(c.words) > 200 {
			n += 1 + c.rng.IntN(3)
		}
		var w strings.Builder
		for range n {
			w.WriteString(syllables[c.rng.IntN(len(syllables))])
		}
		if !seen[w.String()] {
			seen[w.String()] = true
			c.words = append(c.words, w.String())
		}
	}
	c.han = rand.NewZipf(c.rng, 1.1, 8, 3000)
	for r := rune(0x4e00); len(c.runes) <= 2900; r += 7 {
		c.runes = append(c.runes, r)
	}
	for r := rune(0x3042); len(c.runes) <= 3000; r++ {
		c.runes = append(c.runes, r)
	}
	return c
}

func (c *corpus) key(n int) chat.ConversationKey {
	k := chat.ConversationKey{Tenant: "bench", ID: chat.ConversationID{6: 0x70, 8: 0x80}}
	binary.BigEndian.PutUint64(k.ID[8:], uint64(n)*0x9e3779b97f4a7c15|1<<63)
	binary.BigEndian.PutUint32(k.ID[:4], uint32(n))
	return k
}

func (c *corpus) text() string {
	var s strings.Builder
	if c.rng.IntN(18) == 0 {
		for range 4 + c.rng.IntN(17) {
			s.WriteRune(c.runes[c.han.Uint64()])
		}
		return s.String()
	}
	for i := range 2 + c.rng.IntN(19) {
		if i > 0 {
			s.WriteByte(' ')
		}
		s.WriteString(c.words[c.zipf.Uint64()])
	}
	return s.String()
}

// batch makes the next messages, half a minute apart.
func (c *corpus) batch(n int) []chat.IndexChange {
	at := map[int]int{}
	var changes []chat.IndexChange
	for range n {
		conv := 0
		if c.big == 0 || c.rng.IntN(c.docs) >= c.big {
			conv = c.rng.IntN(c.convs)
		}
		i, ok := at[conv]
		if !ok {
			i = len(changes)
			at[conv] = i
			changes = append(changes, chat.IndexChange{Key: c.key(conv)})
		}
		c.seqs[conv]++
		when := c.began.Add(time.Duration(c.made)*30*time.Second + time.Duration(c.rng.IntN(1e10)).Truncate(time.Microsecond))
		c.made++
		changes[i].Events = append(changes[i].Events, chat.Event{Seq: c.seqs[conv], Type: chat.EventMessage, At: when, Content: c.text(),
			Actor: chat.UserID("user" + strconv.Itoa(c.rng.IntN(c.convs))), MessageSeq: c.seqs[conv], Message: chat.NewMessageID(c.key(conv), c.seqs[conv], when)})
	}
	return changes
}

func (c *corpus) fill(ix *fts.Index, r *report, o options) error {
	stop, err := profile(o, "search-index")
	if err != nil {
		return err
	}
	defer stop()
	defer onOneThread()()
	var ms []float64
	var busy, cpu time.Duration
	rate := r.row("indexing", "")
	rate.Unit = "messages/s, synced batches of " + strconv.Itoa(searchBatch)
	mark, marked := busy, 0
	for c.made < c.docs {
		changes := c.batch(min(searchBatch, c.docs-c.made))
		before, _ := threadCPU()
		began := time.Now()
		if err := ix.Apply(context.Background(), changes); err != nil {
			return err
		}
		d := time.Since(began)
		after, _ := threadCPU()
		busy, cpu = busy+d, cpu+after-before
		ms = append(ms, d.Seconds()*1e3)
		if n := c.made - marked; n >= max(c.docs/10, 1) {
			rate.add(float64(n) / (busy - mark).Seconds())
			mark, marked = busy, c.made
			fmt.Fprintf(os.Stderr, "bench: %d messages, %.0f/s\n", c.made, rate.values[len(rate.values)-1])
		}
	}
	l := summarise(ms)
	rate.Extra = fmt.Sprintf("tenths of the whole; a batch p50 %.0f, p99 %.0f, max %.0f ms", l.P50, l.P99, l.Max)
	if cpu > 0 {
		r.sized("indexing, of CPU", "messages per CPU-second", float64(c.docs)/cpu.Seconds(), "")
	}
	return nil
}

// reopen measures what a restart takes, after a crash and after a clean end.
func (c *corpus) reopen(b *bench, ix **fts.Index, dir string, r *report) error {
	crashed := filepath.Join(b.dir, "crashed")
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		return err
	}
	defer onOneThread()()
	began := time.Now()
	before, _ := threadCPU()
	copied, err := fts.Open(fts.Config{Dir: crashed, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	after, _ := threadCPU()
	r.sized("opening after a crash", "ms", time.Since(began).Seconds()*1e3, fmt.Sprintf("all pages are checked; CPU %.0f", (after-before).Seconds()*1e3))
	if n := copied.Stats().Documents; n != int64(c.docs) {
		return fmt.Errorf("the copy has %d documents", n)
	}
	if err := errors.Join(copied.Close(), os.RemoveAll(crashed), (*ix).Close()); err != nil {
		return err
	}
	began = time.Now()
	next, err := fts.Open(fts.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	*ix = next
	r.sized("opening", "ms", time.Since(began).Seconds()*1e3, "")
	b.atEnd(func() { _ = next.Close() })
	return nil
}

var searchKinds = []searchKind{
	{"common word", func(c *corpus) string { return exact(c.words[c.rng.IntN(10)]) }},
	{"medium word", func(c *corpus) string { return exact(c.words[400+c.rng.IntN(400)]) }},
	{"rare word", func(c *corpus) string { return exact(c.words[20_000+c.rng.IntN(30_000)]) }},
	{"bare word", func(c *corpus) string { return c.words[300+c.rng.IntN(5000)] }},
	{"two words", func(c *corpus) string { return c.words[300+c.rng.IntN(300)] + " " + c.words[300+c.rng.IntN(300)] }},
	{"common and rare", func(c *corpus) string {
		return exact(c.words[c.rng.IntN(10)]) + " " + c.words[20_000+c.rng.IntN(30_000)]
	}},
	{"prefix of 2", func(c *corpus) string { return prefix(c.words[c.rng.IntN(20_000)], 2) }},
	{"prefix of 3", func(c *corpus) string { return prefix(c.words[c.rng.IntN(20_000)], 3) + "*" }},
	{"infix of 3", func(c *corpus) string { return prefix(c.words[c.rng.IntN(20_000)], 3) }},
	{"infix of 5", func(c *corpus) string { return infix(c.words[300+c.rng.IntN(20_000)], 5) }},
	{"typo", func(c *corpus) string { return misspelt(c.words[1000+c.rng.IntN(20_000)]) }},
	{"phrase", func(c *corpus) string { return exact(c.words[c.rng.IntN(100)] + " " + c.words[c.rng.IntN(100)]) }},
	{"excluding", func(c *corpus) string {
		return exact(c.words[c.rng.IntN(100)]) + " -" + c.words[c.rng.IntN(100)] + " -" + c.words[c.rng.IntN(100)]
	}},
	{"CJK pair", func(c *corpus) string { return string(c.runes[c.han.Uint64()]) + string(c.runes[c.han.Uint64()]) }},
	{"CJK three", func(c *corpus) string {
		return string(c.runes[c.han.Uint64()]) + string(c.runes[c.han.Uint64()]) + string(c.runes[c.han.Uint64()])
	}},
	{"nothing there", func(c *corpus) string { return "xqzzy" + strconv.Itoa(c.rng.IntN(1000)) }},
}

func exact(s string) string { return `"` + s + `"` }

func prefix(w string, n int) string {
	r := []rune(w)
	return string(r[:min(n, len(r))])
}

func infix(w string, n int) string {
	r := []rune(w)
	if len(r) <= n {
		return w
	}
	return string(r[len(r)-n:])
}

func misspelt(w string) string {
	r := []rune(w)
	if len(r) < 5 {
		return w + "xq"
	}
	r[1], r[2] = r[2], r[1]
	return string(r)
}

// ask measures every kind of query for users of some numbers of conversations.
func (c *corpus) ask(ix *fts.Index, r *report, o options) error {
	stop, err := profile(o, "search-query")
	if err != nil {
		return err
	}
	defer stop()
	defer onOneThread()()
	type scope struct {
		name   string
		convs  func() []chat.ConversationID
		target float64
	}
	some := func(n int) func() []chat.ConversationID {
		return func() []chat.ConversationID {
			ids := make([]chat.ConversationID, n)
			for i := range ids {
				ids[i] = c.key(1 + c.rng.IntN(max(c.convs-1, 1))).ID
			}
			return ids
		}
	}
	scopes := []scope{
		{"in the big one", func() []chat.ConversationID { return []chat.ConversationID{c.key(0).ID} }, 50},
		{"in 10", some(10), 100},
		{"in 200", some(200), 100},
		{"in 2000", some(2000), 100},
		{"in all", func() []chat.ConversationID {
			ids := make([]chat.ConversationID, c.convs)
			for i := range ids {
				ids[i] = c.key(i).ID
			}
			return ids
		}, 100},
	}
	if _, ok := threadCPU(); ok {
		r.note("CPU: processor time of the query's thread, which other load on the machine hardly moves")
	}
	b := &bench{options: o}
	for _, s := range scopes {
		if !b.wants(s.name) {
			continue
		}
		var pooled, pooledCPU []float64
		all := r.row("any query "+s.name, "")
		all.Target = s.target
		for _, k := range searchKinds {
			var ms, cpu []float64
			hits := 0
			x := r.row(k.name+" "+s.name, "")
			x.Target = s.target
			for round := range o.runs + 1 {
				var one, oneCPU []float64
				for range c.queries {
					q := chat.IndexQuery{Tenant: "bench", Conversations: s.convs()}
					q.Text = k.ask(c)
					began := time.Now()
					before, _ := threadCPU()
					a, err := ix.Search(context.Background(), q)
					after, _ := threadCPU()
					d := time.Since(began).Seconds() * 1e3
					if err != nil {
						return fmt.Errorf("%q: %w", q.Text, err)
					}
					one = append(one, d)
					oneCPU = append(oneCPU, (after-before).Seconds()*1e3)
					hits += len(a.Hits)
				}
				if round == 0 {
					continue // warms the caches
				}
				x.add(summarise(one).P99)
				ms = append(ms, one...)
				cpu = append(cpu, oneCPU...)
			}
			l, p := summarise(ms), summarise(cpu)
			x.Extra = fmt.Sprintf("p50 %.1f, max %.1f; CPU p50 %.1f, p99 %.1f, max %.1f; %.1f hits", l.P50, l.Max, p.P50, p.P99, p.Max, float64(hits)/float64(c.queries*(o.runs+1)))
			pooled = append(pooled, ms...)
			pooledCPU = append(pooledCPU, cpu...)
		}
		l, p := summarise(pooled), summarise(pooledCPU)
		all.add(l.P99)
		all.Extra = fmt.Sprintf("of %d: p50 %.1f, max %.1f", len(pooled), l.P50, l.Max)
		if _, ok := threadCPU(); ok {
			x := r.row("any query "+s.name+", of CPU", "")
			x.Target, x.Extra = s.target, fmt.Sprintf("p50 %.1f, max %.1f", p.P50, p.Max)
			x.add(p.P99)
		}
	}
	return nil
}

// askWhileIndexing measures the two together: 1,000 messages a second come in, and one user after the other asks.
func (c *corpus) askWhileIndexing(ix *fts.Index, r *report) error {
	const rate, seconds = 1000, 10
	done := make(chan error, 1)
	var lag []float64
	batches := make([][]chat.IndexChange, rate*seconds/searchBatch)
	for i := range batches {
		batches[i] = c.batch(searchBatch)
	}
	began := time.Now()
	go func() {
		for i, changes := range batches {
			due := began.Add(time.Duration(i+1) * time.Second * searchBatch / rate) // when the last of them was said
			time.Sleep(time.Until(due))
			if err := ix.Apply(context.Background(), changes); err != nil {
				done <- err
				return
			}
			lag = append(lag, time.Since(due).Seconds()*1e3)
		}
		done <- nil
	}()
	var ms []float64
	for running := true; running; {
		select {
		case err := <-done:
			if err != nil {
				return err
			}
			running = false
		default:
			q := chat.IndexQuery{Tenant: "bench"}
			for range 200 {
				q.Conversations = append(q.Conversations, c.key(c.rng.IntN(c.convs)).ID)
			}
			q.Text = searchKinds[c.rng.IntN(len(searchKinds))].ask(c)
			at := time.Now()
			if _, err := ix.Search(context.Background(), q); err != nil {
				return err
			}
			ms = append(ms, time.Since(at).Seconds()*1e3)
		}
	}
	if len(ms) == 0 {
		return errors.New("no query was answered while messages came in")
	}
	x, y := r.row("any query in 200, while 1,000 messages/s come in", ""), r.row("from due to found, 1,000 messages/s in batches of 200", "")
	l := summarise(ms)
	x.add(l.P99)
	x.Extra = fmt.Sprintf("p50 %.1f, max %.1f of %d", l.P50, l.Max, len(ms))
	l = summarise(lag)
	y.add(l.P99)
	y.Extra = fmt.Sprintf("p50 %.1f, max %.1f", l.P50, l.Max)
	return nil
}

// profile writes a CPU profile until it is stopped, if profiles were asked for.
func profile(o options, name string) (stop func(), err error) {
	if o.profile == "" {
		return func() {}, nil
	}
	w, err := os.Create(filepath.Join(o.profile, name+".pprof"))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(w); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		_ = w.Close()
	}, nil
}

func dirBytes(dir string) (n int64, err error) {
	err = filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return err
	})
	return n, err
}

// residentBytes is this process's resident memory, where the system tells.
func residentBytes() (int64, bool) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, false
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	return pages * int64(os.Getpagesize()), err == nil
}
