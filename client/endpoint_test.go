package client_test

import (
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/zumodra/hub/client"
)

var three = []string{"http://a.test/", "http://b.test/hub", "https://c.test"}

// TestEndsThatMoveOn: what ends a connection decides whether the next one goes to the next node.
func TestEndsThatMoveOn(t *testing.T) {
	closed := func(code int) func(*server, *conn) { return func(_ *server, c *conn) { c.drop(code) } }
	refused := func(err error) func(*server, *conn) {
		return func(s *server, c *conn) {
			n := 0
			s.refuse = func() error {
				if n++; n == 1 {
					return err
				}
				return nil
			}
			c.drop(client.CloseSlowConsumer)
		}
	}
	for name, tc := range map[string]struct {
		end  func(*server, *conn)
		want []string // the hosts that are dialled, from the second connection on
	}{
		"broken":               {closed(1006), []string{"b.test"}},
		"going away":           {closed(1001), []string{"b.test"}},
		"service restart":      {closed(1012), []string{"b.test"}},
		"goaway":               {func(_ *server, c *conn) { c.send(`{"type":"goaway","retry_after_ms":10}`) }, []string{"b.test"}},
		"slow consumer":        {closed(client.CloseSlowConsumer), []string{"a.test"}},
		"rate limited":         {closed(client.CloseRateLimited), []string{"a.test"}},
		"cannot be reached":    {refused(errors.New("connection refused")), []string{"a.test", "b.test"}},
		"503":                  {refused(&client.HTTPError{Status: http.StatusServiceUnavailable}), []string{"a.test", "b.test"}},
		"429 of the handshake": {refused(&client.HTTPError{Status: http.StatusTooManyRequests}), []string{"a.test", "a.test"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t)
				var hosts []string
				s.dialled = func(url string) {
					_, rest, _ := strings.Cut(url, "://")
					host, _, _ := strings.Cut(rest, "/")
					hosts = append(hosts, host)
				}
				cfg := config(s)
				cfg.URL, cfg.URLs = three[0], three
				start(t, cfg)
				tc.end(s, s.greet())
				s.greet()
				if want := append([]string{"a.test"}, tc.want...); !slices.Equal(hosts, want) {
					t.Fatalf("dialled %v, want %v", hosts, want)
				}
			})
		})
	}
}

func TestNodesAreTriedInTurn(t *testing.T) {
	for _, tc := range []struct {
		name, url string
		rand      float64
		want      []string
	}{
		{"from URL", three[1], 0, []string{"ws://b.test/hub/ws/", "wss://c.test/ws/", "ws://a.test/ws/", "ws://b.test/hub/ws/"}},
		{"URL is one more", "ws://d.test", 0, []string{"ws://d.test/ws/", "ws://a.test/ws/", "ws://b.test/hub/ws/", "wss://c.test/ws/"}},
		{"from a random one", "", 0.9999, []string{"wss://c.test/ws/", "ws://a.test/ws/", "ws://b.test/hub/ws/", "wss://c.test/ws/"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t)
				var got []string
				s.dialled = func(url string) { got = append(got, url) }
				cfg := config(s)
				cfg.URL, cfg.URLs, cfg.Rand = tc.url, three, func() float64 { return tc.rand }
				start(t, cfg)
				for range len(tc.want) - 1 {
					s.accept().drop(1006)
				}
				s.accept()
				if !slices.Equal(got, tc.want) {
					t.Fatalf("dialled %v, want %v", got, tc.want)
				}
			})
		})
	}
}

func TestWithoutAnAddress(t *testing.T) {
	for _, cfg := range []client.Config{{}, {URLs: []string{"http://a.test", "ftp://b.test"}}, {URL: "http://"}} {
		cfg.TokenSource = client.StaticToken("t")
		if _, err := client.New(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg.URLs)
		}
	}
}

// TestRESTFindsANodeThatAnswers: a call goes on to the next node if it did not reach one, and, if asking again does no harm,
// if it is not known whether it did.
func TestRESTFindsANodeThatAnswers(t *testing.T) {
	dial := &net.OpError{Op: "dial", Err: errors.New("refused")}
	reset := &net.OpError{Op: "read", Err: errors.New("reset")}
	for _, tc := range []struct {
		name   string
		post   bool
		fail   map[string]error
		hosts  string
		failed bool
	}{
		{"the first answers", false, nil, "a.test", false},
		{"GET, two are down", false, map[string]error{"a.test": dial, "b.test": dial}, "a.test b.test c.test", false},
		{"GET, one breaks off", false, map[string]error{"a.test": reset}, "a.test b.test", false},
		{"POST, one is down", true, map[string]error{"a.test": dial}, "a.test b.test", false},
		{"POST, one breaks off", true, map[string]error{"a.test": reset}, "a.test", true},
		{"all are down", false, map[string]error{"a.test": dial, "b.test": dial, "c.test": dial}, "a.test b.test c.test", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var hosts []string
			c, err := client.New(client.Config{URL: three[0], URLs: three, TokenSource: client.StaticToken("t"),
				HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					hosts = append(hosts, r.URL.Host)
					if err := tc.fail[r.URL.Host]; err != nil {
						return nil, err
					}
					return answer(http.StatusOK, `{"results":[]}`)
				})}})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if tc.post {
				_, err = c.CreateDirect(t.Context(), "bob")
			} else {
				_, err = c.Messages(t.Context(), "x", "")
			}
			if got := strings.Join(hosts, " "); got != tc.hosts || (err != nil) != tc.failed {
				t.Fatalf("asked %s, want %s; %v", got, tc.hosts, err)
			}
		})
	}
}
