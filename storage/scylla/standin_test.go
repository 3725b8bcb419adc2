package scylla_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/datastax/go-cassandra-native-protocol/datatype"
	"github.com/datastax/go-cassandra-native-protocol/frame"
	"github.com/datastax/go-cassandra-native-protocol/message"
	"github.com/datastax/go-cassandra-native-protocol/primitive"

	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/scylla"
)

// request is a statement, or a batch of some, as the stand-in received it.
type request struct {
	statements  []string
	values      [][]*primitive.Value
	batch       bool
	batchType   primitive.BatchType
	consistency primitive.ConsistencyLevel
	serial      *primitive.ConsistencyLevel
}

func (r *request) conditional() bool { return strings.Contains(r.statements[0], " IF ") }
func (r *request) read() bool        { return strings.HasPrefix(r.statements[0], "SELECT") }

// What a stand-in may do instead of answering.
var (
	silence message.Message = &message.Options{}
	hangUp  message.Message = &message.AuthChallenge{}
)

// standIn speaks enough of the native protocol to be a server to the driver: it knows no rows but those that answer
// gives, and keeps every request that concerns the hub's tables.
type standIn struct {
	t        *testing.T
	listener net.Listener
	wg       sync.WaitGroup

	mu       sync.Mutex
	password string // "user/password", if one is wanted
	copies   string // how many the keyspace has of each row; empty: not told
	prepared map[string]string
	requests []request
	conns    map[net.Conn]bool
	answer   func(r *request) message.Message // nil: success
}

func newStandIn(t *testing.T) *standIn {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return standInOn(t, l)
}

func standInOn(t *testing.T, l net.Listener) *standIn {
	s := &standIn{t: t, listener: l, prepared: map[string]string{}, conns: map[net.Conn]bool{}}
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[c] = true
			s.mu.Unlock()
			s.wg.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		for c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		s.wg.Wait()
	})
	return s
}

// open opens an engine on the stand-in.
func (s *standIn) open(change func(*scylla.Config)) *scylla.Engine {
	s.t.Helper()
	cfg := scylla.Config{Hosts: []string{s.listener.Addr().String()}, Timeout: 300 * time.Millisecond}
	if change != nil {
		change(&cfg)
	}
	e, err := scylla.Open(s.t.Context(), cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = e.Close() })
	return e
}

// script answers the next requests; take returns what came since.
func (s *standIn) script(answer func(r *request) message.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer, s.requests = answer, nil
}

func (s *standIn) take() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

