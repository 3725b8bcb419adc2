package main_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zumodra/hub/storage/scylla/scyllatest"
)

var fenced = regexp.MustCompile("(?ms)^```(sh|text)\n(.*?)^```$")

// TestGuide runs every command of docs/guide in one shell, as a reader would, and holds what they print to what the page
// says: each line of a text block must come, in that order, after the block of commands before it.
func TestGuide(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"bash", "curl", "jq", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			const text = "the guide's commands need %s; on Debian: apt-get install bash curl jq openssl"
			if os.Getenv("CI") != "" { // where nobody would see that nothing was tested
				t.Fatalf(text, tool)
			}
			t.Skipf(text, tool)
		}
	}
	page, err := os.ReadFile("../../docs/guide/README.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	const mark = "== block "
	script := "set -euo pipefail\n"
	var want [][]string
	for _, m := range fenced.FindAllStringSubmatch(string(page), -1) {
		if m[1] == "sh" {
			script += "echo '" + mark + "'\n" + m[2]
			want = append(want, nil)
			continue
		}
		n := len(want) - 1
		want[n] = append(want[n], strings.Split(strings.TrimSpace(m[2]), "\n")...)
	}
	script = strings.NewReplacer("127.0.0.1:8080", freePort(t), "127.0.0.1:9090", freePort(t)).Replace(script)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(scyllatest.Environ(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the server is the shell's, and ends with the group
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	err = cmd.Run()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	log, _ := os.ReadFile(filepath.Join(dir, "hub.log"))
	if err != nil {
		t.Fatalf("%v\n%s\n%s\nthe hub's log:\n%s", err, out.String(), problems.String(), log)
	}
	blocks := strings.Split(out.String(), mark+"\n")[1:]
	if len(blocks) != len(want) {
		t.Fatalf("%d blocks of %d were run", len(blocks), len(want))
	}
	for i, lines := range want {
		got := blocks[i]
		for _, line := range lines {
			before, after, ok := strings.Cut("\n"+got, "\n"+line+"\n")
			if !ok {
				t.Errorf("block %d printed %q, without %q in its place", i+1, blocks[i], line)
				break
			}
			_ = before
			got = after
		}
	}
}
