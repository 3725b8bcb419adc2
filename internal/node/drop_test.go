package node_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/zumodra/hub/storage/scylla/scyllatest"
)

// drop runs another node on what is on the disk at this moment, as if the machine had stopped now. What the old
// node writes from now on is lost with it.
func (h *hub) drop() {
	h.t.Helper()
	image := h.t.TempDir()
	if scyllatest.Chosen() {
		h.cfg.CQLKeyspace = scyllatest.Copy(h.t, h.cfg.CQLKeyspace) // the running node has a configuration of its own
	}
	for !h.copyTo(image) {
		image = h.t.TempDir()
	}
	h.stop()
	h.cfg.Data = image
	h.run()
}

// copyTo copies the data directory while the node writes; false: a file came or went meanwhile, which another one that was
// copied before or after that may name.
func (h *hub) copyTo(image string) bool {
	h.t.Helper()
	names := h.walk(func(string, bool) error { return nil })
	return names == h.walk(func(name string, dir bool) error {
		from, to := filepath.Join(h.cfg.Data, name), filepath.Join(image, name)
		if dir {
			return os.MkdirAll(to, 0o700)
		}
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o600)
	}) && names == h.walk(func(string, bool) error { return nil })
}

// walk visits what is in the data directory, and answers the names; what is gone when its turn comes is passed over.
func (h *hub) walk(visit func(name string, dir bool) error) (names string) {
	h.t.Helper()
	err := filepath.WalkDir(h.cfg.Data, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			var name string
			if name, err = filepath.Rel(h.cfg.Data, path); err == nil {
				names += name + "\n"
				err = visit(name, d.IsDir())
			}
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return names
}
