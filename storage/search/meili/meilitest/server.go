package meilitest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Server is a Meilisearch server as its documentation describes it, for the routes, parameters and settings that the
// driver uses: https://github.com/meilisearch/documentation at 52a04d8 (API 1.53), its file
// assets/open-api/meilisearch-openapi-mintlify.json for routes, bodies, status codes and error objects;
// reference/errors/error_codes.mdx; resources/help/known_limitations.mdx (10 words of a query, 511 bytes of a primary key,
// 468 bytes of a filterable value); capabilities/full_text_search/relevancy/typo_tolerance_settings.mdx (a typo in the first
// letter counts as two); capabilities/full_text_search/advanced/performance_tuning.mdx (byAttribute: the words of a phrase need
// only be in the same attribute, which lets more through than we want and so tests more).
//
// It is strict: a route, parameter, setting, attribute or syntax that is not listed here fails the test. Its fields are
// changed and looked at within Set once it serves.
type Server struct {
	URL string // empty unless made by New

	T       testing.TB
	Key     string // empty: none is asked for
	Version string
	Indexes map[string]*Index
	Tasks   []*Task
	Polls   int // a task is carried out after this many questions for it

	// Faults. Before may answer a request itself; it is called outside of Set.
	Before func(w http.ResponseWriter, r *http.Request) bool
	Judge  func(uid string, doc map[string]any) *Error // of a document in a task
	Stuck  bool                                        // tasks stay enqueued
	Log    []string                                    // method and path of what came

	mu  sync.Mutex
	srv *httptest.Server
}

// Error is how the server reports errors.
type Error struct {
	Message string `json:"message"`
	Code    string `json:"code"`
	Type    string `json:"type"`
	Link    string `json:"link"`
}

// ErrorOf makes an error object.
func ErrorOf(code, kind, message string) *Error {
	return &Error{message, code, kind, "https://docs.meilisearch.com/errors#" + code}
}

// Task of the queue.
type Task struct {
	Status string // enqueued, succeeded, failed

	uid   int
	index string
	kind  string
	run   func() *Error
	err   *Error
	asked int
}

// Document of an index.
type Document struct {
	fields map[string]any
	raw    map[string]json.RawMessage
	words  map[string][]string // by searchable attribute
}

// Index of the server.
type Index struct {
	PrimaryKey string
	Settings   Settings
	Docs       map[string]*Document
}

// Typos are the settings of typo tolerance.
type Typos struct {
	Enabled             bool           `json:"enabled"`
	MinWordSizeForTypos map[string]int `json:"minWordSizeForTypos"`
	DisableOnWords      []string       `json:"disableOnWords"`
	DisableOnAttributes []string       `json:"disableOnAttributes"`
	DisableOnNumbers    bool           `json:"disableOnNumbers"`
}

// Locale is the setting of an attribute's languages.
type Locale struct {
	Locales           []string `json:"locales"`
	AttributePatterns []string `json:"attributePatterns"`
}

// Settings of an index.
type Settings struct {
	DisplayedAttributes  []string            `json:"displayedAttributes"`
	SearchableAttributes []string            `json:"searchableAttributes"`
	FilterableAttributes []string            `json:"filterableAttributes"`
	SortableAttributes   []string            `json:"sortableAttributes"`
	RankingRules         []string            `json:"rankingRules"`
	StopWords            []string            `json:"stopWords"`
	NonSeparatorTokens   []string            `json:"nonSeparatorTokens"`
	SeparatorTokens      []string            `json:"separatorTokens"`
	Dictionary           []string            `json:"dictionary"`
	Synonyms             map[string][]string `json:"synonyms"`
	DistinctAttribute    *string             `json:"distinctAttribute"`
	ProximityPrecision   string              `json:"proximityPrecision"`
	TypoTolerance        Typos               `json:"typoTolerance"`
	Faceting             map[string]any      `json:"faceting"`
	Pagination           struct {
		MaxTotalHits int `json:"maxTotalHits"`
	} `json:"pagination"`
	Embedders           map[string]any `json:"embedders"`
	SearchCutoffMs      *int           `json:"searchCutoffMs"`
	LocalizedAttributes []Locale       `json:"localizedAttributes"`
	FacetSearch         bool           `json:"facetSearch"`
	PrefixSearch        string         `json:"prefixSearch"`
}

