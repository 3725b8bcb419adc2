package doctor

import (
	"fmt"
	"math"
	"strings"
)

// descriptors: each connection is one.
func (e *examination) descriptors() {
	want := int64(e.Connections)
	soft, hard, err := e.limit("Max open files")
	if err != nil {
		e.unreadable("RLIMIT_NOFILE", err, false)
	} else if soft == math.MaxInt64 {
		e.add(Finding{Name: "RLIMIT_NOFILE", Value: "unlimited"})
	} else {
		each := max(0, soft-spare)
		f := Finding{Name: "RLIMIT_NOFILE", Value: fmt.Sprintf("%s (hard %s)", number(soft), limitText(hard)), Level: level(each < want)}
		f.Means = fmt.Sprintf("%s connections a process", number(each))
		if each < want && each > 0 {
			f.Means += fmt.Sprintf(": %s need %s processes of the hub and as many workers", number(want), number(ceil(want, each)))
		}
		f.Do = "raise nofile in /etc/security/limits.conf, or LimitNOFILE of the service; or use more processes"
		if hard > soft {
			f.Do = fmt.Sprintf("ulimit -n %s", strings.ReplaceAll(limitText(hard), ",", ""))
		}
		e.add(f)
	}
	if v, err := e.numbers("proc/sys/fs/nr_open", 1); err != nil {
		e.unreadable("fs.nr_open", err, false)
	} else {
		e.add(Finding{
			Name: "fs.nr_open", Value: number(v[0]), Level: level(v[0] < want+spare), Means: "RLIMIT_NOFILE cannot be higher",
			Do: fmt.Sprintf("sysctl -w fs.nr_open=%d", want+spare),
		})
	}
	if v, err := e.numbers("proc/sys/fs/file-nr", 3); err != nil {
		e.unreadable("fs.file-max", err, false)
	} else {
		// Both ends of each connection are here.
		free := v[2] - v[0]
		e.add(Finding{
			Name: "fs.file-max", Value: fmt.Sprintf("%s (%s in use)", limitText(v[2]), number(v[0])), Level: level(free < 2*want),
			Means: fmt.Sprintf("descriptors of the whole machine; %s connections have %s when both ends are here", number(want), number(2*want)),
			Do:    fmt.Sprintf("sysctl -w fs.file-max=%d", v[0]+2*want+10_000),
		})
	}
	if v, err := e.numbers("proc/sys/net/netfilter/nf_conntrack_max", 1); err != nil {
		e.unreadable("nf_conntrack_max", err, true)
	} else {
		e.add(Finding{
			Name: "nf_conntrack_max", Value: number(v[0]), Level: level(v[0] < want), Means: "connections that the packet filter follows, those on loopback too",
			Do: fmt.Sprintf("sysctl -w net.netfilter.nf_conntrack_max=%d", 2*want),
		})
	}
}

func limitText(v int64) string {
	if v == math.MaxInt64 {
		return "unlimited"
	}
	return number(v)
}

// ports: one for each connection from one address to one listener.
func (e *examination) ports() {
	v, err := e.numbers("proc/sys/net/ipv4/ip_local_port_range", 2)
	if err != nil {
		e.unreadable("ip_local_port_range", err, false)
		return
	}
	n := max(0, v[1]-v[0]+1)
	f := Finding{Name: "ip_local_port_range", Value: fmt.Sprintf("%d–%d", v[0], v[1]), Level: level(n < int64(e.Connections))}
	f.Means = fmt.Sprintf("%s connections from one source address to one listener", number(n))
	if n > 0 && n < int64(e.Connections) {
		f.Means += fmt.Sprintf(": %s need %s source addresses (127.0.0.x) or listeners", number(int64(e.Connections)), number(ceil(int64(e.Connections), n)))
	}
	f.Do = `sysctl -w net.ipv4.ip_local_port_range="1024 65535"; workers spread over source addresses by themselves`
	e.add(f)
}

// backlog: connections that wait for accept.
func (e *examination) backlog() {
	const enough = 4096
	for _, c := range []struct{ name, file, means string }{
		{"somaxconn", "proc/sys/net/core/somaxconn", "connections that may wait to be accepted; a storm beyond it meets retries of 1 s, 3 s, 7 s"},
		{"tcp_max_syn_backlog", "proc/sys/net/ipv4/tcp_max_syn_backlog", "connections that may be half open; loopback hardly has any"},
	} {
		v, err := e.numbers(c.file, 1)
		if err != nil {
			e.unreadable(c.name, err, c.name != "somaxconn")
			continue
		}
		caps := v[0] < enough && c.name == "somaxconn"
		e.add(Finding{Name: c.name, Value: number(v[0]), Level: level(caps), Means: c.means, Do: fmt.Sprintf("sysctl -w net.core.somaxconn=%d", enough)})
	}
}

