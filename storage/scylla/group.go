package scylla

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gocql/gocql"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
)

const (
	// groupPartitions and groupBytes bound a request that carries batches of several partitions: no stock server warns
	// of one. Cassandra does from more than 10 partitions or 5 KiB on (unlogged_batch_across_partitions_warn_threshold,
	// batch_size_warn_threshold), and refuses more than 50 KiB; Scylla warns from 128 KiB on.
	groupPartitions = 10
	groupBytes      = 5 << 10
	// What Cassandra counts beside keys of rows and values: for a partition, a row, a row that expires, a value.
	partitionBytes, rowBytes, expiryBytes, cellBytes = 29, 21, 12, 20

	// groupParallel requests go at once as long as none is full, groupMaxParallel if all are.
	groupParallel, groupMaxParallel = 4, 64

	// watchEvery is how often the engine looks whether every node holds every row.
	watchEvery = time.Second
	// watchAgain is how long it waits when the driver could not tell.
	watchAgain = 30 * time.Second
	// groupPause is how long every batch goes by itself after a request for several has failed: those behind it do not
	// share the next failure, and a refusal of one batch can be told from an outcome that is unknown.
	groupPause = 5 * time.Second
)

// groups decides whether batches of several partitions go together.
type groups struct {
	whole atomic.Bool  // every node holds every row
	until atomic.Int64 // Unix nanoseconds; not before
	stop  context.CancelFunc
	done  sync.WaitGroup

	requests, batches atomic.Uint64
}

// Groups implements storage.GroupApplier. Batches of several partitions make one request where every node holds every row:
// whichever node is asked, it is a replica of each. Elsewhere it would have to send them on, which is dearer than asking
// the replicas directly.
func (e *Engine) Groups() bool {
	return e.groups.whole.Load() && time.Now().UnixNano() >= e.groups.until.Load()
}

// GroupLimits implements storage.GroupApplier.
func (e *Engine) GroupLimits() chat.GroupLimits {
	return chat.GroupLimits{Parallel: groupParallel, MaxParallel: groupMaxParallel, Conversations: groupPartitions, Bytes: groupBytes}
}

// watch keeps groups.whole up to date until ctx ends.
func (e *Engine) watch(ctx context.Context) {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		every := watchEvery
		if !e.look() {
			every = watchAgain
		}
		t.Reset(every)
	}
}

// look finds out from what the driver knows whether every node holds every row; ok: it knows. The driver hears of changes;
// it asks the servers, and waits for them, only when it has no description of the keyspace, as after it was altered.
func (e *Engine) look() (ok bool) {
	ks, err := e.session.KeyspaceMetadata(e.cfg.Keyspace)
	whole := err == nil && replicatedEverywhere(ks.StrategyClass, ks.StrategyOptions, e.cfg.Datacenter, e.datacenters())
	if e.groups.whole.Swap(whole) != whole {
		e.cfg.Logger.Info("storage: commits of several conversations go together while every node holds every row", "now", whole, "keyspace", e.cfg.Keyspace)
	}
	return err == nil
}

// datacenters is how many nodes each has, those that are down included.
func (e *Engine) datacenters() map[string]int {
	n := map[string]int{}
	for _, h := range e.session.GetHosts() {
		n[h.DataCenter()]++
	}
	return n
}

// replicatedEverywhere reports whether all nodes that may be asked, those of one data centre or of all if dc is empty,
// hold every row of a keyspace. What it does not understand does not count.
func replicatedEverywhere(class string, options map[string]any, dc string, nodes map[string]int) bool {
	copies := func(option string) int {
		s, _ := options[option].(string)
		n, err := strconv.Atoi(s) // "3/1" has transient replicas, which do not keep what they are sent
		if err != nil {
			return 0
		}
		return n
	}
	total := 0
	for _, n := range nodes {
		total += n
	}
	switch {
	case total == 0:
		return false
	case strings.HasSuffix(class, "SimpleStrategy"):
		return total <= copies("replication_factor")
	case strings.HasSuffix(class, "NetworkTopologyStrategy"):
		if dc != "" {
			return nodes[dc] > 0 && nodes[dc] <= copies(dc)
		}
		for name, n := range nodes {
			if n > copies(name) {
				return false
			}
		}
		return true
	}
	return false
}

// part of a group: what one request carries.
type part struct {
	list    []statement
	batches int
	table   *storage.Table // the first one's
}