// DefaultSettings are those that the documentation names.
func DefaultSettings() Settings {
	s := Settings{DisplayedAttributes: []string{"*"}, SearchableAttributes: []string{"*"}, FilterableAttributes: []string{},
		SortableAttributes: []string{}, RankingRules: []string{"words", "typo", "proximity", "attribute", "sort", "exactness"},
		StopWords: []string{}, NonSeparatorTokens: []string{}, SeparatorTokens: []string{}, Dictionary: []string{},
		Synonyms: map[string][]string{}, ProximityPrecision: "byWord", Embedders: map[string]any{}, FacetSearch: true, PrefixSearch: "indexingTime",
		TypoTolerance: Typos{true, map[string]int{"oneTypo": 5, "twoTypos": 9}, []string{}, []string{}, false},
		Faceting:      map[string]any{"maxValuesPerFacet": 100, "sortFacetValuesBy": map[string]string{"*": "alpha"}}}
	s.Pagination.MaxTotalHits = 1000
	return s
}

// New returns a server that serves until the test ends.
func New(t testing.TB) *Server {
	f := &Server{T: t, Version: "1.53.0", Polls: 1}
	f.srv = httptest.NewServer(f)
	f.URL = f.srv.URL
	t.Cleanup(f.Close)
	return f
}

// Close ends the server.
func (f *Server) Close() { f.srv.Close() }

// Set changes or looks at what the server holds.
func (f *Server) Set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// strange fails the test: the driver did something that the fake does not know.
func (f *Server) strange(format string, args ...any) {
	f.T.Errorf("the fake server: "+format, args...)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// Refuse answers an error.
func Refuse(w http.ResponseWriter, status int, code, kind, message string) {
	answer(w, status, ErrorOf(code, kind, message))
}

var validUID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,400}$`)
var validID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,511}$`)

func (f *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	before := f.Before
	f.mu.Unlock()
	if before != nil && before(w, r) {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client is gone
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Log = append(f.Log, r.Method+" "+r.URL.Path)
	if f.Key != "" {
		switch auth := r.Header.Get("Authorization"); auth {
		case "":
			Refuse(w, 401, "missing_authorization_header", "auth", "The Authorization header is missing. It must use the bearer authorization method.")
			return
		case "Bearer " + f.Key:
		default:
			Refuse(w, 403, "invalid_api_key", "auth", "The provided API key is invalid.")
			return
		}
	}
	if r.URL.RawQuery != "" {
		f.strange("%s %s has query parameters %q", r.Method, r.URL.Path, r.URL.RawQuery)
	}
	want := "application/json"
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	route := r.Method + " /" + parts[0]
	uid := ""
	if parts[0] == "indexes" && len(parts) > 1 {
		uid = parts[1]
		if !validUID.MatchString(uid) {
			f.strange("index uid %q", uid)
		}
		route = strings.TrimSuffix(r.Method+" /indexes/{uid}/"+strings.Join(parts[2:], "/"), "/")
	}
	if route == "POST /indexes/{uid}/documents" {
		want = "application/x-ndjson"
	}
	if len(body) > 0 && r.Header.Get("Content-Type") != want {
		f.strange("%s: content type %q", route, r.Header.Get("Content-Type"))
	}
	h := map[string]func(http.ResponseWriter, string, []byte){
		"GET /version":                               f.getVersion,
		"POST /indexes":                              f.postIndexes,
		"GET /indexes/{uid}":                         f.getIndex,
		"DELETE /indexes/{uid}":                      f.deleteIndex,
		"GET /indexes/{uid}/settings":                f.getSettings,
		"PATCH /indexes/{uid}/settings":              f.patchSettings,
		"PUT /indexes/{uid}/settings/facet-search":   f.putFacetSearch,
		"POST /indexes/{uid}/documents":              f.postDocuments,
		"POST /indexes/{uid}/documents/fetch":        f.fetchDocuments,
		"POST /indexes/{uid}/documents/delete":       f.deleteByFilter,
		"POST /indexes/{uid}/documents/delete-batch": f.deleteBatch,
		"POST /multi-search":                         f.multiSearch,
		"POST /swap-indexes":                         f.swapIndexes,
	}[route]
	switch {
	case parts[0] == "tasks" && r.Method == "GET" && len(parts) == 2:
		f.getTask(w, parts[1])
	case h == nil:
		f.strange("unknown route %s %s", r.Method, r.URL.Path)
		Refuse(w, 404, "not_found", "invalid_request", "unknown route")
	default:
		h(w, uid, body)
	}
}

// decode refuses what the documentation does not name.
func (f *Server) decode(body []byte, v any) bool {
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		f.strange("body: %v", err)
		return false
	}
	return true
}

