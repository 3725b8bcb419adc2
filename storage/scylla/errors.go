package scylla

import (
	"context"
	"errors"
	"fmt"

	"github.com/gocql/gocql"

	"github.com/zumodra/hub/storage"
)

// serverError is an error that the server answered. The driver's own interface for it, gocql.RequestError, has methods
// that none of its errors has.
type serverError interface {
	error
	GetCode() int
	GetMessage() string
}

// verdict on an attempt that failed.
type verdict uint8

const (
	refused     verdict = iota // nothing was written, and trying again is of no use
	unreachable                // nothing was written; later it may be
	uncertain                  // it may have been written
)

// judge tells what a write's error says about the write. What is not known to be harmless is uncertain.
func judge(err error) verdict {
	var answer serverError
	if errors.As(err, &answer) {
		switch answer.GetCode() {
		case gocql.ErrCodeUnavailable, gocql.ErrCodeBootstrapping, gocql.ErrCodeUnprepared:
			return unreachable // refused by the coordinator before it sent anything to a replica
		case gocql.ErrCodeSyntax, gocql.ErrCodeInvalid, gocql.ErrCodeUnauthorized, gocql.ErrCodeConfig, gocql.ErrCodeCredentials,
			gocql.ErrCodeAlreadyExists, gocql.ErrCodeProtocol:
			return refused
		}
		// Among them Overloaded: Cassandra may answer it after it sent the write to some replicas.
		return uncertain
	}
	var query *gocql.QueryError
	if errors.As(err, &query) && !query.PotentiallyExecuted() {
		return unreachable
	}
	for _, e := range []error{gocql.ErrNoConnections, gocql.ErrNoConnectionsInPool, gocql.ErrHostDown, gocql.ErrNoPool, gocql.ErrNoStreams,
		gocql.ErrSessionClosed, gocql.ErrSessionNotReady} {
		if errors.Is(err, e) && query == nil {
			return unreachable
		}
	}
	return uncertain
}

// writeError is what a write answers whose last attempt ended with err; maybe: one of its attempts may have happened.
func writeError(ctx context.Context, t *storage.Table, maybe bool, v verdict, err error) error {
	if ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	switch {
	case maybe:
		return fmt.Errorf("%w: write to %s: %w", storage.ErrUnknownOutcome, t.Name, err)
	case v == unreachable:
		return fmt.Errorf("%w: write to %s: %w", storage.ErrUnreachable, t.Name, err)
	}
	return fmt.Errorf("storage: write to %s: %w", t.Name, err)
}

// readError is what a read answers.
func readError(ctx context.Context, t *storage.Table, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("storage: read of %s: %w", t.Name, ctx.Err())
	}
	if errors.Is(err, storage.ErrCorrupt) || judge(err) == refused {
		return fmt.Errorf("storage: read of %s: %w", t.Name, err)
	}
	return fmt.Errorf("%w: read of %s: %w", storage.ErrUnreachable, t.Name, err)
}
