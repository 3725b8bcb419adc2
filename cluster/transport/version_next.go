//go:build hub_wire_next && !hub_wire_later

package transport

import "sync/atomic"

// The next version, for tests of two versions side by side: it speaks this one too, and sends frames that this one does
// not know.
const (
	versionMin = 1
	versionMax = 2

	frameOfNext = 200
)

var batches atomic.Uint64

// later adds an unknown frame to every 16th batch.
func (*stream) later(b *batch) {
	if b.bytes == 0 {
		return
	}
	if n := batches.Add(1); n%16 == 0 {
		b.add(appendFrame(nil, header{kind: frameOfNext, id: n}, []byte("of the next version")), 1)
	}
}
