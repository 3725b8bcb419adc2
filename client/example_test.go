package client_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/coder/websocket"

	"github.com/zumodra/hub/client"
)

func Example() {
	hub := echo() // stands for `hub serve`
	defer hub.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	received := make(chan *client.MessageEvent, 1)
	c, err := client.New(client.Config{
		URL:         hub.URL,
		TokenSource: client.StaticToken("a token of the user"),
		Handler: func(e client.Event) {
			if m, ok := e.(*client.MessageEvent); ok {
				received <- m
			}
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	go c.Run(ctx)
	defer c.Close()

	m, err := c.Send(ctx, "0197a0c2-0000-7000-8000-000000000001", "hello") // returns when it is durable
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("stored as number", m.Seq)
	fmt.Println("delivered:", (<-received).Content)
	// Output:
	// stored as number 1
	// delivered: hello
}

// echo serves a hub of one conversation.
func echo() *httptest.Server {
	return serve(func(_ int, ws *websocket.Conn, r *http.Request) {
		for seq := 1; ; seq++ {
			f, err := readFrame(ws)
			if err != nil {
				return
			}
			_ = ws.Write(r.Context(), websocket.MessageText, fmt.Appendf(nil,
				`{"type":"message","id":"m%d","content":%q,"conversation_id":%q,"seq":%d,"client_id":%q,"ref":%q}`,
				seq, f.Content, f.Conversation, seq, f.ClientID, f.Ref))
		}
	})
}
