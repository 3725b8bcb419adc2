package live

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/term"

	"github.com/zumodra/hub/bench/compare"
	"github.com/zumodra/hub/bench/measure"
)

// Config of a View.
type Config struct {
	Out      io.Writer     // default os.Stdout
	Name     string        // of the scenario
	Warmup   time.Duration // as the scenario has it
	Duration time.Duration
	// Size of the terminal that Out is, in characters; false: it is none. Default: asked of Out.
	Size func() (width, height int, ok bool)
}

// Status of a run, once a second.
type Status struct {
	Phase      string // connecting, warm-up, measuring, settling, checking …: what a person is told
	Interval   measure.Interval
	Target     int64 // connections that there shall be
	Marks      []measure.Mark
	Violations int
	Warnings   []string // why the run is going to be invalid
}

// history is how many seconds the little curves show.
const history = 40

// View of one run. It starts no goroutine; all methods may be called concurrently. What the output refuses is lost and no error: a run
// does not end because nobody looks.
type View struct {
	cfg Config

	mu     sync.Mutex
	last   Status
	seen   bool
	totals map[string]int64
	curves map[string][]float64 // at most history of each
	drawn  int                  // lines of the view that stand above the cursor
	marks  int                  // that were told in a line, where there is no terminal
}

// New makes a view. Nothing is written before the first Update.
func New(cfg Config) *View {
	if cfg.Out == nil {
		cfg.Out = os.Stdout
	}
	if cfg.Size == nil {
		cfg.Size = sizeOf(cfg.Out)
	}
	return &View{cfg: cfg, totals: map[string]int64{}, curves: map[string][]float64{}}
}

// sizeOf asks the terminal that w is.
func sizeOf(w io.Writer) func() (int, int, bool) {
	return func() (int, int, bool) {
		f, ok := w.(*os.File)
		if !ok || os.Getenv("TERM") == "dumb" || !term.IsTerminal(int(f.Fd())) {
			return 0, 0, false
		}
		width, height, err := term.GetSize(int(f.Fd()))
		return width, height, err == nil
	}
}

// Update shows a status, and keeps it until the next: what it points to must not change. Each interval is to be told once.
func (v *View) Update(s Status) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last, v.seen = s, true
	for name, n := range s.Interval.Counts {
		v.totals[name] += n
	}
	v.push("acked", float64(s.Interval.Counts[measure.CountAcked]))
	v.push("delivered", float64(s.Interval.Counts[measure.CountDelivered]))
	v.push("ack", float64(s.Interval.Latency[measure.NameAck]["p99"]))
	v.push("delivery", float64(s.Interval.Latency[measure.NameDelivery]["p99"]))
	if width, height, ok := v.cfg.Size(); ok {
		v.draw(v.lines(), width, height)
		return
	}
	for _, m := range s.Marks[min(v.marks, len(s.Marks)):] {
		v.write(clean(markText(m)) + "\n")
	}
	v.marks = len(s.Marks)
	v.write(clean(v.line()) + "\n")
}

// Print writes a line above the view, for what is not part of it.
func (v *View) Print(line string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	width, height, ok := v.cfg.Size()
	if !ok {
		v.write(clean(line) + "\n")
		return
	}
	v.write(v.up() + "\x1b[J" + clean(line) + "\n")
	v.drawn = 0
	if v.seen {
		v.draw(v.lines(), width, height)
	}
}

func (v *View) push(curve string, value float64) {
	c := append(v.curves[curve], value)
	v.curves[curve] = c[max(0, len(c)-history):]
}

func (v *View) write(s string) { _, _ = io.WriteString(v.cfg.Out, s) }

// up moves the cursor to the first line of what was drawn.
func (v *View) up() string {
	if v.drawn == 0 {
		return ""
	}
	return fmt.Sprintf("\x1b[%dA\r", v.drawn)
}

