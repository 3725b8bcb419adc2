package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/zumodra/hub/storage"
)

// ReadConfig is what Read does with an archive. Only Directories is needed.
type ReadConfig struct {
	// Directories that the archive may hold.
	Directories []string
	// Begin, if not nil, is called with the header before the first file; an error of it ends the reading.
	Begin func(Header) error
	// Create, if not nil, is called for every file and gets its bytes; Close comes after the last of them, before they
	// are compared with the manifest. Names are below one of the directories and cannot lead out of it.
	Create func(name string, size int64) (io.WriteCloser, error)
	// Progress, if not nil, is called with the number of bytes of files read, each some megabytes.
	Progress func(bytes int64)
}

// Read reads an archive from r to its end, checks all of it, and returns its manifest. It does not check that the rows
// are those of the state hash: the store must be opened for that. After an error, what Create was given must be thrown
// away. Errors: ErrDamaged, ErrVersion, those of ctx and of cfg's functions.
func Read(ctx context.Context, r io.Reader, cfg ReadConfig) (Manifest, error) {
	in := &reader{ctx: ctx, cfg: cfg, tar: tar.NewReader(r), at: "its beginning"}
	if err := in.header(); err != nil {
		return Manifest{}, err
	}
	for {
		h, err := in.next()
		if err != nil {
			return Manifest{}, err
		}
		if h.Name == ManifestName {
			m, err := in.manifest(h)
			if err == nil {
				err = in.end(r)
			}
			if err != nil {
				return Manifest{}, err
			}
			return m, nil
		}
		if err := in.file(h); err != nil {
			return Manifest{}, err
		}
	}
}

type reader struct {
	ctx   context.Context
	cfg   ReadConfig
	tar   *tar.Reader
	head  Header
	at    string // what was read last, for errors
	files map[string]File
	bytes int64
	buf   []byte
}

// next returns the next entry, a regular file.
func (r *reader) next() (*tar.Header, error) {
	if err := r.ctx.Err(); err != nil {
		return nil, err
	}
	h, err := r.tar.Next()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, damaged("it ends after %s, without %s: it is not complete", r.at, ManifestName)
	case errors.Is(err, tar.ErrHeader), errors.Is(err, tar.ErrFieldTooLong), errors.Is(err, tar.ErrInsecurePath):
		return nil, damaged("what follows %s is not an entry of an archive", r.at)
	case err != nil:
		return nil, fmt.Errorf("read the archive after %s: %w", r.at, err)
	}
	sparse := false
	for k := range h.PAXRecords {
		sparse = sparse || strings.HasPrefix(k, "GNU.sparse")
	}
	if h.Typeflag != tar.TypeReg || sparse || h.Linkname != "" {
		return nil, damaged("%.100q is not a plain file", h.Name)
	}
	if h.Size < 0 {
		return nil, damaged("%.100q has a size of %d", h.Name, h.Size)
	}
	return h, nil
}

// broken names the file in which the archive ended.
func (r *reader) broken(name string, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return damaged("it ends within %s: it is not complete", name)
	}
	return fmt.Errorf("read %s from the archive: %w", name, err)
}

