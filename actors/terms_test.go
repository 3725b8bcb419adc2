package actors_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/actors/internal/faultstore"
	"github.com/zumodra/hub/actors/projection"
	"github.com/zumodra/hub/chat"
)

// realm is a Cluster of which only the terms are used here.
type realm struct {
	hub    any
	epochs [chat.Shards]atomic.Uint64
}

func (r *realm) Self() chat.NodeID { return 1 }
func (r *realm) Term(shard int) (uint64, bool) {
	e := r.epochs[shard].Load()
	return e, e > 0
}
func (r *realm) MayAck(shard int, epoch uint64) bool { return r.epochs[shard].Load() == epoch }
func (r *realm) Owner(shard int) chat.NodeID {
	if r.epochs[shard].Load() > 0 {
		return 1
	}
	return 0
}

// Ask implements actors.Cluster: there is nobody else.
func (r *realm) Ask(ctx context.Context, shard int, q chat.Question, done func(chat.Answer, error)) {
	r.hub.(interface {
		Answer(context.Context, int, chat.Question, func(chat.Answer, error))
	}).Answer(ctx, shard, q, done)
}

// Parcel implements actors.Cluster.
func (r *realm) Parcel(from chat.NodeID, p chat.Parcel, done func(error)) {
	r.hub.(interface {
		Receive(chat.NodeID, chat.Parcel, func(error))
	}).Receive(from, p, done)
}
func (r *realm) Edges() []chat.NodeID { return []chat.NodeID{1} }

func all() *chat.ShardSet {
	s := new(chat.ShardSet)
	for i := range chat.Shards {
		s.Add(i)
	}
	return s
}

// gain begins new terms of all shards.
func gain(h *actors.Hub, r *realm, epoch uint64) {
	r.hub = h
	for i := range chat.Shards {
		r.epochs[i].Store(epoch)
		h.Gained(i, epoch)
	}
}

// What a node left that died is finished by the one that gains its shards, however long the store fails.
func TestGainedShardsAreTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := faultstore.New()
		dead := newRig(t, actors.Config{Store: store})
		var ids []chat.ConversationID
		for _, u := range []chat.UserID{"2", "3", "4", "5"} {
			ids = append(ids, dead.direct("1", u))
		}
		time.Sleep(10 * time.Second)
		store.SetFaults(func(op string, _ chat.ConversationKey) error {
			if op == "SaveDerived" || op == "ClearDirty" {
				return chat.ErrUnavailable
			}
			return nil
		}, nil)
		for _, c := range ids {
			dead.do("1", chat.Send{Conversation: c, ClientID: "a", Content: "x"})
		}
		dead.Lost(all())
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		if err := dead.Close(ctx); err != nil {
			t.Fatal(err)
		}

		var down atomic.Bool
		down.Store(true)
		store.SetFaults(func(op string, _ chat.ConversationKey) error {
			if op == "LoadConversation" && down.Load() {
				return chat.ErrUnavailable
			}
			return nil
		}, nil)
		c := new(realm)
		r := newRig(t, actors.Config{Store: store, Cluster: c})
		gain(r.Hub, c, 2)
		for i := range ids {
			r.session(chat.UserID(fmt.Sprint(2+i)), chat.ConversationID{}, chat.SessionID(i+1))
		}
		time.Sleep(20 * time.Second)
		down.Store(false)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		for i, id := range ids {
			if got := r.edge.notices(chat.SessionID(i + 1)); len(got) != 1 || got[0].Head == nil || got[0].Head.Seq != 2 {
				t.Errorf("%+v was told", got)
			}
			if head, _, err := store.LoadConversation(bg, keyOf(id)); err != nil || head.Seq != 2 {
				t.Errorf("head %d, %v", head.Seq, err)
			}
		}
		if n := r.Stats().Live; n != 0 {
			t.Errorf("%d live", n)
		}
		// A mark stays where the notice was confirmed after the conversation had left memory: it goes when it is there again.
		for _, id := range ids {
			r.do("1", chat.Send{Conversation: id, ClientID: "b", Content: "x"})
		}
		time.Sleep(5 * time.Minute)
		for _, id := range ids {
			if store.Dirty(keyOf(id)) {
				t.Errorf("%s is marked", id)
			}
		}
	})
}

// Shards that are released are saved; those that are lost are given up; both come back under another term.
func TestShardsComeAndGo(t *testing.T) {
	for _, how := range []string{"release", "lose"} {
		t.Run(how, func(t *testing.T) {
			c, reader := new(realm), newReader(t)
			store := faultstore.New()
			for i := range chat.Shards {
				c.epochs[i].Store(1)
			}
			r := newRig(t, actors.Config{Store: store, Cluster: c, Consumers: []projection.Consumer{reader}})
			gain(r.Hub, c, 1)
			var ids []chat.ConversationID
			for _, u := range []chat.UserID{"2", "3", "4", "5", "6", "7"} {
				ids = append(ids, r.direct("1", u))
			}
			for round := range uint64(5) {
				for _, id := range ids {
					r.do("1", chat.Send{Conversation: id, ClientID: fmt.Sprint(round), Content: "x"})
				}
				if how == "release" {
					if err := r.Release(bg, all()); err != nil {
						t.Fatal(err)
					}
					if r.Stats().Live != 0 {
						t.Fatal("something is live")
					}
					for _, id := range ids {
						if head, _, err := store.LoadConversation(bg, keyOf(id)); err != nil || head.Seq != 2+round {
							t.Fatalf("%+v, %v", head, err)
						}
					}
				} else {
					for i := range chat.Shards {
						c.epochs[i].Store(0)
					}
					r.Lost(all())
				}
				if _, err := r.Do(bg, as("1"), chat.Send{Conversation: ids[0], Content: "y"}); !errors.Is(err, chat.ErrUnavailable) {
					t.Fatal(err)
				}
				gain(r.Hub, c, 2+round)
			}
			for _, id := range ids {
				eventually(t, "the consumer has everything", func() bool { return len(reader.log(keyOf(id))) == 6 })
				eventually(t, "no mark is left", func() bool { return !store.Dirty(keyOf(id)) })
			}
		})
	}
}
