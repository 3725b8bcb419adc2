package measure

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// File is the name of a run's JSON in its directory.
const File = "run.json"

// maxFile of a run's JSON in bytes: a week of seconds is smaller.
const maxFile = 1 << 30

// Write a run into a directory, which is made if it is not there. The file is there whole or not at all.
func Write(dir string, r *Run) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("writing a run: %w", err)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("writing a run: %w", err)
	}
	f, err := os.CreateTemp(dir, File+".*")
	if err != nil {
		return fmt.Errorf("writing a run: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	if e := f.Chmod(0o644); err == nil {
		err = e
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, File))
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("writing a run: %w", err)
	}
	return nil
}

// Read a run from its file, or from the directory that has it. A file of another Schema is refused.
func Read(path string) (*Run, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, File)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading a run: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fmt.Errorf("reading a run: %w", err)
	}
	var version struct {
		Schema *int `json:"schema"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return nil, fmt.Errorf("reading a run: %s: %w", path, err)
	}
	switch {
	case version.Schema == nil:
		return nil, fmt.Errorf("reading a run: %s is no run of hubbench: it has no schema", path)
	case *version.Schema != Schema:
		return nil, fmt.Errorf("reading a run: %s has schema %d: this hubbench reads %d", path, *version.Schema, Schema)
	}
	r := &Run{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("reading a run: %s: %w", path, err)
	}
	return r, nil
}
