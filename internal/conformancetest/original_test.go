package conformancetest_test

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zumodra/hub/edge/reactor/conformance/nodews"
)

// A client written for the original works against the hub, and finds back to it after a restart.
func TestReq168_OriginalClient(t *testing.T) {
	if testing.Short() {
		t.Skip("starts node")
	}
	modules := filepath.Join(nodews.Install(t), "node_modules")
	dir := t.TempDir()
	script, err := os.ReadFile("../../docs/examples/original-client.mjs")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "client.mjs"), script, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	h := start(t, "default", "--auth-cookie", "sessionid")
	cmd := exec.CommandContext(t.Context(), "node", "client.mjs", "http://"+h.listen, "--restart")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "RECONNECT_MS=200", "PATIENCE_MS=120000")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for sc := bufio.NewScanner(out); sc.Scan(); {
		lines = append(lines, sc.Text())
		if sc.Text() == "restart the hub" {
			h.stop()
			h.run()
		}
	}
	err = cmd.Wait()
	all := strings.Join(lines, "\n")
	t.Logf("the client said:\n%s", all)
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	for _, want := range []string{"ok - chat", "ok - read", "ok - typing", "ok - file in a frame", "ok - file by REST", "ok - reconnected", "done"} {
		if !strings.Contains(all, want) {
			t.Errorf("the client did not say %q", want)
		}
	}
}
