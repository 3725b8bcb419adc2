package conformance

import (
	"testing"
	"unicode/utf8"
)

func TestCasesAreWellFormed(t *testing.T) {
	seen := make(map[string]bool)
	applies := 0
	hub := Target{MaxMessage: 64 << 10, MaxFragments: 64, MaxHandshakeBytes: 8 << 10, Deflate: true}
	for _, c := range Cases() {
		if seen[c.ID] {
			t.Errorf("id %s twice", c.ID)
		}
		seen[c.ID] = true
		if c.Section == "" || c.Title == "" || c.Expect == "" || c.run == nil {
			t.Errorf("case %s is incomplete: %+v", c.ID, c)
		}
		if c.Skip(hub) == "" {
			applies++
		}
	}
	t.Logf("%d cases, %d apply to the hub's defaults", len(seen), applies)
	if applies < 260 {
		t.Errorf("only %d cases apply to the hub's defaults", applies)
	}
}

// The verdicts on byte sequences are written by hand; unicode/utf8 must agree.
func TestUTF8Verdicts(t *testing.T) {
	for _, set := range sequences {
		for _, s := range set.list {
			if utf8.ValidString(s) != set.valid {
				t.Errorf("%s: % x is listed as valid=%v", set.name, s, set.valid)
			}
		}
	}
}
