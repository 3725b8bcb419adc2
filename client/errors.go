package client

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrClosed is returned once the client is closed. Sends still in the outbox of a durable Store are sent
	// by the next client that opens it.
	ErrClosed = errors.New("client: closed")
	// ErrOutboxFull says that Config.OutboxLimit sends wait already; nothing was queued.
	ErrOutboxFull = errors.New("client: outbox is full")
	// ErrIndeterminate is joined to a context's error when Send gives up on a message that was transmitted:
	// it may have been stored. It stays in the outbox and keeps being retried with its client id.
	ErrIndeterminate = errors.New("client: outcome unknown")
	// ErrOffline is returned by calls that make sense only on a live connection.
	ErrOffline = errors.New("client: offline")
	// ErrUnauthorized ends Run: the token was refused and TokenSource had no other.
	ErrUnauthorized = errors.New("client: unauthorized")
	// ErrBusy says that too many calls wait for a reply.
	ErrBusy = errors.New("client: too many calls in progress")

	errSilent = errors.New("server is silent")
	errGoaway = errors.New("server is going away")
)

// Error is a refusal by the server.
type Error struct {
	Code         string        // stable, for programs; may be empty
	Message      string        // for people
	RetryAfter   time.Duration // 0: the server gave none
	Conversation string        // may be empty
}

func (e *Error) Error() string {
	if e.Code == "" {
		return "server: " + e.Message
	}
	return "server: " + e.Message + " (" + e.Code + ")"
}

// Temporary reports whether the same request may succeed later.
func (e *Error) Temporary() bool {
	if e.RetryAfter > 0 {
		return true
	}
	switch e.Code {
	case "rate_limited", "overloaded", "unavailable", "outcome_unknown":
		return true
	}
	return false
}

// Close codes of the protocol (contract §12.3) beyond those of RFC 6455.
const (
	CloseUnauthenticated = 4001
	CloseForbidden       = 4003
	CloseGone            = 4004
	CloseSlowConsumer    = 4008
	CloseRateLimited     = 4029
)

// CloseError says how a connection ended. Code is 1006 when it broke without a close frame.
type CloseError struct {
	Code   int
	Reason string
	Err    error // what was seen locally; may be nil
}

func (e *CloseError) Error() string {
	s := fmt.Sprintf("connection closed: %d", e.Code)
	if e.Reason != "" {
		s += " " + e.Reason
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *CloseError) Unwrap() error { return e.Err }

// HTTPError is a REST answer, or an answer to the WebSocket handshake, other than success.
type HTTPError struct {
	Status     int
	Detail     string
	RetryAfter time.Duration
}

func (e *HTTPError) Error() string { return fmt.Sprintf("http status %d: %s", e.Status, e.Detail) }
