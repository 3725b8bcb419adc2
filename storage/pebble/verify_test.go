package pebble_test

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	cockroach "github.com/cockroachdb/pebble/v2"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/pebble"
	"github.com/zumodra/hub/storage/storagetest"
)

// conversationLog is a log as the hub writes it: the creation, then messages.
func conversationLog(key chat.ConversationKey, last uint64) []chat.Event {
	events := storagetest.Messages(key, 1, last, 1)
	for i := range events {
		events[i].MsgNo--
	}
	events[0] = chat.Event{Seq: 1, Epoch: 1, Type: chat.EventConversation, At: storagetest.At(1), Actor: "alice", Change: chat.ChangeCreated,
		Users: []chat.UserID{"alice"}, Kind: chat.Group}
	return events
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fillStore writes a sound conversation of 5000 events.
func fillStore(t *testing.T, e storage.Engine) chat.ConversationKey {
	t.Helper()
	s, key, ctx := storage.New(e, storage.Config{}), storagetest.Key("t"), t.Context()
	must(t, s.AppendEvents(ctx, key, conversationLog(key, 5000)))
	alice := chat.Member{User: "alice", Role: chat.RoleOwner, JoinedAt: storagetest.At(1), JoinedSeq: 1,
		Read: chat.Watermark{Seq: 10, MsgNo: 9, At: storagetest.At(20)}}
	must(t, s.SaveDerived(ctx, key, chat.Derived{Head: chat.Head{Key: key, Kind: chat.Group, CreatedBy: "alice", CreatedAt: storagetest.At(1),
		UpdatedAt: storagetest.At(1), Seq: 5000, Epoch: 1, MsgNo: 4999, MemberCount: 1}, Members: []chat.Member{alice},
		Sent: []chat.SentMessage{{SenderClientID: chat.SenderClientID{Sender: "alice", ClientID: "c2"}, Seq: 2}}}))
	must(t, s.SaveWatermarks(ctx, key, []chat.Member{alice}, []chat.Receipt{{User: "alice", Kind: chat.ReceiptRead, Seq: 10, At: storagetest.At(20)}}))
	must(t, s.MarkDirty(ctx, key))
	must(t, s.PutUser(ctx, chat.User{Tenant: "t", ID: "alice"}))
	return key
}

func verifyDir(t *testing.T, dir string) (storage.Summary, []string) {
	t.Helper()
	var problems []string
	sum, err := pebble.Verify(t.Context(), dir, func(p storage.Problem) { problems = append(problems, p.String()) })
	must(t, err)
	if int(sum.Problems) != len(problems) {
		t.Errorf("%d problems counted, %d reported", sum.Problems, len(problems))
	}
	return sum, problems
}

func text(s string) storage.Value  { return storage.Value{Set: true, B: []byte(s)} }
func number(i int64) storage.Value { return storage.Value{Set: true, I: i} }

func TestVerifyFindsDamage(t *testing.T) {
	type store struct {
		*storage.Store
		e   storage.Engine
		key chat.ConversationKey
	}
	logRow := func(s store, seq int64) (partition, clustering storage.Key) {
		return storage.Key{text("t"), {Set: true, B: s.key.ID[:]}, number(seq >> storage.BucketBits)}, storage.Key{number(seq), number(1)}
	}
	edit := func(s store, table *storage.Table, partition storage.Key, m storage.Mutation) {
		t.Helper()
		must(t, s.e.Apply(t.Context(), storage.Batch{Table: table, Partition: partition, Mutations: []storage.Mutation{m}}))
	}
	column := func(table *storage.Table, name string, v storage.Value) []storage.Value {
		columns := make([]storage.Value, len(table.Columns))
		for i := range columns {
			if table.Columns[i].Name == name {
				columns[i] = v
			}
		}
		return columns
	}
	for _, c := range []struct {
		name   string
		damage func(store)
		want   string // in one of the problems; empty: none
		sum    func(storage.Summary) bool
	}{
		{"sound", func(store) {}, "", func(s storage.Summary) bool {
			return s.Events == 5000 && s.Conversations == 1 && s.Late == 0 && s.Behind == 0 && s.Rows == 5009
		}},
		{"owner in a wrong slot", func(s store) {
			edit(s, storage.TableShardOwners, storage.Key{number(4)}, storage.Mutation{Clustering: storage.Key{number(5)},
				Columns: []storage.Value{number(1), number(1), number(0), number(0), number(0)}, Whole: true})
		}, "stands in slot 4, not 5", nil},
		{"owner without an epoch", func(s store) {
			edit(s, storage.TableShardOwners, storage.Key{number(5)}, storage.Mutation{Clustering: storage.Key{number(5)},
				Columns: []storage.Value{number(1), number(0), number(0), number(0), number(0)}, Whole: true})
		}, "under epoch 0", nil},
		{"lease of no state", func(s store) {
			edit(s, storage.TableNodeLeases, storage.Key{number(7)}, storage.Mutation{Clustering: storage.Key{number(-1)},
				Columns: []storage.Value{text("a"), number(1), number(1), number(0), number(0)}, Whole: true})
		}, "in state 0", nil},
		{"behind", func(s store) {
			e := storagetest.Message(s.key, 5001, 1)
			e.MsgNo = 5000
			must(t, s.AppendEvents(t.Context(), s.key, []chat.Event{e}))
		}, "", func(s storage.Summary) bool { return s.Behind == 1 && s.Events == 5001 }},
		{"late rows", func(s store) {
			e := storagetest.Message(s.key, 5000, 2)
			e.MsgNo--
			must(t, s.AppendEvents(t.Context(), s.key, []chat.Event{e}))
			must(t, s.AppendEvents(t.Context(), s.key, []chat.Event{storagetest.Message(s.key, 5001, 1)}))
		}, "head has epoch 1", func(s storage.Summary) bool { return s.Late == 2 && s.Events == 5000 }},
		{"lost event", func(s store) {
			p, k := logRow(s, 4500)
			edit(s, storage.TableLog, p, storage.Mutation{Clustering: k, Delete: true})
		}, "events 4500 to 4500 are missing", nil},
		{"lost bucket", func(s store) {
			p, _ := logRow(s, 1)
			edit(s, storage.TableLog, p, storage.Mutation{Delete: true})
		}, "events 1 to 4095 are missing", nil},
		{"lost end", func(s store) {
			p, k := logRow(s, 5000)
			edit(s, storage.TableLog, p, storage.Mutation{Clustering: k, Delete: true})
		}, "head is at 5000, the log ends at 4999", nil},
		{"wrong msg_no", func(s store) {
			p, k := logRow(s, 3000)
			edit(s, storage.TableLog, p, storage.Mutation{Clustering: k, Columns: column(storage.TableLog, "msg_no", number(3000))})
		}, "event 3000 has msg_no 3000, not 2999", nil},
		{"time runs back", func(s store) {
			p, k := logRow(s, 3000)
			edit(s, storage.TableLog, p, storage.Mutation{Clustering: k, Columns: column(storage.TableLog, "at", number(0))})
		}, "event 3000 is older", nil},
		{"foreign message id", func(s store) {
			p, k := logRow(s, 3000)
			edit(s, storage.TableLog, p, storage.Mutation{Clustering: k, Columns: column(storage.TableLog, "message", text("0123456789abcdef"))})
		}, "message 3000 has the id", nil},
		{"client id twice", func(s store) {
			p, k := logRow(s, 3000)
			edit(s, storage.TableLog, p, storage.Mutation{Clustering: k, Columns: column(storage.TableLog, "client_id", text("c2"))})
		}, "event 3000 repeats a client id", nil},
		{"wrong list", func(s store) {
			p, k := logRow(s, 3000)
			edit(s, storage.TableLog, p, storage.Mutation{Clustering: k, Columns: column(storage.TableLog, "users", text("\x05abc"))})
		}, "event 3000 epoch 1: users: storage: corrupt", nil},
		{"member not in list", func(s store) {
			edit(s, storage.TableMemberships, storage.Key{text("t"), text("alice")}, storage.Mutation{Delete: true})
		}, "is not in the list of its member alice", nil},
		{"list without member", func(s store) {
			edit(s, storage.TableMemberships, storage.Key{text("t"), text("eve")}, storage.Mutation{Clustering: storage.Key{{Set: true, B: s.key.ID[:]}},
				Columns: []storage.Value{number(2), number(5)}})
		}, "which has no such member", nil},
		{"member count", func(s store) {
			edit(s, storage.TableConversation, storage.Key{text("t"), {Set: true, B: s.key.ID[:]}}, storage.Mutation{Clustering: storage.Key{text("h")},
				Columns: column(storage.TableConversation, "member_count", number(4))})
		}, "head counts 4 members, there are 1", nil},
		{"no head", func(s store) {
			edit(s, storage.TableConversation, storage.Key{text("t"), {Set: true, B: s.key.ID[:]}}, storage.Mutation{Clustering: storage.Key{text("h")}, Delete: true})
		}, "1 members but no head", nil},
		{"position beyond the log", func(s store) {
			edit(s, storage.TableConversation, storage.Key{text("t"), {Set: true, B: s.key.ID[:]}}, storage.Mutation{Clustering: storage.Key{text("m/alice")},
				Columns: column(storage.TableConversation, "read_seq", number(5001))})
		}, "read up to 5001 of 5000", nil},
		{"mark in a wrong shard", func(s store) {
			edit(s, storage.TableDirty, storage.Key{number(int64(s.key.Shard() + 1))}, storage.Mutation{Clustering: storage.Key{text("t"), {Set: true, B: s.key.ID[:]}}})
		}, "stands in shard", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			e := open(t, pebble.Config{Dir: dir})
			key := fillStore(t, e)
			c.damage(store{storage.New(e, storage.Config{}), e, key})
			must(t, e.Close())
			sum, problems := verifyDir(t, dir)
			all := strings.Join(problems, "\n")
			if (c.want == "") != (all == "") || !strings.Contains(all, c.want) {
				t.Errorf("problems:\n%s\nwant %q", all, c.want)
			}
			if c.sum != nil && !c.sum(sum) {
				t.Errorf("summary %+v", sum)
			}
		})
	}
}

