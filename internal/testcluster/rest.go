package testcluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
)

// Token of a user for a day, good at every node, also at one whose clock is a minute or two wrong. It introduces nobody: the
// user is known to the hub from the first time that it is used.
func (c *Cluster) Token(tenant, user string) (string, error) {
	s, err := auth.NewSigner([]byte(c.secret))
	if err != nil {
		return "", fmt.Errorf("testcluster: %w", err)
	}
	now := time.Now()
	return s.Sign(auth.Claims{Principal: chat.Principal{User: chat.UserID(user), Tenant: chat.TenantID(tenant), Username: user},
		IssuedAt: now.Add(-5 * time.Minute), Expires: now.Add(24 * time.Hour)}, auth.Access)
}

// Answer of the REST API.
type Answer struct {
	Code int
	Head http.Header
	Body []byte
}

// Decode the body.
func (a *Answer) Decode(v any) error { return json.Unmarshal(a.Body, v) }

// Call makes one request of the REST API at the node: path is what follows /api/v1/messages/, body nil or something for JSON.
func (n *Node) Call(ctx context.Context, method, path, token string, body any) (*Answer, error) {
	var rd io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		rd = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, n.URL()+"/api/v1/messages/"+path, rd)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := n.c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("testcluster: %s: %w", n.Name, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return nil, fmt.Errorf("testcluster: %s: %w", n.Name, err)
	}
	return &Answer{resp.StatusCode, resp.Header, b}, nil
}
