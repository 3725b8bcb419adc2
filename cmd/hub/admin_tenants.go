package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// apiAccess is how commands reach the administrative API of a running server.
type apiAccess struct {
	API     string `default:"http://127.0.0.1:8080" placeholder:"URL" help:"Public address of the server."`
	KeyFile string `required:"" placeholder:"FILE" help:"File with an API key: the server's --admin-key-file, or one with a key of a tenant's."`
}

func (a *apiAccess) key() (string, error) {
	b, err := os.ReadFile(a.KeyFile)
	if err != nil {
		return "", fmt.Errorf("--key-file: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return line, nil
		}
	}
	return "", fmt.Errorf("--key-file: no key in %s", a.KeyFile)
}

// request makes a request and returns its answer, whose body the caller closes. What the server refuses is an error with
// its text.
func (a *apiAccess) request(ctx context.Context, method, path string, query url.Values, body io.Reader) (*http.Response, error) {
	key, err := a.key()
	if err != nil {
		return nil, err
	}
	address := strings.TrimSuffix(a.API, "/") + "/api/v1/admin/" + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, fmt.Errorf("--api: %w", err)
	}
	req.Header.Set("Authorization", "Api-Key "+key)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the server (by --api): %w", err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16)) // whatever there is of it
		return nil, fmt.Errorf("the server refused: %s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	return resp, nil
}

// call makes a request with a JSON body, if body is not nil, and prints the answer on one line, or those of a list's
// pages a line each.
func (a *apiAccess) call(s *streams, method, path string, query url.Values, body any) error {
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	for {
		b, err := a.read(ctx, method, path, query, body)
		if err != nil || len(b) == 0 {
			return err
		}
		var list struct {
			Next    string            `json:"next"`
			Results []json.RawMessage `json:"results"`
		}
		if json.Unmarshal(b, &list) != nil || list.Results == nil {
			_, err := fmt.Fprintln(s.out, string(b))
			return err
		}
		for _, item := range list.Results {
			if _, err := fmt.Fprintln(s.out, string(item)); err != nil {
				return err
			}
		}
		if list.Next == "" {
			return nil
		}
		next, err := url.Parse(list.Next)
		if err != nil {
			return fmt.Errorf("the next page: %w", err)
		}
		query = next.Query()
	}
}

func (a *apiAccess) read(ctx context.Context, method, path string, query url.Values, body any) ([]byte, error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(b)
	}
	resp, err := a.request(ctx, method, path, query, in)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return nil, fmt.Errorf("asking the server: %w", err)
	}
	return b, nil
}

func of(tenant string) url.Values {
	if tenant == "" {
		return nil
	}
	return url.Values{"tenant": {tenant}}
}

type tenantCmd struct {
	List    tenantListCmd    `cmd:"" help:"List the tenants that were created, one JSON object a line."`
	Show    tenantShowCmd    `cmd:"" help:"Show one tenant."`
	Usage   tenantUsageCmd   `cmd:"" help:"Show what a tenant's users uploaded today."`
	Create  tenantCreateCmd  `cmd:"" help:"Create a tenant."`
	Update  tenantUpdateCmd  `cmd:"" help:"Change a tenant."`
	Suspend tenantSuspendCmd `cmd:"" help:"Keep all users and keys of a tenant out, and close their sessions."`
	Resume  tenantResumeCmd  `cmd:"" help:"Take the suspension back."`
	Erase   tenantEraseCmd   `cmd:"" help:"Erase all data of a tenant, for good."`
	Delete  tenantDeleteCmd  `cmd:"" help:"Keep a tenant out for ever. Its data stay in storage."`
}

type tenantListCmd struct{ apiAccess }

// Run lists the tenants.
func (c *tenantListCmd) Run(s *streams) error { return c.call(s, "GET", "tenants/", nil, nil) }

type oneTenant struct {
	apiAccess
	ID string `arg:"" help:"Tenant."`
}

func (c *oneTenant) path() string { return "tenants/" + url.PathEscape(c.ID) + "/" }

type tenantShowCmd struct{ oneTenant }

// Run shows the tenant.
func (c *tenantShowCmd) Run(s *streams) error { return c.call(s, "GET", c.path(), nil, nil) }

type tenantUsageCmd struct{ oneTenant }

// Run shows the usage.
func (c *tenantUsageCmd) Run(s *streams) error { return c.call(s, "GET", c.path()+"usage/", nil, nil) }

// tenantFields are what can be set of a tenant.
type tenantFields struct {
	Name     *string            `placeholder:"TEXT" help:"Name."`
	Settings *string            `placeholder:"JSON" help:"Settings, a JSON object that is kept for the tenant."`
	Limit    map[string]float64 `placeholder:"NAME=N;..." help:"Limits, such as users=100;message_rate=5; 0 takes one away."`
}

