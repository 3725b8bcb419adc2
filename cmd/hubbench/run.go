package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zumodra/hub/bench/chaos"
	"github.com/zumodra/hub/bench/control"
	"github.com/zumodra/hub/bench/live"
	"github.com/zumodra/hub/bench/measure"
	"github.com/zumodra/hub/bench/report"
	"github.com/zumodra/hub/bench/scenario"
	"github.com/zumodra/hub/bench/system"
	"github.com/zumodra/hub/bench/worker"
)

// scenarioFlags choose a scenario and what is different in it.
type scenarioFlags struct {
	Scenario string   `arg:"" help:"File, or the name of one that comes with hubbench (see 'hubbench scenario list')."`
	Set      []string `short:"s" placeholder:"KEY=VALUE" sep:"none" help:"Change the scenario, as users=500 or load[0].arrival=50/s. Can be repeated."`
	Scale    float64  `default:"1" help:"Multiply the rates of all loads, for a machine that is smaller or larger than the scenario's."`
	Seed     uint64   `help:"Of everything that is random; default: another one each time."`
}

func (f *scenarioFlags) open() (*scenario.Scenario, error) {
	if f.Scale <= 0 {
		return nil, fmt.Errorf("--scale is %g: more than 0 is wanted", f.Scale)
	}
	sc, err := scenario.Open(f.Scenario, f.Set...)
	if err != nil || f.Scale == 1 {
		return sc, err
	}
	return sc.Scaled(f.Scale), nil
}

// systemFlags say on what it runs.
type systemFlags struct {
	targetFlags
	Attach string         `type:"existingfile" placeholder:"FILE" help:"Load, watch and trouble what 'make cluster' has started: its system.json."`
	Hub    string         `type:"existingfile" placeholder:"FILE" help:"Hub binary to start; default: built from this tree."`
	Tags   string         `help:"Build tags of the hub that is built, as chaos or ackfirst."`
	PID    map[string]int `placeholder:"NAME=PID" help:"Processes of a target that was not started by hubbench, to watch."`

	Workers int    `help:"Worker processes; default: one for each 15,000 connections."`
	Listen  string `default:"127.0.0.1:0" help:"Where workers join."`
	Remote  bool   `help:"Start no workers: wait for those that join from elsewhere. The token is in HUBBENCH_TOKEN."`
	Data    string `type:"path" help:"Directory for the data of what is started; default: a temporary one."`
}

type runCmd struct {
	scenarioFlags
	systemFlags
	Peer    []string       `placeholder:"KIND=URL" help:"Run the same load against a peer afterwards, for the table of the report: centrifugo=URL, wukongim=URL, limit (started here)."`
	PeerPID map[string]int `placeholder:"KIND=PID" help:"The peer's process, to watch."`
	// Of peers, as --secret-file and --key-file are of the target.
	PeerSecretFile map[string]string `placeholder:"KIND=FILE" help:"File with the peer's secret that signs tokens, if it wants some."`
	PeerKeyFile    map[string]string `placeholder:"KIND=FILE" help:"File with the key of the peer's API."`
	Out            string            `type:"path" help:"Directory for run.json, report.html, intervals.csv and latency.hlog; default: hubbench-out/<scenario>-<time>."`
	Runs           int               `default:"1" help:"Run it so often, into Out/1, Out/2 …; for 'hubbench compare'."`
	Quiet          bool              `short:"q" help:"No progress."`
	Slow           bool              `name:"allow-invalid" help:"End with 0 when nothing is wrong but that this machine was too slow for the figures to mean anything: for tests of correctness."`
	Metrics        string            `placeholder:"ADDRESS" help:"Serve the progress to Prometheus here."`
}

