package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/zumodra/hub/bench/control"
)

// tokenEnv holds what a worker presents to its controller.
const tokenEnv = "HUBBENCH_TOKEN"

type workerCmd struct {
	Join  string `required:"" placeholder:"URL" help:"The controller, as it prints it: http://host:port."`
	Name  string `help:"In reports; default: host and process id."`
	Spill string `type:"path" help:"Directory for the history; default: the system's for temporary files."`
}

// Run is the command. The token is in HUBBENCH_TOKEN.
func (c *workerCmd) Run(s *streams) error {
	token := os.Getenv(tokenEnv)
	if token == "" {
		return errors.New("the controller's token has to be in " + tokenEnv)
	}
	return control.Join(s.ctx, control.JoinConfig{URL: c.Join, Token: token, Name: c.Name, SpillDir: c.Spill, Open: open})
}

// workers are processes of this machine.
type workers struct {
	s      *streams
	ctx    context.Context
	stop   context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	failed error
}

func newWorkers(s *streams) *workers {
	w := &workers{s: s}
	w.ctx, w.stop = context.WithCancel(s.ctx)
	return w
}

// start starts n of them.
func (w *workers) start(url, token string, n int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for i := range n {
		cmd := exec.CommandContext(w.ctx, self, "worker", "--join", url, "--name", fmt.Sprintf("w%d", i+1))
		cmd.Env = append(os.Environ(), tokenEnv+"="+token)
		cmd.Stderr = w.s.err
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = 5 * time.Second
		if err := favoured(cmd.Start); err != nil { // it ends when its connection to the controller does
			return fmt.Errorf("start a worker: %w", err)
		}
		w.wg.Go(func() {
			if err := cmd.Wait(); err != nil && w.ctx.Err() == nil {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.failed = errors.Join(w.failed, fmt.Errorf("worker w%d: %w", i+1, err))
			}
		})
	}
	return nil
}

// wait waits for all of them to end, as they do when the run has ended.
func (w *workers) wait() error {
	w.wg.Wait()
	w.stop()
	return w.failed
}
