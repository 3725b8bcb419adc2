package main

import (
	"fmt"
	"os"

	"github.com/zumodra/hub/internal/config"
	"github.com/zumodra/hub/internal/node"
)

type serveCmd struct{ config.Config }

// Run serves until SIGTERM or SIGINT and returns nil after an orderly end.
func (c *serveCmd) Run(s *streams) error {
	n, err := node.New(c.Config, node.Options{Version: version, Now: wallClock, Logger: newLogger(s.err, c.LogFormat, c.LogLevel), Fatal: func(text string) {
		// Nothing may run on: whoever supervises the process starts the next, which replays the log.
		fmt.Fprintln(s.err, "hub: the store failed:", text)
		os.Exit(1)
	}})
	if err != nil {
		return err
	}
	return n.Run(s.ctx)
}
