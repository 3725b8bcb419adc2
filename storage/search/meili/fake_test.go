package meili_test

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
	"time"
)

// fake is a Meilisearch server as its documentation describes it, for the routes, parameters and settings that the
// driver uses: https://github.com/meilisearch/documentation at 52a04d8 (API 1.53), its file
// assets/open-api/meilisearch-openapi-mintlify.json for routes, bodies, status codes and error objects;
// reference/errors/error_codes.mdx; resources/help/known_limitations.mdx (10 words of a query, 511 bytes of a primary key,
// 468 bytes of a filterable value); capabilities/full_text_search/relevancy/typo_tolerance_settings.mdx (a typo in the first
// letter counts as two); capabilities/full_text_search/advanced/performance_tuning.mdx (byAttribute: the words of a phrase need
// only be in the same attribute, which lets more through than we want and so tests more).
//
// It is strict: a route, parameter, setting, attribute or syntax that is not listed here fails the test.
type fake struct {
	t   *testing.T
	srv *httptest.Server

	mu      sync.Mutex
	key     string
	version string
	indexes map[string]*fakeIndex
	tasks   []*fakeTask
	polls   int // a task is carried out after this many questions for it; default 1

	// Faults, all under mu. before may answer a request itself.
	before func(w http.ResponseWriter, r *http.Request) bool
	judge  func(uid string, doc map[string]any) *fakeError // of a document in a task
	stuck  bool                                            // tasks stay enqueued
	log    []string                                        // method and path of what came
}

type fakeError struct {
	Message string `json:"message"`
	Code    string `json:"code"`
	Type    string `json:"type"`
	Link    string `json:"link"`
}

func errorOf(code, kind, message string) *fakeError {
	return &fakeError{message, code, kind, "https://docs.meilisearch.com/errors#" + code}
}

type fakeTask struct {
	uid    int
	index  string
	kind   string
	run    func() *fakeError
	status string
	err    *fakeError
	asked  int
}

type fakeDoc struct {
	fields map[string]any
	raw    map[string]json.RawMessage
	words  map[string][]string // by searchable attribute
}

type fakeIndex struct {
	primaryKey string
	settings   fakeSettings
	docs       map[string]*fakeDoc
}

type fakeTypos struct {
	Enabled             bool           `json:"enabled"`
	MinWordSizeForTypos map[string]int `json:"minWordSizeForTypos"`
	DisableOnWords      []string       `json:"disableOnWords"`
	DisableOnAttributes []string       `json:"disableOnAttributes"`
	DisableOnNumbers    bool           `json:"disableOnNumbers"`
}

type fakeLocales struct {
	Locales           []string `json:"locales"`
	AttributePatterns []string `json:"attributePatterns"`
}

// fakeSettings are those of the documentation, with its defaults.
type fakeSettings struct {
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
	TypoTolerance        fakeTypos           `json:"typoTolerance"`
	Faceting             map[string]any      `json:"faceting"`
	Pagination           struct {
		MaxTotalHits int `json:"maxTotalHits"`
	} `json:"pagination"`
	Embedders           map[string]any `json:"embedders"`
	SearchCutoffMs      *int           `json:"searchCutoffMs"`
	LocalizedAttributes []fakeLocales  `json:"localizedAttributes"`
	FacetSearch         bool           `json:"facetSearch"`
	PrefixSearch        string         `json:"prefixSearch"`
}

func defaultSettings() fakeSettings {
	s := fakeSettings{DisplayedAttributes: []string{"*"}, SearchableAttributes: []string{"*"}, FilterableAttributes: []string{},
		SortableAttributes: []string{}, RankingRules: []string{"words", "typo", "proximity", "attribute", "sort", "exactness"},
		StopWords: []string{}, NonSeparatorTokens: []string{}, SeparatorTokens: []string{}, Dictionary: []string{},
		Synonyms: map[string][]string{}, ProximityPrecision: "byWord", Embedders: map[string]any{}, FacetSearch: true, PrefixSearch: "indexingTime",
		TypoTolerance: fakeTypos{true, map[string]int{"oneTypo": 5, "twoTypos": 9}, []string{}, []string{}, false},
		Faceting:      map[string]any{"maxValuesPerFacet": 100, "sortFacetValuesBy": map[string]string{"*": "alpha"}}}
	s.Pagination.MaxTotalHits = 1000
	return s
}

func newFake(t *testing.T) *fake {
	f := &fake{t: t, version: "1.53.0", indexes: map[string]*fakeIndex{}, polls: 1}
	f.srv = httptest.NewServer(f)
	t.Cleanup(f.srv.Close)
	return f
}

// strange fails the test: the driver did something that the fake does not know.
func (f *fake) strange(format string, args ...any) {
	f.t.Errorf("the fake server: "+format, args...)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, status int, code, kind, message string) {
	answer(w, status, errorOf(code, kind, message))
}

