package scylla

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gocql/gocql"

	"github.com/zumodra/hub/storage"
)

// schemaKey is the row of storage.TableMeta that holds the version.
var schemaKey = storage.Key{{Set: true, B: []byte("schema")}}

func schemaError(keyspace string, version int64) error {
	switch {
	case version == 0:
		return fmt.Errorf("%w: keyspace %s has no version; run \"hub migrate\"", storage.ErrSchema, keyspace)
	case version >= storage.OldestSchema && version < storage.SchemaVersion:
		return fmt.Errorf("%w: keyspace %s has version %d, this program needs %d; run \"hub migrate\"", storage.ErrSchema, keyspace, version,
			storage.SchemaVersion)
	}
	return fmt.Errorf("%w: keyspace %s has version %d, this program knows versions %d to %d; use the version of the program that wrote it",
		storage.ErrSchema, keyspace, version, storage.OldestSchema, storage.SchemaVersion)
}

// missingTable reports whether a statement failed because its table does not exist.
func missingTable(err error) bool {
	var answer serverError
	return errors.As(err, &answer) && answer.GetCode() == gocql.ErrCodeInvalid &&
		(strings.Contains(answer.GetMessage(), "unconfigured table") || strings.Contains(answer.GetMessage(), "does not exist"))
}

// schemaVersion is the keyspace's, 0 if there is none yet.
func (e *Engine) schemaVersion(ctx context.Context) (int64, error) {
	s, err := e.statements(storage.TableMeta)
	if err != nil {
		return 0, err
	}
	row, err := e.get(ctx, s, schemaKey, nil, gocql.LocalQuorum, e.cfg.Retries)
	switch {
	case errors.Is(err, storage.ErrNoRow), missingTable(err):
		return 0, nil
	case err != nil:
		return 0, err
	}
	return row.Columns[0].I, nil
}

// Migrate creates the keyspace and what tables and columns it lacks, and sets its version. It may be run at any time,
// by several processes at once (one does the work, the others wait for its lease), and again after it was broken off.
// A keyspace of an unknown version is refused with storage.ErrSchema and not touched. It only ever adds.
//
// With dryRun nothing is changed. The CQL that was carried out, or would be, is written to log, one statement a line.
func Migrate(ctx context.Context, cfg Config, dryRun bool, log io.Writer) error {
	if log == nil {
		log = io.Discard
	}
	sys, err := connect(ctx, cfg, false)
	if err != nil {
		return err
	}
	defer sys.Close()
	m := &migration{sys: sys, cfg: &sys.cfg, log: log, dryRun: dryRun}
	if err := m.survey(ctx); err != nil {
		return err
	}
	version := int64(0)
	if len(m.have[storage.TableMeta.Name]) > 0 {
		e, err := connect(ctx, cfg, true)
		if err != nil {
			return err
		}
		version, err = e.schemaVersion(ctx)
		if err := errors.Join(err, e.Close()); err != nil {
			return err
		}
	}
	if version != 0 && (version < storage.OldestSchema || version > storage.SchemaVersion) {
		return schemaError(m.cfg.Keyspace, version)
	}
	plan := m.plan()
	if len(plan) == 0 && version == storage.SchemaVersion {
		return nil
	}
	if dryRun {
		for _, stmt := range plan {
			fmt.Fprintf(log, "%s;\n", stmt)
		}
		fmt.Fprintf(log, "-- then the version becomes %d, it is %d\n", storage.SchemaVersion, version)
		return nil
	}
	return m.run(ctx, cfg)
}

type migration struct {
	sys    *Engine
	cfg    *Config
	log    io.Writer
	dryRun bool

	host    string                       // id of the server that is asked; see settle
	exists  bool                         // the keyspace
	have    map[string]map[string]string // table, column, type
	scylla  bool
	tablets bool // lightweight transactions work on tablets
	dc      string
	nodes   int
}

