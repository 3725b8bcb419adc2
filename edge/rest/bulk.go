package rest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/chat"
)

const (
	// bulkTimeout bounds a whole export or import, bulkStall the wait for the client's next bytes.
	bulkTimeout = 2 * time.Hour
	bulkStall   = time.Minute
	// bulkBatch is how many users are in memory at once, bulkWrites how many of them are written at once.
	bulkBatch  = 100
	bulkWrites = 16
	maxLine    = 64 << 10 // bytes of one line of an import
)

const ndjson = "application/x-ndjson"

// progress gives a stream's client another while to take, or to send, its next bytes.
func progress(rc *http.ResponseController) {
	until := time.Now().Add(bulkStall)
	_ = rc.SetReadDeadline(until) // where the writer has no deadlines, the server's own timeouts hold
	_ = rc.SetWriteDeadline(until)
}

// begin sends the head of a stream.
func begin(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", ndjson)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Connection", "close") // its deadlines are not those of another request
	w.WriteHeader(http.StatusOK)
}

// GET admin/export/users/ streams all users of a tenant, one a line, in no particular order. An export that cannot go on
// breaks off without the end of the response, which clients of HTTP report.
func (a *API) exportUsers(ctx context.Context, c *call) response {
	// What can fail at all mostly fails at once, while there is still a status to say so.
	users, next, done, err := a.cfg.Tenancy.WalkUsers(ctx, c.admin.tenant, chat.UserCursor{}, bulkBatch)
	if err != nil {
		return a.failure(err, texts{name: "export_users"})
	}
	return response{status: http.StatusOK, header: map[string]string{"Content-Type": ndjson}, stream: func(w http.ResponseWriter) {
		// The context of dispatch is still in force: serve ends it after the stream.
		n := 0
		outcome := "broken off"
		// Once, also when the client goes away: what it has, it has.
		defer func() { a.audit(ctx, c, chat.ActionExport, fmt.Sprintf("%s, %d users", outcome, n)) }()
		rc := http.NewResponseController(w)
		begin(w)
		out := json.NewEncoder(w)
		for {
			progress(rc)
			for _, u := range users {
				if err := out.Encode(viewAccount(u)); err != nil {
					return
				}
				n++
			}
			if rc.Flush() != nil {
				return
			}
			if done {
				outcome = "ok"
				return
			}
			if users, next, done, err = a.cfg.Tenancy.WalkUsers(ctx, c.admin.tenant, next, bulkBatch); err != nil {
				a.cfg.Logger.Error("rest: export broken off", "tenant", c.admin.tenant, "error", err)
				panic(http.ErrAbortHandler)
			}
		}
	}}
}

// imported is the result of one line.
type imported struct {
	Line   int         `json:"line"`
	ID     chat.UserID `json:"id,omitempty"`
	Status string      `json:"status"` // created, updated, unchanged, error
	Errors any         `json:"errors,omitempty"`
}

// total is the last line of the results.
type total struct {
	Done      bool `json:"done"` // false: the import broke off; what follows the last line was not looked at
	Lines     int  `json:"lines"`
	Created   int  `json:"created"`
	Updated   int  `json:"updated"`
	Unchanged int  `json:"unchanged"`
	Errors    int  `json:"errors"`
}

// POST admin/import/users/ writes users, one a line, and answers one line for each, in order, while it reads on; with
// ?results=errors only those that failed; then a total. Doing it again changes nothing.
func (a *API) importUsers(ctx context.Context, c *call) response {
	onlyErrors := false
	switch v := c.r.URL.Query().Get("results"); v {
	case "", "all":
	case "errors":
		onlyErrors = true
	default:
		return invalid("results", `"`+printable(v)+`" is not a valid choice.`)
	}
	return response{status: http.StatusOK, header: map[string]string{"Content-Type": ndjson}, stream: func(w http.ResponseWriter) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex() // where there is none, the results come after the last line
		im := &importer{a: a, tenant: c.admin.tenant, out: json.NewEncoder(w), rc: rc, onlyErrors: onlyErrors}
		progress(rc)
		begin(w)
		im.run(ctx, &steadyReader{ReadCloser: c.r.Body, rc: rc, idle: bulkStall}) // also a line a second is progress
		outcome := "ok"
		if !im.total.Done {
			outcome = "broken off"
		}
		t := im.total
		a.audit(ctx, c, chat.ActionImport, fmt.Sprintf("%s, %d created, %d updated, %d unchanged, %d errors", outcome, t.Created, t.Updated, t.Unchanged, t.Errors))
	}}
}

