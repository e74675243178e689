package gate

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// Most of these tests inspect an account's fields, because what an account has learned
// becomes visible outside the package only much later.

var (
	plain    = Request{Key: "k"}
	accepted = Outcome{Result: Accepted}
)

// leave calls Wait, which must admit the request.
func leave(t *testing.T, g *Adaptive, key string) {
	t.Helper()
	_, err := g.Wait(t.Context(), Request{Key: key})
	require.NoError(t, err)
}

// queueUp calls Wait in a goroutine for a request that cannot be admitted at once. The
// channel receives the error that Wait returns.
func queueUp(ctx context.Context, g *Adaptive) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := g.Wait(ctx, plain)
		done <- err
	}()
	synctest.Wait()
	return done
}

func TestWindowGrowsByHalfARequestPerResponseIfHalfTheWindowIsInUse(t *testing.T) {
	for _, tt := range []struct{ window, flying, want int64 }{
		{10, 1, 20}, {10, 4, 20}, {10, 5, 21}, {10, 10, 21},
		{-1, 100, math.MaxInt64},
	} {
		t.Run(fmt.Sprintf("%d in flight, window %d", tt.flying, tt.window), func(t *testing.T) {
			g := &Adaptive{StartWindow: int(tt.window)}
			for range tt.flying {
				leave(t, g, "k")
			}
			g.Observe(plain, 0, accepted)
			a := g.account("k")
			assert.Equal(t, tt.want, a.window.Load(), "wrong window, in half requests")
			assert.Equal(t, tt.flying-1, a.flying.Load())
		})
	}
}

func TestWindowGrowsForAResponseWhileRequestsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Adaptive{StartWindow: 10}
		for range 10 {
			leave(t, g, "k")
		}
		eleventh := queueUp(t.Context(), g)
		assert.Empty(t, eleventh)
		g.Observe(plain, 0, accepted)
		require.NoError(t, <-eleventh)
		assert.EqualValues(t, 21, g.account("k").window.Load(), "the account should be open again")
	})
}

func TestObserveWithoutWaitDoesNotChangeInFlight(t *testing.T) {
	g := new(Adaptive)
	a := g.account("k")
	for range 3 {
		g.Observe(plain, 0, accepted)
	}
	assert.Zero(t, a.flying.Load())
}

// The two seconds begin when the first request has to wait, and again with each response
// and each growth.
func TestWindowGrowsByHalfEveryTwoSecondsWithoutAResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Adaptive{StartWindow: 10}
		for range 10 {
			leave(t, g, "k")
		}
		time.Sleep(time.Minute)
		start := time.Now()
		left := map[time.Duration]int{}
		var mu sync.Mutex
		ctx, cancel := context.WithCancel(t.Context())
		for range 100 {
			go func() {
				if _, err := g.Wait(ctx, plain); err == nil {
					mu.Lock()
					left[time.Since(start)]++
					mu.Unlock()
				}
			}()
		}
		synctest.Wait()
		time.Sleep(1500 * time.Millisecond)
		g.Observe(plain, 0, accepted)
		time.Sleep(4500 * time.Millisecond)
		cancel()
		synctest.Wait()
		assert.Equal(t, map[time.Duration]int{
			0:                       5,  // half of the window, because no request had arrived for a long time
			3500 * time.Millisecond: 5,  // in flight: 14, then 19; the window grows to 19: the 14 in flight, plus half of its start
			5500 * time.Millisecond: 10, // in flight: 19, then 29; the window grows by half, to 28.5
		}, left)
	})
}

func TestRequestsSpreadOverTimeAreSentEvenIfTheWindowIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Adaptive{StartWindow: 10}
		for range 10 {
			leave(t, g, "k")
		}
		start := time.Now()
		for range 50 { // 10 requests per 200 ms
			time.Sleep(20 * time.Millisecond)
			leave(t, g, "k")
		}
		assert.Equal(t, time.Second, time.Since(start), "no request should wait")
		ctx, cancel := context.WithCancel(t.Context())
		early := queueUp(ctx, g)
		assert.Empty(t, early, "the next request should wait, because it arrives too early")
		cancel()
		require.Error(t, <-early)
		time.Sleep(time.Hour)
		start = time.Now()
		for range 10 + 5 {
			leave(t, g, "k")
		}
		assert.Zero(t, time.Since(start), "the window should be free again, and room for half a window saved up")
		leave(t, g, "k")
		assert.Equal(t, longAnswer, time.Since(start), "only room for half a window should have been saved up")
		assert.EqualValues(t, 10+50+10+5+1, g.account("k").flying.Load())
	})
}

