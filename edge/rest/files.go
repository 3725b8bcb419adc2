package rest

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/chat/attachment"
)

func fileTable() []route {
	const m = prefix + "/messages"
	type methods = map[string]handler
	return []route{
		{m + "/files/{id}", signedIn, methods{"GET": (*API).getFile}},
		{m + "/files/{id}/thumbnail", linked, methods{"GET": (*API).thumbnail}},
		{m + "/files/{id}/{name}", linked, methods{"GET": (*API).download}},
		{m + "/uploads", signedIn, methods{"POST": (*API).beginUpload}},
		{m + "/uploads/{id}", signedIn, methods{"GET": (*API).getUpload, "PATCH": (*API).appendUpload, "DELETE": (*API).terminateUpload}},
	}
}

func (a *API) openFiles() (err error) {
	if len(a.cfg.FileKey) < 32 {
		return errors.New("rest: FileKey has less than 32 bytes")
	}
	a.tus, err = newTus(a)
	return err
}

func fileID(c *call) (chat.FileID, *response) {
	id, err := chat.ParseFileID(c.r.PathValue("id"))
	if err != nil || id.IsZero() {
		return id, &notFound
	}
	return id, nil
}

var gone = fail(http.StatusGone, "The file has expired.")

// fileFailure is failure for what is about one file.
func (a *API) fileFailure(err error, name string) response {
	if errors.Is(err, attachment.ErrExpired) {
		return gone
	}
	return a.failure(err, texts{name: name})
}

// fileView is what is known of a file.
type fileView struct {
	ID           chat.FileID `json:"id"`
	Name         string      `json:"name"`
	Type         string      `json:"type"`
	Size         int64       `json:"size"`
	IsVoice      bool        `json:"is_voice"`
	Path         string      `json:"path"`
	URL          string      `json:"url"`
	ThumbnailURL *string     `json:"thumbnail_url"`
	Message      *string     `json:"message"`
	Downloads    uint64      `json:"downloads"`
	CreatedAt    stamp       `json:"created_at"`
	ExpiresAt    stamp       `json:"expires_at"`
}

// GET files/{id}/
func (a *API) getFile(ctx context.Context, c *call) response {
	id, bad := fileID(c)
	if bad != nil {
		return *bad
	}
	u, err := a.cfg.Files.Authorise(ctx, c.p, id)
	if err != nil {
		return a.fileFailure(err, "get_file")
	}
	v := fileView{ID: u.ID, Name: u.Name, Type: u.Type, Size: u.File.Size, IsVoice: u.Voice, Path: u.Path(), URL: a.signed(c, u.Path(), id),
		Downloads: u.Downloads, CreatedAt: stamp(u.CreatedAt), ExpiresAt: stamp(u.ExpiresAt)}
	if strings.HasPrefix(u.Type, "image/") {
		t := a.signed(c, chat.FilesPath+id.String()+"/thumbnail/", id)
		v.ThumbnailURL = &t
	}
	if !u.Message.IsZero() {
		m := u.Message.String()
		v.Message = &m
	}
	return ok(v)
}

// GET files/{id}/{name}. The name is for people: it is not compared.
func (a *API) download(ctx context.Context, c *call) response {
	id, bad := fileID(c)
	if bad != nil {
		return *bad
	}
	u, r, err := a.cfg.Files.Download(ctx, c.p, id)
	if err != nil {
		return a.fileFailure(err, "download")
	}
	defer func() { _ = r.Close() }() // it was only read
	rec := a.serveFile(c, r, u.Type, u.Name, `"`+hex.EncodeToString(u.Sum[:])+`"`, u.CreatedAt)
	// A player that asks for one range after the other is one download.
	first := c.r.Header.Get("Range")
	if c.r.Method == http.MethodGet && rec.status/100 == 2 && (first == "" || strings.HasPrefix(first, "bytes=0-")) {
		a.cfg.Files.Downloaded(c.p.Tenant, id)
	}
	return response{written: true}
}

