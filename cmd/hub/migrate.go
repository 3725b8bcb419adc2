package main

import (
	"fmt"

	"github.com/zumodra/hub/internal/config"
	"github.com/zumodra/hub/internal/node"
)

type migrateCmd struct {
	config.Config
	DryRun bool `help:"Print the CQL that is missing and change nothing."`
}

// Run creates what the keyspace lacks and prints the CQL, or prints it only. Several may run at once.
func (c *migrateCmd) Run(s *streams) error {
	if err := c.CheckStore(); err != nil {
		return err
	}
	if err := node.Migrate(s.ctx, &c.Config, c.DryRun, s.out); err != nil {
		return fmt.Errorf("migrating: %w", err)
	}
	if !c.DryRun {
		fmt.Fprintf(s.err, "keyspace %s is up to date\n", c.CQLKeyspace)
	}
	return nil
}
