package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// peer is a server under test inside a child process.
type peer interface {
	addr() string
	// conns is the number of connections that broadcasts reach.
	conns() int
	inbound() int64
	// broadcast sends payload, k publications of it, to all connections. It may return before all has left.
	broadcast(payload []byte, k int) error
	// next sends payload to one connection after the other, n of them, going on where the last call ended.
	next(payload []byte, n int) error
	close()
}

// newPeer makes the server of a role.
func newPeer(role string, ping time.Duration) (peer, error) {
	var conf *tls.Config
	name, secure := strings.CutSuffix(role, "+tls")
	if secure {
		var err error
		if conf, err = selfSigned(); err != nil {
			return nil, err
		}
	}
	switch name {
	case "raw":
		return newRawPeer()
	case "gobwas":
		return newGobwasPeer(conf, ping)
	case "gws":
		return newGwsPeer(ping)
	case "coder":
		return newCoderPeer()
	case "reactor":
		return newReactorPeer(conf, ping)
	}
	return nil, fmt.Errorf("unknown role %q", role)
}

func runPeer(role string, args []string) error {
	switch role {
	case "cql":
		return runCQL(args)
	case "cql-store":
		return runCQLStore(args)
	case "pebble":
		return runCeiling(args)
	case "store":
		return runStore(args)
	case "joined":
		return runJoined(args)
	case "minimal":
		if len(args) != 1 {
			return errors.New("minimal wants a directory")
		}
		p, err := newMinimalPeer(args[0])
		if err != nil {
			return err
		}
		return servePeer(p)
	}
	ping := 25 * time.Second
	if len(args) > 0 {
		d, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		ping = d
	}
	p, err := newPeer(role, ping)
	if err != nil {
		return err
	}
	return servePeer(p)
}

func servePeer(p peer) error {
	defer p.close()
	return serveCommands(func(cmd command) reply {
		var r reply
		var err error
		before := ownCPU()
		switch cmd.Op {
		case "addr":
			r.Addr = p.addr()
		case "conns":
			r.N = int64(p.conns())
		case "broadcast":
			err = p.broadcast(cmd.Payload, cmd.N)
		case "trickle":
			r.N, err = trickle(p, cmd)
		case "inbound":
			end := time.Now().Add(30 * time.Second)
			for p.inbound() < int64(cmd.N) && time.Now().Before(end) {
				time.Sleep(time.Millisecond)
			}
			if r.N = p.inbound(); r.N < int64(cmd.N) {
				err = fmt.Errorf("%d of %d messages arrived", r.N, cmd.N)
			}
		case "gc":
			collect()
		default:
			err = fmt.Errorf("unknown command %q", cmd.Op)
		}
		if err != nil {
			r.Err = err.Error()
		}
		r.CPU = ownCPU() - before
		return r
	})
}

// trickle sends N messages a second for the time given, in steps of a millisecond.
func trickle(p peer, cmd command) (int64, error) {
	start := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	sent := 0
	for {
		<-tick.C
		at := time.Since(start).Seconds()
		if due := int(min(at, cmd.Seconds) * float64(cmd.N)); due > sent {
			if err := p.next(cmd.Payload, due-sent); err != nil {
				return int64(sent), err
			}
			sent = due
		}
		if at >= cmd.Seconds {
			return int64(sent), nil
		}
	}
}

// collect frees what can be freed, so that what remains resident is in use.
func collect() {
	runtime.GC()
	runtime.GC()
	debug.FreeOSMemory()
}

func ownCPU() float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

// selfSigned makes a certificate of the kind that the hub would have: ECDSA P-256.
func selfSigned() (*tls.Config, error) {
	cert, key, err := newCertificate()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}},
		MinVersion:   tls.VersionTLS13,
	}, nil
}

func newCertificate() ([]byte, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	return der, key, err
}
