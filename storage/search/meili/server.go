package meili

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meilisearch/meilisearch-go"

	"github.com/zumodra/hub/storage/search"
)

// Versions of the server: the oldest that takes all that is sent (the client library always sends the parameter rename
// of a swap, which 1.18 introduced), and the one whose documentation this follows.
const (
	oldestMajor, oldestMinor = 1, 18
	documentedVersion        = "1.53"
)

// errNoIndex: the server's index was removed behind our back. It comes with search.ErrUnavailable.
var errNoIndex = errors.New("the index is not there")

// apiError is what the server answered. It carries no text of the server's: that may quote documents.
type apiError struct {
	status     int
	code, kind string
}

func (e *apiError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", e.status, cmp.Or(e.code, http.StatusText(e.status))))
}

// failed maps an error of the client library, whose own texts may hold bodies of requests and answers.
func (x *Index) failed(ctx context.Context, err error, doing string) error {
	if err == nil {
		return nil
	}
	if x.life.Err() != nil {
		return search.ErrClosed
	}
	if ctx.Err() != nil {
		return fmt.Errorf("search: %s: %w", doing, ctx.Err())
	}
	at := "Meilisearch at " + x.cfg.URL
	var e *meilisearch.Error // which does not unwrap
	errors.As(err, &e)
	switch {
	case errors.Is(err, context.DeadlineExceeded), e != nil && errors.Is(e.OriginError, context.DeadlineExceeded):
		return fmt.Errorf("%w: %s does not answer within %v (%s)", search.ErrUnavailable, at, x.cfg.Timeout, doing)
	case e == nil:
		return fmt.Errorf("%w: the answer of %s broke off (%s)", search.ErrUnavailable, at, doing)
	case e.ErrCode == meilisearch.ErrCodeResponseUnmarshalBody:
		return fmt.Errorf("%w: %s answers something that is not its JSON (%s)", search.ErrUnavailable, at, doing)
	case e.StatusCode == 0:
		return fmt.Errorf("%w: %s cannot be reached (%s): %w", search.ErrUnavailable, at, doing, e.OriginError)
	}
	a := &apiError{e.StatusCode, e.MeilisearchApiError.Code, e.MeilisearchApiError.Type}
	switch {
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		return fmt.Errorf("%w: %s does not accept the key, or it lacks a right (%s): %w", search.ErrUnavailable, at, doing, a)
	case a.code == "index_not_found":
		if !strings.Contains(e.Endpoint, x.live+newSuffix) {
			x.ensured.Store(false)
		}
		return fmt.Errorf("%w: %s (%s): %w: %w", search.ErrUnavailable, at, doing, errNoIndex, a)
	}
	return fmt.Errorf("%w: %s answers an error (%s): %w", search.ErrUnavailable, at, doing, a)
}

// request bounds one request.
func (x *Index) request(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, x.cfg.Timeout)
}

// ask carries out one request.
func ask[T any](ctx context.Context, x *Index, doing string, f func(context.Context) (T, error)) (T, error) {
	c, cancel := x.request(ctx)
	defer cancel()
	v, err := f(c)
	return v, x.failed(ctx, err, doing)
}

// taskError is a task that the server carried out without success.
type taskError struct {
	uid        int64
	status     string
	code, kind string
}

func (e *taskError) Error() string { return fmt.Sprintf("task %d %s: %s", e.uid, e.status, e.code) }

// do sends what becomes a task and waits until it has been carried out.
func (x *Index) do(ctx context.Context, doing string, f func(context.Context) (*meilisearch.TaskInfo, error)) error {
	info, err := ask(ctx, x, doing, f)
	if err != nil {
		return err
	}
	x.tasks.Add(1)
	defer x.tasks.Add(-1)
	deadline := time.Now().Add(x.cfg.TaskTimeout)
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for pause := 2 * time.Millisecond; ; pause = min(pause*3/2, 500*time.Millisecond) {
		t, err := ask(ctx, x, "waiting for a task", func(ctx context.Context) (*meilisearch.Task, error) {
			return x.client.GetTaskWithContext(ctx, info.TaskUID)
		})
		if err != nil {
			return err
		}
		switch t.Status {
		case meilisearch.TaskStatusSucceeded:
			return nil
		case meilisearch.TaskStatusFailed, meilisearch.TaskStatusCanceled:
			return fmt.Errorf("%w: Meilisearch at %s (%s): %w", search.ErrUnavailable, x.cfg.URL, doing,
				&taskError{info.TaskUID, string(t.Status), cmp.Or(t.Error.Code, string(t.Status)), t.Error.Type})
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w: Meilisearch at %s has not finished task %d after %v (%s)", search.ErrUnavailable, x.cfg.URL,
				info.TaskUID, x.cfg.TaskTimeout, doing)
		}
		timer.Reset(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return x.failed(ctx, ctx.Err(), doing)
		}
	}
}

