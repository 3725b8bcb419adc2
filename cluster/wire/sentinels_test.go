package wire_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/wire"
)

var someErrors = []error{
	errors.New("something else"),
	chat.ErrMoved,
	chat.ErrRequestSent,
	fmt.Errorf("content: %w (max %d characters)", chat.ErrTooLong, 7),
	fmt.Errorf("log: %w: %w", chat.ErrUnavailable, context.DeadlineExceeded),
	&chat.FieldError{Field: "name", Text: "Not a valid string."},
	fmt.Errorf("create: %w", &chat.FieldError{Field: "", Text: ""}),
	&chat.RateLimitError{RetryAfter: 1234567 * time.Nanosecond},
	fmt.Errorf("send: %w", &chat.RateLimitError{RetryAfter: time.Second}),
	&chat.RuleError{Text: "No more today."},
	errors.Join(chat.ErrNotFound, chat.ErrAlreadyBlocked, &chat.FieldError{Field: "user", Text: "Unknown."}),
	fmt.Errorf("relate: %w", chat.ErrCannotRequest),
}

// all are the errors that errors.Is may be asked about.
var all = []error{
	chat.ErrInvalid, chat.ErrNotFound, chat.ErrTooLong, chat.ErrUnavailable, chat.ErrUnknown, chat.ErrMoved,
	chat.ErrRateLimited, chat.ErrRequestSent, chat.ErrAlreadyBlocked, chat.ErrCannotRequest, chat.ErrContactExists,
	context.Canceled, context.DeadlineExceeded,
}

func checkError(t failer, err error) {
	t.Helper()
	b, failed := wire.AppendAnswer(nil, nil, err)
	if failed != nil {
		t.Fatalf("%v: %v", err, failed)
	}
	a, got := wire.DecodeAnswer(b)
	if a != nil || got == nil || got.Error() != err.Error() {
		t.Fatalf("%q became %q (%v)", err, got, a)
	}
	for _, target := range all {
		if errors.Is(err, target) != errors.Is(got, target) {
			t.Fatalf("%q: errors.Is(%q) is %v here and %v there", err, target, errors.Is(err, target), errors.Is(got, target))
		}
	}
	sameDetail[*chat.FieldError](t, err, got)
	sameDetail[*chat.RateLimitError](t, err, got)
	sameDetail[*chat.RuleError](t, err, got)
}

func sameDetail[E error](t failer, err, got error) {
	t.Helper()
	var here, there E
	if errors.As(err, &here) != errors.As(got, &there) || !cmp.Equal(here, there) {
		t.Fatalf("%q: %#v here, %#v there", err, here, there)
	}
}

func TestErrorsTravel(t *testing.T) {
	for _, err := range someErrors {
		checkError(t, err)
	}
	for _, err := range all {
		checkError(t, err)
		checkError(t, fmt.Errorf("wrapped: %w", err))
	}
	b, err := wire.AppendAnswer(nil, chat.Noted{}, chat.ErrMoved) // the error counts
	if err != nil {
		t.Fatal(err)
	}
	if a, err := wire.DecodeAnswer(b); a != nil || err != chat.ErrMoved { //nolint:errorlint // one that was not wrapped is the same value
		t.Errorf("%v, %v", a, err)
	}
}

// TestEverySentinelHasANumber compares the variables of package chat called Err… with the table, by their source, and
// wants numbers to stand only once.
func TestEverySentinelHasANumber(t *testing.T) {
	var want []string
	for _, f := range chatSource(t) {
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				for i, name := range s.(*ast.ValueSpec).Names {
					values := s.(*ast.ValueSpec).Values
					isError := strings.HasPrefix(name.Name, "Err")
					if i < len(values) && name.IsExported() {
						if call, ok := values[i].(*ast.CallExpr); ok {
							if fn, ok := call.Fun.(*ast.SelectorExpr); ok && (fn.Sel.Name == "New" || fn.Sel.Name == "Errorf") {
								isError = true
							}
						}
					}
					if isError {
						want = append(want, name.Name)
					}
				}
			}
		}
	}
	f, err := parser.ParseFile(token.NewFileSet(), "sentinels.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	numbers := map[string]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		entry, ok := n.(*ast.CompositeLit)
		if !ok || len(entry.Elts) != 2 {
			return true
		}
		number, ok := entry.Elts[0].(*ast.BasicLit)
		if !ok {
			return true
		}
		value := entry.Elts[1].(*ast.SelectorExpr)
		if value.X.(*ast.Ident).Name == "chat" {
			got = append(got, value.Sel.Name)
		}
		if before := numbers[number.Value]; before != "" {
			t.Errorf("%s and %s have the number %s", before, value.Sel.Name, number.Value)
		}
		numbers[number.Value] = value.Sel.Name
		return true
	})
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sentinels of chat (-) and those with a number (+):\n%s", diff)
	}
	if len(want) < 30 {
		t.Errorf("only %d sentinels found: the test looks at the wrong tree", len(want))
	}
}
