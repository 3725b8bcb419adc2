package system

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/zumodra/hub/internal/testcluster"
)

// Attach takes a cluster that runs on this machine, by the file that `make cluster` has written (hub-cluster/system.json). What
// chaos may do to it is decided there: only if it was started with KEEP=1.
func Attach(ctx context.Context, path string) (*System, error) {
	var s *System
	d, err := load(path)
	if err == nil {
		var do func(context.Context, testcluster.Op, string, string) error
		describe := func() (testcluster.Description, error) { return load(path) }
		if d.Control != "" {
			// The control knows also of what ended by itself.
			do, describe = remote(d.Control), func() (testcluster.Description, error) { return asked(d.Control) }
		}
		s, err = newSystem(do, describe)
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

func asked(base string) (testcluster.Description, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var d testcluster.Description
	b, err := exchange(ctx, http.DefaultClient, http.MethodGet, base+"/")
	if err == nil {
		err = json.Unmarshal(b, &d)
	}
	return d, err
}

// remote does things through the control of another process.
func remote(base string) func(context.Context, testcluster.Op, string, string) error {
	return func(ctx context.Context, op testcluster.Op, name, arg string) error {
		_, err := exchange(ctx, http.DefaultClient, http.MethodPost, fmt.Sprintf("%s/%s/%s?arg=%s", base, op, url.PathEscape(name), url.QueryEscape(arg)))
		if err != nil {
			return fmt.Errorf("system: %s %s: %w", op, name, err)
		}
		return nil
	}
}
