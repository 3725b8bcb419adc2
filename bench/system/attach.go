package system

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/zumodra/hub/internal/testcluster"
)

// Attach takes a cluster that runs on this machine, by the file that `make cluster` has written (hub-cluster/system.json). What
// chaos may do to it is decided there: only if it was started with KEEP=1.
func Attach(ctx context.Context, path string) (*System, error) {
	var s *System
	d, err := load(path)
	if err == nil {
		var do func(context.Context, testcluster.Op, string, string) error
		if d.Control != "" {
			do = remote(d.Control)
		}
		s, err = newSystem(do, func() (testcluster.Description, error) { return load(path) })
	}
	if err != nil {
		return nil, fmt.Errorf("system: attach: %w", err)
	}
	// The file of a cluster that has ended may be left behind.
	for _, admin := range s.Admins() {
		if _, e := s.ask(ctx, http.MethodGet, admin+"/livez"); e == nil {
			return s, nil
		} else {
			err = e
		}
	}
	return nil, fmt.Errorf("system: attach: no node of %s answers: %w", path, err)
}

func load(path string) (testcluster.Description, error) {
	var d testcluster.Description
	b, err := os.ReadFile(path)
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(b, &d); err != nil {
		return d, fmt.Errorf("%s: %w", path, err)
	}
	if len(d.Nodes) == 0 {
		return d, errors.New(path + " names no nodes")
	}
	return d, nil
}

// remote does things through the control of another process.
func remote(base string) func(context.Context, testcluster.Op, string, string) error {
	return func(ctx context.Context, op testcluster.Op, name, arg string) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("%s/%s/%s?arg=%s", base, op, url.PathEscape(name), url.QueryEscape(arg)), nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			b, _ := io.ReadAll(io.LimitReader(resp.Body, 8<<10))
			return fmt.Errorf("system: %s %s: %s", op, name, b)
		}
		return nil
	}
}