func (s *standIn) serve(c net.Conn) {
	defer func() {
		c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	codec := frame.NewCodec()
	for {
		f, err := codec.DecodeFrame(c)
		if err != nil {
			return
		}
		m := s.handle(f.Body.Message)
		switch m {
		case silence:
			continue
		case hangUp:
			return
		}
		var b bytes.Buffer
		if err := codec.EncodeFrame(frame.NewFrame(f.Header.Version, f.Header.StreamId, m), &b); err != nil {
			s.t.Errorf("encoding %T: %v", m, err)
			return
		}
		if _, err := c.Write(b.Bytes()); err != nil {
			return
		}
	}
}

func (s *standIn) handle(m message.Message) message.Message {
	switch m := m.(type) {
	case *message.Options:
		return &message.Supported{Options: map[string][]string{"CQL_VERSION": {"3.4.7"}, "COMPRESSION": {"snappy"}}}
	case *message.Startup:
		if s.password != "" {
			return &message.Authenticate{Authenticator: "org.apache.cassandra.auth.PasswordAuthenticator"}
		}
		return &message.Ready{}
	case *message.AuthResponse:
		if string(m.Token) != "\x00"+strings.Replace(s.password, "/", "\x00", 1) {
			return &message.AuthenticationError{ErrorMessage: "wrong password"}
		}
		return &message.AuthSuccess{}
	case *message.Register:
		return &message.Ready{}
	case *message.Query:
		if strings.HasPrefix(m.Query, "USE ") {
			return &message.SetKeyspaceResult{Keyspace: strings.Trim(m.Query[4:], `"`)}
		}
		return s.systemRows(m.Query)
	case *message.Prepare:
		id := fmt.Sprintf("%x", len(m.Query)) + m.Query // long, but unique
		s.mu.Lock()
		s.prepared[id] = m.Query
		s.mu.Unlock()
		p := &message.PreparedResult{PreparedQueryId: []byte(id), VariablesMetadata: &message.VariablesMetadata{}, ResultMetadata: &message.RowsMetadata{}}
		for i := range strings.Count(m.Query, "?") {
			p.VariablesMetadata.PkIndices = []uint16{0}
			p.VariablesMetadata.Columns = append(p.VariablesMetadata.Columns, column("hub", fmt.Sprint("v", i), datatype.Blob))
		}
		return p
	case *message.Execute:
		s.mu.Lock()
		r := request{statements: []string{s.prepared[string(m.QueryId)]}, values: [][]*primitive.Value{m.Options.PositionalValues},
			consistency: m.Options.Consistency, serial: m.Options.SerialConsistency}
		s.mu.Unlock()
		return s.data(r)
	case *message.Batch:
		r := request{batch: true, batchType: m.Type, consistency: m.Consistency, serial: m.SerialConsistency}
		s.mu.Lock()
		for _, c := range m.Children {
			r.statements, r.values = append(r.statements, s.prepared[string(c.Id)]), append(r.values, c.Values)
		}
		s.mu.Unlock()
		return s.data(r)
	}
	return &message.ProtocolError{ErrorMessage: fmt.Sprintf("%T", m)}
}

// data answers a request for the hub's tables. The version of the schema is always there.
func (s *standIn) data(r request) message.Message {
	if strings.Contains(r.statements[0], "system") {
		return s.systemRows(r.statements[0])
	}
	if r.read() && strings.Contains(r.statements[0], `"meta"`) && r.consistency != primitive.ConsistencyLevelLocalSerial {
		return rows([]string{"number", "text"}, number(storage.SchemaVersion), nil)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
	if s.answer != nil {
		if m := s.answer(&r); m != nil {
			return m
		}
	}
	if r.read() || r.conditional() {
		return rows([]string{"[applied]"}, []byte{1})
	}
	return &message.VoidResult{}
}

func number(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

func column(table, name string, t datatype.DataType) *message.ColumnMetadata {
	return &message.ColumnMetadata{Keyspace: "hub", Table: table, Name: name, Type: t}
}

// rows is a result of one row, or of none without values.
func rows(names []string, values ...[]byte) message.Message {
	r := &message.RowsResult{Metadata: &message.RowsMetadata{ColumnCount: int32(len(names))}}
	for _, n := range names {
		kinds := map[string]datatype.DataType{"[applied]": datatype.Boolean, "fence": datatype.Bigint}
		if kinds[n] == nil {
			kinds[n] = datatype.Blob
		}
		r.Metadata.Columns = append(r.Metadata.Columns, column("hub", n, kinds[n]))
	}
	if len(values) > 0 {
		r.Data = message.RowSet{append(message.Row{}, values...)}
	}
	return r
}

var selected = regexp.MustCompile(`(?i)^SELECT (.*?) FROM ([a-z0-9_.]+)`)

// systemRows answers the driver's questions about the cluster: one node, and of the schema the copies at most.
func (s *standIn) systemRows(query string) message.Message {
	if s.copies != "" && strings.Contains(query, "FROM system_schema.keyspaces") {
		return replication(s.copies)
	}
	if strings.HasPrefix(query, "DESCRIBE ") {
		return rows([]string{"create_statement"})
	}
	m := selected.FindStringSubmatch(query)
	if m == nil {
		return &message.Invalid{ErrorMessage: query}
	}
	types := map[string]datatype.DataType{"host_id": datatype.Uuid, "schema_version": datatype.Uuid, "broadcast_address": datatype.Inet,
		"listen_address": datatype.Inet, "rpc_address": datatype.Inet, "peer": datatype.Inet, "native_address": datatype.Inet,
		"preferred_ip": datatype.Inet, "native_port": datatype.Int, "tokens": datatype.NewSet(datatype.Varchar)}
	localhost := []byte{127, 0, 0, 1}
	id := bytes.Repeat([]byte{7}, 16)
	values := map[string][]byte{"host_id": id, "schema_version": id, "broadcast_address": localhost, "listen_address": localhost,
		"rpc_address": localhost, "cluster_name": []byte("stand-in"), "data_center": []byte("dc1"), "rack": []byte("r1"),
		"partitioner": []byte("org.apache.cassandra.dht.Murmur3Partitioner"), "release_version": []byte("5.0.8"),
		"tokens": {0, 0, 0, 1, 0, 0, 0, 1, '0'}}
	r := &message.RowsResult{Metadata: &message.RowsMetadata{}}
	row := message.Row{}
	for _, name := range strings.Split(m[1], ",") {
		name = strings.TrimSpace(name)
		t := types[name]
		if t == nil {
			t = datatype.Varchar
		}
		r.Metadata.Columns = append(r.Metadata.Columns, column("local", name, t))
		row = append(row, values[name])
	}
	r.Metadata.ColumnCount = int32(len(r.Metadata.Columns))
	if m[2] == "system.local" {
		r.Data = message.RowSet{row}
	}
	return r
}

// failures of a server or the network, and what a write that ends with one may be.
var failures = []struct {
	name    string
	message message.Message
	want    error
}{
	{"write time-out", &message.WriteTimeout{WriteType: primitive.WriteTypeSimple, BlockFor: 2, Received: 1}, storage.ErrUnknownOutcome},
	{"transaction time-out", &message.WriteTimeout{WriteType: primitive.WriteTypeCas, BlockFor: 2, Received: 1}, storage.ErrUnknownOutcome},
	{"write failure", &message.WriteFailure{WriteType: primitive.WriteTypeSimple, BlockFor: 2, Received: 1, NumFailures: 1}, storage.ErrUnknownOutcome},
	{"overloaded", &message.Overloaded{}, storage.ErrUnknownOutcome},
	{"server error", &message.ServerError{}, storage.ErrUnknownOutcome},
	{"no answer", silence, storage.ErrUnknownOutcome},
	{"connection closed", hangUp, storage.ErrUnknownOutcome},
	{"unavailable", &message.Unavailable{Required: 2, Alive: 1}, storage.ErrUnreachable},
	{"bootstrapping", &message.IsBootstrapping{}, storage.ErrUnreachable},
	{"invalid", &message.Invalid{}, nil},
}

var userKey = storage.Key{{Set: true, B: []byte("t")}, {Set: true, B: []byte("u")}}

func columns(name string) []storage.Value {
	return []storage.Value{{Set: true, B: []byte(name)}, {}, {}, {}, {}, {}, {Set: true, I: 7}}
}

// TestTransactionsAreSentOnce: a lightweight transaction whose outcome is unknown must never be sent again, neither by
// the engine nor by the driver: the first may have been applied, and the second would then say that it was not.
func TestTransactionsAreSentOnce(t *testing.T) {
	for _, f := range failures {
		t.Run(f.name, func(t *testing.T) {
			s := newStandIn(t)
			e := s.open(nil)
			for name, expect := range map[string][]storage.Value{"create": nil, "update": columns("old")} {
				s.script(func(r *request) message.Message {
					if r.conditional() {
						return f.message
					}
					return rows([]string{"username"}) // the serial read finds no row
				})
				applied, _, err := e.CompareAndSet(t.Context(), storage.TableUsers, userKey, nil, expect, columns("new"))
				if applied || err == nil {
					t.Fatalf("%s: applied %v, error %v", name, applied, err)
				}
				if unknown := errors.Is(err, storage.ErrUnknownOutcome); unknown != errors.Is(f.want, storage.ErrUnknownOutcome) || f.want != nil && !errors.Is(err, f.want) {
					t.Errorf("%s: %v, want %v", name, err, f.want)
				}
				sent := 0
				for _, r := range s.take() {
					if r.conditional() {
						sent++
					}
					if r.consistency != primitive.ConsistencyLevelLocalQuorum && !r.read() || r.conditional() && (r.serial == nil || *r.serial != primitive.ConsistencyLevelLocalSerial) {
						t.Errorf("%s: consistency %v, serial %v: %s", name, r.consistency, r.serial, r.statements)
					}
					if r.read() && r.consistency != primitive.ConsistencyLevelLocalSerial {
						t.Errorf("%s: read at %v, which may miss a transaction under way", name, r.consistency)
					}
				}
				if sent != 1 {
					t.Errorf("%s: the transaction was sent %d times", name, sent)
				}
			}
		})
	}
}

// TestUnknownTransactionIsSettled: the serial read tells when the row is what it was to become.
func TestUnknownTransactionIsSettled(t *testing.T) {
	s := newStandIn(t)
	e := s.open(nil)
	names := []string{"username", "email", "first_name", "last_name", "avatar_url", "created_at", "updated_at"}
	for text, want := range map[string]bool{"new": true, "somebody else's": false} {
		s.script(func(r *request) message.Message {
			if r.conditional() {
				return &message.WriteTimeout{WriteType: primitive.WriteTypeCas}
			}
			return rows(names, []byte(text), nil, nil, nil, nil, nil, number(7))
		})
		applied, _, err := e.CompareAndSet(t.Context(), storage.TableUsers, userKey, nil, columns("old"), columns("new"))
		if applied != want || (err == nil) != want || !want && !errors.Is(err, storage.ErrUnknownOutcome) {
			t.Errorf("the row holds %q: applied %v, %v", text, applied, err)
		}
	}
}

// TestWritesAreRepeatedAsTheyWere: a plain write may be sent again, under the timestamps that it had, and its outcome is
// unknown if that of any attempt is.
func TestWritesAreRepeatedAsTheyWere(t *testing.T) {
	mutations := []storage.Mutation{{Delete: true},
		{Clustering: storage.Key{{Set: true, B: []byte("c1")}}, Columns: []storage.Value{{Set: true, I: 1}, {Set: true, I: 2}}, Whole: true},
		{Clustering: storage.Key{{Set: true, B: []byte("c2")}}, Columns: []storage.Value{{Set: true, I: 1}}}}
	for _, f := range failures {
		for _, n := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s/%d", f.name, n), func(t *testing.T) {
				s := newStandIn(t)
				e := s.open(func(c *scylla.Config) { c.Conns = 1 })
				b := storage.Batch{Table: storage.TableMemberships, Partition: userKey, Mutations: mutations[:n]}
				s.script(func(*request) message.Message { return f.message })
				err := e.Apply(t.Context(), b)
				if err == nil || f.want != nil && !errors.Is(err, f.want) {
					t.Fatalf("%v, want %v", err, f.want)
				}
				got := s.take()
				if f.message == hangUp {
					if len(got) == 0 {
						t.Error("nothing was sent")
					}
				} else if want := map[bool]int{true: 1, false: 3}[f.want == nil]; len(got) != want {
					t.Errorf("sent %d times, want %d", len(got), want)
				}
				for i := range got {
					if fmt.Sprint(flat(got[i])) != fmt.Sprint(flat(got[0])) {
						t.Errorf("attempt %d differs:\n%v\n%v", i, flat(got[i]), flat(got[0]))
					}
					if got[i].batch != (n > 1) || n > 1 && got[i].batchType != primitive.BatchTypeUnlogged || got[i].consistency != primitive.ConsistencyLevelLocalQuorum {
						t.Errorf("%+v", got[i])
					}
				}
			})
		}
	}
	t.Run("time-out, then unavailable", func(t *testing.T) {
		s := newStandIn(t)
		e := s.open(nil)
		first := true
		s.script(func(*request) message.Message {
			if first {
				first = false
				return &message.WriteTimeout{WriteType: primitive.WriteTypeSimple}
			}
			return &message.Unavailable{Required: 2}
		})
		err := e.Apply(t.Context(), storage.Batch{Table: storage.TableMemberships, Partition: userKey, Mutations: mutations[:1]})
		if !errors.Is(err, storage.ErrUnknownOutcome) {
			t.Errorf("the first attempt may have been carried out: %v", err)
		}
	})
	t.Run("recovers", func(t *testing.T) {
		s := newStandIn(t)
		e := s.open(nil)
		left := 2
		s.script(func(*request) message.Message {
			if left--; left >= 0 {
				return &message.WriteTimeout{WriteType: primitive.WriteTypeSimple}
			}
			return nil
		})
		if err := e.Apply(t.Context(), storage.Batch{Table: storage.TableMemberships, Partition: userKey, Mutations: mutations}); err != nil {
			t.Fatal(err)
		}
		got := s.take()
		last := int64(0)
		for i, v := range got[len(got)-1].values { // timestamps are first in a deletion, last in a put
			at := v[len(v)-1]
			if mutations[i].Delete {
				at = v[0]
			}
			stamp := int64(binary.BigEndian.Uint64(at.Contents))
			if stamp <= last {
				t.Errorf("mutation %d has timestamp %d after %d", i, stamp, last)
			}
			last = stamp
		}
		if v := got[0].values[2]; v[4].Type != primitive.ValueTypeUnset {
			t.Errorf("an absent column is bound as %v: a null would be a tombstone", v[4])
		}
		if n := e.Stats(); n.Retries != 2 || n.Timeouts != 2 {
			t.Errorf("%+v", n)
		}
	})
}