type importer struct {
	a          *API
	tenant     chat.TenantID
	out        *json.Encoder
	rc         *http.ResponseController
	onlyErrors bool
	total      total

	results []imported
	users   []chat.User // of results; without id where the line is wrong
}

var errLine = errors.New("line is too long")

// line reads the next line without its end; io.EOF after the last one.
func line(in *bufio.Reader) ([]byte, error) {
	b, err := in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, errLine
	}
	if errors.Is(err, io.EOF) && len(b) > 0 {
		err = nil
	}
	return bytes.TrimSpace(b), err
}

func (im *importer) run(ctx context.Context, body io.Reader) {
	in := bufio.NewReaderSize(body, maxLine)
	for {
		b, err := line(in)
		if err != nil {
			im.total.Done = im.flush(ctx) && errors.Is(err, io.EOF)
			if errors.Is(err, errLine) {
				im.total.Errors++
				_ = im.out.Encode(imported{Line: im.total.Lines + 1, Status: "error", Errors: fieldErrors{nonField: {"The line is longer than 65536 bytes."}}})
			}
			break
		}
		im.total.Lines++
		if len(b) == 0 {
			continue
		}
		im.add(b)
		if len(im.results) >= bulkBatch && !im.flush(ctx) {
			break
		}
	}
	_ = im.out.Encode(im.total) // the client is gone
	_ = im.rc.Flush()
}

func (im *importer) add(raw []byte) {
	r, u := imported{Line: im.total.Lines}, chat.User{}
	b, bad := jsonBody(raw)
	if bad != nil {
		r.Status, r.Errors = "error", bad.body
	} else {
		u = b.account(b.required("id"))
		if len(b.errs["id"]) > 1 {
			b.errs["id"] = b.errs["id"][:1]
		}
		if r.ID = u.ID; len(b.errs) > 0 {
			r.Status, r.Errors, u = "error", b.errs, chat.User{}
		}
	}
	u.Tenant = im.tenant
	im.results, im.users = append(im.results, r), append(im.users, u)
}

// flush carries out the lines that were read; false if the import cannot go on.
func (im *importer) flush(ctx context.Context) bool {
	defer func() { im.results, im.users = im.results[:0], im.users[:0] }()
	im.write(ctx)
	progress(im.rc)
	for i := range im.results {
		r := &im.results[i]
		switch r.Status {
		case "created":
			im.total.Created++
		case "updated":
			im.total.Updated++
		case "unchanged":
			im.total.Unchanged++
		default:
			im.total.Errors++
		}
		if r.Status != "error" && im.onlyErrors {
			continue
		}
		if im.out.Encode(r) != nil {
			return false
		}
	}
	return im.rc.Flush() == nil && ctx.Err() == nil
}

// write writes a batch. Of several lines about one user the last one counts, so that the order does not matter.
func (im *importer) write(ctx context.Context) {
	var ids []chat.UserID
	last := make(map[chat.UserID]int)
	for i, u := range im.users {
		if u.ID == "" {
			continue
		}
		if before, twice := last[u.ID]; twice {
			im.results[before].Status = "unchanged"
		} else {
			ids = append(ids, u.ID)
		}
		last[u.ID] = i
	}
	if len(ids) == 0 {
		return
	}
	stored, err := im.a.cfg.Users.GetUsers(ctx, im.tenant, ids)
	var g errgroup.Group
	g.SetLimit(bulkWrites)
	for n, id := range ids {
		i := last[id]
		u, r := &im.users[i], &im.results[i]
		if err != nil {
			r.Status, r.Errors = "error", im.a.failure(err, texts{name: "get_users"}).body
			continue
		}
		before := stored[n]
		g.Go(func() error {
			r.Status = "created"
			if before.ID != "" {
				r.Status = "updated"
				same := before
				same.CreatedAt, same.UpdatedAt = u.CreatedAt, u.UpdatedAt
				if same == *u {
					r.Status = "unchanged"
					return nil
				}
			}
			if err := im.a.writeUser(ctx, u, before, before.ID != ""); err != nil {
				r.Status, r.Errors = "error", im.a.failure(err, texts{name: "put_user", write: true}).body
			}
			return nil
		})
	}
	_ = g.Wait() // of functions that answer nil
}
