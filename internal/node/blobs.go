package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/rest"
	"github.com/zumodra/hub/internal/config"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/blob"
	"github.com/zumodra/hub/storage/blob/fs"
	"github.com/zumodra/hub/storage/blob/s3"
)

// BlobDir holds attachments, below the data directory, unless nodes share another.
const BlobDir = "blobs"

// How often the store of blobs is asked whether it is well: when it was, and when it was not.
const (
	blobsWell    = 15 * time.Second
	blobsUnwell  = 3 * time.Second
	blobsTimeout = 10 * time.Second
)

// blobs is the store of attachments with what watches over it. That it cannot be reached stops nothing but uploads and
// downloads.
type blobs struct {
	store   blob.Store
	library *blob.Library
	log     *slog.Logger
	where   string
	trouble atomic.Pointer[string] // nil: none; empty before the first look
	cancel  context.CancelFunc
	running sync.WaitGroup
	closing sync.Once
}

// openBlobs opens the store and starts watching and sweeping it. A server that does not answer is waited for in the
// background.
func openBlobs(cfg *config.Config, refs *storage.Store, log *slog.Logger, reg prometheus.Registerer, now func() time.Time) (*blobs, error) {
	b := &blobs{log: log}
	var err error
	if cfg.Blobs == "s3" {
		b.where = cfg.S3Endpoint + ", bucket " + cfg.S3Bucket
		b.store, err = s3.Open(s3.Config{Endpoint: cfg.S3Endpoint, Bucket: cfg.S3Bucket, Region: cfg.S3Region, Prefix: cfg.S3Prefix,
			PathStyle: cfg.S3PathStyle, AccessKeyFile: cfg.S3AccessKeyFile, SecretKeyFile: cfg.S3SecretKeyFile})
	} else {
		b.where = cmp.Or(cfg.BlobsShared, filepath.Join(cfg.Data, BlobDir))
		b.store, err = fs.Open(fs.Config{Dir: b.where, Shared: cfg.BlobsShared != "", Logger: log})
	}
	if err != nil {
		return nil, fmt.Errorf("opening the store of attachments: %w", err)
	}
	m := newBlobMetrics(reg, func() float64 {
		if b.trouble.Load() == nil {
			return 1
		}
		return 0
	})
	unknown := ""
	b.trouble.Store(&unknown)
	b.store = &timedBlobs{b.store, m.ops}
	b.library = blob.NewLibrary(b.store, refs)
	sweeper := blob.NewSweeper(blob.SweeperConfig{Library: b.library, Grace: cfg.BlobGrace, Observer: m, Now: now, Logger: log})
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	b.running.Go(func() { b.watch(ctx) })
	b.running.Go(func() { sweeper.Run(ctx) })
	return b, nil
}

