package clamdtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// EICAR is the test file of all virus scanners, in two pieces so that none of them finds it in this source.
const EICAR = `X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-` + `ANTIVIRUS-TEST-FILE!$H+H*`

// Server is the stand-in.
type Server struct {
	t     testing.TB
	ln    net.Listener
	wg    sync.WaitGroup
	limit int64 // StreamMaxLength
	Scans atomic.Int64
	// Mute, if set, swallows the file and answers nothing until the client hangs up.
	Mute atomic.Bool
	// Bad, if set, answers something else.
	Bad atomic.Bool
}

// Start serves on loopback until the test ends. It takes at most limit bytes of a file.
func Start(t testing.TB, limit int64) *Server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, ln: ln, limit: limit}
	s.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(s.Close)
	return s
}

// Addr is where it listens.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// Close stops it; who connects is refused then.
func (s *Server) Close() {
	_ = s.ln.Close()
	s.wg.Wait()
}

func (s *Server) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	const command = "zINSTREAM\x00"
	got := make([]byte, len(command))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != command {
		s.t.Errorf("clamd got %q, %v", got, err)
		return
	}
	var file bytes.Buffer
	for {
		var size [4]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return // the client gave up, which it may at any time
		}
		n := int64(binary.BigEndian.Uint32(size[:]))
		if n == 0 {
			break
		}
		if int64(file.Len())+n > s.limit {
			_, _ = c.Write([]byte("INSTREAM size limit exceeded. ERROR\x00"))
			_, _ = io.Copy(io.Discard, c) // so that the answer is not lost to a reset
			return
		}
		if _, err := io.CopyN(&file, c, n); err != nil {
			return
		}
	}
	s.Scans.Add(1)
	answer := "stream: OK\x00"
	switch {
	case s.Mute.Load():
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && err == nil {
			s.t.Error("clamd got more after the last chunk")
		}
		return
	case s.Bad.Load():
		answer = "UNKNOWN COMMAND\x00"
	case bytes.Contains(file.Bytes(), []byte(EICAR)):
		answer = "stream: Win.Test.EICAR_HDB-1 FOUND\x00"
	}
	_, _ = c.Write([]byte(answer))
}