var validUID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,400}$`)
var validID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,511}$`)

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	before := f.before
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
	f.log = append(f.log, r.Method+" "+r.URL.Path)
	if f.key != "" {
		switch auth := r.Header.Get("Authorization"); auth {
		case "":
			refuse(w, 401, "missing_authorization_header", "auth", "The Authorization header is missing. It must use the bearer authorization method.")
			return
		case "Bearer " + f.key:
		default:
			refuse(w, 403, "invalid_api_key", "auth", "The provided API key is invalid.")
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
		refuse(w, 404, "not_found", "invalid_request", "unknown route")
	default:
		h(w, uid, body)
	}
}

// decode refuses what the documentation does not name.
func (f *fake) decode(body []byte, v any) bool {
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		f.strange("body: %v", err)
		return false
	}
	return true
}

func (f *fake) index(w http.ResponseWriter, uid string) *fakeIndex {
	ix := f.indexes[uid]
	if ix == nil {
		refuse(w, 404, "index_not_found", "invalid_request", "Index `"+uid+"` not found.")
	}
	return ix
}

func (f *fake) getVersion(w http.ResponseWriter, _ string, _ []byte) {
	answer(w, 200, map[string]string{"commitSha": "b46889b5f0f2f8b91438a08a358ba8f05fc09fc1", "commitDate": "2026-08-08", "pkgVersion": f.version})
}

const fakeTime = "2026-08-08T17:05:55.791772Z"

func (f *fake) getIndex(w http.ResponseWriter, uid string, _ []byte) {
	if ix := f.index(w, uid); ix != nil {
		answer(w, 200, map[string]any{"uid": uid, "primaryKey": ix.primaryKey, "createdAt": fakeTime, "updatedAt": fakeTime})
	}
}

// enqueue answers 202 and lets run happen later.
func (f *fake) enqueue(w http.ResponseWriter, uid, kind string, run func() *fakeError) {
	t := &fakeTask{uid: len(f.tasks), index: uid, kind: kind, run: run, status: "enqueued"}
	f.tasks = append(f.tasks, t)
	answer(w, 202, map[string]any{"taskUid": t.uid, "indexUid": uid, "status": "enqueued", "type": kind, "enqueuedAt": fakeTime})
}

// carryOut runs the queue up to a task, in order.
func (f *fake) carryOut(upTo int) {
	for _, t := range f.tasks[:upTo+1] {
		if t.status == "enqueued" && !f.stuck {
			if t.err = t.run(); t.err != nil {
				t.status = "failed"
			} else {
				t.status = "succeeded"
			}
		}
	}
}

func (f *fake) getTask(w http.ResponseWriter, id string) {
	n, err := strconv.Atoi(id)
	if err != nil || n >= len(f.tasks) {
		refuse(w, 404, "task_not_found", "invalid_request", "Task `"+id+"` not found.")
		return
	}
	t := f.tasks[n]
	if t.asked++; t.asked > f.polls {
		f.carryOut(n)
	}
	v := map[string]any{"uid": t.uid, "batchUid": t.uid, "indexUid": t.index, "status": t.status, "type": t.kind, "canceledBy": nil,
		"details": nil, "error": nil, "duration": nil, "enqueuedAt": fakeTime, "startedAt": nil, "finishedAt": nil}
	if t.status != "enqueued" {
		v["duration"], v["startedAt"], v["finishedAt"] = "PT1S", fakeTime, fakeTime
	}
	if t.err != nil {
		v["error"] = t.err
	}
	answer(w, 200, v)
}

func (f *fake) postIndexes(w http.ResponseWriter, _ string, body []byte) {
	var q struct {
		UID        string `json:"uid"`
		PrimaryKey string `json:"primaryKey"`
	}
	if !f.decode(body, &q) {
		return
	}
	f.enqueue(w, q.UID, "indexCreation", func() *fakeError {
		if f.indexes[q.UID] != nil {
			return errorOf("index_already_exists", "invalid_request", "Index `"+q.UID+"` already exists.")
		}
		f.indexes[q.UID] = &fakeIndex{primaryKey: q.PrimaryKey, settings: defaultSettings(), docs: map[string]*fakeDoc{}}
		return nil
	})
}

func (f *fake) deleteIndex(w http.ResponseWriter, uid string, _ []byte) {
	// Accepted whether there is one or not; then the task fails.
	f.enqueue(w, uid, "indexDeletion", func() *fakeError {
		if f.indexes[uid] == nil {
			return errorOf("index_not_found", "invalid_request", "Index `"+uid+"` not found.")
		}
		delete(f.indexes, uid)
		return nil
	})
}

func (f *fake) getSettings(w http.ResponseWriter, uid string, _ []byte) {
	if ix := f.index(w, uid); ix != nil {
		answer(w, 200, ix.settings)
	}
}

