package redisgate

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// soon is how long a test waits for something that normally takes much less time.
const soon = 10 * time.Second

// pauseAt returns how long the account is paused at a gate, or 0 if the gate does not
// refuse a request that has a deadline in 100 ms.
func pauseAt(g *Gate, key string) time.Duration {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	ticket, err := g.Wait(ctx, gate.Request{Key: key})
	if e, ok := err.(*gate.Error); ok {
		return e.RetryAfter
	}
	if err == nil {
		g.Observe(gate.Request{Key: key}, ticket, gate.Outcome{Result: gate.Accepted})
	}
	return 0
}

func pauses(g *Gate, key string) func() bool {
	return func() bool { return pauseAt(g, key) > 0 }
}

// leads reports whether the gate leads the key's account.
func (g *Gate) leads(key string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.leaders[g.names.of(key)] != nil
}

func leaderOf(t *testing.T, gates []*Gate, key string) (at int) {
	t.Helper()
	require.Eventually(t, func() bool {
		for i, g := range gates {
			if g.leads(key) {
				at = i
				return true
			}
		}
		return false
	}, soon, 5*time.Millisecond, "no gate leads the account")
	return at
}

func TestFleetBehavesLikeOneClient(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	gates, books := newGates(t, s.addr(), 10)
	a := newAccount(200, 50, time.Second)
	start(gates, 10, 1000, "k", a).wait(t)
	sent, accepted, early := a.counts()
	assert.Zero(t, early, "requests were sent during a Retry-After")
	assert.Less(t, sent, accepted*6/5)
	for _, b := range books {
		b.inTheFleet(t)
	}
}

// An ideal scheduler needs one minute for these calls. bench/fleet measures the same
// thing with real processes, on a machine that also does other work.
func TestFleetTakesLittleMoreTimeThanAnIdealScheduler(t *testing.T) {
	for name, limit := range map[string]func(*account){
		"bucket":  func(a *account) { a.depth, a.tokens = 20, 20 },
		"counter": func(a *account) { a.counter = new(counter) },
	} {
		var sum time.Duration
		phases := 0
		for phase := 0; phase < 1000; phase += 250 {
			if name == "bucket" && phase > 0 {
				break // a bucket does not count by seconds
			}
			phases++
			t.Run(fmt.Sprintf("%s, started %d ms into a second", name, phase), func(t *testing.T) {
				inVirtualTime(t, func(t *testing.T, w *world) {
					time.Sleep(time.Duration(phase) * time.Millisecond)
					gates, books := w.gates(20)
					a := newAccount(100, 1, time.Second)
					a.trip = 5 * time.Millisecond
					limit(a)
					began := time.Now()
					c := start(gates, 50, 6000, "k", a)
					c.wait(t)
					took := time.Since(began)
					t.Log(took)
					sum += took
					assert.Less(t, took, 80*time.Second)
					sent, accepted, early := a.counts()
					assert.Less(t, float64(sent), 1.05*float64(accepted))
					assert.Zero(t, early, "requests were sent during a Retry-After")
					for _, b := range books {
						assert.Empty(t, b.all())
					}
				})
			})
		}
		// Single runs with a counter take 67 to 77 s, because their jitter differs.
		assert.Less(t, sum/time.Duration(phases), 74*time.Second, "%s, on average", name)
	}
}

// This test needs virtual time: a server that replies too slowly counts as lost, and a
// real server may reply too slowly if the machine is busy.
func TestHealthyFleetIsNeverReportedLost(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, books := w.gates(10)
		a := newAccount(200, 50, time.Second)
		a.trip = 20 * time.Millisecond
		for range 3 { // between rounds, the leader resigns, and processes send signs of life
			start(gates, 10, 1000, "k", a).wait(t)
			time.Sleep(30 * time.Second)
		}
		_, _, early := a.counts()
		assert.Zero(t, early, "requests were sent during a Retry-After")
		for _, b := range books {
			assert.Empty(t, b.all())
		}
	})
}

