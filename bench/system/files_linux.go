package system

import "golang.org/x/sys/unix"

// files is how many descriptors a process may have: this one's children may have as many.
func files() int {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) != nil || r.Max > 1<<20 {
		return 1 << 20
	}
	return int(r.Max)
}
