package doctor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// Level of a finding.
type Level int

// The levels.
const (
	Fine    Level = iota // nothing that a run would notice
	Caps                 // it bounds what a run can do, or what its figures are worth
	Unknown              // it could not be read
)

func (l Level) String() string { return [...]string{"ok", "caps", "unknown"}[l] }

// Finding is one limit.
type Finding struct {
	Name  string // what it is, as the system names it
	Value string
	Level Level
	Means string // what it caps
	Do    string // what to do about it; empty: nothing needs to be done, or can be
}

// System is what is not in files.
type System struct {
	CPUs     int // that this process may use
	PageSize int // in bytes
	// Namespace tries whether a network namespace can be made.
	Namespace func() error
	// Connections that a run is to hold: what the means of the findings refer to. Default 100,000.
	Connections int
}

// spare descriptors of a process: its files, its listeners, and the connections of its tools.
const spare = 500

// perConnection is what one idle connection costs in bytes, both ends on this machine: in the kernel, the hub and the generator.
const perConnection = 5200 + 1024 + 2048

// From examines a file system that has proc and sys at its root, as os.DirFS("/") does.
func From(root fs.FS, sys System) []Finding {
	e := examination{files: files{root}, System: sys}
	if e.Connections == 0 {
		e.Connections = 100_000
	}
	e.descriptors()
	e.ports()
	e.backlog()
	e.tcp()
	e.processors()
	e.memory()
	e.quiet()
	e.clock()
	e.namespaces()
	return e.found
}

// Text writes the findings for a terminal: what caps something with its remedy, everything else in a line.
func Text(w io.Writer, findings []Finding) error {
	var b strings.Builder
	caps := 0
	width := 0
	for _, f := range findings {
		width = max(width, len(f.Name))
		if f.Level == Caps {
			caps++
		}
	}
	marks := map[Level]string{Fine: "✓", Caps: "!", Unknown: "?"}
	for _, f := range findings {
		fmt.Fprintf(&b, "%s %-*s  %s\n", marks[f.Level], width, f.Name, f.Value)
		if f.Means != "" {
			fmt.Fprintf(&b, "  %*s  %s\n", width, "", f.Means)
		}
		if f.Do != "" && f.Level == Caps {
			fmt.Fprintf(&b, "  %*s  → %s\n", width, "", f.Do)
		}
	}
	fmt.Fprintf(&b, "\n%d of %d cap something (!)\n", caps, len(findings))
	_, err := io.WriteString(w, b.String())
	return err
}

// examination collects findings.
type examination struct {
	files
	System
	found []Finding
}

func (e *examination) add(f Finding) { e.found = append(e.found, f) }

// unreadable notes what could not be read. What does not exist is not a finding when optional.
func (e *examination) unreadable(name string, err error, optional bool) {
	if optional && errors.Is(err, fs.ErrNotExist) {
		return
	}
	e.add(Finding{Name: name, Value: err.Error(), Level: Unknown})
}

// level is Caps if it does.
func level(caps bool) Level {
	if caps {
		return Caps
	}
	return Fine
}

// number writes n with commas.
func number(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// ceil divides and rounds up.
func ceil(a, b int64) int64 { return (a + b - 1) / b }

// bytes writes n with three digits and its unit.
func bytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for ; i < len(units)-1 && v >= 1024; i++ {
		v /= 1024
	}
	if v >= 100 {
		return fmt.Sprintf("%.0f %s", v, units[i])
	}
	return fmt.Sprintf("%.3g %s", v, units[i])
}
