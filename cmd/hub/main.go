// Command hub is the whole product in one binary: the server, the terminal client and the tools of its
// operator. It parses the command line and wires nothing itself: internal/node joins the layers.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/zumodra/hub/internal/config"
)

// version is set by the linker.
var version = "dev"

type cli struct {
	Config  kong.ConfigFlag `placeholder:"FILE" env:"HUB_CONFIG" help:"YAML file with settings of serve, see 'hub config doc'."`
	Serve   serveCmd        `cmd:"" help:"Run a node."`
	Token   tokenCmd        `cmd:"" help:"Print a token that the server on a data directory accepts."`
	Chat    chatCmd         `cmd:"" help:"Chat from the terminal."`
	Verify  verifyCmd       `cmd:"" help:"Walk the embedded store and report corruption. The server must not be running."`
	Admin   adminCmd        `cmd:"" help:"Operate a running server over its admin port."`
	Conf    configCmd       `cmd:"" name:"config" help:"Check, print or document the configuration."`
	Version versionCmd      `cmd:"" help:"Print the version."`
}

// streams are the standard streams and the process's life, given to every command.
type streams struct {
	ctx      context.Context
	in       io.Reader
	out, err io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	code := run(&streams{ctx, os.Stdin, os.Stdout, os.Stderr}, os.Args[1:])
	stop()
	os.Exit(code)
}

func run(s *streams, args []string) int {
	var c cli
	exit := -1
	p, err := kong.New(&c,
		kong.Name("hub"),
		kong.Description("Self-hosted real-time messaging."),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(s.out, s.err),
		kong.Exit(func(code int) { exit = code; panic(exited{}) }),
		kong.DefaultEnvars("HUB"),
		kong.Configuration(yamlResolver),
		kong.Bind(s),
	)
	if err != nil {
		fmt.Fprintln(s.err, "hub:", err)
		return 2
	}
	k, err := parse(p, args)
	if exit >= 0 {
		return exit
	}
	if err != nil {
		fmt.Fprintln(s.err, "hub:", err)
		return 2
	}
	if err := k.Run(s); err != nil {
		fmt.Fprintln(s.err, "hub:", err)
		return 1
	}
	return 0
}

type exited struct{}

// parse turns the end of the process that --help asks for into a return.
func parse(p *kong.Kong, args []string) (k *kong.Context, err error) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(exited); !ok {
				panic(r)
			}
		}
	}()
	return p.Parse(args)
}

// yamlResolver lets the flags that are settings take their value from the file of --config.
func yamlResolver(r io.Reader) (kong.Resolver, error) {
	values, err := config.ReadYAML(r)
	if err != nil {
		return nil, err
	}
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		if v, ok := values[flag.Name]; ok {
			// Environment variables win over the file; kong would let the file win.
			for _, env := range flag.Envs {
				if _, set := os.LookupEnv(env); set {
					return nil, nil
				}
			}
			return v, nil
		}
		return nil, nil
	}), nil
}

func newLogger(w io.Writer, format, level string) *slog.Logger {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		l = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: l}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(s *streams) error {
	_, err := fmt.Fprintln(s.out, "hub", version)
	return err
}

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Check the settings that serve would use; exit 1 if they are wrong."`
	Print configPrintCmd `cmd:"" help:"Print the settings that serve would use as YAML."`
	Doc   configDocCmd   `cmd:"" help:"Print the reference of all settings as Markdown."`
}

type configCheckCmd struct{ config.Config }

// Run checks the settings.
func (c *configCheckCmd) Run(s *streams) error {
	if err := c.Config.Check(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(s.out, "configuration is valid")
	return err
}

type configPrintCmd struct{ config.Config }

// Run prints the settings in effect.
func (c *configPrintCmd) Run(s *streams) error { return c.Config.WriteYAML(s.out) }

type configDocCmd struct{}

// Run prints the reference.
func (configDocCmd) Run(s *streams) error { return config.WriteDoc(s.out) }
