package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/zumodra/hub/bench/measure"
)

// part is one of the measurements that the overview runs, shorter than by itself.
type part struct {
	name string
	set  func(o *options)
}

var parts = []part{
	{"idle", func(o *options) { o.runs, o.only = 1, "hub" }},
	{"fanout", func(o *options) { o.runs, o.only = 3, "hub" }},
	{"inbound", func(o *options) { o.runs, o.only, o.seconds = 3, "reactor,gws", 2 }},
	{"accept", func(o *options) { o.runs, o.only = 3, "reactor,gobwas" }},
	{"sends", func(o *options) { o.runs, o.flight, o.only, o.seconds = 3, 64, "multiplexed", 3 }},
	{"allocs", func(o *options) { o.runs = 1 }},
}

// scenarios of hubbench that the overview runs, and what it shows of them.
var loads = []struct {
	name string
	set  []string
}{
	{"dm-mix", []string{"duration=30s", "warmup=5s"}},
	{"town-hall", []string{"duration=20s"}},
	{"reconnect-storm", []string{"duration=40s", "chaos[0].at=10s", "chaos[1].at=10s", "chaos[0].for=15s", "chaos[1].for=15s"}},
}

// measureTargets runs the measurements behind the project's targets, each shorter than by itself, and the load harness: ten
// minutes in all. What failed is a note, and the rest goes on.
func measureTargets(o options) (*report, error) {
	all := &report{Title: "the targets, each shorter than by itself", Unit: "see the row"}
	var failed error
	for _, p := range parts {
		x := o
		p.set(&x)
		m, ok := named(p.name)
		if !ok {
			continue
		}
		began := time.Now()
		r, err := m.run(x)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", p.name, err))
			continue
		}
		r.finish(p.name, began)
		if !o.json {
			if err := r.writeTable(os.Stdout); err != nil {
				return nil, err
			}
			fmt.Println()
		}
		for _, row := range r.Rows {
			if row.Target > 0 {
				all.copy(p.name, r, row)
			}
		}
	}
	for _, l := range loads {
		if err := all.load(o, l.name, l.set); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", l.name, err))
		}
	}
	if failed != nil {
		all.note("not measured: %v", failed)
	}
	return all, nil
}

func named(name string) (measurement, bool) {
	for _, m := range measurements() {
		if m.name == name {
			return m, true
		}
	}
	return measurement{}, false
}

// copy adds a row of another report, with what it is compared with.
func (r *report) copy(name string, from *report, x *row) {
	unit := x.Unit
	if unit == "" {
		unit = from.Unit
	}
	put := func(label, base string, values sample) *row {
		y := r.row(label, base)
		y.Unit = unit
		y.values = append(y.values, values...)
		return y
	}
	base := ""
	if b := from.find(x.Base); b != nil && x.Base != "" {
		base = name + ": " + x.Base
		if r.find(base) == nil {
			put(base, "", b.values)
		}
	}
	y := put(name+": "+x.Name, base, x.values)
	y.Target, y.AtLeast, y.Extra = x.Target, x.AtLeast, x.Extra
}

// load runs a scenario of hubbench with the hub of this tree and adds its thresholds.
func (r *report) load(o options, name string, set []string) error {
	dir, err := os.MkdirTemp(o.data, "targets-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	args := []string{"run", "github.com/zumodra/hub/cmd/hubbench", "run", name, "--quiet", "--out", dir}
	if o.hub != "" {
		args = append(args, "--hub", o.hub)
	}
	for _, s := range set {
		args = append(args, "--set", s)
	}
	cmd := exec.Command("go", args...)
	out, err := cmd.CombinedOutput()
	run, readErr := measure.Read(filepath.Join(dir, "run.json"))
	if readErr != nil {
		return errors.Join(err, fmt.Errorf("%s", out))
	}
	if !o.json {
		fmt.Printf("%s\n", out)
	}
	for _, t := range run.Thresholds {
		x := r.row(name+": "+t.Text, "")
		x.Unit, x.Extra = "s, bytes or a count", "kept"
		if !t.OK {
			x.Extra = "MISSED"
		}
		x.add(t.Value)
	}
	if run.Unsettled != "" {
		r.note("%s did not settle: %s", name, run.Unsettled)
	}
	for _, why := range run.Invalid {
		r.note("%s says nothing about the hub: %s", name, why)
	}
	return nil
}
