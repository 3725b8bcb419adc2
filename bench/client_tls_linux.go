package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// runTLSClient holds TLS connections. It is not what is measured, so it may use a goroutine for each.
func runTLSClient() error {
	c := &tlsClient{}
	return serveCommands(func(cmd command) reply {
		switch cmd.Op {
		case "connect":
			n, err := c.connect(cmd)
			r := reply{N: n, Failed: int64(cmd.N) - n}
			if err != nil {
				r.Err = err.Error()
			}
			return r
		case "close":
			c.close()
			return reply{}
		}
		return reply{Err: "unknown command " + cmd.Op}
	})
}

type tlsClient struct {
	mu    sync.Mutex
	conns []net.Conn
	group sync.WaitGroup
}

func (c *tlsClient) connect(cmd command) (int64, error) {
	var tokens []string
	if cmd.Tokens != "" {
		var err error
		if tokens, err = readLines(cmd.Tokens); err != nil {
			return 0, err
		}
	}
	var ready atomic.Int64
	var first atomic.Pointer[error]
	slots := make(chan struct{}, 32)
	var group sync.WaitGroup
	for i := range cmd.N {
		slots <- struct{}{}
		group.Add(1)
		go func() {
			defer group.Done()
			defer func() { <-slots }()
			token := ""
			if len(tokens) > 0 {
				token = tokens[i%len(tokens)]
			}
			if err := c.open(cmd, i, token); err != nil {
				first.CompareAndSwap(nil, &err)
				return
			}
			ready.Add(1)
		}()
	}
	group.Wait()
	if err := first.Load(); err != nil {
		return ready.Load(), *err
	}
	return ready.Load(), nil
}

// open makes one connection and leaves a goroutine that answers its pings.
func (c *tlsClient) open(cmd command, i int, token string) error {
	d := &net.Dialer{
		Timeout:   20 * time.Second,
		LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1+byte(os.Getpid()%200), 1+byte(i%64))},
	}
	// The certificate is the benchmark's own, made for this run.
	conn, err := tls.DialWithDialer(d, "tcp", cmd.Addr, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}) //nolint:gosec // see above
	if err != nil {
		return err
	}
	if raw, ok := conn.NetConn().(*net.TCPConn); ok {
		raw.SetLinger(0)
	}
	if token != "" {
		token = "Authorization: Bearer " + token + "\r\n"
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n%s\r\n", cmd.Path, cmd.Addr, token); err != nil {
		conn.Close()
		return err
	}
	in := bufio.NewReaderSize(conn, 4096)
	for first := true; ; first = false {
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		line, err := in.ReadString('\n')
		if err == nil && first && !strings.HasPrefix(line, "HTTP/1.1 101 ") {
			err = errors.New("refused: " + line)
		}
		if err != nil {
			conn.Close()
			return err
		}
		if line == "\r\n" {
			break
		}
	}
	conn.SetReadDeadline(time.Time{})
	c.mu.Lock()
	c.conns = append(c.conns, conn)
	c.mu.Unlock()
	c.group.Add(1)
	up := make(chan struct{})
	go func() {
		defer c.group.Done()
		var held []byte
		open := !cmd.First
		if open {
			close(up)
		}
		buf := make([]byte, 4096)
		for {
			n, err := in.Read(buf)
			held = append(held, buf[:n]...)
			for {
				op, payload, size, ferr := nextFrame(held)
				if size == 0 || ferr != nil {
					break
				}
				if op == opPing {
					conn.Write(clientFrame(opPong, payload))
				}
				if op == opText && !open {
					open = true
					close(up)
				}
				held = held[size:]
			}
			if err != nil {
				conn.Close()
				return
			}
		}
	}()
	select {
	case <-up:
		return nil
	case <-time.After(20 * time.Second):
		conn.Close()
		return fmt.Errorf("no first message: %w", unix.ETIMEDOUT)
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
