package redisgate

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// A testServer is a real redis-server or valkey-server on a loopback port, and keeps the
// port when it is restarted.
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

// missing skips a test that needs something this machine does not have. If IAMHTTP_E2E
// is "required", missing fails the test instead.
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
		missing(t, "no redis-server or valkey-server found: install one, or set IAMHTTP_REDIS_SERVER to the path of one")
	}
	s := &testServer{t: t, binary: binary, dir: t.TempDir(), port: nextPort(t)}
	t.Cleanup(s.kill)
	return s
}

// ports is the number of ports that nextPort has returned or tried.
var ports atomic.Int64

// nextPort returns a port that nobody uses. The system gives ports in this range to no
// listener and no connection that leaves the choice to it, so a server finds its port free
// when it is started again.
func nextPort(t testing.TB) string {
	for range 1000 {
		port := strconv.FormatInt(15000+(int64(os.Getpid())*37+ports.Add(1))%15000, 10)
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("found no free port")
	return ""
}

func (s *testServer) addr() string { return "127.0.0.1:" + s.port }

func (s *testServer) start(args ...string) {
	s.t.Helper()
	s.process = exec.Command(s.binary, append([]string{"--port", s.port, "--bind", "127.0.0.1",
		"--dir", s.dir, "--logfile", filepath.Join(s.dir, "log"), "--save", "", "--appendonly", "no"}, args...)...)
	s.process.Env = append(os.Environ(), s.env...)
	require.NoError(s.t, s.process.Start())
	s.listens()
}

// listens waits until the server is listening. It reads the process ID from the server,
// because another server might have taken the port.
func (s *testServer) listens() {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		c := redis.NewClient(&redis.Options{Addr: s.addr(), MaxRetries: -1})
		defer c.Close()
		info, err := c.Info(context.Background(), "server").Result()
		if err != nil { // also if the server requires a password, or is still loading
			return strings.HasPrefix(err.Error(), "NOAUTH")
		}
		return strings.Contains(info, fmt.Sprintf("process_id:%d\r", s.process.Process.Pid))
	}, 10*time.Second, 10*time.Millisecond, "the server is not listening")
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

// commands returns how many commands the server has processed.
func (s *testServer) commands() (n int) {
	for line := range strings.Lines(fmt.Sprint(s.ask("info", "stats"))) {
		if v, ok := strings.CutPrefix(line, "total_commands_processed:"); ok {
			fmt.Sscan(v, &n)
		}
	}
	return n
}

// A logbook collects log lines.
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

func (b *logbook) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.lines)
}

// inTheFleet asserts that the process has rejoined the fleet after every loss of the
// server. On a busy machine, a working server may seem lost for a moment.
func (b *logbook) inTheFleet(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return b.count(lostText) == b.count(backText) }, 3*soon, 5*time.Millisecond)
}

const lostText, backText = "lost the fleet", "back in the fleet"

// newGate returns the gate of a new process that connects to addr.
func newGate(t testing.TB, addr string) (*Gate, *logbook) {
	return newGateOf(t, redis.NewClient(&redis.Options{Addr: addr}))
}

func newGateOf(t testing.TB, client redis.UniversalClient) (*Gate, *logbook) {
	book := new(logbook)
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