func (f *tenantFields) body() (map[string]any, error) {
	b := map[string]any{}
	if f.Name != nil {
		b["name"] = *f.Name
	}
	if f.Settings != nil {
		if !json.Valid([]byte(*f.Settings)) {
			return nil, errors.New("--settings: not JSON")
		}
		b["settings"] = json.RawMessage(*f.Settings)
	}
	if len(f.Limit) > 0 {
		b["limits"] = f.Limit
	}
	return b, nil
}

type tenantCreateCmd struct {
	oneTenant
	tenantFields
}

// Run creates the tenant.
func (c *tenantCreateCmd) Run(s *streams) error {
	b, err := c.body()
	if err != nil {
		return err
	}
	b["id"] = c.ID
	return c.call(s, "POST", "tenants/", nil, b)
}

type tenantUpdateCmd struct {
	oneTenant
	tenantFields
}

// Run changes the tenant.
func (c *tenantUpdateCmd) Run(s *streams) error {
	b, err := c.body()
	if err != nil {
		return err
	}
	return c.call(s, "PATCH", c.path(), nil, b)
}

type tenantSuspendCmd struct {
	oneTenant
	Reason string `placeholder:"TEXT" help:"Shown to those who are kept out."`
}

// Run suspends the tenant.
func (c *tenantSuspendCmd) Run(s *streams) error {
	return c.call(s, "POST", c.path()+"suspend/", nil, map[string]string{"reason": c.Reason})
}

type tenantResumeCmd struct{ oneTenant }

// Run takes the suspension back.
func (c *tenantResumeCmd) Run(s *streams) error {
	return c.call(s, "POST", c.path()+"resume/", nil, nil)
}

type tenantDeleteCmd struct{ oneTenant }

// Run deletes the tenant.
func (c *tenantDeleteCmd) Run(s *streams) error { return c.call(s, "DELETE", c.path(), nil, nil) }

type tenantEraseCmd struct {
	oneTenant
	Confirm string `required:"" placeholder:"ID" help:"The id once more: there is no way back."`
	Wait    bool   `help:"Wait until it is done."`
}

