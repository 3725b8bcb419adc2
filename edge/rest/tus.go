package rest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	tusd "github.com/tus/tusd/v2/pkg/handler"
	"golang.org/x/exp/slog"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/chat/attachment"
)

const (
	uploadsPath = prefix + "/messages/uploads"
	// tusHeaders are those that a page may send.
	tusHeaders    = "Tus-Resumable, Upload-Length, Upload-Offset, Upload-Metadata, X-HTTP-Method-Override"
	tusExtensions = "creation,creation-with-upload,termination,expiration"
)

// tus speaks the tus protocol 1.0.0 (https://tus.io/protocols/resumable-upload), by its authors' library, over Files.
// A part is stored when its request ends, however it ends: the next one goes on from there, on any node.
type tus struct {
	api     *API
	handler *tusd.UnroutedHandler
}

// tusCall is the request as the store sees it.
type tusCall struct {
	p      chat.Principal
	header http.Header
}

type tusCallKey struct{}

func newTus(a *API) (*tus, error) {
	t := &tus{api: a}
	composer := tusd.NewStoreComposer()
	composer.UseCore(t)
	composer.UseTerminater(t)
	h, err := tusd.NewUnroutedHandler(tusd.Config{
		StoreComposer: composer, MaxSize: attachment.MaxSize, BasePath: strings.TrimSuffix(a.cfg.PublicURL, "/") + uploadsPath + "/",
		DisableDownload: true, DisableConcatenation: true, NetworkTimeout: a.cfg.IdleTimeout, GracefulRequestCompletionTimeout: a.cfg.Timeout,
		Cors:   &tusd.CorsConfig{Disable: true}, // cors does that
		Logger: slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError + 1})),
	})
	t.handler = h
	return t, err
}

// describe answers OPTIONS.
func (t *tus) describe(h http.Header, path string) {
	if t == nil || !strings.HasPrefix(path, uploadsPath) {
		return
	}
	h.Set("Tus-Resumable", "1.0.0")
	h.Set("Tus-Version", "1.0.0")
	h.Set("Tus-Extension", tusExtensions)
	h.Set("Tus-Max-Size", strconv.Itoa(attachment.MaxSize))
}

// serve hands a request to the library.
func (t *tus) serve(ctx context.Context, c *call, f http.HandlerFunc) response {
	ctx = context.WithValue(ctx, tusCallKey{}, &tusCall{c.p, c.w.Header()})
	c.w.Header().Set("Cache-Control", "no-store")
	r := c.r.WithContext(ctx)
	u := *r.URL
	u.Path, r.URL = c.r.PathValue("id"), &u // the library has been told the base
	r.Header = r.Header.Clone()
	r.Header.Del("X-Http-Method-Override") // the route was chosen by the method
	t.handler.Middleware(f).ServeHTTP(c.w, r)
	rc := http.NewResponseController(c.w)
	_, _ = rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{})
	return response{written: true}
}

// POST uploads/
func (a *API) beginUpload(ctx context.Context, c *call) response {
	if res := a.throttle(scopeUpload, c.p.Key().String()); res != nil {
		return *res
	}
	if res := a.limit(c); res != nil {
		return *res
	}
	return a.tus.serve(ctx, c, a.tus.handler.PostFile)
}

// PATCH uploads/{id}/
func (a *API) appendUpload(ctx context.Context, c *call) response {
	return a.tus.serve(ctx, c, a.tus.handler.PatchFile)
}

// DELETE uploads/{id}/
func (a *API) terminateUpload(ctx context.Context, c *call) response {
	return a.tus.serve(ctx, c, a.tus.handler.DelFile)
}

// uploadView is the state of an upload.
type uploadView struct {
	ID        chat.FileID `json:"id"`
	Name      string      `json:"name"`
	Type      string      `json:"type"`
	Size      int64       `json:"size"`
	Offset    int64       `json:"offset"`
	Ready     bool        `json:"ready"`
	IsVoice   bool        `json:"is_voice"`
	CreatedAt stamp       `json:"created_at"`
	ExpiresAt stamp       `json:"expires_at"`
}

// GET uploads/{id}/ tells how far an upload is; HEAD is the protocol's way of asking.
func (a *API) getUpload(ctx context.Context, c *call) response {
	if c.r.Method == http.MethodHead {
		return a.tus.serve(ctx, c, a.tus.handler.HeadFile)
	}
	id, bad := fileID(c)
	if bad != nil {
		return *bad
	}
	u, err := a.cfg.Files.Own(ctx, c.p, id)
	if err != nil {
		return a.fileFailure(err, "get_upload")
	}
	v := uploadView{ID: u.ID, Name: u.Name, Type: u.Type, Size: u.File.Size, Offset: u.File.Size, Ready: u.State == chat.UploadReady, IsVoice: u.Voice,
		CreatedAt: stamp(u.CreatedAt), ExpiresAt: stamp(u.CreatedAt.Add(a.cfg.Files.Pending()))}
	if u.State == chat.UploadReceiving {
		v.Offset = u.Offset
	}
	return ok(v)
}

// call finds the request that the library was given.
func (t *tus) call(ctx context.Context) (*tusCall, error) {
	if c, ok := ctx.Value(tusCallKey{}).(*tusCall); ok {
		return c, nil
	}
	return nil, tusd.ErrNotFound
}

