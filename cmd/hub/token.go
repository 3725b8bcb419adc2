package main

import (
	"crypto/rand"
	"fmt"
	"path/filepath"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/internal/node"
)

type tokenCmd struct {
	Data           string        `default:"hub-data" placeholder:"DIR" help:"Data directory of a server that runs with --dev."`
	AuthSecretFile string        `placeholder:"FILE" help:"The server's --auth-secret-file, if it runs without --dev."`
	User           string        `required:"" placeholder:"ID" help:"User id."`
	Tenant         string        `placeholder:"T" help:"Tenant."`
	Username       string        `placeholder:"NAME" help:"Name that others see; default: the user id."`
	TTL            time.Duration `name:"ttl" default:"1h" placeholder:"DUR" help:"How long the token is valid."`
}

// Run prints a token. It does not open the store: a server may be running on it.
func (c *tokenCmd) Run(s *streams) error {
	user, err := chat.ParseUserID(c.User)
	if err != nil {
		return fmt.Errorf("--user: %w", err)
	}
	tenant, err := chat.ParseTenantID(c.Tenant)
	if err != nil {
		return fmt.Errorf("--tenant: %w", err)
	}
	if c.TTL <= 0 {
		return fmt.Errorf("--ttl: %v is not positive", c.TTL)
	}
	file := c.AuthSecretFile
	if file == "" {
		file = filepath.Join(c.Data, node.SecretFile)
	}
	var secret []byte
	if c.AuthSecretFile == "" {
		secret, err = auth.EnsureSecret(file) // before the first start of the server, too
	} else {
		secret, err = auth.LoadSecret(file)
	}
	if err != nil {
		return err
	}
	signer, err := auth.NewSigner(secret)
	if err != nil {
		return err
	}
	now := time.Now()
	token, err := signer.Sign(auth.Claims{
		Principal: chat.Principal{Tenant: tenant, User: user, Username: c.Username},
		IssuedAt:  now, Expires: now.Add(c.TTL), ID: rand.Text(), // so that it can be revoked by itself
		User: chat.User{Tenant: tenant, ID: user, Username: c.Username},
	}, auth.Access)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.out, token)
	return err
}