// watch asks for the store's health until ctx ends, and logs what changes.
func (b *blobs) watch(ctx context.Context) {
	for {
		look, cancel := context.WithTimeout(ctx, blobsTimeout)
		err := b.store.Health(look)
		if err != nil && ctx.Err() == nil && look.Err() != nil {
			err = fmt.Errorf("no answer within %v: %w", blobsTimeout, err)
		}
		cancel()
		if ctx.Err() != nil {
			return
		}
		pause := blobsWell
		before := b.trouble.Load()
		if err == nil {
			if b.trouble.Store(nil); before != nil {
				b.log.Info("the store of attachments is ready", "store", b.where)
			}
		} else {
			pause = blobsUnwell
			text := err.Error()
			if b.trouble.Store(&text); before == nil || *before == "" {
				b.log.Error("the store of attachments cannot be used: uploads and downloads fail, messages do not; trying again",
					"store", b.where, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// check never makes the node unready: messages do not need attachments.
func (b *blobs) check() rest.Check {
	c := rest.Check{Name: "blobs", OK: true, Detail: "ok"}
	if t := b.trouble.Load(); t != nil {
		if c.Detail = "not looked at yet"; *t != "" {
			c.Detail = "degraded, uploads and downloads fail: " + *t
		}
	}
	return c
}

// close may be called more than once.
func (b *blobs) close() {
	b.closing.Do(func() {
		b.cancel()
		b.running.Wait()
		if err := b.store.Close(); err != nil {
			b.log.Error("closing the store of attachments", "error", err)
		}
	})
}

// blobMetrics implements blob.Observer.
type blobMetrics struct {
	ops                                    *prometheus.HistogramVec
	removed, removedBytes, uploads, failed prometheus.Counter
	blobs, bytes, swept                    prometheus.Gauge
}

func newBlobMetrics(r prometheus.Registerer, up func() float64) *blobMetrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &blobMetrics{
		ops: prometheus.NewHistogramVec(histogram("hub_blob_op_duration_seconds",
			"Operations on the store of attachments. stage lasts as long as the client sends.", latency), []string{"op", "outcome"}),
		removed:      counter("hub_blobs_swept_total", "Attachments removed because nothing referred to them."),
		removedBytes: counter("hub_blobs_swept_bytes_total", "Bytes of those."),
		uploads:      counter("hub_blob_uploads_swept_total", "Unfinished uploads removed."),
		failed:       counter("hub_blob_sweep_failures_total", "Attachments that a sweep could not look at or remove; the next one tries again."),
		blobs:        gauge("hub_blobs_stored", "Attachments that the last sweep saw; those of all nodes where the store is shared."),
		bytes:        gauge("hub_blobs_stored_bytes", "Bytes of those."),
		swept:        gauge("hub_blob_last_sweep_timestamp_seconds", "When the last complete sweep ended."),
	}
	r.MustRegister(m.ops, m.removed, m.removedBytes, m.uploads, m.failed, m.blobs, m.bytes, m.swept,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "hub_blob_store_up", Help: "1 if the store of attachments can be used."}, up))
	return m
}

// Swept implements blob.Observer.
func (m *blobMetrics) Swept(p blob.Pass) {
	m.removed.Add(float64(p.RemovedBlobs))
	m.removedBytes.Add(float64(p.RemovedBytes))
	m.uploads.Add(float64(p.Uploads))
	m.failed.Add(float64(p.Failed))
	if p.Err == nil {
		m.blobs.Set(float64(p.Blobs - p.RemovedBlobs))
		m.bytes.Set(float64(p.Bytes - p.RemovedBytes))
		m.swept.SetToCurrentTime()
	}
}

// timedBlobs measures the operations of a store.
type timedBlobs struct {
	blob.Store
	ops *prometheus.HistogramVec
}

func (t *timedBlobs) observe(op string, start time.Time, err error) {
	outcome := "ok"
	switch {
	case err == nil:
	case errors.Is(err, blob.ErrNotFound):
		outcome = "not_found"
	case errors.Is(err, blob.ErrTooLarge):
		outcome = "too_large"
	case errors.Is(err, blob.ErrNoSpace):
		outcome = "no_space"
	case errors.Is(err, blob.ErrUnavailable):
		outcome = "unavailable"
	default:
		outcome = "error"
	}
	t.ops.WithLabelValues(op, outcome).Observe(time.Since(start).Seconds())
}

func (t *timedBlobs) Stage(ctx context.Context, tenant chat.TenantID, r io.Reader, limit int64) (blob.Staged, error) {
	start := time.Now()
	st, err := t.Store.Stage(ctx, tenant, r, limit)
	t.observe("stage", start, err)
	if err != nil {
		return nil, err
	}
	return &timedStaged{st, t}, nil
}

type timedStaged struct {
	blob.Staged
	t *timedBlobs
}

func (s *timedStaged) Publish(ctx context.Context, generation uint64) (blob.Info, error) {
	start := time.Now()
	i, err := s.Staged.Publish(ctx, generation)
	s.t.observe("publish", start, err)
	return i, err
}

func (t *timedBlobs) Stat(ctx context.Context, key blob.Key) (blob.Info, error) {
	start := time.Now()
	i, err := t.Store.Stat(ctx, key)
	t.observe("stat", start, err)
	return i, err
}

func (t *timedBlobs) Open(ctx context.Context, key blob.Key) (blob.Reader, error) {
	start := time.Now()
	r, err := t.Store.Open(ctx, key)
	t.observe("open", start, err)
	return r, err
}

func (t *timedBlobs) Delete(ctx context.Context, key blob.Key) error {
	start := time.Now()
	err := t.Store.Delete(ctx, key)
	t.observe("delete", start, err)
	return err
}
