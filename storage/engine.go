package storage

import (
	"context"
	"errors"
	"time"
)

// ColumnKind is the type of a column's values.
type ColumnKind uint8

const (
	Text ColumnKind = iota + 1 // UTF-8 string
	Blob                       // bytes
	Int                        // int64
	Bool
	Time // microseconds since the Unix epoch, UTC
)

// Column of a table.
type Column struct {
	Name string
	Kind ColumnKind
	Desc bool // clustering columns only: stored newest first
}

// Table declares a table once for every engine: rows live in partitions (hash-distributed, never spanning
// machines), sorted within them by the clustering columns.
type Table struct {
	ID         uint16 // stored by engines that have no names; never reused
	Name       string
	Partition  []Column
	Clustering []Column // may be empty: one row per partition
	Columns    []Column
	// TTL is the default life of a row, counted from its last write; 0: for ever. It is that of the whole row, and a
	// row of a table with a TTL is always written with all its columns or with Mutation.Whole, because engines
	// differ in what outlives what otherwise. A table without TTL has no rows that expire.
	TTL time.Duration
	// Fenced: each partition has room for a fence (see FencedApplier). Such a table has clustering columns and no TTL.
	Fenced bool
}

// Value of a column; the field that the column's kind names is meaningful (Int, Bool as 0/1 and Time share I;
// Text and Blob share B). The zero Value is "absent": it is neither written nor a tombstone.
type Value struct {
	Set bool
	I   int64
	B   []byte
}

// Key values of partition and clustering columns, in declared order. Every value must be Set.
type Key []Value

// Row is what a read returns: Clustering and Columns in declared order. Columns of a row that exists is never nil,
// also when the table declares none.
type Row struct {
	Clustering Key
	Columns    []Value
}

// Durability of a write.
type Durability uint8

const (
	// Durable: Apply returns after the batch is on disk (fsync), or at a quorum.
	Durable Durability = iota
	// Relaxed: for rows that can be derived again; survives a crash of the process but perhaps not of the
	// machine. A later Durable write to the same engine makes it durable too where the engine has one log.
	Relaxed
)

// Mutation of one row. Columns that are not Set keep the value they had (upsert by column); the row exists
// afterwards even if none is Set.
type Mutation struct {
	Clustering Key
	Columns    []Value // nil with Delete
	// Whole: the writer knows that columns which are not Set are absent from the stored row too, because the row is
	// new or is the same row again. An engine that keeps rows in one piece then need not read the old one.
	Whole  bool
	Delete bool          // the row; with an empty Clustering on a table that has some: the whole partition
	TTL    time.Duration // overrides Table.TTL if positive, on tables that have one
}

// Batch of mutations within one partition, applied atomically and as if one after the other: the deletion of a
// partition spares the rows that are put after it.
type Batch struct {
	Table      *Table
	Partition  Key
	Mutations  []Mutation
	Durability Durability
}

// Range of rows within one partition, in clustering order (or the reverse).
type Range struct {
	Table     *Table
	Partition Key
	// Bounds on a prefix of the clustering columns; nil is open. From is inclusive, To is exclusive unless
	// ToInclusive; both in the order of the table, also when Reverse.
	From, To    Key
	ToInclusive bool
	Reverse     bool
	Limit       int // 0: no limit
	Hint        int // how many rows the caller expects to take before it stops; 0: unknown. Engines may page by it.
}

// Engine is the small wide-column interface that everything is stored through. Implementations are safe for
// concurrent use and pass storagetest. Byte slices given to a call are not changed until it returned, and not looked
// at after that; those returned by Get, GetMany and CompareAndSet belong to the caller, those passed to a yield are
// valid until it returns. A yield may call the engine. A context that ends is answered with its error; a write that
// had begun may then still be carried out.
type Engine interface {
	// Get returns one row, or ErrNoRow.
	Get(ctx context.Context, t *Table, partition, clustering Key) (Row, error)
	// GetMany returns one row per key pair, nil Columns where there is none. It counts as one read.
	GetMany(ctx context.Context, t *Table, keys []FullKey) ([]Row, error)
	// Apply writes a batch: all of it or nothing. After an error that is ErrUnknownOutcome the batch may or may not
	// have been applied; applying it again is always safe.
	Apply(ctx context.Context, b Batch) error
	// Scan calls yield for the rows of a range until it returns false. yield must not keep the row. A scan sees each
	// row as it was at one moment; engines need not give all rows of a scan the same moment.
	Scan(ctx context.Context, r Range, yield func(Row) bool) error
	// CompareAndSet durably upserts the columns of one row if its current columns equal expect, absent ones included
	// (nil: if there is no such row). It reports whether it was applied and, if not, the row found (nil Columns: no
	// row). It is never retried by the engine.
	CompareAndSet(ctx context.Context, t *Table, partition, clustering Key, expect, set []Value) (applied bool, found Row, err error)
	// ScanTable calls yield for every row of a table in any order until it returns false.
	ScanTable(ctx context.Context, t *Table, yield func(partition Key, r Row) bool) error
	// Health reports whether the engine can serve, for readiness.
	Health(ctx context.Context) error
	// Close waits for running operations and releases everything. Operations after it, and a second Close, answer
	// ErrClosed.
	Close() error
}

// RowSwap is a compare-and-set of one row, with what Engine.CompareAndSet takes.
type RowSwap struct {
	Clustering  Key
	Expect, Set []Value
}

// MultiSwapper is implemented by an engine for which compare-and-sets of several rows of a partition are cheaper
// together.
type MultiSwapper interface {
	// CompareAndSetAll carries out all of the swaps, each of another row, or none: not applied means that at least one row
	// was not as expected, or that the engine cannot do these together, and that nothing was written. Its errors are those
	// of CompareAndSet.
	CompareAndSetAll(ctx context.Context, t *Table, partition Key, swaps []RowSwap) (applied bool, err error)
}

// FullKey names one row.
type FullKey struct{ Partition, Clustering Key }

var (
	// ErrNoRow reports that a row does not exist.
	ErrNoRow = errors.New("storage: no such row")
	// ErrUnknownOutcome marks a write that may or may not have been applied.
	ErrUnknownOutcome = errors.New("storage: outcome unknown")
	// ErrCorrupt marks stored data that cannot be what was written.
	ErrCorrupt = errors.New("storage: corrupt")
	// ErrSchema reports a store written by an unknown version.
	ErrSchema = errors.New("storage: unknown schema version")
	// ErrLocked reports that another process holds the store.
	ErrLocked = errors.New("storage: in use by another process")
	// ErrNoSpace reports that the disk is too full to accept writes.
	ErrNoSpace = errors.New("storage: not enough free disk space")
	// ErrUnreachable reports that the servers behind the engine cannot be reached or are too few; nothing was written.
	ErrUnreachable = errors.New("storage: not reachable")
	// ErrTooLarge reports a batch that is larger than the engine can write atomically; nothing was written.
	ErrTooLarge = errors.New("storage: batch too large")
	// ErrFenced reports a write by somebody who was succeeded under a newer epoch; nothing was written.
	ErrFenced = errors.New("storage: a newer epoch has written")
	// ErrClosed reports use after Close.
	ErrClosed = errors.New("storage: closed")
)
