package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/zumodra/hub/bench/capacity"
)

type capacityCmd struct {
	scenarioFlags
	systemFlags
	Low       float64 `default:"100" help:"The first rate of sends a second. All loads of the scenario keep their proportion to the sends."`
	High      float64 `help:"No higher rate is tried; default: until one fails."`
	Precision float64 `default:"0.05" help:"How far apart the last rate that held and the first that did not may be."`
	Quiet     bool    `short:"q" help:"No progress."`
}

// Run is the command: the highest rate of sends at which the scenario's thresholds hold and nothing is violated.
func (c *capacityCmd) Run(s *streams) error {
	base, err := c.open()
	if err != nil {
		return err
	}
	if len(base.Thresholds) == 0 {
		return fmt.Errorf("scenario %s has no thresholds: what is it to hold? Give one, as --set 'thresholds=[ack.p99 <= 50ms]'", base.Name)
	}
	sends := base.SendRate()
	if sends <= 0 {
		return fmt.Errorf("scenario %s sends nothing", base.Name)
	}
	dir, err := os.MkdirTemp("", "hubbench-capacity-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r, err := capacity.Search(s.ctx, capacity.Config{Low: c.Low, High: c.High, Precision: c.Precision},
		func(_ context.Context, rate float64) (bool, string, error) {
			r, err := c.measure(s, base.Scaled(rate/sends), c.Seed, dir, silent{})
			if err != nil {
				return false, "", err
			}
			var why []string
			if r.Check != nil && !r.Check.OK() {
				return false, "", fmt.Errorf("at %.0f sends a second the target broke its promises:\n%s", rate, r.Check)
			}
			if r.Unsettled != "" {
				why = append(why, "did not settle: "+r.Unsettled)
			}
			why = append(why, r.Invalid...)
			for _, t := range r.Thresholds {
				if !t.OK {
					why = append(why, fmt.Sprintf("%s: it was %g", t.Text, t.Value))
				}
			}
			if !c.Quiet {
				verdict := "held"
				if len(why) > 0 {
					verdict = strings.Join(why, "; ")
				}
				fmt.Fprintf(s.err, "%.0f sends/s: %s\n", rate, verdict)
			}
			return len(why) == 0, strings.Join(why, "; "), nil
		})
	if err != nil {
		return err
	}
	for _, p := range r.Probes {
		fmt.Fprintf(s.out, "%10.0f sends/s  %-5v %s\n", p.Rate, p.OK, p.Detail)
	}
	fmt.Fprintf(s.out, "\nhighest rate that held: %.0f sends/s (failed: %.0f)\n", r.Rate, r.Failed)
	if r.Rate == 0 {
		return red{exitRed}
	}
	return nil
}