// survey looks at the servers and at what the keyspace has.
func (m *migration) survey(ctx context.Context) error {
	ask := func(stmt string, values []any, dest ...any) ([]string, error) {
		iter := m.query(ctx, stmt, values...).Consistency(gocql.LocalOne).Iter()
		var first []string
		for iter.Scan(dest...) {
			first = append(first, *dest[0].(*string))
			if len(dest) == 3 {
				t, c, k := *dest[0].(*string), *dest[1].(*string), *dest[2].(*string)
				if m.have[t] == nil {
					m.have[t] = make(map[string]string)
				}
				m.have[t][c] = k
			}
		}
		if err := iter.Close(); err != nil {
			return nil, fmt.Errorf("storage: look at the schema of %s: %w", m.cfg.Keyspace, err)
		}
		return first, nil
	}
	var a, b, c string
	if m.dc = m.cfg.Datacenter; m.dc == "" {
		found, err := ask("SELECT data_center FROM system.local", nil, &a)
		if err != nil || len(found) != 1 {
			return errors.Join(err, errors.New("storage: the server does not tell its data centre: name one"))
		}
		m.dc = found[0]
	}
	if err := m.settle(ctx); err != nil {
		return err
	}
	m.have = make(map[string]map[string]string)
	if _, err := ask("SELECT table_name, column_name, type FROM system_schema.columns WHERE keyspace_name = ?", []any{m.cfg.Keyspace}, &a, &b, &c); err != nil {
		return err
	}
	found, err := ask("SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?", []any{m.cfg.Keyspace}, &a)
	if err != nil {
		return err
	}
	m.exists = len(found) > 0
	m.nodes = 0
	for _, h := range m.sys.session.GetHosts() {
		if h.DataCenter() == m.dc {
			m.nodes++
		}
		m.scylla = m.scylla || h.ScyllaShardCount() > 0
	}
	if m.nodes == 0 {
		return fmt.Errorf("storage: no node in data centre %q", m.dc)
	}
	if m.scylla {
		// Cassandra has no such table; on Scylla it is there since 4.x.
		if found, err := ask("SELECT version FROM system.versions WHERE key = 'local'", nil, &a); err == nil && len(found) == 1 {
			m.tablets = transactionsOnTablets(found[0])
		}
	}
	return nil
}

// settle picks the server that all who migrate at the same time ask, the one with the lowest id that answers, and waits until
// the servers agree on the schema. Each has a schema of its own, which the others' changes reach later: CREATE … IF NOT
// EXISTS at two of them makes two tables of one name (see CASSANDRA-10699), and a survey at a third would miss what is there. One server
// makes its changes one after the other.
func (m *migration) settle(ctx context.Context) error {
	var ids []string
	for _, h := range m.sys.session.GetHosts() {
		if h.IsUp() && h.DataCenter() == m.dc {
			ids = append(ids, h.HostID())
		}
	}
	slices.Sort(ids)
	for _, m.host = range ids {
		if m.query(ctx, "SELECT key FROM system.local").Exec() == nil {
			break
		}
		m.host = "" // any
	}
	return m.agree(ctx)
}

// agreeTime is how long servers may need to agree on a schema.
const agreeTime = time.Minute