// failure turns an error into one that the library answers.
func (t *tus) failure(err error) error {
	var refused *attachment.Error
	var quota *chat.QuotaError
	var limited *chat.RateLimitError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, attachment.ErrTooLarge):
		return tusd.ErrMaxSizeExceeded
	case errors.As(err, &refused) && refused.Code == attachment.CodeTooLarge:
		return tusd.NewError("ERR_"+strings.ToUpper(refused.Code), refused.Text, http.StatusRequestEntityTooLarge)
	case errors.As(err, &refused):
		return tusd.NewError("ERR_"+strings.ToUpper(refused.Code), refused.Text, http.StatusBadRequest)
	case errors.As(err, &quota):
		return tusRetry("ERR_QUOTA", quota.Text, http.StatusTooManyRequests, quota.RetryAfter)
	case errors.Is(err, chat.ErrNotFound):
		return tusd.ErrNotFound
	case errors.As(err, &limited):
		return tusRetry("ERR_RATE_LIMITED", "too many uploads at once", http.StatusTooManyRequests, limited.RetryAfter)
	case errors.Is(err, chat.ErrRateLimited):
		return tusRetry("ERR_RATE_LIMITED", "too many uploads at once", http.StatusTooManyRequests, overloadRetry)
	case errors.Is(err, chat.ErrInvalid):
		return tusd.ErrMismatchOffset
	case errors.Is(err, chat.ErrOverloaded), errors.Is(err, chat.ErrUnavailable), errors.Is(err, chat.ErrUnknown), isTimeout(err):
		return tusRetry("ERR_UNAVAILABLE", "temporarily unavailable", http.StatusServiceUnavailable, unavailableRetry)
	}
	t.api.cfg.Logger.Error("rest: unexpected error", "action", "upload", "error", err)
	return tusd.NewError("ERR_INTERNAL", "internal server error", http.StatusInternalServerError)
}

// tusRetry is an error that the library answers with Retry-After, in whole seconds.
func tusRetry(code, text string, status int, after time.Duration) error {
	e := tusd.NewError(code, text, status)
	e.HTTPResponse.Header["Retry-After"] = strconv.Itoa(seconds(after))
	return e
}

// NewUpload implements tusd.DataStore.
func (t *tus) NewUpload(ctx context.Context, info tusd.FileInfo) (tusd.Upload, error) {
	c, err := t.call(ctx)
	if err != nil {
		return nil, err
	}
	voice, _ := strconv.ParseBool(info.MetaData["is_voice"])
	u, err := t.api.cfg.Files.Begin(ctx, c.p, info.MetaData["filename"], voice, info.Size)
	if err != nil {
		return nil, t.failure(err)
	}
	return t.upload(c, u), nil
}

// GetUpload implements tusd.DataStore.
func (t *tus) GetUpload(ctx context.Context, s string) (tusd.Upload, error) {
	c, err := t.call(ctx)
	if err != nil {
		return nil, err
	}
	id, err := chat.ParseFileID(s)
	if err != nil {
		return nil, tusd.ErrNotFound
	}
	u, err := t.api.cfg.Files.Own(ctx, c.p, id)
	if err != nil {
		return nil, t.failure(err)
	}
	return t.upload(c, u), nil
}

func (t *tus) upload(c *tusCall, u chat.Upload) *tusUpload {
	c.header.Set("Upload-Expires", u.CreatedAt.Add(t.api.cfg.Files.Pending()).UTC().Format(http.TimeFormat))
	return &tusUpload{t, c.p, u}
}

// AsTerminatableUpload implements tusd.TerminaterDataStore.
func (t *tus) AsTerminatableUpload(u tusd.Upload) tusd.TerminatableUpload {
	return u.(*tusUpload) //nolint:forcetypeassert // all are ours
}

// tusUpload is one upload while a request is about it.
type tusUpload struct {
	t *tus
	p chat.Principal
	u chat.Upload
}

// GetInfo implements tusd.Upload.
func (x *tusUpload) GetInfo(context.Context) (tusd.FileInfo, error) {
	offset := x.u.Offset
	if x.u.State != chat.UploadReceiving {
		offset = x.u.File.Size
	}
	return tusd.FileInfo{ID: x.u.ID.String(), Size: x.u.File.Size, Offset: offset, MetaData: tusd.MetaData{"filename": x.u.Name}}, nil
}

// WriteChunk implements tusd.Upload.
func (x *tusUpload) WriteChunk(ctx context.Context, offset int64, src io.Reader) (int64, error) {
	n, err := x.t.api.cfg.Files.Append(ctx, x.p, x.u.ID, offset, src)
	x.u.Offset = offset + n
	return n, x.t.failure(err)
}

// GetReader implements tusd.Upload. Nothing asks for it: files are downloaded when they were sent.
func (x *tusUpload) GetReader(context.Context) (io.ReadCloser, error) {
	return nil, tusd.ErrNotImplemented
}

// FinishUpload implements tusd.Upload.
func (x *tusUpload) FinishUpload(ctx context.Context) error {
	_, err := x.t.api.cfg.Files.Finish(ctx, x.p, x.u.ID)
	return x.t.failure(err)
}

// Terminate implements tusd.TerminatableUpload.
func (x *tusUpload) Terminate(ctx context.Context) error {
	return x.t.failure(x.t.api.cfg.Files.Terminate(ctx, x.p, x.u.ID))
}
