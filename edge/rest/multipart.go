package rest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/chat/attachment"
)

const (
	maxFormFields = 100
	// drained is how much of a file that is too large is read, so that its sender gets to see the answer.
	drained = 4 << 20
)

// isMultipart reports whether the body is a form that may hold a file, and its boundary.
func isMultipart(r *http.Request) (boundary string, ok bool) {
	ctype, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return params["boundary"], err == nil && ctype == "multipart/form-data" && params["boundary"] != ""
}

// formUpload is a form of which at most one part is a file.
type formUpload struct {
	body
	field string      // of the file; empty: there is none
	id    chat.FileID // of the file, which was taken in
}

// errForm says that the form cannot be read.
var errForm = errors.New("form")

// readUpload reads a form part by part; the file goes where it is kept while it comes. Before it does, what is known of
// the message by then is checked by may: fields that precede the file can have it refused without its being read.
func (a *API) readUpload(ctx context.Context, c *call, boundary string, may func(b *body) *response) (*formUpload, *response) {
	refuse := func(res response) (*formUpload, *response) { return nil, &res }
	rc := http.NewResponseController(c.w)
	limit := a.cfg.MaxBody + attachment.MaxSize + drained
	form := multipart.NewReader(http.MaxBytesReader(c.w, &steadyReader{ReadCloser: c.r.Body, rc: rc, idle: a.cfg.IdleTimeout}, limit), boundary)
	f := &formUpload{}
	res := a.readParts(ctx, c, form, f, may)
	if res == nil {
		_ = rc.SetReadDeadline(time.Time{})
		return f, nil
	}
	if f.field != "" && !f.id.IsZero() {
		a.cfg.Files.Drop(ctx, c.p, f.id)
	}
	return refuse(*res)
}

func (a *API) readParts(ctx context.Context, c *call, form *multipart.Reader, f *formUpload, may func(b *body) *response) *response {
	values, left := map[string][]string{}, a.cfg.MaxBody
	for n := 0; ; n++ {
		part, err := form.NextRawPart()
		if err == io.EOF { //nolint:errorlint // a form that is cut off wraps it
			break
		}
		if err != nil {
			return a.formFailure(err)
		}
		name := part.FormName()
		if n >= maxFormFields {
			return a.formFailure(errForm)
		}
		if !isFile(part) {
			b, err := io.ReadAll(io.LimitReader(part, left+1))
			if err != nil {
				return a.formFailure(err)
			}
			if left -= int64(len(b)); left < 0 {
				return a.formFailure(&http.MaxBytesError{Limit: a.cfg.MaxBody})
			}
			values[name] = append(values[name], string(b))
			continue
		}
		if name != "file" && name != "voice_message" || f.field != "" {
			res := invalid(name, "Only one file can be sent, as file or voice_message.")
			return &res
		}
		f.field = name
		b := fields(values)
		if res := may(b); res != nil {
			return res
		}
		voice := name == "voice_message"
		u, err := a.cfg.Files.Store(ctx, c.p, partName(part), voice, part)
		if err != nil {
			if errors.Is(err, attachment.ErrTooLarge) {
				_, _ = io.CopyN(io.Discard, part, drained) // the answer is what counts
			}
			return a.uploadFailure(err, name)
		}
		f.id = u.ID
	}
	f.body = *fields(values)
	return nil
}

// isFile tells a file from a field as Go's own reader of forms does.
func isFile(p *multipart.Part) bool {
	_, params, err := mime.ParseMediaType(p.Header.Get("Content-Disposition"))
	_, named := params["filename"]
	return err == nil && named
}

// partName is the name as it was sent: the rules decide what it becomes.
func partName(p *multipart.Part) string {
	_, params, _ := mime.ParseMediaType(p.Header.Get("Content-Disposition"))
	return params["filename"]
}

// fields turns form values into a body: a field given once is a string, more often a list of strings.
func fields(form map[string][]string) *body {
	b := &body{fields: map[string]json.RawMessage{}}
	for name, values := range form {
		var v any = values
		if len(values) == 1 {
			v = values[0]
		}
		for _, s := range values {
			if !utf8.ValidString(s) {
				b.fault(name, "Not a valid string.")
			}
		}
		if enc, err := json.Marshal(v); err == nil { // strings always can
			b.fields[name] = enc
		}
	}
	return b
}

func (a *API) formFailure(err error) *response {
	res := fail(http.StatusBadRequest, "Form parse error.")
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		res = fail(http.StatusRequestTimeout, "The request body did not arrive in time.")
	case errors.As(err, &tooLarge):
		res = fail(http.StatusRequestEntityTooLarge, "The request body is larger than "+strconv.FormatInt(tooLarge.Limit, 10)+" bytes.")
	}
	return &res
}

// uploadFailure blames the field of the file for what the rules refuse.
func (a *API) uploadFailure(err error, field string) *response {
	var refused *attachment.Error
	var tooLarge *http.MaxBytesError
	var res response
	switch {
	case errors.As(err, &refused):
		res = invalid(field, refused.Text)
	case errors.As(err, &tooLarge):
		res = invalid(field, attachment.ErrTooLarge.Text)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, io.ErrUnexpectedEOF):
		return a.formFailure(err)
	default:
		res = a.failure(err, texts{name: "upload"})
	}
	return &res
}
