package membership

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/memberlist"
)

// readKeys reads the keys of a file, one a line; empty lines and those that begin with # are passed over.
func readKeys(file string) (keys [][]byte, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the keys of gossip: %w", err)
	}
	s := bufio.NewScanner(bytes.NewReader(b))
	for line := 1; s.Scan(); line++ {
		text := strings.TrimSpace(s.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(text)
		if err == nil {
			err = memberlist.ValidateKey(key)
		}
		if err != nil { // without the line itself, which may be a key but for a letter
			return nil, fmt.Errorf("%s, line %d: not 16, 24 or 32 bytes in base64", file, line)
		}
		if !slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) }) {
			keys = append(keys, key)
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("reading the keys of gossip: %w", err)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s holds no key: one a line, 16, 24 or 32 bytes in base64", file)
	}
	return keys, nil
}

// rotate makes the ring hold these keys, of which the first encrypts. It reports whether it did not already.
//
// RemoveKey moves keys within an array that others may be reading; only the last can be removed without that. So the new
// keys are put before the old ones first, by making each the primary one in turn.
func rotate(ring *memberlist.Keyring, keys [][]byte) (changed bool, err error) {
	if slices.EqualFunc(ring.GetKeys(), keys, bytes.Equal) {
		return false, nil
	}
	for _, k := range keys {
		if err := ring.AddKey(k); err != nil {
			return true, err
		}
	}
	for _, k := range slices.Backward(keys) {
		if err := ring.UseKey(k); err != nil {
			return true, err
		}
	}
	for {
		have := ring.GetKeys()
		if len(have) <= len(keys) {
			return true, nil
		}
		if err := ring.RemoveKey(have[len(have)-1]); err != nil {
			return true, err
		}
	}
}
