package backup_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/backup"
)

var (
	known   = []string{"store", "blobs"}
	created = time.Date(2026, 3, 4, 5, 6, 7, 8000, time.UTC)
	state   = storage.State{Rows: 3, Hash: storage.Hash{1}, Tables: []storage.TableState{{Name: "log", Rows: 3, Hash: storage.Hash{2}}}}
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sources are two directories: one of the store's names, one with folders.
func sources(t testing.TB) []backup.Source {
	t.Helper()
	store, blobs := t.TempDir(), t.TempDir()
	for name, content := range map[string][]byte{
		"MANIFEST-000001": []byte("manifest"), "000002.log": bytes.Repeat([]byte("log"), 1000), "marker.format.000001.024": nil,
		"000004.sst": bytes.Repeat([]byte{7}, 3<<19), "LOCK": []byte("never"),
	} {
		must(t, os.WriteFile(filepath.Join(store, name), content, 0o600))
	}
	for _, name := range []string{"ab/cd/abcd01", "ab/ef/abef02", "tmp/half"} {
		must(t, os.MkdirAll(filepath.Join(blobs, filepath.Dir(name)), 0o700))
		must(t, os.WriteFile(filepath.Join(blobs, name), []byte("blob "+name), 0o600))
	}
	return []backup.Source{
		{Name: "store", Dir: store, Skip: func(n string) bool { return n == "LOCK" }},
		{Name: "blobs", Dir: blobs, Skip: func(n string) bool { return n == "tmp" }},
	}
}

func hashed(context.Context) (storage.State, error) { return state, nil }

func archive(t testing.TB) ([]byte, backup.Manifest) {
	t.Helper()
	var b bytes.Buffer
	m, err := backup.Write(t.Context(), &b, backup.Header{Hub: "v1", Schema: storage.SchemaVersion, Created: created}, hashed, nil, sources(t)...)
	must(t, err)
	return b.Bytes(), m
}

type memoryFile struct {
	bytes.Buffer
	closed bool
}

func (f *memoryFile) Close() error {
	f.closed = true
	return nil
}

func read(b []byte) (backup.Manifest, map[string]*memoryFile, error) {
	files := make(map[string]*memoryFile)
	m, err := backup.Read(context.Background(), bytes.NewReader(b), backup.ReadConfig{Directories: known,
		Create: func(name string, _ int64) (io.WriteCloser, error) {
			files[name] = new(memoryFile)
			return files[name], nil
		}})
	return m, files, err
}

func TestRoundTrip(t *testing.T) {
	b, wrote := archive(t)
	m, files, err := read(b)
	must(t, err)
	if fmt.Sprint(m) != fmt.Sprint(wrote) || m.Hub != "v1" || !m.Created.Equal(created) || m.State.Hash != state.Hash || m.Format != backup.Format {
		t.Errorf("%+v\n%+v", m, wrote)
	}
	var names []string
	for name, f := range files {
		names = append(names, name)
		if !f.closed {
			t.Error("not closed:", name)
		}
	}
	slices.Sort(names)
	if got, want := strings.Join(names, " "), "blobs/ab/cd/abcd01 blobs/ab/ef/abef02 store/000002.log store/000004.sst store/MANIFEST-000001 store/marker.format.000001.024"; got != want {
		t.Error(got)
	}
	if got := files["blobs/ab/ef/abef02"].String(); got != "blob ab/ef/abef02" {
		t.Error(got)
	}
	if files["store/000004.sst"].Len() != 3<<19 {
		t.Error(files["store/000004.sst"].Len())
	}
	if _, _, err := read(append(slices.Clone(b), make([]byte, 10_240)...)); err != nil {
		t.Error("with the zeros of a tape:", err)
	}
	if _, _, err := read(append(slices.Clone(b), 0, 1)); !errors.Is(err, backup.ErrDamaged) {
		t.Error("with something behind the end:", err)
	}
}

// Any tar can unpack an archive, and sha256sum check it by the manifest.
func TestAnyTarReadsIt(t *testing.T) {
	b, m := archive(t)
	r := tar.NewReader(bytes.NewReader(b))
	var names []string
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		if h.Typeflag != tar.TypeReg || h.Mode != 0o600 || !h.ModTime.Equal(created) {
			t.Errorf("%+v", h)
		}
		names = append(names, h.Name)
	}
	if names[0] != backup.HeaderName || names[len(names)-1] != backup.ManifestName || len(names) != len(m.Files)+2 {
		t.Error(names)
	}
}

