package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/edge/reactor"
	"github.com/zumodra/hub/edge/session"
	"github.com/zumodra/hub/storage"
	store "github.com/zumodra/hub/storage/pebble"
)

// stack is the hub's layers from the session down, joined in this process over whatever transport is given: for the
// counts of allocations, which cannot be taken from outside.
type stack struct {
	engine   *store.Engine
	store    *storage.Store
	verifier *auth.Verifier
	hub      *actors.Hub
	sessions *session.Manager
}

// lateEdge breaks the circle: the hub needs its edge before the sessions exist, which need the hub.
type lateEdge struct{ *session.Manager }

func newStack(dir string, secret []byte) (*stack, error) {
	quiet := slog.New(slog.DiscardHandler)
	s := &stack{}
	var err error
	if s.engine, err = store.Open(store.Config{Dir: dir, Logger: quiet}); err != nil {
		return nil, err
	}
	s.store = storage.New(s.engine, storage.Config{})
	if s.verifier, err = auth.New(auth.Config{Secrets: [][]byte{secret}}); err != nil {
		return nil, errors.Join(err, s.engine.Close())
	}
	edge := &lateEdge{}
	s.hub = actors.New(actors.Config{Store: s.store, People: s.store, Edge: edge})
	edge.Manager = session.New(session.Config{
		Dispatcher: s.hub, Verifier: s.verifier, Users: seen{s.store},
		Limiter: session.NewLimiter(session.LimiterConfig{Rate: -1}),
	})
	s.sessions = edge.Manager
	return s, s.hub.Start(context.Background(), nil)
}

// seen keeps the users that tokens introduce.
type seen struct{ store *storage.Store }

// Seen implements session.Users.
func (s seen) Seen(ctx context.Context, u chat.User) (chat.User, error) {
	stored, _, err := s.store.CreateUser(ctx, u)
	return stored, err
}

func (s *stack) bind(t session.Transport) { s.sessions.Bind(t) }

func (s *stack) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s.sessions.Close()
	err := s.hub.Close(ctx)
	s.verifier.Close()
	return errors.Join(err, s.engine.Close())
}

var _ session.Transport = (*reactor.Server)(nil)
