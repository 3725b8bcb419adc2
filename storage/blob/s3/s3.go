package s3

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/zumodra/hub/storage/blob"
)

// Config of a Store. Endpoint, Bucket and credentials are required.
type Config struct {
	Endpoint string // URL: https://s3.eu-central-1.amazonaws.com, http://127.0.0.1:9000
	Bucket   string // must exist
	Region   string // default us-east-1
	Prefix   string // of all object names, such as "hub/"
	// PathStyle puts the bucket into the path instead of the host name, as most servers other than S3's own want it.
	PathStyle bool

	// AccessKeyFile and SecretKeyFile hold one key each; they are read again every minute. Without them the
	// environment is asked: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN.
	AccessKeyFile, SecretKeyFile string

	Uploads int           // under way at once, each holding up to 5 MiB of memory; default 32
	TLS     *tls.Config   // default: the system's roots, TLS 1.2 or newer
	Timeout time.Duration // for connecting, and for the server to begin its answer; default 30 seconds
	Retries int           // of one request, by the client library; default 3
}

// partSize is the smallest that S3 allows, which makes the longest upload (10,000 parts) 48.8 GiB.
const partSize = 5 << 20

// Store implements blob.Store and blob.Presigner over a bucket.
type Store struct {
	cfg       Config
	core      minio.Core
	transport *http.Transport
	slots     chan struct{}
	parts     sync.Pool // *[partSize]byte
	closed    atomic.Bool
	writable  atomic.Bool // a write succeeded since the last failure of Health
}

// Open checks the configuration. It does not talk to the server: Health does.
func Open(cfg Config) (*Store, error) {
	u, err := url.Parse(cfg.Endpoint)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" || u.User != nil || u.RawQuery != "":
		return nil, fmt.Errorf("blob/s3: endpoint %q is not a URL such as https://s3.example.com", cfg.Endpoint)
	case cfg.Bucket == "":
		return nil, errors.New("blob/s3: no bucket given")
	case (cfg.AccessKeyFile == "") != (cfg.SecretKeyFile == ""):
		return nil, errors.New("blob/s3: the files of the access key and of the secret key go together")
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.Uploads <= 0 {
		cfg.Uploads = 32
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.Retries <= 0 {
		cfg.Retries = 3
	}
	if cfg.Prefix = strings.TrimPrefix(cfg.Prefix, "/"); cfg.Prefix != "" && !strings.HasSuffix(cfg.Prefix, "/") {
		cfg.Prefix += "/"
	}
	creds, err := cfg.credentials()
	if err != nil {
		return nil, fmt.Errorf("blob/s3: %w", err)
	}
	tr := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: cfg.Timeout, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:   cfg.Timeout,
		ResponseHeaderTimeout: cfg.Timeout,
		MaxIdleConns:          cfg.Uploads, MaxIdleConnsPerHost: cfg.Uploads, IdleConnTimeout: time.Minute,
		DisableCompression: true, // content comes as it is stored
		TLSClientConfig:    cfg.TLS,
	}
	if tr.TLSClientConfig == nil {
		tr.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	lookup := minio.BucketLookupDNS
	if cfg.PathStyle {
		lookup = minio.BucketLookupPath
	}
	core, err := minio.NewCore(u.Host, &minio.Options{Creds: creds, Secure: u.Scheme == "https", Transport: tr,
		Region: cfg.Region, BucketLookup: lookup, MaxRetries: cfg.Retries})
	if err != nil {
		return nil, fmt.Errorf("blob/s3: %w", err)
	}
	return &Store{cfg: cfg, core: *core, transport: tr, slots: make(chan struct{}, cfg.Uploads),
		parts: sync.Pool{New: func() any { return new([partSize]byte) }}}, nil
}

func (c *Config) credentials() (*credentials.Credentials, error) {
	if c.AccessKeyFile == "" {
		p := &credentials.EnvAWS{}
		if v, err := p.RetrieveWithCredContext(nil); err != nil || v.AccessKeyID == "" || v.SecretAccessKey == "" {
			return nil, errors.New("no credentials: name files with the access key and the secret key, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
		}
		return credentials.New(p), nil
	}
	p := &keyFiles{access: c.AccessKeyFile, secret: c.SecretKeyFile}
	if _, err := p.Retrieve(); err != nil {
		return nil, err
	}
	return credentials.New(p), nil
}

func (s *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return blob.ErrClosed
	}
	return nil
}

func (s *Store) object(k blob.Key) string {
	return s.cfg.Prefix + path.Join("blobs", k.Folder(), k.Name())
}

func (s *Store) temporary() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return s.cfg.Prefix + "tmp/" + hex.EncodeToString(b[:])
}

