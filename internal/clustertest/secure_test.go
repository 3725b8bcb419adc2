package clustertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/internal/testcluster"
)

// authority issues certificates for nodes of this machine, as files.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, dir string) *authority {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o700))
	a := &authority{dir: dir}
	a.cert, a.key = a.issue(t, "ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	var hosts []net.IP
	for i := range 8 {
		hosts = append(hosts, net.IPv4(127, 0, 10, byte(i+1)))
	}
	a.issue(t, "node", &x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature, IPAddresses: hosts,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}})
	return a
}

func (a *authority) issue(t *testing.T, name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template.SerialNumber, template.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	for kind, der := range map[string][]byte{"CERTIFICATE": der, "PRIVATE KEY": private} {
		file := a.file(name, kind == "PRIVATE KEY")
		must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	}
	return cert, key
}

func (a *authority) file(name string, private bool) string {
	if private {
		return filepath.Join(a.dir, name+".key")
	}
	return filepath.Join(a.dir, name+".pem")
}

func (a *authority) flags() []string {
	return []string{"--cluster-cert", a.file("node", false), "--cluster-key", a.file("node", true), "--cluster-ca", a.file("ca", false)}
}

func gossipKey() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // it never fails
	return base64.StdEncoding.EncodeToString(b)
}

// putKeys replaces a file of gossip keys as an operator should: at once.
func putKeys(t *testing.T, file string, keys ...string) {
	t.Helper()
	must(t, os.WriteFile(file+".new", []byte(strings.Join(keys, "\n")+"\n"), 0o600))
	must(t, os.Rename(file+".new", file))
}

// stranger is a node that shares the store and the addresses of a cluster, with flags of its own. It is started, and ends with the
// test.
func stranger(t *testing.T, c *testcluster.Cluster, cfg testcluster.Config, name string, args ...string) *testcluster.Node {
	t.Helper()
	var join []string
	for _, n := range c.Nodes() {
		join = append(join, n.Gossip())
	}
	cfg.Dir = filepath.Join(cfg.Dir, name)
	cfg.Args = append(append(append([]string(nil), cfg.Args...), "--node-name", name, "--join", strings.Join(join, ",")), args...)
	others, err := testcluster.New(cfg)
	must(t, err)
	n, err := others.Add()
	must(t, err)
	must(t, n.Start())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the log of %s:\n%s", name, n.LogTail(4000))
		}
		others.Close()
	})
	return n
}

// stays checks that a node is not ready, and that /readyz says why.
func stays(t *testing.T, n *testcluster.Node, why ...string) {
	t.Helper()
	var code int
	var says string
	await(t, "a stranger says why it stays outside: "+strings.Join(why, " / "), func() bool {
		code, says = n.Readiness(t.Context())
		if err := n.Exit(); err != nil {
			t.Fatalf("it has ended: %v", err)
		}
		if code == http.StatusOK {
			t.Fatal("it is ready")
		}
		for _, w := range why {
			if strings.Contains(says, w) {
				return true
			}
		}
		return false
	})
	t.Log(says)
	await(t, "its log says so", func() bool { return strings.Contains(n.Log(), "not joined yet") })
}

