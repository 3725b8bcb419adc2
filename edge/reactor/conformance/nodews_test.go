package conformance_test

import (
	"testing"

	"github.com/coder/websocket"

	"github.com/zumodra/hub/edge/reactor/conformance/nodews"
)

// The client of npm is checked against a server that is not ours before it judges ours.
func TestNodeClientAgainstPeer(t *testing.T) {
	if testing.Short() {
		t.Skip("starts node")
	}
	target := coderServer(t, websocket.CompressionContextTakeover)
	nodews.Run(t, "ws://"+target.Addr, nodews.Options{Deflate: true, MaxMessage: peerLimit,
		Known: map[string]string{"an unmasked frame is answered with 1002": "coder closes without a close frame"}})
}
