package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/zumodra/hub/chat"
)

// Sum is the SHA-256 of content.
type Sum [sha256.Size]byte

// String returns 64 lower-case hex digits.
func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// ParseSum reads what String wrote, and nothing else.
func ParseSum(s string) (sum Sum, err error) {
	if len(s) != 2*len(sum) || strings.ToLower(s) != s {
		return sum, fmt.Errorf("blob: %q is not 64 lower-case hex digits", s)
	}
	if _, err := hex.Decode(sum[:], []byte(s)); err != nil {
		return Sum{}, fmt.Errorf("blob: %q is not 64 lower-case hex digits", s)
	}
	return sum, nil
}

// Key names a blob. Generation tells apart copies of the same content, of which one is being removed: see Library.
// Nearly all blobs are of generation 0.
type Key struct {
	Tenant     chat.TenantID
	Sum        Sum
	Generation uint64
}

// String is for logs and errors.
func (k Key) String() string { return string(k.Tenant) + "/" + k.Name() }

// Name is the key without its tenant: the hash, followed by a dot and the generation if that is not 0.
func (k Key) Name() string {
	if k.Generation == 0 {
		return k.Sum.String()
	}
	return k.Sum.String() + "." + strconv.FormatUint(k.Generation, 10)
}

// Folder is the tenant in hexadecimal digits: reversible, the same on file systems that fold case, and never "..".
func (k Key) Folder() string { return hex.EncodeToString([]byte(k.Tenant)) }

// ParseKey reads a key from what Folder and Name wrote, and nothing else.
func ParseKey(folder, name string) (k Key, err error) {
	b, err := hex.DecodeString(folder)
	if err == nil && len(b) > 0 {
		k.Tenant, err = chat.ParseTenantID(string(b))
	}
	if err != nil || k.Tenant == "" || k.Folder() != folder {
		return Key{}, fmt.Errorf("blob: %q is not a tenant in hex digits", folder)
	}
	sum, generation, dotted := strings.Cut(name, ".")
	if k.Sum, err = ParseSum(sum); err != nil {
		return Key{}, err
	}
	if dotted {
		if k.Generation, err = strconv.ParseUint(generation, 10, 63); err != nil || k.Name() != name {
			return Key{}, fmt.Errorf("blob: %q does not end in a generation", name)
		}
	}
	return k, nil
}

// Info describes a stored blob.
type Info struct {
	Key    Key
	Size   int64
	Stored time.Time // by the clock of the machine that stores; at least as new as the last Publish that wrote it
}

// MaxSize is the largest blob that any store takes: the most that S3 copies in one step.
const MaxSize = 5 << 30

// Store keeps blobs. Implementations are safe for concurrent use and pass blobtest. Errors wrap those below, those of
// the context, or what the given reader answered.
type Store interface {
	// Stage reads r to its end and keeps what it read aside, hashed, for Publish. It answers ErrTooLarge as soon as
	// there are more than limit bytes (0 or more than MaxSize: MaxSize), and the error of r. Nothing can be seen of
	// it but by Clean. It waits for room when too many uploads are under way.
	Stage(ctx context.Context, tenant chat.TenantID, r io.Reader, limit int64) (Staged, error)
	// Stat answers ErrNotFound if there is no such blob.
	Stat(ctx context.Context, key Key) (Info, error)
	// Open answers a reader at the blob's beginning, or ErrNotFound. ctx ends all reads. Content is not checked
	// against its hash: Verify does that.
	Open(ctx context.Context, key Key) (Reader, error)
	// Delete removes a blob; one that is not there is fine. Readers that are open may fail or go on.
	Delete(ctx context.Context, key Key) error
	// List calls yield for every blob of all tenants in any order until it returns false. Blobs that come and go
	// meanwhile may be missing.
	List(ctx context.Context, yield func(Info) bool) error
	// Clean removes what uploads that were begun before that time left behind, and counts it.
	Clean(ctx context.Context, before time.Time) (int, error)
	// Health reports whether blobs can be stored now, with a reason fit for an operator.
	Health(ctx context.Context) error
	// Close waits for nothing; operations after it answer ErrClosed.
	Close() error
}

