package conformance_test

import (
	"fmt"
	"maps"
	"strings"

	"github.com/zumodra/hub/edge/reactor/conformance"
)

// deviation is one thing that a peer does differently, and the cases that show it: ids, or ranges of the last
// number like "F.2.1-10".
type deviation struct {
	why, ids string
	racy     bool // the cases pass at times
}

func known(lists ...[]deviation) map[string]conformance.Deviation {
	m := make(map[string]conformance.Deviation)
	for _, list := range lists {
		for _, d := range list {
			for _, id := range strings.Fields(d.ids) {
				dot := strings.LastIndex(id, ".")
				var first, last int
				if n, _ := fmt.Sscanf(id[dot+1:], "%d-%d", &first, &last); n < 2 {
					last = first
				}
				for i := first; i <= last; i++ {
					m[fmt.Sprintf("%s.%d", id[:dot], i)] = conformance.Deviation{Why: d.why, Racy: d.racy}
				}
			}
		}
	}
	return m
}

// without is known less some ids.
func without(m map[string]conformance.Deviation, ids string) map[string]conformance.Deviation {
	m = maps.Clone(m)
	for _, id := range strings.Fields(ids) {
		delete(m, id)
	}
	return m
}

// Both peers.
var bothDeviate = []deviation{
	{why: "UTF-8 is checked when the message is complete, not before", ids: "6.30.1-28"},
	{why: "lengths that are not minimal, or have the top bit set, are not refused with 1002", ids: "F.2.1-7 F.2.9-10"},
	{why: "the sum of the fragments is compared with the limit only when they have arrived", ids: "F.3.13"},
	{why: "a wrong version is answered with 400", ids: "H.4.12-18"},
	{why: "a second Sec-WebSocket-Version line is not looked at", ids: "H.4.26"},
	{why: "net/http unfolds header lines, which RFC 9112 permits as well; the suite follows the hub, which refuses them", ids: "H.4.58"},
}

var gwsDeviations = []deviation{
	{why: "the list members and further lines of Connection and Upgrade are not looked at", ids: "H.1.17-21"},
	{why: "bytes behind the request that net/http has read ahead are lost", ids: "H.3.1-7", racy: true},
	{why: "any non-empty Sec-WebSocket-Key is taken", ids: "H.4.2-3 H.4.5-11"},
	{why: "Connection and Upgrade are searched for a substring", ids: "H.4.34 H.4.42"},
	{why: "the content of the request is read as frames", ids: "H.4.60-61"},
	{why: "close code 1014 is refused", ids: "7.8.3"},
}

var gwsDeflateDeviations = []deviation{
	{why: "an offer is found by substring; its other parameters are not looked at", ids: "13.1.14-44 13.1.48 13.1.56-60"},
	{why: "only the first Sec-WebSocket-Extensions line is read", ids: "13.2.1"},
	{why: "RSV1 on control and continuation frames, RSV2 and RSV3 are accepted", ids: "13.3.1-12"},
	{why: "an offer with an unknown parameter is accepted", ids: "13.3.20"},
	{why: "data that does not inflate closes with 1011, or is taken for what has been inflated", ids: "13.5.1-15 13.7.1"},
	{why: "a message too large after inflation closes with 1011", ids: "13.8.2-5"},
	{why: "the length on the wire is compared with the limit of the inflated size", ids: "13.8.8"},
}

// With context takeover, payloads of control frames enter the window of the server's compressor, so that what it
// compresses after a pong cannot be inflated.
var gwsTakeoverDeviations = []deviation{
	{why: "pongs enter the window of the compressor", ids: "R.2 R.4 R.6"},
}

var coderDeviations = []deviation{
	{why: "an invalid close reason is echoed", ids: "7.5.1-6"},
	{why: "an unmasked frame, or a length with the top bit set, ends the connection without a close frame", ids: "F.1.1-9 F.2.9-10 H.3.6"},
	{why: "a ping with its length in 16 bits is accepted", ids: "F.2.8"},
	{why: "the limit is compared with what has arrived, not with what is announced", ids: "F.3.3 F.3.6-10 F.3.14"},
}

var coderDeflateDeviations = []deviation{
	{why: "server_max_window_bits=15 is accepted without being repeated in the answer", ids: "13.1.14"},
	{why: "a malformed extension header is ignored", ids: "13.1.24 13.1.56-60"},
	{why: "the value of client_max_window_bits is not looked at", ids: "13.1.32-35"},
	{why: "a repeated parameter is accepted", ids: "13.1.38-40"},
	{why: "what follows a final block in later fragments is taken for frames of another message", ids: "13.4.6"},
	{why: "data that does not inflate ends the connection without a close frame", ids: "13.5.1-15 13.7.1"},
	{why: "the limit is compared with what has arrived, not with what is announced", ids: "13.8.6"},
}
