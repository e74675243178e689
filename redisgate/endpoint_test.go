package redisgate

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/internal/fleet1"
	"github.com/iamhttp/iamhttp/internal/suspect"
)

// An apiWithEndpoints accepts all requests except, according to its account, those to one
// endpoint.
type apiWithEndpoints struct {
	mu       sync.Mutex
	other    [2]int // others: called, accepted in time
	poll     [2]int // requests to the endpoint: sent, accepted
	endpoint *account
}

// call makes one call with a deadline.
func (a *apiWithEndpoints) call(ctx context.Context, g gate.Gate, path string, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	of := &a.other
	if path == "/poll" {
		of = &a.poll
	} else {
		a.count(&of[0])
	}
	for r := (gate.Request{Key: "k", Method: "GET", Path: path}); r.Resend < 5; r.Resend++ {
		ticket, err := g.Wait(ctx, r)
		if err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
		o := gate.Outcome{Result: gate.Accepted}
		if path == "/poll" {
			a.count(&of[0])
			if a.endpoint.serve() {
				o = gate.Outcome{Result: gate.Throttled, RetryAfter: a.endpoint.retryAfter}
			}
		}
		g.Observe(r, ticket, o)
		if o.Result == gate.Accepted {
			a.count(&of[1])
			return
		}
	}
}

func (a *apiWithEndpoints) count(n *int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	*n++
}

func TestARefusedEndpointDoesNotHoldUpTheFleet(t *testing.T) {
	const long = 3 * time.Minute
	for _, callers := range []string{"one process", "a process that calls nothing else", "all processes"} {
		for _, rate := range []float64{0, 2} {
			for _, retryAfter := range []time.Duration{0, 5 * time.Second} {
				t.Run(fmt.Sprintf("called by %s, %g per second are accepted, Retry-After %s", callers, rate, retryAfter), func(t *testing.T) {
					answered, called := 0, 0
					runs := 1
					if retryAfter > 0 {
						runs = 3 // by chance, there is no proof for long in one run of a hundred
					}
					for range runs {
						inVirtualTime(t, func(t *testing.T, w *world) {
							gates, _ := w.gates(5)
							a := &apiWithEndpoints{endpoint: newAccount(rate, 1, retryAfter)}
							var wg sync.WaitGroup
							every := func(d time.Duration, path string, pick func(i int) int) {
								wg.Go(func() {
									for i, end := 0, time.Now().Add(long); time.Now().Before(end); i++ {
										wg.Go(func() { a.call(t.Context(), gates[pick(i)], path, 10*time.Second) })
										time.Sleep(time.Duration(rand.ExpFloat64() * float64(d)))
									}
								})
							}
							between := time.Duration(float64(time.Second) / max(2*rate, 0.5))
							switch callers {
							case "one process":
								every(between, "/poll", func(int) int { return 0 })
								every(50*time.Millisecond, "/list", func(i int) int { return i % len(gates) })
							case "all processes":
								every(between, "/poll", func(i int) int { return i % len(gates) })
								every(50*time.Millisecond, "/list", func(i int) int { return i % len(gates) })
							default:
								every(between, "/poll", func(int) int { return 0 })
								every(50*time.Millisecond, "/list", func(i int) int { return 1 + i%(len(gates)-1) })
							}
							wg.Wait()
							answered, called = answered+a.other[1], called+a.other[0]
							t.Logf("%d of %d calls were answered", a.other[1], a.other[0])
						})
					}
					// Before there is proof, there are some three to eight refusals, and each is followed by a
					// pause, after which the pace is low at first.
					least := 0.97 - 12*retryAfter.Seconds()/long.Seconds()
					assert.GreaterOrEqual(t, float64(answered), least*float64(called), "calls to other endpoints were held up")
				})
			}
		}
	}
}

// A fleetWithPolls is a fleet whose processes all poll an endpoint that is always refused.
type fleetWithPolls struct {
	*apiWithEndpoints
	gates   []*Gate
	timeout time.Duration // of a poll
	paused  int           // number of times, 10 per second, at which the others of a process were paused
}

