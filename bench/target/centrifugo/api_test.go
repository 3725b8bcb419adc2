package centrifugo_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/zumodra/hub/bench/target"
	"github.com/zumodra/hub/bench/target/centrifugo"
)

// api is the part of the server API that is used, with channels of a certain length of which the first are gone.
func api(t *testing.T, channels map[string]int, gone int) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-API-Key") != "key" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.URL.Path == "/api/info" {
			fmt.Fprint(w, `{"result":{"nodes":[{"uid":"14b8","version":"6.9.1 OSS"}]}}`)
			return
		}
		var in struct {
			Channel string `json:"channel"`
			Limit   int    `json:"limit"`
			Reverse bool   `json:"reverse"`
			Since   *struct {
				Offset int    `json:"offset"`
				Epoch  string `json:"epoch"`
			} `json:"since"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.URL.Path != "/api/history" || r.Method != http.MethodPost {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		n, ok := channels[in.Channel]
		if !ok {
			fmt.Fprint(w, `{"error":{"code":102,"message":"unknown channel"}}`)
			return
		}
		var pubs []string
		first, last := gone+1, n
		if in.Since != nil {
			first = max(first, in.Since.Offset+1)
			if in.Since.Offset > 0 && in.Since.Epoch != "e" {
				t.Errorf("epoch %q", in.Since.Epoch)
			}
		}
		for i := range last - first + 1 {
			o := first + i
			if in.Reverse {
				o = last - i
			}
			if len(pubs) < in.Limit {
				pubs = append(pubs, fmt.Sprintf(`{"data":"k%d text","offset":%d}`, o, o))
			}
		}
		fmt.Fprintf(w, `{"result":{"publications":[%s],"epoch":"e","offset":%d}}`, strings.Join(pubs, ","), n)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestHistories(t *testing.T) {
	ctx := context.Background()
	x := newTarget(t, centrifugo.Config{URLs: []string{api(t, map[string]int{"empty": 0, "long": 2500}, 0)}, Key: "key"})
	for name, n := range map[string]int{"empty": 0, "long": 2500} {
		list, err := x.Final(ctx, 1, name)
		if err != nil || len(list) != n {
			t.Fatalf("%s: %d, %v", name, len(list), err)
		}
		for i, e := range list {
			if key := fmt.Sprintf("k%d", i+1); e.Seq != uint64(i+1) || e.Key != key || e.ID != key {
				t.Fatalf("%d is %+v", i, e)
			}
		}
		last, whole, err := x.Last(ctx, 1, name)
		if err != nil || whole != (n == 0) || n > 0 && (last[len(last)-1].Seq != 2500 || last[0].Seq != 2401) {
			t.Errorf("%v, %v, %v", last, whole, err)
		}
		if head, err := x.Head(ctx, 1, name); err != nil || head != uint64(n) {
			t.Errorf("%d, %v", head, err)
		}
	}
	if v, err := x.Version(ctx); err != nil || v != "6.9.1 OSS" {
		t.Error(v, err)
	}
	if err := x.Call(ctx, "history", 1, "long"); err != nil {
		t.Error(err)
	}
	if err := x.Call(ctx, "search", 1, "long"); !errors.Is(err, target.ErrNotSupported) {
		t.Error(err)
	}
	if _, err := x.Final(ctx, 1, "other"); err == nil || !strings.Contains(err.Error(), "102 unknown channel") {
		t.Error(err)
	}
	short := newTarget(t, centrifugo.Config{URLs: []string{api(t, map[string]int{"long": 2500}, 10)}, Key: "key"})
	if _, err := short.Final(ctx, 1, "long"); err == nil || errors.Is(err, target.ErrNotSupported) {
		t.Errorf("a history without its begin passes: %v", err)
	}
	wrong := newTarget(t, centrifugo.Config{URLs: []string{api(t, nil, 0)}, Key: "other"})
	if _, err := wrong.Head(ctx, 1, "long"); err == nil || errors.Is(err, target.ErrNotSupported) {
		t.Error(err)
	}
	without := newTarget(t, centrifugo.Config{})
	if _, err := without.Final(ctx, 1, "long"); !errors.Is(err, target.ErrNotSupported) {
		t.Error(err)
	}
	if _, err := without.Unread(ctx, 1, "long"); !errors.Is(err, target.ErrNotSupported) {
		t.Error(err)
	}
}

func TestPrepare(t *testing.T) {
	ctx := context.Background()
	w := target.World{Run: "r", Users: 3, Conversations: [][]int{{0, 1}, {0, 1, 2}}}
	ids, err := newTarget(t, centrifugo.Config{}).Prepare(ctx, w)
	if err != nil || strings.Join(ids, " ") != "r.0 r.1" {
		t.Error(ids, err)
	}
	ids, err = newTarget(t, centrifugo.Config{Namespace: "chat"}).Prepare(ctx, w)
	if err != nil || strings.Join(ids, " ") != "chat:r.0 chat:r.1" {
		t.Error(ids, err)
	}
	if _, err := newTarget(t, centrifugo.Config{Namespace: `a"b`}).Prepare(ctx, w); err == nil {
		t.Error("a name that breaks the frames passes")
	}
}

func TestConnect(t *testing.T) {
	secret := []byte(strings.Repeat("s", 32))
	x := newTarget(t, centrifugo.Config{Secret: secret})
	var c struct {
		Connect struct{ Token string }
	}
	if err := json.Unmarshal(x.Open(nil, 7), &c); err != nil {
		t.Fatal(err)
	}
	token, err := jwt.ParseSigned(c.Connect.Token, []jose.SignatureAlgorithm{jose.HS256})
	if err != nil {
		t.Fatal(err)
	}
	var claims jwt.Claims
	if err := token.Claims(secret, &claims); err != nil || claims.Subject != x.User(7) {
		t.Error(claims, err)
	}
	e, other := x.Endpoint(1, 0, 0), x.Endpoint(1, 0, 1)
	if e.Path != "/connection/websocket" || e.Host == other.Host {
		t.Error(e, other)
	}
	for _, urls := range [][]string{nil, {"https://127.0.0.1"}, {"127.0.0.1:8000"}} {
		if _, err := centrifugo.New(centrifugo.Config{URLs: urls}); err == nil {
			t.Errorf("%q are addresses", urls)
		}
	}
}
