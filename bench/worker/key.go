package worker

import (
	"bytes"
	"strconv"
	"time"
)

// A key names a send over all workers, says who sent it, and when it was intended: run.part.number.time, where the
// time is in microseconds since the epoch by the controller's clock. Numbers have the base 36.
func key(run string, part int, n uint64, intended time.Time) string {
	b := make([]byte, 0, 48)
	b = append(b, run...)
	b = append(b, '.')
	b = strconv.AppendInt(b, int64(part), 36)
	b = append(b, '.')
	b = strconv.AppendUint(b, n, 36)
	b = append(b, '.')
	b = strconv.AppendInt(b, intended.UnixMicro(), 36)
	return string(b)
}

// parseKey takes one apart; ok is false for what is not of this run.
func parseKey(run string, k []byte) (part int, n uint64, intended int64, ok bool) {
	if len(k) <= len(run) || string(k[:len(run)]) != run || k[len(run)] != '.' {
		return 0, 0, 0, false
	}
	k = k[len(run)+1:]
	i := bytes.IndexByte(k, '.')
	j := bytes.LastIndexByte(k, '.')
	if i < 0 || j <= i {
		return 0, 0, 0, false
	}
	a, ok1 := base36(k[:i])
	b, ok2 := base36(k[i+1 : j])
	c, ok3 := base36(k[j+1:])
	return int(a), b, int64(c), ok1 && ok2 && ok3
}

func base36(b []byte) (n uint64, ok bool) {
	if len(b) == 0 || len(b) > 12 {
		return 0, false
	}
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9':
			n = n*36 + uint64(c-'0')
		case 'a' <= c && c <= 'z':
			n = n*36 + uint64(c-'a') + 10
		default:
			return 0, false
		}
	}
	return n, true
}