// agree waits until all servers that the driver is connected to have the same schema, by their own word: what one knows of the
// others by gossip, which is what the driver asks for, may be of before the change.
func (m *migration) agree(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, agreeTime)
	defer cancel()
	for {
		versions := make(map[string]bool)
		var failed error
		for _, h := range m.sys.session.GetHosts() {
			var v gocql.UUID
			err := m.sys.session.Query("SELECT schema_version FROM system.local").WithContext(ctx).SetHostID(h.HostID()).Scan(&v)
			switch {
			case errors.Is(err, gocql.ErrNoPool), errors.Is(err, gocql.ErrNoConnectionsInPool), err != nil && !h.IsUp():
			case err != nil:
				failed = err
			default:
				versions[v.String()] = true
			}
		}
		if len(versions) == 1 && failed == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("storage: the nodes do not agree on the schema (%s): %w", strings.Join(slices.Sorted(maps.Keys(versions)), ", "),
				errors.Join(ctx.Err(), failed))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// query is for the server that settle picked.
func (m *migration) query(ctx context.Context, stmt string, values ...any) *gocql.Query {
	q := m.sys.session.Query(stmt, values...).WithContext(ctx)
	if m.host != "" {
		q.SetHostID(m.host)
	}
	return q
}

// transactionsOnTablets reports whether a version of Scylla has lightweight transactions on tables with tablets: since
// 2025.4 (scylladb/scylladb#18068). Before, the keyspace must do without tablets.
func transactionsOnTablets(version string) bool {
	year, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	y, err1 := strconv.Atoi(year)
	n, err2 := strconv.Atoi(strings.TrimFunc(minor, func(r rune) bool { return r < '0' || r > '9' }))
	return err1 == nil && err2 == nil && (y > 2025 || y == 2025 && n >= 4)
}

// plan is the CQL that is missing.
func (m *migration) plan() []string {
	var plan []string
	if !m.exists {
		plan = append(plan, m.createKeyspace())
	}
	for _, t := range m.tables() {
		have := m.have[t.Name]
		if len(have) == 0 {
			plan = append(plan, m.createTable(t))
			continue
		}
		if t.Fenced && have[fenceColumn] == "" {
			plan = append(plan, fmt.Sprintf("ALTER TABLE %s.%s ADD %s bigint STATIC", quote(m.cfg.Keyspace), quote(t.Name), quote(fenceColumn)))
		}
		for _, c := range t.Columns {
			if have[c.Name] == "" {
				plan = append(plan, fmt.Sprintf("ALTER TABLE %s.%s ADD %s %s", quote(m.cfg.Keyspace), quote(t.Name), quote(c.Name), cqlType(c.Kind)))
			}
		}
	}
	return plan
}

// tables are those of the configuration, the one with the version first.
func (m *migration) tables() []*storage.Table {
	out := []*storage.Table{storage.TableMeta}
	for _, t := range m.cfg.Tables {
		if t.ID != storage.TableMeta.ID {
			out = append(out, t)
		}
	}
	return out
}

func (m *migration) createKeyspace() string {
	replication := m.cfg.Replication
	if n, err := strconv.Atoi(replication); replication == "" || err == nil {
		if replication == "" {
			n = min(m.nodes, 3)
		}
		replication = fmt.Sprintf("{'class': 'NetworkTopologyStrategy', '%s': %d}", m.dc, n)
	}
	s := fmt.Sprintf("CREATE KEYSPACE IF NOT EXISTS %s WITH replication = %s", quote(m.cfg.Keyspace), replication)
	if m.scylla && !m.tablets {
		s += " AND tablets = {'enabled': false}"
	}
	return s
}

func (m *migration) createTable(t *storage.Table) string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE TABLE IF NOT EXISTS %s.%s (", quote(m.cfg.Keyspace), quote(t.Name))
	for _, cols := range [][]storage.Column{t.Partition, t.Clustering, t.Columns} {
		for _, c := range cols {
			fmt.Fprintf(&b, "%s %s, ", quote(c.Name), cqlType(c.Kind))
		}
	}
	if t.Fenced {
		fmt.Fprintf(&b, "%s bigint STATIC, ", quote(fenceColumn))
	}
	fmt.Fprintf(&b, "%s boolean, PRIMARY KEY ((%s)", quote(liveColumn), strings.Join(names(t.Partition), ", "))
	for _, n := range names(t.Clustering) {
		b.WriteString(", " + n)
	}
	b.WriteString("))")
	var with []string
	if len(t.Clustering) > 0 {
		order := names(t.Clustering)
		for i, c := range t.Clustering {
			if c.Desc {
				order[i] += " DESC"
			} else {
				order[i] += " ASC"
			}
		}
		with = append(with, "CLUSTERING ORDER BY ("+strings.Join(order, ", ")+")")
	}
	own := m.cfg.TableOptions[t.Name]
	if t.TTL > 0 {
		with = append(with, fmt.Sprintf("default_time_to_live = %d", seconds(t.TTL)))
		if !strings.Contains(own, "compaction") {
			with = append(with, "compaction = "+timeWindows(t.TTL))
		}
	}
	if m.scylla && !strings.Contains(own, "tombstone_gc") {
		// Scylla only: tombstones go once they are repaired, not after a fixed time within which a repair must have been.
		with = append(with, "tombstone_gc = {'mode': 'repair'}")
	}
	if own != "" {
		with = append(with, own)
	}
	if len(with) > 0 {
		b.WriteString(" WITH " + strings.Join(with, " AND "))
	}
	return b.String()
}

// timeWindows is the compaction of a table whose rows all expire: about 30 windows in a row's life, each dropped whole.
func timeWindows(ttl time.Duration) string {
	const class = "{'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': '%s', 'compaction_window_size': %d}"
	if hours := int(ttl / time.Hour / 30); hours < 24 {
		return fmt.Sprintf(class, "HOURS", max(hours, 1))
	}
	return fmt.Sprintf(class, "DAYS", int(ttl/(30*24*time.Hour)))
}

// migrateLease is how long a process that migrates may be silent before another one takes over.
const migrateLease = 15 * time.Second

// run makes the keyspace and the table of the lease, which is as safe as CREATE IF NOT EXISTS is, and the rest under it.
func (m *migration) run(ctx context.Context, cfg Config) error {
	if !m.exists {
		if err := m.execute(ctx, m.createKeyspace()); err != nil {
			return err
		}
	}
	if len(m.have[storage.TableMeta.Name]) == 0 {
		if err := m.execute(ctx, m.createTable(storage.TableMeta)); err != nil {
			return err
		}
	}
	if err := m.agree(ctx); err != nil { // what is there may have been made by somebody else a moment ago
		return err
	}
	e, err := connect(ctx, cfg, true)
	if err != nil {
		return err
	}
	defer e.Close()
	lease, err := storage.AcquireLease(ctx, e, storage.LeaseConfig{Name: "migrate", Holder: rand.Text(), Duration: migrateLease, Logger: m.cfg.Logger})
	if err != nil {
		return err
	}
	err = m.locked(ctx, e, lease)
	release, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.cfg.Timeout)
	defer cancel()
	return errors.Join(err, lease.Release(release))
}

