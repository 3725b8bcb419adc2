package rest

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/zumodra/hub/edge/auth"
)

// Scopes of throttles (contract §3.1). What is not among the configured ones is not throttled.
const (
	scopeAnon   = "anon"        // requests without a valid credential, by address; not those for health
	scopeUser   = "user"        // those of a user
	scopeAuth   = "auth"        // for tokens by a password, by address
	scopeToken  = "token"       // other requests about tokens, by address
	scopeUpload = "file_upload" // files that a user begins to upload
	scopeExport = "export"      // exports and imports, by tenant
)

// DefaultThrottles are those of the original system, but for that of a user, which would be less than what sockets may
// send in two minutes, and its 20 uploads an hour, which it did not apply to messages.
const DefaultThrottles = "anon=100/h,user=1000/m,auth=5/m,token=10/m,export=10/h"

// Throttle is how many requests are answered in a while. They may come at once.
type Throttle struct {
	N   int
	Per time.Duration
}

// ParseThrottles reads a list such as DefaultThrottles: scopes with a number of requests per s, m, h or d, or off.
func ParseThrottles(s string) (map[string]Throttle, error) {
	out := make(map[string]Throttle)
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		scope, rate, _ := strings.Cut(item, "=")
		switch scope {
		case scopeAnon, scopeUser, scopeAuth, scopeToken, scopeUpload, scopeExport:
		default:
			return nil, fmt.Errorf("rest: %q is no scope of throttles", scope)
		}
		if rate == "off" {
			delete(out, scope)
			continue
		}
		n, unit, _ := strings.Cut(rate, "/")
		per := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[unit]
		count, err := strconv.Atoi(n)
		if err != nil || count < 1 || count > 1_000_000_000 || per == 0 {
			return nil, fmt.Errorf("rest: %q is no rate such as 100/h", item)
		}
		out[scope] = Throttle{count, per}
	}
	return out, nil
}

type throttleKey struct{ scope, who string }

// throttles count requests by the generic cell rate algorithm: one time per key. They remember at most two generations
// of throttleGeneration keys; who is forgotten starts anew. The zero value throttles nothing.
type throttles struct {
	rates    map[string]Throttle
	mu       sync.Mutex
	cur, old map[throttleKey]time.Time // at which nothing of the budget is used any more
}

const throttleGeneration = 16384

// allow takes one request, or says how long until there is one.
func (t *throttles) allow(scope, who string, now time.Time) (wait time.Duration, ok bool) {
	r, limited := t.rates[scope]
	if !limited || who == "" {
		return 0, true
	}
	step := r.Per / time.Duration(r.N)
	k := throttleKey{scope, who}
	t.mu.Lock()
	defer t.mu.Unlock()
	full, found := t.cur[k]
	if !found {
		full = t.old[k]
	}
	if full.Before(now) {
		full = now
	}
	wait = full.Add(step).Sub(now) - r.Per
	if ok = wait <= 0; ok {
		full, wait = full.Add(step), 0
	}
	if t.cur == nil || !found && len(t.cur) >= throttleGeneration {
		t.cur, t.old = make(map[throttleKey]time.Time), t.cur
	}
	t.cur[k] = full // also of who is refused: who keeps asking is not forgotten
	return wait, ok
}

// throttle answers the refusal of a request that is one too many, nil if it is not.
func (a *API) throttle(scope, who string) *response {
	wait, ok := a.throttles.allow(scope, who, a.cfg.Now())
	if ok {
		return nil
	}
	res := throttled(time.Duration(math.Ceil(wait.Seconds())) * time.Second)
	return &res
}

// throttleCall is throttle for a request whose sender is known by now.
func (a *API) throttleCall(rt *route, c *call, address string) *response {
	switch rt.access {
	case anybody:
		if strings.HasPrefix(rt.path, "/health") {
			return nil // of orchestrators and load balancers
		}
		return a.throttle(scopeAnon, network(address))
	case development:
		if rt.path == prefix+"/auth/token" {
			return a.throttle(scopeAuth, network(address))
		}
		return a.throttle(scopeToken, network(address))
	case signedIn, linked:
		return a.throttle(scopeUser, c.p.Key().String())
	case bulk:
		return a.throttle(scopeExport, string(c.admin.tenant))
	}
	return nil
}

// network is what counts as one client, as text: an address of IPv4, or a /64 of IPv6; empty if it is not known.
func network(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return ""
	}
	return auth.Network(a).String()
}

// unauthorized counts a refused credential as a request of nobody's: guessing is throttled.
func (a *API) unauthorized(res *response, address string) response {
	if res.status == http.StatusUnauthorized {
		if more := a.throttle(scopeAnon, network(address)); more != nil {
			return *more
		}
	}
	return *res
}
