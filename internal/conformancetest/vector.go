package conformancetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Vector is one scenario: a file of the pack.
type Vector struct {
	Name string `json:"-"` // path of the file below the pack's directory, without .json

	About        string                     `json:"about"`
	Requirements []int                      `json:"requirements"`
	Server       string                     `json:"server,omitempty"` // one of Servers; "" is default
	Users        map[string]User            `json:"users,omitempty"`
	Let          map[string]json.RawMessage `json:"let,omitempty"`
	Ignore       []string                   `json:"ignore,omitempty"` // types of frames that may come at any time, beside "head"
	Steps        []*Step                    `json:"steps"`
}

// User of a vector, made before its first step.
type User struct {
	ID        string `json:"id"`
	Email     string `json:"email,omitempty"`
	FirstName string `json:"first_name,omitempty"`
	LastName  string `json:"last_name,omitempty"`
	// ExpiresIn, in seconds, makes the runner sign the token itself; negative is in the past. The user is not created.
	ExpiresIn int `json:"expires_in,omitempty"`
}

// Step does one thing: the one of Request, Open, Send, Receive, Closed, Close and Drain that is there.
type Step struct {
	Note string `json:"note,omitempty"`

	Request string `json:"request,omitempty"` // METHOD /path
	Open    string `json:"open,omitempty"`    // name of the socket, as in the four below
	Send    string `json:"send,omitempty"`
	Receive string `json:"receive,omitempty"`
	Closed  string `json:"closed,omitempty"`
	Close   string `json:"close,omitempty"`
	Drain   bool   `json:"drain,omitempty"`

	// Of a request and an open.
	As      string            `json:"as,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Path    string            `json:"path,omitempty"` // of an open

	// What a request or a send sends, beside Binary at most one of them.
	JSON   json.RawMessage `json:"json,omitempty"`
	Text   *string         `json:"text,omitempty"`
	Binary *string         `json:"binary,omitempty"`
	Times  int             `json:"times,omitempty"` // so often; 0 is once
	// Fragments of the message that a send sends; 0 is 1.
	Fragments int `json:"fragments,omitempty"`

	// What is expected.
	Status     int               `json:"status,omitempty"`
	Answer     map[string]string `json:"answer,omitempty"`     // headers of the response
	Body       json.RawMessage   `json:"body,omitempty"`       // of a response; absent: empty
	Plain      *string           `json:"plain,omitempty"`      // a body that is not JSON starts with it
	Eventually bool              `json:"eventually,omitempty"` // a request: repeated until the answer is as expected
	Frames     []json.RawMessage `json:"frames,omitempty"`     // of a receive, in this order; of an open, the first
	Unordered  bool              `json:"unordered,omitempty"`  // in any order
	Code       int               `json:"code,omitempty"`       // of a closed, of an open that is refused, and of a close
	Reason     *string           `json:"reason,omitempty"`

	Save map[string]string `json:"save,omitempty"` // variable: JSON pointer into the body, or into the array of frames
}

// Servers that a vector may ask for, with the flags of `hub serve` besides addresses, data and storage. ${admin_key} stands for
// the name of a file with an API key.
var Servers = map[string][]string{
	"default": {"--dev", "--user-rate", "0", "--admin-key-file", "${admin_key}"},
	"tight": {"--dev", "--user-rate", "0.001", "--user-burst", "12", "--sessions-per-user", "2", "--max-group-size", "3",
		"--edit-window=-1s", "--search", "off", "--socket-file-bytes", "0", "--file-ttl", "1s", "--throttles", "export=2/h",
		"--admin-key-file", "${admin_key}"},
	"production": {"--auth-secret-file", "${secret}"},
	"drained":    {"--dev"},
}

// Load reads all vectors below a directory. What the format does not know is an error.
func Load(fsys fs.FS) ([]*Vector, error) {
	var all []*Vector
	var errs []error
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(name) != ".json" || !strings.Contains(name, "/") {
			return err
		}
		b, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		v, err := Parse(strings.TrimSuffix(name, ".json"), b)
		if err != nil {
			errs = append(errs, err)
			return nil
		}
		all = append(all, v)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("conformance: read the vectors: %w", err)
	}
	return all, errors.Join(errs...)
}

// Parse reads one vector.
func Parse(name string, b []byte) (*Vector, error) {
	v := &Vector{Name: name}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return nil, fmt.Errorf("conformance: %s.json: %w", name, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("conformance: %s.json: something follows the object", name)
	}
	if err := v.check(); err != nil {
		return nil, fmt.Errorf("conformance: %s.json: %w", name, err)
	}
	return v, nil
}

func (v *Vector) check() error {
	if v.Server == "" {
		v.Server = "default"
	}
	switch {
	case v.About == "":
		return errors.New("no about")
	case len(v.Requirements) == 0:
		return errors.New("no requirements")
	case Servers[v.Server] == nil:
		return fmt.Errorf("unknown server %q", v.Server)
	case len(v.Steps) == 0:
		return errors.New("no steps")
	}
	for i, s := range v.Steps {
		if err := s.check(v); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}

func (s *Step) check(v *Vector) error {
	var kinds []string
	for kind, is := range map[string]bool{"request": s.Request != "", "open": s.Open != "", "send": s.Send != "", "receive": s.Receive != "",
		"closed": s.Closed != "", "close": s.Close != "", "drain": s.Drain} {
		if is {
			kinds = append(kinds, kind)
		}
	}
	if len(kinds) != 1 {
		return fmt.Errorf("one of request, open, send, receive, closed, close and drain is needed, not %d", len(kinds))
	}
	kind := kinds[0]
	for _, f := range []struct {
		name string
		is   bool
		of   string
	}{
		{"as", s.As != "", "request open"}, {"headers", s.Headers != nil, "request open"}, {"path", s.Path != "", "open"},
		{"json", s.JSON != nil, "request send"}, {"text", s.Text != nil, "request send"}, {"binary", s.Binary != nil, "send"},
		{"fragments", s.Fragments != 0, "send"}, {"times", s.Times != 0, "request send"}, {"status", s.Status != 0, "request open"},
		{"answer", s.Answer != nil, "request"}, {"body", s.Body != nil, "request"}, {"plain", s.Plain != nil, "request"},
		{"eventually", s.Eventually, "request"}, {"frames", s.Frames != nil, "receive open"}, {"unordered", s.Unordered, "receive"},
		{"code", s.Code != 0, "closed open close"}, {"reason", s.Reason != nil, "closed open"}, {"save", s.Save != nil, "request receive open"},
	} {
		if f.is && !slices.Contains(strings.Fields(f.of), kind) {
			return fmt.Errorf("%s has no %s", kind, f.name)
		}
	}
	if s.As != "" {
		if _, ok := v.Users[s.As]; !ok {
			return fmt.Errorf("no user %q", s.As)
		}
	}
	return nil
}