func TestBurstIsNotHeldBackBecauseOfSlowRequestsInFlight(t *testing.T) {
	const ms = time.Millisecond
	for name, tt := range map[string]struct {
		slow        int // number of requests that stay in flight
		apart, then time.Duration
		busy        bool // whether other requests are answered while the slow ones arrive
	}{
		"100 slow requests":                                      {100, 10 * ms, longAnswer, false},
		"1000 slow requests":                                     {1000, 10 * ms, longAnswer, false},
		"1000 slow requests while others are answered":           {1000, 10 * ms, longAnswer, true},
		"a slow request each second, also just before the burst": {200, 1000 * ms, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(Adaptive)
				for range tt.slow {
					time.Sleep(tt.apart)
					leave(t, g, "k")
					if tt.busy {
						leave(t, g, "k")
						g.Observe(plain, 0, accepted)
					}
				}
				time.Sleep(tt.then)
				start := time.Now()
				for range defaultStartWindow {
					leave(t, g, "k")
				}
				assert.Zero(t, time.Since(start))
			})
		})
	}
}

func TestSlowRequestsMakeNoRoomOnceTheyHaveEnded(t *testing.T) {
	for _, result := range []Result{Accepted, Unknown, NotSent} {
		t.Run(result.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &Adaptive{StartWindow: 100}
				for range 100 {
					leave(t, g, "k")
				}
				wait := func() {
					ctx, cancel := context.WithCancel(t.Context())
					require.Empty(t, queueUp(ctx, g))
					cancel()
					synctest.Wait()
				}
				a := g.account("k")
				a.spare, a.spareAt = 0, time.Hour // no request may exceed the window
				wait()
				for range 100 {
					g.Observe(plain, 0, Outcome{Result: result})
				}
				window := a.window.Load()
				time.Sleep(time.Minute)
				for range (window + 1) / 2 {
					leave(t, g, "k")
				}
				wait()
				assert.Equal(t, window, a.window.Load(), "the requests in flight are new")
			})
		})
	}
}

func TestWaiterIsSentAfterTwoSecondsHoweverManyRequestsSpreadOverTimeAreInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Adaptive{StartWindow: 10}
		for range 10 {
			leave(t, g, "k")
		}
		for range 90 {
			time.Sleep(20 * time.Millisecond)
			leave(t, g, "k")
		}
		start := time.Now()
		for range 5 {
			leave(t, g, "k")
		}
		assert.Equal(t, longAnswer, time.Since(start))
	})
}

// A service that responds to no request must not be flooded.
func TestBurstIsHeldBackIfNothingIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Adaptive)
		ctx, cancel := context.WithCancel(t.Context())
		for range 2000 {
			go g.Wait(ctx, plain)
		}
		for _, want := range []int{64, 96, 144, 216, 324, 486} {
			synctest.Wait()
			s, _ := g.Stats("k")
			assert.Equal(t, want, s.Flying)
			time.Sleep(longAnswer)
		}
		cancel()
	})
}

// Observe may read window while requests wait, but get the lock only after those requests
// have been sent.
func TestResponseWidensAWindowThatReopenedWhileObserveWaitedForTheLock(t *testing.T) {
	g := &Adaptive{StartWindow: 10}
	for range 10 {
		leave(t, g, "k")
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := g.Wait(canceled, plain)
	require.ErrorIs(t, err, context.Canceled)
	a := g.account("k")
	assert.EqualValues(t, 20, a.window.Load(), "the window should be open again, because no request is waiting")
	a.mu.Lock()
	a.window.Store(-1)
	done := make(chan struct{})
	go func() {
		g.Observe(plain, 0, accepted)
		close(done)
	}()
	for range 1000 { // by the end, Observe is almost certainly waiting for the lock
		runtime.Gosched()
	}
	a.window.Store(20)
	a.mu.Unlock()
	<-done
	assert.EqualValues(t, 21, a.window.Load())
}

func TestWindowNeverShrinksBelowItsStart(t *testing.T) {
	g := &Adaptive{StartWindow: 2}
	a := g.account("k")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				_, err := g.Wait(context.Background(), plain)
				if w := a.window.Load(); !assert.NoError(t, err) || w >= 0 && !assert.GreaterOrEqual(t, w, a.start) {
					return
				}
				g.Observe(plain, 0, accepted)
			}
		})
	}
	wg.Wait()
	assert.Zero(t, a.flying.Load())
	assert.Zero(t, a.waiting())
}