// ApplyGroup implements storage.GroupApplier: unlogged batches over several partitions, as few as the bounds allow, or a
// request for each partition where Groups says no. Each partition's rows are one mutation to the server, atomic; the
// partitions of a request are written independently.
//
// A request for several is sent once. Unless the servers refused to look at it, its outcome is unknown, also when there
// were too few replicas: the coordinator writes one partition after the other, and may have found that out at the second.
func (e *Engine) ApplyGroup(ctx context.Context, batches []storage.Batch) error {
	if err := e.begin(ctx); err != nil {
		return err
	}
	defer e.end()
	parts, err := e.parts(batches)
	if err != nil || len(parts) == 0 {
		return err
	}
	errs := make([]error, len(parts))
	var wg sync.WaitGroup
	for i := range parts[1:] {
		wg.Go(func() { errs[i+1] = e.sendPart(ctx, &parts[i+1]) })
	}
	errs[0] = e.sendPart(ctx, &parts[0])
	wg.Wait()
	failed := 0
	for _, err := range errs {
		if err != nil {
			failed++
		}
	}
	if err = errors.Join(errs...); err != nil && failed < len(parts) && !errors.Is(err, storage.ErrUnknownOutcome) {
		err = fmt.Errorf("%w: %d of %d requests for a group failed: %w", storage.ErrUnknownOutcome, failed, len(parts), err)
	}
	return err
}

// parts checks the batches and divides them.
func (e *Engine) parts(batches []storage.Batch) ([]part, error) {
	n := 0
	for i := range batches {
		b := &batches[i]
		if _, err := e.check(b); err != nil {
			return nil, err
		}
		for j := range b.Mutations {
			if m := &b.Mutations[j]; !m.Delete && !m.Whole && !complete(b.Table, m.Columns) {
				return nil, fmt.Errorf("storage: %s: a group has a partial row", b.Table.Name)
			}
		}
		n += len(b.Mutations)
	}
	if n == 0 {
		return nil, nil
	}
	most := 1
	if e.Groups() {
		most = groupPartitions
	}
	stamp, list := e.clock.take(n), make([]statement, 0, n)
	var parts []part
	bytes := 0
	for i := range batches {
		b := &batches[i]
		if len(b.Mutations) == 0 {
			continue
		}
		first := len(list)
		var err error
		if list, err = e.bind(list, e.tables[b.Table.ID], b, stamp+int64(first)); err != nil {
			return nil, err
		}
		size := mutationBytes(b)
		if k := len(parts) - 1; k >= 0 && parts[k].batches < most && bytes+size <= groupBytes {
			p := &parts[k]
			p.list, p.batches, bytes = list[first-len(p.list):], p.batches+1, bytes+size
			continue
		}
		parts, bytes = append(parts, part{list[first:], 1, b.Table}), size
	}
	return parts, nil
}

// mutationBytes is what Cassandra takes the size of a batch for when it is one of several partitions: keys of partitions
// and columns that are not set do not count.
func mutationBytes(b *storage.Batch) int {
	n := partitionBytes
	for i := range b.Mutations {
		m := &b.Mutations[i]
		n += rowBytes + cellBytes + 1 // of the hidden column
		if b.Table.TTL > 0 {
			n += expiryBytes
		}
		for j := range m.Clustering {
			n += valueBytes(b.Table.Clustering[j].Kind, &m.Clustering[j])
		}
		for j := range m.Columns {
			if m.Columns[j].Set {
				n += cellBytes + valueBytes(b.Table.Columns[j].Kind, &m.Columns[j])
			}
		}
	}
	return n
}

func valueBytes(k storage.ColumnKind, v *storage.Value) int {
	switch k {
	case storage.Text, storage.Blob:
		return len(v.B)
	case storage.Bool:
		return 1
	}
	return 8
}

// complete reports whether all columns are set.
func complete(t *storage.Table, columns []storage.Value) bool {
	return len(columns) == len(t.Columns) && !slices.ContainsFunc(columns, func(v storage.Value) bool { return !v.Set })
}

func (e *Engine) sendPart(ctx context.Context, p *part) error {
	if p.batches == 1 {
		return e.write(ctx, p.table, p.list)
	}
	e.groups.requests.Add(1)
	e.groups.batches.Add(uint64(p.batches))
	err := e.send(ctx, p.list)
	if err == nil {
		return nil
	}
	e.groups.until.Store(time.Now().Add(groupPause).UnixNano())
	v := judgeGroup(err)
	return writeError(ctx, p.table, v == uncertain, v, err)
}

// judgeGroup is judge for a request that carries several partitions.
func judgeGroup(err error) verdict {
	v := judge(err)
	var answer serverError
	if v == unreachable && errors.As(err, &answer) && answer.GetCode() != gocql.ErrCodeUnprepared {
		return uncertain
	}
	return v
}
