package node_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"image"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/chat/attachment"
	"github.com/zumodra/hub/chat/attachment/attachmenttest"
	"github.com/zumodra/hub/internal/config"
	"github.com/zumodra/hub/storage/files/clamd/clamdtest"
)

// withFiles is what the defaults of the flags are.
func withFiles(c *config.Config) {
	c.SocketFileBytes, c.FileTTL, c.FileURLTTL, c.Thumbnails, c.UploadsPerUser = 50<<20, 30*24*time.Hour, time.Hour, true, 100
}

// part of a form: a field, or a file if it has a name.
type part struct {
	field, name string
	content     []byte
}

func form(parts ...part) (contentType string, body []byte) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range parts {
		h := textproto.MIMEHeader{}
		d := map[string]string{"name": p.field}
		if p.name != "" {
			d["filename"] = p.name
			h.Set("Content-Type", "application/octet-stream")
		}
		h.Set("Content-Disposition", mime.FormatMediaType("form-data", d))
		if p.name != "" && h.Get("Content-Disposition") == "" || strings.ContainsAny(p.name, "\x00\r\n") {
			h.Set("Content-Disposition", fmt.Sprintf(`form-data; name=%q; filename*=UTF-8''%s`, p.field, url.PathEscape(p.name)))
		}
		pw, err := w.CreatePart(h)
		if err != nil {
			panic(err) // of a buffer
		}
		_, _ = pw.Write(p.content)
	}
	_ = w.Close()
	return w.FormDataContentType(), b.Bytes()
}

// sendForm posts a message as a form.
func (u *user) sendForm(parts ...part) *reply {
	u.h.t.Helper()
	ctype, body := form(parts...)
	r, err := u.h.request("POST", api+"messages/", http.Header{"Authorization": {"Bearer " + u.token}, "Content-Type": {ctype}}, string(body))
	if err != nil {
		u.h.t.Fatal(err)
	}
	return r
}

func (u *user) sendFile(conversation, name string, content []byte) *reply {
	u.h.t.Helper()
	return u.sendForm(part{"conversation_id", "", []byte(conversation)}, part{"file", name, content})
}

// get fetches a path or a URL, as the user unless token is false.
func (u *user) get(path string, token bool, header ...string) *reply {
	u.h.t.Helper()
	h := http.Header{}
	if token {
		h.Set("Authorization", "Bearer "+u.token)
	}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	r, err := u.h.request("GET", path, h, nil)
	if err != nil {
		u.h.t.Fatal(err)
	}
	return r
}

func fileFrame(conversation, name string, content []byte, more object) object {
	f := object{"type": "send_message", "conversation_id": conversation, "content": "", "ref": nextRef(),
		"file": object{"name": name, "content": base64.StdEncoding.EncodeToString(content), "size": len(content)}}
	for k, v := range more {
		f[k] = v
	}
	return f
}

// answer sends a frame and returns what comes with its ref.
func (s *socket) answer(f object) frame {
	s.t.Helper()
	s.send(f)
	for {
		if got := s.next(); got.str("ref") == f.str("ref") {
			return got
		}
	}
}

