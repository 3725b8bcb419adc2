package attachment

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/gabriel-vasile/mimetype"
)

// HeadSize is how many of the first bytes are compared with signatures.
const HeadSize = 3072

// File is a file whose name passed.
type File struct {
	Name string // safe
	Kind *Kind
}

// Check judges the name that a client gave, and whether such a file may be a voice message.
func Check(name string, voice bool) (File, error) {
	name = SafeName(name)
	if name == "" {
		return File{}, ErrNoName
	}
	parts := extensions(name)
	for _, p := range slices.Backward(parts) {
		if slices.Contains(blocked, p) {
			return File{}, notAllowed(p)
		}
	}
	ext := parts[len(parts)-1]
	k := kindOf(ext)
	if k == nil || voice && !k.Voice {
		return File{}, notSupported(ext)
	}
	return File{name, k}, nil
}

// Inspector looks at the content of one file as it comes. It is used by one goroutine.
type Inspector struct {
	kind  *Kind
	limit int64
	size  int64
	head  []byte // until it was judged
	done  bool   // it was
	tail  [utf8.UTFMax]byte
	tailN int // bytes of a character that may be complete with the next ones
}

// NewInspector returns an inspector of a file of that kind with at most limit bytes.
func (f File) NewInspector(limit int64) *Inspector { return &Inspector{kind: f.Kind, limit: limit} }

// Size is how many bytes have come.
func (i *Inspector) Size() int64 { return i.size }

// Write takes the next bytes in, or says why the file is refused: an *Error.
func (i *Inspector) Write(p []byte) (int, error) {
	i.size += int64(len(p))
	if i.size > i.limit {
		return 0, ErrTooLarge
	}
	if !i.done {
		i.head = append(i.head, p[:min(len(p), HeadSize-len(i.head))]...)
		if len(i.head) == HeadSize {
			if err := i.judge(); err != nil {
				return 0, err
			}
		}
	}
	if i.kind.text && !i.characters(p) {
		return 0, ErrMismatch
	}
	return len(p), nil
}

// Close judges the file as a whole: it has come to its end.
func (i *Inspector) Close() error {
	switch {
	case i.size == 0:
		return ErrInvalidData
	case i.tailN > 0:
		return ErrMismatch
	case i.done:
		return nil
	}
	return i.judge()
}

func (i *Inspector) judge() error {
	head := i.head
	i.done, i.head = true, nil
	if i.kind.text {
		// Other content than text is not UTF-8 without NUL, but for the beginning of a few kinds.
		if slices.ContainsFunc(kinds, func(k Kind) bool { return !k.text && k.begins(head) }) {
			return ErrMismatch
		}
		return nil
	}
	if !i.kind.begins(head) || !i.kind.agrees(mimetype.Detect(head)) {
		return ErrMismatch
	}
	return nil
}

// agrees reports whether what the library says of the content does not speak against the kind. It sees the first bytes
// alone and need not know what is in an archive.
func (k *Kind) agrees(m *mimetype.MIME) bool {
	has := func(list []string) bool { return slices.ContainsFunc(list, m.Is) }
	if m.Is("application/octet-stream") || m.Is("text/plain") {
		return true
	}
	if (k.Type == typeDocx || k.Type == typeXlsx) && m.Is(typeZip) {
		return true
	}
	for ; m != nil; m = m.Parent() {
		if has(k.not) {
			return false
		}
		if has(k.is) {
			return true
		}
	}
	return false
}

// characters checks that the text goes on as UTF-8 without NUL.
func (i *Inspector) characters(p []byte) bool {
	if bytes.IndexByte(p, 0) >= 0 {
		return false
	}
	for i.tailN > 0 && len(p) > 0 {
		i.tail[i.tailN] = p[0]
		i.tailN++
		p = p[1:]
		if t := i.tail[:i.tailN]; utf8.FullRune(t) {
			if !utf8.Valid(t) {
				return false
			}
			i.tailN = 0
		}
	}
	n := len(p)
	for back := 1; back < utf8.UTFMax && back <= len(p); back++ {
		if utf8.RuneStart(p[len(p)-back]) {
			if !utf8.FullRune(p[len(p)-back:]) {
				n = len(p) - back
			}
			break
		}
	}
	if i.tailN == 0 {
		i.tailN = copy(i.tail[:], p[n:])
	}
	return utf8.Valid(p[:n])
}

// Reader passes content through an Inspector. Its error is that of the source, or an *Error in the place of io.EOF or
// before it: who reads to io.EOF has read a file that is allowed.
type Reader struct {
	r   io.Reader
	i   *Inspector
	err error
}

// NewReader returns a reader of r, which is a file of that kind with at most limit bytes.
func (f File) NewReader(r io.Reader, limit int64) *Reader {
	return &Reader{r: r, i: f.NewInspector(limit)}
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.r.Read(p)
	if n > 0 {
		if _, bad := r.i.Write(p[:n]); bad != nil {
			n, err = 0, bad
		}
	}
	if errors.Is(err, io.EOF) {
		if bad := r.i.Close(); bad != nil {
			n, err = 0, bad
		}
	}
	r.err = err
	return n, err
}
