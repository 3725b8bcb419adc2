package membership

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
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
		keys = append(keys, key)
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("reading the keys of gossip: %w", err)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s holds no key: one a line, 16, 24 or 32 bytes in base64", file)
	}
	return keys, nil
}

// rotate makes the ring hold these keys, of which the first encrypts.
func rotate(ring *memberlist.Keyring, keys [][]byte) error {
	for _, k := range keys {
		if err := ring.AddKey(k); err != nil {
			return err
		}
	}
	if err := ring.UseKey(keys[0]); err != nil {
		return err
	}
	for _, old := range ring.GetKeys() {
		kept := false
		for _, k := range keys {
			kept = kept || bytes.Equal(k, old)
		}
		if !kept {
			if err := ring.RemoveKey(old); err != nil {
				return err
			}
		}
	}
	return nil
}
