package cassandra

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"text/template"
	"time"
)

//go:embed cassandra.yaml
var yamlText string

//go:embed logback.xml
var logback []byte

var yamlTemplate = template.Must(template.New("cassandra.yaml").Parse(yamlText))

// flags that Cassandra 5 needs on Java 17, from its conf/jvm17-server.options.
var jvmFlags = func() []string {
	flags := []string{"-Djdk.attach.allowAttachSelf=true", "-Dio.netty.tryReflectionSetAccessible=true"}
	for _, m := range strings.Fields(`java.base/jdk.internal.misc java.base/java.lang.ref java.base/sun.nio.ch
		java.management.rmi/com.sun.jmx.remote.internal.rmi java.management/com.sun.jmx.remote.security
		java.rmi/sun.rmi.registry java.rmi/sun.rmi.server java.sql/java.sql jdk.unsupported/sun.misc
		jdk.compiler/com.sun.tools.javac.file jdk.attach/sun.tools.attach`) {
		flags = append(flags, "--add-exports", m+"=ALL-UNNAMED")
	}
	for _, m := range strings.Fields(`java.base/java.lang java.base/java.lang.module java.base/java.lang.reflect java.base/java.io
		java.base/java.util java.base/java.nio java.base/sun.nio.ch java.base/jdk.internal.loader java.base/jdk.internal.ref
		java.base/jdk.internal.reflect java.base/jdk.internal.math java.base/jdk.internal.module java.base/jdk.internal.util.jar
		jdk.management/com.sun.management.internal jdk.compiler/com.sun.tools.javac`) {
		flags = append(flags, "--add-opens", m+"=ALL-UNNAMED")
	}
	return flags
}()

// startTime bounds the wait for a node to answer.
const startTime = 3 * time.Minute

// Config of a Cluster.
type Config struct {
	Nodes int       // default 1
	First int       // of the addresses 127.0.0.First and up; default 1
	Dir   string    // for the nodes' data and logs; default: a temporary directory, removed by Close
	Heap  string    // of each node, as -Xmx takes it; default 1g: each written table of each keyspace keeps some
	Log   io.Writer // what is being done; default: nowhere
}

// Cluster of local nodes. Its methods are safe for concurrent use; nodes count from 0.
type Cluster struct {
	cfg    Config
	inst   *installation
	remove bool
	native int
	nodes  []*node
}

type node struct {
	address string
	native  int
	dir     string
	args    []string
	java    string
	log     io.Writer
	watch   sync.WaitGroup

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
	killed chan struct{} // closed ahead of a kill
	closed bool
}

// Start installs what is missing, starts all nodes and waits until each answers clients.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	if cfg.Nodes <= 0 {
		cfg.Nodes = 1
	}
	if cfg.Heap == "" {
		cfg.Heap = "1g"
	}
	if cfg.Log == nil {
		cfg.Log = io.Discard
	}
	inst, err := install(ctx, cfg.Log)
	if err != nil {
		return nil, err
	}
	c := &Cluster{cfg: cfg, inst: inst}
	if c.cfg.Dir == "" {
		if c.cfg.Dir, err = os.MkdirTemp("", "hub-cassandra-"); err != nil {
			return nil, fmt.Errorf("cassandra: %w", err)
		}
		c.remove = true
	}
	if err := c.prepare(); err != nil {
		c.Close()
		return nil, err
	}
	began := time.Now()
	for i := range c.nodes {
		// One after the other: nodes that join at once get in each other's way.
		if err := c.StartNode(ctx, i); err != nil {
			c.Close()
			return nil, err
		}
	}
	fmt.Fprintf(cfg.Log, "cassandra: %d node(s) of Apache Cassandra %s at %s after %v, logs in %s\n", cfg.Nodes, Version, c.Hosts(),
		time.Since(began).Round(time.Millisecond), c.cfg.Dir)
	return c, nil
}