func (f *Server) index(w http.ResponseWriter, uid string) *Index {
	ix := f.Indexes[uid]
	if ix == nil {
		Refuse(w, 404, "index_not_found", "invalid_request", "Index `"+uid+"` not found.")
	}
	return ix
}

func (f *Server) getVersion(w http.ResponseWriter, _ string, _ []byte) {
	answer(w, 200, map[string]string{"commitSha": "b46889b5f0f2f8b91438a08a358ba8f05fc09fc1", "commitDate": "2026-08-08", "pkgVersion": f.Version})
}

const fakeTime = "2026-08-08T17:05:55.791772Z"

func (f *Server) getIndex(w http.ResponseWriter, uid string, _ []byte) {
	if ix := f.index(w, uid); ix != nil {
		answer(w, 200, map[string]any{"uid": uid, "primaryKey": ix.PrimaryKey, "createdAt": fakeTime, "updatedAt": fakeTime})
	}
}

func (f *Server) put(uid string, ix *Index) {
	if f.Indexes == nil {
		f.Indexes = map[string]*Index{}
	}
	f.Indexes[uid] = ix
}

// enqueue answers 202 and lets run happen later.
func (f *Server) enqueue(w http.ResponseWriter, uid, kind string, run func() *Error) {
	t := &Task{uid: len(f.Tasks), index: uid, kind: kind, run: run, Status: "enqueued"}
	f.Tasks = append(f.Tasks, t)
	answer(w, 202, map[string]any{"taskUid": t.uid, "indexUid": uid, "status": "enqueued", "type": kind, "enqueuedAt": fakeTime})
}

// carryOut runs the queue up to a task, in order.
func (f *Server) carryOut(upTo int) {
	for _, t := range f.Tasks[:upTo+1] {
		if t.Status == "enqueued" && !f.Stuck {
			if t.err = t.run(); t.err != nil {
				t.Status = "failed"
			} else {
				t.Status = "succeeded"
			}
		}
	}
}

func (f *Server) getTask(w http.ResponseWriter, id string) {
	n, err := strconv.Atoi(id)
	if err != nil || n >= len(f.Tasks) {
		Refuse(w, 404, "task_not_found", "invalid_request", "Task `"+id+"` not found.")
		return
	}
	t := f.Tasks[n]
	if t.asked++; t.asked > f.Polls {
		f.carryOut(n)
	}
	v := map[string]any{"uid": t.uid, "batchUid": t.uid, "indexUid": t.index, "status": t.Status, "type": t.kind, "canceledBy": nil,
		"details": nil, "error": nil, "duration": nil, "enqueuedAt": fakeTime, "startedAt": nil, "finishedAt": nil}
	if t.Status != "enqueued" {
		v["duration"], v["startedAt"], v["finishedAt"] = "PT1S", fakeTime, fakeTime
	}
	if t.err != nil {
		v["error"] = t.err
	}
	answer(w, 200, v)
}

