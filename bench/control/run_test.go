package control_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/bench/control"
	"github.com/zumodra/hub/bench/scenario"
	"github.com/zumodra/hub/bench/target"
	"github.com/zumodra/hub/bench/target/hub"
	"github.com/zumodra/hub/bench/worker"
)

const talk = `
name: talk
users: 60
warmup: 1s
duration: 5s
connections: {rate: 500}
conversations:
  - {name: direct, count: 40, members: {fixed: 2}}
  - {name: group, count: 5, members: {fixed: 12}}
load:
  - {op: send, arrival: {rate: 100}, size: {lognormal: 0.7, median: 120, min: 20, max: 2000}}
  - {op: typing, arrival: {rate: 20}}
  - {op: read, arrival: {rate: 20}}
  - {op: react, arrival: {rate: 10}}
  - {op: edit, arrival: {rate: 5}}
  - {op: history, arrival: {rate: 20}}
  - {op: list, arrival: {rate: 10}}
  - {op: reconnect, arrival: {rate: 3}}
`

func TestRun(t *testing.T) {
	access := startHub(t)
	sc, err := scenario.Decode(strings.NewReader(talk))
	if err != nil {
		t.Fatal(err)
	}
	open := func(a worker.Access) (target.Target, error) {
		return hub.New(hub.Config{URLs: a.URLs, Secret: a.Secret, Key: a.Key})
	}
	tgt, err := open(access)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var joined sync.WaitGroup
	r, err := control.Run(ctx, control.Config{Scenario: sc, Seed: 7, Target: tgt, Access: access, Workers: 2, Dir: t.TempDir(),
		Joinable: func(url, token string, n int) error {
			for i := range n {
				joined.Go(func() {
					if err := control.Join(ctx, control.JoinConfig{URL: url, Token: token, Name: fmt.Sprint("w", i), SpillDir: t.TempDir(), Open: open}); err != nil {
						t.Error(err)
					}
				})
			}
			return nil
		}})
	joined.Wait()
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r.Check, r.Totals)
	for k, d := range r.Latency {
		t.Log(k, d.Count, time.Duration(d.P50), time.Duration(d.P99), time.Duration(d.Max))
	}
	if !r.OK() {
		t.Error(r.Invalid, r.Thresholds)
	}
}

func startHub(t *testing.T) worker.Access {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "hub")
	if out, err := exec.Command("go", "build", "-o", bin, "github.com/zumodra/hub/cmd/hub").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	secret, key := rand.Text()+rand.Text(), rand.Text()+rand.Text()
	for name, text := range map[string]string{"secret": secret, "key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	public, admin := address(), address()
	cmd := exec.Command(bin, "serve", "--listen", public, "--admin-listen", admin, "--data", filepath.Join(dir, "data"), "--auth-secret-file", filepath.Join(dir, "secret"),
		"--admin-key-file", filepath.Join(dir, "key"), "--user-rate", "0", "--throttles", "anon=off,user=off", "--log-level", "warn", "--search", "off")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for range 200 {
		if resp, err := http.Get("http://" + admin + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == 200 {
				return worker.Access{Kind: "hub", URLs: []string{"http://" + public}, Secret: []byte(secret), Key: key}
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the hub is not ready")
	return worker.Access{}
}