func (f *fake) patchSettings(w http.ResponseWriter, uid string, body []byte) {
	var check fakeSettings
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
	f.enqueue(w, uid, "settingsUpdate", func() *fakeError {
		ix := f.indexes[uid]
		if ix == nil {
			return errorOf("index_not_found", "invalid_request", "Index `"+uid+"` not found.")
		}
		if err := json.Unmarshal(body, &ix.settings); err != nil {
			f.strange("settings: %v", err)
		}
		return nil
	})
}

func (f *fake) putFacetSearch(w http.ResponseWriter, uid string, body []byte) {
	on, err := strconv.ParseBool(strings.TrimSpace(string(body)))
	if f.index(w, uid) == nil || err != nil {
		return
	}
	f.enqueue(w, uid, "settingsUpdate", func() *fakeError { f.indexes[uid].settings.FacetSearch = on; return nil })
}

var knownFields = []string{"id", "generation", "cursor", "tenant", "conversation", "seq", "message", "sender", "at", "attachment", "words", "grams", "content"}

func (f *fake) postDocuments(w http.ResponseWriter, uid string, body []byte) {
	var docs []map[string]json.RawMessage
	for line := range strings.Lines(string(body)) {
		var d map[string]json.RawMessage
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			refuse(w, 400, "malformed_payload", "invalid_request", "The `ndjson` payload provided is malformed.")
			return
		}
		for k := range d {
			if !slices.Contains(knownFields, k) {
				f.strange("document field %q", k)
			}
		}
		docs = append(docs, d)
	}
	f.enqueue(w, uid, "documentAdditionOrUpdate", func() *fakeError {
		ix := f.indexes[uid]
		if ix == nil { // the server makes one with the default settings: never what we want
			f.strange("documents for an index that is not there")
			return errorOf("index_not_found", "invalid_request", "")
		}
		fresh := map[string]*fakeDoc{}
		for _, raw := range docs {
			d := &fakeDoc{fields: map[string]any{}, raw: raw, words: map[string][]string{}}
			for k, v := range raw {
				var x any
				_ = json.Unmarshal(v, &x)
				d.fields[k] = x
			}
			id, _ := d.fields["id"].(string)
			if !validID.MatchString(id) {
				return errorOf("invalid_document_id", "invalid_request", "Document identifier `"+id+"` is invalid.")
			}
			if f.judge != nil {
				if err := f.judge(uid, d.fields); err != nil {
					return err
				}
			}
			for _, a := range ix.settings.FilterableAttributes {
				if s, ok := d.fields[a].(string); ok && len(s) > 468 {
					f.strange("%s has %d bytes", a, len(s))
				}
			}
			for _, a := range ix.settings.SearchableAttributes {
				s, _ := d.fields[a].(string)
				d.words[a] = strings.Fields(s)
				if len(d.words[a]) > 65535 {
					d.words[a] = d.words[a][:65535]
				}
			}
			fresh[id] = d
		}
		for id, d := range fresh {
			ix.docs[id] = d
		}
		return nil
	})
}

func (f *fake) fetchDocuments(w http.ResponseWriter, uid string, body []byte) {
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
		if d := ix.docs[id]; d != nil && len(results) < q.Limit {
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

func (f *fake) deleteBatch(w http.ResponseWriter, uid string, body []byte) {
	var ids []string
	if !f.decode(body, &ids) {
		return
	}
	f.enqueue(w, uid, "documentDeletion", func() *fakeError {
		for _, id := range ids {
			delete(f.indexes[uid].docs, id)
		}
		return nil
	})
}

func (f *fake) deleteByFilter(w http.ResponseWriter, uid string, body []byte) {
	var q struct {
		Filter string `json:"filter"`
	}
	ix := f.index(w, uid)
	if ix == nil || !f.decode(body, &q) {
		return
	}
	match := f.filter(ix, q.Filter)
	f.enqueue(w, uid, "documentDeletion", func() *fakeError {
		for id, d := range f.indexes[uid].docs {
			if match(d) {
				delete(f.indexes[uid].docs, id)
			}
		}
		return nil
	})
}

func (f *fake) swapIndexes(w http.ResponseWriter, _ string, body []byte) {
	var q []struct {
		Indexes []string `json:"indexes"`
		Rename  bool     `json:"rename"`
	}
	if !f.decode(body, &q) || len(q) != 1 || len(q[0].Indexes) != 2 || q[0].Rename {
		f.strange("swap %s", body)
		return
	}
	a, b := q[0].Indexes[0], q[0].Indexes[1]
	f.enqueue(w, "", "indexSwap", func() *fakeError {
		if f.indexes[a] == nil || f.indexes[b] == nil {
			return errorOf("index_not_found", "invalid_request", fmt.Sprintf("Indexes `%s`, `%s` not found.", a, b))
		}
		f.indexes[a], f.indexes[b] = f.indexes[b], f.indexes[a]
		return nil
	})
}

// slow is a time that no test waits for.
const slow = time.Hour
