package redisgate

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/internal/bracket"
)

// soon is how long a test waits for what takes milliseconds.
const soon = 10 * time.Second

// pauseAt returns how long the pause is that a gate knows of, 0 if none.
func pauseAt(g *Gate, key string) time.Duration {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	ticket, err := g.Wait(ctx, key, 0)
	if e, ok := err.(*iamhttp.GateError); ok {
		return e.RetryAfter
	}
	if err == nil {
		g.Observe(key, ticket, false, 0)
	}
	return 0
}

func pauses(g *Gate, key string) func() bool {
	return func() bool { return pauseAt(g, key) > 0 }
}

// leads reports whether a gate leads the account of the key.
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
	}, soon, 5*time.Millisecond, "nobody leads")
	return at
}

func TestAFleetBehavesLikeOneClient(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	gates, books := newGates(t, s.addr(), 10)
	a := newAccount(200, 50, time.Second)
	start(gates, 10, 1000, "k", a).wait(t)
	sent, accepted, early := a.counts()
	assert.Zero(t, early, "requests in a Retry-After")
	assert.Less(t, sent, accepted*6/5)
	for _, b := range books {
		b.inTheFleet(t)
	}
}

// An ideal scheduler needs a minute for these calls; bench/fleet measures the
// same with real processes, on a machine that has other things to do as well.
func TestAFleetNeedsLittleMoreThanAnIdealScheduler(t *testing.T) {
	for name, limit := range map[string]func(*account){
		"bucket":  func(a *account) { a.depth, a.tokens = 20, 20 },
		"counter": func(a *account) { a.counter = new(counter) },
	} {
		for phase := 0; phase < 1000; phase += 250 {
			if name == "bucket" && phase > 0 {
				break // it has none
			}
			t.Run(fmt.Sprintf("%s, from %d ms on", name, phase), func(t *testing.T) {
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
					assert.Less(t, took, 75*time.Second)
					sent, accepted, early := a.counts()
					assert.Less(t, float64(sent), 1.05*float64(accepted))
					assert.Zero(t, early, "requests in a Retry-After")
					for _, b := range books {
						assert.Empty(t, b.all())
					}
				})
			})
		}
	}
}

// Lost is what a process calls a server that answers too late, so that this can
// be said in virtual time only: a real machine may have no time for the answer.
func TestAFleetThatIsWellIsNeverCalledLost(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, books := w.gates(10)
		a := newAccount(200, 50, time.Second)
		a.trip = 20 * time.Millisecond
		for range 3 { // as long as it takes, without requests, until a leader resigns and a ping is due
			start(gates, 10, 1000, "k", a).wait(t)
			time.Sleep(30 * time.Second)
		}
		_, _, early := a.counts()
		assert.Zero(t, early, "requests in a Retry-After")
		for _, b := range books {
			assert.Empty(t, b.all())
		}
	})
}

func TestNoProcessStarvesBesideOneThatWantsMore(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(2)
		a := newAccount(100, 10, time.Second)
		throttle(t, gates[0], "k", time.Second)
		greedy := start(gates[:1], 200, 400, "k", a)
		modest := start(gates[1:], 5, 100, "k", a)
		modest.wait(t)
		assert.Less(t, greedy.done[0].Load(), int64(300), "of the other, when the modest one had its 100")
		greedy.wait(t)
	})
}

func TestAThrottlingAnswerReachesEveryProcess(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	gates, _ := newGates(t, s.addr(), 4)
	for _, g := range gates { // the account is in use and open
		assert.Zero(t, pauseAt(g, "k"))
	}
	throttle(t, gates[0], "k", 20*time.Second)
	for _, g := range gates {
		require.Eventually(t, pauses(g, "k"), soon, time.Millisecond)
		assert.Zero(t, pauseAt(g, "another"))
	}
}

func TestTheLongestPauseWins(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	gates, _ := newGates(t, s.addr(), 3)
	tickets := make([]iamhttp.Ticket, 2)
	for i := range tickets {
		var err error
		tickets[i], err = gates[i].Wait(context.Background(), "k", 0)
		require.NoError(t, err)
	}
	gates[0].Observe("k", tickets[0], true, time.Minute)
	require.Eventually(t, pauses(gates[1], "k"), soon, time.Millisecond)
	gates[1].Observe("k", tickets[1], true, time.Second)
	for _, g := range gates {
		require.Eventually(t, func() bool { return pauseAt(g, "k") > 40*time.Second }, soon, time.Millisecond)
	}
	// Nor does the short one shorten what the server keeps.
	later, _ := newGate(t, s.addr())
	assert.Greater(t, pauseAt(later, "k"), 40*time.Second)
}

func TestAProcessThatStartsInAPauseKnowsItBeforeItsFirstRequest(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	first, _ := newGate(t, s.addr())
	throttle(t, first, "k", time.Minute)
	require.Eventually(t, func() bool { return s.ask("exists", first.names.accounts) == int64(1) }, soon, time.Millisecond)
	first.Close() // and it is known without those who knew it
	g, _ := newGate(t, s.addr())
	assert.Greater(t, pauseAt(g, "k"), 40*time.Second)
}