// tcp: memory of sockets.
func (e *examination) tcp() {
	var receive int64
	for _, c := range []struct{ name, means string }{
		{"tcp_rmem", "bytes of a receive buffer: least, at first, most; a slow reader holds up to the most before the hub notices"},
		{"tcp_wmem", "bytes of a send buffer: least, at first, most; the hub sees a slow reader when this is full, too"},
	} {
		v, err := e.numbers("proc/sys/net/ipv4/"+c.name, 3)
		if err != nil {
			e.unreadable(c.name, err, false)
			continue
		}
		if c.name == "tcp_rmem" {
			receive = v[1]
		}
		e.add(Finding{Name: c.name, Value: fmt.Sprintf("%s %s %s", number(v[0]), number(v[1]), number(v[2])), Means: c.means})
	}
	v, err := e.numbers("proc/sys/net/ipv4/tcp_mem", 3)
	if err != nil {
		e.unreadable("tcp_mem", err, false)
		return
	}
	most := v[2] * int64(e.PageSize)
	f := Finding{Name: "tcp_mem", Value: fmt.Sprintf("%s %s %s pages", number(v[0]), number(v[1]), number(v[2]))}
	f.Means = fmt.Sprintf("%s for the buffers of all sockets", bytes(most))
	if receive > 0 {
		full := most / receive
		f.Means += fmt.Sprintf(": %s readers that stopped reading; idle sockets hold next to nothing", number(full))
		// One connection in a hundred may stand still in a scenario with slow readers.
		f.Level = level(full < int64(e.Connections)/100)
	}
	f.Do = "sysctl -w net.ipv4.tcp_mem with larger numbers, or fewer slow readers"
	e.add(f)
}

// processors that the hub and the generators share.
func (e *examination) processors() {
	value, n := fmt.Sprint(e.CPUs), float64(e.CPUs)
	if q := e.quota(); q > 0 && q < n {
		value, n = fmt.Sprintf("%d, %.1f by the control group", e.CPUs, q), q
	}
	e.add(Finding{
		Name: "processors", Value: value, Level: level(n < 4),
		Means: "hub, store and generators share them: a rate is that of all together, and only ratios of CPU time compare with other machines",
		Do:    "run the workers on another machine (hubbench worker --join)",
	})
	if s, err := e.text("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"); err != nil {
		e.unreadable("CPU governor", err, true)
	} else {
		e.add(Finding{
			Name: "CPU governor", Value: s, Level: level(s != "performance"), Means: "the clock of a processor that was idle is slow at first: short bursts look worse than they are",
			Do: "cpupower frequency-set -g performance",
		})
	}
	if s, err := e.steal(); err != nil {
		e.unreadable("steal", err, false)
	} else {
		e.add(Finding{
			Name: "steal", Value: fmt.Sprintf("%.2f %% since the start of the machine", 100*s), Level: level(s > 0.01),
			Means: "time that the host gave to others: latencies have pauses that are nobody's fault here", Do: "take medians of more runs, in turns with a baseline",
		})
	}
}

// memory for connections.
func (e *examination) memory() {
	total, err := e.meminfo("MemTotal")
	free, err2 := e.meminfo("MemAvailable")
	if err != nil || err2 != nil {
		if err == nil {
			err = err2
		}
		e.unreadable("memory", err, false)
		return
	}
	value := fmt.Sprintf("%s of %s available", bytes(free), bytes(total))
	if q := e.memoryQuota(); q > 0 && q < free {
		value, free = fmt.Sprintf("%s, %s by the control group", value, bytes(q)), q
	}
	fit := free / perConnection
	e.add(Finding{
		Name: "memory", Value: value, Level: level(fit < int64(e.Connections)),
		Means: fmt.Sprintf("%s idle connections at %s for both ends, the hub and the worker", number(fit), bytes(perConnection)), Do: "fewer connections, or workers on another machine",
	})
}

// quiet: is something else running?
func (e *examination) quiet() {
	s, err := e.text("proc/loadavg")
	var one, five, quarter float64
	if err == nil {
		if _, err = fmt.Sscan(s, &one, &five, &quarter); err != nil {
			err = fmt.Errorf("proc/loadavg: %w", err)
		}
	}
	if err != nil {
		e.unreadable("load average", err, false)
		return
	}
	e.add(Finding{
		Name: "load average", Value: fmt.Sprintf("%.2f %.2f %.2f", one, five, quarter), Level: level(one > 0.3*float64(e.CPUs)),
		Means: fmt.Sprintf("of %d processors, before a run; above %.1f the figures are somebody else's too", e.CPUs, 0.3*float64(e.CPUs)), Do: "end what else runs, or wait",
	})
}

// clock that every latency is taken from.
func (e *examination) clock() {
	s, err := e.text("sys/devices/system/clocksource/clocksource0/current_clocksource")
	if err != nil {
		e.unreadable("clock source", err, false)
		return
	}
	f := Finding{Name: "clock source", Value: s, Means: "read without a system call"}
	switch s {
	case "tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "timebase", "riscv_clocksource":
	default:
		f.Level, f.Means, f.Do = Caps, "each look at the clock is a system call of about a microsecond, several for each message", "boot with tsc, if the processor has a steady one"
	}
	e.add(f)
}

// namespaces for partitions and slow links.
func (e *examination) namespaces() {
	if e.Namespace == nil {
		return
	}
	f := Finding{Name: "network namespaces", Value: "can be made", Means: "partition and slow links work"}
	if err := e.Namespace(); err != nil {
		f.Value, f.Level, f.Means, f.Do = err.Error(), Caps, "chaos without partition and slow links", "run as root with iproute2, or in a user namespace (unshare -Urn)"
	}
	e.add(f)
}
