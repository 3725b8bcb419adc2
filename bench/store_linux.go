package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
	store "github.com/zumodra/hub/storage/pebble"
)

// message is the event that a send of the other measurements becomes.
func message(key chat.ConversationKey, seq uint64) chat.Event {
	at := time.Now().UTC().Truncate(time.Microsecond)
	return chat.Event{
		Seq: seq, Epoch: 1, MsgNo: seq, Type: chat.EventMessage, At: at,
		Actor: "1000", ActorName: "user0", ClientID: "texts-1795390000000000000-" + strconv.FormatUint(seq, 10),
		Message: chat.NewMessageID(key, seq, at), MessageSeq: seq, Content: string(payload(128)),
	}
}

func benchKey() chat.ConversationKey {
	return chat.ConversationKey{Tenant: "bench", ID: chat.NewConversationID()}
}

func openStore(dir string) (*store.Engine, *storage.Store, error) {
	e, err := store.Open(store.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, nil, err
	}
	return e, storage.New(e, storage.Config{}), nil
}

// storedSize finds out what the durable write of one message is to the store: rows, bytes of keys and bytes of
// values, so that the bare commits can write as much.
func storedSize(dir string) (rows, keys, values int, err error) {
	const n = 200
	e, s, err := openStore(dir)
	if err != nil {
		return 0, 0, 0, err
	}
	key := benchKey()
	events := make([]chat.Event, n)
	for i := range events {
		events[i] = message(key, uint64(i+1))
	}
	err = errors.Join(s.AppendEvents(context.Background(), key, events), e.Close())
	if err != nil {
		return 0, 0, 0, err
	}
	db, err := pebble.Open(dir, &pebble.Options{Logger: quiet{}, ReadOnly: true, FormatMajorVersion: pebble.FormatValueSeparation})
	if err != nil {
		return 0, 0, 0, fmt.Errorf("reading the store back: %w", err)
	}
	defer db.Close()
	it, err := db.NewIter(nil)
	if err != nil {
		return 0, 0, 0, err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		rows++
		keys += len(it.Key())
		values += len(it.Value())
	}
	return max(1, rows/n), keys / n, values / n, it.Error()
}

// runStore is the hub's store without the hub: writers that append one message after the other.
func runStore(args []string) error {
	if len(args) != 1 {
		return errors.New("store wants a directory")
	}
	e, s, err := openStore(args[0])
	if err != nil {
		return err
	}
	defer e.Close()
	return serveCommands(func(cmd command) reply {
		before := ownCPU()
		r := appendLoop(s, cmd)
		r.CPU = ownCPU() - before
		return r
	})
}

func appendLoop(s *storage.Store, cmd command) reply {
	var mu sync.Mutex
	var r reply
	stop := time.Now().Add(time.Duration(cmd.Seconds * float64(time.Second)))
	var group sync.WaitGroup
	for range cmd.N {
		group.Add(1)
		go func() {
			defer group.Done()
			key := benchKey()
			var ms []float64
			for seq := uint64(1); time.Now().Before(stop); seq++ {
				events := []chat.Event{message(key, seq)}
				at := time.Now()
				if err := s.AppendEvents(context.Background(), key, events); err != nil {
					mu.Lock()
					r.Err = err.Error()
					mu.Unlock()
					return
				}
				if now := time.Now(); now.Before(stop) {
					ms = append(ms, now.Sub(at).Seconds()*1e3)
				}
			}
			mu.Lock()
			r.Millis = append(r.Millis, ms...)
			mu.Unlock()
		}()
	}
	group.Wait()
	r.N, r.Seconds = int64(len(r.Millis)), cmd.Seconds
	return r
}
