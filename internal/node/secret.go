package node

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// DevSecretFile is the token secret that `serve --dev` makes in its data directory.
const DevSecretFile = "auth-secret"

const minSecret = 32

// ReadSecret reads an HS256 secret: the file's content without surrounding white space, at least 32 bytes.
func ReadSecret(file string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading token secret: %w", err)
	}
	b = bytes.TrimSpace(b)
	if len(b) < minSecret {
		return nil, fmt.Errorf("token secret in %s has %d bytes; at least %d are needed (openssl rand -base64 32)", file, len(b), minSecret)
	}
	return b, nil
}

// DevSecret returns the secret of a development server's data directory, making it first if needed. Several
// processes may call it at once: the first to link its file wins.
func DevSecret(dir string) ([]byte, error) {
	file := filepath.Join(dir, DevSecretFile)
	if b, err := ReadSecret(file); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making data directory: %w", err)
	}
	raw := make([]byte, 48)
	if _, err := rand.Read(raw); err != nil {
		return nil, fmt.Errorf("making token secret: %w", err)
	}
	tmp, err := os.CreateTemp(dir, DevSecretFile+"-*")
	if err != nil {
		return nil, fmt.Errorf("making token secret: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(base64.StdEncoding.EncodeToString(raw) + "\n")
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return nil, fmt.Errorf("writing token secret: %w", err)
	}
	if err := os.Link(tmp.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("writing token secret: %w", err)
	}
	return ReadSecret(file)
}
