package main

import (
	"fmt"
	"path/filepath"

	"github.com/zumodra/hub/internal/node"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/pebble"
)

type verifyCmd struct {
	Data string `default:"hub-data" placeholder:"DIR" help:"Data directory."`
}

// Run reports what is wrong with the store, line by line, and fails if anything is.
func (c *verifyCmd) Run(s *streams) error {
	problems := 0
	sum, err := pebble.Verify(s.ctx, filepath.Join(c.Data, node.StoreDir), func(p storage.Problem) {
		problems++
		fmt.Fprintln(s.out, p)
	})
	if err != nil {
		return fmt.Errorf("verifying %s: %w", c.Data, err)
	}
	fmt.Fprintf(s.out, "%d rows, %d conversations, %d events, %d files checked: %d problems\n", sum.Rows, sum.Conversations, sum.Events, sum.Files, problems)
	if sum.Behind+sum.Deleting+sum.Late+sum.Unsettled > 0 {
		fmt.Fprintf(s.out, "harmless: %d conversations to be brought up to their log, %d deletions to be finished, %d late rows, %d pairs of users to be settled\n",
			sum.Behind, sum.Deleting, sum.Late, sum.Unsettled)
	}
	if problems > 0 {
		return fmt.Errorf("%d problems found", problems)
	}
	return nil
}
