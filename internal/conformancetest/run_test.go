package conformancetest_test

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/zumodra/hub/internal/conformancetest"
)

// A runner that passes everything proves nothing: each wrong expectation must fail, and say where.
func TestReq173_WrongExpectationsFail(t *testing.T) {
	h := start(t, "default")
	const head = `{"about": "x", "requirements": [173], "users": {"ann": {"id": "1"}, "bob": {"id": "2"}}, "steps": [` +
		`{"request": "POST /api/v1/messages/conversations/", "as": "ann", "json": {"participant_ids": [2]}, "status": 201, ` +
		`"body": {"id": "<uuid>", "<more>": true}, "save": {"conv": "/id"}}, `
	const socket = `{"open": "a", "as": "ann", "path": "/ws/"}, {"open": "b", "as": "bob", "path": "/ws/"}, ` +
		`{"send": "a", "json": {"type": "send_message", "content": "hi", "conversation_id": "${conv}"}}, `
	frame := func(content, more string) string {
		return `{"type": "message", "content": "` + content + `", "sender": "1"` + more + `}`
	}
	absent := map[string]bool{"never eventually": true, "frame that does not come": true, "not closed": true}
	for _, c := range []struct {
		name, steps string
		want        []string // of the error; nil: passes
	}{
		{"right", `{"request": "GET /api/v1/messages/blocked/", "as": "ann", "status": 200, "body": {"count": 0, "next": null, "previous": null, "results": []}}`, nil},
		{"status", `{"request": "GET /api/v1/messages/blocked/", "as": "ann", "status": 201, "body": "<any>"}`, []string{"step 2: request GET", "status: want 201, got 200"}},
		{"value", `{"request": "GET /api/v1/messages/blocked/", "as": "ann", "status": 200, "body": {"count": 1, "next": null, "previous": null, "results": []}}`, []string{"/count: want 1, got 0"}},
		{"missing member", `{"request": "GET /api/v1/messages/blocked/", "as": "ann", "status": 200, "body": {"count": 0, "next": null, "previous": null, "results": [], "pages": 1}}`, []string{"/pages: want 1, is not there"}},
		{"additional member", `{"request": "GET /api/v1/messages/blocked/", "as": "ann", "status": 200, "body": {"count": 0, "next": null, "results": []}}`, []string{"/previous: not expected, got null"}},
		{"matcher", `{"request": "GET /api/v1/messages/blocked/", "as": "ann", "status": 200, "body": {"count": "<uuid>", "<more>": true}}`, []string{"/count: want <uuid>, got 0"}},
		{"right expression", `{"request": "GET /health/live/", "status": 200, "answer": {"Content-Length": "</\\d+/>"}, "body": {"alive": true}}`, nil},
		{"expression", `{"request": "GET /health/live/", "status": 200, "answer": {"Content-Type": "</json/>"}, "body": {"alive": true}}`, []string{"/answer/Content-Type: want </json/>, got \"application/json\""}},
		{"length", `{"request": "GET /api/v1/messages/blocked/", "as": "ann", "status": 200, "body": {"results": ["<any>"], "<more>": true}}`, []string{"/results: want 1 elements, got 0"}},
		{"no body expected", `{"request": "GET /api/v1/messages/blocked/", "as": "ann", "status": 200}`, []string{"body: want none"}},
		{"body expected", `{"request": "DELETE /api/v1/messages/blocked/1/", "as": "ann", "status": 404, "body": {"detail": "No."}}`, []string{`/detail: want "No.", got "Not found."`}},
		{"header", `{"request": "GET /health/live/", "status": 200, "answer": {"X-None": "<string>"}, "body": {"alive": true}}`, []string{"/answer/X-None: want <string>, is not there"}},
		{"never eventually", `{"request": "GET /api/v1/messages/blocked/", "as": "ann", "status": 200, "body": {"count": 5, "<more>": true}, "eventually": true}`, []string{"in the end:", "/count: want 5, got 0"}},
		{"unknown variable", `{"request": "GET /api/v1/messages/${none}/", "as": "ann", "status": 200}`, []string{"no variable ${none}"}},
		{"right frames", socket + `{"receive": "a", "frames": [` + frame("hi", `, "<more>": true`) + `]}, {"receive": "b", "frames": [` + frame("hi", `, "<more>": true`) + `]}`, nil},
		{"wrong frame", socket + `{"receive": "a", "frames": [` + frame("ho", `, "<more>": true`) + `]}`, []string{"receive from a", `/content: want "ho", got "hi"`}},
		{"not the whole frame", socket + `{"receive": "a", "frames": [` + frame("hi", "") + `]}`, []string{"/seq: not expected"}},
		{"unnamed frame", socket + `{"receive": "b", "frames": [` + frame("hi", `, "<more>": true`) + `]}`, []string{"after the last step: socket a", "a frame that no step names", `"content":"hi"`}},
		{"frame that does not come", socket + `{"receive": "a", "frames": [` + frame("hi", `, "<more>": true`) + `, {"type": "pong"}]}`, []string{`frame 2: want {"type":"pong"}`, "no frame came"}},
		{"order", socket + `{"receive": "a", "frames": [` + frame("hi", `, "<more>": true`) + `]}, {"send": "a", "json": {"type": "ping", "ref": 1}}, {"send": "a", "json": {"type": "ping", "ref": 2}}, ` +
			`{"receive": "a", "frames": [{"type": "pong", "ref": 2}, {"type": "pong", "ref": 1}]}`, []string{"/ref: want 2, got 1"}},
		{"refused", `{"open": "a", "path": "/ws/"}`, []string{"step 2: open a", "want {", "4001"}},
		{"wrong close code", `{"open": "a", "path": "/ws/", "code": 4003}`, []string{"want 4003", "got 4001"}},
		{"not closed", `{"open": "a", "as": "ann", "path": "/ws/"}, {"closed": "a", "code": 4003}`, []string{"want close code 4003"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v, err := conformancetest.Parse("test/"+c.name, []byte(head+c.steps+"]}"))
			if err != nil {
				t.Fatal(err)
			}
			r := h.runner()
			r.Patience = patience
			if absent[c.name] {
				r.Patience = 10 * time.Second // what it waits for does not happen; what comes before has to
			}
			err = r.Run(t.Context(), v)
			if c.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				t.Fatal("passes")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("no %q in\n%v", w, err)
				}
			}
		})
	}
}

