package conformancetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// Coverage is what vectors exercise, each as the name under which the pack's tests look for it.
type Coverage map[string]bool

// Names of what can be covered.
func ClientFrame(typ string) string { return "client frame " + typ }
func ServerFrame(typ string) string { return "server frame " + typ }
func ErrorCode(code string) string  { return "error code " + code }
func CloseCode(code int) string     { return "close code " + strconv.Itoa(code) }
func Response(op string, status int) string {
	return fmt.Sprintf("response %s %d", op, status)
}

// Cover adds what a vector exercises. operations are "METHOD /path/{parameter}/" as in the OpenAPI document; a request counts
// for the one with the most literal path that it matches.
func (c Coverage) Cover(v *Vector, operations []string) {
	for _, s := range v.Steps {
		if s.Request != "" {
			if op := operation(s.Request, operations); op != "" {
				c[Response(op, s.Status)] = true
			}
		}
		if s.Send != "" && s.JSON != nil {
			c.frame(s.JSON, ClientFrame)
		}
		for _, f := range s.Frames {
			c.frame(f, ServerFrame)
		}
		if s.Open != "" && s.Frames == nil && s.Code == 0 && s.Status == 0 {
			c[ServerFrame("status")] = true
		}
		if s.Code != 0 && s.Close == "" {
			c[CloseCode(s.Code)] = true
		}
	}
}

func (c Coverage) frame(raw json.RawMessage, name func(string) string) {
	var f struct{ Type, Code string }
	if json.Unmarshal(raw, &f) != nil {
		return
	}
	c[name(f.Type)] = true
	if f.Type == "error" {
		c[ErrorCode(f.Code)] = true
	}
}

// operation finds the operation of a request; HEAD is GET.
func operation(request string, operations []string) string {
	method, path, _ := strings.Cut(request, " ")
	if method == http.MethodHead {
		method = http.MethodGet
	}
	path, _, _ = strings.Cut(path, "?")
	parts := strings.Split(strings.TrimSuffix(path, "/"), "/")
	best, literal := "", -1
	for _, op := range operations {
		m, p, _ := strings.Cut(op, " ")
		want := strings.Split(strings.TrimSuffix(p, "/"), "/")
		if m != method || len(want) != len(parts) {
			continue
		}
		n := 0
		for i := range want {
			if want[i] == parts[i] {
				n++
			} else if !strings.HasPrefix(want[i], "{") {
				n = -1
				break
			}
		}
		if n > literal {
			best, literal = op, n
		}
	}
	return best
}