func TestHistoryKeepsFewerMarksForOlderRequests(t *testing.T) {
	const ms = time.Millisecond
	for name, tt := range map[string]struct {
		answers int64
		want    []fleet1.Mark
	}{
		"no accepted requests":                         {0, []fleet1.Mark{{}, {}}},
		"a few accepted requests":                      {40, []fleet1.Mark{{}, {At: 16 * ms, Accepted: 16}, {At: 32 * ms, Accepted: 32}, {At: 40 * ms, Accepted: 40}}},
		"as many requests as the first level covers":   {255, append(every16th(0, 15), fleet1.Mark{At: 255 * ms, Accepted: 255})},
		"one request more than the first level covers": {256, slices.Concat([]fleet1.Mark{{}}, every16th(1, 16), []fleet1.Mark{{At: 256 * ms, Accepted: 256}})},
		"marks of two levels": {1000, slices.Concat([]fleet1.Mark{{}, every16th(16, 16)[0], every16th(32, 32)[0]},
			every16th(47, 62), []fleet1.Mark{{At: 1000 * ms, Accepted: 1000}})},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(Adaptive)
				a := g.account("k")
				leave(t, g, "k")
				for range tt.answers {
					leave(t, g, "k")
					time.Sleep(ms)
					g.Observe(plain, 0, accepted)
				}
				h := a.history()
				assert.Equal(t, tt.want, h.Marks)
				assert.Equal(t, time.Duration(tt.answers)*ms, h.Now)
				assert.Equal(t, 1, h.Flying)
			})
		})
	}
}

// every16th returns the marks with the given numbers, assuming that one request was
// accepted per millisecond.
func every16th(from, to int64) (marks []fleet1.Mark) {
	for i := from; i <= to; i++ {
		marks = append(marks, fleet1.Mark{At: time.Duration(16*i) * time.Millisecond, Accepted: 16 * i})
	}
	return marks
}

func TestHistoryCountsRequestsInFlightAtTheFirst429(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Adaptive)
		f := new(others)
		g.Join(f)
		for range 3 {
			leave(t, g, "k")
		}
		time.Sleep(time.Minute)
		g.Observe(plain, 0, Outcome{Result: Throttled})
		assert.Equal(t, 3, f.history.Flying, "the throttled request should be counted too")
		assert.Equal(t, time.Minute, g.account("k").throttled)
		g.Observe(plain, 0, accepted)
		g.Observe(plain, 0, accepted)
		a := g.account("k")
		p := a.pacer.(*turnstile)
		assert.Equal(t, []string{"accepted", "accepted"}, p.told)
		p.turns = 1
		leave(t, g, "k")
		g.Observe(plain, 1, accepted)
		assert.Len(t, p.told, 4, "a call to Idle and a call to Accepted should have been added")
		assert.EqualValues(t, 3, a.accepted.Load())
	})
}

func TestObserveSendsTheNextRequestIfItsTurnHasCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Adaptive)
		p := closed()
		g.Join(&others{known: p})
		p.turns = 1
		leave(t, g, "k")
		next := queueUp(t.Context(), g)
		p.turns = 1
		assert.Empty(t, next, "the request should wait until the gate asks the pacer again")
		g.Observe(plain, 1, accepted)
		synctest.Wait()
		require.Len(t, next, 1)
		assert.NoError(t, <-next)
	})
}

