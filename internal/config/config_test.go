package config_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/zumodra/hub/internal/config"
)

func parse(t *testing.T, args ...string) (config.Config, error) {
	t.Helper()
	var c config.Config
	p, err := kong.New(&c, kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Parse(args)
	return c, err
}

func TestDefaultsNeedOnlyAKey(t *testing.T) {
	c, err := parse(t)
	if err != nil {
		t.Fatal(err)
	}
	err = c.Check()
	if err == nil || !strings.Contains(err.Error(), "--auth-secret-file") || !strings.Contains(err.Error(), "--dev") {
		t.Fatalf("without a key: %v", err)
	}
	c.Dev = true
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
}

func TestCheckNamesTheFlag(t *testing.T) {
	for flag, arg := range map[string]string{
		"listen": "nonsense", "admin-listen": "x", "user-rate": "-1", "user-burst": "0", "max-message-bytes": "5",
		"ping-interval": "10ms", "pong-timeout": "1ms", "batch-delay": "1s", "max-group-size": "2", "named-readers": "1", "idle-after": "1ms",
		"drain-timeout": "-1s", "auth-jwks-url": "ftp://x", "allowed-origins": "example.com", "tls-cert": "only.pem",
		"blob-grace": "59m", "s3-endpoint": "https://s3.example.com", "s3-bucket": "b", "s3-prefix": "p", "s3-access-key-file": "f",
		"s3-secret-key-file": "f", "s3-path-style": "true", "meili-url": "http://x", "meili-key-file": "f", "meili-index-prefix": "x",
		"max-connections": "-1", "accept-rate": "-1", "reactors": "-2", "sessions-per-user": "-1",
	} {
		t.Run(flag, func(t *testing.T) {
			c, err := parse(t, "--dev", "--"+flag+"="+arg)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Check(); err == nil || !strings.Contains(err.Error(), "--"+flag) {
				t.Fatalf("error does not name --%s: %v", flag, err)
			}
		})
	}
}

func TestYAMLRoundTrip(t *testing.T) {
	c, err := parse(t, "--dev", "--allowed-origins=https://a.example,https://*.b.example", "--user-rate=2.5", "--edit-window=3m")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := c.WriteYAML(&b); err != nil {
		t.Fatal(err)
	}
	m, err := config.ReadYAML(&b)
	if err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{
		"dev": "true", "allowed-origins": "https://a.example,https://*.b.example", "user-rate": "2.5", "edit-window": "3m0s",
		"listen": "127.0.0.1:8080",
	} {
		if m[k] != want {
			t.Errorf("%s = %q, want %q", k, m[k], want)
		}
	}
}

func TestYAMLErrorsSayWhere(t *testing.T) {
	for in, want := range map[string]string{
		"listen: 127.0.0.1:1\nlisten2: x\n": "line 2",
		"- a\n":                             "line 1",
		"listen: {a: b}\n":                  "listen",
		"listen: [a, [b]]\n":                "list of plain values",
		"listen: a\nlisten: b\n":            "twice",
		"\tlisten":                          "not YAML",
	} {
		if _, err := config.ReadYAML(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
	}
}

func TestSettingsMatchTheFlags(t *testing.T) {
	var c config.Config
	p, err := kong.New(&c)
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]bool{}
	for _, f := range p.Model.Flags {
		flags[f.Name] = true
	}
	for _, s := range config.Settings() {
		if !flags[s.Name] {
			t.Errorf("setting %q is not a flag", s.Name)
		}
		if s.Help == "" {
			t.Errorf("setting %q has no help", s.Name)
		}
	}
}

func FuzzReadYAML(f *testing.F) {
	f.Add("listen: 127.0.0.1:1\nallowed-origins: [a, b]\n")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) { _, _ = config.ReadYAML(strings.NewReader(s)) })
}

func TestCheckBlobs(t *testing.T) {
	good := []string{"--dev", "--blobs=s3", "--s3-endpoint=https://s3.example.com", "--s3-bucket=attachments"}
	for _, c := range []struct{ arg, want string }{
		{"--s3-path-style", ""},
		{"--s3-endpoint=http://127.0.0.1:9000/", ""},
		{"--s3-access-key-file=a", "--s3-secret-key-file"},
		{"--s3-secret-key-file=a", "--s3-access-key-file"},
		{"--s3-endpoint=", "--s3-endpoint: needed with --blobs s3"},
		{"--s3-endpoint=s3.example.com", "--s3-endpoint: \"s3.example.com\" is not a URL such as https://"},
		{"--s3-endpoint=https://s3.example.com/bucket", "--s3-endpoint"},
		{"--s3-endpoint=https://key:secret@s3.example.com", "--s3-endpoint"},
		{"--s3-bucket=", "--s3-bucket: needed with --blobs s3"},
		{"--s3-bucket=No/Bucket", "--s3-bucket: \"No/Bucket\""},
		{"--s3-prefix=/a", "--s3-prefix"},
		{"--s3-region=", "--s3-region"},
		{"--blobs=fs", "--s3-bucket: only with --blobs s3"},
		{"--blobs-shared=/mnt/hub", "--blobs-shared: only with --blobs fs"},
	} {
		cfg, err := parse(t, append(append([]string(nil), good...), c.arg)...)
		if err != nil {
			t.Fatal(err)
		}
		err = cfg.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.arg, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret@") {
			t.Errorf("%s: the error shows the secret: %v", c.arg, err)
		}
	}
	if _, err := parse(t, "--dev", "--blobs=nfs"); err == nil {
		t.Error("--blobs=nfs was taken")
	}
}

// TestClusterBlobs: what one node keeps on its disk the others could not serve.
func TestClusterBlobs(t *testing.T) {
	cluster := "--dev --auth-secret-file=s --store=scylla --cql-hosts=a --search=off --gossip-listen=127.0.0.1:1 --cluster-listen=127.0.0.1:2 "
	for _, c := range []struct{ args, want string }{
		{cluster, "--blobs: fs keeps attachments on one node's disk"},
		{cluster + "--blobs=fs", "--blobs: fs keeps attachments on one node's disk"},
		{cluster + "--blobs-shared=/mnt/hub", ""},
		{cluster + "--blobs=s3 --s3-endpoint=https://s3.example.com --s3-bucket=attachments", ""},
		{"--dev --store=scylla --cql-hosts=a --search=off", ""}, // by itself
		{"--dev --blobs-shared=/mnt/hub", ""},
	} {
		cfg, err := parse(t, strings.Fields(c.args)...)
		if err != nil {
			t.Fatal(err)
		}
		err = cfg.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.args, err, c.want)
		}
	}
}

func TestCheckSearch(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--search=meili --meili-url=http://127.0.0.1:7700", ""},
		{"--search=meili --meili-url=https://search.example.com/ --meili-key-file=f --meili-index-prefix=a-b_9", ""},
		{"--search=off", ""},
		{"--search=meili", "--meili-url: needed with --search meili"},
		{"--search=meili --meili-url=127.0.0.1:7700", "--meili-url"},
		{"--search=meili --meili-url=http://key@host", "--meili-key-file, not in the URL"},
		{"--search=meili --meili-url=http://host --meili-index-prefix=a/b", "--meili-index-prefix"},
		{"--search=fts --meili-url=http://host", "--meili-url: only with --search meili"},
	} {
		cfg, err := parse(t, append(strings.Fields(c.args), "--dev")...)
		if err != nil {
			t.Fatal(err)
		}
		err = cfg.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.args, err, c.want)
		}
	}
}
