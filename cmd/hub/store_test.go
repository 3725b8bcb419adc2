package main_test

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zumodra/hub/storage/scylla/scyllatest"
)

// launch starts a server without waiting for it.
func launch(t *testing.T, args ...string) *server {
	t.Helper()
	listen, admin := freePort(t), freePort(t)
	s := &server{t: t, log: &output{}, url: "http://" + listen, admin: "http://" + admin, data: t.TempDir(), done: make(chan struct{})}
	s.cmd = exec.Command(binary, append([]string{"serve", "--dev", "--listen", listen, "--admin-listen", admin, "--data", s.data}, args...)...)
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
	return s
}

// says waits until the admin port answers a path with a status and words.
func (s *server) says(path string, status int, words ...string) {
	s.t.Helper()
	answer := ""
	s.await(path, func() bool {
		resp, err := http.Get(s.admin + path)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		answer = string(b)
		for _, w := range words {
			if !strings.Contains(answer, w) {
				return false
			}
		}
		return resp.StatusCode == status
	})
}

// A cluster that cannot be reached is waited for, visibly, and SIGTERM ends the wait.
func TestStoreIsWaitedFor(t *testing.T) {
	s := launch(t, "--store", "scylla", "--cql-hosts", freePort(t))
	s.says("/livez", http.StatusOK)
	s.says("/readyz", http.StatusServiceUnavailable, "storage", "not reachable")
	s.await("a line in the log", func() bool { return strings.Contains(s.log.String(), "waiting for the store") })
	if code := s.terminate(); code != 0 {
		t.Errorf("exit %d", code)
	}
	if n := strings.Count(s.log.String(), "waiting for the store"); n > 2 {
		t.Errorf("%d lines about the same", n)
	}
}

func TestWrongCombinationsAreRefused(t *testing.T) {
	for args, want := range map[string]string{
		"serve --dev --store scylla":                                                                                         "--cql-hosts",
		"serve --dev --cql-hosts a":                                                                                          "add --store scylla",
		"serve --dev --store scylla --cql-hosts a --cql-user u":                                                              "go together",
		"serve --dev --store scylla --cql-hosts a --cql-tls-ca f":                                                            "need --cql-tls",
		"serve --dev --store scylla --cql-hosts a --cql-keyspace A-B":                                                        "a letter first",
		"serve --dev --store scylla --cql-hosts a,b:9042":                                                                    "one port",
		"serve --dev --store scylla --cql-hosts a --cql-replication many":                                                    "neither a number",
		"serve --dev --store scylla --cql-hosts a --max-group-size 100000":                                                   "20000",
		"serve --dev --store scylla --cql-hosts a --cql-lease 1s":                                                            "3s",
		"serve --dev --join a:1":                                                                                             "share one store",
		"serve --dev --store scylla --cql-hosts a --join b:1":                                                                "--gossip-listen",
		"serve --dev --store scylla --cql-hosts a --gossip-listen 127.0.0.1:1":                                               "--cluster-listen",
		"serve --dev --store scylla --cql-hosts a --gossip-listen a:1 --cluster-listen a:2":                                  "fts keeps its index",
		"serve --dev --store scylla --cql-hosts a --gossip-listen a:1 --cluster-listen a:2 --search meili":                   "add --blobs s3 --s3-endpoint …, or --blobs-shared",
		"serve --dev --blobs s3 --blobs-shared d":                                                                            "only with --blobs fs",
		"serve --dev --store scylla --cql-hosts a --gossip-listen a:1 --cluster-listen a:2 --search off":                     "--cluster-insecure",
		"serve --dev --store scylla --cql-hosts a --gossip-listen 127.0.0.1:1 --cluster-listen 127.0.0.1:2 --search off":     "--auth-secret-file",
		"serve --dev --store scylla --cql-hosts a --gossip-listen 127.0.0.1:1 --cluster-listen 127.0.0.1:2 --roles owner":    "neither edge nor actors",
		"serve --dev --store scylla --cql-hosts a --gossip-listen 127.0.0.1:1 --cluster-listen 127.0.0.1:2 --cluster-cert f": "go together",
		"serve --dev --roles edge":                                                                                           "both roles",
		"serve --dev --store other":                                                                                          "must be one of",
		"migrate":                                                                                                            "--store scylla",
		"migrate --store scylla":                                                                                             "--cql-hosts",
		"verify --cql-tls":                                                                                                   "add --store scylla",
		"serve --dev --store scylla --cql-hosts a --cql-user u --cql-password-file /no/such/file":                            "no such file",
	} {
		_, stderr, code := run(t, nil, strings.Fields(args)...)
		if code == 0 || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit %d, %s", args, code, stderr)
		}
	}
}

// Without --cql-migrate a keyspace that is not there ends the start and says what to do.
func TestKeyspaceIsNotMadeUnasked(t *testing.T) {
	hosts := strings.Join(scyllatest.Hosts(t), ",")
	secret := t.TempDir() + "/secret"
	if err := os.WriteFile(secret, []byte(strings.Repeat("s", 40)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stderr, code := run(t, nil, "serve", "--auth-secret-file", secret, "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
		"--store", "scylla", "--cql-hosts", hosts, "--cql-keyspace", "hub_test_nobody_made")
	if code == 0 || !strings.Contains(stderr, "hub migrate") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

// Two hubs on one keyspace: the second waits, takes over when the first vanishes, and one that was thought dead stops by
// itself when it wakes up.
func TestOneHubPerKeyspace(t *testing.T) {
	flags := scyllatest.Flags(t, scyllatest.Keyspace(t))
	a := launch(t, flags...)
	a.says("/readyz", http.StatusOK)
	alice, _ := a.sdk("alice")
	a.login("bob")
	conv, err := alice.CreateDirect(t.Context(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Send(t.Context(), conv.ID, "before"); err != nil {
		t.Fatal(err)
	}
	b := launch(t, flags...)
	b.says("/readyz", http.StatusServiceUnavailable, "shards", "another hub")
	b.says("/livez", http.StatusOK)
	if err := a.cmd.Process.Signal(syscall.SIGSTOP); err != nil { // thought dead
		t.Fatal(err)
	}
	b.says("/readyz", http.StatusOK)
	bob, _ := b.sdk("bob")
	if page, err := bob.Messages(t.Context(), conv.ID, ""); err != nil || len(page.Messages) != 1 || page.Messages[0].Content != "before" {
		t.Errorf("bob finds %+v, %v", page, err)
	}
	if _, err := bob.Send(t.Context(), conv.ID, "after"); err != nil {
		t.Fatal(err)
	}
	if err := a.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-a.done:
	case <-time.After(patience):
		t.Fatal("the former owner goes on")
	}
	if code := a.cmd.ProcessState.ExitCode(); code == 0 || !strings.Contains(a.log.String(), "another hub has taken over") {
		t.Errorf("the former owner: exit %d", code)
	}
	c := launch(t, flags...)
	c.says("/readyz", http.StatusServiceUnavailable, "another hub")
	if code := b.terminate(); code != 0 { // gives the keyspace back
		t.Errorf("exit %d", code)
	}
	c.says("/readyz", http.StatusOK)
	if code := c.terminate(); code != 0 {
		t.Errorf("exit %d", code)
	}
}