// If a waiter is admitted and canceled at the same moment, either this waiter or the next
// one is sent.
func TestCanceledTurnGoesToNextWaiter(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T, g *Adaptive) (free func(a *account)){
		"before any throttling": func(t *testing.T, g *Adaptive) func(*account) {
			leave(t, g, "k")
			return func(a *account) { a.landed() }
		},
		"after throttling": func(t *testing.T, g *Adaptive) func(*account) {
			p := closed()
			g.Join(&others{known: p})
			return func(*account) { p.turns = 1 }
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 50 { // it is random which of the two is sent
				synctest.Test(t, func(t *testing.T) {
					g := &Adaptive{StartWindow: 1}
					free := begin(t, g)
					ctx, cancel := context.WithCancel(t.Context())
					hasty := queueUp(ctx, g)
					patient := queueUp(t.Context(), g)
					a := g.account("k")
					a.mu.Lock()
					cancel()
					free(a)
					a.dispatch()
					a.mu.Unlock()
					left := 1
					if err := <-hasty; err == nil {
						left += len(a.tickets) // after throttling, this request stays in flight; before throttling, the next call to free ends it
						a.mu.Lock()
						free(a)
						a.dispatch()
						a.mu.Unlock()
					} else {
						assert.ErrorIs(t, err, context.Canceled)
					}
					synctest.Wait()
					require.Len(t, patient, 1)
					require.NoError(t, <-patient)
					assert.Equal(t, left, int(a.flying.Load())+len(a.tickets))
				})
			}
		})
	}
}

// Gates that receive the same Retry-After must not all resume at once. All gates here are
// created and throttled at the same time, so that a random number generator seeded from the clock
// would give them all the same jitter.
func TestPauseGetsRandomJitterOfUpToFivePercentAndAtMostAQuarterSecond(t *testing.T) {
	for asked, most := range map[time.Duration]time.Duration{
		time.Second:      50 * time.Millisecond,
		10 * time.Second: 250 * time.Millisecond,
	} {
		t.Run(asked.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var longer []time.Duration
				for range 200 {
					g := new(Adaptive)
					leave(t, g, "k")
					g.Observe(plain, 0, Outcome{Result: Throttled, RetryAfter: asked})
					longer = append(longer, g.account("k").pacer.Paused()-asked)
				}
				assert.InDelta(t, 0, slices.Min(longer), float64(most)/20)
				assert.InDelta(t, most, slices.Max(longer), float64(most)/20)
				assert.GreaterOrEqual(t, slices.Min(longer), time.Duration(0))
				assert.Less(t, slices.Max(longer), most)
			})
		})
	}
}

func TestOnlyTheFirstWaiterReportsToThePacerThatTurnsWereUnused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Adaptive)
		p := closed()
		g.Join(&others{known: p})
		ctx, cancel := context.WithCancel(t.Context())
		for range 3 {
			queueUp(ctx, g)
		}
		assert.Equal(t, []string{"idle"}, p.told, "only the first waiter should cause a call to Idle")
		cancel()
	})
}

func TestWaiterIsTooLateIfTheTurnsAheadLeaveNoTimeForItsResponse(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	g := new(Adaptive)
	p := closed()
	p.gap, p.trip = s, 500*ms
	g.Join(&others{known: p})
	a := g.account("k")
	now := 100 * s
	for _, tt := range []struct {
		ahead    int
		deadline time.Duration
		late     bool
	}{
		{3, 3599 * ms, true}, {3, 3600 * ms, false}, // a response may take 1.2 round trips
		{6, 6599 * ms, true}, {6, 6600 * ms, false},
		{0, 1 * ms, false}, {0, 0, true}, // the first waiter may be sent as long as any time is left
	} {
		until, late := a.late(&waiter{limited: true, deadline: now + tt.deadline}, now, tt.ahead)
		assert.Equal(t, now+time.Duration(tt.ahead)*s, until, "wrong earliest turn for %+v", tt)
		assert.Equal(t, tt.late, late, "wrong decision about lateness for %+v", tt)
	}
	_, late := a.late(&waiter{}, now, 1000)
	assert.False(t, late, "a waiter without a deadline should never be late")
}