// draw replaces the view, in one write so that nothing flickers. What is higher than the terminal is left out: it would scroll.
func (v *View) draw(lines []string, width, height int) {
	var b strings.Builder
	b.WriteString(v.up())
	if height > 1 && len(lines) > height-1 {
		lines = lines[:height-1]
	}
	for _, l := range lines {
		r := []rune(clean(l))
		// The last column stays free: some terminals wrap after it.
		if width > 1 && len(r) > width-1 {
			r = r[:width-1]
		}
		b.WriteString(string(r) + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	v.write(b.String())
	v.drawn = len(lines)
}

// lines of the view on a terminal.
func (v *View) lines() []string {
	s := v.last
	i := s.Interval
	counts := func(names ...string) string {
		var parts []string
		for _, n := range names {
			parts = append(parts, fmt.Sprintf("%s %s", n, compare.Format(float64(i.Counts[n]), compare.Count)))
		}
		return strings.Join(parts, "  ")
	}
	row := func(name, text, curve string) string {
		return fmt.Sprintf("%-12s %-58s %s", name, text, spark(v.curves[curve]))
	}
	out := []string{
		v.head(),
		row("connections", fmt.Sprintf("%d of %d  %s", i.Connected, s.Target, counts(measure.CountOpened, measure.CountClosed)), ""),
		row("sends /s", counts(measure.CountIntended, measure.CountSent, measure.CountAcked, measure.CountRefused), "acked"),
		row("arrivals /s", counts(measure.CountDelivered, measure.CountFrames), "delivered"),
		row("sessions", counts(measure.CountResumed, measure.CountGaps, measure.CountErrors), ""),
	}
	for _, name := range []string{measure.NameAck, measure.NameDelivery, measure.NameLateness} {
		out = append(out, row(name, latency(i, name), name))
	}
	chaos := "nothing so far"
	if n := len(s.Marks); n > 0 {
		chaos = fmt.Sprintf("%d: %s", n, markText(s.Marks[n-1]))
	}
	mark := "✓"
	if s.Violations > 0 {
		mark = "✗"
	}
	out = append(out, row("chaos", chaos, ""), row("violations", fmt.Sprintf("%s %d", mark, s.Violations), ""))
	if n := len(s.Warnings); n > 0 {
		out = append(out, row("invalid", fmt.Sprintf("✗ %s", strings.Join(s.Warnings, "; ")), ""))
	}
	for j := range out {
		out[j] = strings.TrimRight(out[j], " ")
	}
	return out
}

// head is the name, the phase and how far it is.
func (v *View) head() string {
	at := time.Duration(v.last.Interval.At) * time.Second
	head := fmt.Sprintf("%s  %s  %s of %s", v.cfg.Name, cmp.Or(v.last.Phase, "running"), at, v.cfg.Duration)
	if all := v.cfg.Warmup + v.cfg.Duration; all > 0 {
		const width = 24
		share := min(1, max(0, float64(at+v.cfg.Warmup+time.Second)/float64(all)))
		n := int(share * width)
		head += fmt.Sprintf("  %s%s %3.0f %%", strings.Repeat("█", n), strings.Repeat("░", width-n), 100*share)
	}
	return head
}

// line is the status where there is no terminal.
func (v *View) line() string {
	s := v.last
	i := s.Interval
	text := fmt.Sprintf("%4ds %s: connected %d/%d, sent %d, acked %d, delivered %d, refused %d, errors %d",
		i.At, cmp.Or(s.Phase, "running"), i.Connected, s.Target, i.Counts[measure.CountSent], i.Counts[measure.CountAcked],
		i.Counts[measure.CountDelivered], i.Counts[measure.CountRefused], i.Counts[measure.CountErrors])
	for _, name := range []string{measure.NameAck, measure.NameDelivery} {
		if q := i.Latency[name]; len(q) > 0 {
			text += fmt.Sprintf(", %s %s/%s", name, duration(q["p50"]), duration(q["p99"]))
		}
	}
	text += fmt.Sprintf(", violations %d", s.Violations)
	if len(s.Warnings) > 0 {
		text += ", invalid: " + strings.Join(s.Warnings, "; ")
	}
	return text
}

func markText(m measure.Mark) string {
	text := fmt.Sprintf("at %.1f s: %s", m.At, m.Text)
	if m.Err != "" {
		text += ": " + m.Err
	}
	return text
}

func latency(i measure.Interval, name string) string {
	q := i.Latency[name]
	if len(q) == 0 {
		return "–"
	}
	return fmt.Sprintf("50 %% %s  99 %% %s  max %s", duration(q["p50"]), duration(q["p99"]), duration(q["max"]))
}

func duration(ns int64) string { return compare.Format(float64(ns)/1e9, compare.Seconds) }

// spark draws values as a row of blocks, from 0 to their highest.
func spark(values []float64) string {
	blocks := []rune("▁▂▃▄▅▆▇█")
	most := 0.0
	for _, x := range values {
		most = max(most, x)
	}
	if most == 0 {
		return ""
	}
	out := make([]rune, len(values))
	for i, x := range values {
		out[i] = blocks[int(math.Round(max(0, x)/most*float64(len(blocks)-1)))]
	}
	return string(out)
}

// clean makes text of others safe for a terminal.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || unicode.Is(unicode.Cf, c) {
			return ' '
		}
		return c
	}, s)
}
