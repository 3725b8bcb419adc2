package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/go-jose/go-jose/v4"
)

// MinSecret is the length of the shortest HS256 secret that is accepted, in bytes (RFC 7518 §3.2).
const MinSecret = 32

const (
	minRSABits = 2048
	maxKeyFile = 1 << 20
)

// key is one verification key and the only algorithm that it may be used with.
type key struct {
	id       string
	alg      jose.SignatureAlgorithm
	material any
}

// publicKey pairs a public key with its algorithm. It never accepts a symmetric key.
func publicKey(material any) (key, error) {
	switch k := material.(type) {
	case *rsa.PublicKey:
		if k == nil || k.N == nil || k.N.BitLen() < minRSABits {
			return key{}, fmt.Errorf("an RSA key needs at least %d bits", minRSABits)
		}
		return key{alg: jose.RS256, material: k}, nil
	case *ecdsa.PublicKey:
		if k == nil || k.Curve != elliptic.P256() {
			return key{}, errors.New("of elliptic curves only P-256 (ES256) is supported")
		}
		return key{alg: jose.ES256, material: k}, nil
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return key{}, errors.New("not an Ed25519 key")
		}
		return key{alg: jose.EdDSA, material: k}, nil
	}
	return key{}, errors.New("the kind of key is not supported (RSA, P-256 and Ed25519 public keys are)")
}

func checkSecret(s []byte) error {
	if len(s) < MinSecret {
		return fmt.Errorf("auth: an HS256 secret needs at least %d bytes, this one has %d", MinSecret, len(s))
	}
	return nil
}

// LoadSecret reads an HS256 secret from a file. One final line ending is not part of it.
func LoadSecret(path string) ([]byte, error) {
	b, err := readBounded(path)
	if err != nil {
		return nil, fmt.Errorf("auth: reading the secret: %w", err)
	}
	b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	if err := checkSecret(b); err != nil {
		return nil, fmt.Errorf("%w (%s)", err, path)
	}
	return b, nil
}

// EnsureSecret is LoadSecret, but makes a random secret, readable by its owner only, if the file does not exist.
// Several processes may do so at once, and any may die at any point: the file appears whole or not at all, and
// the first to link it wins.
func EnsureSecret(path string) ([]byte, error) {
	if s, err := LoadSecret(path); err == nil || !errors.Is(err, os.ErrNotExist) {
		return s, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("auth: creating the secret: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return nil, fmt.Errorf("auth: creating the secret: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand since Go 1.24)
	_, err = f.WriteString(hex.EncodeToString(b[:]) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, fmt.Errorf("auth: creating the secret: %w", err)
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("auth: creating the secret: %w", err)
	}
	return LoadSecret(path)
}

func loadPublicKeys(path string) ([]key, error) {
	b, err := readBounded(path)
	if err != nil {
		return nil, fmt.Errorf("auth: reading the public key: %w", err)
	}
	var keys []key
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		var material any
		switch block.Type {
		case "PUBLIC KEY":
			material, err = x509.ParsePKIXPublicKey(block.Bytes)
		case "RSA PUBLIC KEY":
			material, err = x509.ParsePKCS1PublicKey(block.Bytes)
		case "CERTIFICATE":
			var c *x509.Certificate
			if c, err = x509.ParseCertificate(block.Bytes); err == nil {
				material = c.PublicKey
			}
		default:
			err = errors.New("the PEM block is not a public key")
		}
		if err != nil {
			return nil, fmt.Errorf("auth: public key %s: %w", path, err)
		}
		k, err := publicKey(material)
		if err != nil {
			return nil, fmt.Errorf("auth: public key %s: %w", path, err)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("auth: public key %s: no PEM block in the file", path)
	}
	return keys, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxKeyFile {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, maxKeyFile)
	}
	return b, nil
}
