package limit_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/bench/target"
	"github.com/zumodra/hub/bench/target/limit"
	"github.com/zumodra/hub/bench/vclient"
)

type handler struct {
	t  *limit.Target
	l  *vclient.Loop
	ch chan string
}

func (h *handler) Opened(id int32)            { _ = h.l.Write(id, h.t.Open(nil, int(id)), false) }
func (h *handler) Closed(id int32, err error) { h.ch <- fmt.Sprint(id, " closed ", err) }
func (h *handler) Frame(id int32, b []byte, _ time.Time) {
	if err := h.t.Parse(b, func(e *target.Event) { h.ch <- fmt.Sprintf("%d %d %s %s", id, e.Kind, e.Conversation, e.Key) }); err != nil {
		h.ch <- err.Error()
	}
}

func TestPassesOn(t *testing.T) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() {
		if err := limit.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	h := &handler{ch: make(chan string, 100)}
	if h.t, err = limit.New(limit.Config{URLs: []string{"http://" + l.Addr().String()}}); err != nil {
		t.Fatal(err)
	}
	if h.l, err = vclient.New(vclient.Config{Handler: h}); err != nil {
		t.Fatal(err)
	}
	running.Go(func() {
		if err := h.l.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	h.l.Do(func() {
		for id := range int32(4) {
			if err := h.l.Open(id, h.t.Endpoint(int(id), 0, 0)); err != nil {
				t.Error(err)
			}
		}
	})
	gather := func(n int) map[string]int {
		got := map[string]int{}
		for range n {
			select {
			case s := <-h.ch:
				got[s]++
			case <-time.After(time.Minute):
				t.Fatal("nothing came")
			}
		}
		return got
	}
	gather(4)
	ids, err := h.t.Prepare(ctx, target.World{Users: 4, Conversations: [][]int{{3, 1}, {0, 1, 2, 3}}})
	if err != nil || strings.Join(ids, " ") != "1,3 all" {
		t.Fatal(ids, err)
	}
	h.l.Do(func() {
		_ = h.l.Write(1, h.t.Send(nil, target.Message{Conversation: ids[0], Key: "k", Size: 300}), false)
	})
	if got := gather(2); got[fmt.Sprintf("1 %d 1,3 k", target.Msg)] != 1 || got[fmt.Sprintf("3 %d 1,3 k", target.Msg)] != 1 {
		t.Error(got)
	}
	h.l.Do(func() {
		h.l.Drop(2)
		_ = h.l.Write(0, h.t.Send(nil, target.Message{Conversation: ids[1], Key: "all.1", Size: 10}), false)
	})
	for s, n := range gather(3) {
		if n != 1 || !strings.HasSuffix(s, " all all.1") {
			t.Error(s, n)
		}
	}
	if _, err := h.t.Prepare(ctx, target.World{Users: 9000, Conversations: [][]int{make([]int, 5000)}}); err == nil {
		t.Error("a conversation of some thousands is not named")
	}
}
