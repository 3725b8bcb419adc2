package main_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/zumodra/hub/client"
)

func TestServeSaysWhatIsMissing(t *testing.T) {
	_, stderr, code := run(t, nil, "serve", "--data", t.TempDir())
	if code == 0 || !strings.Contains(stderr, "--auth-secret-file") || !strings.Contains(stderr, "--dev") {
		t.Fatalf("exit %d: %s", code, stderr)
	}
}

func TestConfiguration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hub.yaml")
	if err := os.WriteFile(file, []byte("dev: true\nuser-rate: 3\nuser-burst: 4\nlisten: 127.0.0.1:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("precedence", func(t *testing.T) {
		out, stderr, code := run(t, []string{"HUB_USER_BURST=5", "HUB_LISTEN=127.0.0.1:2"},
			"--config", file, "config", "print", "--listen", "127.0.0.1:3")
		if code != 0 {
			t.Fatalf("exit %d: %s", code, stderr)
		}
		for _, want := range []string{"user-rate: 3\n", "user-burst: 5\n", "listen: 127.0.0.1:3\n", "dev: true\n"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
	})
	t.Run("check", func(t *testing.T) {
		if out, stderr, code := run(t, nil, "--config", file, "config", "check"); code != 0 {
			t.Fatalf("exit %d: %s%s", code, out, stderr)
		}
		if _, stderr, code := run(t, nil, "config", "check", "--dev", "--max-group-size", "1"); code != 1 || !strings.Contains(stderr, "--max-group-size") {
			t.Fatalf("exit %d: %s", code, stderr)
		}
	})
	t.Run("unknown setting", func(t *testing.T) {
		bad := filepath.Join(t.TempDir(), "bad.yaml")
		if err := os.WriteFile(bad, []byte("dev: true\nuser-rat: 3\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, stderr, code := run(t, nil, "--config", bad, "serve"); code == 0 || !strings.Contains(stderr, "line 2") {
			t.Fatalf("exit %d: %s", code, stderr)
		}
	})
	t.Run("documentation", func(t *testing.T) {
		out, _, _ := run(t, nil, "config", "doc")
		page, err := os.ReadFile("../../docs/configuration.md")
		if err != nil {
			t.Fatal(err)
		}
		if out != string(page) {
			t.Error("docs/configuration.md is not what `hub config doc` prints; run make docs")
		}
	})
}

func TestTokenIsAccepted(t *testing.T) {
	data := t.TempDir()
	s := serve(t, data, "--dev")
	out, stderr, code := run(t, nil, "token", "--data", data, "--user", "42", "--tenant", "acme", "--ttl", "5m")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	if got := s.call("GET", "/api/v1/messages/conversations/", strings.TrimSpace(out), nil, nil); got != http.StatusOK {
		t.Errorf("with the token: %d", got)
	}
	var body struct {
		Detail string `json:"detail"`
	}
	if got := s.call("GET", "/api/v1/messages/conversations/", "", nil, &body); got != http.StatusUnauthorized ||
		body.Detail != "Authentication credentials were not provided." {
		t.Errorf("without: %d %q", got, body.Detail)
	}
	for _, args := range [][]string{{"token", "--user", "a b"}, {"token", "--user", "a", "--ttl", "-1s"}, {"token", "--user", "a", "--tenant", "a/b"}, {"token"}} {
		if _, _, code := run(t, nil, append(args, "--data", data)...); code == 0 {
			t.Errorf("%q was accepted", args)
		}
	}
}

func TestAdminPort(t *testing.T) {
	s := serve(t, t.TempDir(), "--dev")
	c, events := s.sdk("alice")
	s.login("bob")
	conv, err := c.CreateDirect(t.Context(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Send(t.Context(), conv.ID, "hello"); err != nil {
		t.Fatal(err)
	}
	message(t, events)

	for path, want := range map[string]int{"/livez": 200, "/readyz": 200, "/readyz?verbose": 200, "/debug/": 200, "/debug/gc": 200, "/nothing": 404} {
		resp, err := http.Get(s.admin + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
	var text []byte
	scrape := func() {
		t.Helper()
		resp, err := http.Get(s.admin + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if text, err = io.ReadAll(resp.Body); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{
		`hub_command_duration_seconds_count{command="send",outcome="ok"} 1`,
		`hub_session_frames_total{type="send_message"} 1`,
		"hub_edge_connections 1", "hub_sessions_open 1", "hub_users_connected 1",
		`hub_storage_op_duration_seconds_count{op="append",outcome="ok"}`, "hub_message_delivery_duration_seconds_count",
		"hub_build_info", "process_open_fds",
	} { // what was done may be counted after it was answered
		s.await(want+" among the metrics", func() bool { scrape(); return strings.Contains(string(text), want) })
	}
	problems, err := promlint.New(strings.NewReader(string(text))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("metric %s: %s", p.Metric, p.Text)
	}
	for _, never := range []string{"alice", "bob", conv.ID, "hello"} {
		if strings.Contains(string(text), never) {
			t.Errorf("the metrics name %q", never)
		}
	}
	// Public port: no admin pages.
	for _, path := range []string{"/metrics", "/debug/pprof/", "/readyz"} {
		if got := s.call("GET", path, "", nil, nil); got == http.StatusOK && path != "/readyz" {
			t.Errorf("the public port serves %s", path)
		}
	}
}

func TestTwoTerminalsTalkThroughAKill(t *testing.T) {
	data := t.TempDir()
	s := serve(t, data, "--dev")
	alice := terminal(t, s, "alice", "bob")
	bob := terminal(t, s, "bob", "alice")
	say := func(p *terminalProcess, text string) {
		t.Helper()
		if _, err := fmt.Fprintln(p.in, text); err != nil {
			t.Fatal(err)
		}
	}
	say(alice, "hello from alice")
	bob.expect(t, "alice", "hello from alice")
	say(bob, "hello from bob")
	alice.expect(t, "bob", "hello from bob")

	s.kill()
	say(alice, "said while the server was dead")
	s2 := serve(t, data, "--dev", "--listen", strings.TrimPrefix(s.url, "http://"))
	bob.expect(t, "alice", "said while the server was dead")
	say(bob, "still here")
	alice.expect(t, "bob", "still here")
	_ = s2
}

// TestReq052_TerminateDrains: SIGTERM closes every client with 1001, loses nothing that was acknowledged, and
// clients resume against the next start.
func TestReq052_TerminateDrains(t *testing.T) {
	data := t.TempDir()
	s := serve(t, data, "--dev", "--user-rate", "0", "--drain-timeout", "2s")
	alice, _ := s.sdk("alice")
	s.login("bob")
	conv, err := alice.CreateDirect(t.Context(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	_, bobEvents := s.sdk("bob")

	var mu sync.Mutex
	acked := map[string]uint64{}
	var senders sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	for w := range 4 {
		senders.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				text := fmt.Sprintf("%d/%d", w, i)
				if m, err := alice.Send(ctx, conv.ID, text); err == nil {
					mu.Lock()
					acked[text] = m.Seq
					mu.Unlock()
				}
			}
		})
	}
	for range 50 {
		message(t, bobEvents)
	}
	if code := s.terminate(); code != 0 {
		t.Fatalf("exit %d", code)
	}
	s = serve(t, data, "--dev", "--user-rate", "0", "--listen", strings.TrimPrefix(s.url, "http://"))
	for range 50 { // both clients came back by themselves
		message(t, bobEvents)
	}
	stop()
	senders.Wait()

	seen := map[string]uint64{}
	for before := ""; ; {
		page, err := alice.Messages(t.Context(), conv.ID, before)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page.Messages {
			if _, twice := seen[m.Content]; twice {
				t.Errorf("%q is there twice", m.Content)
			}
			seen[m.Content] = m.Seq
			before = m.ID
		}
		if len(page.Messages) == 0 {
			break
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for text, seq := range acked {
		if seen[text] != seq {
			t.Errorf("%q was acknowledged as %d and is stored as %d", text, seq, seen[text])
		}
	}
	t.Logf("%d acknowledged, %d stored", len(acked), len(seen))
	if s.terminate() != 0 {
		t.Error("second drain failed")
	}
}

// TestReq112_NotReadyWhileDraining: a client that does not answer the close frame keeps the server draining; it
// must not be offered new ones meanwhile.
func TestReq112_NotReadyWhileDraining(t *testing.T) {
	s := serve(t, t.TempDir(), "--dev")
	c, _, err := websocket.Dial(t.Context(), s.url+"/ws/", &websocket.DialOptions{ // nobody reads from it
		HTTPHeader: http.Header{"Authorization": {"Bearer " + s.login("alice")}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.await("503 and why", func() bool {
		resp, err := http.Get(s.admin + "/readyz?verbose")
		if err != nil {
			t.Fatalf("the admin port went before the clients: %v", err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return err == nil && resp.StatusCode == http.StatusServiceUnavailable && strings.Contains(string(b), "draining")
	})
	resp, err := http.Get(s.admin + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("livez while draining: %d", resp.StatusCode)
	}
	_ = c.CloseNow()
	<-s.done
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit %d", code)
	}
}

func TestStoreIsLocked(t *testing.T) {
	embeddedOnly(t)
	data := t.TempDir()
	serve(t, data, "--dev")
	_, stderr, code := run(t, nil, "serve", "--dev", "--data", data, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	if code == 0 || !strings.Contains(stderr, "in use by another process") {
		t.Fatalf("exit %d: %s", code, stderr)
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, stderr, code := run(t, nil, "serve", "--dev", "--data", t.TempDir(), "--listen", l.Addr().String(), "--admin-listen", "127.0.0.1:0")
	if code == 0 || !strings.Contains(stderr, "address already in use") {
		t.Fatalf("exit %d: %s", code, stderr)
	}
}

func TestVerify(t *testing.T) {
	embeddedOnly(t)
	data := t.TempDir()
	s := serve(t, data, "--dev")
	alice, _ := s.sdk("alice")
	s.login("bob")
	conv, err := alice.CreateDirect(t.Context(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if _, err := alice.Send(t.Context(), conv.ID, fmt.Sprint("message ", i)); err != nil {
			t.Fatal(err)
		}
	}
	if code := s.terminate(); code != 0 {
		t.Fatalf("exit %d", code)
	}
	if out, stderr, code := run(t, nil, "verify", "--data", data); code != 0 {
		t.Fatalf("a sound store: exit %d: %s%s", code, out, stderr)
	}
	damage(t, filepath.Join(data, "store"))
	if out, stderr, code := run(t, nil, "verify", "--data", data); code != 1 {
		t.Fatalf("a damaged store: exit %d: %s%s", code, out, stderr)
	}
}

// damage flips bytes in the middle of the store's largest file.
func damage(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.*"))
	if err != nil {
		t.Fatal(err)
	}
	var largest string
	var content []byte
	for _, f := range files {
		if ext := filepath.Ext(f); ext != ".sst" && ext != ".log" {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if used := len(bytes.TrimRight(b, "\x00")); used > len(content) { // a log is longer than what is in it
			largest, content = f, b[:used]
		}
	}
	if len(content) < 1000 {
		t.Fatalf("nothing to damage among %q", files)
	}
	for i := len(content) / 4; i < len(content)/2; i += 8 {
		content[i] ^= 0xff
	}
	if err := os.WriteFile(largest, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTLSAndReload(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cert, key, 1)
	s := serve(t, t.TempDir(), "--dev", "--tls-cert", cert, "--tls-key", key)
	insecure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	url := strings.Replace(s.url, "http://", "https://", 1)
	serial := func() string {
		resp, err := insecure.Get(url + "/health/live/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.TLS.PeerCertificates[0].SerialNumber.String()
	}
	if got := serial(); got != "1" {
		t.Fatalf("serial %s", got)
	}
	out, _, _ := run(t, nil, "token", "--data", s.data, "--user", "alice")
	c, err := client.New(client.Config{URL: url, TokenSource: client.StaticToken(strings.TrimSpace(out)), HTTPClient: insecure})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.Run(ctx) })
	defer func() { cancel(); wg.Wait() }()
	wait, stop := context.WithTimeout(ctx, patience)
	defer stop()
	if err := c.WaitOnline(wait); err != nil {
		t.Fatal(err)
	}
	writeCertificate(t, cert, key, 22)
	s.await("the new certificate", func() bool { return serial() == "22" })
	if c.State() != client.StateOnline {
		t.Error("the connection did not survive the new certificate")
	}
}

func writeCertificate(t *testing.T, cert, key string, serial int64) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "hub"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	for file, b := range map[string]*pem.Block{key: {Type: "PRIVATE KEY", Bytes: kder}, cert: {Type: "CERTIFICATE", Bytes: der}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
