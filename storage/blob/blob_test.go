package blob_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/blob"
)

func TestKeysReadBack(t *testing.T) {
	sum := blob.Sum{0xab, 0xcd, 31: 1}
	for _, k := range []blob.Key{{Tenant: "acme", Sum: sum}, {Tenant: "..", Sum: sum, Generation: 1}, {Tenant: "A.b_c-9", Generation: 1<<63 - 1}} {
		for _, c := range k.Folder() + strings.Replace(k.Name(), ".", "", 1) {
			if !strings.ContainsRune("0123456789abcdef", c) {
				t.Fatalf("%q in the name of %v", c, k)
			}
		}
		if got, err := blob.ParseKey(k.Folder(), k.Name()); err != nil || got != k {
			t.Fatalf("%v became %v, %v", k, got, err)
		}
	}
	name := sum.String()
	for _, bad := range [][2]string{{"", name}, {"61", ""}, {"61", name[1:]}, {"61", name + "."}, {"61", name + ".0"}, {"61", name + ".01"},
		{"61", name + ".x"}, {"61", name + ".-1"}, {"61", name + ".9223372036854775808"}, {"61", strings.ToUpper(name)}, {"6", name},
		{"2f", name}, {"4a4A", name}, {strings.Repeat("61", chat.MaxTenantID+1), name}, {"zz", name}, {"61", strings.Repeat("g", 64)}} {
		if k, err := blob.ParseKey(bad[0], bad[1]); err == nil {
			t.Errorf("%q was read as %v", bad, k)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add("61636d65", strings.Repeat("ab", 32)+".7")
	f.Add("2e2e", strings.Repeat("00", 32))
	f.Fuzz(func(t *testing.T, folder, name string) {
		k, err := blob.ParseKey(folder, name)
		if err == nil && (k.Folder() != folder || k.Name() != name) {
			t.Fatalf("%q %q was read as %v, which is %q %q", folder, name, k, k.Folder(), k.Name())
		}
	})
}

func TestFill(t *testing.T) {
	broken := errors.New("broken")
	buf := make([]byte, 4)
	for _, c := range []struct {
		r    io.Reader
		n    int
		want error
	}{
		{strings.NewReader("abcdef"), 4, nil},
		{strings.NewReader("abcd"), 4, nil},
		{iotest.DataErrReader(strings.NewReader("abcd")), 4, nil},
		{iotest.OneByteReader(strings.NewReader("abcdef")), 4, nil},
		{strings.NewReader("abc"), 3, io.EOF},
		{strings.NewReader(""), 0, io.EOF},
		{io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(io.ErrUnexpectedEOF)), 2, io.ErrUnexpectedEOF},
		{iotest.DataErrReader(io.MultiReader(strings.NewReader("abcd"), iotest.ErrReader(broken))), 4, broken},
	} {
		n, err := blob.Fill(t.Context(), c.r, buf)
		if n != c.n || !errors.Is(err, c.want) {
			t.Errorf("%d, %v; want %d, %v", n, err, c.n, c.want)
		}
	}
}