// TestReq163_OnlyItsOwnNodesJoin: nodes with certificates and gossip keys serve as others do. One with a certificate of
// another authority, one with none, and one with another gossip key share their store and their addresses, and cannot join: they
// say why, take nothing, and disturb nobody, also while a node that was killed is missing. The keys of gossip are changed by the file,
// under load.
func TestReq163_OnlyItsOwnNodesJoin(t *testing.T) {
	several(t)
	dir := t.TempDir()
	ours, theirs := newAuthority(t, filepath.Join(dir, "ours")), newAuthority(t, filepath.Join(dir, "theirs"))
	keys, others := filepath.Join(dir, "keys"), filepath.Join(dir, "others")
	first, second := gossipKey(), gossipKey()
	putKeys(t, keys, first)
	putKeys(t, others, gossipKey())
	var cfg testcluster.Config
	c := ownCluster(t, 2, "", func(own *testcluster.Config) {
		own.Gated = false
		own.Args = append(append(own.Args, ours.flags()...), "--gossip-key-file", keys)
		cfg = *own
	})
	k := startTalk(t, c)
	k.progress(30)

	since := time.Now()
	otherCA := stranger(t, c, cfg, "other-ca", theirs.flags()...)
	none := stranger(t, c, cfg, "no-tls", "--cluster-cert=", "--cluster-key=", "--cluster-ca=")
	otherKey := stranger(t, c, cfg, "other-key", "--gossip-key-file", others)
	stays(t, otherCA, "certificate")
	stays(t, none, "TLS")
	stays(t, otherKey, "not heard by gossip")
	k.progress(30)
	measured(t, "three strangers knock", "%v", k.outage(since, time.Now()))
	k.event("kill -9 while they do", func() { node(c, 1).Kill(); wait(time.Second) })
	must(t, node(c, 1).Start())
	await(t, "it is back", func() bool {
		v, err := node(c, 1).View(t.Context())
		code, _ := node(c, 1).Readiness(t.Context())
		return err == nil && code == http.StatusOK && shardsOf(v, "n1")+shardsOf(v, "n2") == 1024
	})
	k.progress(30)
	for _, n := range []*testcluster.Node{otherCA, none, otherKey} {
		code, says := n.Readiness(t.Context())
		if code == http.StatusOK || !strings.Contains(says, "not joined yet") {
			t.Errorf("a stranger says %d %s", code, says)
		}
		must(t, n.Stop(patience))
		if log := n.Log(); strings.Contains(log, "panic") || strings.Contains(log, "shards are planned anew") {
			t.Errorf("a stranger took part:\n%s", log)
		}
	}
	for _, n := range c.Nodes() {
		log := n.Log()
		if !strings.Contains(log, "connection refused") || strings.Contains(log, "panic") {
			t.Errorf("%s does not say that it refused anybody, or panics", n.Name)
		}
	}

	// The new key becomes known, is used, and the old one is dropped; each when all have done what is before.
	since = time.Now()
	for i, list := range [][]string{{first, second}, {second, first}, {second}} {
		putKeys(t, keys, list...)
		await(t, "all nodes have read the keys", func() bool {
			for _, n := range c.Nodes() {
				if last := lastStart(n.Log()); strings.Count(last, "the keys of gossip have changed") <= i {
					return false
				}
			}
			return true
		})
	}
	k.progress(30)
	settled(t, c)
	putKeys(t, others, first)
	late := stranger(t, c, cfg, "old-key", "--gossip-key-file", others)
	stays(t, late, "not heard by gossip")
	must(t, late.Stop(patience))
	more, err := c.Add()
	must(t, err)
	must(t, more.Start())
	await(t, "a node with the new key has joined", func() bool {
		code, _ := more.Readiness(t.Context())
		return code == http.StatusOK
	})
	measured(t, "keys of gossip changed, a node added", "%v", k.outage(since, time.Now()))
	k.finish()
}

// lastStart is what a node has written since it was started last.
func lastStart(log string) string { return log[strings.LastIndex(log, "\n# "):] }

func shardsOf(v *testcluster.View, name string) int {
	for _, m := range v.Members {
		if m.Name == name && m.Alive() {
			return m.Shards
		}
	}
	return 0
}

// TestNodesFeedTheSameConsumers: a node with another --search waits outside and says why, until those that serve are gone; so
// a new setting goes from node to node.
func TestNodesFeedTheSameConsumers(t *testing.T) {
	several(t)
	c := ownCluster(t, 2, "", nil)
	one, two := node(c, 0), node(c, 1)
	meili := []string{"--search", "meili", "--meili-url", "http://127.0.0.1:9"} // which need not be there
	must(t, two.Stop(patience))
	two.SetArgs(meili...)
	must(t, two.Start())
	stays(t, two, "has search off; this node has search meili")
	if code, says := one.Readiness(t.Context()); code != http.StatusOK {
		t.Errorf("the node that serves says %d %s", code, says)
	}
	must(t, one.Stop(patience))
	ready := func(n *testcluster.Node) func() bool {
		return func() bool { code, _ := n.Readiness(t.Context()); return code == http.StatusOK }
	}
	await(t, "the new setting serves", ready(two))
	must(t, one.Start())
	stays(t, one, "has search meili")
	must(t, one.Stop(patience))
	one.SetArgs(meili...)
	must(t, one.Start())
	await(t, "both have it", ready(one))
}
