package node

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
)

// timedEngine measures an engine's operations.
type timedEngine struct {
	storage.Engine
	group storage.GroupApplier  // nil: the engine is none
	multi storage.MultiSwapper  // nil: the engine is none
	fence storage.FencedApplier // nil: the engine is none
	ops   *prometheus.HistogramVec
	// The histograms of the hot path, found once.
	appendOK, getOK, getManyOK, writeOK prometheus.Observer
}

func newTimedEngine(e storage.Engine, r prometheus.Registerer) *timedEngine {
	ops := prometheus.NewHistogramVec(histogram("hub_storage_op_duration_seconds",
		"Operations of the storage engine. append is a durable batch, append_fenced one under strict fencing, write a relaxed one.", latency),
		[]string{"op", "outcome"})
	r.MustRegister(ops)
	ok := func(op string) prometheus.Observer { return ops.WithLabelValues(op, "ok") }
	group, _ := e.(storage.GroupApplier)
	multi, _ := e.(storage.MultiSwapper)
	fence, _ := e.(storage.FencedApplier)
	return &timedEngine{e, group, multi, fence, ops, ok("append"), ok("get"), ok("get_many"), ok("write")}
}

func (t *timedEngine) observe(op string, start time.Time, err error) {
	d := time.Since(start).Seconds()
	switch {
	case err == nil || errors.Is(err, storage.ErrNoRow):
		switch op {
		case "append":
			t.appendOK.Observe(d)
		case "get":
			t.getOK.Observe(d)
		case "get_many":
			t.getManyOK.Observe(d)
		case "write":
			t.writeOK.Observe(d)
		default:
			t.ops.WithLabelValues(op, "ok").Observe(d)
		}
	case errors.Is(err, storage.ErrUnknownOutcome):
		t.ops.WithLabelValues(op, "unknown").Observe(d)
	default:
		t.ops.WithLabelValues(op, "error").Observe(d)
	}
}

func (t *timedEngine) Get(ctx context.Context, table *storage.Table, p, c storage.Key) (storage.Row, error) {
	start := time.Now()
	row, err := t.Engine.Get(ctx, table, p, c)
	t.observe("get", start, err)
	return row, err
}

func (t *timedEngine) GetMany(ctx context.Context, table *storage.Table, keys []storage.FullKey) ([]storage.Row, error) {
	start := time.Now()
	rows, err := t.Engine.GetMany(ctx, table, keys)
	t.observe("get_many", start, err)
	return rows, err
}

func (t *timedEngine) Apply(ctx context.Context, b storage.Batch) error {
	start := time.Now()
	err := t.Engine.Apply(ctx, b)
	op := "append"
	if b.Durability == storage.Relaxed {
		op = "write"
	}
	t.observe(op, start, err)
	return err
}

// ApplyFenced implements storage.FencedApplier if the engine does.
func (t *timedEngine) ApplyFenced(ctx context.Context, b storage.Batch, epoch uint64) error {
	if t.fence == nil {
		return errors.New("storage: the engine has no fences")
	}
	start := time.Now()
	err := t.fence.ApplyFenced(ctx, b, epoch)
	t.observe("append_fenced", start, err)
	return err
}

// Groups implements storage.GroupApplier if the engine does.
func (t *timedEngine) Groups() bool { return t.group != nil && t.group.Groups() }

// GroupLimits implements storage.GroupApplier if the engine does.
func (t *timedEngine) GroupLimits() chat.GroupLimits {
	if t.group == nil {
		return chat.GroupLimits{}
	}
	return t.group.GroupLimits()
}

// ApplyGroup implements storage.GroupApplier if the engine does.
func (t *timedEngine) ApplyGroup(ctx context.Context, b []storage.Batch) error {
	if t.group == nil {
		return errors.New("storage: the engine has no groups")
	}
	start := time.Now()
	err := t.group.ApplyGroup(ctx, b)
	t.observe("append", start, err)
	return err
}

func (t *timedEngine) Scan(ctx context.Context, r storage.Range, yield func(storage.Row) bool) error {
	start := time.Now()
	err := t.Engine.Scan(ctx, r, yield)
	t.observe("scan", start, err)
	return err
}

// CompareAndSetAll implements storage.MultiSwapper if the engine does.
func (t *timedEngine) CompareAndSetAll(ctx context.Context, table *storage.Table, partition storage.Key, swaps []storage.RowSwap) (bool, error) {
	if t.multi == nil {
		return false, nil
	}
	start := time.Now()
	ok, err := t.multi.CompareAndSetAll(ctx, table, partition, swaps)
	t.observe("compare_and_set", start, err)
	return ok, err
}

func (t *timedEngine) CompareAndSet(ctx context.Context, table *storage.Table, p, c storage.Key, expect, set []storage.Value) (bool, storage.Row, error) {
	start := time.Now()
	ok, row, err := t.Engine.CompareAndSet(ctx, table, p, c, expect, set)
	t.observe("compare_and_set", start, err)
	return ok, row, err
}
