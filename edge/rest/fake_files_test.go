package rest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/chat/attachment"
	"github.com/zumodra/hub/edge/rest"
)

// fakeFiles keeps files in memory. What it refuses is what the rules do; whom it lets read is the fake Hub's to say.
type fakeFiles struct {
	hub     *fakeHub
	mu      sync.Mutex
	files   map[chat.FileID]*fakeFile
	dropped int
}

type fakeFile struct {
	u       chat.Upload
	content []byte
}

func newFakeFiles(h *fakeHub) *fakeFiles {
	return &fakeFiles{hub: h, files: map[chat.FileID]*fakeFile{}}
}

func (f *fakeFiles) Store(_ context.Context, p chat.Principal, name string, voice bool, r io.Reader) (chat.Upload, error) {
	file, err := attachment.Check(name, voice)
	if err != nil {
		return chat.Upload{}, err
	}
	b, err := io.ReadAll(file.NewReader(r, attachment.MaxSize))
	if err != nil {
		return chat.Upload{}, err
	}
	u := chat.Upload{File: chat.File{ID: chat.NewFileID(), Name: file.Name, Type: file.Kind.Type, Size: int64(len(b))}, Owner: p.User, Voice: voice,
		State: chat.UploadReady, CreatedAt: f.hub.now(), Sum: sha256.Sum256(b)}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files[u.ID] = &fakeFile{u, b}
	return u, nil
}

func (f *fakeFiles) Send(ctx context.Context, p chat.Principal, _ chat.Origin, s chat.Send, id chat.FileID) (chat.Result, error) {
	f.mu.Lock()
	file := f.files[id]
	f.mu.Unlock()
	if file == nil || file.u.Owner != p.User || file.u.State != chat.UploadReady {
		return chat.Result{}, attachment.ErrNoUpload
	}
	s.File, s.IsVoice = &file.u.File, s.IsVoice || file.u.Voice
	res, err := f.hub.Do(ctx, p, s)
	if err == nil {
		f.mu.Lock()
		file.u.State, file.u.Message, file.u.Conversation = chat.UploadAttached, res.Event.Message, s.Conversation
		f.mu.Unlock()
	}
	return res, err
}

func (f *fakeFiles) Drop(_ context.Context, _ chat.Principal, id chat.FileID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if file := f.files[id]; file != nil && file.u.State == chat.UploadReady {
		delete(f.files, id)
		f.dropped++
	}
}

func (f *fakeFiles) Authorise(ctx context.Context, p chat.Principal, id chat.FileID) (chat.Upload, error) {
	f.mu.Lock()
	file := f.files[id]
	f.mu.Unlock()
	if file == nil {
		return chat.Upload{}, chat.ErrNotFound
	}
	if file.u.Message.IsZero() {
		return f.Own(ctx, p, id)
	}
	if _, err := f.hub.Message(ctx, p, file.u.Message); err != nil {
		return chat.Upload{}, err
	}
	if file.u.Expired(f.hub.now()) {
		return chat.Upload{}, attachment.ErrExpired
	}
	return file.u, nil
}

type closer struct{ io.ReadSeeker }

func (closer) Close() error { return nil }

func (f *fakeFiles) Download(ctx context.Context, p chat.Principal, id chat.FileID) (chat.Upload, io.ReadSeekCloser, error) {
	u, err := f.Authorise(ctx, p, id)
	if err != nil {
		return u, nil, err
	}
	return u, closer{bytes.NewReader(f.files[id].content)}, nil
}

func (f *fakeFiles) Preview(ctx context.Context, p chat.Principal, id chat.FileID) (chat.Upload, io.ReadSeekCloser, error) {
	u, r, err := f.Download(ctx, p, id)
	if err == nil && !strings.HasPrefix(u.Type, "image/") {
		err = chat.ErrNotFound
	}
	return u, r, err
}

func (f *fakeFiles) Downloaded(_ chat.TenantID, id chat.FileID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files[id].u.Downloads++
}

func (f *fakeFiles) Begin(_ context.Context, p chat.Principal, name string, voice bool, size int64) (chat.Upload, error) {
	file, err := attachment.Check(name, voice)
	if err != nil {
		return chat.Upload{}, err
	}
	u := chat.Upload{File: chat.File{ID: chat.NewFileID(), Name: file.Name, Type: file.Kind.Type, Size: size}, Owner: p.User, Voice: voice,
		State: chat.UploadReceiving, CreatedAt: f.hub.now()}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files[u.ID] = &fakeFile{u: u}
	return u, nil
}

func (f *fakeFiles) Append(_ context.Context, _ chat.Principal, id chat.FileID, _ int64, r io.Reader) (int64, error) {
	b, err := io.ReadAll(r)
	f.mu.Lock()
	defer f.mu.Unlock()
	file := f.files[id]
	file.content = append(file.content, b...)
	file.u.Offset = int64(len(file.content))
	return int64(len(b)), err
}

func (f *fakeFiles) Finish(_ context.Context, _ chat.Principal, id chat.FileID) (chat.Upload, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files[id].u.State = chat.UploadReady
	return f.files[id].u, nil
}

func (f *fakeFiles) Own(_ context.Context, p chat.Principal, id chat.FileID) (chat.Upload, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if file := f.files[id]; file != nil && file.u.Owner == p.User {
		return file.u, nil
	}
	return chat.Upload{}, chat.ErrNotFound
}

func (f *fakeFiles) Terminate(ctx context.Context, p chat.Principal, id chat.FileID) error {
	if _, err := f.Own(ctx, p, id); err != nil {
		return err
	}
	f.Drop(ctx, p, id)
	return nil
}

func (*fakeFiles) Pending() time.Duration { return 24 * time.Hour }

var _ rest.Files = (*fakeFiles)(nil)

func (f *fakeFiles) Usage(_ context.Context, k chat.UserKey) (chat.UploadUsage, error) {
	u := chat.UploadUsage{Day: chat.UploadDay(f.hub.now())}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range f.files {
		if k.User == "" || x.u.Owner == k.User {
			u.Files++
			u.Bytes += x.u.Size
		}
	}
	return u, nil
}
