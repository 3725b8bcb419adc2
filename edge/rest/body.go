package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/zumodra/hub/chat"
)

const (
	maxDepth = 32     // nesting of a JSON body
	maxUsers = 10_000 // user ids in one body
)

// body is a request's fields, by name, as raw JSON; unknown ones are ignored. errs collects what is wrong with
// those that were asked for, so that one response names all of them.
type body struct {
	fields map[string]json.RawMessage
	files  []string // form fields that carry a file
	errs   fieldErrors
}

func (b *body) fault(field, text string) {
	if b.errs == nil {
		b.errs = fieldErrors{}
	}
	b.errs[field] = append(b.errs[field], text)
}

// invalid is the 400 of the collected errors.
func (b *body) invalid() (response, bool) {
	return response{status: http.StatusBadRequest, body: b.errs}, len(b.errs) > 0
}

// readBody reads JSON or form fields. An absent body is an empty object.
func (a *API) readBody(w http.ResponseWriter, r *http.Request) (*body, *response) {
	refuse := func(res response) (*body, *response) { return nil, &res }
	// The context does not end a read of the body; a deadline does. Where the writer has none, the server's own
	// timeouts hold.
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(a.cfg.Timeout))
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, a.cfg.MaxBody))
	if err == nil {
		_ = rc.SetReadDeadline(time.Time{})
	}
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return refuse(fail(http.StatusRequestTimeout, "The request body did not arrive in time."))
		}
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			return refuse(fail(http.StatusRequestEntityTooLarge,
				"The request body is larger than "+strconv.FormatInt(a.cfg.MaxBody, 10)+" bytes."))
		}
		return refuse(fail(http.StatusBadRequest, "The request body could not be read."))
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		return &body{}, nil
	}
	ctype, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		ctype = r.Header.Get("Content-Type")
	}
	switch ctype {
	case "application/json", "":
		return jsonBody(raw)
	case "application/x-www-form-urlencoded", "multipart/form-data":
		return formBody(raw, ctype, params["boundary"])
	}
	return refuse(fail(http.StatusUnsupportedMediaType,
		`Unsupported media type "`+strings.ToValidUTF8(chat.Truncate(ctype, 100), "\ufffd")+`" in request.`))
}

func jsonBody(raw []byte) (*body, *response) {
	parseError := func(text string) (*body, *response) {
		res := fail(http.StatusBadRequest, "JSON parse error - "+text)
		return nil, &res
	}
	if !utf8.Valid(raw) {
		return parseError("not UTF-8")
	}
	if depth(raw) > maxDepth {
		return parseError("nested deeper than " + strconv.Itoa(maxDepth) + " levels")
	}
	if !json.Valid(raw) {
		return parseError("not valid JSON")
	}
	b := &body{}
	if err := json.Unmarshal(raw, &b.fields); err != nil || b.fields == nil {
		res := invalid(nonField, "Invalid data. Expected a dictionary, but got "+jsonType(raw)+".")
		return nil, &res
	}
	return b, nil
}

// depth is the deepest nesting of brackets outside strings. It is asked before the decoder, whose own limit is
// far higher, gets to see the body.
func depth(raw []byte) int {
	deepest, level, quoted := 0, 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			level++
			deepest = max(deepest, level)
		case c == '}' || c == ']':
			level--
		}
	}
	return deepest
}

// jsonType names a value as the original's messages do.
func jsonType(raw json.RawMessage) string {
	switch raw = bytes.TrimSpace(raw); raw[0] {
	case '{':
		return "dict"
	case '[':
		return "list"
	case '"':
		return "str"
	case 't', 'f':
		return "bool"
	case 'n':
		return "NoneType"
	}
	if bytes.ContainsAny(raw, ".eE") {
		return "float"
	}
	return "int"
}

