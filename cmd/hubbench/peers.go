package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/zumodra/hub/bench/control"
	"github.com/zumodra/hub/bench/measure"
	"github.com/zumodra/hub/bench/scenario"
	"github.com/zumodra/hub/bench/target/limit"
	"github.com/zumodra/hub/internal/freeport"
)

// peer is another system for the same load.
type peer struct{ kind, url string }

func parsePeers(list []string) ([]peer, error) {
	var peers []peer
	for _, text := range list {
		kind, url, _ := strings.Cut(text, "=")
		switch {
		case kind == "limit":
		case kind != "centrifugo" && kind != "wukongim" && kind != "hub":
			return nil, fmt.Errorf("peer %q is not known: centrifugo=URL, wukongim=URL, hub=URL and limit are", text)
		case url == "":
			return nil, fmt.Errorf("peer %s: give the address of a running server, as %s=http://127.0.0.1:8000", kind, kind)
		}
		peers = append(peers, peer{kind, url})
	}
	return peers, nil
}

// measure runs the load against the peer, without chaos.
func (p peer) measure(s *streams, c *runCmd, sc *scenario.Scenario, seed uint64, view control.Live) (*measure.Run, error) {
	load := *sc
	load.Chaos, load.Thresholds = nil, nil
	f := c.systemFlags
	f.Attach, f.Target, f.URL, f.PID = "", p.kind, strings.Split(p.url, ","), nil
	f.SecretFile, f.KeyFile = c.PeerSecretFile[p.kind], c.PeerKeyFile[p.kind]
	if pid := c.PeerPID[p.kind]; pid > 0 {
		f.PID = map[string]int{p.kind: pid}
	}
	if p.kind == "limit" {
		load.Check = scenario.Check{Off: true} // it numbers and keeps nothing
		if p.url == "" {
			url, cmd, err := startLimit(s)
			if err != nil {
				return nil, err
			}
			defer func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			}()
			f.URL, f.PID = []string{url}, map[string]int{"limit": cmd.Process.Pid}
		}
	}
	return f.measure(s, &load, seed, "", view)
}

// startLimit starts this program again.
func startLimit(s *streams) (string, *exec.Cmd, error) {
	address, err := freeport.Address()
	if err != nil {
		return "", nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.Command(self, "limit", "--listen", address, "--until-eof")
	cmd.Stderr = s.err
	if _, err := cmd.StdinPipe(); err != nil { // closed with this process, however that ends
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp4", address, time.Second)
		if err == nil {
			conn.Close()
			return "http://" + address, cmd, nil
		}
		if time.Now().After(end) {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			return "", nil, errors.Join(errors.New("the bare loop does not answer"), err)
		}
	}
}

type limitCmd struct {
	Listen   string `default:"127.0.0.1:8099" help:"Address."`
	UntilEOF bool   `name:"until-eof" help:"End when standard input does."`
}

// Run is the command.
func (c *limitCmd) Run(s *streams) error {
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(s.ctx)
	defer stop()
	if c.UntilEOF {
		go func() { // ends with the process, at the latest
			_, _ = io.Copy(io.Discard, os.Stdin)
			stop()
		}()
	}
	return limit.Serve(ctx, l.(*net.TCPListener))
}
