package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/zumodra/hub/internal/backups"
	"github.com/zumodra/hub/internal/config"
	"github.com/zumodra/hub/internal/node"
	"github.com/zumodra/hub/storage"
)

type verifyCmd struct {
	config.Config

	Hash bool      `env:"-" help:"Print the state hash of the embedded store too: what is equal for equal rows, and what a backup carries."`
	At   time.Time `env:"-" placeholder:"TIME" help:"With --hash: count the rows that had not expired at this moment, as 2026-01-02T03:04:05.678901Z; default now. That of a backup is in its manifest."`
}

// Run reports what is wrong with the store, line by line, and fails if anything is.
func (c *verifyCmd) Run(s *streams) error {
	if err := c.CheckStore(); err != nil {
		return err
	}
	if c.Hash && c.Store == config.StoreScylla {
		return errors.New("--hash is for the embedded store: a cluster has no moment at which all its rows stand still")
	}
	problems := 0
	sum, err := node.Verify(s.ctx, &c.Config, func(p storage.Problem) {
		problems++
		fmt.Fprintln(s.out, p)
	})
	if err != nil {
		return fmt.Errorf("verifying %s: %w", node.StoreName(&c.Config), err)
	}
	fmt.Fprintf(s.out, "%d rows, %d conversations, %d events, %d files checked: %d problems\n", sum.Rows, sum.Conversations, sum.Events, sum.Files, problems)
	if sum.Behind+sum.Deleting+sum.Late+sum.Unsettled > 0 {
		fmt.Fprintf(s.out, "harmless: %d conversations to be brought up to their log, %d deletions to be finished, %d late rows, %d pairs of users to be settled\n",
			sum.Behind, sum.Deleting, sum.Late, sum.Unsettled)
	}
	if c.Hash {
		at := c.At
		if at.IsZero() {
			at = time.Now()
		}
		state, err := backups.Hash(s.ctx, c.Data, at)
		if err != nil {
			return fmt.Errorf("hash of %s: %w", c.Data, err)
		}
		printState(s.out, state)
	}
	if problems > 0 {
		return fmt.Errorf("%d problems found", problems)
	}
	return nil
}
