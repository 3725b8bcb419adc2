package backups

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/backup"
)

// Progress is told of the bytes done and, once that is known, of all there are.
type Progress func(done, all int64)

// Stopped writes an archive of a data directory whose server is not running (storage.ErrLocked if it is; it cannot start
// meanwhile). Nothing in the directory changes.
func Stopped(ctx context.Context, data, version string, w io.Writer, progress Progress) (backup.Manifest, error) {
	store := filepath.Join(data, StoreDir)
	now := moment(time.Now())
	engine, schema, err := openCopy(ctx, store, now, slog.New(slog.DiscardHandler))
	if err != nil {
		return backup.Manifest{}, err
	}
	defer engine.Close()
	counted := &counter{w: w, progress: progress}
	return backup.Write(ctx, counted, backup.Header{Hub: version, Schema: schema, Created: now}, func(ctx context.Context) (storage.State, error) {
		return storage.HashState(ctx, engine, nil, nil)
	}, nil, sourcesOf(store, filepath.Join(data, BlobsDir))...)
}

type counter struct {
	w        io.Writer
	n        int64
	progress Progress
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	if c.n += int64(n); c.progress != nil {
		c.progress(c.n, 0)
	}
	return n, err
}

// silence is how long a server may send nothing: it reads every row between the last file and the manifest.
const silence = 30 * time.Minute

// Download asks the server whose admin port is at url for a backup, writes it to w and checks it while it comes. After an
// error what was written is worth nothing.
func Download(ctx context.Context, url string, w io.Writer, progress Progress) (backup.Manifest, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(url, "/")+"/admin/backup", nil)
	if err != nil {
		return backup.Manifest{}, err
	}
	watchdog := time.AfterFunc(silence, func() { cancel(fmt.Errorf("the server sent nothing for %v", silence)) })
	defer watchdog.Stop()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return backup.Manifest{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // what there is
		return backup.Manifest{}, fmt.Errorf("the server answers %s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	m, err := Check(ctx, io.TeeReader(&attentive{resp.Body, watchdog}, w), progress)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		if text := resp.Trailer.Get(errorTrailer); text != "" {
			err = fmt.Errorf("the server gave up: %s (%w)", text, err)
		} else if errors.Is(err, backup.ErrDamaged) {
			err = fmt.Errorf("%w; the log of the server may say why", err)
		}
	}
	return m, err
}

// attentive puts the watchdog off with every read.
type attentive struct {
	r        io.Reader
	watchdog *time.Timer
}

func (a *attentive) Read(b []byte) (int, error) {
	n, err := a.r.Read(b)
	a.watchdog.Reset(silence)
	return n, err
}

// Check reads an archive to its end and checks every file of it. That its rows are those of the state hash only Restore
// can tell.
func Check(ctx context.Context, r io.Reader, progress Progress) (backup.Manifest, error) {
	var all int64
	return backup.Read(ctx, r, backup.ReadConfig{
		Directories: directories,
		Begin:       func(h backup.Header) error { all = h.Bytes; return nil },
		Progress: func(done int64) {
			if progress != nil {
				progress(done, all)
			}
		},
	})
}

// Hash returns the state hash of a data directory whose server is not running, as of a moment: of what has expired since
// then only what is still there counts.
func Hash(ctx context.Context, data string, at time.Time) (storage.State, error) {
	engine, _, err := openCopy(ctx, filepath.Join(data, StoreDir), moment(at), slog.New(slog.DiscardHandler))
	if err != nil {
		return storage.State{}, err
	}
	defer engine.Close()
	return storage.HashState(ctx, engine, nil, nil)
}
