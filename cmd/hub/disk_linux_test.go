package main_test

import (
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
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/zumodra/hub/client"
)

// smallDisk mounts a file system of so many bytes, where that is allowed.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a file system of limited size is mounted by root only; storage/pebble.TestFullDiskIsOutlasted has no need of it")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprint("size=", size)); err != nil {
		t.Skipf("mounting a tmpfs: %v; storage/pebble.TestFullDiskIsOutlasted has no need of it", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillDisk takes all but so many bytes of the file system of dir, and returns what gives them back.
func fillDisk(t *testing.T, dir string, but uint64) (free func()) {
	t.Helper()
	file := filepath.Join(dir, "filler")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for {
		var s syscall.Statfs_t
		if err := syscall.Statfs(dir, &s); err != nil {
			t.Fatal(err)
		}
		left := s.Bavail * uint64(s.Bsize)
		if left <= but {
			break
		}
		if _, err := f.Write(make([]byte, min(left-but, 1<<20))); errors.Is(err, syscall.ENOSPC) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
}

// readiness is the status of /readyz and what it says.
func (s *server) readiness() (int, string) {
	s.t.Helper()
	resp, err := http.Get(s.admin + "/readyz?verbose")
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// sendOnce sends over a socket of its own and returns the code of the error, empty if it was acknowledged.
func (s *server) sendOnce(token, conversation, text string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	c, _, err := websocket.Dial(ctx, s.url+"/ws/", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }()
	b, err := json.Marshal(map[string]any{"type": "send_message", "conversation_id": conversation, "content": text, "client_id": text, "ref": "r"})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := c.Write(ctx, websocket.MessageText, b); err != nil {
		s.t.Fatal(err)
	}
	for {
		_, b, err := c.Read(ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		var f struct{ Type, Code, Ref string }
		if err := json.Unmarshal(b, &f); err != nil {
			s.t.Fatal(err)
		}
		if f.Ref == "r" {
			return f.Code
		}
	}
}

// A full disk: sends get an error that says to try again, on the socket and over REST; operators see why; what is stored
// can be read; nothing acknowledged is lost; and when there is space the same process goes on. Once with the floor that
// keeps the store away from the end of the disk, and once without, so that its log runs into the end.
func TestFullDisk(t *testing.T) {
	embeddedOnly(t)
	for name, floor := range map[string]int{"floor": 24 << 20, "no floor": 0} {
		t.Run(name, func(t *testing.T) {
			disk := smallDisk(t, 96<<20)
			s := serve(t, filepath.Join(disk, "data"), "--dev", "--user-rate", "0", "--min-free-bytes", fmt.Sprint(floor))
			var l load
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			senders := l.start(ctx, t, s, 3)
			defer senders.Wait()
			defer stop()
			s.await("500 messages", func() bool { return l.total() > 500 })
			token := s.login("sender0")
			var conv struct {
				ID string `json:"id"`
			}
			c, _ := s.sdk("reader")
			s.login("other")
			fresh, err := c.CreateDirect(t.Context(), client.UserID("other"))
			if err != nil {
				t.Fatal(err)
			}
			conv.ID = fresh.ID
			reader := s.login("reader")

			free := fillDisk(t, disk, uint64(floor)/2)
			s.await("not ready", func() bool { status, _ := s.readiness(); return status == http.StatusServiceUnavailable })
			if _, text := s.readiness(); !strings.Contains(text, "[-]storage") || !strings.Contains(text, "not enough free disk space") {
				t.Errorf("readiness does not say why: %s", text)
			}
			if code := s.sendOnce(reader, conv.ID, "over the socket"); code != "unavailable" {
				t.Errorf("the socket answers %q", code)
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/api/v1/messages/messages/",
				strings.NewReader(`{"conversation":"`+conv.ID+`","content":"over REST"}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Authorization", "Bearer "+reader)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
				t.Errorf("REST answers %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
			}
			if got := s.call("GET", "/api/v1/messages/conversations/", token, nil, nil); got != http.StatusOK {
				t.Errorf("reads: %d", got)
			}
			if !strings.Contains(s.log.String(), "disk") {
				t.Error("the log says nothing of the disk")
			}
			stored := l.total()
			free()
			s.await("ready again", func() bool { status, _ := s.readiness(); return status == http.StatusOK })
			s.await("sending goes on", func() bool { return l.total() > stored+300 })
			if code := s.sendOnce(reader, conv.ID, "over the socket"); code != "" {
				t.Errorf("after all the socket answers %q", code)
			}
			stop()
			senders.Wait()
			wantStored(t, s, l.snapshot())
			if code := s.terminate(); code != 0 {
				t.Errorf("exit %d", code)
			}
			if out, stderr, code := run(t, nil, "verify", "--data", s.data); code != 0 {
				t.Errorf("exit %d: %s%s", code, out, stderr)
			}
		})
	}
}

// A server that is killed while its disk is full does not start before there is space, says why, and loses nothing.
func TestKilledOnAFullDisk(t *testing.T) {
	embeddedOnly(t)
	disk := smallDisk(t, 96<<20)
	data := filepath.Join(disk, "data")
	args := []string{"--dev", "--user-rate", "0", "--min-free-bytes", "0"}
	s := serve(t, data, args...)
	var l load
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	senders := l.start(ctx, t, s, 2)
	s.await("500 messages", func() bool { return l.total() > 500 })
	free := fillDisk(t, disk, 0)
	s.await("not ready", func() bool { status, _ := s.readiness(); return status == http.StatusServiceUnavailable })
	s.kill()
	stop()
	senders.Wait()
	var out output
	cmd := exec.Command(binary, append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, args...)...)
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	select {
	case <-ended:
		// It needed room to start and had none.
		if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(out.String(), "no space left on device") {
			t.Errorf("exit %d: %s", code, out.String())
		}
	case <-time.After(3 * time.Second):
		t.Log("what was left of the disk was enough to start")
		_ = cmd.Process.Kill()
		<-ended
	}
	free()
	s = serve(t, data, args...)
	wantStored(t, s, l.snapshot())
}