// Run erases the tenant's data.
func (c *tenantEraseCmd) Run(s *streams) error {
	err := c.call(s, "POST", c.path()+"erase/", nil, map[string]string{"confirm": c.Confirm})
	for err == nil && c.Wait {
		var b []byte
		if b, err = c.read(s.ctx, "GET", c.path(), nil, nil); err != nil {
			return err
		}
		var t struct {
			State string `json:"state"`
		}
		if err := json.Unmarshal(b, &t); err != nil {
			return fmt.Errorf("asking the server: %w", err)
		}
		if t.State != "erasing" {
			_, err := fmt.Fprintln(s.out, string(b))
			return err
		}
		select {
		case <-time.After(2 * time.Second):
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
	return err
}

type keyCmd struct {
	List   keyListCmd   `cmd:"" help:"List the API keys of a tenant."`
	Create keyCreateCmd `cmd:"" help:"Make an API key and print it: it is shown once."`
	Rotate keyRotateCmd `cmd:"" help:"Give an API key another secret and print it; the old one is accepted for a while longer."`
	Revoke keyRevokeCmd `cmd:"" help:"Revoke an API key, at once."`
}

type inTenant struct {
	apiAccess
	Tenant string `placeholder:"T" help:"Tenant; default: the key's own, or default."`
}

type keyListCmd struct{ inTenant }

// Run lists the keys.
func (c *keyListCmd) Run(s *streams) error { return c.call(s, "GET", "keys/", of(c.Tenant), nil) }

type keyCreateCmd struct {
	inTenant
	Name    string        `placeholder:"TEXT" help:"What it is for."`
	Scopes  []string      `required:"" placeholder:"SCOPE,..." help:"What it may do: users:read, users:write, messages:send, moderation, audit:read, tokens:mint, keys:admin, tenants:admin."`
	Expires time.Duration `placeholder:"DUR" help:"How long it is valid; default: until it is revoked."`
}

// Run makes a key.
func (c *keyCreateCmd) Run(s *streams) error {
	b := map[string]any{"name": c.Name, "scopes": c.Scopes}
	if c.Expires > 0 {
		b["expires_at"] = time.Now().Add(c.Expires).UTC().Format(time.RFC3339)
	}
	return c.secret(s, "keys/", b)
}

// secret prints the key that an answer holds.
func (c *inTenant) secret(s *streams, path string, body any) error {
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	b, err := c.read(ctx, "POST", path, of(c.Tenant), body)
	if err != nil {
		return err
	}
	var made struct {
		Key string `json:"key"`
	}
	if err := json.Unmarshal(b, &made); err != nil || made.Key == "" {
		return errors.New("the server answered without a key")
	}
	_, err = fmt.Fprintln(s.out, made.Key)
	return err
}

type keyRotateCmd struct {
	inTenant
	ID    string        `arg:"" help:"Id of the key, which follows hub_ in it."`
	Grace time.Duration `default:"24h" placeholder:"DUR" help:"How long the old secret is accepted."`
}

// Run rotates the key.
func (c *keyRotateCmd) Run(s *streams) error {
	return c.secret(s, "keys/"+url.PathEscape(c.ID)+"/rotate/", map[string]int64{"grace_seconds": int64(c.Grace / time.Second)})
}

type keyRevokeCmd struct {
	inTenant
	ID string `arg:"" help:"Id of the key."`
}

// Run revokes the key.
func (c *keyRevokeCmd) Run(s *streams) error {
	return c.call(s, "DELETE", "keys/"+url.PathEscape(c.ID)+"/", of(c.Tenant), nil)
}

type auditCmd struct {
	inTenant
	Action string `placeholder:"NAME" help:"Only this action, such as user.suspend."`
	Actor  string `placeholder:"ID" help:"Only what this user or key did."`
	Object string `placeholder:"ID" help:"Only what this user, conversation, message or key is an object of."`
	From   string `placeholder:"TIME" help:"Only from this time on (RFC 3339)."`
	To     string `placeholder:"TIME" help:"Only before this time."`
}

// Run prints the audit log, the newest first.
func (c *auditCmd) Run(s *streams) error {
	q := url.Values{"limit": {"1000"}}
	for name, v := range map[string]string{"tenant": c.Tenant, "action": c.Action, "actor": c.Actor, "object": c.Object, "from": c.From, "to": c.To} {
		if v != "" {
			q.Set(name, v)
		}
	}
	return c.call(s, "GET", "audit/", q, nil)
}

type userCmd struct {
	Usage   userUsageCmd   `cmd:"" help:"Show what a user uploaded today."`
	Suspend userSuspendCmd `cmd:"" help:"Keep a user out, and close the user's sessions."`
	Resume  userResumeCmd  `cmd:"" help:"Take the suspension back."`
	Revoke  userRevokeCmd  `cmd:"" help:"Refuse all tokens of a user that were issued until now."`
	Export  userExportCmd  `cmd:"" help:"Print all users of a tenant, one JSON object a line."`
	Import  userImportCmd  `cmd:"" help:"Write the users that standard input describes, one JSON object a line."`
}

type oneUser struct {
	inTenant
	ID string `arg:"" help:"User id."`
}

func (c *oneUser) do(s *streams, action string, body any) error {
	return c.call(s, "POST", "users/"+url.PathEscape(c.ID)+"/"+action+"/", of(c.Tenant), body)
}

type userUsageCmd struct{ oneUser }

// Run shows the usage.
func (c *userUsageCmd) Run(s *streams) error {
	return c.call(s, "GET", "users/"+url.PathEscape(c.ID)+"/usage/", of(c.Tenant), nil)
}

type userSuspendCmd struct {
	oneUser
	Reason string `placeholder:"TEXT" help:"Shown to the user."`
}

// Run suspends the user.
func (c *userSuspendCmd) Run(s *streams) error {
	return c.do(s, "suspend", map[string]string{"reason": c.Reason})
}

type userResumeCmd struct{ oneUser }

// Run takes the suspension back.
func (c *userResumeCmd) Run(s *streams) error { return c.do(s, "resume", nil) }

type userRevokeCmd struct{ oneUser }

// Run revokes the user's tokens.
func (c *userRevokeCmd) Run(s *streams) error { return c.do(s, "revoke_tokens", nil) }

type userExportCmd struct{ inTenant }

// Run prints the users.
func (c *userExportCmd) Run(s *streams) error {
	resp, err := c.request(s.ctx, "GET", "export/users/", of(c.Tenant), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(s.out, resp.Body); err != nil {
		return fmt.Errorf("the export broke off: %w", err)
	}
	return nil
}

type userImportCmd struct {
	inTenant
	Errors bool `help:"Print only the lines that failed, and the total."`
}

// Run writes the users and prints what became of each line.
func (c *userImportCmd) Run(s *streams) error {
	q := url.Values{"results": {"all"}}
	if c.Errors {
		q.Set("results", "errors")
	}
	if c.Tenant != "" {
		q.Set("tenant", c.Tenant)
	}
	resp, err := c.request(s.ctx, "POST", "import/users/", q, io.NopCloser(s.in)) // the transport would close standard input
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var last bytes.Buffer
	if _, err := io.Copy(io.MultiWriter(s.out, lastLine{&last}), resp.Body); err != nil {
		return fmt.Errorf("the import broke off: %w", err)
	}
	var sum struct {
		Done   bool `json:"done"`
		Errors int  `json:"errors"`
	}
	if err := json.Unmarshal(last.Bytes(), &sum); err != nil || !sum.Done {
		return errors.New("the import broke off; doing it again is safe")
	}
	if sum.Errors > 0 {
		return fmt.Errorf("%d lines failed", sum.Errors)
	}
	return nil
}

// lastLine keeps what was written after the last but one newline.
type lastLine struct{ b *bytes.Buffer }

func (l lastLine) Write(p []byte) (int, error) {
	for _, c := range p {
		if n := l.b.Len(); n > 0 && l.b.Bytes()[n-1] == '\n' {
			l.b.Reset()
		}
		l.b.WriteByte(c)
	}
	return len(p), nil
}