// run makes calls for the given time, and counts the pauses.
func (f *fleetWithPolls) run(ctx context.Context, long time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	f.paused = 0
	for i, end := 0, time.Now().Add(long); time.Now().Before(end); i++ {
		g := f.gates[i%len(f.gates)]
		if i%20 == 0 {
			wg.Go(func() { f.call(ctx, g, "/poll", f.timeout) })
		}
		wg.Go(func() { f.call(ctx, g, "/list", 10*time.Second) })
		if s, _ := g.local.Stats("k"); s.Pause > 0 {
			f.paused++
		}
		time.Sleep(100 * time.Millisecond)
	}
	cancel()
	wg.Wait()
}

func (w *world) polls() *fleetWithPolls {
	gates, _ := w.gates(4)
	return &fleetWithPolls{&apiWithEndpoints{endpoint: newAccount(0, 1, time.Second)}, gates, time.Second, 0}
}

func TestAnEndpointOfAFleetKeepsItsOwnAccount(t *testing.T) {
	for name, set := range map[string]func(*fleetWithPolls){
		"it is always refused": func(*fleetWithPolls) {},
		"requests wait and are refused seldom": func(f *fleetWithPolls) {
			f.endpoint, f.timeout = newAccount(1./20, 1, 20*time.Second), 10*time.Minute
		},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				f := w.polls()
				set(f)
				f.run(t.Context(), 6*time.Minute)
				assert.NotZero(t, f.paused)
				f.run(t.Context(), 10*time.Minute)
				assert.Zero(t, f.paused, "after there was proof")
			})
		})
	}
}

func TestAnEndpointKeepsItsOwnAccountWhenTheLeaderDies(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		f := w.polls()
		f.run(t.Context(), 30*time.Second)
		dead := leaderOf(t, f.gates, "k")
		f.gates[dead].die()
		f.gates = slices.Delete(f.gates, dead, dead+1)
		f.run(t.Context(), 10*time.Minute)
		assert.Less(t, f.paused, 70, "new proof may be necessary, because nobody leads as long as no request waits")
	})
}

func TestAProcessThatJoinsLearnsWhichEndpointsHaveOwnAccounts(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		f := w.polls()
		f.run(t.Context(), 30*time.Second)
		g, _ := w.gate()
		f.gates = append(f.gates, g)
		f.run(t.Context(), 10*time.Minute)
		assert.Less(t, f.paused, 15, "it may be refused once")
	})
}

// separated reports whether the polled endpoint has its own account, as far as a process knows.
func (f *fleetWithPolls) separated(g *Gate) (separated bool) {
	g.visit("k", func(now time.Duration, p fleet1.Pacer, _ int, _ func() fleet1.History) fleet1.Pacer {
		for _, key := range suspect.Of("GET", "/poll").Keys() {
			separated = separated || p.(*link).SeparateUntil(key) > now
		}
		return p
	})
	return separated
}

func TestAnEndpointThatIsNoLongerRefusedLosesItsOwnAccount(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		f := w.polls()
		f.run(t.Context(), 30*time.Second)
		assert.True(t, f.separated(f.gates[0]))
		f.endpoint.mu.Lock()
		f.endpoint.rate = 1000
		f.endpoint.mu.Unlock()
		f.run(t.Context(), 4*time.Minute)
		for _, g := range f.gates {
			assert.False(t, f.separated(g))
		}
		assert.NotZero(t, f.poll[1])
		assert.Zero(t, f.paused)
	})
}

// Otherwise, if all requests of a process are refused, those of others would be sent so seldom
// that there would be no proof for long. But if all have the same limit, each process has to get
// its share.
func TestAMemberWhoseRequestsWereRefusedLetsOthersGoFirstForAWhile(t *testing.T) {
	first := func(l *leader, turns int) (n int) { // number of turns that go to "refused"
		for range turns {
			m, lane := l.next(0)
			l.last++
			m.give(l.last, lane)
			if m.id == "refused" {
				n++
			}
		}
		return n
	}
	l := ledBy(map[string]fleet1.Lanes{"refused": {0, 1 << 20, 0}, "other": {0, 1 << 20, 0}})
	for range 9 {
		l.refused(0, l.members["refused"], suspect.Of("GET", "/poll"), true)
		l.refused(0, l.members["other"], suspect.Of("GET", "/list"), false) // began no pause
	}
	assert.Less(t, first(l, 60), 12)
	first(l, 30)
	assert.Equal(t, 100, first(l, 200))

	seldom := ledBy(map[string]fleet1.Lanes{"refused": {0, 1 << 20, 0}, "other": {0, 1 << 20, 0}})
	for range leastRow - 1 {
		seldom.refused(0, seldom.members["refused"], suspect.Of("GET", "/poll"), true)
	}
	assert.Equal(t, 100, first(seldom, 200))

	alone := ledBy(map[string]fleet1.Lanes{"refused": {0, 1 << 20, 0}})
	alone.refusals, alone.suspects = l.refusals, l.suspects
	alone.refused(0, alone.members["refused"], suspect.Of("GET", "/poll"), true)
	assert.Equal(t, 10, first(alone, 10))
}

