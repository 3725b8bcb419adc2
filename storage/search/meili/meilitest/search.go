package meilitest

import (
	"cmp"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

type fakeQuery struct {
	IndexUID             string   `json:"indexUid"`
	Q                    string   `json:"q"`
	Filter               string   `json:"filter"`
	Sort                 []string `json:"sort"`
	MatchingStrategy     string   `json:"matchingStrategy"`
	AttributesToRetrieve []string `json:"attributesToRetrieve"`
	Limit                *int     `json:"limit"`
	Offset               int      `json:"offset"`
	Hybrid               *string  `json:"hybrid"` // the library always sends null
}

func (f *Server) multiSearch(w http.ResponseWriter, _ string, body []byte) {
	var q struct {
		Queries []fakeQuery `json:"queries"`
	}
	if !f.decode(body, &q) {
		return
	}
	results := []any{}
	for _, s := range q.Queries {
		ix := f.Indexes[s.IndexUID]
		if ix == nil {
			Refuse(w, 404, "index_not_found", "invalid_request", "Inside `.queries[0]`: Index `"+s.IndexUID+"` not found.")
			return
		}
		results = append(results, f.search(ix, s))
	}
	answer(w, 200, map[string]any{"results": results})
}

func (f *Server) search(ix *Index, s fakeQuery) any {
	if s.MatchingStrategy != "all" || s.Limit == nil || s.Filter == "" {
		f.strange("search %+v", s)
	}
	filter, match := f.filter(ix, s.Filter), f.matcher(ix, s.Q)
	var found []*Document
	for _, d := range ix.Docs {
		if filter(d) && match(d) {
			found = append(found, d)
		}
	}
	if len(ix.Settings.RankingRules) == 0 || ix.Settings.RankingRules[0] != "sort" {
		f.strange("the first ranking rule is not sort: newest first would not hold")
	}
	type by struct {
		attribute string
		factor    int
	}
	var order []by
	for _, o := range s.Sort {
		a, dir, _ := strings.Cut(o, ":")
		if !slices.Contains(ix.Settings.SortableAttributes, a) || dir != "asc" && dir != "desc" {
			f.strange("sort %q", o)
		}
		factor := 1
		if dir == "desc" {
			factor = -1
		}
		order = append(order, by{a, factor})
	}
	slices.SortFunc(found, func(a, b *Document) int {
		for _, o := range order {
			c := 0
			switch x := a.fields[o.attribute].(type) {
			case float64:
				y, _ := b.fields[o.attribute].(float64)
				c = cmp.Compare(x, y)
			case string:
				y, _ := b.fields[o.attribute].(string)
				c = cmp.Compare(x, y)
			}
			if c != 0 {
				return c * o.factor
			}
		}
		return cmp.Compare(a.fields["id"].(string), b.fields["id"].(string))
	})
	total := len(found)
	found = found[:min(len(found), ix.Settings.Pagination.MaxTotalHits)]
	found = found[min(s.Offset, len(found)):]
	found = found[:min(*s.Limit, len(found))]
	hits := make([]map[string]json.RawMessage, len(found))
	for i, d := range found {
		hits[i] = only(d.raw, s.AttributesToRetrieve)
	}
	return map[string]any{"indexUid": s.IndexUID, "hits": hits, "query": s.Q, "processingTimeMs": 0, "limit": *s.Limit, "offset": s.Offset,
		"estimatedTotalHits": total}
}

var queryPart = regexp.MustCompile(`^(?:"([\p{L}\p{N}]+(?: [\p{L}\p{N}]+)*)"|([\p{L}\p{N}]+))(?: |$)`)

// matcher understands "phrases" and words. Of more than ten, those after the tenth do not count.
func (f *Server) matcher(ix *Index, q string) func(*Document) bool {
	type part struct {
		phrase []string
		word   string
	}
	var parts []part
	for rest := q; rest != ""; {
		m := queryPart.FindStringSubmatch(rest)
		if m == nil {
			f.strange("query %q", q)
			break
		}
		rest = rest[len(m[0]):]
		parts = append(parts, part{strings.Fields(m[1]), m[2]})
	}
	if len(parts) == 0 {
		f.strange("a query without words")
	}
	parts = parts[:min(len(parts), 10)]
	if ix.Settings.PrefixSearch != "disabled" {
		f.strange("prefix search is on: the fake does not know it")
	}
	return func(d *Document) bool {
		for _, p := range parts {
			ok := false
			for _, a := range ix.Settings.SearchableAttributes {
				words := d.words[a]
				if p.word == "" {
					ok = ok || !slices.ContainsFunc(p.phrase, func(w string) bool { return !slices.Contains(words, w) })
					continue
				}
				typos := 0
				t := ix.Settings.TypoTolerance
				if n := len([]rune(p.word)); t.Enabled && !slices.Contains(t.DisableOnAttributes, a) {
					if n >= t.MinWordSizeForTypos["oneTypo"] {
						typos = 1
					}
					if n >= t.MinWordSizeForTypos["twoTypos"] {
						typos = 2
					}
				}
				ok = ok || slices.ContainsFunc(words, func(w string) bool { return typoDistance(p.word, w) <= typos })
			}
			if !ok {
				return false
			}
		}
		return true
	}
}

// typoDistance is the number of letters added, left out, replaced or swapped with a neighbour; one more if the first
// letters differ.
func typoDistance(a, b string) int {
	x, y := []rune(a), []rune(b)
	if len(x)-len(y) > 2 || len(y)-len(x) > 2 {
		return 3
	}
	d := make([][]int, len(x)+1)
	for i := range d {
		d[i] = make([]int, len(y)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			c := 1
			if x[i-1] == y[j-1] {
				c = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+c)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	n := d[len(x)][len(y)]
	if n > 0 && len(x) > 0 && len(y) > 0 && x[0] != y[0] {
		n++
	}
	return n
}

var (
	condition = regexp.MustCompile(`^(\w+) (=|>=|<=|<|>) ("[^"\\]*"|-?\d+|true|false)$`)
	inList    = regexp.MustCompile(`^(\w+) IN \[(.*)\]$`)
	listItem  = regexp.MustCompile(`^"[^"\\]*"$`)
)

// filter understands conditions joined by AND: attribute, operator and value, or attribute IN [values].
func (f *Server) filter(ix *Index, s string) func(*Document) bool {
	var all []func(*Document) bool
	for _, c := range strings.Split(s, " AND ") {
		attribute := ""
		if m := inList.FindStringSubmatch(c); m != nil {
			attribute = m[1]
			set := map[any]bool{}
			for _, v := range strings.Split(m[2], ", ") {
				if !listItem.MatchString(v) {
					f.strange("filter value %q", v)
				}
				set[strings.Trim(v, `"`)] = true
			}
			all = append(all, func(d *Document) bool { return set[d.fields[attribute]] })
		} else if m := condition.FindStringSubmatch(c); m != nil {
			attribute = m[1]
			op, want := m[2], m[3]
			switch {
			case op == "=":
				var v any = strings.Trim(want, `"`)
				if want == "true" || want == "false" {
					v = want == "true"
				}
				all = append(all, func(d *Document) bool { return d.fields[attribute] == v })
			default:
				n, err := strconv.ParseFloat(want, 64)
				if err != nil {
					f.strange("filter %q compares with %q", c, want)
				}
				all = append(all, func(d *Document) bool {
					v, ok := d.fields[attribute].(float64)
					return ok && (op == ">=" && v >= n || op == "<=" && v <= n || op == "<" && v < n || op == ">" && v > n)
				})
			}
		} else {
			f.strange("filter %q", c)
		}
		if attribute != "" && !slices.Contains(ix.Settings.FilterableAttributes, attribute) {
			f.strange("attribute %q is not filterable", attribute)
		}
	}
	return func(d *Document) bool {
		for _, c := range all {
			if !c(d) {
				return false
			}
		}
		return true
	}
}
