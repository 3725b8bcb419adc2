// Command requirements holds docs/requirements.md against the tests: those that prove a requirement carry its number in
// their name, as TestReq047_… does.
//
//	go run ./internal/requirements [-run]
//
// What is promised about speed is a benchmark, which CI runs without judging the time. The command prints every requirement with its tests, with -run after running them (those that need a server are skipped where
// there is none, and say so), and fails if a number that must have a test has none, or one failed. The package's test
// fails for a number without one, too. It must not know what any requirement says.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// proved is the highest number that must have a test.
const proved = 123

func main() {
	run := flag.Bool("run", false, "run the tests")
	flag.Parse()
	if err := report(os.Stdout, ".", *run); err != nil {
		fmt.Fprintln(os.Stderr, "requirements:", err)
		os.Exit(1)
	}
}

// requirement of the list.
type requirement struct {
	no    int
	title string
	tests []test
}

// test whose name carries a number.
type test struct{ dir, name string }

func (t test) String() string { return t.dir + "." + t.name }

var (
	listed = regexp.MustCompile(`^(\d+)\. (.*)`)
	named  = regexp.MustCompile(`Req(\d{3})`)
)

// read reads the list of a module's root and finds the tests.
func read(root string) ([]requirement, error) {
	f, err := os.Open(filepath.Join(root, "docs", "requirements.md"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []requirement
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		m := listed.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		no, _ := strconv.Atoi(m[1])
		if no != len(all)+1 {
			return nil, fmt.Errorf("number %d of the list is %d", len(all)+1, no)
		}
		title, _, _ := strings.Cut(m[2], " — ")
		all = append(all, requirement{no: no, title: title})
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	tests, err := find(root)
	if err != nil {
		return nil, err
	}
	for _, t := range tests {
		for _, m := range named.FindAllStringSubmatch(t.name, -1) {
			no, _ := strconv.Atoi(m[1])
			if no < 1 || no > len(all) {
				return nil, fmt.Errorf("%v: there is no requirement %d", t, no)
			}
			all[no-1].tests = append(all[no-1].tests, t)
		}
	}
	return all, nil
}

// find returns the tests, fuzz targets and benchmarks of a module whose names carry a number.
func find(root string) (tests []test, err error) {
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && path != root && strings.HasPrefix(e.Name(), ".") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if ok && f.Recv == nil && named.MatchString(f.Name.Name) &&
				slices.ContainsFunc([]string{"Test", "Fuzz", "Benchmark"}, func(p string) bool { return strings.HasPrefix(f.Name.Name, p) }) {
				tests = append(tests, test{filepath.ToSlash(dir), f.Name.Name})
			}
		}
		return nil
	})
	return tests, err
}

// report prints the list and says what is wrong.
func report(w io.Writer, root string, run bool) error {
	all, err := read(root)
	if err != nil {
		return err
	}
	var results map[test]string
	if run {
		if results, err = runAll(root, all); err != nil {
			return err
		}
	}
	var missing, failed []string
	counts := make(map[string]int)
	for _, r := range all {
		fmt.Fprintf(w, "%3d  %s\n", r.no, r.title)
		if len(r.tests) == 0 {
			fmt.Fprintln(w, "       no test")
			if r.no <= proved {
				missing = append(missing, strconv.Itoa(r.no))
			}
		}
		for _, t := range r.tests {
			result := results[t]
			switch {
			case strings.HasPrefix(t.name, "Benchmark"):
				result = "benchmark"
			case run && result == "":
				result = "did not run"
			}
			counts[result]++
			if result == "fail" || result == "did not run" {
				failed = append(failed, t.String())
			}
			fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("       %v  %s", t, result), " "))
		}
	}
	if run {
		fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", counts["pass"], counts["fail"]+counts["did not run"], counts["skip"])
	}
	if len(missing) > 0 {
		err = fmt.Errorf("no test for %s", strings.Join(missing, ", "))
	}
	if len(failed) > 0 {
		err = errors.Join(err, fmt.Errorf("failed: %s", strings.Join(failed, ", ")))
	}
	return err
}

// runAll runs the tests of the list and returns pass, fail or skip for each.
func runAll(root string, all []requirement) (map[test]string, error) {
	var dirs []string
	for _, r := range all {
		for _, t := range r.tests {
			dirs = append(dirs, "./"+t.dir)
		}
	}
	slices.Sort(dirs)
	cmd := exec.Command("go", append([]string{"test", "-json", "-timeout", "30m", "-run", "Req[0-9]{3}"}, slices.Compact(dirs)...)...)
	cmd.Dir, cmd.Stderr = root, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	results, err := parse(out)
	var exit *exec.ExitError
	if waited := cmd.Wait(); err == nil && !errors.As(waited, &exit) {
		err = waited
	}
	return results, err
}

// parse reads what go test -json prints.
func parse(r io.Reader) (map[test]string, error) {
	results := make(map[test]string)
	for d := json.NewDecoder(r); ; {
		var e struct{ Action, Package, Test string }
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return results, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the results: %w", err)
		}
		if e.Test == "" || strings.Contains(e.Test, "/") {
			continue
		}
		switch e.Action {
		case "pass", "fail", "skip":
			results[test{strings.TrimPrefix(e.Package, "github.com/zumodra/hub/"), e.Test}] = e.Action
		}
	}
}