func (f *Server) postIndexes(w http.ResponseWriter, _ string, body []byte) {
	var q struct {
		UID        string `json:"uid"`
		PrimaryKey string `json:"primaryKey"`
	}
	if !f.decode(body, &q) {
		return
	}
	f.enqueue(w, q.UID, "indexCreation", func() *Error {
		if f.Indexes[q.UID] != nil {
			return ErrorOf("index_already_exists", "invalid_request", "Index `"+q.UID+"` already exists.")
		}
		f.put(q.UID, &Index{PrimaryKey: q.PrimaryKey, Settings: DefaultSettings(), Docs: map[string]*Document{}})
		return nil
	})
}

func (f *Server) deleteIndex(w http.ResponseWriter, uid string, _ []byte) {
	// Accepted whether there is one or not; then the task fails.
	f.enqueue(w, uid, "indexDeletion", func() *Error {
		if f.Indexes[uid] == nil {
			return ErrorOf("index_not_found", "invalid_request", "Index `"+uid+"` not found.")
		}
		delete(f.Indexes, uid)
		return nil
	})
}

func (f *Server) getSettings(w http.ResponseWriter, uid string, _ []byte) {
	if ix := f.index(w, uid); ix != nil {
		answer(w, 200, ix.Settings)
	}
}

func (f *Server) patchSettings(w http.ResponseWriter, uid string, body []byte) {
	var check Settings
	if f.index(w, uid) == nil || !f.decode(body, &check) {
		return
	}
	for _, r := range check.RankingRules {
		if !slices.Contains([]string{"words", "typo", "proximity", "attribute", "sort", "exactness"}, r) {
			f.strange("ranking rule %q", r)
		}
	}
	if m := check.TypoTolerance.MinWordSizeForTypos; m["oneTypo"] > m["twoTypos"] || m["twoTypos"] > 255 {
		f.strange("minWordSizeForTypos %v: oneTypo is above twoTypos, or that above 255", m)
	}
	if check.PrefixSearch != "disabled" && check.PrefixSearch != "indexingTime" || check.ProximityPrecision != "byWord" && check.ProximityPrecision != "byAttribute" {
		f.strange("prefixSearch %q, proximityPrecision %q", check.PrefixSearch, check.ProximityPrecision)
	}
	f.enqueue(w, uid, "settingsUpdate", func() *Error {
		ix := f.Indexes[uid]
		if ix == nil {
			return ErrorOf("index_not_found", "invalid_request", "Index `"+uid+"` not found.")
		}
		if err := json.Unmarshal(body, &ix.Settings); err != nil {
			f.strange("settings: %v", err)
		}
		return nil
	})
}

func (f *Server) putFacetSearch(w http.ResponseWriter, uid string, body []byte) {
	on, err := strconv.ParseBool(strings.TrimSpace(string(body)))
	if f.index(w, uid) == nil || err != nil {
		return
	}
	f.enqueue(w, uid, "settingsUpdate", func() *Error { f.Indexes[uid].Settings.FacetSearch = on; return nil })
}

var knownFields = []string{"id", "generation", "cursor", "tenant", "conversation", "seq", "message", "sender", "at", "attachment", "words", "grams", "content"}