func TestGreedyProcessDoesNotStarveAnother(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(2)
		a := newAccount(100, 10, time.Second)
		throttle(t, gates[0], "k", time.Second)
		greedy := start(gates[:1], 200, 400, "k", a)
		modest := start(gates[1:], 5, 100, "k", a)
		modest.wait(t)
		assert.Less(t, greedy.done[0].Load(), int64(300), "the greedy process made too many calls before the modest process had made its 100")
		greedy.wait(t)
	})
}

func Test429PausesEveryProcess(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	gates, _ := newGates(t, s.addr(), 4)
	for _, g := range gates { // so that each gate has an account that is not throttled
		assert.Zero(t, pauseAt(g, "k"))
	}
	throttle(t, gates[0], "k", 20*time.Second)
	for _, g := range gates {
		require.Eventually(t, pauses(g, "k"), soon, time.Millisecond)
		assert.Zero(t, pauseAt(g, "another"))
	}
}

// The last process must have read from the server before New returns, which a busy machine does not
// guarantee, so this test and the next one need virtual time.
func TestLongestPauseWins(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(3)
		tickets := make([]gate.Ticket, 2)
		for i := range tickets {
			var err error
			tickets[i], err = gates[i].Wait(context.Background(), gate.Request{Key: "k"})
			require.NoError(t, err)
		}
		gates[0].Observe(gate.Request{Key: "k"}, tickets[0], gate.Outcome{Result: gate.Throttled, RetryAfter: time.Minute})
		require.Eventually(t, pauses(gates[1], "k"), soon, time.Millisecond)
		gates[1].Observe(gate.Request{Key: "k"}, tickets[1], gate.Outcome{Result: gate.Throttled, RetryAfter: time.Second})
		time.Sleep(time.Second)
		for _, g := range gates {
			assert.Greater(t, pauseAt(g, "k"), 40*time.Second)
		}
		// The shorter pause must not shorten the pause on the server either.
		later, _ := w.gate()
		assert.Greater(t, pauseAt(later, "k"), 40*time.Second)
	})
}

func TestProcessThatStartsDuringAPauseKnowsAboutItBeforeItsFirstRequest(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		first, _ := w.gate()
		throttle(t, first, "k", time.Minute)
		require.Eventually(t, func() bool { return w.server.Exists(first.names.accounts) }, soon, time.Millisecond)
		first.Close() // now only the server knows about the pause
		g, _ := w.gate()
		assert.Greater(t, pauseAt(g, "k"), 40*time.Second)
	})
}

func TestLearnedPaceOutlivesTheProcesses(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(2)
		a := newAccount(100, 10, time.Second)
		start(gates, 20, 300, "k", a).wait(t)
		for _, g := range gates {
			g.Close()
		}
		g, _ := w.gate()
		g.mu.Lock()
		n := g.notes[g.names.of("k")]
		g.mu.Unlock()
		require.NotNil(t, n.Learned)
		assert.Less(t, n.Learned.Pace, 200.0)
		assert.Greater(t, n.Learned.Pace, 20.0)
	})
}

func TestStartWindowIsDividedAmongTheProcesses(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(8)
		for _, g := range gates {
			require.Eventually(t, func() bool {
				g.mu.Lock()
				defer g.mu.Unlock()
				return g.size == 8
			}, soon, time.Millisecond)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		left := 0
		for {
			if _, err := gates[0].Wait(ctx, gate.Request{Key: "k"}); err != nil {
				break
			}
			left++
		}
		assert.Equal(t, 64/8, left)
	})
}

func TestRequestBeforeTheFirst429CostsNeitherCommandsNorAllocations(t *testing.T) {
	s := startServer(t)
	g, _ := newGate(t, s.addr())
	ctx := context.Background()
	before := s.commands()
	allocs := testing.AllocsPerRun(20_000, func() {
		ticket, err := g.Wait(ctx, gate.Request{Key: "k"})
		if err != nil {
			t.Fatal(err)
		}
		g.Observe(gate.Request{Key: "k"}, ticket, gate.Outcome{Result: gate.Accepted})
	})
	assert.Zero(t, allocs)
	assert.Less(t, s.commands()-before, 50, "too many commands reached the server; this test itself sends a few")
}

