package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/zumodra/hub/chat"
)

func uploadUsage(day int64, bytes, files Value) chat.UploadUsage {
	return chat.UploadUsage{Day: day, Bytes: bytes.I, Files: files.I}
}

func userUploads(c []Value, day int64) chat.UploadUsage {
	if c == nil || c[0].I != day {
		return chat.UploadUsage{Day: day}
	}
	return uploadUsage(day, c[1], c[2])
}

// GetUserUploads returns what a user uploaded on a day: nothing, if that is not the last day with an upload.
func (s *Store) GetUserUploads(ctx context.Context, k chat.UserKey, day int64) (chat.UploadUsage, error) {
	row, err := s.engine.Get(ctx, TableUserUploads, Key{text(k.Tenant), text(k.User)}, nil)
	if err != nil && !errors.Is(err, ErrNoRow) {
		return chat.UploadUsage{Day: day}, fail(err, "read the uploads of", k)
	}
	return userUploads(row.Columns, day), nil
}

// AddUserUploads durably adds to what a user uploaded on add.Day and returns the sum, which never falls below zero. If it
// would exceed limit bytes (0: no limit) nothing is written and fits is false. What is added may be negative: it is
// dropped if there are later uploads of another day. What is added to the day before that of the row is added to the row's
// day: clocks differ, and a day that was begun is not forgotten for one that is nearly over.
func (s *Store) AddUserUploads(ctx context.Context, k chat.UserKey, add chat.UploadUsage, limit int64) (sum chat.UploadUsage, fits bool, err error) {
	p := Key{text(k.Tenant), text(k.User)}
	row, err := s.engine.Get(ctx, TableUserUploads, p, nil)
	if err != nil && !errors.Is(err, ErrNoRow) {
		return sum, false, fail(err, "count the uploads of", k)
	}
	for columns := row.Columns; ; {
		day := add.Day
		if columns != nil && columns[0].I == day+1 {
			day++
		}
		sum = userUploads(columns, day)
		if add.Bytes <= 0 && columns != nil && columns[0].I != add.Day {
			return sum, true, nil
		}
		if add.Bytes > 0 && limit > 0 && sum.Bytes+add.Bytes > limit {
			return sum, false, nil
		}
		sum.Bytes, sum.Files = max(0, sum.Bytes+add.Bytes), max(0, sum.Files+add.Files)
		applied, found, err := s.engine.CompareAndSet(ctx, TableUserUploads, p, nil, columns,
			[]Value{{Set: true, I: sum.Day}, {Set: true, I: sum.Bytes}, {Set: true, I: sum.Files}})
		if err != nil || applied {
			return sum, applied, fail(err, "count the uploads of", k)
		}
		columns = found.Columns
	}
}

// PutUploads writes what one process took in from a tenant's users on a day. It is that process's alone to write.
func (s *Store) PutUploads(ctx context.Context, t chat.TenantID, process string, u chat.UploadUsage) error {
	what := chat.UserKey{Tenant: t}
	if t == "" || process == "" {
		return fmt.Errorf("count the uploads of %s: %w: a tenant and a process are needed", what, chat.ErrInvalid)
	}
	return fail(s.engine.Apply(ctx, Batch{Table: TableUploads, Partition: Key{text(t), {Set: true, I: u.Day}},
		Mutations: []Mutation{{Clustering: Key{text(process)}, Whole: true, Columns: []Value{{Set: true, I: u.Bytes}, {Set: true, I: u.Files}}}}}),
		"count the uploads of", what)
}

// SumUploads returns what a tenant's users uploaded on a day, without what the process given took in.
func (s *Store) SumUploads(ctx context.Context, t chat.TenantID, day int64, without string) (chat.UploadUsage, error) {
	sum := chat.UploadUsage{Day: day}
	err := s.engine.Scan(ctx, Range{Table: TableUploads, Partition: Key{text(t), {Set: true, I: day}}}, func(r Row) bool {
		if r.Clustering[0].string() != without {
			sum.Bytes += r.Columns[0].I
			sum.Files += r.Columns[1].I
		}
		return true
	})
	return sum, fail(err, "sum the uploads of", chat.UserKey{Tenant: t})
}