func flat(r request) (out []string) {
	for i := range r.statements {
		out = append(out, r.statements[i])
		for _, v := range r.values[i] {
			out = append(out, fmt.Sprintf("%d:%x", v.Type, v.Contents))
		}
	}
	return out
}

// TestReadsAreRepeated: a read that fails is made again, and in the end the error says that the store cannot be reached.
func TestReadsAreRepeated(t *testing.T) {
	s := newStandIn(t)
	e := s.open(nil)
	left := 2
	s.script(func(*request) message.Message {
		if left--; left >= 0 {
			return &message.ReadTimeout{BlockFor: 2}
		}
		return rows([]string{"kind", "joined_at"}, number(1), number(2))
	})
	clustering := storage.Key{{Set: true, B: []byte("c")}}
	row, err := e.Get(t.Context(), storage.TableMemberships, userKey, clustering)
	if err != nil || row.Columns[1].I != 2 || len(s.take()) != 3 {
		t.Fatal(row, err, len(s.take()))
	}
	s.script(func(*request) message.Message { return &message.Unavailable{Required: 2} })
	if _, err := e.Get(t.Context(), storage.TableMemberships, userKey, clustering); !errors.Is(err, storage.ErrUnreachable) {
		t.Error(err)
	}
	for _, r := range s.take() {
		if r.consistency != primitive.ConsistencyLevelLocalQuorum {
			t.Error(r.consistency)
		}
	}
}

// TestTooLargeIsNotSent: what the servers could not apply at once is refused here.
func TestTooLargeIsNotSent(t *testing.T) {
	s := newStandIn(t)
	e := s.open(func(c *scylla.Config) { c.MaxBatchBytes = 1000 })
	big := []storage.Value{{Set: true, B: bytes.Repeat([]byte("x"), 600)}}
	b := storage.Batch{Table: storage.TableUsers, Partition: userKey, Mutations: []storage.Mutation{{Columns: big}, {Columns: big}}}
	if err := e.Apply(t.Context(), b); !errors.Is(err, storage.ErrTooLarge) {
		t.Error(err)
	}
	b.Mutations = make([]storage.Mutation, 1<<16)
	if err := e.Apply(t.Context(), b); !errors.Is(err, storage.ErrTooLarge) {
		t.Error(err)
	}
	if got := s.take(); len(got) != 0 {
		t.Errorf("%d requests", len(got))
	}
}
