package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"strings"
)

// MinAPIKey is the length of the shortest API key that is accepted, in bytes.
const MinAPIKey = 32

// APIKeys are the keys that open the administrative API. Only their hashes are kept. The zero value and nil
// accept nothing.
type APIKeys struct{ sums [][sha256.Size]byte }

// LoadAPIKeys reads keys from a file: one per line; empty lines and lines that begin with '#' do not count.
func LoadAPIKeys(path string) (*APIKeys, error) {
	b, err := readBounded(path)
	if err != nil {
		return nil, fmt.Errorf("auth: reading the API keys: %w", err)
	}
	var k APIKeys
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if len(line) < MinAPIKey {
			return nil, fmt.Errorf("auth: API key in line %d of %s: needs at least %d bytes", n, path, MinAPIKey)
		}
		k.sums = append(k.sums, sha256.Sum256([]byte(line)))
	}
	if len(k.sums) == 0 {
		return nil, fmt.Errorf("auth: no API key in %s", path)
	}
	return &k, nil
}

// Valid reports whether presented is one of the keys. The time that it takes depends on the length of
// presented and the number of keys alone.
func (k *APIKeys) Valid(presented string) bool {
	if k == nil {
		return false
	}
	sum := sha256.Sum256([]byte(presented))
	ok := 0
	for i := range k.sums {
		ok |= subtle.ConstantTimeCompare(sum[:], k.sums[i][:])
	}
	return ok == 1
}
