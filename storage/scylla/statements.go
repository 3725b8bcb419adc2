package scylla

import (
	"fmt"
	"strings"

	"github.com/zumodra/hub/storage"
)

// liveColumn is the hidden column of every table; see the package comment.
const liveColumn = "live"

// fenceColumn is the static column of the tables that are storage.Table.Fenced.
const fenceColumn = "fence"

func quote(name string) string { return `"` + name + `"` }

// statements of one table. Names are unqualified: the session has the keyspace.
type statements struct {
	table           *storage.Table
	insert          string // USING TIMESTAMP ? [AND TTL ?]
	create          string // IF NOT EXISTS [USING TTL ?]
	deleteRow       string // USING TIMESTAMP ?
	deletePartition string
	get             string
	scanAll         string
	wherePartition  string // "a" = ? AND "b" = ?
	selectRows      string // SELECT clustering, columns FROM t
	reversed        string // ORDER BY, the other way round

	fenced struct { // of a Fenced table: what a transaction consists of
		insert, deleteRow string
		raise, first      string // IF fence = ? and IF fence = null
		get               string
	}
}

func names(cols []storage.Column) []string {
	out := make([]string, len(cols))
	for i := range cols {
		out[i] = quote(cols[i].Name)
	}
	return out
}

func equals(cols []storage.Column) string {
	return strings.Join(names(cols), " = ? AND ") + " = ?"
}

func newStatements(t *storage.Table) *statements {
	s := &statements{table: t, wherePartition: equals(t.Partition)}
	where := s.wherePartition
	if len(t.Clustering) > 0 {
		where += " AND " + equals(t.Clustering)
	}
	all := append(append(names(t.Partition), names(t.Clustering)...), names(t.Columns)...)
	name := quote(t.Name)
	into := fmt.Sprintf("INSERT INTO %s (%s, %s) VALUES (%strue)", name, strings.Join(all, ", "), quote(liveColumn), strings.Repeat("?, ", len(all)))
	if t.Fenced {
		f := &s.fenced
		f.insert, f.deleteRow = into, fmt.Sprintf("DELETE FROM %s WHERE %s", name, where)
		f.raise = fmt.Sprintf("UPDATE %s SET %s = ? WHERE %s IF %[2]s = ", name, quote(fenceColumn), s.wherePartition)
		f.raise, f.first = f.raise+"?", f.raise+"null"
		f.get = fmt.Sprintf("SELECT %s FROM %s WHERE %s LIMIT 1", quote(fenceColumn), name, s.wherePartition)
	}
	s.insert, s.create = into+" USING TIMESTAMP ?", into+" IF NOT EXISTS"
	if t.TTL > 0 {
		s.insert += " AND TTL ?"
		s.create += " USING TTL ?"
	}
	s.deleteRow = fmt.Sprintf("DELETE FROM %s USING TIMESTAMP ? WHERE %s", name, where)
	s.deletePartition = fmt.Sprintf("DELETE FROM %s USING TIMESTAMP ? WHERE %s", name, s.wherePartition)
	columns := strings.Join(names(t.Columns), ", ")
	if columns == "" {
		columns = quote(liveColumn)
	}
	s.get = fmt.Sprintf("SELECT %s FROM %s WHERE %s", columns, name, where)
	s.scanAll = fmt.Sprintf("SELECT %s FROM %s", strings.Join(all, ", "), name)
	rows := append(names(t.Clustering), names(t.Columns)...)
	if len(rows) == 0 {
		rows = []string{quote(liveColumn)}
	}
	s.selectRows = fmt.Sprintf("SELECT %s FROM %s", strings.Join(rows, ", "), name)
	if len(t.Clustering) > 0 {
		order := make([]string, len(t.Clustering))
		for i, c := range t.Clustering {
			order[i] = quote(c.Name) + " DESC"
			if c.Desc {
				order[i] = quote(c.Name) + " ASC"
			}
		}
		s.reversed = " ORDER BY " + strings.Join(order, ", ")
	}
	return s
}

// update is a compare-and-set of a row that must be there: which columns are set and which are expected to be absent
// is part of the text, because a null cannot be compared with as a bound value on every server.
func (s *statements) update(expect, set []storage.Value) string {
	var b strings.Builder
	t := s.table
	fmt.Fprintf(&b, "UPDATE %s", quote(t.Name))
	if t.TTL > 0 {
		b.WriteString(" USING TTL ?")
	}
	fmt.Fprintf(&b, " SET %s = true", quote(liveColumn))
	for i := range set {
		if set[i].Set {
			fmt.Fprintf(&b, ", %s = ?", quote(t.Columns[i].Name))
		}
	}
	b.WriteString(" WHERE " + s.wherePartition)
	if len(t.Clustering) > 0 {
		b.WriteString(" AND " + equals(t.Clustering))
	}
	fmt.Fprintf(&b, " IF %s = true", quote(liveColumn))
	for i := range t.Columns {
		if i < len(expect) && expect[i].Set {
			fmt.Fprintf(&b, " AND %s = ?", quote(t.Columns[i].Name))
		} else {
			fmt.Fprintf(&b, " AND %s = null", quote(t.Columns[i].Name))
		}
	}
	return b.String()
}