func TestEverythingOnTheServerExpiresAndRevealsNoKeys(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	gates, _ := newGates(t, s.addr(), 3)
	a := newAccount(100, 10, time.Second)
	c := start(gates, 10, 200, "my-secret-token", a)
	leaderOf(t, gates, "my-secret-token")
	monitor := redis.NewClient(&redis.Options{Addr: s.addr()})
	defer monitor.Close()
	sub := monitor.PSubscribe(t.Context(), "*")
	defer sub.Close()
	m, err := sub.ReceiveMessage(t.Context())
	require.NoError(t, err)
	assert.NotContains(t, m.Channel+m.Payload, "secret")
	c.wait(t)
	keys := s.ask("keys", "*").([]any)
	assert.NotEmpty(t, keys)
	for _, key := range keys {
		assert.True(t, strings.HasPrefix(key.(string), "{iamhttp}:"), key)
		assert.Positive(t, s.ask("pttl", key), key)
	}
	assert.NotContains(t, fmt.Sprint(s.ask("hgetall", "{iamhttp}:1:accounts")), "secret")
}

func TestFleetsWithDifferentNamespacesIgnoreEachOther(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a, _ := newGate(t, s.addr())
	client := redis.NewClient(&redis.Options{Addr: s.addr()})
	defer client.Close()
	b := New(client, Options{Namespace: "other"})
	defer b.Close()
	throttle(t, a, "k", time.Minute)
	c, _ := newGate(t, s.addr())
	require.Eventually(t, pauses(c, "k"), soon, time.Millisecond)
	assert.Zero(t, pauseAt(b, "k"))
	assert.NotEqual(t, a.names.of("k"), b.names.of("k"))
}

func TestFleetsInDifferentDatabasesOfAServerIgnoreEachOther(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var gates []*Gate
	for _, client := range []redis.UniversalClient{
		redis.NewClient(&redis.Options{Addr: s.addr()}),
		redis.NewClient(&redis.Options{Addr: s.addr()}),
		redis.NewClient(&redis.Options{Addr: s.addr(), DB: 1}),
		struct{ *redis.Client }{redis.NewClient(&redis.Options{Addr: s.addr(), DB: 1})},
		redis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{s.addr()}, DB: 2}),
	} {
		g, _ := newGateOf(t, client)
		gates = append(gates, g)
	}
	production, staging, others := gates[:2], gates[2:4], gates[4:]
	throttle(t, staging[0], "k", time.Minute)
	require.Eventually(t, pauses(staging[1], "k"), soon, time.Millisecond)
	for _, g := range slices.Concat(production, others) {
		assert.Zero(t, pauseAt(g, "k"))
	}
	throttle(t, production[0], "l", time.Minute)
	require.Eventually(t, pauses(production[1], "l"), soon, time.Millisecond)
	for _, g := range slices.Concat(staging, others) {
		assert.Zero(t, pauseAt(g, "l"))
	}
}

func TestNamesContainTheClientsDatabaseUnlessItIs0OrHidden(t *testing.T) {
	for name, tt := range map[string]struct {
		client redis.UniversalClient
		prefix string
	}{
		"database 0":      {redis.NewClient(&redis.Options{}), "{x}:1"},
		"database 7":      {redis.NewClient(&redis.Options{DB: 7}), "{x}:1:db7"},
		"Sentinel":        {redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "m", DB: 7}), "{x}:1:db7"},
		"a cluster":       {redis.NewClusterClient(&redis.ClusterOptions{}), "{x}:1"},
		"a hidden number": {struct{ redis.UniversalClient }{redis.NewClient(&redis.Options{DB: 7})}, "{x}:1"},
	} {
		assert.Equal(t, tt.prefix, newNames("x", "1", databaseOf(tt.client)).prefix, name)
		tt.client.Close()
	}
}

