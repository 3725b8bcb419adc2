package measure

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// read what /proc and /etc say.
func (m *Machine) read() {
	m.Memory = uint64(field("/proc/meminfo", "MemTotal:") << 10)
	m.Kernel = line("/proc/sys/kernel/osrelease")
	load, _, _ := strings.Cut(line("/proc/loadavg"), "/")
	if i := strings.LastIndexByte(load, ' '); i > 0 {
		m.Load = load[:i]
	}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for l := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(name) == "model name" {
				m.Model = strings.TrimSpace(value)
				break
			}
		}
	}
	if text, err := os.ReadFile("/etc/os-release"); err == nil {
		for l := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(l, "PRETTY_NAME="); ok {
				m.OS = strings.Trim(strings.TrimSpace(value), `"`)
			}
		}
	}
}

func line(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// field is the number after a name in a file of names and numbers; 0: it is not there.
func field(path, name string) int64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	words := strings.Fields(string(text))
	for i, w := range words[:max(0, len(words)-1)] {
		if w == name {
			n, err := strconv.ParseInt(words[i+1], 10, 64)
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}

// KernelMemory is what the kernel uses for what a socket is made of, in bytes: its slabs (sockets, files, epoll's entries) and the
// buffers of TCP. Other programs on the machine have their part in it: only growth says something.
func KernelMemory() int64 {
	bytes := field("/proc/meminfo", "Slab:") << 10
	sockets, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return bytes
	}
	for l := range strings.Lines(string(sockets)) {
		if rest, ok := strings.CutPrefix(l, "TCP:"); ok {
			words := strings.Fields(rest)
			for i := 0; i+1 < len(words); i += 2 {
				if pages, err := strconv.ParseInt(words[i+1], 10, 64); err == nil && words[i] == "mem" {
					bytes += pages * int64(os.Getpagesize())
				}
			}
		}
	}
	return bytes
}

// RSS is the memory of a process that is resident, in bytes; 0 if there is no such process.
func RSS(pid int) int64 {
	return field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:") << 10
}

// ticksPerSecond of /proc: USER_HZ, 100 on every architecture that Go runs on.
const ticksPerSecond = 100

// sampleOf a process.
func sampleOf(pid int) (Sample, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Sample{}, err
	}
	// The name, in parentheses, may hold anything: the last one closes it.
	words := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(words) < 22 {
		return Sample{}, errors.New("/proc: a stat that is too short")
	}
	numbers := make([]int64, len(words))
	for i := range words {
		numbers[i], _ = strconv.ParseInt(string(words[i]), 10, 64) // the state is a letter
	}
	s := Sample{CPU: float64(numbers[11]+numbers[12]) / ticksPerSecond, RSS: numbers[21] * int64(os.Getpagesize())}
	fds := fmt.Sprintf("/proc/%d/fd", pid)
	if info, err := os.Stat(fds); err == nil && info.Size() > 0 { // since Linux 6.2 it tells their number, however many
		s.Files = int(info.Size())
	} else if files, err := os.ReadDir(fds); err == nil {
		s.Files = len(files)
	}
	return s, nil
}