func (f *Server) postDocuments(w http.ResponseWriter, uid string, body []byte) {
	var docs []map[string]json.RawMessage
	for line := range strings.Lines(string(body)) {
		var d map[string]json.RawMessage
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			Refuse(w, 400, "malformed_payload", "invalid_request", "The `ndjson` payload provided is malformed.")
			return
		}
		for k := range d {
			if !slices.Contains(knownFields, k) {
				f.strange("document field %q", k)
			}
		}
		docs = append(docs, d)
	}
	f.enqueue(w, uid, "documentAdditionOrUpdate", func() *Error {
		ix := f.Indexes[uid]
		if ix == nil { // the server makes one with the default settings: never what we want
			f.strange("documents for an index that is not there")
			return ErrorOf("index_not_found", "invalid_request", "")
		}
		fresh := map[string]*Document{}
		for _, raw := range docs {
			d := &Document{fields: map[string]any{}, raw: raw, words: map[string][]string{}}
			for k, v := range raw {
				var x any
				_ = json.Unmarshal(v, &x)
				d.fields[k] = x
			}
			id, _ := d.fields["id"].(string)
			if !validID.MatchString(id) {
				return ErrorOf("invalid_document_id", "invalid_request", "Document identifier `"+id+"` is invalid.")
			}
			if f.Judge != nil {
				if err := f.Judge(uid, d.fields); err != nil {
					return err
				}
			}
			for _, a := range ix.Settings.FilterableAttributes {
				if s, ok := d.fields[a].(string); ok && len(s) > 468 {
					f.strange("%s has %d bytes", a, len(s))
				}
			}
			for _, a := range ix.Settings.SearchableAttributes {
				s, _ := d.fields[a].(string)
				d.words[a] = strings.Fields(s)
				if len(d.words[a]) > 65535 {
					d.words[a] = d.words[a][:65535]
				}
			}
			fresh[id] = d
		}
		for id, d := range fresh {
			ix.Docs[id] = d
		}
		return nil
	})
}

func (f *Server) fetchDocuments(w http.ResponseWriter, uid string, body []byte) {
	var q struct {
		IDs    []string `json:"ids"`
		Fields []string `json:"fields"`
		Limit  int      `json:"limit"`
	}
	q.Limit = 20
	ix := f.index(w, uid)
	if ix == nil || !f.decode(body, &q) {
		return
	}
	results := []map[string]json.RawMessage{}
	for _, id := range q.IDs {
		if d := ix.Docs[id]; d != nil && len(results) < q.Limit {
			results = append(results, only(d.raw, q.Fields))
		}
	}
	answer(w, 200, map[string]any{"results": results, "offset": 0, "limit": q.Limit, "total": len(results)})
}

func only(raw map[string]json.RawMessage, fields []string) map[string]json.RawMessage {
	if fields == nil {
		return raw
	}
	m := map[string]json.RawMessage{}
	for _, k := range fields {
		if v, ok := raw[k]; ok {
			m[k] = v
		}
	}
	return m
}

func (f *Server) deleteBatch(w http.ResponseWriter, uid string, body []byte) {
	var ids []string
	if !f.decode(body, &ids) {
		return
	}
	f.enqueue(w, uid, "documentDeletion", func() *Error {
		for _, id := range ids {
			delete(f.Indexes[uid].Docs, id)
		}
		return nil
	})
}

func (f *Server) deleteByFilter(w http.ResponseWriter, uid string, body []byte) {
	var q struct {
		Filter string `json:"filter"`
	}
	ix := f.index(w, uid)
	if ix == nil || !f.decode(body, &q) {
		return
	}
	match := f.filter(ix, q.Filter)
	f.enqueue(w, uid, "documentDeletion", func() *Error {
		for id, d := range f.Indexes[uid].Docs {
			if match(d) {
				delete(f.Indexes[uid].Docs, id)
			}
		}
		return nil
	})
}

func (f *Server) swapIndexes(w http.ResponseWriter, _ string, body []byte) {
	var q []struct {
		Indexes []string `json:"indexes"`
		Rename  bool     `json:"rename"`
	}
	if !f.decode(body, &q) || len(q) != 1 || len(q[0].Indexes) != 2 || q[0].Rename {
		f.strange("swap %s", body)
		return
	}
	a, b := q[0].Indexes[0], q[0].Indexes[1]
	f.enqueue(w, "", "indexSwap", func() *Error {
		if f.Indexes[a] == nil || f.Indexes[b] == nil {
			return ErrorOf("index_not_found", "invalid_request", fmt.Sprintf("Indexes `%s`, `%s` not found.", a, b))
		}
		f.Indexes[a], f.Indexes[b] = f.Indexes[b], f.Indexes[a]
		return nil
	})
}
