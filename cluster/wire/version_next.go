//go:build hub_wire_next

package wire

import (
	"sync/atomic"

	"google.golang.org/protobuf/encoding/protowire"
)

var messages atomic.Uint64

// later adds a field that this version does not know to every 8th message, for tests of two versions side by side.
func later(b []byte) []byte {
	if messages.Add(1)%8 != 0 {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, 1000, protowire.BytesType), "of the next version")
}
