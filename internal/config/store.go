package config

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Stores that Config.Store names. The empty one is StorePebble.
const (
	StorePebble = "pebble"
	StoreScylla = "scylla"
)

// Bounds of what the cluster takes in one atomic batch: a message, and the member rows of a group.
const (
	maxCQLMessage = 4 << 20
	maxCQLGroup   = 20_000
)

var keyspaceName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,47}$`)

// CheckStore reports what is wrong with the settings of the store alone, for commands that use nothing else.
func (c *Config) CheckStore() error {
	var errs []error
	bad := func(flag, format string, args ...any) {
		errs = append(errs, fmt.Errorf("--%s: %s", flag, fmt.Sprintf(format, args...)))
	}
	if c.Fencing != "" && c.Fencing != "lease" && c.Fencing != "strict" {
		bad("fencing", "%q is neither lease nor strict", c.Fencing)
	}
	switch c.Store {
	case StoreScylla:
	case StorePebble, "": // --fencing changes nothing: the store belongs to one process, by a lock, which is as strict
		for _, f := range []struct {
			flag string
			set  bool
		}{
			{"cql-hosts", len(c.CQLHosts) > 0}, {"cql-dc", c.CQLDC != ""}, {"cql-user", c.CQLUser != ""}, {"cql-password-file", c.CQLPassword != ""},
			{"cql-tls", c.CQLTLS}, {"cql-tls-ca", c.CQLTLSCA != ""}, {"cql-tls-cert", c.CQLTLSCert != ""}, {"cql-tls-key", c.CQLTLSKey != ""},
			{"cql-tls-server-name", c.CQLTLSName != ""}, {"cql-replication", c.CQLReplication != ""}, {"cql-migrate", c.CQLMigrate},
		} {
			if f.set {
				bad(f.flag, "the embedded store has no use for it: add --store scylla, or leave it out")
			}
		}
		return errors.Join(errs...)
	default:
		bad("store", "%q is not pebble or scylla", c.Store)
		return errors.Join(errs...)
	}
	if len(c.CQLHosts) == 0 {
		bad("cql-hosts", "--store scylla needs at least one node, such as 10.0.0.1 or 10.0.0.1:9042")
	}
	ports := map[string]bool{}
	for _, h := range c.CQLHosts {
		host, port, err := net.SplitHostPort(h)
		if err != nil {
			host, port = h, ""
		}
		if n, err := strconv.Atoi(port); host == "" || strings.ContainsAny(host, " /") || port != "" && (err != nil || n < 1 || n > 65535) {
			bad("cql-hosts", "%q is not HOST or HOST:PORT", h)
		}
		ports[port] = true
	}
	if len(ports) > 1 {
		bad("cql-hosts", "all nodes listen on one port: name it with each of them, or with none")
	}
	if !keyspaceName.MatchString(c.CQLKeyspace) {
		bad("cql-keyspace", "%q: 1 to 48 of a-z, 0-9 and _ are allowed, a letter first", c.CQLKeyspace)
	}
	if (c.CQLUser == "") != (c.CQLPassword == "") {
		errs = append(errs, errors.New("--cql-user and --cql-password-file go together"))
	}
	if !c.CQLTLS && (c.CQLTLSCA != "" || c.CQLTLSCert != "" || c.CQLTLSKey != "" || c.CQLTLSName != "") {
		errs = append(errs, errors.New("--cql-tls-ca, --cql-tls-cert, --cql-tls-key and --cql-tls-server-name need --cql-tls"))
	}
	if (c.CQLTLSCert == "") != (c.CQLTLSKey == "") {
		errs = append(errs, errors.New("--cql-tls-cert and --cql-tls-key go together"))
	}
	if r := c.CQLReplication; r != "" {
		n, err := strconv.Atoi(r)
		isMap := strings.HasPrefix(r, "{") && strings.HasSuffix(r, "}") && strings.Contains(r, "'class'") && !strings.Contains(r, ";")
		if (err != nil || n < 1 || n > 9) && !isMap {
			bad("cql-replication", "%q is neither a number from 1 to 9 nor a map such as {'class': 'NetworkTopologyStrategy', 'dc1': 3}", r)
		}
	}
	if c.CQLCompression != "" && c.CQLCompression != "none" && c.CQLCompression != "snappy" {
		bad("cql-compression", "%q is not none or snappy", c.CQLCompression)
	}
	if c.CQLTimeout < 100*time.Millisecond || c.CQLTimeout > time.Minute {
		bad("cql-timeout", "%v is not between 100ms and 1m", c.CQLTimeout)
	}
	if c.CQLLease < 3*time.Second || c.CQLLease > 5*time.Minute {
		bad("cql-lease", "%v is not between 3s and 5m", c.CQLLease)
	}
	if c.MaxMessageBytes > maxCQLMessage {
		bad("max-message-bytes", "%d is more than the %d that --store scylla writes at once", c.MaxMessageBytes, maxCQLMessage)
	}
	if c.MaxGroupSize > maxCQLGroup {
		bad("max-group-size", "%d is more than the %d whose rows --store scylla writes at once", c.MaxGroupSize, maxCQLGroup)
	}
	return errors.Join(errs...)
}