func (m *migration) locked(ctx context.Context, e *Engine, lease *storage.Lease) error {
	m.exists = false
	if err := m.survey(ctx); err != nil { // somebody else may have been at it meanwhile
		return err
	}
	for _, stmt := range m.plan() {
		if !lease.Valid() {
			return fmt.Errorf("%w: the lease on the migration of %s ran out; run it again", storage.ErrUnreachable, m.cfg.Keyspace)
		}
		if err := m.execute(ctx, stmt); err != nil {
			return err
		}
	}
	for {
		version, err := e.schemaVersion(ctx)
		if err != nil {
			return err
		}
		var expect []storage.Value
		switch {
		case version == storage.SchemaVersion:
			return nil
		case version == 0:
		case version < storage.OldestSchema || version > storage.SchemaVersion:
			return schemaError(m.cfg.Keyspace, version)
		default:
			expect = []storage.Value{{Set: true, I: version}, {}}
			m.cfg.Logger.Info("storage: the keyspace is of an older version and becomes one of this", "keyspace", m.cfg.Keyspace, "was", version,
				"is", storage.SchemaVersion)
		}
		applied, found, err := e.CompareAndSet(ctx, storage.TableMeta, schemaKey, nil, expect, []storage.Value{{Set: true, I: storage.SchemaVersion}})
		switch {
		case err != nil && !errors.Is(err, storage.ErrUnknownOutcome):
			return fmt.Errorf("storage: set the version of %s: %w", m.cfg.Keyspace, err)
		case err == nil && applied:
			return nil
		case err == nil && found.Columns != nil && found.Columns[1].Set:
			return fmt.Errorf("%w: the version of %s has a text beside it", storage.ErrCorrupt, m.cfg.Keyspace)
		}
		if !pause(ctx, 2) {
			return ctx.Err()
		}
	}
}

// execute carries out a change of the schema and waits until all nodes agree on it.
func (m *migration) execute(ctx context.Context, stmt string) error {
	fmt.Fprintf(m.log, "%s;\n", stmt)
	// Changes of the schema are slow: the driver's usual time-out is for reads and writes.
	if err := m.query(ctx, stmt).SetRequestTimeout(time.Minute).Exec(); err != nil {
		return fmt.Errorf("storage: %s: %w", stmt, err)
	}
	return m.agree(ctx)
}
