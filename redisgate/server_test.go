package redisgate

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// A testServer is a real redis-server, or a valkey-server, of this test, on a
// port of loopback that stays the same when it is restarted.
type testServer struct {
	t       testing.TB
	binary  string
	dir     string
	port    string
	env     []string
	process *exec.Cmd
}

func startServer(t testing.TB, args ...string) *testServer {
	t.Helper()
	s := newServer(t)
	s.start(args...)
	return s
}

// missing ends a test that lacks something of the machine.
func missing(t testing.TB, how string) {
	t.Helper()
	if os.Getenv("IAMHTTP_E2E") == "required" {
		t.Fatal(how)
	}
	t.Skip(how)
}

func newServer(t testing.TB) *testServer {
	t.Helper()
	binary := os.Getenv("IAMHTTP_REDIS_SERVER")
	if binary == "" {
		for _, name := range []string{"redis-server", "valkey-server"} {
			if path, err := exec.LookPath(name); err == nil {
				binary = path
				break
			}
		}
	}
	if binary == "" {
		missing(t, "no redis-server or valkey-server: apt-get install redis-server, or name one in IAMHTTP_REDIS_SERVER")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	s := &testServer{t: t, binary: binary, dir: t.TempDir(), port: port}
	t.Cleanup(s.kill)
	return s
}

func (s *testServer) addr() string { return "127.0.0.1:" + s.port }

func (s *testServer) start(args ...string) {
	s.t.Helper()
	s.process = exec.Command(s.binary, append([]string{"--port", s.port, "--bind", "127.0.0.1",
		"--dir", s.dir, "--logfile", filepath.Join(s.dir, "log"), "--save", "", "--appendonly", "no"}, args...)...)
	s.process.Env = append(os.Environ(), s.env...)
	require.NoError(s.t, s.process.Start())
	require.Eventually(s.t, func() bool {
		c, err := net.Dial("tcp", s.addr())
		if err == nil {
			c.Close()
		}
		return err == nil
	}, 10*time.Second, 10*time.Millisecond, "redis-server does not listen")
}

func (s *testServer) kill() {
	if s.process != nil {
		s.process.Process.Kill()
		s.process.Wait()
		s.process = nil
	}
}

func (s *testServer) signal(sig syscall.Signal) { s.process.Process.Signal(sig) }

// ask runs a command on a connection of its own.
func (s *testServer) ask(args ...any) any {
	s.t.Helper()
	c := redis.NewClient(&redis.Options{Addr: s.addr()})
	defer c.Close()
	v, err := c.Do(context.Background(), args...).Result()
	require.NoError(s.t, err)
	return v
}

// commands returns how many commands the server has carried out.
func (s *testServer) commands() (n int) {
	for line := range strings.Lines(fmt.Sprint(s.ask("info", "stats"))) {
		if v, ok := strings.CutPrefix(line, "total_commands_processed:"); ok {
			fmt.Sscan(v, &n)
		}
	}
	return n
}

// A logbook is a log that can be read.
type logbook struct {
	mu    sync.Mutex
	lines []string
}

func (b *logbook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, string(p))
	return len(p), nil
}

func (b *logbook) count(text string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.lines {
		if strings.Contains(l, text) {
			n++
		}
	}
	return n
}

// inTheFleet asserts that it was told of each loss of the server, once, that it
// is over. On a machine that has no time for the test a server that is well may
// seem lost for a moment.
func (b *logbook) inTheFleet(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return b.count(lostText) == b.count(backText) }, 3*soon, 5*time.Millisecond)
}

const lostText, backText = "lost the fleet", "back in the fleet"

// newGate makes the gate of one more process, whose connections go to addr.
func newGate(t testing.TB, addr string) (*Gate, *logbook) {
	book := new(logbook)
	client := redis.NewClient(&redis.Options{Addr: addr})
	g := New(client, Options{Logger: slog.New(slog.NewTextHandler(book, nil))})
	t.Cleanup(func() {
		g.Close()
		client.Close()
	})
	return g, book
}

func newGates(t testing.TB, addr string, n int) (gates []*Gate, books []*logbook) {
	for range n {
		g, b := newGate(t, addr)
		gates, books = append(gates, g), append(books, b)
	}
	return gates, books
}

// A relay stands between clients and the server: it can be slow, cut, and lead
// to another server.
type relay struct {
	listener net.Listener
	mu       sync.Mutex
	target   string
	delay    time.Duration
	conns    map[net.Conn]bool
}

func startRelay(t testing.TB, target string) *relay {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &relay{listener: l, target: target, conns: make(map[net.Conn]bool)}
	go r.serve()
	t.Cleanup(func() {
		l.Close()
		r.cut()
	})
	return r
}

func (r *relay) addr() string { return r.listener.Addr().String() }

func (r *relay) serve() {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		target := r.target
		r.mu.Unlock()
		s, err := net.Dial("tcp", target)
		if err != nil {
			c.Close()
			continue
		}
		r.mu.Lock()
		r.conns[c], r.conns[s] = true, true
		r.mu.Unlock()
		go func() { io.Copy(s, c); s.Close() }()
		go r.answers(c, s)
	}
}

// answers passes on what the server says, late if that is asked for.
func (r *relay) answers(to, from net.Conn) {
	defer to.Close()
	type chunk struct {
		data []byte
		due  time.Time
	}
	chunks := make(chan chunk, 1024)
	go func() {
		defer close(chunks)
		for {
			b := make([]byte, 16<<10)
			n, err := from.Read(b)
			if err != nil {
				return
			}
			r.mu.Lock()
			due := time.Now().Add(r.delay)
			r.mu.Unlock()
			chunks <- chunk{b[:n], due}
		}
	}()
	for c := range chunks {
		if d := time.Until(c.due); d > 0 {
			<-time.After(d)
		}
		if _, err := to.Write(c.data); err != nil {
			from.Close()
		}
	}
}

func (r *relay) setDelay(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay = d
}

func (r *relay) setTarget(addr string) {
	r.mu.Lock()
	r.target = addr
	r.mu.Unlock()
	r.cut()
}

func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		c.Close()
	}
	clear(r.conns)
}
