package redisgate

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/gate"
)

// A site is a server with a relay in front of it.
type site struct {
	*testServer
	relay *relay
}

var troubles = map[string]struct{ begin, end func(s *site) }{
	"killed and restarted empty": {
		func(s *site) { s.kill() },
		func(s *site) { s.start() },
	},
	"frozen": {
		func(s *site) { s.signal(syscall.SIGSTOP) },
		func(s *site) { s.signal(syscall.SIGCONT) },
	},
	"slow": {
		func(s *site) { s.relay.setDelay(time.Second) },
		func(s *site) { s.relay.setDelay(0) },
	},
	"out of memory": {
		func(s *site) { s.ask("config", "set", "maxmemory", "1") },
		func(s *site) { s.ask("config", "set", "maxmemory", "0") },
	},
	"using another password": {
		func(s *site) {
			s.ask("config", "set", "requirepass", "other")
			s.relay.cut()
		},
		func(s *site) {
			c := redis.NewClient(&redis.Options{Addr: s.testServer.addr(), Password: "other"})
			defer c.Close()
			c.ConfigSet(context.Background(), "requirepass", "")
		},
	},
	"refusing connections": {
		func(s *site) { s.relay.lead(to("127.0.0.1:1")) },
		func(s *site) { s.relay.lead(to(s.testServer.addr())) },
	},
}

// Trouble with the server is logged. No call fails and no process stops because of the
// trouble. Once the trouble is over, the processes form a fleet again.
func TestNoCallFailsWhenTheServerFails(t *testing.T) {
	t.Parallel()
	for name, trouble := range troubles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startServer(t)
			s := &site{server, startRelay(t, server.addr())}
			gates, books := newGates(t, s.relay.addr(), 3)
			a := newAccount(100, 20, time.Second)
			c := start(gates, 10, 1<<40, "k", a)
			reach := func(n int, what string) {
				t.Helper()
				_, before, _ := a.counts()
				require.Eventually(t, func() bool {
					_, accepted, _ := a.counts()
					return accepted >= before+n
				}, 6*soon, 5*time.Millisecond, what)
			}
			reach(100, "too few requests were accepted before the trouble")
			lost := func(b *logbook) bool { return b.count(lostText) == b.count(backText)+1 }
			trouble.begin(s)
			reach(100, "too few requests were accepted during the trouble: server "+name)
			for _, b := range books {
				require.Eventually(t, func() bool { return lost(b) }, 3*soon, 5*time.Millisecond, "the process should have logged that it lost the fleet")
			}
			trouble.end(s)
			for _, b := range books {
				b.inTheFleet(t)
			}
			leaderOf(t, gates, "k")
			reach(50, "too few requests were accepted after the trouble")
			c.left.Store(0)
			c.wait(t)
		})
	}
}

// In virtual time, the exact number of log lines is known: each process logs two lines
// per outage, however long the outage lasts.
func TestLosingAndRejoiningAreLoggedOnce(t *testing.T) {
	unreachable := func() (net.Conn, error) { return nil, errors.New("unreachable") }
	for name, trouble := range map[string]struct{ begin, end func(w *world) }{
		"frozen":      {func(w *world) { w.relay.freeze() }, func(w *world) { w.relay.thaw() }},
		"slow":        {func(w *world) { w.relay.setDelay(time.Second) }, func(w *world) { w.relay.setDelay(time.Millisecond) }},
		"unreachable": {func(w *world) { w.relay.lead(unreachable) }, func(w *world) { w.relay.lead(w.server.Dial) }},
		"failing":     {func(w *world) { w.server.SetError("LOADING") }, func(w *world) { w.server.SetError("") }},
	} {
		for load, callers := range map[string]int{"in use": 5, "idle": 0} {
			t.Run("server "+name+", account "+load, func(t *testing.T) {
				inVirtualTime(t, func(t *testing.T, w *world) {
					gates, books := w.gates(3)
					a := newAccount(20, 5, time.Second)
					a.trip = 20 * time.Millisecond
					c := start(gates, callers, 1<<40, "k", a)
					time.Sleep(10 * time.Second)
					for outage := 1; outage <= 2; outage++ {
						trouble.begin(w)
						time.Sleep(20 * time.Second)
						for _, b := range books {
							assert.Equal(t, outage, b.count(lostText))
						}
						trouble.end(w)
						time.Sleep(20 * time.Second)
						for _, b := range books {
							assert.Equal(t, outage, b.count(backText))
							assert.Len(t, b.all(), 2*outage)
						}
					}
					c.left.Store(0)
					c.wait(t)
				})
			})
		}
	}
}

func TestFleetSurvivesAFailoverToAnotherServer(t *testing.T) {
	t.Parallel()
	first, second := startServer(t), startServer(t)
	second.ask("replicaof", "127.0.0.1", first.port)
	r := startRelay(t, first.addr())
	gates, books := newGates(t, r.addr(), 3)
	a := newAccount(100, 20, time.Second)
	c := start(gates, 10, 1<<40, "k", a)
	require.Eventually(t, func() bool { _, n, _ := a.counts(); return n > 100 }, 6*soon, time.Millisecond)
	first.kill()
	second.ask("replicaof", "no", "one")
	r.lead(to(second.addr()))
	for _, b := range books {
		require.Eventually(t, func() bool { return b.count(backText) == b.count(lostText) }, 3*soon, 5*time.Millisecond)
	}
	leaderOf(t, gates, "k")
	c.left.Store(0)
	c.wait(t)
}

