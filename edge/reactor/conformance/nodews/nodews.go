package nodews

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

//go:embed package.json
var packageJSON []byte

//go:embed package-lock.json
var packageLock []byte

//go:embed client.js
var clientJS []byte

// Options of a run.
type Options struct {
	// Deflate demands that the server accepts permessage-deflate; otherwise it must decline it.
	Deflate bool
	// Insecure leaves the server's certificate unverified.
	Insecure bool
	// MaxMessage is the largest message in bytes that the server echoes; more must be answered with 1009.
	MaxMessage int
	// Known names tests that this server is known to fail, with the reason. They must fail.
	Known map[string]string
}

// Run checks the echo server at the URL (ws or wss), each test of client.js as a subtest. Without node and npm
// it skips the test, or, where the environment has CI=true, fails it.
func Run(t *testing.T, url string, o Options) {
	t.Helper()
	dir := Install(t)
	args := []string{"client.js", url, fmt.Sprintf("--max=%d", o.MaxMessage)}
	if o.Deflate {
		args = append(args, "--deflate")
	}
	if o.Insecure {
		args = append(args, "--insecure")
	}
	cmd := exec.CommandContext(t.Context(), "node", args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run node: %v", err)
	}
	report(t, string(out), err, o.Known)
}

// Install returns a directory whose node_modules holds the pinned npm ws. Without node and npm it skips the test, or, where the
// environment has CI=true, fails it.
func Install(t *testing.T) (dir string) {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, fmt.Sprintf("%s is not installed (%v); the test with the client npm ws needs Node.js 18 or newer with npm", tool, err))
		}
	}
	dir, err := install(t.Context())
	if err != nil {
		missing(t, fmt.Sprintf("the client npm ws could not be installed: %v", err))
	}
	return dir
}

// missing skips, but fails where everything is expected to be present.
func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// report turns TAP into subtests.
func report(t *testing.T, out string, exit error, known map[string]string) {
	t.Helper()
	planned, done := -1, 0
	lines := strings.Split(out, "\n")
	for i, line := range lines {
		if n, err := fmt.Sscanf(line, "1..%d", &planned); n == 1 && err == nil {
			continue
		}
		ok := strings.HasPrefix(line, "ok ")
		if !ok && !strings.HasPrefix(line, "not ok ") {
			continue
		}
		done++
		_, name, _ := strings.Cut(line, " - ")
		t.Run(name, func(t *testing.T) {
			why, deviates := known[name]
			switch {
			case deviates && ok:
				t.Errorf("listed as a known deviation (%s), but it passes", why)
			case deviates:
				t.Logf("known deviation (%s)", why)
			case !ok:
				t.Error(strings.Join(lines[i+1:min(i+4, len(lines))], "\n"))
			}
		})
	}
	if exit != nil && !t.Failed() && len(known) == 0 {
		var e *exec.ExitError
		if errors.As(exit, &e) {
			t.Errorf("node: %v\n%s\n%s", exit, e.Stderr, out)
		}
	}
	if planned <= 0 || done != planned {
		t.Errorf("%d of %d tests ran:\n%s", done, planned, out)
	}
}

// install makes a directory with client.js and the pinned package, and returns it. A directory is made once for
// each content of package-lock.json: complete under a temporary name, then renamed, so that concurrent runs do not
// see half of it.
func install(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	base := filepath.Join(cache, "hub-test")
	sum := sha256.Sum256(bytes.Join([][]byte{packageJSON, packageLock, clientJS}, []byte{0}))
	dir := filepath.Join(base, fmt.Sprintf("nodews-%x", sum[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(base, "nodews-tmp-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	for name, data := range map[string][]byte{"package.json": packageJSON, "package-lock.json": packageLock, "client.js": clientJS} {
		if err := os.WriteFile(filepath.Join(tmp, name), data, 0o644); err != nil {
			return "", err
		}
	}
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = tmp
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	if err := os.Rename(tmp, dir); err != nil {
		// Another run was faster.
		if _, statErr := os.Stat(dir); statErr != nil {
			return "", err
		}
	}
	return dir, nil
}