// prepare writes the nodes' configuration.
func (c *Cluster) prepare() error {
	// A node gives up to join when the first has not answered for so long, which on a busy machine may take its time.
	ringDelay := "1000"
	if c.cfg.Nodes > 1 {
		ringDelay = "10000"
	}
	addresses := make([]string, c.cfg.Nodes)
	for i := range addresses {
		addresses[i] = fmt.Sprintf("127.0.0.%d", max(c.cfg.First, 1)+i)
	}
	var err error
	if c.native, err = freePort(addresses, 9042); err != nil {
		return err
	}
	storage, err := freePort(addresses, 7000)
	if err != nil {
		return err
	}
	for i, address := range addresses {
		n := &node{address: address, native: c.native, dir: filepath.Join(c.cfg.Dir, fmt.Sprintf("node%d", i)), java: c.inst.java, log: c.cfg.Log}
		if err := os.MkdirAll(n.dir, 0o700); err != nil {
			return fmt.Errorf("cassandra: %w", err)
		}
		var yaml bytes.Buffer
		if err := yamlTemplate.Execute(&yaml, map[string]any{"Address": address, "StoragePort": storage, "NativePort": c.native,
			"Seeds": addresses[0], "Dir": n.dir}); err != nil {
			return fmt.Errorf("cassandra: %w", err)
		}
		config, logging := filepath.Join(n.dir, "cassandra.yaml"), filepath.Join(n.dir, "logback.xml")
		if err := errors.Join(os.WriteFile(config, yaml.Bytes(), 0o600), os.WriteFile(logging, logback, 0o600)); err != nil {
			return fmt.Errorf("cassandra: %w", err)
		}
		n.args = append([]string{"-javaagent:" + c.inst.jamm, "-Xms" + c.cfg.Heap, "-Xmx" + c.cfg.Heap, "-XX:MaxDirectMemorySize=256m",
			"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=4", "-XX:ActiveProcessorCount=2", "-Xss512k", "-XX:+ExitOnOutOfMemoryError",
			"-Dcassandra.config=file://" + config, "-Dcassandra.storagedir=" + n.dir, "-Dcassandra-foreground=yes",
			"-Dcassandra.skip_wait_for_gossip_to_settle=0", "-Dcassandra.ring_delay_ms=" + ringDelay, "-Dcassandra.superuser_setup_delay_ms=0",
			"-Dlogback.configurationFile=file://" + logging, "-Djava.net.preferIPv4Stack=true"}, jvmFlags...)
		n.args = append(n.args, "-cp", c.inst.classpath, "org.apache.cassandra.service.CassandraDaemon")
		c.nodes = append(c.nodes, n)
	}
	return nil
}

// freePort returns the wanted port if all the addresses have it free, else another one that they have.
func freePort(addresses []string, want int) (int, error) {
	for try := 0; try < 50; try++ {
		port := want
		if try > 0 {
			l, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				return 0, fmt.Errorf("cassandra: %w", err)
			}
			port = l.Addr().(*net.TCPAddr).Port
			l.Close()
		}
		free := true
		for _, a := range addresses {
			l, err := net.Listen("tcp4", net.JoinHostPort(a, strconv.Itoa(port)))
			if err != nil {
				free = false
				break
			}
			l.Close()
		}
		if free {
			return port, nil
		}
	}
	return 0, errors.New("cassandra: no port is free on all addresses")
}

// Hosts lists the nodes' CQL addresses as host:port, separated by commas.
func (c *Cluster) Hosts() string {
	var hosts []string
	for _, n := range c.nodes {
		hosts = append(hosts, n.hostPort())
	}
	return strings.Join(hosts, ",")
}

// Nodes is how many nodes there are.
func (c *Cluster) Nodes() int { return len(c.nodes) }

func (n *node) hostPort() string { return net.JoinHostPort(n.address, strconv.Itoa(n.native)) }

func (c *Cluster) node(i int) (*node, error) {
	if i < 0 || i >= len(c.nodes) {
		return nil, fmt.Errorf("cassandra: there is no node %d of %d", i, len(c.nodes))
	}
	return c.nodes[i], nil
}

// PID of a node's process; 0: it does not run.
func (c *Cluster) PID(i int) int {
	n, err := c.node(i)
	if err != nil {
		return 0
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return 0
	}
	return n.cmd.Process.Pid
}

