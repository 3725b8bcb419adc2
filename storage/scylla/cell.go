package scylla

import (
	"encoding/binary"
	"fmt"

	"github.com/gocql/gocql"

	"github.com/zumodra/hub/storage"
)

// cqlType is the CQL type of a column.
func cqlType(k storage.ColumnKind) string {
	switch k {
	case storage.Text, storage.Blob:
		return "blob"
	case storage.Bool:
		return "boolean"
	}
	return "bigint"
}

// cell is a value on its way to or from the server. It keeps the encoding of a number in itself, so that binding one
// allocates nothing.
type cell struct {
	kind storage.ColumnKind
	v    storage.Value
	buf  [8]byte
}

// empty is an empty value: nil would be null, a tombstone.
var empty = []byte{}

// MarshalCQL implements gocql.Marshaler.
func (c *cell) MarshalCQL(gocql.TypeInfo) ([]byte, error) {
	switch c.kind {
	case storage.Text, storage.Blob:
		if c.v.B == nil {
			return empty, nil
		}
		return c.v.B, nil
	case storage.Bool:
		c.buf[0] = 0
		if c.v.I != 0 {
			c.buf[0] = 1
		}
		return c.buf[:1], nil
	}
	binary.BigEndian.PutUint64(c.buf[:], uint64(c.v.I))
	return c.buf[:], nil
}

// UnmarshalCQL implements gocql.Unmarshaler. The bytes of a text or blob are those of the driver's buffer: they hold
// until the next page.
func (c *cell) UnmarshalCQL(_ gocql.TypeInfo, data []byte) error {
	c.v = storage.Value{}
	if data == nil {
		return nil
	}
	c.v.Set = true
	switch c.kind {
	case storage.Text, storage.Blob:
		c.v.B = data
		return nil
	case storage.Bool:
		if len(data) != 1 {
			return fmt.Errorf("%w: a boolean has %d bytes", storage.ErrCorrupt, len(data))
		}
		c.v.I = int64(data[0])
		return nil
	}
	if len(data) != 8 {
		return fmt.Errorf("%w: a number has %d bytes", storage.ErrCorrupt, len(data))
	}
	c.v.I = int64(binary.BigEndian.Uint64(data))
	return nil
}

// keyText reports whether the partition key of t is one column of bytes. CQL refuses such a key if it is empty, so the
// empty one is stored as one zero byte, and one that begins with a zero byte gets another in front: all others, and the
// order of nothing, are as they were.
func keyText(t *storage.Table) bool {
	return len(t.Partition) == 1 && (t.Partition[0].Kind == storage.Text || t.Partition[0].Kind == storage.Blob)
}

func encodeKeyText(b []byte) []byte {
	if len(b) > 0 && b[0] != 0 {
		return b
	}
	return append([]byte{0}, b...)
}

func decodeKeyText(b []byte) []byte {
	if len(b) > 0 && b[0] == 0 {
		return b[1:]
	}
	return b
}

// args collects bound values.
type args struct {
	cells  []cell
	values []any
	bytes  int // about what they take on the wire
}

// newArgs makes room for n values; more must not be added.
func newArgs(n int) *args { return &args{cells: make([]cell, 0, n), values: make([]any, 0, n)} }

func (a *args) add(kind storage.ColumnKind, v storage.Value) {
	a.bytes += 4
	if !v.Set {
		// Never nil: that would write a tombstone.
		a.values = append(a.values, gocql.UnsetValue)
		return
	}
	a.cells = append(a.cells, cell{kind: kind, v: v})
	c := &a.cells[len(a.cells)-1]
	a.values = append(a.values, c)
	a.bytes += 8 + len(v.B)
}

func (a *args) number(n int64) { a.add(storage.Int, storage.Value{Set: true, I: n}) }

func (a *args) key(cols []storage.Column, k storage.Key) {
	for i := range k {
		a.add(cols[i].Kind, k[i])
	}
}

// partition adds the values of a partition key.
func (a *args) partition(t *storage.Table, k storage.Key) {
	if keyText(t) {
		a.add(storage.Blob, storage.Value{Set: true, B: encodeKeyText(k[0].B)})
		return
	}
	a.key(t.Partition, k)
}

// columns adds one value for every column of t, unset where v has none.
func (a *args) columns(t *storage.Table, v []storage.Value) {
	for i := range t.Columns {
		var x storage.Value
		if i < len(v) {
			x = v[i]
		}
		a.add(t.Columns[i].Kind, x)
	}
}

// destination is where a row is scanned to.
type destination struct {
	cells []cell
	ptrs  []any
	row   []storage.Value // partition, clustering, columns as selected
}

func newDestination(groups ...[]storage.Column) *destination {
	d := &destination{}
	for _, cols := range groups {
		for i := range cols {
			d.cells = append(d.cells, cell{kind: cols[i].Kind})
		}
	}
	d.ptrs = make([]any, len(d.cells))
	for i := range d.cells {
		d.ptrs[i] = &d.cells[i]
	}
	d.row = make([]storage.Value, len(d.cells))
	return d
}

// values fills row from what was scanned.
func (d *destination) values() []storage.Value {
	for i := range d.cells {
		d.row[i] = d.cells[i].v
	}
	return d.row
}

// cloneValues copies values out of the driver's buffer.
func cloneValues(v []storage.Value) []storage.Value {
	out := make([]storage.Value, len(v))
	n := 0
	for i := range v {
		n += len(v[i].B)
	}
	all := make([]byte, 0, n)
	for i := range v {
		out[i] = v[i]
		if v[i].B != nil {
			l := len(all)
			all = append(all, v[i].B...)
			out[i].B = all[l:len(all):len(all)]
		}
	}
	return out
}

// ttl adds a time to live, which is an int and no bigint.
func (a *args) ttl(seconds int64) {
	a.values = append(a.values, int(min(seconds, maxTTL)))
	a.bytes += 8
}

// maxTTL is the longest time to live that the servers take, 20 years.
const maxTTL = 20 * 365 * 24 * 60 * 60