func TestTheLeaderLearnsTheEndpointsOfAcceptedRequests(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		g, name := led(t, w)
		l := g.leaders[name]
		e := func(n uint64) fleet1.Endpoint { return fleet1.Endpoint{Route: n, Resource: n} }
		for range 4 {
			l.mu.Lock()
			l.refused(g.now(), &member{id: "other"}, e(7), true)
			l.mu.Unlock()
			l.handle(&report{Name: name, From: "other", Accepted: []uint64{1, 2, 3, 4, 5}, To: slices.Repeat([]fleet1.Endpoint{e(8)}, 4)})
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		assert.EqualValues(t, 7, l.own(g.now(), e(7)))
		assert.Zero(t, l.own(g.now(), e(8)))
		assert.Zero(t, l.own(g.now(), fleet1.Endpoint{}))
	})
}

// Requests that were sent before the first 429 have no turns. Their endpoints are not known.
func TestRequestsToUnknownEndpointsProveNothing(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		g, name := led(t, w)
		l := g.leaders[name]
		e := fleet1.Endpoint{Route: 7, Resource: 7}
		for range 6 {
			l.mu.Lock()
			l.refused(g.now(), &member{id: "other"}, e, true)
			l.mu.Unlock()
			l.handle(&report{Name: name, From: "other", Accepted: []uint64{1, 2}, To: []fleet1.Endpoint{e}, Others: 100})
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		assert.Zero(t, l.own(g.now(), e))
	})
}

func TestAnEndpointThatIsNotRefusedAloneGetsNoOwnAccount(t *testing.T) {
	for _, shared := range []bool{false, true} {
		inVirtualTime(t, func(t *testing.T, w *world) {
			g, name := led(t, w)
			l := g.leaders[name]
			e := fleet1.Endpoint{Route: 7, Resource: 8}
			for i := range uint64(6) {
				l.mu.Lock()
				l.refused(g.now(), &member{id: "other"}, e, true)
				if shared {
					l.refused(g.now(), &member{id: "another"}, fleet1.Endpoint{Route: 10 + i, Resource: 20 + i}, false)
				}
				for range 10 {
					l.accepted(g.now(), fleet1.Send{}, fleet1.Endpoint{Route: 9, Resource: 9})
				}
				l.mu.Unlock()
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			assert.Equal(t, !shared, l.own(g.now(), e) != 0, "refused together with others: %v", shared)
		})
	}
}

func TestARefusalByAProcessThatDidNotKnowOfTheOwnAccountPausesIt(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		g, name := led(t, w)
		l := g.leaders[name]
		e := fleet1.Endpoint{Route: 7, Resource: 8}
		l.mu.Lock()
		l.separate(g.now(), fleet1.Verdict{Own: true, Key: 7, Since: g.now()})
		l.mu.Unlock()
		pauses := l.pauses
		l.handle(&report{Name: name, From: "other", Throttled: []throttled{{After: 10 * time.Second, To: e}}})
		time.Sleep(time.Second)
		assert.Greater(t, pauseAt(g, fleet1.OwnKey("k", 7)), 8*time.Second)
		assert.Zero(t, pauseAt(g, "k"))
		assert.Equal(t, pauses, l.pauses)
	})
}

func TestAnOwnAccountsPauseIsSentBeforeItsUseBegins(t *testing.T) {
	for range 20 {
		g := &Gate{names: defaultNames(), id: "me"}
		g.out.notice("a", state{Separated: []separated{{1, time.Minute, time.Minute}}})
		for _, own := range []string{"b", "c", "d"} {
			g.out.notice(own, state{Pause: time.Second})
		}
		letters, _ := g.out.empty(g, 100)
		assert.Equal(t, "a", letters[3].Notice.Name)
	}
}