// Processes with different seam numbers do not understand each other, so they must not
// share a channel or a key.
func TestFleetsWithDifferentSeamNumbersIgnoreEachOther(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(2)
		client := w.client()
		defer client.Close()
		other := open(client, Options{Logger: slog.New(slog.DiscardHandler)}, fleet1.Number+"0")
		defer other.Close()
		throttle(t, gates[0], "k", time.Minute)
		throttle(t, other, "other", time.Minute)
		require.Eventually(t, pauses(gates[1], "k"), soon, time.Millisecond)
		assert.Zero(t, pauseAt(other, "k"))
		assert.Zero(t, pauseAt(gates[1], "other"))
		assert.Equal(t, 2, gates[1].size)
		assert.Equal(t, 1, other.size)
		assert.NotEqual(t, gates[0].names.of("k"), other.names.of("k"))
		for _, key := range w.server.Keys() {
			assert.Contains(t, []string{gates[0].names.accounts, gates[0].names.members, other.names.accounts, other.names.members}, key)
		}
	})
}

func TestStatsReportThePaceOfTheFleetOrOfAProcessThatIsAlone(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		var locals []*gate.Adaptive
		var gates []*Gate
		for range 2 {
			client, local := w.client(), new(gate.Adaptive)
			g := New(client, Options{Local: local, Logger: slog.New(slog.DiscardHandler)})
			t.Cleanup(func() { g.Close(); client.Close() })
			gates, locals = append(gates, g), append(locals, local)
		}
		pace := func(l *gate.Adaptive) float64 {
			s, ok := l.Stats("k")
			assert.True(t, ok)
			return s.Pace
		}
		a := newAccount(100, 10, time.Second)
		a.trip = 10 * time.Millisecond
		throttle(t, gates[0], "k", time.Second)
		assert.Zero(t, pace(locals[0]), "a pace is reported before the fleet has found one")
		c := start(gates, 20, 1<<40, "k", a)
		time.Sleep(30 * time.Second)
		for _, l := range locals {
			assert.InDelta(t, 100, pace(l), 25, "the fleet's pace should be reported")
		}
		w.relay.freeze()
		time.Sleep(time.Second)
		for _, l := range locals {
			assert.InDelta(t, 50, pace(l), 25, "a process that is alone should report half of the fleet's pace")
		}
		c.left.Store(0)
		c.wait(t)
		w.relay.thaw()
	})
}

func TestMaxWaitAppliesToPausesThatOtherProcessesReport(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(2)
		ticket, err := gates[0].Wait(t.Context(), gate.Request{Key: "k"})
		require.NoError(t, err)
		throttle(t, gates[1], "k", 2*time.Second)
		time.Sleep(time.Second)
		waiting := make(chan error, 1)
		go func() {
			_, err := gates[1].Wait(t.Context(), gate.Request{Key: "k", MaxWait: 10 * time.Second})
			waiting <- err
		}()
		time.Sleep(100 * time.Millisecond)
		assert.Empty(t, waiting)
		gates[0].Observe(gate.Request{Key: "k"}, ticket, gate.Outcome{Result: gate.Throttled, RetryAfter: time.Minute})
		time.Sleep(100 * time.Millisecond)
		require.Len(t, waiting, 1, "the waiting request should be refused at once, not after its MaxWait")
		assert.ErrorIs(t, <-waiting, gate.ErrPaused)
		_, err = gates[1].Wait(t.Context(), gate.Request{Key: "k", MaxWait: 10 * time.Second})
		var refused *gate.Error
		require.ErrorAs(t, err, &refused)
		assert.ErrorIs(t, refused, gate.ErrPaused)
		assert.InDelta(t, time.Minute, refused.RetryAfter, float64(time.Second))
	})
}

func TestAccountStaysKnownWhenItsPredecessorIsForgottenLate(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(2)
		assert.Zero(t, pauseAt(gates[1], "k"))
		of := seam{gates[1]}
		of.Opened("k")
		of.Forgotten("k")
		throttle(t, gates[0], "k", time.Minute)
		require.Eventually(t, pauses(gates[1], "k"), soon, time.Millisecond)
		of.Forgotten("k")
		assert.Empty(t, gates[1].keys)
	})
}

// An account can be in use for a long time without being throttled. Even so, a
// process that begins to use the account must know what the fleet has learned about it.
func TestAccountInUseStaysKnownWhileItIsNotThrottled(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(2)
		a := newAccount(1000, 1000, time.Second)
		throttle(t, gates[0], "k", time.Second)
		for range 30 * 60 / 2 {
			start(gates[:1], 1, 1, "k", a).wait(t)
			time.Sleep(2 * time.Second)
		}
		sent, accepted, _ := a.counts()
		assert.Equal(t, sent, accepted)
		gates[1].mu.Lock()
		defer gates[1].mu.Unlock()
		assert.NotNil(t, gates[1].notes[gates[1].names.of("k")].Learned)
	})
}