func (r *reader) json(h *tar.Header, limit int64, v any) error {
	if h.Size > limit {
		return damaged("%s has %d bytes, more than %d", h.Name, h.Size, limit)
	}
	b, err := io.ReadAll(r.tar) // grows with what is there, whatever the size says
	if err != nil {
		return r.broken(h.Name, err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return damaged("%s: %v", h.Name, err)
	}
	return nil
}

func (r *reader) header() error {
	h, err := r.next()
	if err != nil {
		return err
	}
	if h.Name != HeaderName {
		return damaged("it does not begin with %s: it is not a backup of the hub", HeaderName)
	}
	if err := r.json(h, maxHeader, &r.head); err != nil {
		return err
	}
	if err := r.head.check(r.cfg.Directories); err != nil {
		return err
	}
	r.at, r.files = HeaderName, make(map[string]File, min(r.head.Files, 1<<16))
	if r.cfg.Begin != nil {
		return r.cfg.Begin(r.head)
	}
	return nil
}

func (r *reader) file(h *tar.Header) (err error) {
	if err := r.head.checkName(h.Name); err != nil {
		return err
	}
	if _, twice := r.files[h.Name]; twice {
		return damaged("%s is in it twice", h.Name)
	}
	if len(r.files) == r.head.Files || h.Size > r.head.Bytes-r.bytes {
		return damaged("with %s it holds more than %s announced", h.Name, HeaderName)
	}
	out := io.WriteCloser(discard{})
	if r.cfg.Create != nil {
		if out, err = r.cfg.Create(h.Name, h.Size); err != nil {
			return fmt.Errorf("create %s: %w", h.Name, err)
		}
	}
	defer func() {
		if cerr := out.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("close %s: %w", h.Name, cerr)
		}
	}()
	if r.buf == nil {
		r.buf = make([]byte, 1<<20)
	}
	sum := sha256.New()
	for left := h.Size; left > 0; {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		b := r.buf[:min(left, int64(len(r.buf)))]
		if _, err := io.ReadFull(r.tar, b); err != nil {
			return r.broken(h.Name, err)
		}
		sum.Write(b)
		if _, err := out.Write(b); err != nil {
			return fmt.Errorf("write %s: %w", h.Name, err)
		}
		left -= int64(len(b))
		if r.bytes += int64(len(b)); r.cfg.Progress != nil {
			r.cfg.Progress(r.bytes)
		}
	}
	f := File{Name: h.Name, Size: h.Size}
	sum.Sum(f.SHA256[:0])
	r.files[h.Name], r.at = f, h.Name
	return nil
}

func (r *reader) manifest(h *tar.Header) (m Manifest, err error) {
	if err := r.json(h, maxManifest, &m); err != nil {
		return m, err
	}
	if !sameHeader(m.Header, r.head) {
		return m, damaged("%s and %s contradict one another", HeaderName, ManifestName)
	}
	left := len(r.files)
	for i := range m.Files {
		want := &m.Files[i]
		got, there := r.files[want.Name]
		switch {
		case !there:
			return m, damaged("%.100q is missing, or named twice in %s", want.Name, ManifestName)
		case got.Size != want.Size:
			return m, damaged("%s has %d bytes, not %d", want.Name, got.Size, want.Size)
		case got.SHA256 != want.SHA256:
			return m, damaged("%s has the SHA-256 %s, not %s", want.Name, got.SHA256, want.SHA256)
		}
		delete(r.files, want.Name)
		left--
	}
	if left > 0 {
		for name := range r.files {
			return m, damaged("%s is not in %s", name, ManifestName)
		}
	}
	if len(m.Files) != m.Header.Files || r.bytes != m.Bytes {
		return m, damaged("%d files of %d bytes, not %d of %d", len(m.Files), r.bytes, m.Header.Files, m.Bytes)
	}
	if rows := rowsOf(m.State); rows != m.State.Rows {
		return m, damaged("%s: the state has %d rows, its tables %d", ManifestName, m.State.Rows, rows)
	}
	return m, nil
}

// end reads what is left, which must be nothing, or the zeros that tape programs append.
func (r *reader) end(rest io.Reader) error {
	if _, err := r.tar.Next(); !errors.Is(err, io.EOF) {
		return damaged("something follows %s", ManifestName)
	}
	for b := make([]byte, 4096); ; {
		n, err := rest.Read(b)
		for _, c := range b[:n] {
			if c != 0 {
				return damaged("something follows its end")
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the archive after its end: %w", err)
		}
	}
}

func rowsOf(s storage.State) (rows uint64) {
	for _, t := range s.Tables {
		rows += t.Rows
	}
	return rows
}

func sameHeader(a, b Header) bool {
	if len(a.Directories) != len(b.Directories) {
		return false
	}
	for i := range a.Directories {
		if a.Directories[i] != b.Directories[i] {
			return false
		}
	}
	return a.Format == b.Format && a.Hub == b.Hub && a.Schema == b.Schema && a.Created.Equal(b.Created) && a.Files == b.Files && a.Bytes == b.Bytes
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }
