package conformancetest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
)

// Runner replays vectors against one server. It is safe for concurrent use once its fields are set.
type Runner struct {
	URL      string // http://HOST:PORT
	Secret   []byte // that tokens are signed with
	AdminKey string
	Drain    func() // shuts the server down in an orderly way; nil: vectors that drain fail
	// Patience bounds the wait for each thing that must happen; default one minute. It is no measurement.
	Patience time.Duration
	// Record fills in what steps do not say about what they expect, instead of failing.
	Record bool
}

const maxAnswer = 8 << 20 // bytes of a response

// run is one vector being replayed.
type run struct {
	*Runner
	v       *Vector
	vars    variables
	sockets map[string]*socket
}

// Run replays a vector. The error names the step and each place at which something else came than was expected.
func (r *Runner) Run(ctx context.Context, v *Vector) error {
	u, err := url.Parse(r.URL)
	if err != nil {
		return fmt.Errorf("conformance: %w", err)
	}
	x := &run{Runner: r, v: v, sockets: map[string]*socket{}, vars: variables{
		"tenant": "v-" + strings.ToLower(rand.Text()), "host": u.Host, "admin_key": r.AdminKey,
	}}
	defer func() {
		for _, s := range x.sockets {
			s.drop()
		}
	}()
	if err := x.prepare(ctx); err != nil {
		return fmt.Errorf("%s: before the first step: %w", v.Name, err)
	}
	for i, s := range v.Steps {
		if err := x.step(ctx, s); err != nil {
			return fmt.Errorf("%s: step %d: %s\n%w", v.Name, i+1, s, err)
		}
	}
	for name, s := range x.sockets {
		if err := x.nothingMore(ctx, s); err != nil {
			return fmt.Errorf("%s: after the last step: socket %s\n%w", v.Name, name, err)
		}
	}
	return nil
}

// String says what the step does, for errors.
func (s *Step) String() string {
	for _, k := range []struct{ kind, what string }{{"request", s.Request}, {"open", s.Open}, {"send to", s.Send}, {"receive from", s.Receive},
		{"closed", s.Closed}, {"close", s.Close}} {
		if k.what != "" {
			out := k.kind + " " + k.what
			if s.As != "" {
				out += " as " + s.As
			}
			if s.Note != "" {
				out += " (" + s.Note + ")"
			}
			return out
		}
	}
	return "drain"
}

func (x *run) patience() time.Duration {
	if x.Patience > 0 {
		return x.Patience
	}
	return time.Minute
}

// prepare makes the values of let and the users, with their tokens.
func (x *run) prepare(ctx context.Context) error {
	for name, u := range x.v.Users {
		if u.ExpiresIn != 0 {
			if err := x.mint(name, u); err != nil {
				return err
			}
			continue
		}
		b, err := json.Marshal(map[string]string{"username": u.ID, "password": "any", "tenant": x.vars["tenant"].(string),
			"email": u.Email, "first_name": u.FirstName, "last_name": u.LastName})
		if err != nil {
			return err
		}
		resp, err := x.http(ctx, http.MethodPost, "/api/v1/auth/token/", nil, string(b))
		if err != nil {
			return err
		}
		var pair struct{ Access, Refresh string }
		if err := json.Unmarshal(resp.body, &pair); err != nil || resp.status != http.StatusOK {
			return fmt.Errorf("no token for user %s: %d %s", name, resp.status, resp.body)
		}
		x.vars[name+".token"], x.vars[name+".refresh"] = pair.Access, pair.Refresh
	}
	for name, raw := range x.v.Let {
		v, err := decode(raw)
		if err != nil {
			return fmt.Errorf("let %s: %w", name, err)
		}
		if x.vars[name], err = x.vars.value(v); err != nil {
			return fmt.Errorf("let %s: %w", name, err)
		}
	}
	return nil
}

func (x *run) mint(name string, u User) error {
	signer, err := auth.NewSigner(x.Secret)
	if err != nil {
		return err
	}
	tenant := chat.TenantID(x.vars["tenant"].(string))
	who := chat.User{Tenant: tenant, ID: chat.UserID(u.ID), Username: u.ID, Email: u.Email, FirstName: u.FirstName, LastName: u.LastName}
	expires := time.Now().Add(time.Duration(u.ExpiresIn) * time.Second)
	token, err := signer.Sign(auth.Claims{Principal: chat.Principal{Tenant: tenant, User: who.ID, Username: who.Username},
		IssuedAt: expires.Add(-time.Hour), Expires: expires, User: who}, auth.Access)
	x.vars[name+".token"] = token
	return err
}