// die stops the gate without telling any other process, as if its process had been
// killed.
func (g *Gate) die() {
	g.mu.Lock()
	for _, l := range g.leaders {
		go l.stop()
	}
	g.mu.Unlock()
	g.cancel()
}

func TestTurnsOfADeadProcessGoToTheOthers(t *testing.T) {
	for name, offset := range map[string]int{"the leader dies": 0, "another process dies": 1} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				gates, books := w.gates(4)
				a := newAccount(100, 10, time.Second)
				throttle(t, gates[0], "k", time.Second)
				at := (leaderOf(t, gates, "k") + offset) % 4
				// The process that will die has callers that never report an outcome.
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				for range 50 {
					go gates[at].Wait(ctx, gate.Request{Key: "k"})
				}
				others := append(append([]*Gate{}, gates[:at]...), gates[at+1:]...)
				c := start(others, 10, 300, "k", a)
				require.Eventually(t, func() bool { return c.left.Load() < 250 }, soon, time.Millisecond)
				gates[at].die()
				require.Eventually(t, func() bool { return c.left.Load() < 150 }, soon, time.Millisecond)
				if offset == 0 {
					leaderOf(t, others, "k")
				}
				c.wait(t)
				for _, b := range books {
					assert.Empty(t, b.all())
				}
			})
		})
	}
}

func TestIdleLeaderResignsAndAnotherLeadsWhenNeeded(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, books := w.gates(2)
		a := newAccount(100, 10, 100*time.Millisecond)
		throttle(t, gates[0], "k", 100*time.Millisecond)
		start(gates, 1, 4, "k", a).wait(t)
		nobodyLeads := func(g *Gate) func() bool {
			return func() bool {
				g.mu.Lock()
				defer g.mu.Unlock()
				return g.notes[g.names.of("k")].Leader == nobody
			}
		}
		for _, g := range gates {
			require.Eventually(t, nobodyLeads(g), 2*soon, 5*time.Millisecond)
		}
		start(gates[1:], 1, 1, "k", a).wait(t)
		assert.True(t, gates[1].leads("k"), "gate 1 does not lead the account, so it must be working on its own")
		for _, b := range books {
			assert.Empty(t, b.all())
		}
	})
}

// No requests are sent while there is no leader, so the limit allows a burst again.
func TestNewLeaderAfterALongIdleTimeAllowsABurst(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(2)
		a := newAccount(10, 20, time.Second)
		a.trip = 10 * time.Millisecond
		k := fleet1.Learned{Pace: 10, Lo: 9.8, Hi: 10.5, Best: 9.8, Burst: 20, Burst0: 20, Silence: 1, Holding: 80, Asked: 1}
		_, err := gates[0].take(t.Context(), lease{name: gates[0].names.of("k"), known: state{Learned: &k, Members: 2}})
		require.NoError(t, err)
		throttle(t, gates[0], "k", time.Second)
		start(gates, 3, 6, "k", a).wait(t)
		require.Eventually(t, func() bool { return !gates[0].leads("k") && !gates[1].leads("k") }, 2*soon, 5*time.Millisecond)
		time.Sleep(time.Minute)
		sent, _, _ := a.counts()
		began := time.Now()
		start(gates, 3, 6, "k", a).wait(t)
		again, _, _ := a.counts()
		assert.Equal(t, 6, again-sent, "six calls should send six requests; if they sent more, some were throttled")
		assert.Less(t, time.Since(began), 300*time.Millisecond, "six calls took too long; they should be sent in a burst, not at ten per second")
	})
}

