package check

import (
	"reflect"
	"testing"
	"time"
)

// FuzzOps: whatever the bytes are, decoding ends, and what was decoded is encoded and decoded to the same.
func FuzzOps(f *testing.F) {
	var all []byte
	for k := opConversation; k < opEnd; k++ {
		all = appendOp(all, &op{kind: k, conv: 1, who: "who", user: "user", key: "key", id: "id", seq: 300, to: 7, at: -5, end: 1 << 40,
			entries: []Entry{{Seq: 9, ID: "a", Key: "b"}, {Seq: 3}}})
	}
	f.Add(string(all))
	f.Add("\x02")
	f.Add("\x0a\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
	f.Fuzz(func(t *testing.T, b string) {
		d := decoder{rest: b}
		var o op
		for n := len(b); d.next(&o); n = len(d.rest) {
			if len(d.rest) >= n {
				t.Fatal("it does not go on")
			}
			again := decoder{rest: string(appendOp(nil, &o))}
			var p op
			if !again.next(&p) || again.rest != "" || !reflect.DeepEqual(o, p) {
				t.Fatalf("%+v became %+v, %v", o, p, again.err)
			}
		}
		if d.err == nil && d.rest != "" {
			t.Fatal("it stopped without an error")
		}
	})
}

// FuzzTrial gives what decodes to the judge, which must bear everything: records come from other machines.
func FuzzTrial(f *testing.F) {
	name := "c"
	all := appendOp(nil, &op{kind: opConversation, id: name})
	for k := opSent; k < opEnd; k++ {
		all = appendOp(all, &op{kind: k, who: "who", user: "user", key: "key", id: "id", seq: 3, to: 7, at: 5, end: 9, entries: []Entry{{Seq: 3, ID: "id", Key: "key"}}})
	}
	f.Add(string(all))
	f.Fuzz(func(t *testing.T, b string) {
		s := []*source{{
			shard: func(i int) (string, error) {
				if i == shardOf(name) {
					return b, nil
				}
				return "", nil
			},
			end: func() (trailer, error) { return trailer{}, nil },
		}}
		r, err := judge(Linear{Operations: 20, Timeout: time.Second}, s)
		if err == nil {
			_ = r.String()
		}
	})
}

// TestConversationsAreInTheirShard: a record that puts one elsewhere would keep what belongs together apart.
func TestConversationsAreInTheirShard(t *testing.T) {
	b := string(appendOp(nil, &op{kind: opConversation, id: "c"}))
	for i := range shards {
		if err := load(map[string]*trial{}, []*source{{}}, 0, b, i); (err == nil) != (i == shardOf("c")) {
			t.Errorf("shard %d: %v", i, err)
		}
	}
}
