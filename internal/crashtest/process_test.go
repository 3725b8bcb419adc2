package crashtest

import (
	"bytes"
	"context"

	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zumodra/hub/internal/freeport"
	"github.com/zumodra/hub/storage/scylla/scyllatest"
)

// server is the hub under test: one data directory and one pair of ports, any number of processes in turn.
type server struct {
	t             *testing.T
	bin, dir      string
	store         []string // flags
	listen, admin string
	log           *os.File

	cmd    *exec.Cmd
	exited chan struct{}
	err    error // of cmd.Wait, valid once exited is closed
}

// newServer builds the binary. onCluster: the store is a keyspace of the cluster in HUB_CQL_HOSTS, whatever
// HUB_TEST_STORAGE says.
func newServer(t *testing.T, onCluster bool) *server {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "hub")
	if b := os.Getenv("HUB_CRASH_BIN"); b != "" {
		bin = b
	} else {
		build(t, bin)
	}
	log, err := os.Create(filepath.Join(dir, "server.log"))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, bin: bin, dir: filepath.Join(dir, "data"), listen: freeAddress(t), admin: freeAddress(t), log: log}
	if onCluster || scyllatest.Chosen() {
		s.store = scyllatest.Flags(t, scyllatest.Keyspace(t))
	}
	t.Cleanup(func() {
		s.kill()
		_ = log.Close()
		if t.Failed() {
			b, _ := os.ReadFile(log.Name())
			t.Logf("the end of the server's log:\n%s", b[max(0, len(b)-8000):])
		}
	})
	return s
}

func build(t *testing.T, bin string) {
	t.Helper()
	args := []string{"build", "-o", bin}
	if os.Getenv("HUB_CRASH_RACE") != "" {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, "github.com/zumodra/hub/cmd/hub")...).CombinedOutput(); err != nil {
		t.Fatalf("build cmd/hub: %v\n%s", err, out)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	a, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (s *server) url() string { return "http://" + s.listen }

func (s *server) start() {
	s.t.Helper()
	s.cmd = exec.Command(s.bin, append([]string{"serve", "--dev", "--data", s.dir, "--listen", s.listen, "--admin-listen", s.admin,
		"--user-rate", "0"}, s.store...)...)
	s.cmd.Env = scyllatest.Environ()
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	cmd, exited := s.cmd, make(chan struct{})
	s.exited = exited
	go func() {
		s.err = cmd.Wait()
		close(exited)
	}()
}

// ready waits until the node says that it serves.
func (s *server) ready() {
	s.t.Helper()
	began, answer, told := time.Now(), "no answer", false
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := poll(ctx, func() bool {
		s.alive()
		code, body := s.readiness(ctx)
		if code != http.StatusOK && !told && time.Since(began) > 5*time.Second {
			told = true
			s.t.Logf("not ready after %v: %d %s", time.Since(began).Round(time.Second), code, body)
		}
		answer = body
		return code == http.StatusOK
	})
	if err != nil {
		s.t.Fatalf("the server is not ready after %v: %s", patience, answer)
	}
}

func (s *server) readiness(ctx context.Context) (int, string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.admin+"/readyz", nil)
	if err != nil {
		return 0, err.Error()
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(bytes.TrimSpace(body))
}

// kill ends the process without any chance to clean up.
func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.exited
	s.cmd = nil
}

// alive fails the test if the process has ended by itself.
func (s *server) alive() {
	s.t.Helper()
	select {
	case <-s.exited:
		s.t.Fatalf("the server ended by itself: %v", s.err)
	default:
	}
}

// drain ends the process as an operator would.
func (s *server) drain() {
	s.t.Helper()
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(2 * time.Minute):
		s.t.Fatal("the server does not end after SIGTERM")
	}
	if s.err != nil {
		s.t.Errorf("the server ended with %v", s.err)
	}
	s.cmd = nil
}

// verify walks the store that is left.
func (s *server) verify() {
	s.t.Helper()
	cmd := exec.Command(s.bin, append([]string{"verify", "--data", s.dir}, s.store...)...)
	cmd.Env = scyllatest.Environ()
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Errorf("hub verify: %v\n%s", err, out)
		return
	}
	s.t.Logf("hub verify: %s", bytes.TrimSpace(out))
}

// poll asks until the condition holds.
func poll(ctx context.Context, condition func() bool) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// times collects durations for the summary.
type times struct {
	mu  sync.Mutex
	all []time.Duration
}

func (t *times) add(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, d)
}

func (t *times) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.all) == 0 {
		return "none"
	}
	var sum, most time.Duration
	for _, d := range t.all {
		sum += d
		most = max(most, d)
	}
	return fmt.Sprintf("mean %v, max %v", (sum / time.Duration(len(t.all))).Round(time.Millisecond), most.Round(time.Millisecond))
}