func TestAnOwnAccountBeginsWithThePauseThatItsEndpointHasCaused(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		g, name := led(t, w)
		l := g.leaders[name]
		l.handle(&report{Name: name, From: "other"})
		l.mu.Lock()
		l.control.Pause(g.now() + time.Minute)
		l.separate(g.now(), fleet1.Verdict{Own: true, Key: 7, Since: g.now()})
		l.mu.Unlock()
		time.Sleep(time.Second)
		assert.Greater(t, pauseAt(g, fleet1.OwnKey("k", 7)), 50*time.Second)
	})
}

func TestANewLeaderKnowsWhichEndpointsHaveOwnAccounts(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		g, _ := w.gate()
		name := g.names.of("k")
		time.Sleep(time.Hour)
		g.noticed(name, state{Separated: []separated{{7, time.Minute, 4 * time.Minute}}})
		throttle(t, g, "k", time.Second)
		leaderOf(t, []*Gate{g}, "k")
		l := g.leaders[name]
		l.mu.Lock()
		defer l.mu.Unlock()
		assert.EqualValues(t, 7, l.own(g.now(), fleet1.Endpoint{Route: 7, Resource: 8}))
		assert.Equal(t, l.owns[7].Until-4*time.Minute, l.owns[7].began, "what was heard since then is proof")
	})
}

func TestARequestThatWaitsLeavesAtOnceForTheOwnAccountOfItsEndpoint(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		g, _ := w.gate()
		throttle(t, g, "k", time.Hour)
		admitted := make(chan error, 1)
		go func() {
			_, err := g.Wait(t.Context(), gate.Request{Key: "k", Method: "GET", Path: "/poll"})
			admitted <- err
		}()
		time.Sleep(time.Second)
		assert.Empty(t, admitted)
		g.noticed(g.names.of("k"), state{Separated: []separated{{suspect.Of("GET", "/poll").Route, time.Minute, time.Minute}}})
		time.Sleep(time.Second)
		assert.Len(t, admitted, 1)
	})
}

func TestAnOwnAccountIsProlongedOnlyIfItWasNeededAndNoOthersWereRefused(t *testing.T) {
	other, unused := fleet1.Endpoint{Route: 1, Resource: 2}, fleet1.Endpoint{Route: 3, Resource: 4}
	for name, tt := range map[string]struct {
		happens   func(l *leader, own string)
		prolonged bool
	}{
		"nothing happens":      {func(*leader, string) {}, false},
		"it was paused":        {func(l *leader, own string) { l.g.noticed(own, state{Pause: time.Second}) }, true},
		"its requests waited":  {func(l *leader, own string) { l.g.noticed(own, state{Waited: true}) }, true},
		"its leader was heard": {func(l *leader, own string) { l.g.noticed(own, state{Leader: "other"}) }, false},
		"another was refused": {func(l *leader, own string) {
			l.g.noticed(own, state{Waited: true})
			l.refused(l.g.now(), &member{id: "m"}, other, true)
		}, false},
		"one was refused whose own account is not in use": {func(l *leader, own string) {
			l.g.noticed(own, state{Waited: true})
			l.refused(l.g.now(), &member{id: "m"}, unused, true)
		}, true},
		"another was refused, but got an own account": {func(l *leader, own string) {
			l.g.noticed(own, state{Waited: true})
			l.refused(l.g.now(), &member{id: "m"}, other, true)
			l.separate(l.g.now(), fleet1.Verdict{Own: true, Key: 1, Acquit: true, Since: l.g.now()})
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				g, account := led(t, w)
				l := g.leaders[account]
				l.handle(&report{Name: account, From: "other"})
				l.mu.Lock()
				l.owns[3] = &ownAccount{Use: fleet1.Use{Until: g.now() - 1, Span: time.Minute}}
				l.separate(g.now(), fleet1.Verdict{Own: true, Key: 7, Since: g.now()})
				l.mu.Unlock()
				time.Sleep(100 * time.Millisecond) // in which the announcement arrives
				l.mu.Lock()
				until := l.owns[7].Until
				l.prolong(until - 15*time.Second)
				assert.Equal(t, until, l.owns[7].Until, "it is too early")
				l.mu.Unlock()
				time.Sleep(2 * time.Second)
				l.mu.Lock()
				defer l.mu.Unlock()
				tt.happens(l, l.ownName(7))
				l.prolong(until - 5*time.Second)
				assert.Equal(t, tt.prolonged, l.owns[7].Until > until)
			})
		})
	}
}

