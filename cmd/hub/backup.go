package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/zumodra/hub/internal/backups"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/backup"
)

// Flags marked explicit come from the command line alone: what serve takes from its environment or file must not choose
// what is backed up, or where to.
type backupCmd struct {
	Out    string `env:"-" explicit:"" placeholder:"FILE" help:"File to make, which must not be there; - for standard output."`
	Admin  string `env:"-" explicit:"" placeholder:"URL" help:"Admin address of the running server; default http://127.0.0.1:9090."`
	Data   string `env:"-" explicit:"" placeholder:"DIR" help:"Data directory of a server that is not running, instead of --admin."`
	Verify string `env:"-" explicit:"" placeholder:"FILE" help:"Make nothing; read this backup and check every file of it. - for standard input."`
	Quiet  bool   `env:"-" explicit:"" help:"Say nothing but errors."`
}

// Validate refuses flags that do not go together.
func (c *backupCmd) Validate() error {
	switch {
	case c.Verify != "" && c.Out+c.Admin+c.Data != "":
		return errors.New("--verify checks a backup that is there; it goes with none of --out, --admin and --data")
	case c.Verify == "" && c.Out == "":
		return errors.New("--out FILE is needed, or --verify FILE to check a backup")
	case c.Admin != "" && c.Data != "":
		return errors.New("--admin is for a running server, --data for a stopped one; give one of them")
	}
	return nil
}

// Run makes or checks a backup. What it makes was checked when it is there under its name.
func (c *backupCmd) Run(s *streams) error {
	say := newTeller(s.err, c.Quiet)
	if c.Verify != "" {
		return c.verify(s, say)
	}
	if c.Out == "-" {
		out := bufio.NewWriterSize(s.out, 1<<20)
		m, err := c.make(s.ctx, out, say)
		if err == nil {
			err = out.Flush()
		}
		if err != nil {
			return fmt.Errorf("backup: %w", err)
		}
		say.made("standard output", &m)
		return nil
	}
	return c.file(s, say)
}

// make writes an archive that was checked while it was written.
func (c *backupCmd) make(ctx context.Context, w io.Writer, say *teller) (backup.Manifest, error) {
	if c.Data != "" {
		return backups.Stopped(ctx, c.Data, version, w, say.progress)
	}
	url := c.Admin
	if url == "" {
		url = "http://127.0.0.1:9090"
	}
	return backups.Download(ctx, url, w, say.progress)
}

// file makes the backup under another name and gives it its own when it is whole and on disk.
func (c *backupCmd) file(s *streams, say *teller) (err error) {
	if _, err := os.Lstat(c.Out); err == nil {
		return fmt.Errorf("%s is there already; name another file, or move it away", c.Out)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(c.Out), "."+filepath.Base(c.Out)+".partial-*") // mode 0600: it holds every message
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	out := bufio.NewWriterSize(f, 1<<20)
	m, err := c.make(s.ctx, out, say)
	if err == nil {
		err = out.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil && c.Data != "" {
		// A download is checked as it comes; this was only written.
		if _, err = f.Seek(0, io.SeekStart); err == nil {
			_, err = backups.Check(s.ctx, bufio.NewReaderSize(f, 1<<20), nil)
		}
	}
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if err := os.Link(f.Name(), c.Out); err != nil { // not over a file that came meanwhile
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s is there now; it was not when the backup began", c.Out)
		}
		if err := os.Rename(f.Name(), c.Out); err != nil { // no hard links here
			return err
		}
	} else if err := os.Remove(f.Name()); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(c.Out))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("backup: sync the directory of %s: %w", c.Out, err)
	}
	say.made(c.Out, &m)
	return nil
}

func (c *backupCmd) verify(s *streams, say *teller) error {
	in, name, err := openInput(s, c.Verify)
	if err != nil {
		return err
	}
	defer in.Close()
	m, err := backups.Check(s.ctx, bufio.NewReaderSize(in, 1<<20), say.progress)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Fprintf(s.out, "%s is whole: made %s by hub %s, %d files, %s, schema %d\n", name, m.Created.Format(time.RFC3339Nano), m.Hub,
		m.Header.Files, size(m.Bytes), m.Schema)
	printState(s.out, m.State)
	return nil
}

type restoreCmd struct {
	In     string `env:"-" explicit:"" required:"" placeholder:"FILE" help:"Backup to restore; - for standard input."`
	Data   string `env:"-" explicit:"" required:"" placeholder:"DIR" help:"Data directory to make: not there yet, or empty."`
	Verify bool   `env:"-" explicit:"" help:"Check all rules of the rows too, as hub verify does, before the directory is put in place."`
	Quiet  bool   `env:"-" explicit:"" help:"Say nothing but errors."`
}

// Run makes a data directory whose rows are those of the backup, or none.
func (c *restoreCmd) Run(s *streams) error {
	say := newTeller(s.err, c.Quiet)
	in, name, err := openInput(s, c.In)
	if err != nil {
		return err
	}
	defer in.Close()
	cfg := backups.RestoreConfig{Data: c.Data, Progress: say.progress, Phase: say.phase}
	if c.Verify {
		cfg.Verify = func(p storage.Problem) { fmt.Fprintln(s.out, p) }
	}
	m, err := backups.Restore(s.ctx, bufio.NewReaderSize(in, 1<<20), cfg)
	if err != nil {
		return fmt.Errorf("restore %s: %w", name, err)
	}
	if !say.quiet {
		fmt.Fprintf(s.err, "restored %s of %s to %s: %d rows, state hash verified: %s\n", name, m.Created.Format(time.RFC3339), c.Data,
			m.State.Rows, m.State.Hash)
	}
	return nil
}

func openInput(s *streams, file string) (in io.ReadCloser, name string, err error) {
	if file == "-" {
		return io.NopCloser(s.in), "standard input", nil
	}
	f, err := os.Open(file)
	return f, file, err
}

func printState(w io.Writer, state storage.State) {
	for _, t := range state.Tables {
		fmt.Fprintf(w, "%-16s %12d rows  %s\n", t.Name, t.Rows, t.Hash)
	}
	fmt.Fprintf(w, "state hash %s, %d rows\n", state.Hash, state.Rows)
}

// teller says every few seconds how far something is.
type teller struct {
	w     io.Writer
	quiet bool
	what  string
	last  time.Time
}

const tellEvery = 5 * time.Second

func newTeller(w io.Writer, quiet bool) *teller { return &teller{w: w, quiet: quiet, last: time.Now()} }

func (t *teller) phase(what string) { t.what = what + ": " }

func (t *teller) progress(done, all int64) {
	if t.quiet || time.Since(t.last) < tellEvery {
		return
	}
	t.last = time.Now()
	if all > 0 {
		fmt.Fprintf(t.w, "%s%s of %s\n", t.what, size(done), size(all))
		return
	}
	fmt.Fprintf(t.w, "%s%s\n", t.what, size(done))
}

func (t *teller) made(name string, m *backup.Manifest) {
	if !t.quiet {
		fmt.Fprintf(t.w, "backup in %s: %d files, %s, %d rows, state hash %s\n", name, m.Header.Files, size(m.Bytes), m.State.Rows, m.State.Hash)
	}
}

// size shows a number of bytes.
func size(n int64) string {
	switch {
	case n >= 10e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 10e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%d bytes", n)
}