// TestReq061_Req067_Req068_FilesOverSockets: what one member sends in a frame every member can download, byte by byte.
func TestReq061_Req067_Req068_FilesOverSockets(t *testing.T) {
	t.Parallel()
	h := start(t, withFiles)
	ann, bob, eve := h.user("ann"), h.user("bob"), h.user("eve")
	id := ann.direct("bob")
	a, b := ann.dial(id), bob.dial(id)
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // a frame that is not decoded on the event loop
	for name, content := range map[string][]byte{"Bericht 1 ü.txt": []byte("Grüße\n"), "big.txt": big, "a.png": attachmenttest.Sample("png")} {
		f := a.answer(fileFrame(id, name, content, object{"content": "see"}))
		got := b.next()
		for _, f := range []frame{f, got} {
			if f.str("type") != "message" || f.str("content") != "see" || f.yes("is_voice") || f.obj("attachment").str("name") != name ||
				f.obj("attachment").num("size") != len(content) || !strings.HasPrefix(f.str("file"), "/api/v1/messages/files/") {
				t.Fatalf("%s", f.raw)
			}
		}
		r := bob.get(got.str("file"), true).want(200)
		if sha256.Sum256([]byte(r.raw)) != sha256.Sum256(content) {
			t.Errorf("%s: %d other bytes", name, len(r.raw))
		}
		eve.get(got.str("file"), true).want(404)
		eve.get(got.str("file"), false).want(401)
	}
	v := a.answer(fileFrame(id, "note.ogg", attachmenttest.Sample("ogg"), object{"is_voice": true}))
	if !v.yes("is_voice") || v.str("content") != "" || v.str("file") == "" {
		t.Errorf("%s", v.raw)
	}
	m := ann.call("GET", "messages/"+v.str("id")+"/", nil).want(200).body
	if m["file"] != nil || m.str("voice_message") != v.str("file") || m.str("voice_message_url") == "" || !m.yes("is_voice") {
		t.Errorf("%v", m)
	}
	bob.get(m.str("voice_message"), true).want(200)
	before := len(ann.history(id))
	for _, f := range []object{
		{"type": "send_message", "content": "x", "is_voice": true, "ref": nextRef()},
		fileFrame(id, "note.txt", []byte("x"), object{"is_voice": true}),
		fileFrame(id, "a.exe", []byte("x"), nil),
	} {
		if got := a.answer(f); got.str("type") != "error" {
			t.Errorf("%s", got.raw)
		}
	}
	if n := len(ann.history(id)); n != before {
		t.Errorf("%d messages, want %d: something was stored", n, before)
	}
}

func TestReq069_StrictBase64(t *testing.T) {
	t.Parallel()
	h := start(t, withFiles)
	ann := h.user("ann")
	h.user("bob")
	id := ann.direct("bob")
	a := ann.dial(id)
	for _, content := range []any{"%%%", "eA=", "eA", "eA==x", "e A=", "eA==\n", "eB==", "", "====", "=", "data:text/plain;base64,eA==", nil, 7} {
		f := object{"type": "send_message", "ref": nextRef(), "file": object{"name": "a.txt", "content": content}}
		if got := a.answer(f); got.str("type") != "error" || got.str("message") != "Invalid file data" {
			t.Errorf("%q: %s", content, got.raw)
		}
	}
	if n := len(ann.history(id)); n != 0 {
		t.Errorf("%d messages", n)
	}
}

// TestReq063_Req064_Req065_Req066_Req070_BothPaths: the shared table, by REST and by sockets.
func TestReq063_Req064_Req065_Req066_Req070_BothPaths(t *testing.T) {
	t.Parallel()
	h := start(t, withFiles)
	ann := h.user("ann")
	h.user("bob")
	id := ann.direct("bob")
	a := ann.dial(id)
	for _, c := range attachmenttest.Cases() {
		field := "file"
		if c.Voice {
			field = "voice_message"
		}
		safe := c.Safe
		if safe == "" {
			safe = c.Name
		}
		r := ann.sendForm(part{"conversation_id", "", []byte(id)}, part{field, c.Name, c.Content})
		f := a.answer(fileFrame(id, c.Name, c.Content, object{"is_voice": c.Voice}))
		for f.str("type") == "message" && f.str("ref") == "" {
			f = a.next()
		}
		if c.Want != "" {
			if r.status != 400 || len(r.body) != 1 || !strings.Contains(r.raw, `"`+field+`":["`+c.Want+`"]`) {
				t.Errorf("%s: REST of %q: %d %s, want %q", c.What, c.Name, r.status, r.raw, c.Want)
			}
			if f.str("type") != "error" || f.str("message") != c.Want {
				t.Errorf("%s: socket of %q: %s, want %q", c.What, c.Name, f.raw, c.Want)
			}
			continue
		}
		if r.status != 201 || r.body.obj("attachment").str("name") != safe || r.body.yes("is_voice") != c.Voice {
			t.Errorf("%s: REST of %q: %d %s", c.What, c.Name, r.status, r.raw)
		}
		if f.str("type") != "message" || f.obj("attachment").str("name") != safe || f.yes("is_voice") != c.Voice {
			t.Errorf("%s: socket of %q: %s", c.What, c.Name, f.raw)
		}
	}
}

