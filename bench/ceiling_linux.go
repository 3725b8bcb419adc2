package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// runCeiling is the store's own limit: goroutines that commit batches to a bare Pebble, each its next when the last
// one is on disk. Pebble joins what is in flight into one sync, as it does for the hub.
func runCeiling(args []string) error {
	if len(args) != 1 {
		return errors.New("pebble wants a directory")
	}
	db, err := openBare(args[0])
	if err != nil {
		return err
	}
	defer db.Close()
	seq := 0
	return serveCommands(func(cmd command) reply {
		if cmd.Op != "commit" {
			return reply{Err: "unknown command " + cmd.Op}
		}
		seq++
		before := ownCPU()
		r := commitLoop(db, uint32(seq), cmd)
		r.CPU = ownCPU() - before
		return r
	})
}

// openBare opens a Pebble as storage/pebble does.
func openBare(dir string) (*pebble.DB, error) {
	cache := pebble.NewCache(64 << 20)
	defer cache.Unref()
	// The settings of storage/pebble, so that the difference is the hub and not the tuning.
	opts := &pebble.Options{
		Cache: cache, MemTableSize: 16 << 20, MemTableStopWritesThreshold: 4, L0CompactionThreshold: 4,
		L0StopWritesThreshold: 24, LBaseMaxBytes: 64 << 20, BytesPerSync: 1 << 20,
		FormatMajorVersion: pebble.FormatValueSeparation, Logger: quiet{},
	}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return pebble.Open(dir, opts)
}

// commitLoop runs N writers for the time given. Each commit is one durable batch of Rounds rows, Bytes bytes of
// keys and values in all, under the writer's own key prefix.
func commitLoop(db *pebble.DB, run uint32, cmd command) reply {
	var mu sync.Mutex
	var r reply
	start := time.Now()
	stop := start.Add(time.Duration(cmd.Seconds * float64(time.Second)))
	var group sync.WaitGroup
	for w := range cmd.N {
		group.Add(1)
		go func() {
			defer group.Done()
			value := make([]byte, max(1, cmd.Bytes/max(1, cmd.Rounds)-36))
			random := rand.New(rand.NewPCG(uint64(run), uint64(w)))
			for i := range value { // text, as messages are: compressible
				value[i] = " etaoinshrdlucmf"[random.IntN(16)]
			}
			var ms []float64
			for i := uint64(1); time.Now().Before(stop); i++ {
				b := db.NewBatch()
				for row := range cmd.Rounds {
					var key [36]byte
					binary.BigEndian.PutUint32(key[:], uint32(w))
					binary.BigEndian.PutUint32(key[16:], run)
					binary.BigEndian.PutUint64(key[24:], i)
					key[35] = byte(row)
					b.Set(key[:], value, nil)
				}
				at := time.Now()
				err := b.Commit(pebble.Sync)
				now := time.Now()
				b.Close()
				if err != nil {
					mu.Lock()
					r.Err = fmt.Sprintf("commit: %v", err)
					mu.Unlock()
					return
				}
				if now.Before(stop) {
					ms = append(ms, now.Sub(at).Seconds()*1e3)
				}
			}
			mu.Lock()
			r.Millis = append(r.Millis, ms...)
			mu.Unlock()
		}()
	}
	group.Wait()
	r.N, r.Seconds = int64(len(r.Millis)), cmd.Seconds
	return r
}

// quiet drops the log of a library.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Error(...any)          {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(f string, a ...any) {
	panic(fmt.Sprintf(f, a...))
}
