package main

import (
	"crypto/tls"
	"errors"
	"time"
)

func newReactorPeer(*tls.Config, time.Duration) (peer, error) {
	return nil, errors.New("not here yet")
}