func TestReq050_Req062_Size(t *testing.T) {
	t.Parallel()
	h := start(t, withFiles)
	ann := h.user("ann")
	h.user("bob")
	id := ann.direct("bob")
	content := make([]byte, 52_428_801)
	copy(content, "%PDF-1.7\n")
	const no = "File too large (max 50MB)"
	ann.sendFile(id, "a.pdf", content[:52_428_800]).want(201)
	ann.sendFile(id, "a.pdf", content).want(400).says(`{"file":["` + no + `"]}`)
	a := ann.dial(id)
	if f := a.answer(fileFrame(id, "a.pdf", content[:52_428_800], nil)); f.str("type") != "message" || f.obj("attachment").num("size") != 52_428_800 {
		t.Errorf("%.300s", f.raw)
	}
	if f := a.answer(fileFrame(id, "a.pdf", content, nil)); f.str("type") != "error" || f.str("message") != no {
		t.Errorf("%.300s", f.raw)
	}
	a.wantTooBig()
	small := start(t, withFiles, func(c *config.Config) { c.SocketFileBytes = 1000 })
	ann = small.user("ann")
	small.user("bob")
	id = ann.direct("bob")
	a = ann.dial(id)
	if f := a.answer(fileFrame(id, "a.pdf", content[:1000], nil)); f.str("type") != "message" {
		t.Errorf("%.300s", f.raw)
	}
	if f := a.answer(fileFrame(id, "a.pdf", content[:1001], nil)); f.str("code") != "file_too_large" {
		t.Errorf("%.300s", f.raw)
	}
	a.wantTooBig()
	off := start(t, withFiles, func(c *config.Config) { c.SocketFileBytes = 0 })
	ann = off.user("ann")
	off.user("bob")
	id = ann.direct("bob")
	if f := ann.dial(id).answer(fileFrame(id, "a.pdf", content[:1000], nil)); f.str("code") != "not_supported" {
		t.Errorf("%.300s", f.raw)
	}
	ann.sendFile(id, "a.pdf", content[:1000]).want(201)
}

// wantTooBig sends a frame that is beyond every limit.
func (s *socket) wantTooBig() {
	s.t.Helper()
	_ = s.put(`{"type":"ping","x":"` + strings.Repeat("x", 80<<20) + `"}`) // the hub hangs up in the middle
	s.wantClose(1009)
}

