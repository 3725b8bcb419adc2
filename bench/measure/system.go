package measure

import (
	"runtime"
	"runtime/debug"
	"syscall"
	"time"
)

// MachineInfo describes this machine. What cannot be read is left empty.
func MachineInfo() Machine {
	m := Machine{CPUs: runtime.NumCPU(), Arch: runtime.GOARCH, OS: runtime.GOOS, Go: runtime.Version(), Build: build()}
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) == nil {
		m.Files = files.Cur
	}
	m.read()
	return m
}

// build is the version of this program and the revision that it was built from.
func build() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	out := info.Main.Version
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			out += " " + s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			out += " modified"
		}
	}
	return out
}

// Self is the processor time that this process has used.
func Self() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0 // fails for wrong arguments alone
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
