package node

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificate serves a key pair from files and reads them again when they change. A pair that cannot be read
// (half written, mismatched) leaves the old one in service and is logged.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	now               func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
	stamp   [2]fileStamp
	checked time.Time
}

type fileStamp struct {
	mod  time.Time
	size int64
}

const certificateCheck = time.Second

func newCertificate(certFile, keyFile string, log *slog.Logger, now func() time.Time) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log, now: now}
	if err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get(), nil },
		NextProtos:     []string{"http/1.1"}, // WebSocket over HTTP/2 is not offered
	}
}

func (c *certificate) get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.checked) >= certificateCheck {
		c.checked = now
		if stamp, err := c.stat(); err == nil && stamp != c.stamp {
			if err := c.load(); err != nil {
				c.log.Error("certificate changed but cannot be used; the old one stays", "error", err)
			} else {
				c.log.Info("certificate reloaded", "file", c.certFile)
			}
		}
	}
	return c.current
}

func (c *certificate) stat() (s [2]fileStamp, err error) {
	for i, f := range []string{c.certFile, c.keyFile} {
		fi, err := os.Stat(f)
		if err != nil {
			return s, fmt.Errorf("certificate: %w", err)
		}
		s[i] = fileStamp{fi.ModTime(), fi.Size()}
	}
	return s, nil
}

func (c *certificate) load() error {
	stamp, err := c.stat()
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	c.current, c.stamp = &pair, stamp
	return nil
}
