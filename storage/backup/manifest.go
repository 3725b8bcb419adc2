package backup

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/zumodra/hub/storage"
)

// Format is the version of the archive's layout. A program reads its own and none that is newer.
const Format = 1

// Names of the entries that are not files of a directory.
const (
	HeaderName   = "hub-backup.json"
	ManifestName = "manifest.json"
)

// Bounds on what Read takes in.
const (
	maxHeader   = 64 << 10
	maxManifest = 1 << 30
	maxFiles    = 4 << 20
	maxName     = 512
)

var (
	// ErrDamaged marks an archive that is torn, changed or not one of ours. The text names the file.
	ErrDamaged = errors.New("the archive is damaged")
	// ErrVersion marks an archive that a newer program wrote.
	ErrVersion = errors.New("the archive is of a newer version")
)

// Header is the first entry of an archive.
type Header struct {
	Format int    `json:"format"`
	Hub    string `json:"hub"`    // version of the program that wrote it
	Schema int    `json:"schema"` // storage.SchemaVersion of the store
	// Created is the moment of the backup. Rows whose time was over then are not in the state hash.
	Created time.Time `json:"created"`
	// Files and Bytes are how many there are in Directories.
	Files       int         `json:"files"`
	Bytes       int64       `json:"bytes"`
	Directories []Directory `json:"directories"`
}

// Directory of a data directory that is in the archive.
type Directory struct {
	Name  string `json:"name"`
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`
}

// File of an archive.
type File struct {
	Name   string       `json:"name"` // with its directory, slashes between
	Size   int64        `json:"size"`
	SHA256 storage.Hash `json:"sha256"`
}

// Manifest is the last entry of an archive.
type Manifest struct {
	Header
	State storage.State `json:"state"`
	Files []File        `json:"file_list"`
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// check refuses a header that this program cannot or must not use.
func (h *Header) check(directories []string) error {
	switch {
	case h.Format < 1:
		return damaged("%s says format %d", HeaderName, h.Format)
	case h.Format > Format:
		return fmt.Errorf("%w: format %d, this program reads up to %d; use the hub %q that wrote it, or a newer one", ErrVersion,
			h.Format, Format, h.Hub)
	case h.Schema > storage.SchemaVersion:
		return fmt.Errorf("%w: its store has schema %d, this program knows up to %d; use the hub %q that wrote it, or a newer one",
			ErrVersion, h.Schema, storage.SchemaVersion, h.Hub)
	case h.Schema < storage.OldestSchema:
		return damaged("%s says schema %d", HeaderName, h.Schema)
	case h.Created.IsZero() || h.Created.Year() > 9999:
		return damaged("%s has no time", HeaderName)
	}
	files, bytes := 0, int64(0)
	seen := make(map[string]bool)
	for _, d := range h.Directories {
		known := false
		for _, k := range directories {
			known = known || d.Name == k
		}
		if !known {
			return fmt.Errorf("%w: it holds a directory %q, this program knows %s", ErrVersion, d.Name, strings.Join(directories, ", "))
		}
		if seen[d.Name] || d.Files < 0 || d.Files > maxFiles || d.Bytes < 0 || bytes+d.Bytes < bytes {
			return damaged("%s has wrong numbers for %s", HeaderName, d.Name)
		}
		seen[d.Name] = true
		files, bytes = files+d.Files, bytes+d.Bytes
	}
	if files != h.Files || bytes != h.Bytes || files > maxFiles {
		return damaged("%s has wrong totals", HeaderName)
	}
	return nil
}

// checkName refuses names that are not those of files below one of the directories: what is left has no way out.
func (h *Header) checkName(name string) error {
	if len(name) > maxName || path.Clean(name) != name {
		return damaged("%.100q is not a name of a file in it", name)
	}
	parts := strings.Split(name, "/")
	for _, p := range parts {
		if !plainName(p) {
			return damaged("%.100q is not a name of a file in it", name)
		}
	}
	for _, d := range h.Directories {
		if len(parts) > 1 && parts[0] == d.Name {
			return nil
		}
	}
	return damaged("%.100q is in no directory of it", name)
}

// plainName: letters, digits, dot, dash and underscore, not at first a dot.
func plainName(s string) bool {
	if s == "" || s[0] == '.' || len(s) > 200 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}
