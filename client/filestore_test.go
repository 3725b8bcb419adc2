package client_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/zumodra/hub/client"
)

func openStore(t interface{ Fatal(...any) }, path string) *client.FileStore {
	s, err := client.OpenFileStore(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOutboxSurvivesARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox")
	var id string
	synctest.Test(t, func(t *testing.T) {
		st := openStore(t, path)
		defer st.Close()
		s := newServer(t)
		cfg := config(s)
		cfg.Store = st
		r := start(t, cfg)
		c := s.greet()
		c.message("c", 41)
		r.wantLog("41")
		id = r.send("c", "one").ClientID
		r.send("c", "two")
		c.expect("send_message")
		_ = r.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		st := openStore(t, path)
		defer st.Close()
		s := newServer(t)
		cfg := config(s)
		cfg.Store = st
		r := start(t, cfg)
		c := s.greet()
		f := c.expect("resume")
		if f.LastSeq != 41 {
			t.Fatalf("resumed from %d", f.LastSeq)
		}
		c.send(`{"type":"resumed","conversation_id":"c","head_seq":41,"ref":%q}`, f.Ref)
		f = c.expect("send_message")
		if f.ClientID != id || f.Content != "one" {
			t.Fatalf("%+v", f)
		}
		c.ack(f, 42)
		if f = c.expect("send_message"); f.Content != "two" {
			t.Fatalf("%+v", f)
		}
		c.ack(f, 43)
		r.wantLog("42", "43")
		_ = r.Close()
		if snap, _ := st.Load(); len(snap.Outbox) != 0 || snap.Positions["c"] != 43 {
			t.Fatalf("%+v", snap)
		}
	})
}

func TestFileStoreOpensOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox")
	st := openStore(t, path)
	if _, err := client.OpenFileStore(path); err == nil {
		t.Fatal("opened twice")
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if err := st.Put(client.Pending{ClientID: "x"}); err == nil {
		t.Fatal("a closed store accepts a send")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
}

func TestDamagedFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox")
	if err := os.WriteFile(path, []byte("{\"position\":\"c\",\"seq\":1}\nrubbish\n{\"position\":\"c\",\"seq\":2}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := client.OpenFileStore(path); err == nil {
		t.Fatal("a line that is no record, with more behind it, was skipped")
	}
}

// The file agrees with the memory store after any operations, any number of reopenings, and a crash that cuts
// the last write anywhere.
func TestFileStoreIsAStore(t *testing.T) {
	dir := t.TempDir()
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		path := filepath.Join(dir, fmt.Sprint(runs))
		file, model := openStore(rt, path), client.NewMemoryStore()
		defer func() { _ = file.Close() }()
		n := 0
		both := func(f func(client.Store) error) {
			if err := f(file); err != nil {
				rt.Fatal(err)
			}
			_ = f(model)
		}
		same := func() {
			a, _ := file.Load()
			b, _ := model.Load()
			if fmt.Sprint(a) != fmt.Sprint(b) {
				rt.Fatalf("file: %v\nmodel: %v", a, b)
			}
		}
		key := rapid.SampledFrom([]string{"a", "b", "c"})
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				n++
				p := client.Pending{Conversation: key.Draw(rt, "conv"), ClientID: fmt.Sprint("id", n), Content: rapid.String().Draw(rt, "content")}
				p.Content = string(bytes.ToValidUTF8([]byte(p.Content), nil))
				both(func(s client.Store) error { return s.Put(p) })
			},
			"remove": func(rt *rapid.T) {
				id := fmt.Sprint("id", rapid.IntRange(0, n).Draw(rt, "n"))
				both(func(s client.Store) error { return s.Remove(id) })
			},
			"position": func(rt *rapid.T) {
				k, seq := key.Draw(rt, "conv"), rapid.Uint64Range(1, 1<<40).Draw(rt, "seq")
				both(func(s client.Store) error { return s.SetPosition(k, seq) })
			},
			"many positions": func(rt *rapid.T) { // until the file is rewritten
				k := key.Draw(rt, "conv")
				for i := range uint64(300) {
					both(func(s client.Store) error { return s.SetPosition(k, i+1) })
				}
			},
			"delete": func(rt *rapid.T) {
				k := key.Draw(rt, "conv")
				both(func(s client.Store) error { return s.DeletePosition(k) })
			},
			"reopen": func(rt *rapid.T) {
				if err := file.Close(); err != nil {
					rt.Fatal(err)
				}
				if cut := rapid.IntRange(0, 20).Draw(rt, "torn"); cut > 0 {
					f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
					if err != nil {
						rt.Fatal(err)
					}
					_, _ = f.WriteString(`{"put":{"conversation":"c","client_id":"torn"}}`[:cut])
					_ = f.Close()
				}
				file = openStore(rt, path)
			},
			"": func(*rapid.T) { same() },
		})
	})
}
