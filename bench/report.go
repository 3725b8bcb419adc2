package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// report is the result of one measurement.
type report struct {
	Name    string
	Title   string
	Unit    string
	When    time.Time
	Took    string
	Machine string
	Load    string // load averages at the end: how far absolute figures can be trusted
	Rows    []*row
	Notes   []string
}

// row is one thing measured, one value per round.
type row struct {
	Name string
	Unit string `json:",omitempty"` // if it differs from the report's
	Base string `json:",omitempty"` // name of the row it is compared with, round by round
	// Target bounds the ratio to Base, or the median if there is no Base, from above; from below with AtLeast.
	// Zero: none.
	Target  float64 `json:",omitempty"`
	AtLeast bool    `json:",omitempty"`
	Extra   string  `json:",omitempty"`

	Median, Min, Max   float64
	Ratio              float64   `json:",omitempty"` // median of the rounds' ratios
	RatioMin, RatioMax float64   `json:",omitempty"`
	Rounds             []float64 `json:",omitempty"`
	Met                *bool     `json:",omitempty"`

	values sample
}

// row returns the row of that name, made if it is new.
func (r *report) row(name, base string) *row {
	for _, x := range r.Rows {
		if x.Name == name {
			return x
		}
	}
	x := &row{Name: name, Base: base}
	r.Rows = append(r.Rows, x)
	return x
}

func (r *report) find(name string) *row {
	for _, x := range r.Rows {
		if x.Name == name {
			return x
		}
	}
	return nil
}

func (x *row) add(v float64) { x.values = append(x.values, v) }

func (r *report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// finish computes what is derived from the rounds.
func (r *report) finish(name string, start time.Time) {
	r.Name, r.When, r.Took = name, start.UTC().Truncate(time.Second), time.Since(start).Round(time.Second).String()
	r.Machine = fmt.Sprintf("%d CPUs, %s/%s, %s, %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, kernel(), runtime.Version())
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		r.Load = strings.Join(strings.Fields(string(b))[:3], " ")
	}
	for _, x := range r.Rows {
		if len(x.values) == 0 {
			continue
		}
		x.Rounds = x.values
		x.Median, x.Min, x.Max = x.values.median(), x.values.min(), x.values.max()
		judged := x.Median
		if x.Base != "" {
			judged = math.NaN()
			if b := r.find(x.Base); b != nil {
				if q := ratios(x.values, b.values); len(q) > 0 {
					x.Ratio, x.RatioMin, x.RatioMax = q.median(), q.min(), q.max()
					judged = x.Ratio
				}
			}
		}
		if x.Target > 0 && !math.IsNaN(judged) {
			met := judged <= x.Target
			if x.AtLeast {
				met = judged >= x.Target
			}
			x.Met = &met
		}
	}
}

// missed is an error that names the rows that miss their targets; nil: none does.
func (r *report) missed() error {
	var names []string
	for _, x := range r.Rows {
		if x.Met != nil && !*x.Met {
			names = append(names, fmt.Sprintf("%s: %s, want %s", x.Name, figure(x.Median), figure(x.Target)))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("targets missed: %s", strings.Join(names, "; "))
}

func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "kernel unknown"
	}
	return "kernel " + strings.TrimSpace(string(b))
}

func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func (r *report) writeTable(w io.Writer) error {
	fmt.Fprintf(w, "%s — %s\n", r.Title, r.Unit)
	t := tabwriter.NewWriter(w, 2, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "row\tmedian\tmin…max\tratio\tof\tmin…max\ttarget\t\t")
	for _, x := range r.Rows {
		if len(x.values) == 0 {
			continue
		}
		name := x.Name
		if x.Unit != "" {
			name += " [" + x.Unit + "]"
		}
		fmt.Fprintf(t, "%s\t%s\t%s…%s\t", name, figure(x.Median), figure(x.Min), figure(x.Max))
		if x.Ratio > 0 {
			fmt.Fprintf(t, "%.2f\t%s\t%.2f…%.2f\t", x.Ratio, x.Base, x.RatioMin, x.RatioMax)
		} else {
			fmt.Fprint(t, "\t\t\t")
		}
		switch {
		case x.Met == nil:
			fmt.Fprint(t, "\t\t")
		default:
			sign, verdict := "≤", "met"
			if x.AtLeast {
				sign = "≥"
			}
			if !*x.Met {
				verdict = "MISSED"
			}
			fmt.Fprintf(t, "%s %s\t%s\t", sign, figure(x.Target), verdict)
		}
		fmt.Fprintln(t, x.Extra)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, n := range r.Notes {
		fmt.Fprintln(w, "  ·", n)
	}
	_, err := fmt.Fprintf(w, "  %s; load %s; %s, took %s\n", r.Machine, r.Load, r.When.Format("2006-01-02 15:04Z"), r.Took)
	return err
}

// figure prints with three significant digits or all of the integer part.
func figure(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
