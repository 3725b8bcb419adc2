package chat_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/zumodra/hub/chat"
)

func TestNormalizeEmail(t *testing.T) {
	for in, want := range map[string]string{
		" Bob@Example.ORG\n": "bob@example.org", "a@b": "a@b", `"odd@local"@example.org`: `"odd@local"@example.org`,
		"": "", "bob": "", "@example.org": "", "bob@": "", "b ob@example.org": "", "bob@exam\x00ple.org": "",
		strings.Repeat("a", 250) + "@b.cd": "",
	} {
		got, err := chat.NormalizeEmail(in)
		if got != want || (err != nil) != (want == "") || err != nil && !errors.Is(err, chat.ErrInvalid) {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

func TestPairs(t *testing.T) {
	k := chat.PairOf("t", "bob", "ann")
	if k != chat.PairOf("t", "ann", "bob") || k.Lo != "ann" || k.Other("ann") != "bob" || k.Other("bob") != "ann" {
		t.Fatalf("%+v", k)
	}
	if k.Direct().ID != chat.DirectID("t", "bob", "ann") || k.Home() != (chat.UserKey{Tenant: "t", User: "ann"}) {
		t.Fatalf("%+v", k)
	}
	p := chat.Pair{Key: k}
	p.Of("bob").Favorite = true
	if !p.Hi.Favorite || p.Lo.Favorite {
		t.Fatalf("%+v", p)
	}
}

// Numbers of entries are exact in every JSON reader, the same every time, and apart by owner, kind, other and tenant.
func TestNumbers(t *testing.T) {
	seen := map[int64]string{}
	for _, tenant := range []chat.TenantID{"t", "u"} {
		for _, user := range []chat.UserID{"1", "2", "12"} {
			for _, kind := range []string{"contact", "block"} {
				for _, other := range []chat.UserID{"1", "2", "21", "3"} {
					k := chat.UserKey{Tenant: tenant, User: user}
					n := k.Number(kind, other)
					if n <= 0 || n >= 1<<53 || n != k.Number(kind, other) {
						t.Errorf("%s %s %s: %d", k, kind, other, n)
					}
					what := k.String() + kind + string(other)
					if old, ok := seen[n]; ok {
						t.Errorf("%s and %s are both %d", old, what, n)
					}
					seen[n] = what
				}
			}
		}
	}
}
