package backup

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/zumodra/hub/storage"
)

// Source is a directory to be put into an archive. Its files must not change while Write runs; those that Skip wants
// left out may.
type Source struct {
	Name string // in the archive
	Dir  string // where it is
	Skip func(name string) bool
}

// found is a file of a source.
type found struct {
	name, path string
	size       int64
}

// Write writes an archive of the sources to w. Of header, Hub, Schema and Created are the caller's. state is called once,
// in a goroutine of its own while the files are read, and answers the state hash of the store among the sources. Each
// time some megabytes were read, goOn is asked (nil: never); an error of it ends the archive. After an error what was
// written is torn and Read says so.
func Write(ctx context.Context, w io.Writer, header Header, state func(context.Context) (storage.State, error), goOn func() error,
	sources ...Source) (Manifest, error) {
	m := Manifest{Header: header}
	m.Format, m.Header.Files, m.Bytes, m.Directories = Format, 0, 0, nil
	m.Created = m.Created.UTC()
	var files []found
	for _, s := range sources {
		list, err := s.list()
		if err != nil {
			return m, fmt.Errorf("list %s: %w", s.Name, err)
		}
		d := Directory{Name: s.Name, Files: len(list)}
		for _, f := range list {
			d.Bytes += f.size
		}
		m.Directories = append(m.Directories, d)
		m.Header.Files, m.Bytes = m.Header.Files+d.Files, m.Bytes+d.Bytes
		files = append(files, list...)
	}
	if len(files) > maxFiles {
		return m, fmt.Errorf("%d files are too many for an archive, which takes %d: copy the blobs, which never change, by other means",
			len(files), maxFiles)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		state storage.State
		err   error
	}
	hashed := make(chan answer, 1)
	go func() {
		s, err := state(ctx)
		hashed <- answer{s, err}
	}()
	a := &writer{ctx: ctx, goOn: goOn, tar: tar.NewWriter(w), m: &m}
	err := a.entry(HeaderName, m.Header)
	for i := 0; i < len(files) && err == nil; i++ {
		err = a.file(files[i])
	}
	if err != nil {
		cancel()
	}
	h := <-hashed
	if err == nil && h.err != nil {
		err = fmt.Errorf("state hash: %w", h.err)
	}
	if err == nil {
		m.State = h.state
		err = a.entry(ManifestName, &m)
	}
	if err == nil {
		err = a.tar.Close()
	}
	return m, err
}

// list returns the files of a source, by name.
func (s *Source) list() (list []found, err error) {
	err = filepath.WalkDir(s.Dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(s.Dir, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if rel != "." && s.Skip != nil && s.Skip(rel) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not a regular file", p)
		}
		f := found{name: path.Join(s.Name, rel), path: p, size: info.Size()}
		one := Header{Directories: []Directory{{Name: s.Name}}}
		if one.checkName(f.name) != nil {
			return fmt.Errorf("%s: a file of that name does not belong here", p)
		}
		list = append(list, f)
		return nil
	})
	slices.SortFunc(list, func(a, b found) int { return cmp.Compare(a.name, b.name) })
	return list, err
}

type writer struct {
	ctx  context.Context
	goOn func() error
	tar  *tar.Writer
	m    *Manifest
	buf  []byte
}

func (a *writer) header(name string, size int64) error {
	if err := a.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: size, ModTime: a.m.Created, Format: tar.FormatPAX}); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func (a *writer) entry(name string, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := a.header(name, int64(b.Len())); err != nil {
		return err
	}
	if _, err := a.tar.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// file copies one file and notes its hash. It writes as many bytes as were announced or fails.
func (a *writer) file(from found) error {
	f, err := os.Open(from.path)
	if err != nil {
		return fmt.Errorf("read %s: %w", from.name, err)
	}
	defer f.Close()
	if err := a.header(from.name, from.size); err != nil {
		return err
	}
	if a.buf == nil {
		a.buf = make([]byte, 1<<20)
	}
	sum := sha256.New()
	for left := from.size; left > 0; {
		if err := a.ctx.Err(); err != nil {
			return err
		}
		if a.goOn != nil {
			if err := a.goOn(); err != nil {
				return err
			}
		}
		b := a.buf[:min(left, int64(len(a.buf)))]
		if _, err := io.ReadFull(f, b); err != nil {
			return fmt.Errorf("read %s: %w", from.name, err)
		}
		sum.Write(b)
		if _, err := a.tar.Write(b); err != nil {
			return fmt.Errorf("write %s: %w", from.name, err)
		}
		left -= int64(len(b))
	}
	entry := File{Name: from.name, Size: from.size}
	sum.Sum(entry.SHA256[:0])
	a.m.Files = append(a.m.Files, entry)
	return nil
}