// The leader is not told about canceled waiters, but must not keep handing out turns that
// are never used.
func TestLeaderResignsAfterWaitersWereCanceled(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(2)
		throttle(t, gates[0], "k", 100*time.Millisecond)
		leaderOf(t, gates, "k")
		require.Eventually(t, pauses(gates[1], "k"), soon, time.Millisecond)
		ctx, cancel := context.WithCancel(context.Background())
		const callers = 20
		left := make(chan gate.Ticket, callers)
		gone := make(chan error, callers)
		for range callers {
			go func() {
				ticket, err := gates[1].Wait(ctx, gate.Request{Key: "k"})
				if err == nil {
					left <- ticket
				}
				gone <- err
			}()
		}
		first := <-left // perhaps no other request is sent until the outcome of this one is known
		cancel()
		for range callers {
			<-gone
		}
		gates[1].Observe(gate.Request{Key: "k"}, first, gate.Outcome{Result: gate.Accepted})
		for range len(left) {
			gates[1].Observe(gate.Request{Key: "k"}, <-left, gate.Outcome{Result: gate.Accepted})
		}
		require.Eventually(t, func() bool { return !gates[0].leads("k") && !gates[1].leads("k") }, 2*soon, 5*time.Millisecond)
	})
}

func TestClosePassesOnTheLeadAndTheGateKeepsWorking(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(2)
		a := newAccount(100, 10, time.Second)
		throttle(t, gates[0], "k", time.Second)
		require.Eventually(t, func() bool { return gates[0].leads("k") }, soon, time.Millisecond)
		c := start(gates, 10, 200, "k", a)
		require.Eventually(t, func() bool { return c.left.Load() < 150 }, soon, time.Millisecond)
		require.NoError(t, gates[0].Close())
		require.NoError(t, gates[0].Close())
		require.Eventually(t, func() bool { return gates[1].leads("k") }, soon, time.Millisecond)
		c.wait(t)
	})
}

// A rolling restart must not cause a burst. The other processes kept sending until the
// leader left, so the limit does not allow a burst.
func TestSuccessorOfABusyLeaderStartsWithoutABurst(t *testing.T) {
	for name, leave := range map[string]func(*Gate){
		"leader closes": func(g *Gate) { g.Close() },
		"leader dies":   func(g *Gate) { g.die() },
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				gates, _ := w.gates(4)
				a := newAccount(100, 50, time.Second)
				a.trip = 20 * time.Millisecond
				k := fleet1.Learned{Pace: 97, Lo: 95, Hi: 105, Best: 95, Burst: 50, Burst0: 50, Silence: 1, Holding: 80, Asked: 1}
				_, err := gates[0].take(t.Context(), lease{name: gates[0].names.of("k"), known: state{Learned: &k, Members: 4}})
				require.NoError(t, err)
				throttle(t, gates[0], "k", time.Second)
				leader := leaderOf(t, gates, "k")
				others := append(append([]*Gate{}, gates[:leader]...), gates[leader+1:]...)
				c := start(others, 20, 1<<40, "k", a)
				time.Sleep(8 * time.Second)
				sent, accepted, _ := a.counts()
				leave(gates[leader])
				time.Sleep(2 * time.Second)
				sentNow, acceptedNow, _ := a.counts()
				assert.Greater(t, sentNow-sent, 100)
				assert.Equal(t, sentNow-sent, acceptedNow-accepted, "some requests were throttled after the leader left")
				c.left.Store(0)
				c.wait(t)
			})
		})
	}
}

// A request that has been throttled many times waits in order of arrival. Requests that come
// later must not overtake it, because there is always another one.
func TestRequestThatWasThrottledManyTimesIsNotOvertakenForever(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(2)
		a := newAccount(50, 5, time.Second)
		a.trip = 10 * time.Millisecond
		throttle(t, gates[0], "k", time.Second)
		c := start(gates, 40, 1<<40, "k", a) // there is always a new request waiting
		time.Sleep(10 * time.Second)
		for _, g := range gates {
			began := time.Now()
			r := gate.Request{Key: "k", Resend: 5}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			ticket, err := g.Wait(ctx, r)
			cancel()
			require.NoError(t, err)
			assert.Less(t, time.Since(began), 3*time.Second) // 25 others take a second, and there may be a pause of a second
			g.Observe(r, ticket, gate.Outcome{Result: gate.Accepted})
		}
		c.left.Store(0)
		c.wait(t)
	})
}
