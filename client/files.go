package client

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

const (
	// uploadPart is how much of a file one request carries: so much is sent again when a connection is lost.
	uploadPart = 8 << 20
	// uploadTries is how often a part is tried while nothing of it arrives.
	uploadTries = 5
	uploadPause = 500 * time.Millisecond
)

// Upload uploads a file for a message and returns the id that WithUpload takes. It goes on after lost connections, and
// on another node, from where the server was (tus 1.0.0). The server refuses what its rules do not allow with an
// *HTTPError. An upload that is not sent is removed after a day.
func (c *Client) Upload(ctx context.Context, name string, r io.ReadSeeker) (id string, err error) {
	size, err := r.Seek(0, io.SeekEnd)
	if err != nil {
		return "", fmt.Errorf("upload: %w", err)
	}
	begun, err := c.raw(ctx, http.MethodPost, apiPrefix+"uploads/", nil, http.Header{"Upload-Length": {strconv.FormatInt(size, 10)},
		"Upload-Metadata": {"filename " + base64.StdEncoding.EncodeToString([]byte(name))}})
	if err != nil {
		return "", fmt.Errorf("begin an upload: %w", err)
	}
	_ = begun.Body.Close() // it is empty
	at, err := url.Parse(begun.Header.Get("Location"))
	if err != nil || at.Path == "" {
		return "", errors.New("begin an upload: the answer does not say where it goes on")
	}
	id = path.Base(at.Path)
	where := apiPrefix + "uploads/" + id + "/"
	for offset, failed := int64(0), 0; offset < size; {
		next, err := c.uploadPart(ctx, where, r, offset, size)
		switch {
		case err == nil:
			offset, failed = next, 0
			continue
		case ctx.Err() != nil:
			return "", fmt.Errorf("upload: %w", context.Cause(ctx))
		case refused(err):
			return "", fmt.Errorf("upload: %w", err)
		}
		if failed++; failed == uploadTries {
			return "", fmt.Errorf("upload: %w", err)
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("upload: %w", context.Cause(ctx))
		case <-time.After(uploadPause << failed):
		}
		// What arrived of the part is kept.
		head, err := c.raw(ctx, http.MethodHead, where, nil, nil)
		if err != nil {
			if refused(err) {
				return "", fmt.Errorf("upload: %w", err)
			}
			continue
		}
		_ = head.Body.Close() // it is empty
		if got, err := strconv.ParseInt(head.Header.Get("Upload-Offset"), 10, 64); err == nil && got > offset {
			offset, failed = got, 0
		}
	}
	return id, nil
}

// refused reports whether trying again is of no use.
func refused(err error) bool {
	he := (*HTTPError)(nil)
	return errors.Is(err, ErrUnauthorized) || errors.As(err, &he) && he.Status/100 == 4 && he.Status != http.StatusConflict &&
		he.Status != http.StatusTooManyRequests && he.Status != http.StatusRequestTimeout && he.Status != http.StatusLocked
}

func (c *Client) uploadPart(ctx context.Context, where string, r io.ReadSeeker, offset, size int64) (int64, error) {
	if _, err := r.Seek(offset, io.SeekStart); err != nil {
		return 0, err
	}
	resp, err := c.raw(ctx, http.MethodPatch, where, io.LimitReader(r, min(uploadPart, size-offset)), http.Header{
		"Upload-Offset": {strconv.FormatInt(offset, 10)}, "Content-Type": {"application/offset+octet-stream"}})
	if err != nil {
		return 0, err
	}
	_ = resp.Body.Close() // it is empty
	next, err := strconv.ParseInt(resp.Header.Get("Upload-Offset"), 10, 64)
	if err != nil || next <= offset {
		return 0, fmt.Errorf("the server is at %q after a part from %d on", resp.Header.Get("Upload-Offset"), offset)
	}
	return next, nil
}

// SendFile uploads a file and sends it, with content or without; as Send.
func (c *Client) SendFile(ctx context.Context, conversation, name string, r io.ReadSeeker, content string, opts ...SendOption) (*Message, error) {
	id, err := c.Upload(ctx, name, r)
	if err != nil {
		return nil, err
	}
	return c.Send(ctx, conversation, content, append(opts, WithUpload(id))...)
}

// Download opens the file of a message by its Message.File. The caller closes what it returns.
func (c *Client) Download(ctx context.Context, file string) (io.ReadCloser, error) {
	if !strings.HasPrefix(file, apiPrefix+"files/") { // the token goes nowhere else
		return nil, fmt.Errorf("download: %q is no file of a message", file)
	}
	resp, err := c.raw(ctx, http.MethodGet, file, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("download: %w", err)
	}
	return resp.Body, nil
}

// raw makes one request of the API with a body that is not JSON, and leaves the answer, if it is good, to the caller. A
// refused token is replaced once, unless a body was sent with it, which cannot be sent again.
func (c *Client) raw(ctx context.Context, method, where string, body io.Reader, header http.Header) (*http.Response, error) {
	for refused := ""; ; {
		node, place := c.endpoint()
		u := *node.rest
		p, err := url.Parse(where)
		if err != nil {
			return nil, err
		}
		u.Path, u.RawPath = u.Path+p.Path, "" // the name at its end is for people
		token, err := c.cfg.TokenSource(ctx)
		if err != nil {
			return nil, fmt.Errorf("get a token: %w", err)
		}
		if token == refused && refused != "" {
			return nil, ErrUnauthorized
		}
		req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
		if err != nil {
			return nil, err
		}
		if header != nil {
			req.Header = header.Clone()
		}
		req.Header.Set("Tus-Resumable", "1.0.0")
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := c.cfg.HTTPClient.Do(req)
		if err != nil {
			if ctx.Err() == nil {
				c.leave(place) // the next request goes to another node
			}
			return nil, err
		}
		if resp.StatusCode/100 == 2 {
			return resp, nil
		}
		err = httpError(resp)
		_ = resp.Body.Close() // what it said was read
		if resp.StatusCode == http.StatusUnauthorized && refused == "" && body == nil {
			refused = token
			continue
		}
		return nil, err
	}
}
