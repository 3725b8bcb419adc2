package wukongim_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/zumodra/hub/bench/target"
	"github.com/zumodra/hub/bench/target/wukongim"
)

// api is the part of the HTTP API that is used.
type api struct {
	mu     sync.Mutex
	groups map[string][]string
	large  map[string]bool
	tokens map[string]string
	length map[string]int // of the channels
}

type request struct {
	UID         string   `json:"uid"`
	Token       string   `json:"token"`
	DeviceFlag  int      `json:"device_flag"`
	Login       string   `json:"login_uid"`
	Channel     string   `json:"channel_id"`
	Type        int      `json:"channel_type"`
	Large       int      `json:"large"`
	Reset       int      `json:"reset"`
	Subscribers []string `json:"subscribers"`
	Start       int      `json:"start_message_seq"`
	Limit       int      `json:"limit"`
	Up          int      `json:"pull_mode"`
}

const maxPage = 500 // less than is asked for

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var in request
	if r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, `{"msg":"bad","status":400}`, http.StatusBadRequest)
			return
		}
	}
	refuse := func(msg string) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"msg":%q,"status":400}`, msg)
	}
	switch path := r.URL.Path; {
	case path == "/route" && r.URL.Query().Get("uid") != "":
		fmt.Fprint(w, `{"tcp_addr":"","ws_addr":"ws://127.0.0.9:5200","wss_addr":""}`)
	case path == "/user/token" && in.UID != "" && in.Token != "" && in.DeviceFlag == 1:
		a.tokens[in.UID] = in.Token
		fmt.Fprint(w, `{"status":200}`)
	case path == "/channel" && in.Type == 2 && in.Reset == 1 && len(in.Subscribers) <= 1000:
		a.groups[in.Channel], a.large[in.Channel] = in.Subscribers, in.Large == 1
		fmt.Fprint(w, `{"status":200}`)
	case path == "/channel/subscriber_add" && in.Type == 2 && in.Reset == 0 && len(in.Subscribers) <= 1000 && a.groups[in.Channel] != nil:
		a.groups[in.Channel] = append(a.groups[in.Channel], in.Subscribers...)
		fmt.Fprint(w, `{"status":200}`)
	case path == "/channel/messagesync" && in.Type == 2 && in.Login != "":
		n := a.length[in.Channel]
		if n == 0 {
			refuse("internal/message: channel not found: channel: channel not found: {" + in.Channel + " 2}")
			return
		}
		limit := min(in.Limit, maxPage)
		first, last := max(1, in.Start), min(n, in.Start+limit-1)
		if in.Up == 0 {
			first, last = max(1, n-limit+1), n
		}
		var list []string
		for s := first; s <= last; s++ {
			list = append(list, fmt.Sprintf(`{"message_id":%d,"client_msg_no":"k%d","message_seq":%d}`, 2125888213741473792+s, s, s))
		}
		fmt.Fprintf(w, `{"start_message_seq":%d,"end_message_seq":0,"more":1,"messages":[%s]}`, in.Start, strings.Join(list, ","))
	default:
		refuse("not expected")
	}
}

func serve(t *testing.T, cfg wukongim.Config) (*api, *wukongim.Target) {
	a := &api{groups: map[string][]string{}, large: map[string]bool{}, tokens: map[string]string{}, length: map[string]int{"long": 1200, "short": 3}}
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	cfg.URLs = []string{s.URL}
	return a, newTarget(t, cfg)
}

func TestPrepare(t *testing.T) {
	a, x := serve(t, wukongim.Config{Secret: []byte("secret")})
	everybody := make([]int, 2500)
	for i := range everybody {
		everybody[i] = i
	}
	ids, err := x.Prepare(context.Background(), target.World{Run: "r", Users: 2500, Conversations: [][]int{{3, 1}, everybody}})
	if err != nil || strings.Join(ids, " ") != "r-0 r-1" {
		t.Fatal(ids, err)
	}
	if got := a.groups["r-0"]; !slices.Equal(got, []string{"u3", "u1"}) || a.large["r-0"] {
		t.Error(got)
	}
	got := a.groups["r-1"]
	slices.Sort(got)
	if len(slices.Compact(got)) != 2500 || !a.large["r-1"] {
		t.Error(len(got), a.large)
	}
	var f struct{ Params struct{ Token string } }
	if err := json.Unmarshal(x.Open(nil, 7), &f); err != nil || f.Params.Token != a.tokens["u7"] || a.tokens["u7"] == a.tokens["u8"] {
		t.Error(f, err)
	}
	if _, err := x.Prepare(context.Background(), target.World{Run: `a"b`}); err == nil {
		t.Error("a name that breaks the frames passes")
	}
}

func TestHistories(t *testing.T) {
	ctx := context.Background()
	_, x := serve(t, wukongim.Config{})
	for name, n := range map[string]int{"long": 1200, "short": 3, "none": 0} {
		list, err := x.Final(ctx, 1, name)
		if err != nil || len(list) != n {
			t.Fatalf("%s: %d, %v", name, len(list), err)
		}
		for i, e := range list {
			if e.Seq != uint64(i+1) || e.Key != fmt.Sprintf("k%d", i+1) || e.ID != fmt.Sprint(2125888213741473793+i) {
				t.Fatalf("%d is %+v", i, e)
			}
		}
		last, whole, err := x.Last(ctx, 1, name)
		if err != nil || whole != (n <= 100) || n > 0 && last[len(last)-1].Seq != uint64(n) {
			t.Error(last, whole, err)
		}
		if head, err := x.Head(ctx, 1, name); err != nil || head != uint64(n) {
			t.Error(head, err)
		}
	}
	if _, err := x.Version(ctx); err != nil {
		t.Error(err)
	}
	if err := x.Call(ctx, "history", 1, "long"); err != nil {
		t.Error(err)
	}
	if err := x.Call(ctx, "list", 1, "long"); !errors.Is(err, target.ErrNotSupported) {
		t.Error(err)
	}
	if _, err := x.Unread(ctx, 1, "long"); !errors.Is(err, target.ErrNotSupported) {
		t.Error(err)
	}
}

func TestAddresses(t *testing.T) {
	for _, bad := range [][]string{nil, {"http://127.0.0.1:1"}, {"ws://127.0.0.1:1"}, {"http://127.0.0.1:1", "wss://127.0.0.1:1"}} {
		if _, err := wukongim.New(wukongim.Config{URLs: bad}); err == nil {
			t.Errorf("%q are addresses", bad)
		}
	}
	_, asked := serve(t, wukongim.Config{})
	if e := asked.Endpoint(0, 0, 0); e.Host != "127.0.0.9:5200" {
		t.Error(e)
	}
	x := newTarget(t, wukongim.Config{})
	if a, b := x.Endpoint(1, 0, 0), x.Endpoint(1, 0, 1); a.Host == b.Host || a.Addr.Port() != 5200 {
		t.Error(a, b)
	}
}
