package doctor_test

import (
	"errors"
	"io/fs"
	"maps"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/zumodra/hub/bench/doctor"
)

// small is a machine that caps nearly everything.
func small() fstest.MapFS {
	return root(map[string]string{
		"proc/self/limits": "Limit                     Soft Limit           Hard Limit           Units     \n" +
			"Max cpu time              unlimited            unlimited            seconds   \n" +
			"Max open files            20000                20000                files     \n",
		"proc/sys/fs/nr_open":                     "1048576\n",
		"proc/sys/fs/file-nr":                     "1410\t0\t150000\n",
		"proc/sys/net/ipv4/ip_local_port_range":   "32768\t60999\n",
		"proc/sys/net/core/somaxconn":             "128\n",
		"proc/sys/net/ipv4/tcp_max_syn_backlog":   "512\n",
		"proc/sys/net/ipv4/tcp_mem":               "2000\t3000\t4000\n",
		"proc/sys/net/ipv4/tcp_rmem":              "4096\t131072\t33554432\n",
		"proc/sys/net/ipv4/tcp_wmem":              "4096\t16384\t4194304\n",
		"proc/sys/net/netfilter/nf_conntrack_max": "65536\n",
		"proc/stat":                "cpu  500 0 300 100 0 0 0 100 50 0\ncpu0 1 2 3\n",
		"proc/loadavg":             "1.50 0.40 0.30 1/240 3036\n",
		"proc/meminfo":             "MemTotal:        1024000 kB\nMemFree:          1000 kB\nMemAvailable:     512000 kB\n",
		"sys/fs/cgroup/cpu.max":    "50000 100000\n",
		"sys/fs/cgroup/memory.max": "max\n",
		"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor":            "powersave\n",
		"sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet\n",
	})
}

// large is one that caps nothing.
func large() fstest.MapFS {
	fsys := small()
	maps.Copy(fsys, root(map[string]string{
		"proc/self/limits":                        "Max open files            unlimited            unlimited            files     \n",
		"proc/sys/fs/file-nr":                     "1410\t0\t18446744073709551615\n",
		"proc/sys/net/ipv4/ip_local_port_range":   "1024\t165535\n",
		"proc/sys/net/core/somaxconn":             "4096\n",
		"proc/sys/net/ipv4/tcp_mem":               "287901\t383869\t575802\n",
		"proc/sys/net/netfilter/nf_conntrack_max": "1048576\n",
		"proc/stat":             "cpu  500 0 300 100 0 0 0 0 50 0\n",
		"proc/loadavg":          "0.10 0.40 0.30 1/240 3036\n",
		"proc/meminfo":          "MemTotal:       64684096 kB\nMemFree:        16111924 kB\nMemAvailable:   62470444 kB\n",
		"sys/fs/cgroup/cpu.max": "max 100000\n",
		"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor":            "performance\n",
		"sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
	}))
	return fsys
}

