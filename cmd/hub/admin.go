package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

type adminCmd struct {
	Cluster clusterCmd `cmd:"" help:"Show the nodes of a running server's cluster: shards, leases, sessions, versions."`
	Drain   drainCmd   `cmd:"" help:"Make a running server hand its shards over, send its clients elsewhere and end, as SIGTERM does."`
	Tenant  tenantCmd  `cmd:"" help:"Tenants: create, limit, suspend them, over the administrative API."`
	Key     keyCmd     `cmd:"" help:"API keys of tenants, over the administrative API."`
	User    userCmd    `cmd:"" help:"Users: suspend, export, import them, over the administrative API."`
	Audit   auditCmd   `cmd:"" help:"Print the audit log of a tenant, over the administrative API."`
	Reindex reindexCmd `cmd:"" help:"Make the search index of a running server anew from its conversations. Search goes on meanwhile."`
}

type reindexCmd struct {
	Admin  string `default:"http://127.0.0.1:9090" placeholder:"URL" help:"Admin address of the server."`
	Status bool   `xor:"what" help:"Only say how far it is."`
	Cancel bool   `xor:"what" help:"Cancel it; the index in use stays."`
	NoWait bool   `help:"Do not wait for the end."`
}

// reindexState is what /admin/reindex answers.
type reindexState struct {
	Phase         string `json:"phase"`
	Conversations int    `json:"conversations"`
	Total         int    `json:"total"`
	Events        uint64 `json:"events"`
	Failures      uint64 `json:"failures"`
	Error         string `json:"error"`
}

func (r *reindexState) String() string {
	s := r.Phase
	if r.Phase != "none" {
		s += fmt.Sprintf(": %d of %d conversations, %d events", r.Conversations, r.Total, r.Events)
	}
	if r.Error != "" {
		s += ", " + r.Error
	}
	return s
}

// Run begins a rebuild and waits for its end. Ending the command does not end the rebuild.
func (c *reindexCmd) Run(s *streams) error {
	method := http.MethodPost
	switch {
	case c.Status:
		method = http.MethodGet
	case c.Cancel:
		method = http.MethodDelete
	}
	st, code, err := c.call(s.ctx, method)
	switch {
	case err != nil:
		return err
	case code == http.StatusConflict:
		return fmt.Errorf("a rebuild is running already (%s)", st)
	case code == http.StatusNotFound:
		return errors.New("no rebuild is running")
	}
	fmt.Fprintln(s.out, st)
	if c.Status || c.NoWait {
		return nil
	}
	last := st.String()
	for {
		switch st.Phase {
		case "done":
			return nil
		case "cancelled":
			if c.Cancel {
				return nil
			}
			return errors.New("the rebuild was cancelled; the index in use stays")
		case "failed":
			return fmt.Errorf("the rebuild failed; the index in use stays: %s", st.Error)
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-s.ctx.Done():
			return errors.New("not waiting any longer; the rebuild goes on")
		}
		if st, _, err = c.call(s.ctx, http.MethodGet); err != nil {
			return err
		}
		if now := st.String(); now != last {
			fmt.Fprintln(s.out, now)
			last = now
		}
	}
}

func (c *reindexCmd) call(ctx context.Context, method string) (*reindexState, int, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.Admin, "/")+"/admin/reindex", nil)
	if err != nil {
		return nil, 0, fmt.Errorf("--admin: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("asking the server (its --admin-listen, by --admin): %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return nil, 0, fmt.Errorf("asking the server: %w", err)
	}
	st := new(reindexState)
	if err := json.Unmarshal(body, st); err != nil || st.Phase == "" {
		return nil, 0, fmt.Errorf("asking the server: %s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	return st, resp.StatusCode, nil
}
