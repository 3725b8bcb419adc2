package main

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/zumodra/hub/bench/vclient"
)

// A slot's frame is what encoding its message anew would give, whatever the counter, and its slot is found in the
// client id that comes back.
func TestSlots(t *testing.T) {
	for _, pad := range []string{"", "x", "xy", "xyz"} {
		text := sendText("c", "run"+pad, string(payload(128)))
		for i, sent := range []int{0, 1, 7, 42, 999_999} {
			s, err := newSlot(text, i)
			if err != nil {
				t.Fatal(err)
			}
			putDigits(s.digits, sent, s.mask)
			id := fmt.Sprintf("%06d-%08d", i, sent)
			want := bytes.ReplaceAll([]byte(text), []byte("{n}"), []byte(id))
			if !bytes.Equal(s.frame, vclient.AppendText(nil, mask, want)) {
				t.Fatalf("slot %d, message %d: another frame", i, sent)
			}
			back := `{"type":"message","content":"x","client_id":"run` + pad + `-` + id + `"}`
			if got := slotOf([]byte(back)); got != i {
				t.Fatalf("slot %d came back as %d", i, got)
			}
		}
	}
	for _, bad := range []string{"", `{"client_id":"`, `{"client_id":"short"}`, `{"client_id":"run-x00001-00000001"}`} {
		if got := slotOf([]byte(bad)); got != -1 {
			t.Errorf("%q has slot %d", bad, got)
		}
	}
	if _, err := newSlot("{}", 0); err == nil {
		t.Error("a payload without a counter is taken")
	}
}
