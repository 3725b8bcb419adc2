package live

import (
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

// history is how many seconds the little curves show.
const history = 40

// View of a run. It starts no goroutine, and draws when it is told something; all methods may be called concurrently. What the output
// refuses is lost and no error: a run does not end because nobody looks.
type View struct {
	cfg Config

	mu         sync.Mutex
	phase      string
	ready      int // connections
	failed     int
	target     int
	told       int // tenths of the target that were told in a line
	interval   measure.Interval
	seen       bool // an interval
	violations int64
	marks      int
	mark       measure.Mark // the last one
	totals     map[string]int64
	curves     map[string][]float64 // at most history of each
	drawn      int                  // lines of the view that stand above the cursor
	closed     bool
}

// New makes a view. Nothing is written before it is told something.
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

// Phase says what the run does now: opening connections, load, judging …
func (v *View) Phase(text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.phase = text
	v.show(text)
}

// Connecting says how many connections are ready, of how many, and how many could not be opened. Without a terminal each tenth is told.
func (v *View) Connecting(ready, of, failed int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ready, v.target, v.failed = ready, of, failed
	line, tenths := "", 0
	if of > 0 {
		tenths = ready * 10 / of
	}
	before := v.told
	v.told = tenths // falls when another run begins, against a peer
	if tenths > before {
		line = fmt.Sprintf("%d of %d connections, %d failed", ready, of, failed)
	}
	v.show(line)
}

// Interval shows a second of the load, and keeps it until the next: what it points to must not change. Violations are those so far.
func (v *View) Interval(i measure.Interval, violations int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.interval, v.violations, v.seen = i, violations, true
	for name, n := range i.Counts {
		v.totals[name] += n
	}
	v.push("acked", float64(i.Counts[measure.CountAcked]))
	v.push("delivered", float64(i.Counts[measure.CountDelivered]))
	for _, name := range latencies {
		v.push(name, float64(i.Latency[name]["p99"]))
	}
	v.show(v.line())
}

// Mark shows what was done to the target.
func (v *View) Mark(m measure.Mark) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.marks++
	v.mark = m
	v.show(markText(m))
}

// Close leaves on the terminal what stands there. Whatever the view is told afterwards is ignored, but for Print and the Handler.
func (v *View) Close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed, v.drawn = true, 0
}

// show draws the view; where there is no terminal it writes the line, if there is one.
func (v *View) show(line string) {
	if v.closed {
		return
	}
	if width, height, ok := v.cfg.Size(); ok {
		v.draw(v.lines(), width, height)
	} else if line != "" {
		v.write(clean(line) + "\n")
	}
}

// Print writes a line above the view, for what is not part of it.
func (v *View) Print(line string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.drawn == 0 {
		v.write(clean(line) + "\n")
		return
	}
	v.write(v.up() + "\x1b[J" + clean(line) + "\n")
	v.drawn = 0
	v.show("")
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
	i := v.interval
	counts := func(names ...string) string {
		var parts []string
		for _, n := range names {
			parts = append(parts, fmt.Sprintf("%s %s", n, compare.Format(float64(i.Counts[n]), compare.Count)))
		}
		return strings.Join(parts, "  ")
	}
	row := func(name, text, curve string) string {
		return strings.TrimRight(fmt.Sprintf("%-12s %-58s %s", name, text, spark(v.curves[curve])), " ")
	}
	connections := fmt.Sprintf("%d of %d ready, %d failed", v.ready, v.target, v.failed)
	if !v.seen {
		return []string{v.head(), row("connections", connections, "")}
	}
	connections = fmt.Sprintf("%d of %d  %s", i.Connected, v.target, counts(measure.CountOpened, measure.CountClosed))
	out := []string{
		v.head(),
		row("connections", connections, ""),
		row("sends /s", counts(measure.CountIntended, measure.CountSent, measure.CountAcked, measure.CountRefused), "acked"),
		row("arrivals /s", counts(measure.CountDelivered, measure.CountFrames), "delivered"),
		row("sessions", counts(measure.CountResumed, measure.CountGaps, measure.CountErrors), ""),
	}
	for _, name := range latencies {
		out = append(out, row(name, latency(i, name), name))
	}
	chaos := "nothing so far"
	if v.marks > 0 {
		chaos = fmt.Sprintf("%d: %s", v.marks, markText(v.mark))
	}
	mark := "✓"
	if v.violations > 0 {
		mark = "✗"
	}
	out = append(out, row("chaos", chaos, ""), row("violations", fmt.Sprintf("%s %d", mark, v.violations), ""))
	return out
}

// head is the name, the phase and how far it is.
func (v *View) head() string {
	head := v.cfg.Name + "  " + v.phase
	if !v.seen {
		return head
	}
	at := time.Duration(v.interval.At) * time.Second
	head += fmt.Sprintf("  %s of %s", at, v.cfg.Duration)
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
	i := v.interval
	text := fmt.Sprintf("%4ds connected %d/%d, sent %d, acked %d, delivered %d, refused %d, errors %d",
		i.At, i.Connected, v.target, i.Counts[measure.CountSent], i.Counts[measure.CountAcked],
		i.Counts[measure.CountDelivered], i.Counts[measure.CountRefused], i.Counts[measure.CountErrors])
	for _, name := range []string{measure.NameAck, measure.NameDelivery} {
		if q := i.Latency[name]; len(q) > 0 {
			text += fmt.Sprintf(", %s %s/%s", name, duration(q["p50"]), duration(q["p99"]))
		}
	}
	return text + fmt.Sprintf(", violations %d", v.violations)
}

// latencies that the view has rows for.
var latencies = []string{measure.NameAck, measure.NameDelivery, measure.NameLateness}

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
