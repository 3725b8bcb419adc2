//go:build !hub_wire_next && !hub_wire_later

package transport

// Versions of the protocol that this build speaks. The hello says them; a stream speaks the highest of both sides.
const (
	versionMin = 1
	versionMax = 1
)

// later adds to a batch what a later version sends now and then: nothing.
func (*stream) later(*batch) {}
