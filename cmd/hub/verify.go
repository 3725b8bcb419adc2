package main

import (
	"fmt"

	"github.com/zumodra/hub/internal/config"
	"github.com/zumodra/hub/internal/node"
	"github.com/zumodra/hub/storage"
)

type verifyCmd struct{ config.Config }

// Run reports what is wrong with the store, line by line, and fails if anything is.
func (c *verifyCmd) Run(s *streams) error {
	if err := c.CheckStore(); err != nil {
		return err
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
	if sum.Behind+sum.Deleting+sum.Late > 0 {
		fmt.Fprintf(s.out, "harmless: %d conversations to be brought up to their log, %d deletions to be finished, %d late rows\n", sum.Behind, sum.Deleting, sum.Late)
	}
	if problems > 0 {
		return fmt.Errorf("%d problems found", problems)
	}
	return nil
}