func pointer[T any](v T) *T { return &v }

// settings of an index. Lists whose order does not matter are sorted.
func settings() *meilisearch.Settings {
	return &meilisearch.Settings{
		SearchableAttributes: []string{"words", "grams"},
		FilterableAttributes: []string{"at", "attachment", "conversation", "sender", "tenant"},
		SortableAttributes:   []string{"at", "conversation", "seq"},
		RankingRules:         []string{"sort", "words", "typo"},
		ProximityPrecision:   meilisearch.ByAttribute,
		PrefixSearch:         pointer("disabled"),
		Pagination:           &meilisearch.Pagination{MaxTotalHits: 1000},
		// A typo in the first letter counts as two for the server and as one for us.
		TypoTolerance: &meilisearch.TypoTolerance{Enabled: true, MinWordSizeForTypos: meilisearch.MinWordSizeForTypos{
			OneTypo: search.MinTypo, TwoTypos: search.MinTypo}, DisableOnWords: []string{}, DisableOnAttributes: []string{"grams"}},
		// So that no language's own rules divide words.
		LocalizedAttributes: []*meilisearch.LocalizedAttributes{{Locales: []string{"eng"}, AttributePatterns: []string{"words", "grams"}}},
	}
}

// drift names the settings that are not as they should be.
func drift(got *meilisearch.Settings) (names []string) {
	want := settings()
	differ := func(name string, differs bool) {
		if differs {
			names = append(names, name)
		}
	}
	sorted := func(s []string) []string { return slices.Sorted(slices.Values(s)) }
	differ("searchableAttributes", !slices.Equal(got.SearchableAttributes, want.SearchableAttributes))
	differ("filterableAttributes", !slices.Equal(sorted(got.FilterableAttributes), want.FilterableAttributes))
	differ("sortableAttributes", !slices.Equal(sorted(got.SortableAttributes), want.SortableAttributes))
	differ("rankingRules", !slices.Equal(got.RankingRules, want.RankingRules))
	differ("proximityPrecision", got.ProximityPrecision != want.ProximityPrecision)
	differ("prefixSearch", got.PrefixSearch == nil || *got.PrefixSearch != *want.PrefixSearch)
	differ("pagination", got.Pagination == nil || *got.Pagination != *want.Pagination)
	t := got.TypoTolerance
	differ("typoTolerance", t == nil || !t.Enabled || t.MinWordSizeForTypos != want.TypoTolerance.MinWordSizeForTypos ||
		len(t.DisableOnWords) > 0 || !slices.Equal(t.DisableOnAttributes, want.TypoTolerance.DisableOnAttributes) || t.DisableOnNumbers)
	l := got.LocalizedAttributes
	differ("localizedAttributes", len(l) != 1 || !slices.Equal(l[0].Locales, want.LocalizedAttributes[0].Locales) ||
		!slices.Equal(sorted(l[0].AttributePatterns), sorted(want.LocalizedAttributes[0].AttributePatterns)))
	differ("stopWords", len(got.StopWords) > 0)
	differ("synonyms", len(got.Synonyms) > 0)
	return names
}

// ensure makes the index if it is not there, and sets what differs from the settings, once until it is found missing.
func (x *Index) ensure(ctx context.Context) error {
	if x.ensured.Load() {
		return nil
	}
	x.ensuring.Lock()
	defer x.ensuring.Unlock()
	if x.ensured.Load() {
		return nil
	}
	if err := x.checkVersion(ctx); err != nil {
		return err
	}
	if err := x.create(ctx, x.live); err != nil {
		return err
	}
	x.ensured.Store(true)
	return nil
}

