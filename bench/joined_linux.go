package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/edge/reactor"
	"github.com/zumodra/hub/edge/rest"
)

// runJoined serves the joined layers as `hub serve` does, with the flags of it that the measurements use but without
// metrics, pages and the projections: what is measured of it, against the real thing, is what those cost.
func runJoined(args []string) error {
	fs := flag.NewFlagSet("joined", flag.ContinueOnError)
	listen, admin, data := fs.String("listen", "", ""), fs.String("admin-listen", "", ""), fs.String("data", "", "")
	secret, cert, key := fs.String("auth-secret-file", "", ""), fs.String("tls-cert", "", ""), fs.String("tls-key", "", "")
	for _, ignored := range []string{"admin-key-file", "user-rate", "throttles", "log-level", "ping-interval", "search"} {
		fs.String(ignored, "", "ignored")
	}
	if err := fs.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	word, err := auth.LoadSecret(*secret)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(*data, 0o700); err != nil {
		return err
	}
	s, err := newStack(filepath.Join(*data, "store"), word)
	if err != nil {
		return err
	}
	api, err := rest.New(rest.Config{Hub: s.hub, Users: s.store, Verifier: s.verifier, Timeout: time.Minute})
	if err != nil {
		return errors.Join(err, s.close())
	}
	conf := reactor.Config{Addr: *listen, Handler: s.sessions, HTTP: api}
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			return errors.Join(err, s.close())
		}
		conf.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	server, err := reactor.New(conf)
	if err != nil {
		return errors.Join(err, s.close())
	}
	s.bind(server)
	side := &http.Server{Addr: *admin, ReadHeaderTimeout: time.Second, Handler: rest.AdminHandler(rest.AdminConfig{
		Debug: map[string]http.Handler{"gc": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { collect() })},
	})}
	go side.ListenAndServe()
	err = server.Serve(ctx)
	if errors.Is(err, reactor.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, side.Close(), s.close())
}
