package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/zumodra/hub/internal/cassandra"
	"github.com/zumodra/hub/internal/freeport"
)

// messageMark is in every frame that delivers a message.
const messageMark = `"type":"message"`

// hub is the real server as a child process.
type hub struct {
	*process
	listen, admin string
	secret        []byte
	adminKey      string
	dir           string
	web           *http.Client
}

// buildHub compiles the server unless one was given.
func (b *bench) buildHub() (string, error) {
	if b.hub != "" {
		return b.hub, nil
	}
	if b.build == "" {
		path := filepath.Join(b.dir, "hub")
		if out, err := exec.Command("go", "build", "-o", path, "github.com/zumodra/hub/cmd/hub").CombinedOutput(); err != nil {
			return "", fmt.Errorf("building the hub: %w\n%s", err, out)
		}
		b.build = path
	}
	return b.build, nil
}

// startHub starts `hub serve` with an empty store and the per-user rate limit off.
func (b *bench) startHub(cpu int, flags ...string) (*hub, error) {
	bin, err := b.buildHub()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, "hub-")
	if err != nil {
		return nil, err
	}
	h := &hub{dir: dir, adminKey: randomHex(24), secret: []byte(randomHex(32)), web: &http.Client{Timeout: 60 * time.Second}}
	secret, key := filepath.Join(dir, "secret"), filepath.Join(dir, "key")
	if err := errors.Join(os.WriteFile(secret, h.secret, 0o600), os.WriteFile(key, []byte(h.adminKey), 0o600)); err != nil {
		return nil, err
	}
	if h.listen, err = freeport.Address(); err != nil {
		return nil, err
	}
	if h.admin, err = freeport.Address(); err != nil {
		return nil, err
	}
	args := append([]string{
		"serve", "--listen", h.listen, "--admin-listen", h.admin, "--data", filepath.Join(dir, "data"),
		"--auth-secret-file", secret, "--admin-key-file", key, "--user-rate", "0", "--throttles", "anon=off,user=off", "--log-level", "warn",
	}, flags...)
	logs, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer logs.Close()
	cmd := exec.Command(bin, args...)
	if b.hub == "joined" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		cmd = exec.Command(self, append([]string{childArg, "joined"}, args[1:]...)...)
	}
	cmd.Stdout, cmd.Stderr = logs, logs
	// The address of a cluster for the measurement would be a setting to the hub.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, cassandra.HostsEnv+"=") })
	if h.process, err = startPinned(cmd, cpu); err != nil {
		return nil, fmt.Errorf("starting the hub: %w", err)
	}
	b.atEnd(func() { h.stop(2 * time.Second) })
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		select {
		case <-h.done:
			return nil, fmt.Errorf("the hub ended: %w\n%s", h.err, h.logTail())
		default:
		}
		if _, err := h.adminGet("/readyz"); err == nil {
			break
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("the hub is not ready\n%s", h.logTail())
		}
	}
	if b.profile != "" {
		b.profileHub(h)
	}
	return h, nil
}

// profileHub saves CPU profiles of five seconds each for as long as the hub runs.
func (b *bench) profileHub(h *hub) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.admin+"/debug/pprof/profile?seconds=5", nil)
			if err != nil {
				return
			}
			resp, err := h.web.Do(req)
			if err != nil {
				return
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err == nil && resp.StatusCode == http.StatusOK {
				os.WriteFile(filepath.Join(b.profile, fmt.Sprintf("hub-%02d.pprof", i)), body, 0o600)
			}
		}
	}()
	b.atEnd(func() { cancel(); <-done })
}

func (h *hub) logTail() string {
	b, _ := os.ReadFile(filepath.Join(h.dir, "log"))
	return string(b[max(0, len(b)-2000):])
}

func (h *hub) adminGet(path string) ([]byte, error) { return h.adminCall(http.MethodGet, path) }

