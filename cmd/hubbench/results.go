package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/zumodra/hub/bench/compare"
	"github.com/zumodra/hub/bench/doctor"
	"github.com/zumodra/hub/bench/measure"
	"github.com/zumodra/hub/bench/report"
	"github.com/zumodra/hub/bench/scenario"
)

type compareCmd struct {
	Base  string   `arg:"" help:"run.json, or a directory with runs."`
	New   string   `arg:"" help:"The same, of what is new."`
	Force bool     `help:"Compare runs of different scenarios or machines."`
	Gate  []string `placeholder:"FIGURE" help:"The figures that decide, as ack.p99,cpu.per_send; default: those that the scenario has thresholds on. Name them before you look."`
}

// Run is the command: it prints Markdown, and ends with 1 when a figure that decides is significantly worse, with 2 when the runs cannot be compared.
func (c *compareCmd) Run(s *streams) error {
	base, err := runs(c.Base)
	if err != nil {
		return err
	}
	fresh, err := runs(c.New)
	if err != nil {
		return err
	}
	x := compare.Compare(base, fresh, compare.Config{Force: c.Force, Gate: c.Gate})
	if err := x.Markdown(s.out); err != nil {
		return err
	}
	if code := x.ExitCode(); code != 0 {
		return red{code}
	}
	return nil
}

// runs reads a run, or those of a directory's directories.
func runs(path string) ([]*measure.Run, error) {
	files := []string{path}
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if info.IsDir() {
		files, err = filepath.Glob(filepath.Join(path, "*", "run.json"))
		if err != nil {
			return nil, err
		}
		files = slices.DeleteFunc(files, func(f string) bool { // what a run wrote about others
			m, _ := filepath.Match("peer-*", filepath.Base(filepath.Dir(f)))
			return m
		})
		if one := filepath.Join(path, "run.json"); len(files) == 0 {
			files = []string{one}
		}
	}
	var list []*measure.Run
	for _, f := range files {
		r, err := measure.Read(f)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

type reportCmd struct {
	Dir string `arg:"" type:"existingdir" help:"Directory of a run."`
}

// Run is the command.
func (c *reportCmd) Run(s *streams) error {
	r, err := measure.Read(filepath.Join(c.Dir, "run.json"))
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(c.Dir, "peer-*", "run.json"))
	if err != nil {
		return err
	}
	var peers []*measure.Run
	for _, f := range files {
		p, err := measure.Read(f)
		if err != nil {
			return err
		}
		peers = append(peers, p)
	}
	if err := write(c.Dir, r, peers); err != nil {
		return err
	}
	if len(peers) > 0 {
		return report.Markdown(s.out, r, peers...)
	}
	return report.Text(s.out, r)
}

type scenarioCmd struct {
	List    scenarioListCmd    `cmd:"" help:"Those that come with hubbench."`
	Check   scenarioCheckCmd   `cmd:"" help:"Say what is wrong with a file, if anything."`
	Explain scenarioExplainCmd `cmd:"" help:"Say what a scenario will do."`
	Show    scenarioShowCmd    `cmd:"" help:"Print a scenario as it would be run."`
	Schema  scenarioSchemaCmd  `cmd:"" help:"Print the JSON schema, for editors."`
}

type scenarioListCmd struct{}

// Run is the command.
func (scenarioListCmd) Run(s *streams) error {
	for _, name := range scenario.Names() {
		sc, err := scenario.Open(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.out, "%-18s %s\n", name, sc.About)
	}
	return nil
}

type scenarioCheckCmd struct{ scenarioFlags }

// Run is the command.
func (c *scenarioCheckCmd) Run(s *streams) error {
	sc, err := c.open()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s is well-formed: %s\n", c.Scenario, sc.Hash())
	return err
}

type scenarioExplainCmd struct{ scenarioFlags }

// Run is the command.
func (c *scenarioExplainCmd) Run(s *streams) error {
	sc, err := c.open()
	if err != nil {
		return err
	}
	return sc.Explain(s.out)
}

type scenarioShowCmd struct{ scenarioFlags }

// Run is the command.
func (c *scenarioShowCmd) Run(s *streams) error {
	sc, err := c.open()
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(s.out, sc.Text())
	return err
}

type scenarioSchemaCmd struct{}

// Run is the command.
func (scenarioSchemaCmd) Run(s *streams) error {
	_, err := s.out.Write(scenario.Schema())
	return err
}

type doctorCmd struct{}

// Run is the command.
func (doctorCmd) Run(s *streams) error { return doctor.Text(s.out, doctor.Examine()) }
