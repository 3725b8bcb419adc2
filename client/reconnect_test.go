package client_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/client"
)

func TestStatesAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		r := start(t, config(s))
		r.wantState(client.StateConnecting)
		c := s.accept()
		r.wantState(client.StateConnecting)
		c.send(`{"type":"status","message":"Connected","is_online":true}`)
		r.wantState(client.StateOnline)
		if err := r.WaitOnline(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.drop(1006)
		r.wantState(client.StateConnecting)
		states := eventsOf[*client.StateEvent](r)
		last := states[len(states)-1]
		if ce := (*client.CloseError)(nil); !errors.As(last.Err, &ce) || ce.Code != 1006 || last.RetryIn != 100*time.Millisecond {
			t.Fatalf("%+v", last)
		}
	})
}

// Full jitter: with r from [0,1) attempt n waits r·min(20 s, 200 ms·2^n).
func TestBackOffIsFullJitter(t *testing.T) {
	for _, r := range []float64{0, 0.25, 0.999} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t)
			cfg := config(s)
			cfg.Rand = func() float64 { return r }
			run := start(t, cfg)
			s.accept().drop(1006)
			last := time.Now()
			for n := range 12 {
				ceiling := min(20*time.Second, 200*time.Millisecond<<n)
				c := s.accept()
				if got, want := c.at.Sub(last), time.Duration(r*float64(ceiling)); got != want {
					t.Fatalf("attempt %d after %v, want %v", n, got, want)
				}
				last = time.Now()
				// A greeting alone does not make the connection healthy.
				c.send(`{"type":"status"}`)
				synctest.Wait()
				c.drop(1011)
			}
			// After 30 s of health the next loss is the first again.
			c := s.greet()
			time.Sleep(20 * time.Second)
			c.send(`{"type":"pong"}`)
			time.Sleep(11 * time.Second)
			c.drop(1006)
			lost := time.Now()
			if got, want := s.accept().at.Sub(lost), time.Duration(r*float64(200*time.Millisecond)); got != want {
				t.Fatalf("after health: %v, want %v", got, want)
			}
			_ = run
		})
	}
}

func TestServersRetryTimeOverrides(t *testing.T) {
	for name, end := range map[string]func(*server, *conn){
		"goaway": func(_ *server, c *conn) { c.send(`{"type":"goaway","retry_after_ms":7300}`) },
		"503": func(s *server, c *conn) {
			n := 0
			s.refuse = func() error {
				if n++; n == 1 {
					return &client.HTTPError{Status: 503, RetryAfter: 7300 * time.Millisecond}
				}
				return nil
			}
			c.drop(1012)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t)
				cfg := config(s)
				cfg.Rand = func() float64 { return 0 }
				start(t, cfg)
				c := s.greet()
				began := time.Now()
				end(s, c)
				if got := s.accept().at.Sub(began); got != 7300*time.Millisecond {
					t.Fatalf("back after %v", got)
				}
			})
		})
	}
}

func TestCloseCodes(t *testing.T) {
	for _, code := range []int{1000, 1001, 1006, 1011, 1012, 1013, client.CloseSlowConsumer, client.CloseRateLimited} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t)
				start(t, config(s))
				s.greet().drop(code)
				began := time.Now()
				pause := s.accept().at.Sub(began)
				if code == client.CloseRateLimited && pause < 10*time.Second {
					t.Fatalf("back after %v", pause)
				}
				if code != client.CloseRateLimited && pause > 200*time.Millisecond {
					t.Fatalf("back after %v", pause)
				}
			})
		})
	}
	for _, code := range []int{1002, 1007, 1008, 1009, client.CloseForbidden, client.CloseGone} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t)
				r := start(t, config(s))
				s.greet().drop(code)
				<-r.done
				if ce := (*client.CloseError)(nil); !errors.As(r.err, &ce) || ce.Code != code {
					t.Fatalf("got %v", r.err)
				}
				if err := r.WaitOnline(t.Context()); !errors.As(err, new(*client.CloseError)) {
					t.Fatalf("got %v", err)
				}
			})
		})
	}
}