func TestCallerThatCannotMeetItsDeadlineIsRefusedAndDoesNotDelayOthers(t *testing.T) {
	const s = time.Second
	g := new(Adaptive)
	p := closed()
	p.gap = s
	g.Join(&others{known: p})
	a := g.account("k")
	now := 100 * s
	var waiters []*waiter
	for _, deadline := range []time.Duration{9, 1, 0, 1, 3, 2, 3} { // in seconds; 0: no deadline
		w := &waiter{ready: make(chan error, 1), limited: deadline > 0, deadline: now + deadline*s}
		waiters = append(waiters, w)
		a.lanes.push(w, Normal)
	}
	a.turnAway(now)
	var told []int
	for i, w := range waiters {
		if len(w.ready) > 0 {
			told = append(told, i)
			assert.ErrorIs(t, <-w.ready, ErrDeadline)
		}
	}
	// The turns come at 0 s, 1 s and so on. A refused waiter passes its turn on to the
	// next waiter.
	assert.Equal(t, []int{1, 3, 5, 6}, told)
}

// The requests ahead would be sent so late that they are refused themselves.
func TestRequestIsNotRefusedBecauseOfRequestsAheadWithEarlierDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Adaptive)
		p := closed()
		p.gap = time.Millisecond
		g.Join(&others{known: p})
		wait := func(n int, timeout time.Duration) <-chan error {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			context.AfterFunc(t.Context(), cancel)
			refused := make(chan error, n)
			for range n {
				go func() {
					_, err := g.Wait(ctx, plain)
					refused <- err
				}()
			}
			synctest.Wait()
			return refused
		}
		hasty := wait(4000, 5*time.Second)
		patient := wait(1, time.Minute)
		assert.Empty(t, hasty)
		p.gap = 100 * time.Millisecond // now 4000 turns take more than six minutes
		wait(500, 5*time.Second)       // so many arrivals (over an eighth of the waiters) make the gate check all waiters
		assert.Len(t, hasty, 4000-50, "only 50 hasty requests can be sent before their deadline")
		assert.Empty(t, patient, "a waiting request was refused because of requests ahead that will not be sent")
		assert.Empty(t, wait(1, time.Minute), "a new request was refused because of requests ahead that will not be sent")
	})
}

func TestWaitersWakeAtTheirTurnEvenIfThePauseChanges(t *testing.T) {
	for name, tt := range map[string]struct{ before, after time.Duration }{
		"pause becomes shorter": {time.Minute, time.Second},
		"pause becomes longer":  {time.Second, time.Minute},
		"pause does not change": {time.Minute, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(Adaptive)
				p := closed()
				g.Join(&others{known: p})
				for range 2 { // first with a new timer, then with a timer that is reused
					start, now := time.Now(), g.account("k").now()
					p.turns, p.pause = 2, now+tt.before
					first := queueUp(t.Context(), g)
					p.pause = now + tt.after
					second := queueUp(t.Context(), g)
					require.NoError(t, <-first)
					require.NoError(t, <-second)
					assert.Equal(t, tt.after, time.Since(start))
				}
			})
		})
	}
}

func TestStatsDoNotCountCallersThatWaitForTheLockAsInFlight(t *testing.T) {
	a := new(Adaptive).account("k")
	a.flying.Store(3)
	a.entering.Store(2)
	s, _ := a.stats()
	assert.Equal(t, 1, s.Flying)
}

func TestHistoryDoesNotCountCallersThatWaitForTheLockAsInFlight(t *testing.T) {
	a := new(Adaptive).account("k")
	a.flying.Store(3)
	a.entering.Store(2)
	assert.Equal(t, 1, a.history().Flying)
}

func TestStatsShowNoStatedLimitThatTheControllerIgnores(t *testing.T) {
	a := new(Adaptive).account("k")
	a.adopt(fleet1.History{Now: a.now(), Marks: []fleet1.Mark{{}}, Flying: 1}.Close(time.Second))
	state := func(requests int, per time.Duration) Limit {
		a.state(a.now(), Outcome{Result: Throttled, RetryAfter: time.Second, Limit: Limit{Requests: requests, Per: per}}, false)
		s, _ := a.stats()
		return s.Limit
	}
	want := Limit{Requests: 600, Per: time.Minute}
	assert.Equal(t, want, state(600, time.Minute))
	assert.Equal(t, want, state(1, 20_000*time.Hour), "a limit that makes no sense should be ignored")
	assert.Equal(t, Limit{Requests: 10, Per: time.Second}, state(10, time.Second))
}