func TestProcessStartsWithoutTheServerAndJoinsTheFleetLater(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.kill()
	gates, books := newGates(t, s.addr(), 2)
	for _, g := range gates {
		assert.Zero(t, pauseAt(g, "k"))
	}
	throttle(t, gates[0], "k", time.Minute)
	assert.Positive(t, pauseAt(gates[0], "k"), "the process that was throttled must pause, as a gate.Adaptive would")
	assert.Zero(t, pauseAt(gates[1], "k"))
	s.start()
	for _, b := range books {
		require.Eventually(t, func() bool { return b.count(backText) >= 1 }, soon, 5*time.Millisecond)
		b.inTheFleet(t)
	}
	throttle(t, gates[1], "another", time.Minute)
	require.Eventually(t, pauses(gates[0], "another"), soon, 5*time.Millisecond)
}

func TestWrongPasswordIsLoggedAndNoCallFails(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--requirepass", "right")
	book := new(logbook)
	client := redis.NewClient(&redis.Options{Addr: s.addr(), Password: "wrong"})
	defer client.Close()
	g := New(client, Options{Logger: slog.New(slog.NewTextHandler(book, nil))})
	defer g.Close()
	a := newAccount(100, 10, time.Second)
	start([]gate.Gate{g}, 20, 100, "k", a).wait(t)
	assert.Equal(t, 1, book.count(lostText))
	assert.Equal(t, 1, book.count("WRONGPASS"))
}

// A server that accepts connections and never replies must not block a request.
func TestSilentServerBlocksNoRequest(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	g, _ := newGate(t, l.Addr().String())
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	for range 3 {
		ticket, err := g.Wait(ctx, gate.Request{Key: "k"})
		require.NoError(t, err)
		g.Observe(gate.Request{Key: "k"}, ticket, gate.Outcome{Result: gate.Throttled, RetryAfter: 100 * time.Millisecond})
	}
}

func TestCloseDoesNotWaitLongForASilentServer(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	g, _ := newGateOf(t, redis.NewClient(&redis.Options{Addr: s.addr(), ReadTimeout: 3 * soon})) // go-redis alone would wait for this long
	throttle(t, g, "k", time.Second)
	leaderOf(t, []*Gate{g}, "k")
	s.signal(syscall.SIGSTOP)
	closed := make(chan struct{})
	go func() {
		g.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(soon):
		t.Error("Close is still waiting for the server")
	}
}

// A wrong clock, on this machine or on the server, makes no difference: processes never
// send the time of day, and the scripts use only the server's clock.
func TestNoTimeOfDayCrossesTheNetwork(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	monitor, err := net.Dial("tcp", s.addr())
	require.NoError(t, err)
	defer monitor.Close()
	_, err = monitor.Write([]byte("MONITOR\r\n"))
	require.NoError(t, err)
	lines := bufio.NewScanner(monitor)
	require.True(t, lines.Scan())
	now := time.Now().Unix()
	gates, _ := newGates(t, s.addr(), 3)
	start(gates, 5, 150, "k", newAccount(100, 10, time.Second)).wait(t)
	s.ask("ping", "the end")

	number := regexp.MustCompile(`[0-9]{10,}`)
	seen := 0
	for lines.Scan() && !strings.Contains(lines.Text(), "the end") {
		from, command, _ := strings.Cut(lines.Text(), "]")
		if strings.HasSuffix(from, " lua") { // a command inside a script, which may contain the server's time
			continue
		}
		seen++
		for _, n := range number.FindAllString(command, -1) {
			for _, unit := range []int64{1, 1e3, 1e6, 1e9} {
				at, err := strconv.ParseInt(n, 10, 64)
				assert.False(t, err == nil && at/unit >= now && at/unit < now+60, command)
			}
		}
	}
	assert.Greater(t, seen, 100)
}

// A process that is alone still learns of pauses from the service. The other processes
// learn of such a pause once the process is back in the fleet.
func TestPauseDuringOutageIsPublishedAfterRejoin(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, books := w.gates(2)
		w.relay.freeze()
		require.Eventually(t, func() bool { return !gates[0].usable() && !gates[1].usable() }, 2*soon, 100*time.Millisecond)
		throttle(t, gates[0], "k", 10*time.Minute)
		time.Sleep(time.Minute)
		w.relay.thaw()
		for _, b := range books {
			b.inTheFleet(t)
		}
		time.Sleep(time.Second)
		late, _ := w.gate()
		for _, g := range append(gates, late) {
			assert.InDelta(t, 9*time.Minute, pauseAt(g, "k"), float64(20*time.Second))
		}
	})
}

// A process that is alone may open an account about which the fleet has learned nothing.
// The call must not wait for the pause that a new controller begins with.
func TestNewAccountIsServedWhileTheServerIsLost(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, books := w.gates(2)
		throttle(t, gates[0], "k", time.Second) // no other request follows, so nothing is learned
		time.Sleep(5 * time.Second)
		w.relay.freeze()
		require.Eventually(t, func() bool { return !gates[1].usable() }, 2*soon, 100*time.Millisecond)
		began := time.Now()
		start(gates[1:], 1, 1, "k", newAccount(100, 10, time.Second)).wait(t)
		assert.Zero(t, time.Since(began), "the call was delayed although there was nothing to wait for")
		w.relay.thaw()
		for _, b := range books {
			b.inTheFleet(t)
		}
		late, _ := w.gate()
		for _, g := range append(gates, late) {
			assert.LessOrEqual(t, pauseAt(g, "k"), defaultPause)
		}
	})
}