// formBody turns form fields into JSON ones: a field given once is a string, more often a list of strings.
func formBody(raw []byte, ctype, boundary string) (*body, *response) {
	parseError := func() (*body, *response) {
		res := fail(http.StatusBadRequest, "Form parse error.")
		return nil, &res
	}
	b := &body{fields: map[string]json.RawMessage{}}
	var form url.Values
	if ctype == "multipart/form-data" {
		// The body is in memory already and bounded: nothing is spilled to disk.
		f, err := multipart.NewReader(bytes.NewReader(raw), boundary).ReadForm(int64(len(raw)) + 1)
		if err != nil {
			return parseError()
		}
		for name := range f.File {
			b.files = append(b.files, name)
		}
		form = f.Value
	} else {
		var err error
		if form, err = url.ParseQuery(string(raw)); err != nil {
			return parseError()
		}
	}
	for name, values := range form {
		var v any = values
		if len(values) == 1 {
			v = values[0]
		}
		for _, s := range values {
			if !utf8.ValidString(s) {
				b.fault(strings.ToValidUTF8(name, "\ufffd"), "Not a valid string.")
			}
		}
		enc, err := json.Marshal(v)
		if err != nil {
			return parseError()
		}
		b.fields[name] = enc
	}
	return b, nil
}

// get answers a field; absent or null is nil.
func (b *body) get(name string) json.RawMessage {
	raw := bytes.TrimSpace(b.fields[name])
	if string(raw) == "null" {
		return nil
	}
	return raw
}

// first answers the name among aliases that the body uses; the first one if none.
func (b *body) first(names ...string) string {
	for _, n := range names {
		if _, ok := b.fields[n]; ok {
			return n
		}
	}
	return names[0]
}

// text answers a string field. Numbers become strings, as the original's fields accept them.
func (b *body) text(name string) (s string, given bool) {
	raw := b.get(name)
	if raw == nil {
		return "", false
	}
	switch raw[0] {
	case '"':
		if err := json.Unmarshal(raw, &s); err == nil {
			return s, true
		}
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return string(raw), true
	}
	b.fault(name, "Not a valid string.")
	return "", false
}

// required is text that has to be there.
func (b *body) required(name string) string {
	s, given := b.text(name)
	if !given && len(b.errs[name]) == 0 {
		b.missing(name)
	}
	return s
}

func (b *body) missing(name string) {
	if _, ok := b.fields[name]; ok {
		b.fault(name, "This field may not be null.")
	} else {
		b.fault(name, "This field is required.")
	}
}

// flag answers a boolean field, in the spellings that the original accepts.
func (b *body) flag(name string) bool {
	raw := b.get(name)
	if raw == nil {
		return false
	}
	switch strings.ToLower(strings.Trim(string(raw), `"`)) {
	case "true", "1", "t", "yes", "y", "on":
		return true
	case "false", "0", "f", "no", "n", "off", "":
		return false
	}
	b.fault(name, "Must be a valid boolean.")
	return false
}

// user reads one user id.
func (b *body) user(name string) (id chat.UserID) {
	raw := b.get(name)
	if raw == nil {
		b.missing(name)
	} else if err := json.Unmarshal(raw, &id); err != nil {
		b.fault(name, "Must be a valid user id.")
	}
	return id
}

// users answers a list of at least one user id, without duplicates. A single id counts as a list of one, which
// is what a form with one value is.
func (b *body) users(name string) []chat.UserID {
	raw := b.get(name)
	if raw == nil {
		b.missing(name)
		return nil
	}
	list := []json.RawMessage{raw}
	switch raw[0] {
	case '[':
		if err := json.Unmarshal(raw, &list); err != nil {
			b.fault(name, "Not a valid list.")
			return nil
		}
	case '"': // one id, see above
	default:
		b.fault(name, `Expected a list of items but got type "`+jsonType(raw)+`".`)
		return nil
	}
	if len(list) == 0 {
		b.fault(name, "Ensure this field has at least 1 elements.")
		return nil
	}
	if len(list) > maxUsers {
		b.fault(name, "Ensure this field has no more than "+strconv.Itoa(maxUsers)+" elements.")
		return nil
	}
	ids := make([]chat.UserID, 0, len(list))
	seen := make(map[chat.UserID]bool, len(list))
	for _, raw := range list {
		var id chat.UserID
		if err := json.Unmarshal(raw, &id); err != nil || id == "" {
			b.fault(name, "A user id is a string or a non-negative integer.")
			return nil
		}
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids
}