// A byte changed in a file is found and the file named; cut off anywhere, an archive is refused.
func TestDamage(t *testing.T) {
	b, m := archive(t)
	for _, f := range m.Files {
		if f.Size == 0 {
			continue
		}
		bad := slices.Clone(b)
		at := offset(t, b, f.Name) + int(f.Size)/2
		bad[at] ^= 1
		if _, _, err := read(bad); !errors.Is(err, backup.ErrDamaged) || !strings.Contains(err.Error(), f.Name) {
			t.Errorf("%s changed: %v", f.Name, err)
		}
		if _, _, err := read(b[:at]); !errors.Is(err, backup.ErrDamaged) || !strings.Contains(err.Error(), f.Name) {
			t.Errorf("cut within %s: %v", f.Name, err)
		}
	}
	for _, name := range []string{backup.HeaderName, backup.ManifestName} {
		bad := slices.Clone(b)
		bad[offset(t, b, name)+3] ^= 1
		if _, _, err := read(bad); !errors.Is(err, backup.ErrDamaged) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s changed: %v", name, err)
		}
	}
	for cut := 0; cut < len(b)-1024; cut += 1 + len(b)/100 {
		if _, _, err := read(b[:cut]); !errors.Is(err, backup.ErrDamaged) {
			t.Fatalf("cut at %d of %d: %v", cut, len(b), err)
		}
	}
}

// offset is where the content of an entry begins.
func offset(t *testing.T, b []byte, name string) int {
	t.Helper()
	in := bytes.NewReader(b)
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		must(t, err)
		if h.Name == name {
			return len(b) - in.Len()
		}
	}
}

func hostile(t *testing.T, header backup.Header, list ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, content []byte) {
		if h.Size == 0 {
			h.Size = int64(len(content))
		}
		must(t, w.WriteHeader(&h))
		_, err := w.Write(content)
		must(t, err)
	}
	head, err := json.Marshal(header)
	must(t, err)
	add(tar.Header{Name: backup.HeaderName, Mode: 0o600}, head)
	for _, e := range list {
		switch e := e.(type) {
		case string:
			add(tar.Header{Name: e, Mode: 0o600}, []byte("x"))
		case tar.Header:
			add(e, nil)
		}
	}
	m, err := json.Marshal(backup.Manifest{Header: header})
	must(t, err)
	add(tar.Header{Name: backup.ManifestName, Mode: 0o600}, m)
	must(t, w.Close())
	return b.Bytes()
}

func TestHostile(t *testing.T) {
	good := backup.Header{Format: 1, Hub: "x", Schema: storage.SchemaVersion, Created: created, Files: 2, Bytes: 2,
		Directories: []backup.Directory{{Name: "store", Files: 2, Bytes: 2}}}
	with := func(change func(h *backup.Header)) backup.Header {
		h := good
		h.Directories = slices.Clone(h.Directories)
		change(&h)
		return h
	}
	for name, c := range map[string]struct {
		archive []byte
		want    error
		say     string
	}{
		"absolute":         {hostile(t, good, "/etc/passwd"), backup.ErrDamaged, "/etc/passwd"},
		"parent":           {hostile(t, good, "store/../../x"), backup.ErrDamaged, "store/../../x"},
		"leading parent":   {hostile(t, good, "../store/x"), backup.ErrDamaged, "../store/x"},
		"backslash":        {hostile(t, good, `store\..\x`), backup.ErrDamaged, "not a name"},
		"not clean":        {hostile(t, good, "store//x"), backup.ErrDamaged, "not a name"},
		"hidden":           {hostile(t, good, "store/.ssh"), backup.ErrDamaged, "not a name"},
		"no directory":     {hostile(t, good, "auth-secret"), backup.ErrDamaged, "auth-secret"},
		"other directory":  {hostile(t, good, "search/x"), backup.ErrDamaged, "search/x"},
		"directory itself": {hostile(t, good, tar.Header{Name: "store/x/", Typeflag: tar.TypeDir, Mode: 0o700}), backup.ErrDamaged, "plain file"},
		"symlink":          {hostile(t, good, tar.Header{Name: "store/x", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}), backup.ErrDamaged, "plain file"},
		"hard link":        {hostile(t, good, tar.Header{Name: "store/x", Typeflag: tar.TypeLink, Linkname: "store/y"}), backup.ErrDamaged, "plain file"},
		"device":           {hostile(t, good, tar.Header{Name: "store/x", Typeflag: tar.TypeChar}), backup.ErrDamaged, "plain file"},
		"fifo":             {hostile(t, good, tar.Header{Name: "store/x", Typeflag: tar.TypeFifo}), backup.ErrDamaged, "plain file"},
		"twice":            {hostile(t, good, "store/x", "store/x"), backup.ErrDamaged, "twice"},
		"too many":         {hostile(t, good, "store/x", "store/y", "store/z"), backup.ErrDamaged, "store/z"},
		"too few":          {hostile(t, good, "store/x"), backup.ErrDamaged, "not in manifest"},
		"too long":         {hostile(t, good, "store/"+strings.Repeat("x", 600)), backup.ErrDamaged, "not a name"},
		"totals":           {hostile(t, with(func(h *backup.Header) { h.Bytes = 1 }), "store/x"), backup.ErrDamaged, "totals"},
		"negative": {hostile(t, with(func(h *backup.Header) { h.Directories[0].Bytes, h.Bytes = -1, -1 }), "store/x"), backup.ErrDamaged,
			"numbers"},
		"many bytes":   {hostile(t, with(func(h *backup.Header) { h.Directories[0].Bytes, h.Bytes = 1, 1 }), "store/x", "store/y"), backup.ErrDamaged, "store/y"},
		"future":       {hostile(t, with(func(h *backup.Header) { h.Format = 2 }), "store/x"), backup.ErrVersion, "format 2"},
		"schema":       {hostile(t, with(func(h *backup.Header) { h.Schema = 99 }), "store/x"), backup.ErrVersion, "schema 99"},
		"unknown part": {hostile(t, with(func(h *backup.Header) { h.Directories[0].Name = "plugins" })), backup.ErrVersion, "plugins"},
		"no time":      {hostile(t, with(func(h *backup.Header) { h.Created = time.Time{} })), backup.ErrDamaged, "time"},
		"zip":          {[]byte("PK\x03\x04" + strings.Repeat("zip ", 500)), backup.ErrDamaged, "not an entry"},
		"empty":        {nil, backup.ErrDamaged, "not complete"},
		"another tar":  {anotherTar(t), backup.ErrDamaged, "not a backup of the hub"},
	} {
		m, files, err := read(c.archive)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v", name, err)
		}
		if m.Files != nil || len(files) > 3 {
			t.Errorf("%s: %+v, %d files", name, m, len(files))
		}
	}
}

