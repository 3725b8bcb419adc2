package membership

import (
	"reflect"
	"testing"
)

func FuzzDecode(f *testing.F) {
	m := Member{Name: "a", ID: 0xdeadbeef, Roles: []string{"edge"}, Address: "127.0.0.1:1", Version: "v1", Weight: 3, State: Draining, Sessions: 9, Follows: "search off"}
	b, err := m.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"n":"a","i":"0","a":"x"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b)
		if err != nil {
			return
		}
		again, err := m.encode()
		if err != nil {
			return // too long: nobody says so
		}
		if got, err := decode(again); err != nil || !reflect.DeepEqual(got, m) && len(m.Roles) > 0 {
			t.Fatalf("%+v, %v, want %+v", got, err, m)
		}
	})
}
