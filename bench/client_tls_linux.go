package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/bench/vclient"
)

// tlsClient holds TLS connections, which the loop of vclient does not speak: where they are measured, the memory of the server is, not
// what the client takes. So it may use a library, and a goroutine for each.
type tlsClient struct {
	mu    sync.Mutex
	conns []net.Conn
	group sync.WaitGroup
}

func runTLSClient() error {
	c := &tlsClient{}
	return serveCommands(func(cmd command) reply {
		switch cmd.Op {
		case "connect":
			if err := c.connect(cmd); err != nil {
				return reply{Err: err.Error()}
			}
			return reply{N: int64(cmd.N)}
		case "close":
			c.close()
			return reply{}
		}
		return reply{Err: "unknown command " + cmd.Op}
	})
}

func (c *tlsClient) connect(cmd command) error {
	tokens := []string{""}
	if cmd.Tokens != "" {
		var err error
		if tokens, err = readLines(cmd.Tokens); err != nil {
			return err
		}
	}
	var g errgroup.Group
	g.SetLimit(32)
	for i := range cmd.N {
		g.Go(func() error { return c.open(cmd, int32(i), tokens[i%len(tokens)]) })
	}
	return g.Wait()
}

// open makes one connection and leaves a goroutine that answers its pings.
func (c *tlsClient) open(cmd command, i int32, token string) error {
	d := ws.Dialer{
		// The certificate is the benchmark's own, made for this run.
		TLSConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}, //nolint:gosec // see above
		NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			from := vclient.Source(i)
			conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from[:]}}).DialContext(ctx, network, addr)
			if raw, ok := conn.(*net.TCPConn); ok {
				raw.SetLinger(0)
			}
			return conn, err
		},
		Timeout: 20 * time.Second,
	}
	if token != "" {
		d.Header = ws.HandshakeHeaderString("Authorization: Bearer " + token + "\r\n")
	}
	conn, early, _, err := d.Dial(context.Background(), "wss://"+cmd.Addr+cmd.Path)
	if err != nil {
		return err
	}
	if early == nil {
		early = bufio.NewReaderSize(conn, 512)
	}
	c.mu.Lock()
	c.conns = append(c.conns, conn)
	c.mu.Unlock()
	first := make(chan error, 1)
	c.group.Go(func() {
		defer conn.Close()
		both := struct {
			io.Reader
			io.Writer
		}{early, conn}
		for {
			_, _, err := wsutil.ReadServerData(both)
			select {
			case first <- err:
			default:
			}
			if err != nil {
				return
			}
		}
	})
	if !cmd.First {
		return nil
	}
	select {
	case err := <-first:
		return err
	case <-time.After(20 * time.Second):
		conn.Close()
		return fmt.Errorf("no first message from %s", cmd.Addr)
	}
}

func (c *tlsClient) close() {
	c.mu.Lock()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
	c.mu.Unlock()
	c.group.Wait()
}