func TestSomeRequestsAreTimedBeforeTheFirst429(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Adaptive)
		trip := func() time.Duration { return g.account(plain.Key).history().Trip }
		call := func(took time.Duration, o Outcome) {
			ticket, err := g.Wait(t.Context(), plain)
			require.NoError(t, err)
			time.Sleep(took)
			g.Observe(plain, ticket, o)
		}
		call(time.Second, Outcome{})
		assert.Zero(t, trip(), "a request without a response says nothing")
		for range marksEvery {
			call(50*time.Millisecond, accepted)
		}
		assert.Equal(t, 50*time.Millisecond, trip())
		call(40*time.Second, accepted)
		assert.Equal(t, 62750*time.Microsecond, trip(), "a long poll should change little")
		call(time.Second, accepted)
		assert.Equal(t, 62750*time.Microsecond, trip(), "only every 16th request should be timed")
	})
}

// A minute without requests must not count as time that responses took: all requests of a
// burst would then be refused as too late for a response.
func TestTimeWithoutRequestsDoesNotCountAsTimeThatResponsesTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Adaptive)
		burst := func(n, most int) {
			tickets := make([]Ticket, n)
			for i := range tickets {
				var err error
				tickets[i], err = g.Wait(t.Context(), plain)
				require.NoError(t, err)
			}
			time.Sleep(50 * time.Millisecond)
			for i, ticket := range tickets {
				o := accepted
				if i >= most {
					o = Outcome{Result: Throttled, RetryAfter: time.Second}
				}
				g.Observe(plain, ticket, o)
			}
		}
		burst(1, 1)
		time.Sleep(time.Minute)
		burst(30, 20)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for range 10 {
			go func() {
				ticket, err := g.Wait(ctx, plain)
				if assert.NoError(t, err) {
					g.Observe(plain, ticket, accepted)
				}
			}()
		}
		time.Sleep(10*time.Second - time.Millisecond)
		s, _ := g.Stats(plain.Key)
		assert.Zero(t, s.Waiting)
	})
}

func TestWaiterGoesBehindTheOthersIfItsCallerMayGiveUpBeforeTheResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const s, ms = time.Second, time.Millisecond
		g := new(Adaptive)
		p := closed()
		p.trip = 50 * ms // so a response is expected within 60 ms
		g.Join(&others{known: p})
		a := g.account("k")
		a.lanes.push(&waiter{}, Normal)
		time.Sleep(time.Minute)
		for range 3 {
			a.lostPatience(&waiter{since: a.now() - s})
		}
		a.lostPatience(&waiter{since: a.now() - 10*s, limited: true}) // its deadline has passed, which does not show that its caller gave up
		a.lostPatience(&waiter{since: a.now() - 10*s, inner: true})
		now := a.now()
		for name, tt := range map[string]struct {
			w    waiter
			want bool
		}{
			"its caller may give up before the response": {waiter{since: now - 881*ms}, true},
			"there is time for two responses":            {waiter{since: now - 879*ms}, false},
			"its caller is more patient":                 {waiter{since: now - 2*s}, false},
			"it has a deadline":                          {waiter{since: now - 900*ms, limited: true}, false},
			"it has gone behind the others before":       {waiter{since: now - 900*ms, deferred: true}, false},
			"it has been refused twice":                  {waiter{since: now - 900*ms, resend: 2}, true},
			"it has been refused three times":            {waiter{since: now - 900*ms, resend: 3}, false},
		} {
			assert.Equal(t, tt.want, a.shouldDefer(&tt.w, now), name)
		}
		assert.True(t, a.shouldDefer(&waiter{since: now + 9*s}, now+9900*ms))
		assert.False(t, a.shouldDefer(&waiter{since: now + 10*s}, now+10900*ms), "nobody has given up for more than ten seconds")
		time.Sleep(11 * s)
		a.lostPatience(&waiter{since: a.now() - 3*s})
		assert.Equal(t, 3*s, a.patience, "patience of more than ten seconds ago should not count")
		a.lanes = lanes{}
		assert.False(t, a.shouldDefer(&waiter{since: now - 900*ms}, now), "no other request waits")
	})
}
