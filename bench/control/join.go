package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/zumodra/hub/bench/measure"
	"github.com/zumodra/hub/bench/scenario"
	"github.com/zumodra/hub/bench/target"
	"github.com/zumodra/hub/bench/worker"
)

// JoinConfig of a worker's side.
type JoinConfig struct {
	URL      string // of the controller: http://host:port
	Token    string
	Name     string // default: host and process id
	SpillDir string // default: the system's for temporary files
	// Open makes the target that a plan names.
	Open func(worker.Access) (target.Target, error)
}

// Join works for a controller until the run has ended, or ctx.
func Join(ctx context.Context, cfg JoinConfig) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("the name of this host: %w", err)
	}
	if cfg.Name == "" {
		cfg.Name = fmt.Sprintf("%s/%d", host, os.Getpid())
	}
	if cfg.SpillDir == "" {
		cfg.SpillDir = os.TempDir()
	}
	url := strings.TrimSuffix(cfg.URL, "/")
	c, resp, err := websocket.Dial(ctx, url+"/join", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + cfg.Token}}})
	if resp != nil && resp.Body != nil {
		defer resp.Body.Close()
	}
	if err != nil {
		return fmt.Errorf("join %s: %w", url, err)
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(maxMessage)
	j := &joined{cfg: cfg, c: c, url: url}
	if err := j.send(ctx, &message{Kind: kindHello, Hello: &hello{Protocol, cfg.Name, host, os.Getpid()}}); err != nil {
		return err
	}
	err = j.serve(ctx)
	if j.w != nil {
		err = errors.Join(err, j.w.Close())
	}
	if err != nil && ctx.Err() == nil {
		_ = j.send(ctx, &message{Kind: kindFailed, Error: err.Error()}) // the connection may be what failed
		_ = c.Close(websocket.StatusInternalError, "")
		return err
	}
	if err == nil {
		_, _ = receive(ctx, c) // the controller closes
	}
	return err
}

// joined is a worker with its controller.
type joined struct {
	cfg  JoinConfig
	c    *websocket.Conn
	url  string
	plan worker.Plan
	w    *worker.Worker

	mu sync.Mutex // one message at a time
}

func (j *joined) send(ctx context.Context, m *message) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return send(ctx, j.c, m)
}

// serve does what the controller asks for, one thing after the other.
func (j *joined) serve(ctx context.Context) error {
	for {
		m, err := receive(ctx, j.c)
		if err != nil {
			return err
		}
		if j.w == nil && m.Kind != kindTime && m.Kind != kindPlan {
			return fmt.Errorf("the controller said %q before a plan", m.Kind)
		}
		switch m.Kind {
		case kindTime:
			err = j.send(ctx, &message{Kind: kindTime, At: time.Now().UnixNano()})
		case kindPlan:
			err = j.prepare(ctx, m)
		case kindConnect:
			if err = j.w.Connect(ctx); err == nil {
				err = j.send(ctx, &message{Kind: kindConnected})
			}
		case kindStart:
			err = j.w.Start(ctx, time.Unix(0, m.At))
		case kindSettle:
			var left worker.Unsettled
			if left, err = j.w.Settle(ctx); err == nil {
				err = j.send(ctx, &message{Kind: kindSettled, Unsettled: left})
			}
		case kindFinish:
			return j.finish(ctx)
		default:
			err = fmt.Errorf("the controller said %q, which this version does not know", m.Kind)
		}
		if err != nil {
			return err
		}
	}
}

func (j *joined) prepare(ctx context.Context, m *message) error {
	if m.Plan == nil || j.w != nil {
		return errors.New("a plan is missing, or there is one already")
	}
	j.plan = *m.Plan
	sc, err := scenario.Decode(strings.NewReader(j.plan.Scenario))
	if err != nil {
		return err
	}
	t, err := j.cfg.Open(j.plan.Target)
	if err != nil {
		return err
	}
	offset := time.Duration(m.Offset)
	j.w, err = worker.New(worker.Config{Plan: j.plan, Name: j.cfg.Name, SpillDir: j.cfg.SpillDir, Linear: m.Linear,
		Now: func() time.Time { return time.Now().Add(-offset) },
		Events: worker.Events{
			Progress: func(p worker.Progress) { _ = j.send(ctx, &message{Kind: kindProgress, Progress: &p}) }, // serve notices
			Interval: func(p measure.Part) {
				_ = j.send(ctx, &message{Kind: kindInterval, Interval: &p, Violations: j.w.Violations()})
			},
		}}, sc, t)
	if err != nil {
		return err
	}
	return j.w.Begin(ctx)
}

// finish delivers the record ahead of the report.
func (j *joined) finish(ctx context.Context) error {
	r, err := j.w.Finish(ctx)
	if err != nil {
		return err
	}
	in, out := io.Pipe()
	var exporting sync.WaitGroup
	exporting.Go(func() { out.CloseWithError(j.w.Export(out)) })
	defer exporting.Wait()
	defer in.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("%s/record/%d", j.url, j.plan.Part), in)
	if err != nil {
		return fmt.Errorf("deliver the record: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+j.cfg.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("deliver the record: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("deliver the record: %s: %s", resp.Status, bytes.TrimSpace(b))
	}
	return j.send(ctx, &message{Kind: kindDone, Report: &r})
}
