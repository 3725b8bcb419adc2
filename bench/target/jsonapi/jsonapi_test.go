package jsonapi_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/zumodra/hub/bench/target/jsonapi"
)

func TestPost(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Error(r.Method, r.Header, err)
		}
		switch r.URL.Path {
		case "/echo":
			fmt.Fprintf(w, `{"got":%q,"key":%q}`, b, r.Header.Get("X-Api-Key"))
		case "/no":
			w.WriteHeader(http.StatusTeapot)
			fmt.Fprint(w, "short and stout")
		default:
			fmt.Fprint(w, "<html>")
		}
	}))
	defer s.Close()
	ctx := context.Background()
	var out struct{ Got, Key string }
	header := http.Header{"X-Api-Key": {"k"}}
	if err := jsonapi.Post(ctx, s.Client(), s.URL+"/echo", header, map[string]int{"a": 1}, &out); err != nil || out.Got != `{"a":1}` || out.Key != "k" {
		t.Error(out, err)
	}
	if len(header) != 1 {
		t.Error("the header of the caller was changed")
	}
	if err := jsonapi.Post(ctx, s.Client(), s.URL+"/html", nil, 1, nil); err != nil {
		t.Error("an answer that nobody wants is read:", err)
	}
	if err := jsonapi.Post(ctx, s.Client(), s.URL+"/html", nil, 1, &out); err == nil {
		t.Error("HTML is JSON")
	}
	if err := jsonapi.Post(ctx, s.Client(), s.URL+"/no", nil, 1, nil); err == nil || !strings.Contains(err.Error(), "418") || !strings.Contains(err.Error(), "stout") {
		t.Error(err)
	}
	if err := jsonapi.Post(ctx, s.Client(), s.URL+"/echo", nil, func() {}, nil); err == nil {
		t.Error("a function is JSON")
	}
}
