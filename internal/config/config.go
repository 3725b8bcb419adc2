package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Config of a node. The tags are read by kong (name, default, help) and by Doc.
type Config struct {
	Listen      string `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Public address: WebSocket, REST and pages."`
	AdminListen string `default:"127.0.0.1:9090" placeholder:"HOST:PORT" help:"Admin address: /livez, /readyz, /metrics, /admin/backup, /debug/. Keep it private."`
	Data        string `default:"hub-data" placeholder:"DIR" help:"Data directory: the embedded store and the secret of --dev. One process at a time."`
	Dev         bool   `help:"Development: makes a token secret in the data directory, opens the token endpoint, allows any Origin. Never in production."`

	Store          string        `default:"pebble" enum:"pebble,scylla" placeholder:"pebble|scylla" help:"Where messages are kept: pebble, embedded in the data directory, or scylla, a cluster of ScyllaDB or Apache Cassandra."`
	CQLHosts       []string      `name:"cql-hosts" placeholder:"HOST,..." help:"Some nodes of the cluster, with :PORT if it is not 9042. The others are found through them."`
	CQLKeyspace    string        `name:"cql-keyspace" default:"hub" placeholder:"NAME" help:"Keyspace of the hub."`
	CQLDC          string        `name:"cql-dc" placeholder:"NAME" help:"Data centre whose nodes are asked. Needed in a cluster of several."`
	CQLUser        string        `name:"cql-user" placeholder:"NAME" help:"User at the cluster."`
	CQLPassword    string        `name:"cql-password-file" placeholder:"FILE" help:"File with the password of --cql-user."`
	CQLTLS         bool          `name:"cql-tls" help:"Speak TLS to the cluster and verify its certificates."`
	CQLTLSCA       string        `name:"cql-tls-ca" placeholder:"FILE" help:"Certificates that the cluster's are verified with, PEM; default: those of the system."`
	CQLTLSCert     string        `name:"cql-tls-cert" placeholder:"FILE" help:"Client certificate for the cluster, PEM."`
	CQLTLSKey      string        `name:"cql-tls-key" placeholder:"FILE" help:"Private key of the client certificate, PEM."`
	CQLTLSName     string        `name:"cql-tls-server-name" placeholder:"NAME" help:"Name that the cluster's certificates carry, if it is not the address."`
	CQLReplication string        `name:"cql-replication" placeholder:"N|MAP" help:"Copies of a keyspace that is created: a number, or CQL's replication map. Default: as many as there are nodes, at most 3."`
	CQLMigrate     bool          `name:"cql-migrate" help:"Create or bring up the keyspace at the start, as 'hub migrate' does. Implied by --dev."`
	CQLCompression string        `name:"cql-compression" default:"none" enum:"none,snappy" placeholder:"none|snappy" help:"Compression between hub and cluster; pays off across zones only."`
	CQLTimeout     time.Duration `name:"cql-timeout" default:"5s" placeholder:"DUR" help:"How long one attempt at the cluster may take; above the servers' own limits."`
	CQLLease       time.Duration `name:"cql-lease" default:"6s" placeholder:"DUR" help:"How long the claims of a node that vanished keep the others from its shards."`

	Fencing string `placeholder:"lease|strict" help:"What keeps a node that lost its shards from writing: lease, its own clock, or strict, the store: each commit of a conversation is a transaction. One for the whole keyspace, changed by 'hub migrate' while no node runs. Default: what the keyspace has, lease if it is new."`

	NodeName         string   `placeholder:"NAME" help:"Name of this node among those of the cluster, the same after a restart: shards go to names. Default: the host's name."`
	Roles            []string `default:"edge,actors" placeholder:"ROLE,..." help:"What this node does: edge serves sockets (without it they are refused, REST is not), actors owns conversations and users."`
	GossipListen     string   `placeholder:"HOST:PORT" help:"Where nodes find one another (TCP and UDP). Given, other nodes may join this one; needs --cluster-listen and --store scylla."`
	GossipAdvertise  string   `placeholder:"HOST:PORT" help:"Under which address the others reach --gossip-listen, if it is another."`
	GossipKeyFile    string   `placeholder:"FILE" help:"Keys that gossip is encrypted with, one a line: 16, 24 or 32 bytes in base64. The first encrypts, all decrypt; read again when it changes."`
	Join             []string `placeholder:"HOST:PORT,..." help:"Gossip addresses of some nodes, or a DNS name of all: tried until one answers."`
	ClusterListen    string   `placeholder:"HOST:PORT" help:"Where the other nodes send commands and deliveries."`
	ClusterAdvertise string   `placeholder:"HOST:PORT" help:"Under which address the others reach --cluster-listen, if it is another."`
	ClusterCert      string   `placeholder:"FILE" help:"Certificate of this node for the others, PEM; both sides of a stream show one."`
	ClusterKey       string   `placeholder:"FILE" help:"Private key of --cluster-cert, PEM."`
	ClusterCA        string   `name:"cluster-ca" placeholder:"FILE" help:"Certificates that those of the other nodes are verified with, PEM."`
	ClusterInsecure  bool     `help:"Allow --cluster-listen without certificates and --gossip-listen without keys on addresses other than loopback: whoever reaches them reads and writes everything."`

	MinFreeBytes int64 `default:"268435456" placeholder:"BYTES" help:"Free space of the data directory's disk below which nothing is accepted: sends are answered unavailable, /readyz turns 503, reads go on. 0: no floor."`

	AuthSecretFile    string   `placeholder:"FILE" help:"HS256 secret of at least 32 bytes that tokens are signed with. With --dev it is made if it does not exist."`
	AuthPublicKeyFile string   `placeholder:"FILE" help:"PEM public key (RSA, ECDSA P-256 or Ed25519) that tokens are verified with."`
	AuthJwksURL       string   `name:"auth-jwks-url" placeholder:"URL" help:"JWKS document with the public keys that tokens are verified with; cached and refreshed."`
	AuthIssuer        string   `placeholder:"ISS" help:"Refuse tokens of another issuer (claim iss)."`
	AuthAudience      string   `placeholder:"AUD" help:"Refuse tokens for another audience (claim aud)."`
	AuthCookie        string   `default:"hub_token" placeholder:"NAME" help:"Cookie that may carry the token."`
	AdminKeyFile      string   `placeholder:"FILE" help:"API keys of the operator for /api/v1/admin/, one a line: they may do everything. Without it only API keys of tenants open that API."`
	TenantsListed     bool     `help:"Refuse tokens of tenants that were not created, but for the tenant default."`
	TrustedProxies    []string `placeholder:"NET,..." help:"Addresses and networks of reverse proxies, such as 10.0.0.0/8: the client's address is taken from the X-Forwarded-For that they send."`
	AllowedOrigins    []string `placeholder:"ORIGIN,..." help:"Origins that browsers may connect from, besides the hub's own; https://*.example.com and * are understood."`
	PreAcceptReject   bool     `help:"Refuse bad credentials during the WebSocket handshake (HTTP 401/403) instead of accepting and closing with 4001/4003."`
	TLSCert           string   `name:"tls-cert" placeholder:"FILE" help:"Certificate chain, PEM. Read again when it changes."`
	TLSKey            string   `name:"tls-key" placeholder:"FILE" help:"Private key of the certificate, PEM."`

	UserRate        float64 `default:"10" placeholder:"N" help:"Commands per second and user, over all sockets and REST; 0: no limit."`
	UserBurst       int     `default:"20" placeholder:"N" help:"Commands a user may send at once before the rate applies."`
	Throttles       string  `placeholder:"SCOPE=N/UNIT,..." help:"Requests of REST that a node answers, for each scope: N per s, m, h or d, or off. Scopes: anon (no valid credential, by address), user, auth (passwords), token, file_upload (files that a user begins to upload), export (by tenant). Default: anon=100/h, user=1000/m, auth=5/m, token=10/m, export=10/h; with --dev none."`
	SessionsPerUser int     `default:"0" placeholder:"N" help:"Sockets one user may hold open on this node; 0: no limit."`

	SessionsPerAddress int `default:"0" placeholder:"N" help:"Sockets that the users of a tenant may hold open on this node from one address (IPv4) or /64 (IPv6); 0: no limit."`

	MaxConnections  int           `default:"0" placeholder:"N" help:"Open connections; 0: 90 % of the process's descriptor limit."`
	AcceptRate      int           `default:"0" placeholder:"N" help:"WebSocket handshakes per second, 503 beyond; 0: no limit."`
	MaxMessageBytes int           `default:"65536" placeholder:"BYTES" help:"Longest WebSocket message; longer closes with 1009."`
	PingInterval    time.Duration `default:"20s" placeholder:"DUR" help:"Silence after which a client is pinged."`
	PongTimeout     time.Duration `default:"30s" placeholder:"DUR" help:"Silence after a ping that closes the connection."`
	BatchDelay      time.Duration `default:"0s" placeholder:"DUR" help:"How long broadcasts may wait to leave together (0 to 10ms); 0: until the end of the event round."`
	Compress        bool          `help:"Offer permessage-deflate."`
	Reactors        int           `default:"0" placeholder:"N" help:"Event loops; 0: one per core."`

	MaxGroupSize int           `default:"10000" placeholder:"N" help:"Members of a group."`
	NamedReaders int           `default:"256" placeholder:"N" help:"Members up to which a group's members are told who has read and received what. Those of larger groups are told how many have read, once a second."`
	EditWindow   time.Duration `default:"15m" placeholder:"DUR" help:"How long a message may be edited; negative: never."`
	RequestRetry time.Duration `default:"24h" placeholder:"DUR" help:"How long after a rejected friend request its sender may ask the same user again; 0: at once."`
	LinkPreviews bool          `help:"Let the hub look at the first link of each message, and show what that page says of itself. It connects to public addresses of others' choice, ports 80 and 443."`
	EmailPrivacy bool          `help:"Answer add_contact the same for known and unknown e-mail addresses. A known one gets a friend request, which its sender does not see until it is accepted. Nobody who shares no group is suggested as a contact."`
	IdleAfter    time.Duration `default:"2m" placeholder:"DUR" help:"Idle time after which a conversation leaves memory."`

	Search           string `default:"fts" enum:"fts,meili,off" placeholder:"fts|meili|off" help:"Search for messages: fts keeps an index in the data directory; meili keeps it on a Meilisearch server; off has none."`
	MeiliURL         string `name:"meili-url" placeholder:"URL" help:"Meilisearch server, such as http://127.0.0.1:7700; for --search meili."`
	MeiliKeyFile     string `name:"meili-key-file" placeholder:"FILE" help:"File with its API key, read again when the server does not accept it."`
	MeiliIndexPrefix string `name:"meili-index-prefix" default:"hub" placeholder:"NAME" help:"Prefix of the names of its indexes, for several hubs on one server."`

	Blobs           string        `default:"fs" enum:"fs,s3," placeholder:"fs|s3" help:"Where attachments are stored: fs, in the data directory, or s3, in a bucket."`
	BlobsShared     string        `name:"blobs-shared" placeholder:"DIR" help:"With --blobs fs: a directory that all nodes of a cluster share (NFS, CephFS), instead of one in the data directory."`
	BlobGrace       time.Duration `default:"24h" placeholder:"DUR" help:"Age below which attachments that nothing refers to, and unfinished uploads, are kept (at least 1h)."`
	S3Endpoint      string        `name:"s3-endpoint" placeholder:"URL" help:"S3 server, such as https://s3.eu-central-1.amazonaws.com; for --blobs s3."`
	S3Bucket        string        `name:"s3-bucket" placeholder:"NAME" help:"Bucket, which must exist."`
	S3Prefix        string        `name:"s3-prefix" placeholder:"PATH/" help:"Prefix of all object names."`
	S3Region        string        `name:"s3-region" default:"us-east-1" placeholder:"REGION" help:"Region that requests are signed for."`
	S3PathStyle     bool          `name:"s3-path-style" help:"Put the bucket into the path instead of the host name, as most servers other than Amazon's need."`
	S3AccessKeyFile string        `name:"s3-access-key-file" placeholder:"FILE" help:"File with the access key, read again every minute. Default: the environment variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."`
	S3SecretKeyFile string        `name:"s3-secret-key-file" placeholder:"FILE" help:"File with the secret key."`

	FileTTL         time.Duration `name:"file-ttl" default:"720h" placeholder:"DUR" help:"How long a file can be downloaded after it was uploaded; 0: for ever."`
	FileURLTTL      time.Duration `name:"file-url-ttl" default:"1h" placeholder:"DUR" help:"How long the signed URL of a file is good (1m to 168h)."`
	SocketFileBytes int64         `name:"socket-file-bytes" default:"52428800" placeholder:"BYTES" help:"Largest file that is taken in a WebSocket frame, as base64; 0: none. Frames may be as long as that needs."`
	SocketFileTotal int64         `name:"socket-file-total" default:"268435456" placeholder:"BYTES" help:"Memory for frames longer than --max-message-bytes, of all connections together; who finds none is closed with 1013."`
	UploadsPerUser  int           `default:"4" placeholder:"N" help:"Uploads of one user that this node receives at once; 429 beyond."`
	Uploads         int           `default:"64" placeholder:"N" help:"Uploads that this node receives at once; 503 beyond."`
	Thumbnails      bool          `default:"true" negatable:"" help:"Make small pictures of images when they are asked for."`
	Clamd           string        `placeholder:"HOST:PORT|PATH" help:"ClamAV daemon that sees every file before it is kept: an address, or the path of a Unix socket. Its StreamMaxLength must be at least 50M."`
	ClamdTimeout    time.Duration `default:"30s" placeholder:"DUR" help:"How long the daemon may take for an answer."`
	ClamdOpen       bool          `help:"Let files through that could not be scanned, instead of refusing them."`

	DrainTimeout time.Duration `default:"10s" placeholder:"DUR" help:"SIGTERM: time to close all clients in an orderly way."`
	LogFormat    string        `default:"text" enum:"text,json" placeholder:"text|json" help:"Format of the log on standard error."`
	LogLevel     string        `default:"info" enum:"debug,info,warn,error" placeholder:"LEVEL" help:"Least severe level that is logged."`
}

