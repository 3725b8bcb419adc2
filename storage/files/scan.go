package files

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/chat/attachment"
)

// scanning shows what is read to the scanner, and reports the end of the file only when that says that it is clean.
type scanning struct {
	ctx  context.Context
	f    *Files
	r    io.Reader
	scan Scan // nil before the first byte, and once it failed and that is let through
	err  error
	off  bool
}

// Read implements io.Reader.
func (s *scanning) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	if n > 0 && !s.off {
		if bad := s.show(p[:n]); bad != nil {
			n, err = 0, bad
		}
	}
	if errors.Is(err, io.EOF) && !s.off {
		if bad := s.verdict(); bad != nil {
			n, err = 0, bad
		}
	}
	s.err = err
	return n, err
}

func (s *scanning) show(p []byte) (err error) {
	if s.scan == nil {
		if s.scan, err = s.f.cfg.Scanner.Scan(s.ctx); err != nil {
			return s.failed(err)
		}
	}
	if _, err = s.scan.Write(p); err != nil {
		return s.failed(err)
	}
	return nil
}

func (s *scanning) verdict() error {
	if s.scan == nil { // an empty file, which the rules refused
		return nil
	}
	err := s.scan.Verdict()
	switch {
	case err == nil:
		s.f.cfg.Observer.Scanned("clean")
		return nil
	case errors.Is(err, attachment.ErrInfected):
		s.f.cfg.Observer.Scanned("infected")
		s.f.cfg.Log.Warn("files: the scanner refused an upload", "error", err)
		return attachment.ErrInfected
	}
	return s.failed(err)
}

// failed decides about a file that cannot be scanned.
func (s *scanning) failed(err error) error {
	s.off = true
	if s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	if s.f.cfg.ScanOpen {
		s.f.cfg.Observer.Scanned("skipped")
		s.f.cfg.Log.Warn("files: an upload was let through that could not be scanned", "error", err)
		return nil
	}
	s.f.cfg.Observer.Scanned("failed")
	s.f.cfg.Log.Error("files: uploads are refused, they cannot be scanned", "error", err)
	return fmt.Errorf("scan the file: %w: %w", chat.ErrUnavailable, err)
}

func (s *scanning) close() {
	if s.scan != nil {
		s.scan.Close()
	}
}