func TestALeaderHasABoundedNumberOfOwnAccounts(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		g, account := led(t, w)
		l := g.leaders[account]
		l.handle(&report{Name: account, From: "other"})
		l.mu.Lock()
		defer l.mu.Unlock()
		for key := range uint64(2 * fleet1.MostOwn) {
			l.separate(g.now(), fleet1.Verdict{Own: true, Key: key + 1, Since: g.now()})
		}
		assert.Len(t, l.owns, fleet1.MostOwn)
	})
}

func TestALeaderTellsAllProcessesWhetherRequestsHadToWait(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		g, account := led(t, w)
		l := g.leaders[account]
		limited := func(waits bool) time.Duration {
			l.mu.Lock()
			if waits {
				l.waited = g.now()
			}
			l.notice(g.now())
			l.mu.Unlock()
			time.Sleep(time.Second)
			g.mu.Lock()
			defer g.mu.Unlock()
			return g.now() - g.notes[account].limited
		}
		assert.LessOrEqual(t, limited(true), time.Second)
		assert.Greater(t, limited(false), time.Second)
	})
}

func TestOwnAccountsThatComeWithTurnsAreKnownToTheProcessAndToItAsALeader(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		g, account := led(t, w)
		g.granted(&turns{Name: account, From: g.id, state: state{Separated: []separated{{7, time.Minute, time.Minute}}}})
		g.visit("k", func(now time.Duration, p fleet1.Pacer, _ int, _ func() fleet1.History) fleet1.Pacer {
			assert.Equal(t, now+time.Minute, p.(*link).SeparateUntil(7))
			return p
		})
		assert.Contains(t, g.notes[account].separated, uint64(7))
	})
}

func TestAProcessKnowsTheRefusalsInARowThatItsLeaderKnowsOf(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		g, account := led(t, w)
		l := g.leaders[account]
		row := func(refuse func()) (row *fleet1.Row) {
			l.mu.Lock()
			refuse()
			l.mu.Unlock()
			ticket, err := g.Wait(t.Context(), gate.Request{Key: "k"})
			assert.NoError(t, err)
			g.Observe(gate.Request{Key: "k"}, ticket, gate.Outcome{Result: gate.Accepted})
			g.visit("k", func(_ time.Duration, p fleet1.Pacer, _ int, _ func() fleet1.History) fleet1.Pacer {
				row = p.(*link).Row()
				return p
			})
			return row
		}
		assert.Equal(t, &fleet1.Row{}, row(func() {}))
		for i := range 2 {
			want := &fleet1.Row{Routes: []uint64{1}, N: i + 1, Resource: 2, Same: i + 1, Unsettled: true}
			assert.Equal(t, want, row(func() { l.refused(g.now(), l.members[g.id], fleet1.Endpoint{Route: 1, Resource: 2}, true) }))
		}
		assert.Equal(t, &fleet1.Row{}, row(func() { l.suspects.Reset() }))
	})
}

func TestAProcessKnowsItsShareOfTheTurns(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		g, account := led(t, w)
		share := func(last uint64, ids ...uint64) (n int) {
			g.granted(&turns{Name: account, From: g.id, Last: last, IDs: ids})
			g.visit("k", func(_ time.Duration, p fleet1.Pacer, _ int, _ func() fleet1.History) fleet1.Pacer {
				n = p.(*link).Sharing()
				return p
			})
			return n
		}
		last := uint64(math.MaxUint64) - 1000
		assert.Equal(t, 1, share(last))
		last += 12
		assert.Equal(t, 4, share(last, last-2, last-1, last))
		assert.Equal(t, 4, share(last+4), "these turns are those of others")
		assert.Equal(t, 10, share(last+10, last+10))
		assert.Equal(t, 1, share(last+12, last+11, last+12))
	})
}
