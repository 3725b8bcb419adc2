package clamd

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/zumodra/hub/chat/attachment"
	"github.com/zumodra/hub/storage/files"
)

// chunk is the largest piece that is sent at once.
const chunk = 64 << 10

// Config of a Client.
type Config struct {
	// Address is "host:port" (TCP) or a path that begins with a slash (Unix socket).
	Address string
	// Timeout bounds connecting, the sending of each chunk, and the wait for the verdict; default 30 s.
	Timeout time.Duration
}

// Client asks one daemon, on a connection per file. It is safe for concurrent use.
type Client struct {
	network string
	cfg     Config
}

var _ files.Scanner = (*Client)(nil)

// New returns a Client, which connects when it is asked.
func New(c Config) *Client {
	if c.Timeout <= 0 {
		c.Timeout = 30 * time.Second
	}
	network := "tcp"
	if strings.HasPrefix(c.Address, "/") {
		network = "unix"
	}
	return &Client{network, c}
}

// Scan implements files.Scanner.
func (c *Client) Scan(ctx context.Context) (files.Scan, error) {
	d := net.Dialer{Timeout: c.cfg.Timeout}
	conn, err := d.DialContext(ctx, c.network, c.cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("connect to clamd: %w", err)
	}
	s := &scan{conn: conn, timeout: c.cfg.Timeout}
	s.stop = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	// The z form: commands and answers end in NUL.
	if err := s.send([]byte("zINSTREAM\x00")); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

type scan struct {
	conn    net.Conn
	timeout time.Duration
	stop    func() bool
	buf     []byte
}

func (s *scan) send(b []byte) error {
	if err := s.conn.SetDeadline(time.Now().Add(s.timeout)); err != nil {
		return fmt.Errorf("send to clamd: %w", err)
	}
	if _, err := s.conn.Write(b); err != nil {
		// The daemon says why it does not want more (INSTREAM size limit exceeded) and hangs up.
		if answer, rerr := s.answer(); rerr == nil {
			return fmt.Errorf("clamd answered %q", answer)
		}
		return fmt.Errorf("send to clamd: %w", err)
	}
	return nil
}

// Write implements io.Writer: each chunk goes behind its length, four bytes in network order.
func (s *scan) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		m := min(len(p), chunk)
		s.buf = append(binary.BigEndian.AppendUint32(s.buf[:0], uint32(m)), p[:m]...)
		if err := s.send(s.buf); err != nil {
			return n, err
		}
		n, p = n+m, p[m:]
	}
	return n, nil
}

// Verdict implements files.Scan.
func (s *scan) Verdict() error {
	if err := s.send([]byte{0, 0, 0, 0}); err != nil {
		return err
	}
	answer, err := s.answer()
	switch {
	case err != nil:
		return fmt.Errorf("wait for clamd: %w", err)
	case answer == "stream: OK":
		return nil
	case strings.HasPrefix(answer, "stream: ") && strings.HasSuffix(answer, " FOUND"):
		return fmt.Errorf("%w: %s", attachment.ErrInfected, strings.TrimSuffix(strings.TrimPrefix(answer, "stream: "), " FOUND"))
	}
	return fmt.Errorf("clamd answered %q", answer)
}

// maxAnswer bounds an answer.
const maxAnswer = 4096

func (s *scan) answer() (string, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(s.timeout)); err != nil {
		return "", err
	}
	r := bufio.NewReaderSize(s.conn, maxAnswer)
	b, err := r.ReadSlice(0)
	if err != nil {
		if errors.Is(err, bufio.ErrBufferFull) {
			err = errors.New("the answer is too long")
		}
		return "", err
	}
	return strings.TrimSpace(string(b[:len(b)-1])), nil
}

// Close implements files.Scan.
func (s *scan) Close() {
	s.stop()
	_ = s.conn.Close() // nothing is left to say
}