// TestReq071_Downloads: who may, under which headers, in ranges, and by signed URLs that expire.
func TestReq071_Downloads(t *testing.T) {
	t.Parallel()
	h := start(t, withFiles)
	ann, bob, eve := h.user("ann"), h.user("bob"), h.user("eve")
	id := ann.group("Crew", "bob", "eve")
	content := []byte("0123456789")
	m := ann.sendForm(part{"content", "", []byte("look")}, part{"file", `Über "a".txt`, content}, part{"conversation", "", []byte(id)}).want(201).body
	if m.str("content") != "look" || m.str("file") == "" || m["voice_message"] != nil {
		t.Fatalf("%v", m)
	}
	path := m.str("file")
	r := bob.get(path, true).want(200)
	if r.raw != string(content) {
		t.Errorf("%q", r.raw)
	}
	kind, params, err := mime.ParseMediaType(r.header.Get("Content-Disposition"))
	if err != nil || kind != "attachment" || params["filename"] != "Über a.txt" {
		t.Errorf("%q", r.header.Get("Content-Disposition"))
	}
	for k, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Content-Type": "text/plain; charset=utf-8",
		"Content-Security-Policy": "sandbox; default-src 'none'", "Accept-Ranges": "bytes", "Cache-Control": "private, no-cache"} {
		if got := r.header.Get(k); got != want {
			t.Errorf("%s: %q, want %q", k, got, want)
		}
	}
	if r := bob.get(path, true, "Range", "bytes=2-4").want(206); r.raw != "234" || r.header.Get("Content-Range") != "bytes 2-4/10" {
		t.Errorf("%q %q", r.raw, r.header.Get("Content-Range"))
	}
	bob.get(path, true, "Range", "bytes=10-").want(416)
	bob.get(path, true, "If-None-Match", r.header.Get("ETag")).want(304)

	link := bob.call("GET", "messages/"+m.str("id")+"/", nil).want(200).body.str("file_url")
	if r := eve.get(link, false).want(200); r.raw != string(content) {
		t.Errorf("%q", r.raw)
	}
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"user": "eve", "tenant": "other", "expires": "99999999999", "signature": "AAAA"} {
		q := u.Query()
		q.Set(k, v)
		forged := *u
		forged.RawQuery = q.Encode()
		eve.get(forged.String(), false).want(403)
	}
	other := bob.sendFile(id, "other.txt", []byte("other")).want(201).body
	forged := *u
	forged.Path = other.str("file")
	forged.RawPath = ""
	eve.get(forged.String(), false).want(403) // of another file
	// Bob is removed: his link is worth nothing from that moment on.
	ann.call("POST", "conversations/"+id+"/remove_participants/", object{"user_ids": []string{"bob"}}).want(200)
	eve.get(link, false).want(404)
	bob.get(path, true).want(404)
	link = eve.call("GET", "messages/"+m.str("id")+"/", nil).want(200).body.str("file_url")
	eve.get(link, false).want(200)
	h.clock.advance(61 * time.Minute)
	h.user("ann").get(link, false).want(403)
	// Once the message is deleted its file is, too.
	ann, eve = h.user("ann"), h.user("eve")
	ann.call("DELETE", "messages/"+m.str("id")+"/", nil).want(204)
	eve.get(path, true).want(404)
	d := eve.call("GET", "messages/"+m.str("id")+"/", nil).want(200).body
	if d["file"] != nil || d["attachment"] != nil {
		t.Errorf("%v", d)
	}
	for _, bad := range []string{"x", "00000000-0000-0000-0000-000000000000", "00000000-0000-4000-8000-000000000000"} {
		eve.get(api+"files/"+bad+"/a.txt", true).want(404)
		eve.get(api+"files/"+bad+"/", true).want(404)
	}
}

// TestReq074_CounterExpiryThumbnail: each of them over the whole way.
func TestReq074_CounterExpiryThumbnail(t *testing.T) {
	t.Parallel()
	h := start(t, withFiles)
	ann := h.user("ann")
	h.user("bob")
	id := ann.direct("bob")
	m := ann.sendFile(id, "a.png", attachmenttest.Picture("png", 640, 480)).want(201).body
	info := func() object { return ann.call("GET", "files/"+m.obj("attachment").str("id")+"/", nil).want(200).body }
	for i := range 3 {
		if n := info().num("downloads"); n != i {
			t.Errorf("%d downloads, want %d", n, i)
		}
		ann.get(m.str("file"), true).want(200)
	}
	ann.get(m.str("file"), true, "Range", "bytes=5-").want(206)
	if n := info().num("downloads"); n != 3 {
		t.Errorf("%d downloads: the rest of a file is none of its own", n)
	}
	r := ann.get(info().str("thumbnail_url"), false).want(200)
	if c, format, err := image.DecodeConfig(strings.NewReader(r.raw)); err != nil || format != "jpeg" || c.Width != 320 || c.Height != 240 {
		t.Errorf("%s %+v %v", format, c, err)
	}
	h.user("eve").get(api+"files/"+m.obj("attachment").str("id")+"/thumbnail/", true).want(404)
	h.restart()
	ann = h.user("ann")
	if n := info().num("downloads"); n != 3 {
		t.Errorf("%d downloads after a restart", n)
	}
	h.clock.advance(31 * 24 * time.Hour)
	ann = h.user("ann")
	ann.get(m.str("file"), true).want(410)
	ann.call("GET", "files/"+m.obj("attachment").str("id")+"/", nil).want(410)
	h.user("eve").get(m.str("file"), true).want(404)

	never := start(t, withFiles, func(c *config.Config) { c.FileTTL, c.Thumbnails = 0, false })
	ann = never.user("ann")
	never.user("bob")
	m = ann.sendFile(ann.direct("bob"), "a.png", attachmenttest.Sample("png")).want(201).body
	never.clock.advance(1000 * 24 * time.Hour)
	ann = never.user("ann")
	ann.get(m.str("file"), true).want(200)
	ann.get(api+"files/"+m.obj("attachment").str("id")+"/thumbnail/", true).want(404)
}

