package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/chat/attachment"
	"github.com/zumodra/hub/storage/files"
	"github.com/zumodra/hub/storage/files/clamd"
)

// attachments joins the files with the conversations that decide who may send and read them. Its methods, and those of
// Files, are what REST and the sessions ask for.
type attachments struct {
	*files.Files
	hub *actors.Hub
	now func() time.Time
}

// newFiles makes what keeps the files. hub is asked when the first cleanup begins.
func (n *Node) newFiles(hub *actors.Hub) *files.Files {
	b := n.blobs.Load()
	c := files.Config{Store: n.store, Blobs: b.store, Library: b.library, TTL: n.cfg.FileTTL, Pending: n.cfg.BlobGrace,
		PerUser: n.cfg.UploadsPerUser, Parallel: n.cfg.Uploads, NoThumbnails: !n.cfg.Thumbnails, Owns: hub.Serves, Limits: n.tenancy.Limits, Now: n.opts.Now, Log: n.log,
		Observer: newFileMetrics(n.metrics.registry)}
	if n.cfg.Clamd != "" {
		c.Scanner, c.ScanOpen = clamd.New(clamd.Config{Address: n.cfg.Clamd, Timeout: n.cfg.ClamdTimeout}), n.cfg.ClamdOpen
	}
	return files.New(c)
}

// keyTime bounds the reading of the key that URLs are signed with.
const keyTime = 30 * time.Second

// fileKey is the key that the URLs of files are signed with: of all nodes, since any of them may be asked.
func (n *Node) fileKey() ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), keyTime)
	defer cancel()
	text, err := n.store.Secret(ctx, "file_urls", func() string {
		var b [32]byte
		_, _ = rand.Read(b[:]) // it does not fail
		return hex.EncodeToString(b[:])
	})
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(text)
	if err != nil || len(key) < 32 {
		return nil, errors.New("the key that URLs of files are signed with is not one")
	}
	return key, nil
}

// runFiles counts and cleans up until unfiles is called.
func (n *Node) runFiles(f *files.Files) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { f.Run(ctx) })
	n.unfiles = func() {
		cancel()
		running.Wait()
	}
	n.metrics.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "hub_uploads_active",
		Help: "Uploads that are being received."}, func() float64 { return float64(f.Active()) }))
}

// settleTime bounds what is written after the message was committed or refused, whether its sender waits or not.
const settleTime = 10 * time.Second

// Send sends a message with a file that the caller uploaded. The same file becomes one message, also when the request is
// repeated. A file whose message is refused is ready to be sent again.
func (a *attachments) Send(ctx context.Context, p chat.Principal, o chat.Origin, s chat.Send, id chat.FileID) (chat.Result, error) {
	at, err := a.hub.Do(ctx, p, chat.Attach{Conversation: s.Conversation, Join: true})
	if err != nil {
		return chat.Result{}, fmt.Errorf("send a file: %w", sure(err))
	}
	if s.ClientID == "" { // without one a repetition would send it twice
		s.ClientID = chat.UploadClientID(id)
	}
	claim := files.Claim{Conversation: s.Conversation, After: at.View.Head.Seq, ClientID: s.ClientID, Voice: s.IsVoice}
	u, err := a.Claim(ctx, p, id, claim)
	if err != nil {
		return chat.Result{}, err
	}
	s.File, s.IsVoice = &u.File, u.Voice
	type answer struct {
		res chat.Result
		err error
	}
	ch := make(chan answer, 1)
	a.hub.Submit(p, o, s, func(res chat.Result, err error) { ch <- answer{res, err} })
	var got answer
	select {
	case got = <-ch:
	case <-ctx.Done():
		got.err = fmt.Errorf("%w: send: %w", chat.ErrUnknown, ctx.Err())
	}
	// Whatever is not written here the cleanup finds out from the log.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	switch e := got.res.Event; {
	case got.err == nil && e.File != nil && e.File.ID == id:
		err = a.Attach(ctx, p.Tenant, id, e.Message)
	case got.err == nil: // a repetition with the same client id, and the file uploaded once more
		err = a.Files.Discard(ctx, p.Tenant, id)
	case uncertain(got.err):
	default:
		err = a.Unclaim(ctx, p.Tenant, u)
	}
	if err != nil {
		a.warn(p, s.Conversation, id, err)
	}
	return got.res, got.err
}

// Forward sends a message with a copy of a file, which the caller may read. Nothing is left of the copy if it is refused.
func (a *attachments) Forward(ctx context.Context, p chat.Principal, o chat.Origin, s chat.Send, id chat.FileID) (chat.Result, error) {
	u, err := a.Copy(ctx, p, id)
	if err != nil {
		return chat.Result{}, fmt.Errorf("forward a file: %w", err)
	}
	res, err := a.Send(ctx, p, o, s, u.ID)
	if err != nil {
		a.Drop(ctx, p, u.ID) // does nothing once it is part of a message, or may be
	}
	return res, err
}

// sure turns "it may have been carried out" into "it was not": nothing was to be changed.
func sure(err error) error {
	if errors.Is(err, chat.ErrUnknown) {
		return chat.ErrUnavailable
	}
	return err
}