func (x *Index) checkVersion(ctx context.Context) error {
	v, err := ask(ctx, x, "asking for its version", x.client.VersionWithContext)
	if err != nil {
		return err
	}
	major, rest, _ := strings.Cut(v.PkgVersion, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	if err1 != nil || err2 != nil || a < oldestMajor || a == oldestMajor && b < oldestMinor {
		return fmt.Errorf("%w: Meilisearch at %s is of version %q, %d.%d or newer is needed", search.ErrUnavailable, x.cfg.URL,
			v.PkgVersion, oldestMajor, oldestMinor)
	}
	if v.PkgVersion != x.version {
		x.cfg.Logger.Info("search: connected to Meilisearch", "url", x.cfg.URL, "version", v.PkgVersion, "written_for", documentedVersion, "index", x.live)
		x.version = v.PkgVersion
	}
	return nil
}

// create makes an index with its settings and a generation, as far as they are not there.
func (x *Index) create(ctx context.Context, uid string) error {
	info, err := ask(ctx, x, "looking for its index", func(ctx context.Context) (*meilisearch.IndexResult, error) {
		return x.client.GetIndexWithContext(ctx, uid)
	})
	switch {
	case errors.Is(err, errNoIndex):
		err = x.do(ctx, "making an index", func(ctx context.Context) (*meilisearch.TaskInfo, error) {
			return x.client.CreateIndexWithContext(ctx, &meilisearch.IndexConfig{Uid: uid, PrimaryKey: "id"})
		})
		var te *taskError
		if errors.As(err, &te) && te.code == "index_already_exists" {
			err = nil // by another node
		}
	case err == nil && info.PrimaryKey != "" && info.PrimaryKey != "id":
		return fmt.Errorf("%w: index %s at %s is not the hub's: its primary key is %q; choose another prefix or remove it",
			search.ErrUnavailable, uid, x.cfg.URL, info.PrimaryKey)
	}
	if err != nil {
		return err
	}
	if err := x.set(ctx, uid); err != nil {
		return err
	}
	g, err := x.generation(ctx, uid)
	if err != nil || g != "" {
		return err
	}
	line := fmt.Appendf(nil, `{"id":%q,"generation":%q}`, generationID, rand.Text())
	return x.do(ctx, "naming the generation", func(ctx context.Context) (*meilisearch.TaskInfo, error) {
		return x.client.Index(uid).AddDocumentsNdjsonWithContext(ctx, line, nil)
	})
}

func (x *Index) set(ctx context.Context, uid string) error {
	ix := x.client.Index(uid)
	got, err := ask(ctx, x, "reading settings", ix.GetSettingsWithContext)
	if err != nil {
		return err
	}
	if names := drift(got); len(names) > 0 {
		x.cfg.Logger.Info("search: setting up the index", "index", uid, "settings", names)
		if err := x.do(ctx, "changing settings", func(ctx context.Context) (*meilisearch.TaskInfo, error) {
			return ix.UpdateSettingsWithContext(ctx, settings())
		}); err != nil {
			return err
		}
	}
	if !got.FacetSearch {
		return nil
	}
	// Costs time and is not used. By a route of its own, because the library leaves false out of the settings.
	return x.do(ctx, "changing settings", func(ctx context.Context) (*meilisearch.TaskInfo, error) {
		return ix.UpdateFacetSearchWithContext(ctx, false)
	})
}

// fetch returns the documents of ids that there are.
func (x *Index) fetch(ctx context.Context, uid string, ids, fields []string) (meilisearch.Hits, error) {
	var hits meilisearch.Hits
	for chunk := range slices.Chunk(ids, 500) {
		r, err := ask(ctx, x, "reading documents", func(ctx context.Context) (r meilisearch.DocumentsResult, err error) {
			err = x.client.Index(uid).GetDocumentsWithContext(ctx, &meilisearch.DocumentsQuery{Ids: chunk, Fields: fields, Limit: int64(len(chunk))}, &r)
			return r, err
		})
		if err != nil {
			return nil, err
		}
		hits = append(hits, r.Results...)
	}
	return hits, nil
}

func (x *Index) generation(ctx context.Context, uid string) (string, error) {
	hits, err := x.fetch(ctx, uid, []string{generationID}, []string{"id", "generation"})
	if err != nil || len(hits) == 0 {
		return "", err
	}
	var d document
	if err := hits[0].DecodeInto(&d); err != nil {
		return "", fmt.Errorf("%w: the generation's document at %s is none", search.ErrUnavailable, x.cfg.URL)
	}
	return d.Generation, nil
}