func TestReq073_EICAR(t *testing.T) {
	t.Parallel()
	srv := clamdtest.Start(t, 64<<20)
	h := start(t, withFiles, func(c *config.Config) { c.Clamd = srv.Addr() })
	ann := h.user("ann")
	h.user("bob")
	id := ann.direct("bob")
	a := ann.dial(id)
	ann.sendFile(id, "a.txt", []byte("clean")).want(201)
	a.next()
	ann.sendFile(id, "a.txt", []byte(clamdtest.EICAR)).want(400).says(`{"file":["File was refused by the virus scanner"]}`)
	if f := a.answer(fileFrame(id, "a.txt", []byte(clamdtest.EICAR), nil)); f.str("code") != "file_infected" {
		t.Errorf("%s", f.raw)
	}
	srv.Close()
	ann.sendFile(id, "a.txt", []byte("cannot be scanned")).want(503)
	if n := len(ann.history(id)); n != 1 {
		t.Errorf("%d messages", n)
	}
}

// TestFileMessagesAreIdempotent: a form that is sent again is the same message, and its second file is gone.
func TestFileMessagesAreIdempotent(t *testing.T) {
	t.Parallel()
	h := start(t, withFiles)
	ann := h.user("ann")
	h.user("bob")
	id := ann.direct("bob")
	var first object
	for i := range 3 {
		m := ann.sendForm(part{"conversation_id", "", []byte(id)}, part{"client_id", "", []byte("c")}, part{"file", "a.txt", []byte("same")}).want(201).body
		if i == 0 {
			first = m
		}
		if m.str("id") != first.str("id") || m.str("file") != first.str("file") {
			t.Errorf("%v, want %v", m, first)
		}
	}
	if n := len(ann.history(id)); n != 1 {
		t.Errorf("%d messages", n)
	}
	ann.get(first.str("file"), true).want(200)
}

// What is refused before or after its file came leaves nothing, whatever the order of the fields.
func TestFormsThatAreRefused(t *testing.T) {
	t.Parallel()
	h := start(t, withFiles)
	ann, eve := h.user("ann"), h.user("eve")
	h.user("bob")
	id := ann.direct("bob")
	file := part{"file", "a.txt", []byte("x")}
	conversation := part{"conversation_id", "", []byte(id)}
	eve.sendForm(conversation, file).want(400).says(`"conversation_id"`)
	eve.sendForm(file, conversation).want(400).says(`"conversation_id"`)
	ann.sendForm(file).want(400).says(`"conversation_id":["This field is required."]`)
	ann.sendForm(conversation).want(400).says("Message must have content, file, or voice message.")
	ann.sendForm(conversation, file, file).want(400).says("Only one file can be sent")
	ann.sendForm(conversation, part{"picture", "a.txt", []byte("x")}).want(400).says(`"picture"`)
	ann.sendForm(conversation, part{"content", "", bytes.Repeat([]byte("x"), 10_001)}, file).want(400).says(`"content"`)
	ann.sendForm(part{"conversation_id", "", bytes.Repeat([]byte("x"), 2<<20)}, file).want(413)
	ann.sendForm(conversation, part{"upload_id", "", []byte("00000000-0000-4000-8000-000000000000")}, file).want(400).says(`"upload_id"`)
	r, err := h.request("POST", api+"messages/", http.Header{"Authorization": {"Bearer " + ann.token}, "Content-Type": {"multipart/form-data; boundary=b"}}, "--b\r\nnonsense")
	if err != nil || r.status != 400 {
		t.Errorf("%v %v", r, err)
	}
	if n := len(ann.history(id)); n != 0 {
		t.Errorf("%d messages", n)
	}
	ann.sendForm(conversation, part{"content", "", []byte("no file")}).want(201)
}