func root(files map[string]string) fstest.MapFS {
	out := fstest.MapFS{}
	for name, text := range files {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

func sys(cpus int, ns error) doctor.System {
	return doctor.System{CPUs: cpus, PageSize: 4096, Namespace: func() error { return ns }}
}

func find(t *testing.T, findings []doctor.Finding, name string) doctor.Finding {
	t.Helper()
	for _, f := range findings {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("no finding %q in %+v", name, findings)
	return doctor.Finding{}
}

func TestWhatASmallMachineCaps(t *testing.T) {
	got := doctor.From(small(), sys(2, errors.New("operation not permitted")))
	for _, c := range []struct{ name, value, means, do string }{
		{"RLIMIT_NOFILE", "20,000 (hard 20,000)", "19,500 connections a process: 100,000 need 6 processes", "limits.conf"},
		{"fs.file-max", "150,000 (1,410 in use)", "100,000 connections have 200,000", "fs.file-max=211410"},
		{"nf_conntrack_max", "65,536", "packet filter", "nf_conntrack_max=200000"},
		{"ip_local_port_range", "32768–60999", "28,232 connections from one source address to one listener: 100,000 need 4 source addresses", "ip_local_port_range"},
		{"somaxconn", "128", "accepted", "somaxconn=4096"},
		{"tcp_mem", "2,000 3,000 4,000 pages", "15.6 MiB for the buffers of all sockets: 125 readers", "tcp_mem"},
		{"processors", "2, 0.5 by the control group", "share", "worker --join"},
		{"CPU governor", "powersave", "slow at first", "performance"},
		{"steal", "10.00 % since the start of the machine", "host", "medians"},
		{"memory", "500 MiB of 1000 MiB available", "63,381 idle connections", "fewer connections"},
		{"load average", "1.50 0.40 0.30", "of 2 processors", "end what else runs"},
		{"clock source", "hpet", "system call", "tsc"},
		{"network namespaces", "operation not permitted", "without partition", "root"},
	} {
		f := find(t, got, c.name)
		if f.Level != doctor.Caps || f.Value != c.value || !strings.Contains(f.Means, c.means) || !strings.Contains(f.Do, c.do) {
			t.Errorf("%+v\nwant %+v", f, c)
		}
	}
	if f := find(t, got, "fs.nr_open"); f.Level != doctor.Fine {
		t.Errorf("%+v", f)
	}
}

func TestALargeMachineIsFine(t *testing.T) {
	for _, f := range doctor.From(large(), sys(64, nil)) {
		if f.Level != doctor.Fine {
			t.Errorf("%+v", f)
		}
	}
}

func TestSoftLimitIsRaisedByUlimit(t *testing.T) {
	fsys := large()
	maps.Copy(fsys, root(map[string]string{"proc/self/limits": "Max open files            1024                 524288               files     \n"}))
	if f := find(t, doctor.From(fsys, sys(64, nil)), "RLIMIT_NOFILE"); f.Do != "ulimit -n 524288" || !strings.HasPrefix(f.Means, "524 connections a process: 100,000 need 191 processes") {
		t.Errorf("%+v", f)
	}
	if f := find(t, doctor.From(fsys, doctor.System{CPUs: 64, PageSize: 4096, Connections: 500}), "RLIMIT_NOFILE"); f.Level != doctor.Fine {
		t.Errorf("500 connections fit: %+v", f)
	}
}

func TestOlderControlGroups(t *testing.T) {
	fsys := large()
	delete(fsys, "sys/fs/cgroup/cpu.max")
	delete(fsys, "sys/fs/cgroup/memory.max")
	maps.Copy(fsys, root(map[string]string{
		"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
		"sys/fs/cgroup/memory/memory.limit_in_bytes": "104857600\n",
	}))
	got := doctor.From(fsys, sys(64, nil))
	if f := find(t, got, "processors"); f.Value != "64, 1.5 by the control group" || f.Level != doctor.Caps {
		t.Errorf("%+v", f)
	}
	if f := find(t, got, "memory"); !strings.HasSuffix(f.Value, "100 MiB by the control group") || f.Level != doctor.Caps {
		t.Errorf("%+v", f)
	}
}

// TestUnreadable: what is missing or nonsense is said to be unknown, never fine; what a machine need not have is left out.
func TestUnreadable(t *testing.T) {
	optional := []string{"conntrack", "governor", "cgroup", "syn_backlog"}
	for name := range small() {
		isOptional := false
		for _, o := range optional {
			isOptional = isOptional || strings.Contains(name, o)
		}
		without := small()
		delete(without, name)
		if got := unknown(doctor.From(without, sys(2, nil))); isOptional && got != 0 || !isOptional && got != 1 {
			t.Errorf("without %s: %d unknown", name, got)
		}
		if strings.Contains(name, "cgroup") || strings.Contains(name, "clocksource") || strings.Contains(name, "governor") {
			continue // any word is one
		}
		for _, text := range []string{"", "\n", "x y z", "99999999999999999999999999 a b c d e f g h i"} {
			broken := small()
			broken[name] = &fstest.MapFile{Data: []byte(text)}
			if got := unknown(doctor.From(broken, sys(2, nil))); got != 1 {
				t.Errorf("%s with %q: %d unknown", name, text, got)
			}
		}
	}
	for _, f := range doctor.From(fstest.MapFS{}, sys(2, nil)) {
		if f.Level == doctor.Unknown && !strings.Contains(f.Value, fs.ErrNotExist.Error()) {
			t.Errorf("%+v", f)
		}
	}
}

func unknown(findings []doctor.Finding) (n int) {
	for _, f := range findings {
		if f.Level == doctor.Unknown {
			n++
		}
	}
	return n
}

func TestText(t *testing.T) {
	var b strings.Builder
	if err := doctor.Text(&b, doctor.From(small(), sys(2, nil))); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"! RLIMIT_NOFILE        20,000 (hard 20,000)\n", "→ sysctl -w net.core.somaxconn=4096\n", "✓ fs.nr_open           1,048,576\n", "\n12 of 17 cap something (!)\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestExamineThisMachine(t *testing.T) {
	got := doctor.Examine()
	if runtime.GOOS != "linux" {
		if len(got) != 1 || got[0].Level != doctor.Unknown {
			t.Errorf("%+v", got)
		}
		return
	}
	if f := find(t, got, "RLIMIT_NOFILE"); f.Level == doctor.Unknown {
		t.Errorf("%+v", f)
	}
	// Trying a namespace must not leave this process in one.
	if again := doctor.Examine(); len(again) != len(got) {
		t.Errorf("%d findings, then %d", len(got), len(again))
	}
}
