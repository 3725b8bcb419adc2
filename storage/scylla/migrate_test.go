package scylla_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gocql/gocql"

	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/scylla"
	"github.com/zumodra/hub/storage/scylla/scyllatest"
)

// fresh is a keyspace that does not exist, and is dropped with the test.
func fresh(t *testing.T) (scylla.Config, *gocql.Session) {
	t.Helper()
	cfg := scyllatest.Config(t)
	cfg.Tables = nil
	cfg.Keyspace = fmt.Sprintf("hub_test_m%d", time.Now().UnixNano())
	c := gocql.NewCluster(cfg.Hosts...)
	c.Timeout = time.Minute
	s, err := c.CreateSession()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Query("DROP KEYSPACE IF EXISTS " + cfg.Keyspace).Exec(); err != nil {
			t.Error(err)
		}
		s.Close()
	})
	return cfg, s
}

func TestMigrate(t *testing.T) {
	cfg, admin := fresh(t)
	ctx := t.Context()
	if _, err := scylla.Open(ctx, cfg); !errors.Is(err, storage.ErrSchema) || !strings.Contains(err.Error(), "hub migrate") {
		t.Fatalf("without a keyspace: %v", err)
	}
	var dry bytes.Buffer
	if err := scylla.Migrate(ctx, cfg, true, &dry); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(dry.String(), "CREATE TABLE"); n != len(storage.Tables()) || !strings.Contains(dry.String(), "CREATE KEYSPACE") {
		t.Errorf("%d tables in\n%s", n, &dry)
	}
	if _, err := scylla.Open(ctx, cfg); !errors.Is(err, storage.ErrSchema) {
		t.Fatalf("a dry run has changed something: %v", err)
	}
	// Several at once, as when a cluster of hubs is started.
	var wg sync.WaitGroup
	logs := make([]bytes.Buffer, 4)
	for i := range logs {
		wg.Go(func() {
			if err := scylla.Migrate(ctx, cfg, false, &logs[i]); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	all := ""
	for i := range logs {
		all += logs[i].String()
	}
	if n := strings.Count(all, `"log"`); n != 1 {
		t.Errorf("the table of the log was created %d times", n)
	}
	again := func(dryRun bool) string {
		t.Helper()
		var b bytes.Buffer
		if err := scylla.Migrate(ctx, cfg, dryRun, &b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if got := again(false) + again(true); got != "" {
		t.Errorf("a second run did\n%s", got)
	}
	e, err := scylla.Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()

	// A store of the oldest version, without the tables and columns that came since.
	run := func(stmt string, args ...any) {
		t.Helper()
		if err := admin.Query(stmt, args...).Exec(); err != nil {
			t.Fatal(err)
		}
	}
	set := func(from, to int64) {
		t.Helper()
		key := storage.Key{{Set: true, B: []byte("schema")}}
		applied, found, err := e.CompareAndSet(ctx, storage.TableMeta, key, nil, []storage.Value{{Set: true, I: from}, {}}, []storage.Value{{Set: true, I: to}})
		if err != nil || !applied {
			t.Fatal(applied, found, err)
		}
	}
	run("DROP TABLE " + cfg.Keyspace + ".receipts")
	run("ALTER TABLE " + cfg.Keyspace + ".users DROP avatar_url")
	set(storage.SchemaVersion, storage.OldestSchema)
	if _, err := scylla.Open(ctx, cfg); !errors.Is(err, storage.ErrSchema) || !strings.Contains(err.Error(), "hub migrate") {
		t.Errorf("an older version: %v", err)
	}
	if got := again(false); strings.Count(got, ";\n") != 2 || !strings.Contains(got, `"receipts"`) || !strings.Contains(got, `ADD "avatar_url"`) {
		t.Errorf("brought up by\n%s", got)
	}
	if e, err := scylla.Open(ctx, cfg); err != nil {
		t.Error(err)
	} else {
		e.Close()
	}

	// Versions that this program does not know are left alone.
	set(storage.SchemaVersion, storage.SchemaVersion+1)
	if _, err := scylla.Open(ctx, cfg); !errors.Is(err, storage.ErrSchema) {
		t.Error(err)
	}
	for _, dryRun := range []bool{false, true} {
		if err := scylla.Migrate(ctx, cfg, dryRun, nil); !errors.Is(err, storage.ErrSchema) {
			t.Error(err)
		}
	}
}

func TestMigrateEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	// An address of the machine's own where nobody answers: the driver gets no connection.
	err := scylla.Migrate(ctx, scylla.Config{Hosts: []string{"127.0.0.1:1"}}, false, nil)
	if !errors.Is(err, storage.ErrUnreachable) && !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
