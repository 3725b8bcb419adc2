//go:build hub_wire_later

package transport

// A later version, for tests of two versions side by side, that has forgotten this one.
const (
	versionMin = 3
	versionMax = 4
)

func (*stream) later(*batch) {}
