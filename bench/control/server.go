package control

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/coder/websocket"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/bench/measure"
	"github.com/zumodra/hub/bench/worker"
)

// server is where workers join.
type server struct {
	token string
	dir   string // of the records
	http  *http.Server
	url   string
	ended chan error
	came  chan *peer
	gone  context.Context
	stop  context.CancelFunc
}

// peer is a worker that joined.
type peer struct {
	c      *websocket.Conn
	hello  hello
	part   int
	offset time.Duration
	err    time.Duration
	done   chan struct{} // closed when its handler may end

	// What it told, under control.mu.
	progress   worker.Progress
	connected  bool
	settled    bool
	unsettled  worker.Unsettled
	report     *worker.Report
	violations int64
}

func listen(address, token, dir string) (*server, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for workers: %w", err)
	}
	s := &server{token: token, dir: dir, url: "http://" + l.Addr().String(), ended: make(chan error, 1), came: make(chan *peer)}
	s.gone, s.stop = context.WithCancel(context.Background())
	mux := http.NewServeMux()
	mux.HandleFunc("GET /join", s.join)
	mux.HandleFunc("POST /record/{part}", s.record)
	s.http = &http.Server{Handler: s.authorized(mux), ReadHeaderTimeout: 10 * time.Second}
	go func() { s.ended <- s.http.Serve(l) }() // ends with close, which waits
	return s, nil
}

func (s *server) close() {
	s.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close()
	}
	<-s.ended
}

func (s *server) authorized(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+s.token)) != 1 {
			http.Error(w, "the token is not this controller's", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// join hands a worker over to the run, and stays for as long as it is there.
func (s *server) join(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // answered
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(maxMessage)
	m, err := receive(r.Context(), c)
	if err != nil || m.Kind != kindHello || m.Hello == nil {
		return
	}
	if m.Hello.Protocol != Protocol {
		_ = c.Close(websocket.StatusPolicyViolation, fmt.Sprintf("this controller speaks version %d, the worker %d", Protocol, m.Hello.Protocol))
		return
	}
	p := &peer{c: c, hello: *m.Hello, done: make(chan struct{})}
	select {
	case s.came <- p:
		<-p.done
	case <-s.gone.Done():
		_ = c.Close(websocket.StatusGoingAway, "the run has its workers, or has ended")
	case <-r.Context().Done():
	}
}

func (s *server) file(part int) string {
	return filepath.Join(s.dir, fmt.Sprintf("record-%d.bin", part))
}

// record takes the history that a worker saw.
func (s *server) record(w http.ResponseWriter, r *http.Request) {
	part, err := strconv.Atoi(r.PathValue("part"))
	if err != nil || part < 0 || part > maxWorkers {
		http.Error(w, "no such worker", http.StatusNotFound)
		return
	}
	f, err := os.OpenFile(s.file(part), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = io.Copy(f, r.Body)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// asks is how often a worker is asked for its time; the shortest answer counts.
const asks = 15

// sync measures a worker's clock.
func (p *peer) sync(ctx context.Context) error {
	p.err = time.Hour
	for range asks {
		sent := time.Now()
		if err := send(ctx, p.c, &message{Kind: kindTime}); err != nil {
			return err
		}
		m, err := receive(ctx, p.c)
		if err != nil {
			return err
		}
		if m.Kind != kindTime {
			return fmt.Errorf("worker %s answered %q when asked for its time: %s", p.hello.Name, m.Kind, m.Error)
		}
		took := time.Since(sent)
		if took/2 < p.err {
			p.offset, p.err = time.Unix(0, m.At).Sub(sent.Add(took/2)), took/2
		}
	}
	return nil
}

// judge lets the checkers see everything that all workers saw.
func (s *server) judge(peers []*peer, linear check.Linear) (*check.Report, error) {
	parts := make([]check.Part, len(peers))
	for i, p := range peers {
		f, err := os.Open(s.file(p.part))
		if err != nil {
			return nil, fmt.Errorf("open the record of %s: %w", p.hello.Name, err)
		}
		defer f.Close()
		parts[i] = check.Part{R: f, Error: p.err} // its clock was set right when it wrote
	}
	return check.Merge(linear, parts...)
}

func (p *peer) worker() measure.Worker {
	w := measure.Worker{Name: p.hello.Name, Host: p.hello.Host, PID: p.hello.PID, Offset: p.offset, Error: p.err}
	if r := p.report; r != nil {
		w.Connections, w.CPU, w.Spilled = r.Connections, r.CPU, r.Spilled
	}
	return w
}
