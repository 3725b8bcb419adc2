package frame_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/zumodra/hub/edge/frame"
)

const protocolPage = "../../docs/protocol.md"

// TestProtocolPageIsTrue holds the tables of docs/protocol.md to the tables that the code works by.
func TestProtocolPageIsTrue(t *testing.T) {
	b, err := os.ReadFile(protocolPage)
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	for name, want := range map[string]string{"client frames": frames(true), "server frames": frames(false), "error codes": codes()} {
		begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->"
		i := strings.Index(page, begin)
		j := strings.Index(page, end)
		if i < 0 || j < i {
			t.Fatalf("%s: no section %q", protocolPage, name)
		}
		i += len(begin)
		if page[i:j] == want {
			continue
		}
		if !*update {
			t.Errorf("%s, section %q is not what the code does; run go test ./edge/frame -run ProtocolPage -update", protocolPage, name)
			continue
		}
		page = page[:i] + want + page[j:]
	}
	if *update {
		if err := os.WriteFile(protocolPage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func frames(client bool) string {
	var b strings.Builder
	for _, f := range frame.Types {
		if f.FromClient != client {
			continue
		}
		fmt.Fprintf(&b, "### `%s`\n\n%s", f.Name, f.Doc)
		if f.Event != "" {
			fmt.Fprintf(&b, " (Internal name of the event: `%s`.)", f.Event)
		}
		if len(f.Fields) > 0 {
			b.WriteString("\n\n| field | kind | | |\n|---|---|---|---|\n")
			for _, x := range f.Fields {
				need := "optional"
				if x.Required {
					need = "always"
				}
				kind := x.Kind
				if kind == "" {
					kind = "as sent"
				}
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", x.Name, kind, need, x.Doc)
			}
		}
		b.WriteString("\n")
		if len(f.Fields) == 0 {
			b.WriteString("\n")
		}
	}
	return b.String()
}

func codes() string {
	var b strings.Builder
	b.WriteString("| code | text | close code, if it ends a connection that is opening |\n|---|---|---|\n")
	for _, o := range frame.Outcomes {
		fmt.Fprintf(&b, "| `%s` | %s | %d |\n", o.Code, o.Text, o.Close)
	}
	return b.String()
}
