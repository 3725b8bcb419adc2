package s3

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// keyFiles is a credentials.Provider over two files, so that keys can be changed without a restart.
type keyFiles struct {
	access, secret string

	mu   sync.Mutex
	last credentials.Value
	read time.Time
}

const rereadKeys = time.Minute

// Retrieve implements credentials.Provider. Files that cannot be read now leave the keys that were read before.
func (k *keyFiles) Retrieve() (credentials.Value, error) {
	a, err := readKey(k.access)
	s, serr := readKey(k.secret)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err = errors.Join(err, serr); err != nil {
		if k.read.IsZero() {
			return credentials.Value{}, err
		}
	} else {
		k.last = credentials.Value{AccessKeyID: a, SecretAccessKey: s, SignerType: credentials.SignatureV4}
	}
	k.read = time.Now()
	return k.last, nil
}

// RetrieveWithCredContext implements credentials.Provider.
func (k *keyFiles) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	return k.Retrieve()
}

// IsExpired implements credentials.Provider.
func (k *keyFiles) IsExpired() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return time.Since(k.read) > rereadKeys
}

func readKey(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	key := strings.TrimSpace(string(b))
	if key == "" || strings.ContainsAny(key, "\n\r") {
		return "", fmt.Errorf("%s does not hold one key", file)
	}
	return key, nil
}