// GET files/{id}/thumbnail/
func (a *API) thumbnail(ctx context.Context, c *call) response {
	id, bad := fileID(c)
	if bad != nil {
		return *bad
	}
	u, r, err := a.cfg.Files.Preview(ctx, c.p, id)
	if err != nil {
		return a.fileFailure(err, "thumbnail")
	}
	defer func() { _ = r.Close() }() // it was only read
	name := strings.TrimSuffix(u.Name, "."+u.Name[strings.LastIndexByte(u.Name, '.')+1:]) + "-small.jpg"
	a.serveFile(c, r, "image/jpeg", name, `"`+hex.EncodeToString(u.Sum[:])+`-small"`, u.CreatedAt)
	return response{written: true}
}

// maxRanges of a request: in a store that is elsewhere each of them is a request of its own.
const maxRanges = 16

// serveFile writes content, or the ranges of it that were asked for, so that no browser takes it for a page of ours:
// as something to save, of the type that it has and no other, and, should it be shown after all, without any rights.
func (a *API) serveFile(c *call, r io.ReadSeeker, contentType, name, etag string, created time.Time) *recorder {
	h := c.w.Header()
	disposition := mime.FormatMediaType("attachment", map[string]string{"filename": name})
	if disposition == "" {
		disposition = "attachment"
	}
	h.Set("Content-Disposition", disposition)
	h.Set("Content-Type", contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("Referrer-Policy", "no-referrer") // the URL may be a signed one
	h.Set("Cache-Control", "private, no-cache")
	h.Set("ETag", etag)
	if strings.Count(c.r.Header.Get("Range"), ",") >= maxRanges {
		c.r.Header.Del("Range") // RFC 9110 §14.2: who asks for so many gets all
	}
	rc := http.NewResponseController(c.w)
	w := &recorder{ResponseWriter: &steadyWriter{ResponseWriter: c.w, rc: rc, idle: a.cfg.IdleTimeout}}
	http.ServeContent(w, c.r, "", created, r)
	_ = rc.SetWriteDeadline(time.Time{}) // where there is none, none was set
	return w
}

// steadyWriter gives up a client that takes nothing for a while.
type steadyWriter struct {
	http.ResponseWriter
	rc   *http.ResponseController
	idle time.Duration
}

// Write implements http.ResponseWriter.
func (s *steadyWriter) Write(b []byte) (int, error) {
	_ = s.rc.SetWriteDeadline(time.Now().Add(s.idle)) // where there is none, the server's own hold
	return s.ResponseWriter.Write(b)
}

// Unwrap serves http.ResponseController.
func (s *steadyWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// steadyReader gives up a client that sends nothing for a while, however long it may take as a whole.
type steadyReader struct {
	io.ReadCloser
	rc   *http.ResponseController
	idle time.Duration
	next time.Time
}

// Read implements io.Reader.
func (s *steadyReader) Read(b []byte) (int, error) {
	if now := time.Now(); now.After(s.next) {
		_ = s.rc.SetReadDeadline(now.Add(s.idle))
		s.next = now.Add(s.idle / 8)
	}
	return s.ReadCloser.Read(b)
}

// attachmentView is what a message says of its file.
type attachmentView struct {
	ID   chat.FileID `json:"id"`
	Name string      `json:"name"`
	Type string      `json:"type"`
	Size int64       `json:"size"`
	Path string      `json:"path"`
}

func viewAttachment(f *chat.File) *attachmentView {
	if f == nil {
		return nil
	}
	return &attachmentView{f.ID, f.Name, f.Type, f.Size, f.Path()}
}

// fileFields are the four fields in which the original shows a file: as a path, and as a URL that works by itself.
type fileFields struct{ file, fileURL, voice, voiceURL *string }

func (a *API) fileFields(c *call, e *chat.Event) (f fileFields) {
	if e.File == nil || a.cfg.Files == nil {
		return f
	}
	path := e.File.Path()
	link := a.signed(c, path, e.File.ID)
	if e.IsVoice {
		f.voice, f.voiceURL = &path, &link
	} else {
		f.file, f.fileURL = &path, &link
	}
	return f
}