// StartNode starts a node that does not run and waits until it answers clients.
func (c *Cluster) StartNode(ctx context.Context, i int) error {
	n, err := c.node(i)
	if err != nil {
		return err
	}
	if err := n.start(); err != nil {
		return err
	}
	return n.wait(ctx)
}

// KillNode ends a node with SIGKILL and waits for its end.
func (c *Cluster) KillNode(i int) error {
	n, err := c.node(i)
	if err != nil {
		return err
	}
	n.kill()
	return nil
}

// PauseNode stops a node with SIGSTOP: its connections stay open and nobody answers.
func (c *Cluster) PauseNode(i int) error { return c.signal(i, syscall.SIGSTOP) }

// ResumeNode lets a paused node go on.
func (c *Cluster) ResumeNode(i int) error { return c.signal(i, syscall.SIGCONT) }

func (c *Cluster) signal(i int, s syscall.Signal) error {
	n, err := c.node(i)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return fmt.Errorf("cassandra: node %d does not run", i)
	}
	return n.cmd.Process.Signal(s)
}

// Close kills all nodes.
func (c *Cluster) Close() {
	for _, n := range c.nodes {
		n.mu.Lock()
		n.closed = true
		n.mu.Unlock()
		n.kill()
	}
	if c.remove {
		_ = os.RemoveAll(c.cfg.Dir)
	}
}

// LogTail is the end of a node's log.
func (c *Cluster) LogTail(i int) string {
	n, err := c.node(i)
	if err != nil {
		return err.Error()
	}
	return n.logTail()
}

func (n *node) logTail() string {
	b, _ := os.ReadFile(filepath.Join(n.dir, "log"))
	return string(b[max(0, len(b)-4000):])
}

func (n *node) start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil || n.closed {
		return fmt.Errorf("cassandra: node %s runs already, or its cluster is closed", n.address)
	}
	logFile, err := os.OpenFile(filepath.Join(n.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("cassandra: %w", err)
	}
	defer logFile.Close()
	cmd := exec.Command(n.java, n.args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = n.dir, logFile, logFile
	exited := make(chan struct{})
	if err := startWithParent(cmd, exited); err != nil {
		return fmt.Errorf("cassandra: %w", err)
	}
	killed := make(chan struct{})
	n.cmd, n.exited, n.killed = cmd, exited, killed
	n.watch.Go(func() { n.report(cmd, exited, killed) })
	return nil
}

// report tells of an end that nobody asked for: without it tests that follow only see refused connections.
func (n *node) report(cmd *exec.Cmd, exited, killed <-chan struct{}) {
	select {
	case <-killed:
	case <-exited:
		select {
		case <-killed:
		default:
			fmt.Fprintf(n.log, "cassandra: %s ended by itself (%v):\n%s\n", n.address, cmd.ProcessState, n.logTail())
		}
	}
}

func (n *node) kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return
	}
	close(n.killed)
	_ = n.cmd.Process.Kill()
	<-n.exited
	n.watch.Wait()
	n.cmd = nil
}

// wait polls until the node answers an OPTIONS request of the native protocol.
func (n *node) wait(ctx context.Context) error {
	n.mu.Lock()
	exited := n.exited
	n.mu.Unlock()
	deadline := time.Now().Add(startTime)
	for {
		if answers(ctx, n.hostPort()) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cassandra: start of %s: %w", n.address, ctx.Err())
		case <-exited:
			return fmt.Errorf("cassandra: %s ended at its start:\n%s", n.address, n.logTail())
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("cassandra: %s does not answer after %v:\n%s", n.address, startTime, n.logTail())
		}
	}
}

func answers(ctx context.Context, hostPort string) bool {
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, "tcp4", hostPort)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := conn.Write([]byte{4, 0, 0, 0, 5, 0, 0, 0, 0}); err != nil { // version 4, OPTIONS, no body
		return false
	}
	var header [9]byte
	_, err = io.ReadFull(conn, header[:])
	return err == nil && header[0] == 0x84 && header[4] == 6 // SUPPORTED
}
