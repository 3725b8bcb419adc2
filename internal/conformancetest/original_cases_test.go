package conformancetest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// suite of the original's tests, as docs/conformance/original-tests.json lists it.
type suite struct {
	Suite   string `json:"suite"`
	Count   int    `json:"count"`
	Classes []struct {
		Class string `json:"class"`
		Cases []struct {
			Case          string   `json:"case"`
			Original      string   `json:"original"`
			By            []string `json:"by"`
			NotApplicable string   `json:"not_applicable"`
			Open          []int    `json:"open"`
		} `json:"cases"`
	} `json:"classes"`
}

var testFunction = regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)

// assertions are the names of all tests of the module, and of all vectors.
func assertions(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		b, err := os.ReadFile(path)
		for _, m := range testFunction.FindAllSubmatch(b, -1) {
			names[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range load(t) {
		names["vector "+v.Name] = true
	}
	return names
}

// Each of the 70 + 46 + 12 cases of the original's tests is asserted by a test or a vector that exists, or has a reason not to
// be. What waits for a requirement is due as soon as that has a test.
func TestReq168_EveryCaseOfTheOriginal(t *testing.T) {
	const file = pack + "/original-tests.json"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var suites []suite
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&suites); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	names := assertions(t)
	var counts, open []int
	for _, s := range suites {
		n := 0
		for _, class := range s.Classes {
			for _, c := range class.Cases {
				n++
				what := fmt.Sprintf("%s: %s: %s: %s", file, s.Suite, class.Class, c.Case)
				if kinds := min(len(c.By), 1) + min(len(c.Open), 1) + min(len(c.NotApplicable), 1); kinds != 1 {
					t.Errorf("%s: needs one of by, open and not_applicable", what)
				}
				for _, name := range c.By {
					if !names[name] {
						t.Errorf("%s: there is no %s", what, name)
					}
				}
				for _, r := range c.Open {
					open = append(open, r)
					for name := range names {
						if strings.Contains(name, fmt.Sprintf("Req%03d", r)) {
							t.Errorf("%s: waits for requirement %d, which %s tests now: name it, or a vector, in by instead of open", what, r, name)
						}
					}
				}
			}
		}
		if n != s.Count {
			t.Errorf("%s: %s has %d cases, not %d", file, s.Suite, n, s.Count)
		}
		counts = append(counts, s.Count)
	}
	if want := []int{70, 46, 12}; !slices.Equal(counts, want) {
		t.Errorf("%s: suites of %v cases, not %v", file, counts, want)
	}
	slices.Sort(open)
	t.Logf("waiting for requirements %v", slices.Compact(open))
}
