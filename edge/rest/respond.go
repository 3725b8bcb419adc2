package rest

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"
)

// The two spellings of a time that the original uses: in resources, and in the meta object of envelopes.
const (
	resourceTime = "2006-01-02T15:04:05.000000Z"
	metaTime     = "2006-01-02T15:04:05.000000+00:00"
)

// stamp is a time in a resource; the zero time is null.
type stamp time.Time

func (s stamp) MarshalJSON() ([]byte, error) {
	t := time.Time(s)
	if t.IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + t.UTC().Format(resourceTime) + `"`), nil
}

// response is what a handler answers.
type response struct {
	status int
	body   any    // marshalled; nil: none
	raw    []byte // written as it is instead; the handler has set the content type
	header map[string]string
	stream func(http.ResponseWriter) // writes everything instead
	// The handler has written it.
	written bool
}

func ok(body any) response { return response{status: http.StatusOK, body: body} }

// detail is DRF's shape of an error that belongs to no field.
type detail struct {
	Detail string `json:"detail"`
}

func fail(status int, text string) response { return response{status: status, body: detail{text}} }

// fieldErrors is DRF's shape of a validation error.
type fieldErrors map[string][]string

func invalid(field, text string) response {
	return response{status: http.StatusBadRequest, body: fieldErrors{field: {text}}}
}

// codeDetail is simplejwt's shape of a refused token.
type codeDetail struct {
	Detail string `json:"detail"`
	Code   string `json:"code"`
}

const nonField = "non_field_errors"

var notFound = fail(http.StatusNotFound, "Not found.")

type meta struct {
	Timestamp string `json:"timestamp"`
}

type success struct {
	Success bool      `json:"success"`
	Data    any       `json:"data"`
	Message *string   `json:"message"`
	Errors  *struct{} `json:"errors"`
	Meta    meta      `json:"meta"`
}

type failure struct {
	Success   bool      `json:"success"`
	Data      *struct{} `json:"data"`
	Message   string    `json:"message"`
	Errors    []string  `json:"errors"`
	ErrorCode *string   `json:"error_code"`
	Meta      meta      `json:"meta"`
}

// envelope is the shape of an action's result (contract §3.1).
func (a *API) envelope(data any, message string) response {
	return ok(success{Success: true, Data: data, Message: &message, Meta: a.meta()})
}

// refuse is the envelope of an error; code "" is null.
func (a *API) refuse(status int, code, message string) response {
	f := failure{Message: message, Errors: []string{}, Meta: a.meta()}
	if code != "" {
		f.ErrorCode = &code
	}
	return response{status: status, body: f}
}

func (a *API) meta() meta { return meta{a.cfg.Now().UTC().Format(metaTime)} }

// retryable adds Retry-After, in whole seconds, at least one.
func retryable(status int, text string, after time.Duration) response {
	r := fail(status, text)
	r.header = map[string]string{"Retry-After": strconv.Itoa(seconds(after))}
	return r
}

func seconds(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }

// throttled is DRF's 429.
func throttled(after time.Duration) response {
	return retryable(http.StatusTooManyRequests,
		"Request was throttled. Expected available in "+plural(seconds(after), "second")+".", after)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

func (r response) write(w http.ResponseWriter, method string) {
	h := w.Header()
	for k, v := range r.header {
		h.Set(k, v)
	}
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	b := r.raw
	switch {
	case b != nil:
	case r.body == nil:
		w.WriteHeader(r.status)
		return
	default:
		var err error
		// encoding/json escapes <, > and & (requirement 114).
		if b, err = json.Marshal(r.body); err != nil {
			panic(err) // only our own types are marshalled: a defect, answered as one
		}
		h.Set("Content-Type", "application/json")
	}
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(r.status)
	if method != http.MethodHead {
		_, _ = w.Write(b) // the client is gone; nobody is left to tell
	}
}
