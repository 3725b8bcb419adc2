package conformancetest_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zumodra/hub/internal/conformancetest"
	"github.com/zumodra/hub/internal/freeport"
	"github.com/zumodra/hub/storage/scylla/scyllatest"
)

const patience = 2 * time.Minute // for what must happen; never a measurement

// binary is the hub under test, built when a test needs it.
var (
	directory string
	build     = sync.OnceValues(func() (string, error) {
		bin := filepath.Join(directory, "hub")
		if out, err := exec.Command("go", "build", "-o", bin, "github.com/zumodra/hub/cmd/hub").CombinedOutput(); err != nil {
			return "", fmt.Errorf("build cmd/hub: %w\n%s", err, out)
		}
		return bin, nil
	})
)

func TestMain(m *testing.M) {
	var err error
	if directory, err = os.MkdirTemp("", "hub-conformance-"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(directory)
	os.Exit(code)
}

// hub is a running `hub serve`, which may be started again on the same data.
type hub struct {
	t             *testing.T
	args          []string
	listen, admin string
	secret        []byte
	adminKey      string

	cmd  *exec.Cmd
	log  *os.File
	done chan struct{}
}

// start runs a hub as vectors with this server expect it, with further flags.
func start(t *testing.T, server string, flags ...string) *hub {
	t.Helper()
	dir := t.TempDir()
	h := &hub{t: t, listen: freeAddress(t), admin: freeAddress(t), secret: []byte(rand.Text() + rand.Text()), adminKey: rand.Text() + rand.Text()}
	data := filepath.Join(dir, "data")
	files := map[string]string{"${secret}": filepath.Join(dir, "secret"), "${admin_key}": filepath.Join(dir, "admin_key")}
	for name, b := range map[string][]byte{"${secret}": h.secret, "${admin_key}": []byte(h.adminKey)} {
		if err := os.WriteFile(files[name], b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h.args = []string{"serve", "--listen", h.listen, "--admin-listen", h.admin, "--data", data}
	for _, a := range conformancetest.Servers[server] {
		if f := files[a]; f != "" {
			a = f
		}
		h.args = append(h.args, a)
	}
	if !strings.Contains(strings.Join(h.args, " "), "--auth-secret-file") {
		h.args = append(h.args, "--auth-secret-file", files["${secret}"])
	}
	h.args = append(h.args, flags...)
	if scyllatest.Chosen() {
		h.args = append(h.args, scyllatest.Flags(t, scyllatest.Keyspace(t))...)
	}
	var err error
	if h.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	h.run()
	t.Cleanup(func() {
		_ = h.cmd.Process.Kill()
		<-h.done
		_ = h.log.Close()
		if t.Failed() {
			b, _ := os.ReadFile(h.log.Name())
			t.Logf("the end of the log of server %s:\n%s", server, b[max(0, len(b)-4000):])
		}
	})
	return h
}

func freeAddress(t *testing.T) string {
	t.Helper()
	a, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// run starts the process and waits until it is ready.
func (h *hub) run() {
	h.t.Helper()
	bin, err := build()
	if err != nil {
		h.t.Fatal(err)
	}
	h.cmd, h.done = exec.Command(bin, h.args...), make(chan struct{})
	h.cmd.Env, h.cmd.Stderr, h.cmd.Stdout = scyllatest.Environ(), h.log, h.log
	if err := h.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	cmd, done := h.cmd, h.done
	go func() { _ = cmd.Wait(); close(done) }()
	answer := "no answer"
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		select {
		case <-done:
			b, _ := os.ReadFile(h.log.Name())
			h.t.Fatalf("the server ended:\n%s", b)
		default:
		}
		resp, err := http.Get("http://" + h.admin + "/readyz")
		if err != nil {
			continue
		}
		var b bytes.Buffer
		_, _ = b.ReadFrom(resp.Body)
		resp.Body.Close()
		if answer = b.String(); resp.StatusCode == http.StatusOK {
			return
		}
	}
	h.t.Fatalf("the server is not ready after %v: %s", patience, answer)
}

// terminate asks the process to end, and stop waits for that.
func (h *hub) terminate() { _ = h.cmd.Process.Signal(syscall.SIGTERM) }

func (h *hub) stop() {
	h.t.Helper()
	h.terminate()
	select {
	case <-h.done:
	case <-time.After(patience):
		h.t.Fatal("the server does not end after SIGTERM")
	}
}

func (h *hub) runner() *conformancetest.Runner {
	return &conformancetest.Runner{URL: "http://" + h.listen, Secret: h.secret, AdminKey: h.adminKey, Drain: h.terminate}
}
