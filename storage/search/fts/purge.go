package fts

import (
	"context"
	"database/sql"
	"errors"
)

// purgeGone removes the documents of conversations that are gone, a transaction per maxBatch.
func (f *file) purgeGone(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		var id int64
		err := f.stmt.nextGone.QueryRowContext(bg).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			f.purge = false
			return nil
		}
		if err == nil {
			err = f.purgeSome(id)
		}
		if err != nil {
			return err
		}
	}
}

func (f *file) purgeSome(conv int64) (err error) {
	b := f.newBatch()
	if err := b.begin(); err != nil {
		return err
	}
	defer b.rollback() // unless committed
	rows, err := f.stmt.someDocs.QueryContext(bg, conv, maxBatch)
	if err != nil {
		return err
	}
	defer rows.Close()
	type doc struct{ id, flags int64 }
	var docs []doc
	for rows.Next() {
		var d doc
		if err := rows.Scan(&d.id, &d.flags); err != nil {
			return err
		}
		docs = append(docs, d)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, d := range docs {
		if err := f.drop(d.id, d.flags); err != nil {
			return err
		}
	}
	if len(docs) < maxBatch {
		_, err = f.stmt.dropConv.ExecContext(bg, conv)
	} else {
		_, err = f.conn.ExecContext(bg, "UPDATE conv SET docs = docs - ? WHERE id = ?", len(docs), conv)
	}
	if err != nil {
		return err
	}
	b.docs = -int64(len(docs))
	return b.commit()
}
