package doctor

import (
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"
)

// files reads what the kernel says.
type files struct{ root fs.FS }

// text of a file without the space around it.
func (f files) text(name string) (string, error) {
	b, err := fs.ReadFile(f.root, name)
	if err != nil {
		return "", err // has the name
	}
	return strings.TrimSpace(string(b)), nil
}

// numbers of a file that holds at least n of them in its first line.
func (f files) numbers(name string, n int) ([]int64, error) {
	s, err := f.text(name)
	if err != nil {
		return nil, err
	}
	first, _, _ := strings.Cut(s, "\n")
	var out []int64
	for _, word := range strings.Fields(first) {
		v, err := strconv.ParseInt(word, 10, 64)
		if errIsRange(word, err) {
			v, err = math.MaxInt64, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, v)
	}
	if len(out) < n {
		return nil, fmt.Errorf("%s: %d numbers, want %d", name, len(out), n)
	}
	return out, nil
}

// errIsRange reports whether a number is only too large: file-max may be 2⁶⁴−1.
func errIsRange(word string, err error) bool {
	if err == nil {
		return false
	}
	_, err = strconv.ParseUint(word, 10, 64)
	return err == nil
}

// limit returns a row of proc/self/limits; unlimited is MaxInt64.
func (f files) limit(row string) (soft, hard int64, err error) {
	const name = "proc/self/limits"
	s, err := f.text(name)
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(s) {
		rest, ok := strings.CutPrefix(line, row)
		if !ok {
			continue
		}
		words := strings.Fields(rest)
		if len(words) < 2 {
			break
		}
		var v [2]int64
		for i := range v {
			if words[i] == "unlimited" {
				v[i] = math.MaxInt64
			} else if v[i], err = strconv.ParseInt(words[i], 10, 64); err != nil {
				return 0, 0, fmt.Errorf("%s: %s: %w", name, row, err)
			}
		}
		return v[0], v[1], nil
	}
	return 0, 0, fmt.Errorf("%s: no row %q", name, row)
}

// meminfo returns a row of proc/meminfo in bytes.
func (f files) meminfo(row string) (int64, error) {
	const name = "proc/meminfo"
	s, err := f.text(name)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(s) {
		rest, ok := strings.CutPrefix(line, row+":")
		if !ok {
			continue
		}
		v, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %s: %w", name, row, err)
		}
		return v << 10, nil
	}
	return 0, fmt.Errorf("%s: no row %q", name, row)
}

// steal returns which share of the time since the start of the machine its host gave to others.
func (f files) steal() (float64, error) {
	const name = "proc/stat"
	s, err := f.text(name)
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(s, "\n")
	words := strings.Fields(first)
	// user nice system idle iowait irq softirq steal; guest is part of user.
	if len(words) < 9 || words[0] != "cpu" {
		return 0, fmt.Errorf("%s: %q has no time of steal", name, first)
	}
	var all, stolen float64
	for i, w := range words[1:9] {
		v, err := strconv.ParseFloat(w, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		all += v
		if i == 7 {
			stolen = v
		}
	}
	if all == 0 {
		return 0, nil
	}
	return stolen / all, nil
}

// quota returns how many processors the control group allows; 0: as many as there are.
func (f files) quota() float64 {
	if s, err := f.text("sys/fs/cgroup/cpu.max"); err == nil {
		var most, period float64
		if n, _ := fmt.Sscan(s, &most, &period); n == 2 && period > 0 {
			return most / period
		}
		return 0
	}
	most, err := f.numbers("sys/fs/cgroup/cpu/cpu.cfs_quota_us", 1)
	period, err2 := f.numbers("sys/fs/cgroup/cpu/cpu.cfs_period_us", 1)
	if err != nil || err2 != nil || most[0] <= 0 || period[0] <= 0 {
		return 0
	}
	return float64(most[0]) / float64(period[0])
}

// memoryQuota returns how much memory the control group allows; 0: as much as there is.
func (f files) memoryQuota() int64 {
	for _, name := range []string{"sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		// "max", and in the older one a number near 2⁶³, mean none.
		if v, err := f.numbers(name, 1); err == nil && v[0] < 1<<60 {
			return v[0]
		}
	}
	return 0
}
