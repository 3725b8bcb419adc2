package conversation_test

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/actors/conversation"
	"github.com/zumodra/hub/chat"
)

var update = flag.Bool("update", false, "rewrite the expected lines of testdata/*.txt")

// TestPlays runs the plays of testdata. A line is an input; the indented lines below it are everything the
// state did in answer: "->" an answer, "=>" a delivery, ".." an effect that waits.
func TestPlays(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no plays: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld()
			var got []string
			for line := range strings.Lines(string(text)) {
				line = strings.TrimRight(line, "\n")
				if strings.HasPrefix(line, "  ") {
					continue
				}
				got = append(got, line)
				if line == "" || line[0] == '#' {
					continue
				}
				w.trace = nil
				if !w.act(strings.Fields(line)) {
					t.Fatalf("%s: do not know %q", name, line)
				}
				for _, s := range w.trace {
					got = append(got, "  "+s)
				}
			}
			out := strings.Join(got, "\n") + "\n"
			if *update {
				if err := os.WriteFile(name, []byte(out), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if out != string(text) {
				t.Fatalf("%s plays differently:\n%s", name, out)
			}
		})
	}
}

func users(args []string) (out []chat.UserID) {
	for _, a := range args {
		out = append(out, chat.UserID(a))
	}
	return out
}

// message is the id of the message at a seq, or one that no message has.
func (w *world) message(seq string) chat.MessageID {
	n, _ := strconv.Atoi(seq)
	if log := w.store.Log(w.key); n > 0 && n <= len(log) && log[n-1].IsMessage() {
		return log[n-1].Message
	}
	return chat.NewMessageID(w.key, uint64(n), w.now)
}

func (w *world) act(f []string) bool {
	arg := func(i int) string {
		if i < len(f) {
			return f[i]
		}
		return ""
	}
	num := func(i int) uint64 { n, _ := strconv.ParseUint(arg(i), 10, 64); return n }
	u := chat.UserID(arg(1))
	id := w.key.ID
	switch f[0] {
	case "create":
		kind := chat.Group
		if f[1] == "direct" {
			kind = chat.Direct
		}
		w.submit(chat.UserID(f[2]), chat.Create{Conversation: id, Kind: kind, Title: "title", Members: users(f[3:])})
	case "send":
		cid := arg(2)
		if cid == "-" {
			cid = ""
		}
		w.submit(u, chat.Send{Conversation: id, ClientID: cid, Content: strings.Join(f[min(3, len(f)):], " ")})
	case "attach":
		w.submit(u, chat.Attach{Conversation: id, Join: arg(2) == "join"})
	case "bar":
		w.barred = conversation.Bar{Conversation: id, On: arg(2) == "on", Version: num(3)}
		w.submit(u, w.barred)
	case "resume":
		w.submit(u, chat.Resume{Conversation: id, LastSeq: num(2), Limit: int(num(3))})
	case "read":
		c := chat.MarkRead{Conversation: id, Private: arg(3) == "private"}
		if strings.HasPrefix(arg(2), "@") {
			c.Message = w.message(arg(2)[1:])
		} else {
			c.Seq = num(2)
		}
		w.submit(u, c)
	case "delivered":
		w.submit(u, chat.MarkDelivered{Conversation: id, Seq: num(2), Private: arg(3) == "private"})
	case "edit":
		w.submit(u, chat.Edit{Conversation: id, Message: w.message(arg(2)), Content: strings.Join(f[3:], " ")})
	case "delete":
		w.submit(u, chat.Delete{Conversation: id, Message: w.message(arg(2))})
	case "react":
		w.submit(u, chat.React{Conversation: id, Message: w.message(arg(2)), Emoji: arg(3), Remove: arg(4) == "off"})
	case "typing":
		w.submit(u, chat.Typing{Conversation: id, On: arg(2) == "on"})
	case "add":
		w.submit(u, chat.AddMembers{Conversation: id, Users: users(f[2:])})
	case "remove":
		w.submit(u, chat.RemoveMembers{Conversation: id, Users: users(f[2:])})
	case "leave":
		w.submit(u, chat.Leave{Conversation: id})
	case "rename":
		w.submit(u, chat.Rename{Conversation: id, Title: arg(2)})
	case "role":
		role, _ := chat.ParseRole(arg(3))
		w.submit(u, chat.SetRole{Conversation: id, User: chat.UserID(arg(2)), Role: role})
	case "archive":
		w.submit(u, chat.Archive{Conversation: id, On: arg(2) == "on"})

	case "hide":
		w.submit(u, chat.Hide{Conversation: id, Message: w.message(arg(2))})
	case "mute":
		c := chat.Mute{Conversation: id}
		switch arg(2) {
		case "on":
			c.Until = chat.Forever
		case "off":
		default:
			d, err := time.ParseDuration(arg(2))
			if err != nil {
				return false
			}
			c.Until = w.now.Add(d)
		}
		w.submit(u, c)
	case "pin":
		w.submit(u, chat.PinConversation{Conversation: id, On: arg(2) == "on"})
	case "preview":
		w.submit(u, chat.Preview{Conversation: id, Message: w.message(arg(2)), Preview: chat.LinkPreview{URL: arg(3), Title: arg(4)}})
	case "draft":
		c := chat.SetDraft{Conversation: id, Text: strings.Join(f[min(3, len(f)):], " ")}
		if arg(2) != "-" {
			c.ReplyTo = w.message(arg(2))
		}
		w.submit(u, c)

	case "named": // the size of groups whose readers are named
		w.rules.NamedReaders = int(num(1))
	case "loads":
		return w.finishLoad(nil)
	case "commits":
		return w.commit(nil)
	case "refuses":
		return w.commit(errRefused)
	case "writes":
		return w.finishWrite(nil)
	case "reads":
		return w.finishRead()
	case "looks":
		w.look()
	case "settles":
		w.settle()
	case "flush":
		w.step(conversation.Flush{})
	case "wait":
		d, err := time.ParseDuration(arg(1))
		if err != nil {
			return false
		}
		w.tick(d)
	case "crash":
		w.crash(arg(1) == "appended" || arg(2) == "appended", arg(1) == "written" || arg(2) == "written")
	case "abort":
		w.step(conversation.Abort{Err: chat.ErrShutdown})
	default:
		return false
	}
	return true
}
