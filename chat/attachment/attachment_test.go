package attachment_test

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/chat/attachment"
	"github.com/zumodra/hub/chat/attachment/attachmenttest"
)

// zeros yields as many zero bytes.
func zeros(n int64) io.Reader { return io.LimitReader(zeroReader{}, n) }

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func judge(name string, voice bool, r io.Reader) (string, error) {
	f, err := attachment.Check(name, voice)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(io.Discard, f.NewReader(r, attachment.MaxSize))
	return f.Name, err
}

// TestReq063_Req064_Req065_Req066_Req067_Rules walks through the shared table, with content that comes in pieces of any size.
func TestReq063_Req064_Req065_Req066_Req067_Rules(t *testing.T) {
	if n, m := len(attachment.Extensions()), len(attachment.Blocked()); n != 17 || m != 21 {
		t.Fatalf("%d allowed and %d blocked extensions, want 17 and 21", n, m)
	}
	for _, c := range attachmenttest.Cases() {
		for how, r := range map[string]io.Reader{
			"whole": bytes.NewReader(c.Content), "bytes": iotest.OneByteReader(bytes.NewReader(c.Content)),
			"end with data": iotest.DataErrReader(bytes.NewReader(c.Content)),
		} {
			if how == "bytes" && len(c.Content) > 10_000 {
				continue
			}
			name, err := judge(c.Name, c.Voice, r)
			switch {
			case err == nil && c.Want != "":
				t.Errorf("%s (%s): %q was accepted, want %q", c.What, how, c.Name, c.Want)
			case err != nil && (err.Error() != c.Want || !errors.Is(err, chat.ErrInvalid)):
				t.Errorf("%s (%s): %q: %v, want %q", c.What, how, c.Name, err, c.Want)
			case err == nil && c.Safe != "" && name != c.Safe:
				t.Errorf("%s: %q became %q, want %q", c.What, c.Name, name, c.Safe)
			}
		}
	}
}

func TestReq062_Size(t *testing.T) {
	const head = "%PDF-1.7\n"
	for size, want := range map[int64]error{52_428_800: nil, 52_428_801: attachment.ErrTooLarge} {
		_, err := judge("a.pdf", false, io.MultiReader(strings.NewReader(head), zeros(size-int64(len(head)))))
		if !errors.Is(err, want) {
			t.Errorf("%d bytes: %v, want %v", size, err, want)
		}
	}
}

// An error of the source is passed on and is not the end of a file.
func TestSourceFails(t *testing.T) {
	broken := errors.New("broken")
	_, err := judge("a.txt", false, io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
}

func FuzzReq066_SafeName(f *testing.F) {
	for _, c := range attachmenttest.Cases() {
		f.Add(c.Name)
	}
	f.Fuzz(func(t *testing.T, in string) {
		s := attachment.SafeName(in)
		if len(s) > attachment.MaxName || !utf8.ValidString(s) || strings.ContainsAny(s, "/\\\x00:") || strings.Contains(s, "..") || s == "." {
			t.Fatalf("%q became %q", in, s)
		}
		if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }) {
			t.Fatalf("%q became %q, with what cannot be seen", in, s)
		}
		if s != "" && filepath.Dir(filepath.Join("/store", s)) != "/store" {
			t.Fatalf("%q became %q, which leads elsewhere", in, s)
		}
		if again := attachment.SafeName(s); again != s {
			t.Fatalf("%q became %q and then %q", in, s, again)
		}
	})
}

// FuzzReq065_Inspect feeds the same content whole and cut in two: the verdict is the same, and text that passes is text.
func FuzzReq065_Inspect(f *testing.F) {
	for _, c := range attachmenttest.Cases() {
		if len(c.Content) < 1000 {
			f.Add(c.Name, c.Content, uint(7))
		}
	}
	f.Fuzz(func(t *testing.T, name string, content []byte, cut uint) {
		at := int(cut % uint(len(content)+1))
		_, one := judge(name, false, bytes.NewReader(content))
		safe, two := judge(name, false, io.MultiReader(bytes.NewReader(content[:at]), bytes.NewReader(content[at:])))
		if (one == nil) != (two == nil) || one != nil && one.Error() != two.Error() {
			t.Fatalf("%q: whole %v, cut at %d %v", name, one, at, two)
		}
		if two == nil && strings.HasPrefix(attachment.TypeOf(safe), "text/") && (!utf8.Valid(content) || bytes.IndexByte(content, 0) >= 0) {
			t.Fatalf("%q is no text: %q", name, content)
		}
	})
}
