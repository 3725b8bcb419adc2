package main

import (
	"os"
	"strings"

	"github.com/zumodra/hub/client/terminal"
)

type chatCmd struct {
	Server    string `default:"http://127.0.0.1:8080" placeholder:"URL" help:"The hub."`
	As        string `required:"" placeholder:"USER" help:"Who you are."`
	To        string `required:"" placeholder:"USER" help:"Whom you talk to."`
	Tenant    string `placeholder:"T" help:"Tenant."`
	TokenFile string `placeholder:"FILE" help:"File with your token; without it the server must run with --dev."`
	State     string `placeholder:"FILE" help:"File that keeps unsent messages and the position between runs."`
}

// Run chats until the input ends, /quit or SIGINT.
func (c *chatCmd) Run(s *streams) error {
	cfg := terminal.Config{Server: c.Server, As: c.As, To: c.To, Tenant: c.Tenant, State: c.State, In: s.in, Out: s.out}
	if c.TokenFile != "" {
		b, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return err
		}
		cfg.Token = strings.TrimSpace(string(b))
	}
	return terminal.Run(s.ctx, cfg)
}
