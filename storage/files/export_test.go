package files

import "testing"

// ThumbTime is how long a thumbnail may take.
const ThumbTime = thumbTime

// SetMaxCounted changes for one test, which does not run beside others, of how many tenants uploads are counted in memory.
func SetMaxCounted(t *testing.T, n int) {
	old := maxCounted
	maxCounted = n
	t.Cleanup(func() { maxCounted = old })
}