// Check reports everything that is wrong, each with what is allowed.
func (c *Config) Check() error {
	var errs []error
	bad := func(flag, format string, args ...any) {
		errs = append(errs, fmt.Errorf("--%s: %s", flag, fmt.Sprintf(format, args...)))
	}
	for flag, addr := range map[string]string{"listen": c.Listen, "admin-listen": c.AdminListen} {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			bad(flag, "%q is not HOST:PORT", addr)
		}
	}
	if c.Data == "" {
		bad("data", "a directory is needed")
	}
	errs = append(errs, c.CheckStore())
	if c.MinFreeBytes < 0 {
		bad("min-free-bytes", "%d is negative; 0 means no floor", c.MinFreeBytes)
	}
	if !c.Dev && c.AuthSecretFile == "" && c.AuthPublicKeyFile == "" && c.AuthJwksURL == "" {
		errs = append(errs, errors.New("no key to verify tokens with: give --auth-secret-file, --auth-public-key-file or --auth-jwks-url, or --dev on your own machine"))
	}
	if c.AuthJwksURL != "" {
		if u, err := url.Parse(c.AuthJwksURL); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
			bad("auth-jwks-url", "an http(s) URL is needed")
		}
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		errs = append(errs, errors.New("--tls-cert and --tls-key go together"))
	}
	for _, o := range c.AllowedOrigins {
		if o == "*" {
			continue
		}
		if u, err := url.Parse(strings.Replace(o, "*.", "wildcard.", 1)); err != nil || u.Host == "" || u.Scheme == "" || u.Path != "" {
			bad("allowed-origins", "%q is not an origin such as https://chat.example.com", o)
		}
	}
	for _, n := range c.TrustedProxies {
		if _, err := netip.ParsePrefix(n); err != nil {
			if _, err := netip.ParseAddr(n); err != nil {
				bad("trusted-proxies", "%q is neither an address nor a network", n)
			}
		}
	}
	if c.UserRate < 0 {
		bad("user-rate", "%v is negative; 0 means no limit", c.UserRate)
	}
	if c.UserRate > 0 && c.UserBurst < 1 {
		bad("user-burst", "at least 1 is needed with a rate")
	}
	for flag, n := range map[string]int{
		"sessions-per-user": c.SessionsPerUser, "sessions-per-address": c.SessionsPerAddress, "max-connections": c.MaxConnections,
		"accept-rate": c.AcceptRate, "reactors": c.Reactors,
	} {
		if n < 0 {
			bad(flag, "%d is negative; 0 means the default", n)
		}
	}
	if c.MaxMessageBytes < 1024 || c.MaxMessageBytes > 128<<20 {
		bad("max-message-bytes", "%d is not between 1024 and 134217728", c.MaxMessageBytes)
	}
	if c.PingInterval < time.Second {
		bad("ping-interval", "%v is below 1s", c.PingInterval)
	}
	if c.PongTimeout < time.Second {
		bad("pong-timeout", "%v is below 1s", c.PongTimeout)
	}
	if c.BatchDelay < 0 || c.BatchDelay > 10*time.Millisecond {
		bad("batch-delay", "%v is not between 0 and 10ms", c.BatchDelay)
	}
	if c.MaxGroupSize < 3 {
		bad("max-group-size", "%d is below 3", c.MaxGroupSize)
	}
	if c.NamedReaders < 2 {
		bad("named-readers", "%d is below 2", c.NamedReaders)
	}
	if c.RequestRetry < 0 {
		bad("request-retry", "%v is negative; 0 means at once", c.RequestRetry)
	}
	if c.IdleAfter < time.Second {
		bad("idle-after", "%v is below 1s", c.IdleAfter)
	}
	c.checkCluster(bad)
	c.checkBlobs(bad)
	c.checkFiles(bad)
	c.checkSearch(bad)
	if c.DrainTimeout < 0 {
		bad("drain-timeout", "%v is negative", c.DrainTimeout)
	}
	return errors.Join(errs...)
}