func (h *hub) adminCall(method, path string) ([]byte, error) {
	req, err := http.NewRequest(method, "http://"+h.admin+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := h.web.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	return b, err
}

// collect makes the hub give back the memory that it does not use.
func (h *hub) collect() error {
	_, err := h.adminCall(http.MethodPost, "/debug/gc")
	return err
}

func (h *hub) token(n int) (string, error) { return signToken(h.secret, n) }

// tokens writes a file with tokens of users from … from+n-1, one per line.
func (h *hub) tokens(from, n int) (string, error) {
	path := filepath.Join(h.dir, fmt.Sprintf("tokens-%d-%d", from, n))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	var b bytes.Buffer
	for i := range n {
		t, err := h.token(from + i)
		if err != nil {
			return "", err
		}
		b.WriteString(t + "\n")
	}
	return path, os.WriteFile(path, b.Bytes(), 0o600)
}

// connect opens sockets of n users, from the one numbered from, and waits for each one's first frame.
func (h *hub) connect(c *child, path string, from, n int) error {
	tokens, err := h.tokens(from, n)
	if err != nil {
		return err
	}
	r, err := c.call(command{Op: "connect", Addr: h.listen, Path: path, Tokens: tokens, N: n, First: true})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, h.logTail())
	}
	if r.Failed > 0 {
		return fmt.Errorf("%d of %d connections failed\n%s", r.Failed, n, h.logTail())
	}
	return nil
}

// post calls the REST API as a user and decodes the answer into out.
func (h *hub) post(user int, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	token, err := h.token(user)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+h.listen+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := h.web.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("POST %s: %s: %.300s", path, resp.Status, b)
	}
	return json.Unmarshal(b, out)
}

// conversation creates one of user with others and returns its id.
func (h *hub) conversation(user int, others ...int) (string, error) {
	ids := make([]int, len(others))
	for i, o := range others {
		ids[i] = userID(o)
	}
	var out struct {
		ID string `json:"id"`
	}
	in := map[string]any{"participant_ids": ids}
	if len(others) > 1 {
		in["name"] = "bench"
	}
	if err := h.post(user, "/api/v1/messages/conversations/", in, &out); err != nil {
		return "", err
	}
	if out.ID == "" {
		return "", errors.New("the new conversation has no id")
	}
	return out.ID, nil
}

// certificateFiles writes a self-signed certificate for the hub's TLS port.
func (b *bench) certificateFiles() (cert, key string, err error) {
	der, k, err := newCertificate()
	if err != nil {
		return "", "", err
	}
	kb, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		return "", "", err
	}
	cert, key = filepath.Join(b.dir, "cert.pem"), filepath.Join(b.dir, "key.pem")
	return cert, key, errors.Join(
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: kb}), 0o600))
}

// hubGroup is a hub with one group, all of whose members are connected.
type hubGroup struct {
	*target
	id    string
	frame int // bytes of a delivered frame
	sent  int
	run   string
}

// startHubUsers starts a pinned hub and connects n users.
func (b *bench) startHubUsers(n int, flags ...string) (*target, error) {
	h, err := b.startHub(serverCPU, flags...)
	if err != nil {
		return nil, err
	}
	c, err := b.startClient()
	if err != nil {
		return nil, err
	}
	t := &target{name: "hub", server: h, hub: h, client: c, addr: h.listen}
	if n > 0 {
		err = h.connect(c, "/ws/", 0, n)
	}
	return t, err
}

func (b *bench) startHubGroup(n int) (*hubGroup, error) {
	t, err := b.startHubUsers(n)
	if err != nil {
		return nil, err
	}
	g := &hubGroup{target: t, run: randomHex(3)}
	others := make([]int, n-1)
	for i := range others {
		others[i] = i + 1
	}
	if g.id, err = t.hub.conversation(0, others...); err != nil {
		return nil, err
	}
	if err := t.settled(); err != nil {
		return nil, err
	}
	if err := g.resetAndAwait(n, func() error { return g.publish(1) }); err != nil {
		return nil, err
	}
	r, err := t.client.call(command{Op: "await", N: 0})
	g.frame = int(r.Bytes)
	return g, err
}

// publish has the first member send k messages in one write.
func (g *hubGroup) publish(k int) error {
	content := string(payload(128))
	var texts []string
	for range k {
		g.sent++
		texts = append(texts, string(counterText(sendText(g.id, g.run, content), g.sent)))
	}
	_, err := g.client.call(command{Op: "send", Text: strings.Join(texts, "\n")})
	return err
}

func (g *hubGroup) facts() []string {
	return []string{"one group of all users; the sender is a member; the cost holds parsing, deciding, storing (fsync) and encoding of the message"}
}
