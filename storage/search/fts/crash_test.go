package fts_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/search"
	"github.com/zumodra/hub/storage/search/fts"
	"github.com/zumodra/hub/storage/search/searchtest"
)

const crashChild = "HUB_SEARCH_CRASH_CHILD" // the directory, in the environment of the process that is killed

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashChild); dir != "" {
		if err := runCrashChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		return
	}
	os.Exit(m.Run())
}

const crashConvs = 6

func crashKeys() []chat.ConversationKey {
	var keys []chat.ConversationKey
	for i := range crashConvs {
		keys = append(keys, searchtest.Key("t", i))
	}
	return keys
}

// crashEvent is what stands at seq of a conversation: everybody knows what must be there.
func crashEvent(key chat.ConversationKey, seq uint64) chat.Event {
	at := searchtest.At(int(seq)) // the same in all conversations
	e := chat.Event{Seq: seq, Epoch: 1, At: at, Actor: "alice", Type: chat.EventMessage, MessageSeq: seq, Message: chat.NewMessageID(key, seq, at)}
	rng := rand.New(rand.NewPCG(seq, uint64(key.ID[15])))
	words := strings.Fields("apple banana cherry damson elder fig grape 日本語 été")
	for range 1 + rng.IntN(5) {
		e.Content += words[rng.IntN(len(words))] + " "
	}
	e.Content += "w" + strconv.Itoa(rng.IntN(5000)) // a vocabulary that grows
	if seq > 4 {
		switch rng.IntN(5) {
		case 0:
			e.Type, e.MessageSeq = chat.EventEdited, seq-1-uint64(rng.IntN(4))
		case 1:
			e.Type, e.MessageSeq = chat.EventDeleted, seq-1-uint64(rng.IntN(4))
		}
	}
	return e
}

func crashEvents(key chat.ConversationKey, from, to uint64) chat.IndexChange {
	c := chat.IndexChange{Key: key}
	for seq := from; seq <= to; seq++ {
		c.Events = append(c.Events, crashEvent(key, seq))
	}
	return c
}

// runCrashChild indexes until it is killed, and prints what was acknowledged.
func runCrashChild(dir string) error {
	ctx := context.Background()
	ix, err := fts.Open(fts.Config{Dir: dir, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	keys := crashKeys()
	cursors, err := ix.Cursors(ctx, keys)
	if err != nil {
		return err
	}
	tell := func(conv int, seq uint64) {
		var b [9]byte
		b[0] = byte(conv)
		binary.BigEndian.PutUint64(b[1:], seq)
		if _, err := os.Stdout.Write(b[:]); err != nil {
			os.Exit(4)
		}
	}
	rng := rand.New(rand.NewPCG(rand.Uint64(), 0))
	for {
		switch n := rng.IntN(60); {
		case n == 0: // a conversation ends, and begins again
			i := rng.IntN(crashConvs)
			tell(i, 0)
			if err := ix.Apply(ctx, []chat.IndexChange{{Key: keys[i], Gone: true}}); err != nil {
				return err
			}
			cursors[i] = 0
		case n == 1:
			r, err := ix.Rebuild(ctx)
			if err != nil {
				return err
			}
			for i, k := range keys {
				if err := r.Apply(ctx, []chat.IndexChange{crashEvents(k, 1, cursors[i])}); err != nil {
					return err
				}
			}
			if err := r.Commit(ctx); err != nil {
				return err
			}
		default:
			var changes []chat.IndexChange
			first := rng.IntN(crashConvs)
			for i := first; i < crashConvs && i < first+3; i++ {
				to := cursors[i] + 1 + uint64(rng.IntN(20))
				changes = append(changes, crashEvents(keys[i], cursors[i]+1, to))
				cursors[i] = to
			}
			if err := ix.Apply(ctx, changes); err != nil {
				return err
			}
			for i := first; i < crashConvs && i < first+3; i++ {
				tell(i, cursors[i])
			}
		}
	}
}

// checkCrashed compares what a crash left with a model that was given the same events: all documents by their number, a
// third of the conversations by what is found there.
func checkCrashed(t *testing.T, dir string, acked []uint64, acks int) (documents int64) {
	t.Helper()
	ix := open(t, fts.Config{Dir: dir})
	keys := crashKeys()
	cursors, err := ix.Cursors(t.Context(), keys)
	must(t, err)
	model := searchtest.NewMemory()
	q := chat.IndexQuery{Tenant: "t"}
	for i, k := range keys {
		if cursors[i] < acked[i] {
			t.Errorf("conversation %d: %d acknowledged, cursor at %d", i, acked[i], cursors[i])
		}
		must(t, model.Apply(t.Context(), []chat.IndexChange{crashEvents(k, 1, cursors[i])}))
		q.Conversations = append(q.Conversations, k.ID)
	}
	// What a crash left of a conversation that ended goes with the next change.
	must(t, ix.Apply(t.Context(), nil))
	if documents, err = fts.Inspect(ix); err != nil || documents != model.Stats().Documents {
		t.Errorf("%d documents, %d in the model, %v", documents, model.Stats().Documents, err)
	}
	for i := range keys {
		if i%3 != acks%3 {
			continue
		}
		one := q
		one.Conversations = q.Conversations[i : i+1]
		for _, s := range []string{"apple", "banana cherry", "damson -elder", `"fig grape"`, "本語", "w1000"} {
			for offset := 0; ; offset += 50 {
				one.Text, one.Offset = s, offset
				want, err := model.Search(t.Context(), one)
				must(t, err)
				got, err := ix.Search(t.Context(), one)
				must(t, err)
				if fmt.Sprint(got.Hits) != fmt.Sprint(want.Hits) || got.More != want.More {
					t.Errorf("conversation %d, %q from %d: %d hits, want %d", i, s, offset, len(got.Hits), len(want.Hits))
				}
				if !want.More {
					break
				}
			}
		}
	}
	must(t, ix.Close())
	return documents
}

// TestKill9 kills a process that indexes, edits, deletes and rebuilds, again and again. HUB_CRASH_LOOPS says how often,
// default 5.
func TestKill9(t *testing.T) {
	loops := 5
	if n, err := strconv.Atoi(os.Getenv("HUB_CRASH_LOOPS")); err == nil {
		loops = n
	}
	dir := t.TempDir()
	acked := make([]uint64, crashConvs)
	rng := rand.New(rand.NewPCG(1, 0))
	acks, documents := 0, int64(0)
	for loop := range loops {
		acks += killOnce(t, dir, acked, 20+rng.IntN(150))
		documents = checkCrashed(t, dir, acked, acks)
		if t.Failed() {
			t.Fatalf("in loop %d", loop)
		}
	}
	t.Logf("%d loops, %d acknowledgements, %d documents at the end, logs at %v", loops, acks, documents, acked)
}

// killOnce starts a child, kills it after some acknowledgements, and notes all that it gave.
func killOnce(t *testing.T, dir string, acked []uint64, after int) (acks int) {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), crashChild+"="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	in := bufio.NewReader(out)
	for killed := false; ; {
		var b [9]byte
		if _, err := io.ReadFull(in, b[:]); err != nil {
			break
		}
		acks++
		acked[b[0]] = binary.BigEndian.Uint64(b[1:])
		if acks >= after && !killed {
			killed = true
			must(t, cmd.Process.Kill())
		}
	}
	_ = cmd.Process.Kill()
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != -1 || acks < after {
		t.Fatalf("the child was not killed: %v after %d acknowledgements: %s", err, acks, stderr.String())
	}
	return acks
}

var _ search.Index = (*fts.Index)(nil)