// uncertain reports whether a message may have been sent.
func uncertain(err error) bool {
	return errors.Is(err, chat.ErrUnknown) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func (a *attachments) warn(p chat.Principal, c chat.ConversationID, id chat.FileID, err error) {
	a.Log().Warn("files: what became of a file could not be written, the cleanup will", "tenant", p.Tenant, "conversation", c, "file", id, "error", err)
}

// Drop removes a file that its uploader could not send.
func (a *attachments) Drop(ctx context.Context, p chat.Principal, id chat.FileID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	_ = a.Terminate(ctx, p, id) // else the cleanup does
}

// Authorise answers what is known of a file to whom may read it now: its uploader before it is sent, and the members of
// the conversation after. Everybody else gets chat.ErrNotFound, and attachment.ErrExpired who comes too late.
func (a *attachments) Authorise(ctx context.Context, p chat.Principal, id chat.FileID) (chat.Upload, error) {
	u, err := a.Find(ctx, p.Tenant, id)
	if err != nil {
		return u, err
	}
	gone := fmt.Errorf("file %s: %w", id, chat.ErrNotFound)
	switch {
	case u.State == chat.UploadClaimed && !u.Conversation.IsZero():
		// Its message is being sent, or the process that sent it ended: whoever sees the message has its id from there.
		if u, err = a.Located(ctx, p.Tenant, id); err != nil {
			return u, err
		}
		if u.Message.IsZero() {
			if u.Owner != p.User {
				return u, gone
			}
			return u, nil
		}
	case u.Message.IsZero():
		if u.Owner != p.User || u.State != chat.UploadReady {
			return u, gone
		}
		return u, nil
	}
	file, err := a.hub.FileOf(ctx, p, u.Conversation, u.Message)
	if err != nil {
		return u, err
	}
	if file.ID != id {
		return u, gone
	}
	if u.Expired(a.now()) {
		return u, attachment.ErrExpired
	}
	return u, nil
}

// Download opens a file for whom may read it.
func (a *attachments) Download(ctx context.Context, p chat.Principal, id chat.FileID) (chat.Upload, io.ReadSeekCloser, error) {
	u, err := a.Authorise(ctx, p, id)
	if err != nil {
		return u, nil, err
	}
	r, err := a.Open(ctx, p.Tenant, id)
	return u, r, err
}

// Preview opens the small picture of a file for whom may read it.
func (a *attachments) Preview(ctx context.Context, p chat.Principal, id chat.FileID) (chat.Upload, io.ReadSeekCloser, error) {
	u, err := a.Authorise(ctx, p, id)
	if err != nil {
		return u, nil, err
	}
	r, err := a.Thumbnail(ctx, p.Tenant, id)
	return u, r, err
}

// fileMetrics implements files.Observer.
type fileMetrics struct {
	uploads, scans, thumbs, cleaned *prometheus.CounterVec
	bytes, downloads                prometheus.Counter
	took                            prometheus.Histogram
	files                           prometheus.Gauge
}

func newFileMetrics(r prometheus.Registerer) *fileMetrics {
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	m := &fileMetrics{
		uploads:   vec("hub_uploads_total", "Uploads by outcome: ok, or why one was refused.", "outcome"),
		bytes:     counter("hub_uploads_bytes_total", "Bytes of uploads that were taken in."),
		took:      prometheus.NewHistogram(histogram("hub_uploads_duration_seconds", "Uploads that were taken in, from the first byte to the last. As long as the client sends.", latency)),
		downloads: counter("hub_uploads_downloads_total", "Downloads of files that began at the first byte."),
		scans:     vec("hub_uploads_scans_total", "Files shown to the virus scanner: clean, infected, failed (refused), skipped (let through).", "outcome"),
		thumbs:    vec("hub_uploads_thumbnails_total", "Thumbnails: made, refused (no picture that can be made smaller), failed.", "outcome"),
		cleaned:   vec("hub_uploads_cleaned_total", "Files removed by the cleanup: unsent, orphan, expired; settled are those kept after a crash; failed are looked at again.", "what"),
		files:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "hub_uploads_files", Help: "Files that the last cleanup of this node looked at."}),
	}
	r.MustRegister(m.uploads, m.bytes, m.took, m.downloads, m.scans, m.thumbs, m.cleaned, m.files)
	return m
}

// Uploaded implements files.Observer.
func (m *fileMetrics) Uploaded(outcome string, bytes int64, took time.Duration) {
	m.uploads.WithLabelValues(outcome).Inc()
	if outcome == "ok" {
		m.bytes.Add(float64(bytes))
		m.took.Observe(took.Seconds())
	}
}

// Scanned implements files.Observer.
func (m *fileMetrics) Scanned(outcome string) { m.scans.WithLabelValues(outcome).Inc() }

// Downloaded implements files.Observer.
func (m *fileMetrics) Downloaded() { m.downloads.Inc() }

// Thumbnail implements files.Observer.
func (m *fileMetrics) Thumbnail(outcome string) { m.thumbs.WithLabelValues(outcome).Inc() }

// Cleaned implements files.Observer.
func (m *fileMetrics) Cleaned(p files.Pass) {
	for what, n := range map[string]int{"unsent": p.Unsent, "orphan": p.Orphans, "expired": p.Expired, "settled": p.Settled, "failed": p.Failed} {
		m.cleaned.WithLabelValues(what).Add(float64(n))
	}
	if p.Err == nil {
		m.files.Set(float64(p.Files))
	}
}
