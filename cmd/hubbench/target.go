package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/zumodra/hub/bench/target"
	"github.com/zumodra/hub/bench/target/centrifugo"
	"github.com/zumodra/hub/bench/target/hub"
	"github.com/zumodra/hub/bench/target/limit"
	"github.com/zumodra/hub/bench/target/wukongim"
	"github.com/zumodra/hub/bench/worker"
)

// targetFlags say what is to be loaded, and by what right.
type targetFlags struct {
	Target     string   `default:"hub" enum:"hub,centrifugo,wukongim,limit" help:"What is loaded: hub, centrifugo, wukongim, or limit (see 'hubbench limit')."`
	URL        []string `placeholder:"URL" help:"Addresses of the running system, http://host:port. Default: the scenario's system is started on this machine."`
	Tenant     string   `default:"bench" help:"Tenant of the users."`
	SecretFile string   `type:"existingfile" placeholder:"FILE" help:"File with the secret that signs tokens (the hub's --auth-secret-file, Centrifugo's token_hmac_secret_key)."`
	KeyFile    string   `type:"existingfile" placeholder:"FILE" help:"File with a key of the target's API for operators, if it needs one."`
}

func (f *targetFlags) access() (worker.Access, error) {
	a := worker.Access{Kind: f.Target, URLs: f.URL, Tenant: f.Tenant}
	if f.SecretFile != "" {
		b, err := os.ReadFile(f.SecretFile)
		if err != nil {
			return a, fmt.Errorf("read the secret: %w", err)
		}
		a.Secret = []byte(strings.TrimSpace(string(b)))
	}
	if f.KeyFile != "" {
		b, err := os.ReadFile(f.KeyFile)
		if err != nil {
			return a, fmt.Errorf("read the key: %w", err)
		}
		a.Key = strings.TrimSpace(string(b))
	}
	return a, nil
}

// open makes the target that is named.
func open(a worker.Access) (target.Target, error) {
	if len(a.URLs) == 0 {
		return nil, errors.New("there is no address of the target: give --url")
	}
	switch a.Kind {
	case "hub":
		return hub.New(hub.Config{URLs: a.URLs, Tenant: a.Tenant, Secret: a.Secret})
	case "centrifugo":
		return centrifugo.New(centrifugo.Config{URLs: a.URLs, Secret: a.Secret, Key: a.Key})
	case "wukongim":
		return wukongim.New(wukongim.Config{URLs: a.URLs, Secret: a.Secret})
	case "limit":
		return limit.New(limit.Config{URLs: a.URLs})
	}
	return nil, fmt.Errorf("target %q is not known: hub, centrifugo, wukongim and limit are", a.Kind)
}
