package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// unbuilt numbers have no test yet. A number leaves the list with its first test.
var unbuilt []int

// A number without a test fails here, so that nobody needs to run the command to find out.
func TestEveryRequirementHasATest(t *testing.T) {
	all, err := read("../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < proved {
		t.Fatalf("%d requirements are listed", len(all))
	}
	for _, r := range all[:proved] {
		if has := len(r.tests) > 0; has == slices.Contains(unbuilt, r.no) {
			t.Errorf("%d. %s: tests %v, listed as unbuilt: %v", r.no, r.title, r.tests, has)
		}
	}
}

func TestReport(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("docs/requirements.md", "# R\n\n1. One — a.\n2. Two\n")
	write("a/a_test.go", "package a\nfunc TestReq001_A() {}\nfunc TestOther() {}\nfunc HelperReq002() {}\n")
	var out strings.Builder
	err := report(&out, root, false)
	if err == nil || !strings.Contains(err.Error(), "no test for 2") {
		t.Errorf("%v", err)
	}
	if want := "  1  One\n       a.TestReq001_A\n  2  Two\n       no test\n"; out.String() != want {
		t.Errorf("%q", out.String())
	}
	write("b/b_test.go", "package b\nfunc FuzzReq002_Req001() {}\n")
	out.Reset()
	if err := report(&out, root, false); err != nil || !strings.Contains(out.String(), "  2  Two\n       b.FuzzReq002_Req001\n") {
		t.Errorf("%v %q", err, out.String())
	}
	write("c/c_test.go", "package c\nfunc TestReq003_A() {}\n")
	if err := report(&out, root, false); err == nil || !strings.Contains(err.Error(), "there is no requirement 3") {
		t.Errorf("%v", err)
	}
}

func TestParse(t *testing.T) {
	results, err := parse(strings.NewReader(`{"Action":"run","Package":"github.com/zumodra/hub/chat","Test":"TestReq001_A"}
{"Action":"pass","Package":"github.com/zumodra/hub/chat","Test":"TestReq001_A/sub"}
{"Action":"skip","Package":"github.com/zumodra/hub/chat","Test":"TestReq001_A"}
{"Action":"fail","Package":"github.com/zumodra/hub/chat"}
`))
	if err != nil || len(results) != 1 || results[test{"chat", "TestReq001_A"}] != "skip" {
		t.Errorf("%v %v", results, err)
	}
	if _, err := parse(strings.NewReader("FAIL\n")); err == nil {
		t.Error("no error for what is not JSON")
	}
}