func TestReq070_ResumableUpload(t *testing.T) {
	t.Parallel()
	h := start(t, withFiles)
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.direct("bob")
	tus := func(u *user, method, path, body string, header ...string) *reply {
		t.Helper()
		hd := http.Header{"Authorization": {"Bearer " + u.token}, "Tus-Resumable": {"1.0.0"}}
		for i := 0; i < len(header); i += 2 {
			hd.Set(header[i], header[i+1])
		}
		r, err := h.request(method, path, hd, body)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	meta := func(name string) string { return "filename " + base64.StdEncoding.EncodeToString([]byte(name)) }
	begin := func(name string, size int) *reply {
		return tus(ann, "POST", api+"uploads/", "", "Upload-Length", fmt.Sprint(size), "Upload-Metadata", meta(name))
	}
	chunk := []string{"Content-Type", "application/offset+octet-stream", "Upload-Offset"}
	if r := tus(ann, "OPTIONS", api+"uploads/", "").want(204); r.header.Get("Tus-Extension") != "creation,creation-with-upload,termination,expiration" ||
		r.header.Get("Tus-Max-Size") != "52428800" || r.header.Get("Tus-Version") != "1.0.0" {
		t.Errorf("%v", r.header)
	}
	content := strings.Repeat("Grüße\n", 40_000)
	r := begin("../brief.txt", len(content)).want(201)
	at := r.header.Get("Location")
	if !strings.HasPrefix(at, h.url+api+"uploads/") || r.header.Get("Upload-Expires") == "" {
		t.Fatalf("%v", r.header)
	}
	half := len(content) / 2
	if r := tus(ann, "PATCH", at, content[:half], append(chunk, "0")...).want(204); r.header.Get("Upload-Offset") != fmt.Sprint(half) {
		t.Errorf("%v", r.header)
	}
	tus(ann, "PATCH", at, content[half:], append(chunk, "0")...).want(409)
	tus(bob, "PATCH", at, content[half:], append(chunk, fmt.Sprint(half))...).want(404)
	tus(bob, "HEAD", at, "").want(404)
	h.restart() // parts are where everything is
	ann, bob = h.user("ann"), h.user("bob")
	at = h.url + at[strings.Index(at, api):]
	if r := tus(ann, "HEAD", at, "").want(200); r.header.Get("Upload-Offset") != fmt.Sprint(half) || r.header.Get("Upload-Length") != fmt.Sprint(len(content)) {
		t.Errorf("%v", r.header)
	}
	upload := at[strings.LastIndex(strings.TrimSuffix(at, "/"), "/")+1:]
	ann.call("POST", "messages/", object{"conversation_id": id, "upload_id": upload}).want(400).says("Upload not found")
	tus(ann, "PATCH", at, content[half:], append(chunk, fmt.Sprint(half))...).want(204)
	if v := ann.call("GET", at, nil).want(200).body; !v.yes("ready") || v.str("name") != "brief.txt" || v.num("offset") != len(content) {
		t.Errorf("%v", v)
	}
	bob.call("POST", "messages/", object{"conversation_id": id, "upload_id": upload}).want(400).says(`{"upload_id":["Upload not found"]}`)
	a := ann.dial(id)
	f := a.answer(object{"type": "send_message", "content": "here", "upload_id": upload, "ref": nextRef()})
	if f.obj("attachment").str("id") != upload || f.str("content") != "here" {
		t.Fatalf("%s", f.raw)
	}
	// The same upload is the same message, by whichever way it is sent again.
	if r := ann.call("POST", "messages/", object{"conversation_id": id, "content": "here", "upload_id": upload}).want(201); r.body.str("id") != f.str("id") {
		t.Errorf("%s", r.raw)
	}
	if n := len(ann.history(id)); n != 1 {
		t.Errorf("%d messages", n)
	}
	if r := bob.get(f.str("file"), true).want(200); r.raw != content {
		t.Errorf("%d other bytes", len(r.raw))
	}
	// What the rules refuse: at the beginning what a name says, at the end what content says.
	for _, c := range attachmenttest.Cases() {
		if c.Voice || c.Want == "" || len(c.Content) == 0 && c.Want != "Invalid file data" {
			continue
		}
		r := begin(c.Name, len(c.Content))
		if r.status == 201 {
			r = tus(ann, "PATCH", r.header.Get("Location"), string(c.Content), append(chunk, "0")...)
		}
		if r.status != 400 || !strings.Contains(r.raw, c.Want) {
			t.Errorf("%s: %q: %d %s, want %q", c.What, c.Name, r.status, r.raw, c.Want)
		}
	}
	begin("a.txt", attachment.MaxSize+1).want(413)
	// Given up, it is gone.
	at = begin("a.txt", 10).want(201).header.Get("Location")
	tus(ann, "DELETE", at, "").want(204)
	tus(ann, "HEAD", at, "").want(404)
	// An upload with its first request.
	r = tus(ann, "POST", api+"uploads/", "all", "Upload-Length", "3", "Upload-Metadata", meta("a.txt"), "Content-Type", "application/offset+octet-stream").want(201)
	if v := ann.call("GET", r.header.Get("Location"), nil).want(200).body; !v.yes("ready") {
		t.Errorf("%v", v)
	}
}

// visitFiles is the walk of TestReq105_Endpoints through those of files.
func visitFiles(t *testing.T, h *hub, token, conversation string, visited map[string]bool) {
	t.Helper()
	tus := func(method, path, body string, status int, header ...string) *reply {
		t.Helper()
		hd := http.Header{"Authorization": {"Bearer " + token}, "Tus-Resumable": {"1.0.0"}, "Content-Type": {"application/offset+octet-stream"}}
		for i := 0; i < len(header); i += 2 {
			hd.Set(header[i], header[i+1])
		}
		r, err := h.request(method, path, hd, body)
		if err != nil {
			t.Fatal(err)
		}
		return r.want(status)
	}
	png := string(attachmenttest.Picture("png", 400, 400))
	begin := func() string {
		return tus("POST", api+"uploads/", "", 201, "Upload-Length", fmt.Sprint(len(png)), "Upload-Metadata",
			"filename "+base64.StdEncoding.EncodeToString([]byte("a.png"))).header.Get("Location")
	}
	tus("DELETE", begin(), "", 204)
	at := begin()
	tus("PATCH", at, png, 204, "Upload-Offset", "0")
	u := h.call(token, "GET", at, nil).want(200).body
	wantKeys(t, "upload", u, "id name type size offset ready is_voice created_at expires_at")
	m := h.call(token, "POST", api+"messages/", object{"conversation_id": conversation, "upload_id": u.str("id")}).want(201).body
	wantKeys(t, "attachment", m.obj("attachment"), "id name type size path")
	f := h.call(token, "GET", api+"files/"+u.str("id")+"/", nil).want(200).body
	wantKeys(t, "file", f, "id name type size is_voice path url thumbnail_url message downloads created_at expires_at")
	if r := h.call("", "GET", f.str("url"), nil).want(200); r.raw != png {
		t.Errorf("%d other bytes", len(r.raw))
	}
	h.call("", "GET", f.str("thumbnail_url"), nil).want(200)
	for _, o := range []string{"POST uploads/", "GET uploads/{id}/", "PATCH uploads/{id}/", "DELETE uploads/{id}/", "GET files/{id}/",
		"GET files/{id}/{name}/", "GET files/{id}/thumbnail/"} {
		method, path, _ := strings.Cut(o, " ")
		visited[method+" "+api+path] = true
	}
}