func TestWhatWasLearnedOutlivesTheProcesses(t *testing.T) {
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

func TestTheStartWindowIsThatOfTheFleet(t *testing.T) {
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
			if _, err := gates[0].Wait(ctx, "k", 0); err != nil {
				break
			}
			left++
		}
		assert.Equal(t, 64/8, left)
	})
}

func TestTheOpenPathCostsNeitherCommandsNorAllocations(t *testing.T) {
	s := startServer(t)
	g, _ := newGate(t, s.addr())
	ctx := context.Background()
	before := s.commands()
	allocs := testing.AllocsPerRun(20_000, func() {
		ticket, err := g.Wait(ctx, "k", 0)
		if err != nil {
			t.Fatal(err)
		}
		g.Observe("k", ticket, false, 0)
	})
	assert.Zero(t, allocs)
	assert.Less(t, s.commands()-before, 50, "of which some are this test's own")
}

func TestWhatIsOnTheServerGoesAwayByItselfAndTellsNoKeys(t *testing.T) {
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
	assert.NotContains(t, fmt.Sprint(s.ask("hgetall", "{iamhttp}:accounts")), "secret")
}

func TestNamespacesKnowNothingOfEachOther(t *testing.T) {
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

func TestAnAccountIsKnownThoughItsPredecessorIsForgottenAfterIt(t *testing.T) {
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

// Where an account goes well there is no news of it, and yet it is no stranger
// to a process that begins to use it.
func TestAnAccountInUseIsKnownHoweverLongItGoesWell(t *testing.T) {
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

// die ends what a process does without a word, as its end would.
func (g *Gate) die() {
	g.mu.Lock()
	for _, l := range g.leaders {
		go l.stop()
	}
	g.mu.Unlock()
	g.cancel()
}

func TestWhatADeadProcessHeldIsBackWithTheOthers(t *testing.T) {
	for name, offset := range map[string]int{"the leader": 0, "another one": 1} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				gates, books := w.gates(4)
				a := newAccount(100, 10, time.Second)
				throttle(t, gates[0], "k", time.Second)
				at := (leaderOf(t, gates, "k") + offset) % 4
				// The dead one has callers who never hear anything again.
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				for range 50 {
					go gates[at].Wait(ctx, "k", 0)
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

func TestALeaderWithoutRequestsResignsAndTheNextOneLeads(t *testing.T) {
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
		assert.True(t, gates[1].leads("k"), "had it gone alone, it would not")
		for _, b := range books {
			assert.Empty(t, b.all())
		}
	})
}

// While nobody leads nobody sends, and the limit saves something up.
func TestWhoLeadsAfterALongTimeBeginsWithABurst(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(2)
		a := newAccount(10, 20, time.Second)
		a.trip = 10 * time.Millisecond
		start(gates, 20, 200, "k", a).wait(t)
		require.Eventually(t, func() bool { return !gates[0].leads("k") && !gates[1].leads("k") }, 2*soon, 5*time.Millisecond)
		time.Sleep(time.Minute)
		sent, _, _ := a.counts()
		began := time.Now()
		start(gates, 3, 6, "k", a).wait(t)
		again, _, _ := a.counts()
		assert.Equal(t, 6, again-sent, "none of them refused")
		assert.Less(t, time.Since(began), 300*time.Millisecond, "and not as far apart as ten a second")
	})
}

// Whoever gives up says so to nobody: a turn for it would never be used, and
// asked for again and again.
func TestALeaderResignsThoughRequestsWereGivenUp(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(2)
		throttle(t, gates[0], "k", 100*time.Millisecond)
		leaderOf(t, gates, "k")
		require.Eventually(t, pauses(gates[1], "k"), soon, time.Millisecond)
		ctx, cancel := context.WithCancel(context.Background())
		const callers = 20
		left := make(chan iamhttp.Ticket, callers)
		gone := make(chan error, callers)
		for range callers {
			go func() {
				ticket, err := gates[1].Wait(ctx, "k", 0)
				if err == nil {
					left <- ticket
				}
				gone <- err
			}()
		}
		first := <-left // and none of the others as long as nothing is known of it
		cancel()
		for range callers {
			<-gone
		}
		gates[1].Observe("k", first, false, 0)
		for range len(left) {
			gates[1].Observe("k", <-left, false, 0)
		}
		require.Eventually(t, func() bool { return !gates[0].leads("k") && !gates[1].leads("k") }, 2*soon, 5*time.Millisecond)
	})
}

func TestCloseGivesUpTheLeadAndTheGateGoesOnAlone(t *testing.T) {
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

// A rolling restart is no reason for a burst: the others have been sending until
// the leader left.
func TestWhoFollowsALeaderThatWasBusyBeginsWithoutABurst(t *testing.T) {
	for name, leave := range map[string]func(*Gate){
		"closed": func(g *Gate) { g.Close() },
		"dead":   func(g *Gate) { g.die() },
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				gates, _ := w.gates(4)
				a := newAccount(100, 50, time.Second)
				a.trip = 20 * time.Millisecond
				k := bracket.Learned{Pace: 97, Lo: 95, Hi: 105, Best: 95, Burst: 50, Burst0: 50, Silence: 1, Holding: 80, Asked: 1}
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
				assert.Equal(t, sentNow-sent, acceptedNow-accepted, "none is refused")
				c.left.Store(0)
				c.wait(t)
			})
		})
	}
}
