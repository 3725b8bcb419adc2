package jsonwalk_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/zumodra/hub/bench/target/jsonwalk"
)

func fields(b []byte) (list []string, err error) {
	err = jsonwalk.Fields(b, func(key, value []byte, kind jsonwalk.Kind) {
		list = append(list, fmt.Sprintf("%s %d %s", key, kind, value))
	})
	return list, err
}

func TestFields(t *testing.T) {
	for in, want := range map[string]string{
		`{}`: `[]`,
		` { "a" : 1 , "b":"x\"]}\\", "c":{"d":[1,"}"]},"e":[ ],"f":null}`: `[a 0 1 b 1 x\"]}\\ c 2 {"d":[1,"}"]} e 2 [ ] f 0 null]`,
		`{"a":""}`: `[a 1 ]`,
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
	var got []string
	add := func(v []byte, _ jsonwalk.Kind) error {
		got = append(got, string(v))
		return nil
	}
	if err := jsonwalk.Elements([]byte(`[1, "b" ,{"c":[]},[]]`), add); err != nil || fmt.Sprintf("%q", got) != `["1" "b" "{\"c\":[]}" "[]"]` {
		t.Errorf("%q, %v", got, err)
	}
	for _, in := range []string{"", "{}", "[1", `["`} {
		if err := jsonwalk.Elements([]byte(in), add); !errors.Is(err, jsonwalk.ErrSyntax) {
			t.Errorf("%s: %v", in, err)
		}
	}
	enough := errors.New("enough")
	if err := jsonwalk.Elements([]byte("[1,2"), func([]byte, jsonwalk.Kind) error { return enough }); !errors.Is(err, enough) {
		t.Error(err)
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