// The format is strict: a word that is misspelt would otherwise be an expectation that nobody checks.
func TestReq173_FormatIsStrict(t *testing.T) {
	const good = `{"about": "x", "requirements": [1], "users": {"ann": {"id": "1"}}, "steps": [{"open": "a", "as": "ann", "path": "/ws/"}]}`
	load := func(s string) error {
		_, err := conformancetest.Load(fstest.MapFS{"ws/x.json": {Data: []byte(s)}})
		return err
	}
	if err := load(good); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{`"about"`, `"abuot"`, "abuot"},
		{`"x"`, `""`, "no about"},
		{`[1]`, `[]`, "no requirements"},
		{`"path"`, `"paths"`, "paths"},
		{`"as": "ann"`, `"as": "bob"`, `no user "bob"`},
		{`"as": "ann"`, `"frame": {}`, "frame"},
		{`"as": "ann"`, `"body": {}`, "open has no body"},
		{`"as": "ann"`, `"send": "a"`, "not 2"},
		{`"open": "a", `, ``, "not 0"},
		{`"about"`, `"server": "mine", "about"`, `unknown server "mine"`},
		{`]}`, `]} {}`, "something follows"},
		{`{"open": "a", "as": "ann", "path": "/ws/"}`, ``, "no steps"},
	} {
		if err := load(strings.Replace(good, c.old, c.new, 1)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s instead of %s: %v", c.new, c.old, err)
		}
	}
}