// raw opens the files of a store without the engine.
func raw(t *testing.T, dir string, do func(*cockroach.DB)) {
	t.Helper()
	db, err := cockroach.Open(dir, &cockroach.Options{FormatMajorVersion: cockroach.FormatNewest, Logger: quiet{}})
	must(t, err)
	do(db)
	must(t, db.Close())
}

type quiet struct{}

func (quiet) Infof(string, ...any)         {}
func (quiet) Errorf(string, ...any)        {}
func (quiet) Fatalf(f string, args ...any) { panic(f) }

func TestVerifyFindsBadRowsAndFiles(t *testing.T) {
	dir := t.TempDir()
	e := open(t, pebble.Config{Dir: dir})
	key := fillStore(t, e)
	must(t, e.Close())
	raw(t, dir, func(db *cockroach.DB) {
		it, err := db.NewIter(nil)
		must(t, err)
		for i, ok := 0, it.SeekGE([]byte{0, 1}); ok && i < 3; i, ok = i+1, it.Next() {
			must(t, db.Set(it.Key(), append(append([]byte(nil), it.Value()...), 0xff), nil))
		}
		must(t, it.Close())
		must(t, db.Set([]byte{0x77, 0x77, 1}, []byte("x"), nil))
		must(t, db.Set([]byte{0, 7, 'u'}, []byte{1}, nil)) // a cut off key of users
		must(t, db.Flush())
	})
	sum, problems := verifyDir(t, dir)
	all := strings.Join(problems, "\n")
	for _, want := range []string{"unknown table 30583", "users users:75: storage: corrupt", "log log:", "events 1 to 3 are missing"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
	if sum.Files == 0 || strings.Count(all, "log log:") != 3 {
		t.Errorf("summary %+v, problems\n%s", sum, all)
	}
	// Reading such a row is an error, not a wrong answer.
	e = open(t, pebble.Config{Dir: dir})
	if _, err := storage.New(e, storage.Config{}).ReadEvents(t.Context(), key, 1, 10, 0); !errors.Is(err, storage.ErrCorrupt) {
		t.Error(err)
	}
	must(t, e.Close())

	files, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	must(t, err)
	largest, size := "", int64(0)
	for _, f := range files {
		info, err := os.Stat(f)
		must(t, err)
		if info.Size() > size {
			largest, size = f, info.Size()
		}
	}
	flip(t, largest, size/3)
	_, problems = verifyDir(t, dir)
	if all := strings.Join(problems, "\n"); !strings.Contains(all, "file "+filepath.Base(largest)) || !strings.Contains(all, "keys log:") {
		t.Errorf("a flipped bit of %s was not found:\n%s", filepath.Base(largest), all)
	}
}

// flip inverts a byte of a file.
func flip(t *testing.T, file string, at int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	must(t, err)
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	must(t, err)
	b[0] ^= 0xff
	_, err = f.WriteAt(b[:], at)
	must(t, err)
	must(t, f.Close())
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	e := open(t, pebble.Config{Dir: dir})
	for name, err := range map[string]error{
		"second open": func() error { _, err := pebble.Open(pebble.Config{Dir: dir}); return err }(),
		"verify": func() error {
			_, err := pebble.Verify(t.Context(), dir, func(storage.Problem) {})
			return err
		}(),
	} {
		if !errors.Is(err, storage.ErrLocked) || !strings.Contains(err.Error(), "stop the other one") {
			t.Errorf("%s: %v", name, err)
		}
	}
	setSchema(t, e, storage.SchemaVersion+1)
	must(t, e.Close())
	for range 2 { // the refusal leaves no lock behind
		if _, err := pebble.Open(pebble.Config{Dir: dir}); !errors.Is(err, storage.ErrSchema) || !strings.Contains(err.Error(), "use the version") {
			t.Error(err)
		}
	}
	foreign := t.TempDir()
	raw(t, foreign, func(db *cockroach.DB) { must(t, db.Set(binary.BigEndian.AppendUint16(nil, 9), nil, nil)) })
	if _, err := pebble.Open(pebble.Config{Dir: foreign}); !errors.Is(err, storage.ErrSchema) {
		t.Error(err)
	}
	if _, err := pebble.Open(pebble.Config{}); err == nil {
		t.Error("opened without a directory")
	}
	if _, err := pebble.Verify(t.Context(), filepath.Join(dir, "absent"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func setSchema(t *testing.T, e *pebble.Engine, version int64) {
	t.Helper()
	must(t, e.Apply(context.Background(), storage.Batch{Table: storage.TableMeta, Partition: storage.Key{text("schema")},
		Mutations: []storage.Mutation{{Columns: []storage.Value{number(version)}}}}))
}

func TestOpenTakesOlderVersions(t *testing.T) {
	dir := t.TempDir()
	e := open(t, pebble.Config{Dir: dir})
	setSchema(t, e, storage.OldestSchema)
	must(t, e.Close())
	if _, err := pebble.Verify(t.Context(), dir, func(p storage.Problem) { t.Error(p) }); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		e = open(t, pebble.Config{Dir: dir})
		row, err := e.Get(t.Context(), storage.TableMeta, storage.Key{text("schema")}, nil)
		must(t, err)
		if row.Columns[0].I != storage.SchemaVersion {
			t.Errorf("version %d", row.Columns[0].I)
		}
		must(t, e.Close())
	}
	e = open(t, pebble.Config{Dir: dir})
	setSchema(t, e, 0)
	must(t, e.Close())
	if _, err := pebble.Open(pebble.Config{Dir: dir}); !errors.Is(err, storage.ErrSchema) {
		t.Error(err)
	}
}