// tokens hands out its list one by one, and then an error.
func tokens(list ...string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		if len(list) == 0 {
			return "", errors.New("no more tokens")
		}
		tok := list[0]
		list = list[1:]
		return tok, nil
	}
}

func TestRefusedTokenIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		cfg := config(s)
		cfg.TokenSource = tokens("old", "new", "newer")
		r := start(t, cfg)
		c := s.accept()
		began := time.Now()
		if c.auth != "Bearer old" {
			t.Fatal(c.auth)
		}
		c.drop(client.CloseUnauthenticated)
		c = s.greet()
		if c.auth != "Bearer new" || c.at != began {
			t.Fatalf("%q after %v", c.auth, c.at.Sub(began))
		}
		r.wantState(client.StateOnline)
		c.drop(client.CloseUnauthenticated) // expired in the middle of a session
		if c = s.greet(); c.auth != "Bearer newer" {
			t.Fatal(c.auth)
		}
	})
}

func TestGivesUpWithoutAnotherToken(t *testing.T) {
	for name, source := range map[string]func(context.Context) (string, error){
		"the same again":       client.StaticToken("t"),
		"an error":             tokens("t"),
		"refused for good":     func(context.Context) (string, error) { return "", client.ErrUnauthorized },
		"all of them are bad":  tokens("1", "2", "3", "4", "5", "6", "7"),
		"refused by handshake": client.StaticToken("401"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t)
				cfg := config(s)
				cfg.TokenSource = source
				if name == "refused by handshake" {
					s.refuse = func() error { return &client.HTTPError{Status: 401} }
				}
				r := start(t, cfg)
				go func() {
					for c := range s.dials {
						c.drop(client.CloseUnauthenticated)
					}
				}()
				<-r.done
				close(s.dials)
				if !errors.Is(r.err, client.ErrUnauthorized) {
					t.Fatalf("got %v", r.err)
				}
				r.wantState(client.StateClosed)
			})
		})
	}
}

func TestTokenSourceMayFailForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		cfg := config(s)
		n := 0
		cfg.TokenSource = func(context.Context) (string, error) {
			if n++; n < 9 {
				return "", errors.New("the token service is down")
			}
			return "t", nil
		}
		r := start(t, cfg)
		s.greet()
		r.wantState(client.StateOnline)
	})
}

func TestSilentServerIsPingedAndLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		start(t, config(s))
		c := s.greet()
		began := time.Now()
		c.expect("ping")
		if d := time.Since(began); d != 25*time.Second {
			t.Fatalf("ping after %v", d)
		}
		c.send(`{"type":"pong"}`)
		began = time.Now()
		c.expect("ping")
		if d := time.Since(began); d != 25*time.Second {
			t.Fatalf("second ping after %v", d)
		}
		if d := s.accept().at.Sub(began); d < 35*time.Second || d > 36*time.Second {
			t.Fatalf("left after %v", d)
		}
		c.quiet()
	})
}

func TestServerThatNeverGreetsIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		start(t, config(s))
		began := s.accept().at
		if d := s.accept().at.Sub(began); d < 15*time.Second || d > 16*time.Second {
			t.Fatalf("left after %v", d)
		}
	})
}

func TestContextEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c, err := client.New(config(s))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		s.greet()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if err := c.Run(t.Context()); !errors.Is(err, client.ErrClosed) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	for _, cfg := range []client.Config{
		{URL: "http://hub.test"},
		{URL: "ftp://hub.test", TokenSource: client.StaticToken("t")},
		{URL: "http://", TokenSource: client.StaticToken("t")},
		{URL: "http://[::1", TokenSource: client.StaticToken("t")},
	} {
		if _, err := client.New(cfg); err == nil {
			t.Errorf("%q is accepted", cfg.URL)
		}
	}
	c, err := client.New(client.Config{URL: "wss://hub.test/prefix/", TokenSource: client.StaticToken("t")})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil { // without Run
		t.Fatal(err)
	}
}