// Staged is content that was read and is not visible yet. It is used by one goroutine.
type Staged interface {
	Sum() Sum
	Size() int64
	// Publish makes the content visible under its hash and the generation. When it returns, that survives a crash of
	// the machine. If it is there already nothing is written. It may be called again, with another generation.
	Publish(ctx context.Context, generation uint64) (Info, error)
	// Discard gives up what was kept aside. It is called once, after Publish or instead of it.
	Discard()
}

// Reader reads a blob from any place. It is used by one goroutine. Errors other than io.EOF wrap ErrUnavailable,
// ErrNotFound or that of the context.
type Reader interface {
	io.ReadSeekCloser
	Info() Info
}

// Presigner is implemented by stores that clients can read from by themselves.
type Presigner interface {
	// PresignGet returns a URL that reads the blob until ttl (1 second to 7 days) has passed. Type and disposition,
	// if not empty, become the Content-Type and Content-Disposition of the answer. It does not look whether there is
	// such a blob.
	PresignGet(ctx context.Context, key Key, ttl time.Duration, contentType, disposition string) (string, error)
}

var (
	// ErrNotFound reports that there is no such blob.
	ErrNotFound = errors.New("blob: not found")
	// ErrTooLarge reports more content than the limit.
	ErrTooLarge = errors.New("blob: too large")
	// ErrUnavailable reports that the store cannot be used now. Trying again may help.
	ErrUnavailable = errors.New("blob: store unavailable")
	// ErrNoSpace reports that the store is full. It comes with ErrUnavailable.
	ErrNoSpace = errors.New("blob: no space left")
	// ErrCorrupt reports content that does not match its hash or size.
	ErrCorrupt = errors.New("blob: corrupt")
	// ErrClosed reports use after Close.
	ErrClosed = errors.New("blob: closed")
)

// Verify reads a whole blob and answers ErrCorrupt if it is not what its name says.
func Verify(ctx context.Context, s Store, key Key) error {
	r, err := s.Open(ctx, key)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // nothing was written
	h := sha256.New()
	n, err := io.Copy(h, r)
	switch {
	case err != nil:
		return fmt.Errorf("verify blob %s: %w", key, err)
	case n != r.Info().Size:
		return fmt.Errorf("verify blob %s: %w: %d bytes of %d", key, ErrCorrupt, n, r.Info().Size)
	case Sum(h.Sum(nil)) != key.Sum:
		return fmt.Errorf("verify blob %s: %w: the content has another hash", key, ErrCorrupt)
	}
	return nil
}

// OpenRange reads length bytes from offset on, fewer at the blob's end; length < 0: to the end.
func OpenRange(ctx context.Context, s Store, key Key, offset, length int64) (io.ReadCloser, error) {
	if offset < 0 {
		return nil, fmt.Errorf("open blob %s: offset %d is negative", key, offset)
	}
	r, err := s.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	if _, err := r.Seek(offset, io.SeekStart); err != nil {
		_ = r.Close() // the seek's error counts
		return nil, err
	}
	if length < 0 {
		return r, nil
	}
	return &limited{io.LimitReader(r, length), r}, nil
}

type limited struct {
	io.Reader
	io.Closer
}

// Limit is what Stage makes of a limit.
func Limit(limit int64) int64 {
	if limit <= 0 || limit > MaxSize {
		return MaxSize
	}
	return limit
}

// TooLarge is the error of content beyond a limit.
func TooLarge(limit int64) error { return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit) }

// Fill reads until buf is full (nil), r is at its end (io.EOF, with what there was) or fails. Other than io.ReadFull
// it tells a short end from a stream that was cut off, which net/http reports as io.ErrUnexpectedEOF.
func Fill(ctx context.Context, r io.Reader, buf []byte) (n int, err error) {
	for idle := 0; n < len(buf) && err == nil; {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		var m int
		m, err = r.Read(buf[n:])
		n += m
		if m > 0 {
			idle = 0
		} else if idle++; idle == 100 && err == nil {
			err = io.ErrNoProgress
		}
	}
	if n == len(buf) && errors.Is(err, io.EOF) {
		err = nil // said again by the next read
	}
	return n, err
}
