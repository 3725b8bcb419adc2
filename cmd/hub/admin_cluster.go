package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/zumodra/hub/internal/node"
)

// askAdmin sends a request to a server's admin port and reads the answer, of at most 1 MiB.
func askAdmin(ctx context.Context, method, admin, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(admin, "/")+path, nil)
	if err != nil {
		return nil, fmt.Errorf("--admin: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the server (its --admin-listen, by --admin): %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("asking the server: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("asking the server: %s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	return body, nil
}

type clusterCmd struct {
	Admin string `default:"http://127.0.0.1:9090" placeholder:"URL" help:"Admin address of the server."`
	JSON  bool   `name:"json" help:"Print it as /debug/cluster answers it."`
}

// Run prints one line a node.
func (c *clusterCmd) Run(s *streams) error {
	body, err := askAdmin(s.ctx, http.MethodGet, c.Admin, "/debug/cluster")
	if err != nil {
		return err
	}
	if c.JSON {
		_, err := s.out.Write(body)
		return err
	}
	var st node.ClusterStatus
	if err := json.Unmarshal(body, &st); err != nil {
		return fmt.Errorf("asking the server: %w", err)
	}
	w := tabwriter.NewWriter(s.out, 2, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tID\tROLES\tSTATE\tSHARDS\tSESSIONS\tREACHED\tPROTOCOL\tVERSION")
	for _, m := range st.Members {
		name := m.Name
		if m.ID == st.Self {
			name += " (this one)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n", name, m.ID, strings.Join(m.Roles, ","), m.State, m.Shards, m.Sessions,
			map[bool]string{true: "yes", false: "NO"}[m.Reached], cmp.Or(m.Protocol, "-"), m.Version)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "\n%d shards, %d without an owner that is a member; the lease of this node holds for %v more\n",
		st.Shards, st.Unowned, time.Duration(st.LeaseLeft)*time.Millisecond)
	if st.Unowned > 0 {
		return errors.New("there are shards that nobody serves")
	}
	return nil
}

type drainCmd struct {
	Admin string `default:"http://127.0.0.1:9090" placeholder:"URL" help:"Admin address of the server."`
}

// Run returns when the server has begun.
func (c *drainCmd) Run(s *streams) error {
	body, err := askAdmin(s.ctx, http.MethodPost, c.Admin, "/admin/drain")
	if err != nil {
		return err
	}
	_, err = s.out.Write(body)
	return err
}