// Run is the command.
func (c *runCmd) Run(s *streams) error {
	sc, err := c.open()
	if err != nil {
		return err
	}
	peers, err := parsePeers(c.Peer)
	if err != nil {
		return err
	}
	if c.Out == "" {
		c.Out = filepath.Join("hubbench-out", sc.Name+"-"+time.Now().UTC().Format("20060102T150405"))
	}
	worst := 0
	for i := range max(1, c.Runs) {
		dir := c.Out
		if c.Runs > 1 {
			dir = filepath.Join(c.Out, fmt.Sprint(i+1))
		}
		code, err := c.once(s, sc, dir, peers)
		if err != nil {
			return err
		}
		worst = max(worst, code)
	}
	if worst > 0 {
		return red{worst}
	}
	return nil
}

func (c *runCmd) once(s *streams, sc *scenario.Scenario, dir string, peers []peer) (int, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	view, end, err := c.view(s, sc)
	if err != nil {
		return 0, err
	}
	end = sync.OnceFunc(end)
	defer end()
	r, err := c.measure(s, sc, c.Seed, dir, view)
	if err != nil {
		return 0, err
	}
	var others []*measure.Run
	for _, p := range peers {
		view.Phase("peer " + p.kind)
		o, err := p.measure(s, c, sc, r.Seed, view)
		if err != nil {
			return 0, fmt.Errorf("peer %s: %w", p.kind, err)
		}
		others = append(others, o)
	}
	end()
	if err := write(dir, r, others); err != nil {
		return 0, err
	}
	if err := report.Text(s.out, r); err != nil {
		return 0, err
	}
	if len(others) > 0 {
		if err := report.Markdown(s.out, r, others...); err != nil {
			return 0, err
		}
	}
	fmt.Fprintf(s.out, "\nreport: %s\n", filepath.Join(dir, "report.html"))
	return exitOf(r, c.Slow), nil
}

// view shows the progress.
func (c *runCmd) view(s *streams, sc *scenario.Scenario) (control.Live, func(), error) {
	if c.Quiet {
		return silent{}, func() {}, nil
	}
	v := live.New(live.Config{Out: s.err, Name: sc.Name, Warmup: time.Duration(sc.Warmup), Duration: time.Duration(sc.Duration)})
	if c.Metrics == "" {
		return view{v}, v.Close, nil
	}
	l, err := net.Listen("tcp", c.Metrics)
	if err != nil {
		v.Close()
		return nil, nil, fmt.Errorf("serve metrics: %w", err)
	}
	srv := &http.Server{Handler: v.Handler(), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = srv.Serve(l) // until Close
	}()
	return view{v}, func() {
		v.Close()
		_ = srv.Close()
		<-ended
	}, nil
}

func exitOf(r *measure.Run, slow bool) int {
	switch {
	case r.Check != nil && !r.Check.OK() || r.Unsettled != "": // more important than whether the figures are worth anything
		return exitRed
	case len(r.Invalid) > 0 && !slow:
		return exitNone
	case slices.ContainsFunc(r.Thresholds, func(v measure.Verdict) bool { return !v.OK }):
		return exitRed
	}
	return 0
}

// write writes all files of a run but those that were written while it lasted.
func write(dir string, r *measure.Run, peers []*measure.Run) error {
	if err := measure.Write(dir, r); err != nil {
		return err
	}
	for _, p := range peers {
		sub := filepath.Join(dir, "peer-"+p.Target.Kind)
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return err
		}
		if err := measure.Write(sub, p); err != nil {
			return err
		}
	}
	return file(filepath.Join(dir, "report.html"), func(w io.Writer) error { return report.HTML(w, r, peers...) })
}

func file(path string, f func(io.Writer) error) error {
	w, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(f(w), w.Close())
}