// failed maps what the server, or the way to it, answered.
func (s *Store) failed(ctx context.Context, err error, doing string, what fmt.Stringer) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", doing, what, ctx.Err())
	}
	r := minio.ToErrorResponse(err)
	switch r.Code {
	case minio.NoSuchKey:
		return fmt.Errorf("%s %s: %w", doing, what, blob.ErrNotFound)
	case minio.NoSuchBucket:
		err = fmt.Errorf("there is no bucket %q at %s: create it, or name another: %w", s.cfg.Bucket, s.cfg.Endpoint, err)
	case minio.AccessDenied, "InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthorizationHeaderMalformed":
		err = fmt.Errorf("%s does not accept the keys (or region %s) for bucket %q: %w", s.cfg.Endpoint, s.cfg.Region, s.cfg.Bucket, err)
	case "RequestTimeTooSkewed":
		err = fmt.Errorf("the clock of this machine or of %s is wrong: %w", s.cfg.Endpoint, err)
	case "XMinioStorageFull", "QuotaExceeded", "InsufficientStorage":
		err = fmt.Errorf("%w: %w", blob.ErrNoSpace, err)
	case "XAmzContentSHA256Mismatch", "BadDigest", "InvalidDigest", "IncompleteBody":
		return fmt.Errorf("%s %s: %w: %w: damaged on the way: %w", doing, what, blob.ErrUnavailable, blob.ErrCorrupt, err)
	}
	return fmt.Errorf("%s %s: %w: %w", doing, what, blob.ErrUnavailable, err)
}

type bucket struct{ s *Store }

func (b bucket) String() string { return "bucket " + b.s.cfg.Bucket + " at " + b.s.cfg.Endpoint }

// Health implements blob.Store. It asks for a listing, which needs the bucket, the keys and the right to use them, and
// writes and removes an empty object the first time and after every failure.
func (s *Store) Health(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	_, err := s.page(ctx, s.cfg.Prefix+"tmp/", "", 1)
	if err == nil && !s.writable.Load() {
		name := s.temporary()
		if _, err = s.core.PutObject(ctx, s.cfg.Bucket, name, http.NoBody, 0, "", emptySum, minio.PutObjectOptions{DisableMultipart: true, DisableContentSha256: true}); err == nil {
			err = s.core.RemoveObject(ctx, s.cfg.Bucket, name, minio.RemoveObjectOptions{})
		}
	}
	s.writable.Store(err == nil)
	return s.failed(ctx, err, "check", bucket{s})
}

const emptySum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // SHA-256 of nothing

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, key blob.Key) (blob.Info, error) {
	if err := s.begin(ctx); err != nil {
		return blob.Info{}, err
	}
	return s.stat(ctx, key)
}

func (s *Store) stat(ctx context.Context, key blob.Key) (blob.Info, error) {
	o, err := s.core.StatObject(ctx, s.cfg.Bucket, s.object(key), minio.StatObjectOptions{})
	if err != nil {
		return blob.Info{}, s.failed(ctx, err, "stat blob", key)
	}
	return blob.Info{Key: key, Size: o.Size, Stored: o.LastModified}, nil
}

// Delete implements blob.Store.
func (s *Store) Delete(ctx context.Context, key blob.Key) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	err := s.core.RemoveObject(ctx, s.cfg.Bucket, s.object(key), minio.RemoveObjectOptions{})
	if err = s.failed(ctx, err, "delete blob", key); errors.Is(err, blob.ErrNotFound) {
		return nil
	}
	return err
}

// PresignGet implements blob.Presigner.
func (s *Store) PresignGet(ctx context.Context, key blob.Key, ttl time.Duration, contentType, disposition string) (string, error) {
	if err := s.begin(ctx); err != nil {
		return "", err
	}
	q := url.Values{}
	if contentType != "" {
		q.Set("response-content-type", contentType)
	}
	if disposition != "" {
		q.Set("response-content-disposition", disposition)
	}
	u, err := s.core.PresignedGetObject(ctx, s.cfg.Bucket, s.object(key), ttl, q)
	if err != nil {
		return "", s.failed(ctx, err, "presign blob", key)
	}
	return u.String(), nil
}

// Close implements blob.Store.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return blob.ErrClosed
	}
	s.transport.CloseIdleConnections()
	return nil
}
