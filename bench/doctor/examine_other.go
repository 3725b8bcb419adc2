//go:build !linux

package doctor

import "runtime"

// Examine knows only Linux, and says so.
func Examine() []Finding {
	return []Finding{{Name: "system", Value: runtime.GOOS, Level: Unknown, Means: "limits are known on Linux only, and the generators run there only", Do: "use Linux"}}
}
