package jsonwalk_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/zumodra/hub/bench/target/jsonwalk"
)

func fields(b []byte) (list []string, err error) {
	w, err := jsonwalk.Object(b)
	for err == nil {
		var key, value []byte
		var kind jsonwalk.Kind
		if key, value, kind, err = w.Field(); err == nil {
			if kind == jsonwalk.End {
				return list, nil
			}
			list = append(list, fmt.Sprintf("%s %d %s", key, kind, value))
		}
	}
	return list, err
}

func TestFields(t *testing.T) {
	for in, want := range map[string]string{
		`{}`: `[]`,
		` { "a" : 1 , "b":"x\"]}\\", "c":{"d":[1,"}"]},"e":[ ],"f":null}`: `[a 1 1 b 2 x\"]}\\ c 3 {"d":[1,"}"]} e 3 [ ] f 1 null]`,
		`{"a":""}`: `[a 2 ]`,
	} {
		got, err := fields([]byte(in))
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "[]", "{", `{"a"`, `{"a":`, `{"a":"x`, `{"a":{"b":1}`, `{"a":}`, `{a:1}`} {
		if _, err := fields([]byte(in)); !errors.Is(err, jsonwalk.ErrSyntax) {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestElements(t *testing.T) {
	w, err := jsonwalk.Array([]byte(`[1, "b" ,{"c":[]},[]]`))
	var got []string
	for err == nil {
		var v []byte
		var kind jsonwalk.Kind
		if v, kind, err = w.Element(); kind == jsonwalk.End {
			break
		}
		got = append(got, string(v))
	}
	if err != nil || fmt.Sprintf("%q", got) != `["1" "b" "{\"c\":[]}" "[]"]` {
		t.Errorf("%q, %v", got, err)
	}
	for _, in := range []string{"", "{}", "[1", `["`} {
		w, err := jsonwalk.Array([]byte(in))
		for err == nil {
			var kind jsonwalk.Kind
			if _, kind, err = w.Element(); kind == jsonwalk.End && err == nil {
				t.Fatalf("%s is an array", in)
			}
		}
	}
}

// Of a valid object the fields are those that encoding/json finds, and nothing makes it panic or run on.
func FuzzFields(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":"x\"","c":{"d":[1,"}"]},"e":[],"f":null}`))
	f.Add([]byte(`{"a":"\\","":-1.5e3}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := fields(b)
		var o map[string]json.RawMessage
		if json.Unmarshal(b, &o) != nil || o == nil {
			return
		}
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if len(got) < len(o) {
			t.Fatalf("%q: %q", b, got)
		}
	})
}
