package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
)

// scopedList is in how many conversations the user who searches is. As many others hold messages that must not be found.
const scopedList = 2000

// measureScoped asks the whole hub, over REST, for messages in all conversations of a user who is in many: what the index
// alone takes of that, search says.
func measureScoped(o options) (*report, error) {
	b, err := newBench(o)
	if err != nil {
		return nil, err
	}
	defer b.end()
	if b.hub == "joined" {
		b.hub = "" // those layers have no index
	}
	if o.messages == 0 {
		o.messages = 200_000
	}
	if o.conns == 0 {
		o.conns = scopedList
	}
	if o.queries == 0 {
		o.queries = 100
	}
	r := &report{Title: fmt.Sprintf("search over REST by a user in %d conversations, who may see half of %d messages", o.conns, o.messages), Unit: "ms"}
	data := filepath.Join(b.dir, "data")
	c := newCorpus(searchSetup{docs: o.messages, convs: 2 * o.conns})
	if err := c.store(filepath.Join(data, "store"), o.conns); err != nil {
		return nil, fmt.Errorf("loading: %w", err)
	}
	h, err := b.startHub(anyCPU, "--data", data)
	if err != nil {
		return nil, err
	}
	if err := h.indexed(c.each()*c.convs, 5*time.Minute); err != nil {
		return nil, err
	}
	token, err := h.token(0)
	if err != nil {
		return nil, err
	}
	t := &target{name: "hub", server: h, hub: h}
	for round := -1; round < o.runs; round++ {
		var all []float64
		var total float64
		for _, k := range searchKinds {
			if err := t.settled(); err != nil {
				return nil, err
			}
			var ms []float64
			used, err := t.clocked(func() error {
				for range o.queries {
					at := time.Now()
					var out struct {
						Data struct {
							Count int `json:"count"`
						} `json:"data"`
					}
					if err := h.get(token, "/api/v1/messages/messages/search/?q="+url.QueryEscape(k.ask(c)), &out); err != nil {
						return err
					}
					ms = append(ms, time.Since(at).Seconds()*1e3)
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
			all, total = append(all, ms...), total+used
			if round < 0 {
				continue
			}
			x := r.row(k.name, "")
			x.Target = 100
			x.add(summarise(ms).P99)
			x.Extra = fmt.Sprintf("p50 %.1f; CPU of the hub %.1f a query", summarise(ms).P50, used/float64(len(ms))*1e3)
		}
		if round < 0 {
			continue
		}
		sum := summarise(all)
		r.row("any query, p50", "").add(sum.P50)
		p99 := r.row("any query, p99", "")
		p99.Target = 100
		p99.add(sum.P99)
		r.row("any query, CPU of the hub", "").add(total / float64(len(all)) * 1e3)
	}
	r.note("rows of kinds: the p99 of each round; none of the conversations is in the hub's memory; one query at a time")
	return r, nil
}

// store writes the messages of a corpus, and to whom the conversations belong: the first to user 0, the others to user 1.
func (c *corpus) store(dir string, first int) error {
	e, s, err := openStore(dir)
	if err != nil {
		return err
	}
	return errors.Join(c.storeIn(s, first), e.Close())
}

// each is how many messages every conversation has.
func (c *corpus) each() int { return max(1, c.docs/c.convs) }

func (c *corpus) storeIn(s *storage.Store, first int) error {
	ctx := context.Background()
	for i := range c.convs {
		conv := storedConversation{key: c.key(i), owner: i / first, last: uint64(c.each()) + 1}
		owner := chat.UserID(fmt.Sprint(userID(conv.owner)))
		at := c.began.Add(time.Duration(i) * time.Second)
		events := []chat.Event{{Seq: 1, Epoch: 1, Type: chat.EventConversation, At: at, Actor: owner, Change: chat.ChangeCreated,
			Users: []chat.UserID{owner}, Kind: chat.Group, Name: "bench"}}
		for n := range uint64(c.each()) {
			ev := message(conv.key, n+2)
			ev.MsgNo, ev.Actor, ev.Content = n+1, owner, c.text()
			events = append(events, ev)
		}
		if err := s.MarkDirty(ctx, conv.key); err != nil {
			return err
		}
		if err := s.AppendEvents(ctx, conv.key, events); err != nil {
			return err
		}
		if err := saveConversation(s, &conv, conv.owner+2); err != nil {
			return err
		}
	}
	return nil
}

// indexed waits until the search index holds so many messages.
func (h *hub) indexed(messages int, timeout time.Duration) error {
	const name = "\nhub_search_index_documents "
	for end := time.Now().Add(timeout); ; time.Sleep(200 * time.Millisecond) {
		page, err := h.adminGet("/metrics")
		if err != nil {
			return err
		}
		_, after, found := strings.Cut(string(page), name)
		value, _, _ := strings.Cut(after, "\n")
		n, err := strconv.ParseFloat(value, 64)
		switch {
		case !found || err != nil:
			return fmt.Errorf("the metrics do not say how many messages the index has: %w", err)
		case int(n) >= messages:
			return nil
		case time.Now().After(end):
			return fmt.Errorf("the index has %.0f of %d messages", n, messages)
		}
	}
}