func anotherTar(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must(t, w.WriteHeader(&tar.Header{Name: "etc/passwd", Mode: 0o600}))
	must(t, w.Close())
	return b.Bytes()
}

func TestWriteFails(t *testing.T) {
	header := backup.Header{Hub: "v1", Schema: storage.SchemaVersion, Created: created}
	torn := func(name string, b []byte) {
		t.Helper()
		if _, _, err := read(b); !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("%s left an archive that is read: %v", name, err)
		}
	}
	broken := errors.New("broken")
	t.Run("hash", func(t *testing.T) {
		var b bytes.Buffer
		if _, err := backup.Write(t.Context(), &b, header, func(context.Context) (storage.State, error) { return state, broken }, nil, sources(t)...); !errors.Is(err, broken) {
			t.Error(err)
		}
		torn("hash", b.Bytes())
	})
	t.Run("told to stop", func(t *testing.T) {
		var b bytes.Buffer
		asked := 0
		_, err := backup.Write(t.Context(), &b, header, hashed, func() error {
			if asked++; asked > 4 {
				return broken
			}
			return nil
		}, sources(t)...)
		if !errors.Is(err, broken) {
			t.Error(err)
		}
		torn("stop", b.Bytes())
	})
	t.Run("reader gone", func(t *testing.T) {
		r, w := io.Pipe()
		must(t, r.CloseWithError(broken))
		if _, err := backup.Write(t.Context(), w, header, func(ctx context.Context) (storage.State, error) {
			<-ctx.Done() // ended with the archive
			return state, ctx.Err()
		}, nil, sources(t)...); !errors.Is(err, broken) {
			t.Error(err)
		}
	})
	t.Run("context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var b bytes.Buffer
		if _, err := backup.Write(ctx, &b, header, hashed, nil, sources(t)...); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		torn("context", b.Bytes())
	})
	t.Run("what does not belong", func(t *testing.T) {
		list := sources(t)
		must(t, os.Symlink("/etc/passwd", filepath.Join(list[0].Dir, "000009.sst")))
		var b bytes.Buffer
		if _, err := backup.Write(t.Context(), &b, header, hashed, nil, list...); err == nil || !strings.Contains(err.Error(), "000009.sst") {
			t.Error(err)
		}
		must(t, os.Remove(filepath.Join(list[0].Dir, "000009.sst")))
		must(t, os.WriteFile(filepath.Join(list[0].Dir, "what is this"), nil, 0o600))
		if _, err := backup.Write(t.Context(), &b, header, hashed, nil, list...); err == nil || !strings.Contains(err.Error(), "what is this") {
			t.Error(err)
		}
		if b.Len() > 0 {
			t.Error("something was written")
		}
	})
}

func FuzzRead(f *testing.F) {
	b, _ := archive(f)
	small := new(bytes.Buffer)
	dir := f.TempDir()
	must(f, os.WriteFile(filepath.Join(dir, "000001.log"), []byte("log"), 0o600))
	_, err := backup.Write(context.Background(), small, backup.Header{Hub: "v1", Schema: storage.SchemaVersion, Created: created}, hashed, nil,
		backup.Source{Name: "store", Dir: dir})
	must(f, err)
	f.Add(small.Bytes())
	f.Add(b[:6000])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, files, err := read(b)
		for name := range files {
			if !filepath.IsLocal(name) || strings.Contains(name, "..") || !strings.HasPrefix(name, "store/") && !strings.HasPrefix(name, "blobs/") {
				t.Fatalf("a file named %q came out", name)
			}
		}
		if err != nil {
			if !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, backup.ErrVersion) {
				t.Fatalf("an error that says nothing of the archive: %v", err)
			}
			return
		}
		total := int64(0)
		for _, file := range m.Files {
			got := files[file.Name]
			if got == nil || int64(got.Len()) != file.Size {
				t.Fatalf("%s is not what came out", file.Name)
			}
			total += file.Size
		}
		if len(files) != len(m.Files) || total != m.Bytes {
			t.Fatalf("%d files of %d bytes, manifest says %+v", len(files), total, m.Header)
		}
	})
}