// measure runs the scenario once against what the flags name, or against what it starts. The directory gets what the run's JSON has no room
// for; there may be none.
func (f *systemFlags) measure(s *streams, sc *scenario.Scenario, seed uint64, dir string, view control.Live) (*measure.Run, error) {
	access, err := f.access()
	if err != nil {
		return nil, err
	}
	cfg := control.Config{Scenario: sc, Seed: seed, Command: os.Args, Workers: f.Workers, Listen: f.Listen, Token: os.Getenv(tokenEnv), Dir: dir, Live: view,
		Log: slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	switch {
	case f.Attach != "":
		sys, err := system.Attach(s.ctx, f.Attach)
		if err != nil {
			return nil, err
		}
		defer sys.Close()
		if err := f.use(&cfg, &access, sys, sc); err != nil {
			return nil, err
		}
	case len(f.URL) == 0 && f.Target == "hub":
		view.Phase("starting the system")
		data := f.Data
		if data == "" {
			if data, err = os.MkdirTemp("", "hubbench-system-"); err != nil {
				return nil, err
			}
			defer os.RemoveAll(data)
		}
		var tags []string
		if f.Tags != "" {
			tags = strings.Split(f.Tags, ",")
		}
		sys, err := system.Start(s.ctx, system.Config{System: sc.System, Bin: f.Hub, Tags: tags, Dir: data})
		if err != nil {
			return nil, err
		}
		defer sys.Close()
		if err := f.use(&cfg, &access, sys, sc); err != nil {
			return nil, err
		}
	default:
		if len(sc.Chaos) > 0 {
			return nil, errors.New("chaos can be made in a system that hubbench started or attached to, not behind --url")
		}
		if len(f.PID) > 0 {
			cfg.System = watched(f.PID)
		}
	}
	if cfg.Target, err = open(access); err != nil {
		return nil, err
	}
	cfg.Access = access
	workers := newWorkers(s)
	defer workers.wait()
	if !f.Remote {
		cfg.Joinable = workers.start
	}
	if dir == "" {
		return f.load(s, cfg, workers)
	}
	rows, err := report.NewRows("")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	cfg.Second = rows.Add
	var r *measure.Run
	if err := file(filepath.Join(dir, measure.LogFile), func(w io.Writer) (err error) {
		cfg.Histograms = w
		r, err = f.load(s, cfg, workers)
		return err
	}); err != nil {
		return nil, err
	}
	return r, file(filepath.Join(dir, "intervals.csv"), rows.CSV)
}

// load runs the scenario when everything is there.
func (f *systemFlags) load(s *streams, cfg control.Config, workers *workers) (*measure.Run, error) {
	r, err := control.Run(s.ctx, cfg)
	if err != nil {
		workers.stop()
		return nil, errors.Join(err, workers.wait())
	}
	return r, nil
}

// use loads a system that is under control.
func (f *systemFlags) use(cfg *control.Config, access *worker.Access, sys *system.System, sc *scenario.Scenario) error {
	access.URLs, access.Secret, access.Key = sys.Edges(), sys.Secret(), sys.AdminKey()
	if len(access.URLs) == 0 {
		access.URLs = sys.URLs()
	}
	cfg.System = under{sys}
	if len(sc.Chaos) == 0 {
		return nil
	}
	troubles, err := chaos.New(sc.Chaos, sys)
	if err != nil {
		return err
	}
	cfg.Chaos = troubles.Run
	return nil
}

// under is a system as the controller looks at it.
type under struct{ *system.System }

// Edges are the nodes that hold sockets: all full ones, unless there are edges.
func (u under) Edges() []string {
	var edges, nodes []string
	for name := range u.Processes() {
		switch {
		case strings.HasPrefix(name, "edge"):
			edges = append(edges, name)
		case strings.HasPrefix(name, "node"):
			nodes = append(nodes, name)
		}
	}
	if len(edges) > 0 {
		return edges
	}
	return nodes
}

func (u under) Collect(ctx context.Context) error { return u.GC(ctx) }

// watched are processes of which no more is known.
type watched map[string]int

func (w watched) Processes() map[string]int { return w }
func (w watched) Edges() (names []string) {
	for n := range w {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
func (watched) Vitals(context.Context) (map[string]measure.Vitals, error) { return nil, nil }
func (watched) Collect(context.Context) error                             { return nil }

// view is the live view as the controller tells it.
type view struct{ *live.View }

func (v view) Progress(p worker.Progress) { v.Connecting(p.Ready, p.Of, p.Failed) }

type silent struct{}

func (silent) Phase(string)                     {}
func (silent) Progress(worker.Progress)         {}
func (silent) Interval(measure.Interval, int64) {}
func (silent) Mark(measure.Mark)                {}
