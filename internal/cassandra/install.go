package cassandra

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Version of Apache Cassandra that pom.xml pins.
const Version = "5.0.8"

// The version of the plugin that resolves the class path is pinned too.
const resolvePlugin = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath"

//go:embed pom.xml
var pom []byte

// installation is what a node is started from.
type installation struct {
	java      string
	classpath string
	jamm      string // the agent that Cassandra measures memory with
}

// Install makes sure that Java 17, mvn and Cassandra's jars are there.
func Install(ctx context.Context, log io.Writer) error {
	_, err := install(ctx, log)
	return err
}

func install(ctx context.Context, log io.Writer) (*installation, error) {
	java, err := findJava(ctx)
	if err != nil {
		if err := installPackages(ctx, log, err); err != nil {
			return nil, err
		}
		if java, err = findJava(ctx); err != nil {
			return nil, err
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("cassandra: %w", err)
	}
	dir := filepath.Join(cache, "hub-cassandra", Version)
	if i, err := cached(java, dir); err == nil {
		return i, nil
	}
	if _, err := exec.LookPath("mvn"); err != nil {
		if err := installPackages(ctx, log, err); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cassandra: %w", err)
	}
	// Resolved in a directory of its own and renamed, so that two processes may do this at once.
	tmp, err := os.MkdirTemp(dir, "resolve-")
	if err != nil {
		return nil, fmt.Errorf("cassandra: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := os.WriteFile(filepath.Join(tmp, "pom.xml"), pom, 0o600); err != nil {
		return nil, fmt.Errorf("cassandra: %w", err)
	}
	fmt.Fprintf(log, "cassandra: fetching Apache Cassandra %s with mvn\n", Version)
	cmd := exec.CommandContext(ctx, "mvn", "-q", "-B", "-f", filepath.Join(tmp, "pom.xml"), resolvePlugin, "-Dmdep.outputFile=cp.txt")
	cmd.Dir = tmp
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cassandra: mvn: %w\n%s", err, out)
	}
	if err := os.Rename(filepath.Join(tmp, "cp.txt"), filepath.Join(dir, "cp.txt")); err != nil {
		return nil, fmt.Errorf("cassandra: mvn left no class path: %w", err)
	}
	return cached(java, dir)
}

// cached reads the class path that was resolved earlier; all of its jars must still be there.
func cached(java, dir string) (*installation, error) {
	b, err := os.ReadFile(filepath.Join(dir, "cp.txt"))
	if err != nil {
		return nil, err
	}
	i := &installation{java: java, classpath: strings.TrimSpace(string(b))}
	for _, jar := range filepath.SplitList(i.classpath) {
		if _, err := os.Stat(jar); err != nil {
			return nil, err
		}
		if strings.HasPrefix(filepath.Base(jar), "jamm-") {
			i.jamm = jar
		}
	}
	if i.jamm == "" {
		return nil, errors.New("cassandra: no jamm in the class path")
	}
	return i, nil
}

// findJava looks for a Java 17: Cassandra 5.0 runs on no later one.
func findJava(ctx context.Context) (string, error) {
	candidates := []string{}
	if home := os.Getenv("JAVA_HOME"); home != "" {
		candidates = append(candidates, filepath.Join(home, "bin", "java"))
	}
	known, _ := filepath.Glob("/usr/lib/jvm/*17*/bin/java")
	candidates = append(candidates, known...)
	if path, err := exec.LookPath("java"); err == nil {
		candidates = append(candidates, path)
	}
	for _, java := range candidates {
		out, err := exec.CommandContext(ctx, java, "-version").CombinedOutput()
		if err == nil && strings.Contains(string(out), `version "17`) {
			return java, nil
		}
	}
	return "", errors.New("no Java 17 found (JAVA_HOME, /usr/lib/jvm, PATH)")
}

func installPackages(ctx context.Context, log io.Writer, missing error) error {
	const packages = "openjdk-17-jre-headless and maven"
	_, apt := exec.LookPath("apt-get")
	if os.Getuid() != 0 || apt != nil {
		return fmt.Errorf("cassandra: %w: install %s, or set HUB_CQL_HOSTS to a cluster of yours", missing, packages)
	}
	fmt.Fprintf(log, "cassandra: installing %s with apt-get\n", packages)
	for _, args := range [][]string{{"update", "-q"}, {"install", "-y", "-q", "--no-install-recommends", "openjdk-17-jre-headless", "maven"}} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("cassandra: %w: apt-get %s: %w\n%s", missing, args[0], err, out)
		}
	}
	return nil
}
