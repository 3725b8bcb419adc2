package client

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// endpoint is the address of one node.
type endpoint struct {
	rest *url.URL // path without trailing slash
	ws   string
}

func parseEndpoint(raw string) (endpoint, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return endpoint{}, fmt.Errorf("client: url: %w", err)
	}
	ws := *u
	switch u.Scheme {
	case "http", "ws":
		u.Scheme, ws.Scheme = "http", "ws"
	case "https", "wss":
		u.Scheme, ws.Scheme = "https", "wss"
	default:
		return endpoint{}, fmt.Errorf("client: url %q: scheme must be http, https, ws or wss", raw)
	}
	if u.Host == "" {
		return endpoint{}, fmt.Errorf("client: url %q has no host", raw)
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	ws.Path = u.Path + "/ws/"
	return endpoint{u, ws.String()}, nil
}

// endpoints of the configuration, and the place of the one to begin with.
func endpoints(cfg Config) (nodes []endpoint, first int, err error) {
	urls := slices.Clone(cfg.URLs)
	if cfg.URL != "" {
		if first = slices.Index(urls, cfg.URL); first < 0 {
			urls, first = slices.Insert(urls, 0, cfg.URL), 0
		}
	} else if len(urls) > 0 {
		first = min(int(cfg.Rand()*float64(len(urls))), len(urls)-1)
	} else {
		return nil, 0, errors.New("client: URL or URLs is required")
	}
	for _, raw := range urls {
		e, err := parseEndpoint(raw)
		if err != nil {
			return nil, 0, err
		}
		nodes = append(nodes, e)
	}
	return nodes, first, nil
}

// endpoint that is used now, and its place.
func (c *Client) endpoint() (endpoint, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[c.node], c.node
}

// leave moves on to the next node, unless that was done since node was looked up.
func (c *Client) leave(node int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.node == node {
		c.node = (node + 1) % len(c.nodes)
	}
}

// nodeFailed reports whether the end of a connection, or of an attempt, is a reason to try another node: not when this one
// understood and refused.
func nodeFailed(err error) bool {
	if he := (*HTTPError)(nil); errors.As(err, &he) {
		return he.Status >= http.StatusInternalServerError
	}
	if ce := (*CloseError)(nil); errors.As(err, &ce) {
		switch ce.Code {
		case CloseUnauthenticated, CloseForbidden, CloseGone, CloseSlowConsumer, CloseRateLimited:
			return false
		}
	}
	return true
}

// unsent reports whether a request failed before any of it left.
func unsent(err error) bool {
	oe := (*net.OpError)(nil)
	return errors.As(err, &oe) && oe.Op == "dial"
}
