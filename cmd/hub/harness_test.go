package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zumodra/hub/client"
	"github.com/zumodra/hub/internal/freeport"
	"github.com/zumodra/hub/storage/scylla/scyllatest"
)

// binary is the hub under test, built once.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "hub-test-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "hub")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the hub: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

const patience = 60 * time.Second // for what must happen; never a measurement

// output collects what a process printed.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// run runs a command to its end.
func run(t *testing.T, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(scyllatest.Environ(), env...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

// server is a running `hub serve`.
type server struct {
	t          *testing.T
	cmd        *exec.Cmd
	log        *output
	url, admin string
	data       string
	done       chan struct{}
}

// keyspaces of data directories, where the tests run on a cluster: what was one store is one again.
var keyspaces sync.Map

func storeFlags(t *testing.T, data string) []string {
	t.Helper()
	if !scyllatest.Chosen() {
		return nil
	}
	name, ok := keyspaces.Load(data)
	if !ok {
		name = scyllatest.Keyspace(t)
		keyspaces.Store(data, name)
	}
	return scyllatest.Flags(t, name.(string))
}

// embeddedOnly skips a test of the embedded store where the tests run on a cluster.
func embeddedOnly(t *testing.T) {
	t.Helper()
	if scyllatest.Chosen() {
		t.Skip("about the embedded store")
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	a, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// serve starts a server and waits until it is ready.
func serve(t *testing.T, data string, args ...string) *server {
	t.Helper()
	listen, admin := freePort(t), freePort(t)
	s := &server{t: t, log: &output{}, url: "http://" + listen, admin: "http://" + admin, data: data, done: make(chan struct{})}
	args = append(append([]string{"serve", "--listen", listen, "--admin-listen", admin, "--data", data}, storeFlags(t, data)...), args...)
	s.cmd = exec.Command(binary, args...)
	s.cmd.Env, s.cmd.Stderr = scyllatest.Environ(), s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.cmd.Wait(); close(s.done) }()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.done
		if t.Failed() {
			t.Logf("log of the server:\n%s", s.log)
		}
	})
	s.await("ready", func() bool {
		select {
		case <-s.done:
			t.Fatalf("the server ended:\n%s", s.log)
		default:
		}
		resp, err := http.Get(s.admin + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return s
}

func (s *server) await(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// terminate sends SIGTERM and returns the exit code.
func (s *server) terminate() int {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	select {
	case <-s.done:
	case <-time.After(patience):
		s.t.Fatal("the server does not end")
	}
	return s.cmd.ProcessState.ExitCode()
}

func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.done
}

// call makes a request and decodes a JSON answer.
func (s *server) call(method, path, token string, body, out any) int {
	s.t.Helper()
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			s.t.Fatal(err)
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, r)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if out != nil {
		if err := json.Unmarshal(b, out); err != nil {
			s.t.Fatalf("%s %s: %d %s: %v", method, path, resp.StatusCode, b, err)
		}
	}
	return resp.StatusCode
}

// login makes sure that the user exists and returns a token.
func (s *server) login(user string) string {
	s.t.Helper()
	tok, err := client.DevToken(s.t.Context(), s.url, "", user)
	if err != nil {
		s.t.Fatal(err)
	}
	return tok
}

// sdk runs a client until the test ends. Events go to the channel, which is large enough for the tests.
func (s *server) sdk(user string) (*client.Client, chan client.Event) {
	s.t.Helper()
	events := make(chan client.Event, 1<<16)
	tok := s.login(user)
	c, err := client.New(client.Config{
		URL: s.url, TokenSource: client.StaticToken(tok), FromStart: true,
		Backoff: client.Backoff{Min: 10 * time.Millisecond, Max: 200 * time.Millisecond},
		Handler: func(e client.Event) { events <- e },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.Run(ctx) })
	s.t.Cleanup(func() { cancel(); wg.Wait() })
	wait, stop := context.WithTimeout(s.t.Context(), patience)
	defer stop()
	if err := c.WaitOnline(wait); err != nil {
		s.t.Fatalf("%s: %v", user, err)
	}
	return c, events
}

// message waits for the next message.
func message(t *testing.T, events chan client.Event) client.MessageEvent {
	t.Helper()
	for end := time.After(patience); ; {
		select {
		case e := <-events:
			if m, ok := e.(*client.MessageEvent); ok {
				return *m
			}
		case <-end:
			t.Fatal("no message came")
		}
	}
}

// terminalProcess is a running `hub chat`.
type terminalProcess struct {
	in    io.WriteCloser
	lines chan string
}

func terminal(t *testing.T, s *server, as, to string) *terminalProcess {
	t.Helper()
	cmd := exec.Command(binary, "chat", "--server", s.url, "--as", as, "--to", to)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &terminalProcess{in: in, lines: make(chan string, 4096)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			p.lines <- sc.Text()
		}
		_ = cmd.Wait()
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	return p
}

// expect waits for a line that contains all the words.
func (p *terminalProcess) expect(t *testing.T, words ...string) {
	t.Helper()
	var seen []string
	for end := time.After(patience); ; {
		select {
		case l := <-p.lines:
			seen = append(seen, l)
			ok := true
			for _, w := range words {
				ok = ok && strings.Contains(l, w)
			}
			if ok {
				return
			}
		case <-end:
			t.Fatalf("no line with %q among\n%s", words, strings.Join(seen, "\n"))
		}
	}
}
