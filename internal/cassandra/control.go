package cassandra

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// Environment of a command that run starts a cluster for.
const (
	HostsEnv   = "HUB_CQL_HOSTS"
	ControlEnv = "HUB_CASSANDRA_CONTROL"
	NodesEnv   = "HUB_CQL_NODES"
)

// Serve answers the requests of Remotes on a loopback port until the returned function is called.
func (c *Cluster) Serve() (url string, stop func(), err error) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{what}/{node}", func(w http.ResponseWriter, r *http.Request) {
		i, err := strconv.Atoi(r.PathValue("node"))
		if err == nil {
			switch what := r.PathValue("what"); what {
			case "start":
				err = c.StartNode(r.Context(), i)
			case "kill":
				err = c.KillNode(i)
			case "pause":
				err = c.PauseNode(i)
			case "resume":
				err = c.ResumeNode(i)
			default:
				err = errors.New("cassandra: unknown request " + what)
			}
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("cassandra: %w", err)
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	return "http://" + l.Addr().String(), func() { _ = srv.Close(); <-done }, nil
}

// Remote stops and starts the nodes of a cluster that another process runs.
type Remote struct{ url string }

// FromEnv returns the remote control of the cluster that this process was started with; false if there is none.
func FromEnv() (*Remote, bool) {
	url := os.Getenv(ControlEnv)
	return &Remote{url}, url != ""
}

// Start starts a node and waits until it answers clients.
func (r *Remote) Start(ctx context.Context, node int) error { return r.post(ctx, "start", node) }

// Kill ends a node with SIGKILL.
func (r *Remote) Kill(ctx context.Context, node int) error { return r.post(ctx, "kill", node) }

// Pause stops a node with SIGSTOP.
func (r *Remote) Pause(ctx context.Context, node int) error { return r.post(ctx, "pause", node) }

// Resume lets a paused node go on.
func (r *Remote) Resume(ctx context.Context, node int) error { return r.post(ctx, "resume", node) }

func (r *Remote) post(ctx context.Context, what string, node int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("%s/%s/%d", r.url, what, node), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("cassandra: %s node %d: %w", what, node, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 8<<10))
		return fmt.Errorf("cassandra: %s node %d: %s", what, node, b)
	}
	return nil
}