func (x *run) step(ctx context.Context, s *Step) error {
	ctx, cancel := context.WithTimeout(ctx, x.patience())
	defer cancel()
	switch {
	case s.Request != "":
		return x.request(ctx, s)
	case s.Open != "":
		return x.open(ctx, s)
	case s.Drain:
		if x.Drain == nil {
			return errors.New("this server cannot be drained")
		}
		x.Drain()
		return nil
	}
	name := s.Send + s.Receive + s.Closed + s.Close
	sock := x.sockets[name]
	if sock == nil {
		return fmt.Errorf("no open socket %s", name)
	}
	switch {
	case s.Send != "":
		return x.send(ctx, sock, s)
	case s.Receive != "":
		return x.receive(ctx, sock, s)
	case s.Close != "":
		return sock.close(s.Code)
	}
	delete(x.sockets, name)
	return x.closed(ctx, sock, s)
}

func (x *run) request(ctx context.Context, s *Step) error {
	for range max(s.Times, 1) {
		if err := x.requestOnce(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (x *run) requestOnce(ctx context.Context, s *Step) error {
	var last []string
	for {
		diff, got, err := x.exchange(ctx, s)
		if err != nil && ctx.Err() != nil && last != nil { // the last attempt was cut short
			return fmt.Errorf("in the end:\n%s", strings.Join(last, "\n"))
		}
		if err != nil {
			return err
		}
		if len(diff) == 0 {
			return x.save(s, got)
		}
		if !s.Eventually {
			return errors.New(strings.Join(diff, "\n"))
		}
		last = diff
		select {
		case <-ctx.Done():
			return fmt.Errorf("in the end:\n%s", strings.Join(diff, "\n"))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// exchange makes one request and compares the answer.
func (x *run) exchange(ctx context.Context, s *Step) (diff []string, got any, err error) {
	method, target, ok := strings.Cut(s.Request, " ")
	if !ok {
		return nil, nil, errors.New("a request is a method and a path")
	}
	if target, err = x.vars.text(target); err != nil {
		return nil, nil, err
	}
	header, err := x.headers(s)
	if err != nil {
		return nil, nil, err
	}
	var body string
	switch {
	case s.JSON != nil:
		v, err := x.vars.raw(s.JSON)
		if err != nil {
			return nil, nil, err
		}
		body = quoted(v)
	case s.Text != nil:
		if body, err = x.vars.text(*s.Text); err != nil {
			return nil, nil, err
		}
	}
	resp, err := x.http(ctx, method, target, header, body)
	if err != nil {
		return nil, nil, err
	}
	b := resp.body
	if x.Record && s.Status == 0 {
		s.Status = resp.status
	}
	if s.Status != resp.status {
		diff = append(diff, fmt.Sprintf("status: want %d, got %d", s.Status, resp.status))
	}
	for name, from := range s.Save {
		if header, ok := strings.CutPrefix(from, "header "); ok {
			x.vars[name] = strings.TrimPrefix(resp.header.Get(header), x.URL)
		}
	}
	for name, want := range s.Answer {
		if want, err = x.vars.text(want); err != nil {
			return nil, nil, err
		}
		if v := resp.header.Values(name); len(v) > 0 {
			diff = append(diff, match(want, v[0], "/answer/"+name)...)
		} else {
			diff = append(diff, fmt.Sprintf("/answer/%s: want %s, is not there", name, want))
		}
	}
	if s.Plain != nil {
		if !strings.HasPrefix(string(b), *s.Plain) {
			diff = append(diff, fmt.Sprintf("body: want it to start with %q, got %.200q", *s.Plain, b))
		}
		return diff, nil, nil
	}
	if len(b) > 0 {
		if got, err = decode(b); err != nil {
			if x.Record && s.Body == nil {
				text := string(b)
				s.Plain = &text
				return diff, nil, nil
			}
			return append(diff, fmt.Sprintf("body is not JSON: %v: %.200q", err, b)), nil, nil
		}
	}
	if x.Record && s.Body == nil && got != nil {
		s.Body = json.RawMessage(quoted(x.vars.general(got)))
	}
	switch {
	case s.Body == nil && got != nil:
		diff = append(diff, "body: want none, got "+quoted(x.vars.general(got)))
	case s.Body != nil && got == nil:
		diff = append(diff, "body: want "+string(s.Body)+", got none")
	case s.Body != nil:
		want, err := x.vars.raw(s.Body)
		if err != nil {
			return nil, nil, err
		}
		if d := match(want, got, ""); len(d) > 0 {
			diff = append(append(diff, d...), "body: got "+quoted(x.vars.general(got)))
		}
	}
	return diff, got, nil
}

func (x *run) headers(s *Step) (http.Header, error) {
	h := http.Header{}
	if s.As != "" {
		h.Set("Authorization", "Bearer "+x.vars[s.As+".token"].(string))
	}
	for name, v := range s.Headers {
		v, err := x.vars.text(v)
		if err != nil {
			return nil, err
		}
		h.Set(name, v)
	}
	return h, nil
}

type response struct {
	status int
	header http.Header
	body   []byte
}

func (x *run) http(ctx context.Context, method, target string, header http.Header, body string) (response, error) {
	req, err := http.NewRequestWithContext(ctx, method, x.URL+target, strings.NewReader(body))
	if err != nil {
		return response{}, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	maps.Copy(req.Header, header)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return response{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return response{resp.StatusCode, resp.Header, b}, err
}

func (x *run) save(s *Step, got any) error {
	for name, p := range s.Save {
		if strings.HasPrefix(p, "header ") {
			continue // exchange has seen to it
		}
		v, ok := pointer(got, p)
		if !ok {
			return fmt.Errorf("save %s: nothing at %s", name, p)
		}
		x.vars[name] = v
	}
	return nil
}

// receive waits for the frames of a step.
func (x *run) receive(ctx context.Context, sock *socket, s *Step) error {
	if x.Record && s.Frames == nil {
		all := sock.silence(time.Second)
		for _, f := range all {
			s.Frames = append(s.Frames, json.RawMessage(quoted(x.vars.general(f))))
		}
		if s.Frames == nil {
			return errors.New("nothing came")
		}
		return x.save(s, all)
	}
	wants := make([]any, len(s.Frames))
	for i, f := range s.Frames {
		w, err := x.vars.raw(f)
		if err != nil {
			return err
		}
		wants[i] = w
	}
	all := make([]any, len(wants))
	found := make([]bool, len(wants))
	for next := 0; next < len(wants); {
		got, err := sock.next(ctx)
		if err != nil {
			return fmt.Errorf("frame %d: want %s: %w", next+1, quoted(wants[next]), err)
		}
		at := next
		diff := match(wants[next], got, "")
		for i := next; s.Unordered && len(diff) > 0 && i < len(wants); i++ {
			if !found[i] && len(match(wants[i], got, "")) == 0 {
				at, diff = i, nil
			}
		}
		if len(diff) > 0 {
			if x.ignorable(got) {
				continue
			}
			return fmt.Errorf("frame %d:\n%s\ngot %s", next+1, strings.Join(diff, "\n"), quoted(x.vars.general(got)))
		}
		all[at], found[at] = got, true
		for next < len(wants) && found[next] {
			next++
		}
	}
	return x.save(s, all)
}

// ignorable frames may come at any time: head, and the types that the vector names.
func (x *run) ignorable(frame any) bool {
	m, _ := frame.(map[string]any)
	t, _ := m["type"].(string)
	return t == "head" || slices.Contains(x.v.Ignore, t)
}

const lastRef = "after the last step"

// nothingMore sends a ping; whatever comes before its answer has not been named.
func (x *run) nothingMore(ctx context.Context, sock *socket) error {
	ctx, cancel := context.WithTimeout(ctx, x.patience())
	defer cancel()
	if sock.closing {
		return nil
	}
	if err := sock.write(ctx, false, []byte(`{"type":"ping","ref":"`+lastRef+`"}`)); err != nil {
		return err
	}
	for {
		got, err := sock.next(ctx)
		if err != nil {
			return fmt.Errorf("no answer to a ping: %w", err)
		}
		if m, ok := got.(map[string]any); ok && m["ref"] == lastRef {
			return nil
		}
		if !x.ignorable(got) {
			return fmt.Errorf("a frame that no step names: %s", quoted(x.vars.general(got)))
		}
	}
}
