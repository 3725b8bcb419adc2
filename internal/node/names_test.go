package node_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/internal/config"
)

// TestOneNameForASender: where tokens do not name their user, the name that the operator wrote is the sender, on
// sockets as in REST, on the first connection as on later ones.
func TestOneNameForASender(t *testing.T) {
	t.Parallel()
	key := strings.Repeat("k", 40)
	h := start(t, func(c *config.Config) {
		c.AdminKeyFile = filepath.Join(t.TempDir(), "admin-key")
		if err := os.WriteFile(c.AdminKeyFile, []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	header := http.Header{"X-Api-Key": {key}, "Content-Type": {"application/json"}}
	for path, name := range map[string]string{"7": "ann.archer", "8": "bob"} {
		r, err := h.request("PUT", "/api/v1/admin/users/"+path+"/", header, object{"username": name})
		if err != nil {
			t.Fatal(err)
		}
		if r.status >= 300 {
			t.Fatalf("%d %s", r.status, r.raw)
		}
	}
	ann := &user{h, "7", h.sign("7", "", time.Now().Add(time.Hour))}
	bob := &user{h, "8", h.sign("8", "", time.Now().Add(time.Hour))}
	id := ann.call("POST", "conversations/", object{"participant_ids": []int{8}}).want(201).body.str("id")
	hears := bob.dial()
	for _, content := range []string{"first connection", "second connection"} {
		s := ann.dial(id)
		s.send(object{"type": "send_message", "content": content})
		if f := hears.expect("message"); f.str("sender") != "ann.archer" || f.str("content") != content {
			t.Errorf("over a socket: %v", f)
		}
	}
	ann.call("POST", "messages/", object{"conversation_id": id, "content": "over REST"}).want(201)
	if f := hears.expect("message"); f.str("sender") != "ann.archer" {
		t.Errorf("over REST: %v", f)
	}
}
