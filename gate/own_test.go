package gate

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/internal/fleet1"
	"github.com/iamhttp/iamhttp/internal/suspect"
)

func always(result Result, retryAfter time.Duration) service {
	return func() Outcome { return Outcome{Result: result, RetryAfter: retryAfter} }
}

// shared returns a service that several crowds can use.
func shared(limit service) service {
	var mu sync.Mutex
	return func() Outcome {
		mu.Lock()
		defer mu.Unlock()
		return limit()
	}
}

// visitors make calls on two routes that share a gate: five per second for five minutes, with
// a timeout of ten seconds, and three per second with a timeout of twenty.
func visitors(t *testing.T, one, other *crowd) {
	var calls sync.WaitGroup
	start := func(c *crowd, timeout time.Duration) {
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			c.call(ctx)
		})
	}
	for n := range 15 * 300 {
		if n%3 == 0 {
			start(one, 10*time.Second)
		}
		if n%5 == 0 {
			start(other, 20*time.Second)
		}
		time.Sleep(time.Second / 15)
	}
	calls.Wait()
}

// Without an own account, fewer than 1 % of the other calls would be answered.
func TestAnEndpointThatIsRefusedDoesNotHoldUpOthers(t *testing.T) {
	for name, service := range map[string]func() service{
		"always":                           func() service { return always(Throttled, time.Second) },
		"always, without Retry-After":      func() service { return always(Throttled, 0) },
		"most of the time":                 func() service { return bucket(1, 1, time.Second) },
		"most of the time, for a resource": func() service { return bucket(0.1, 1, 2*time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(Adaptive)
				others := &crowd{g: g, service: always(Accepted, 0), path: "/v3/users/1"}
				refused := &crowd{g: g, service: service(), path: "/v3/users/2"}
				if name != "most of the time, for a resource" {
					refused.path = "/v3/jobs/2"
				}
				visitors(t, others, refused)
				t.Logf("%d of 1500 other calls were answered", others.answered)
				assert.GreaterOrEqual(t, others.answered, 1300)
			})
		})
	}
}

// separated returns a gate in which /jobs has an own account, the account of the others, and the
// own account.
func separated(t *testing.T) (*Adaptive, *account, *ownAccount) {
	t.Helper()
	g := new(Adaptive)
	for range 10 {
		exchange(t, g, jobs, Outcome{Result: Throttled, RetryAfter: time.Second})
		for range 20 {
			exchange(t, g, users, Outcome{Result: Accepted})
		}
		if a, o := ownOfJobs(g); o != nil {
			return g, a, o
		}
	}
	require.Fail(t, "there should be an own account by now")
	return nil, nil, nil
}

func ownOfJobs(g *Adaptive) (*account, *ownAccount) {
	a := g.account("k")
	a.mu.Lock()
	defer a.mu.Unlock()
	return a, a.owns[jobs.endpoint().Route]
}

var jobs, users = Request{Key: "k", Path: "/jobs"}, Request{Key: "k", Path: "/users"}

func exchange(t *testing.T, g *Adaptive, r Request, o Outcome) {
	t.Helper()
	ticket, err := g.Wait(t.Context(), r)
	require.NoError(t, err)
	g.Observe(r, ticket, o)
}

func TestAPauseOfAnOwnAccountDoesNotApplyToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, a, o := separated(t)
		exchange(t, g, jobs, Outcome{Result: Throttled, RetryAfter: time.Minute})
		start := time.Now()
		exchange(t, g, users, Outcome{Result: Accepted})
		assert.Less(t, time.Since(start), time.Second)
		exchange(t, g, jobs, Outcome{Result: Accepted})
		assert.Greater(t, time.Since(start), 50*time.Second, "the refused endpoint waits for Retry-After")
		assert.Empty(t, a.tickets)
		assert.Empty(t, o.tickets)
	})
}

func TestWaitersMoveToTheOwnAccountAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _, o := separated(t)
		exchange(t, g, jobs, Outcome{Result: Throttled, RetryAfter: 10 * time.Second})
		const all = 500
		var mu sync.Mutex
		var byOwn, byOther int
		for range all {
			go func() {
				ticket, err := g.Wait(t.Context(), jobs)
				assert.NoError(t, err)
				mu.Lock()
				defer mu.Unlock()
				if ticket&own != 0 {
					byOwn++
				} else {
					byOther++
				}
			}()
		}
		synctest.Wait()
		assert.Equal(t, all, o.waiting())
		s, _ := g.Stats("k")
		assert.Equal(t, all, s.Waiting)

		exchange(t, g, users, Outcome{Result: Throttled})
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Zero(t, o.waiting())
		time.Sleep(time.Hour)
		mu.Lock()
		defer mu.Unlock()
		assert.Equal(t, all, byOwn+byOther)
		t.Logf("%d and %d were sent", byOwn, byOther)
		assert.NotZero(t, byOwn)
		assert.NotZero(t, byOther)
	})
}

// pests make calls that are always refused, one path each, while users make one call per second
// with a timeout of ten seconds. A pest waits for some time between two calls. The result is how
// many of the users' calls failed in the last two of four hours, and how many own accounts were in
// use at the end.
func pests(t *testing.T, paths int, wait, timeout, retryAfter time.Duration) (failed, owns int) {
	g, begin := new(Adaptive), time.Now()
	end := begin.Add(4 * time.Hour)
	call := func(r Request, timeout time.Duration, o Outcome) bool {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		ticket, err := g.Wait(ctx, r)
		if err == nil {
			g.Observe(r, ticket, o)
		}
		return err == nil
	}
	var calls sync.WaitGroup
	for i := range paths {
		calls.Go(func() {
			for time.Now().Before(end) {
				call(Request{Key: "k", Path: "/jobs/" + string(rune('a'+i))}, timeout, Outcome{Result: Throttled, RetryAfter: retryAfter})
				time.Sleep(wait)
			}
		})
	}
	for time.Now().Before(end) {
		time.Sleep(time.Second)
		if !call(users, 10*time.Second, Outcome{Result: Accepted}) && time.Since(begin) > 2*time.Hour {
			failed++
		}
	}
	a := g.account("k")
	a.mu.Lock()
	for _, o := range a.owns {
		if a.uses(o) {
			owns++
		}
	}
	a.mu.Unlock()
	calls.Wait()
	return failed, owns
}

// Without own accounts, nearly all calls of the users would fail. Now and then, an endpoint loses
// its own account for a while, because another one is refused that has none yet.
func TestSeveralEndpointsThatAreAlwaysRefusedDoNotHoldUpOthers(t *testing.T) {
	for _, retryAfter := range []time.Duration{0, 5 * time.Second, 30 * time.Second} {
		for paths := 1; paths <= 3; paths++ {
			t.Run(fmt.Sprintf("%d endpoints, Retry-After %v", paths, retryAfter), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					failed, owns := pests(t, paths, time.Second, 2*time.Minute, retryAfter)
					assert.Less(t, failed, 720, "of 7200")
					assert.NotZero(t, owns)
				})
			})
		}
	}
}

func TestAnEndpointThatIsSeldomUsedKeepsItsOwnAccount(t *testing.T) {
	for _, wait := range []time.Duration{45 * time.Second, 2 * time.Minute} {
		for _, retryAfter := range []time.Duration{time.Minute, 5 * time.Minute} {
			t.Run(fmt.Sprintf("once in %v, Retry-After %v", wait, retryAfter), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					failed, owns := pests(t, 1, wait, 10*time.Second, retryAfter)
					assert.Zero(t, failed)
					assert.Equal(t, 1, owns)
				})
			})
		}
	}
}

// Otherwise, the others would be held up again each time the use ends.
func TestAnOwnAccountIsUsedUntilNothingHasToWaitForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, a, o := separated(t)
		for range 60 {
			exchange(t, g, jobs, Outcome{Result: Throttled, RetryAfter: 40 * time.Second})
			exchange(t, g, users, Outcome{Result: Accepted})
		}
		a.mu.Lock()
		assert.Positive(t, o.left(a.now()))
		assert.Equal(t, suspect.MostSpan, o.Span)
		a.mu.Unlock()
		time.Sleep(2 * suspect.MostSpan)
		a.mu.Lock()
		assert.LessOrEqual(t, o.left(a.now()), time.Duration(0))
		a.mu.Unlock()
	})
}

func TestTheUseOfAnOwnAccountWasRightIfItsRequestsHadToWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, o := separated(t)
		o.waited = 0
		assert.False(t, a.proven(o), "only the refusal that led to the separation")
		time.Sleep(time.Second)
		o.waited = o.now()
		assert.True(t, a.proven(o))
		a.pauses++
		assert.False(t, a.proven(o), "another request was refused, too")
	})
}

// Otherwise, two endpoints that are refused would take turns in losing their own accounts.
func TestRefusalsOfEndpointsWithAnOwnAccountDoNotCountAsThoseOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, a, o := separated(t)
		pauses := a.pauses
		tasks := Request{Key: "k", Path: "/tasks"}
		for range 10 {
			exchange(t, g, tasks, Outcome{Result: Throttled, RetryAfter: time.Second})
			for range 20 {
				exchange(t, g, users, Outcome{Result: Accepted})
			}
		}
		require.Len(t, a.owns, 2)
		assert.Greater(t, a.pauses, pauses)
		assert.Equal(t, a.pauses, o.others, "the refusals of /tasks are explained")

		pauses = a.pauses
		o.Until = 0
		o.armed = false
		exchange(t, g, jobs, Outcome{Result: Throttled})
		assert.Equal(t, pauses, a.pauses)
	})
}

func TestTheUseOfAnOwnAccountThatHasEndedDoesNotGoOn(t *testing.T) {
	for name, end := range map[string]func(*account, *ownAccount){
		"it ended before":                 func(_ *account, o *ownAccount) { o.armed = false },
		"the other account was forgotten": func(a *account, _ *ownAccount) { a.gone = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, a, o := separated(t)
				time.Sleep(10 * time.Second)
				o.waited = o.now()
				o.Until = a.now()
				require.True(t, a.proven(o))
				end(a, o)
				assert.False(t, a.uses(o))
			})
		})
	}
}

func TestAnOwnAccountStaysInUseUntilItsPauseIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _, _ := separated(t)
		exchange(t, g, jobs, Outcome{Result: Throttled, RetryAfter: time.Hour})
		start := time.Now()
		time.Sleep(2 * time.Minute)
		exchange(t, g, jobs, Outcome{Result: Accepted})
		assert.GreaterOrEqual(t, time.Since(start), time.Hour)
	})
}

// Otherwise, if the two have the same limit, a single Retry-After would be ignored for long.
func TestARefusalOfARequestThatWasSentBeforeBelongsToTheOwnAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, a, o := separated(t)
		o.Until = 0
		early, err := g.Wait(t.Context(), jobs)
		require.NoError(t, err)
		require.Zero(t, early&own)
		o.Until = a.now() + time.Minute
		g.Observe(jobs, early, Outcome{Result: Throttled, RetryAfter: time.Hour})
		start := time.Now()
		exchange(t, g, users, Outcome{Result: Accepted})
		assert.Less(t, time.Since(start), time.Second)
		assert.Greater(t, o.pacer.Paused(), time.Hour)
	})
}

func TestEndpointsThatShareALimitStayTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, service := new(Adaptive), shared(bucket(4, 4, time.Second))
		one := &crowd{g: g, service: service, path: "/v3/users"}
		other := &crowd{g: g, service: service, path: "/v3/jobs"}
		visitors(t, one, other)
		a := g.account("k")
		a.mu.Lock()
		assert.Empty(t, a.owns)
		a.mu.Unlock()
		t.Logf("%d and %d calls were answered", one.answered, other.answered)
		assert.GreaterOrEqual(t, one.answered+other.answered, 1100)
	})
}

func TestAnEndpointThatIsNotRefusedAloneGetsNoOwnAccount(t *testing.T) {
	for _, shared := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			g := new(Adaptive)
			var tickets []Ticket
			more := []Request{{Key: "k", Path: "/a"}, {Key: "k", Path: "/b"}, {Key: "k", Path: "/c"}, {Key: "k", Path: "/d"}}
			for _, r := range more {
				ticket, err := g.Wait(t.Context(), r)
				require.NoError(t, err)
				tickets = append(tickets, ticket)
			}
			for i, r := range more {
				exchange(t, g, jobs, Outcome{Result: Throttled, RetryAfter: time.Second})
				if shared {
					g.Observe(r, tickets[i], Outcome{Result: Throttled, RetryAfter: time.Second})
				}
				for range 20 {
					exchange(t, g, users, Outcome{Result: Accepted})
				}
			}
			_, o := ownOfJobs(g)
			assert.Equal(t, !shared, o != nil, "refused together with others: %v", shared)
		})
	}
}

// A led is a fleet whose pacers are not in this process.
type led struct{ others }

func (*led) Throttled(_ string, h fleet1.History, retryAfter time.Duration, _ fleet1.Endpoint) fleet1.Pacer {
	return struct{ fleet1.Pacer }{h.Close(retryAfter)}
}

func TestAProcessOfAFleetDoesNotSeparateEndpointsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Adaptive)
		g.Join(&led{others{share: 1}})
		for range 10 {
			exchange(t, g, jobs, Outcome{Result: Throttled})
			for range 20 {
				exchange(t, g, users, Outcome{Result: Accepted})
			}
		}
		_, o := ownOfJobs(g)
		assert.Nil(t, o)
	})
}

func TestAnAccountIsForgottenTogetherWithItsOwnAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _, _ := separated(t)
		time.Sleep(time.Hour)
		_, ok := g.Stats("k")
		assert.False(t, ok)
	})
}

func TestACalmOwnAccountStartsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, a, o := separated(t)
		o.Until += time.Hour
		for range 10 { // the other account does not become calm
			exchange(t, g, users, Outcome{Result: Throttled})
			time.Sleep(time.Minute)
		}
		exchange(t, g, jobs, Outcome{Result: Accepted})
		same, o := ownOfJobs(g)
		assert.Nil(t, o)
		assert.Same(t, a, same)
	})
}

func TestRetryAfterOfOthersIsHonoredAfterASeparation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Adaptive)
		for round := 1; round <= 4; round++ {
			var flying []Ticket
			for range 4 {
				ticket, err := g.Wait(t.Context(), users)
				require.NoError(t, err)
				flying = append(flying, ticket)
			}
			exchange(t, g, jobs, Outcome{Result: Throttled, RetryAfter: time.Second})
			a, o := ownOfJobs(g)
			require.Nil(t, o)
			if round == 4 {
				g.Observe(users, flying[0], Outcome{Result: Throttled, RetryAfter: time.Hour})
				for range 1000 { // as if so many had been in flight
					a.acceptedAt(a.now(), users)
				}
			}
			for _, ticket := range flying {
				g.Observe(users, ticket, Outcome{Result: Accepted})
			}
		}
		_, o := ownOfJobs(g)
		require.NotNil(t, o)
		start := time.Now()
		exchange(t, g, users, Outcome{Result: Accepted})
		assert.GreaterOrEqual(t, time.Since(start), time.Hour)
	})
}

func TestTheOwnAccountWaitsForAStatedEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Adaptive)
		var refused time.Time
		var o *ownAccount
		for n := 0; o == nil; n++ {
			require.Less(t, n, 10)
			ticket, err := g.Wait(t.Context(), jobs)
			require.NoError(t, err)
			refused = time.Now()
			g.Observe(jobs, ticket, Outcome{Result: Throttled, Limit: Limit{Reset: 50 * time.Second}})
			for range 20 {
				exchange(t, g, users, Outcome{Result: Accepted})
			}
			_, o = ownOfJobs(g)
		}
		exchange(t, g, jobs, Outcome{Result: Accepted})
		assert.GreaterOrEqual(t, time.Since(refused), 50*time.Second)
	})
}

func TestAnInnerRequestGoesToTheOwnAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, _ := separated(t)
		a.flying.Add(1)
		a.entering.Add(1)
		_, err := a.enqueue(t.Context(), jobs, true)
		assert.Equal(t, errOwn, err)
	})
}

// The calls for many resources share a limit. If those with little time could go ahead of the
// others whenever a request for another resource was refused, calls without a deadline would
// wait for ever.
func TestCallsWithoutADeadlineAreNotStarvedByCallsForOtherResources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, service := new(Adaptive), shared(bucket(4, 4, time.Second))
		var calls sync.WaitGroup
		var mu sync.Mutex
		var longest time.Duration
		for n := range 20 * 300 {
			c := &crowd{g: g, service: service, path: fmt.Sprintf("/users/%d", n)}
			calls.Go(func() {
				if n%200 == 100 {
					start := time.Now()
					assert.True(t, c.call(t.Context()))
					mu.Lock()
					defer mu.Unlock()
					longest = max(longest, time.Since(start))
					return
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				c.call(ctx)
			})
			time.Sleep(time.Second / 20)
		}
		calls.Wait()
		assert.Less(t, longest, time.Minute)
	})
}

func TestARequestThatWaitsMovesWhenItsEndpointGetsAnOwnAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Adaptive)
		done := false
		for n := 0; !done; n++ {
			require.Less(t, n, 10)
			exchange(t, g, jobs, Outcome{Result: Throttled, RetryAfter: time.Minute})
			ctx, cancel := context.WithCancel(t.Context())
			go g.Wait(ctx, jobs)
			synctest.Wait()
			a, o := ownOfJobs(g)
			if o != nil {
				assert.Equal(t, 1, o.waiting())
				assert.Zero(t, a.waiting())
				done = true
			}
			cancel()
			synctest.Wait()
			for i := 0; i < 20 && !done; i++ {
				go g.Wait(t.Context(), jobs)
				exchange(t, g, users, Outcome{Result: Accepted})
				if a, o = ownOfJobs(g); o != nil {
					assert.Zero(t, a.waiting(), "those that waited have moved")
					done = true
				}
			}
		}
	})
}

func TestAnEndpointThatIsSeparatedAgainSoonIsSeparatedForLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, o := separated(t)
		again := func() time.Duration {
			for range 20 {
				a.suspects.Refused(0, jobs.endpoint())
				for range 19 {
					a.suspects.Accepted(0, users.endpoint())
				}
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			v := a.suspects.Accepted(0, users.endpoint())
			require.True(t, v.Own)
			a.heed(a.now(), v)
			return a.owns[jobs.endpoint().Route].Span
		}
		assert.Equal(t, time.Minute, o.Span)
		assert.Equal(t, 2*time.Minute, again())
		assert.Equal(t, 4*time.Minute, again())
		for range 5 {
			again()
		}
		assert.Equal(t, suspect.MostSpan, o.Span)
		o.Until -= 4 * suspect.MostSpan
		assert.Equal(t, time.Minute, again())
	})
}

func TestAnAccountIsNotCalmWhileAnOwnAccountIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, a, _ := separated(t)
		exchange(t, g, jobs, Outcome{Result: Throttled, RetryAfter: time.Hour})
		time.Sleep(50 * time.Minute)
		exchange(t, g, users, Outcome{Result: Accepted})
		same, o := ownOfJobs(g)
		assert.Same(t, a, same)
		assert.NotNil(t, o)
		a.mu.Lock()
		assert.False(t, a.calm())
		a.mu.Unlock()
		assert.False(t, a.retire(false), "nor is it forgotten")
	})
}

// A request of the own account is refused when the account is no longer used, and another
// one already waits in the other account.
func TestRetryAfterIsHonoredWhenTheUseOfAnOwnAccountHasJustEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, a, o := separated(t)
		late, err := g.Wait(t.Context(), jobs)
		require.NoError(t, err)
		require.NotZero(t, late&own)
		time.Sleep(time.Minute)
		synctest.Wait()
		a.mu.Lock()
		a.pacer.Pause(a.now() + time.Second)
		a.mu.Unlock()
		start := time.Now()
		sent := make(chan time.Duration)
		go func() {
			_, err := g.Wait(t.Context(), jobs)
			assert.NoError(t, err)
			sent <- time.Since(start)
		}()
		synctest.Wait()
		require.Equal(t, 1, a.waiting())
		g.Observe(jobs, late, Outcome{Result: Throttled, RetryAfter: time.Minute})
		assert.GreaterOrEqual(t, <-sent, time.Minute)
		assert.Zero(t, o.waiting())
	})
}

// Only so many endpoints can have own accounts. Those of the next one still share a pause with
// others.
func TestAPauseGoesOnIfTheEndpointCannotGetAnOwnAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, a, _ := separated(t)
		a.mu.Lock()
		for key := range uint64(suspect.MostOwn - 1) {
			a.open(key)
		}
		a.mu.Unlock()
		tasks := Request{Key: "k", Path: "/tasks"}
		for range 6 {
			start := time.Now()
			exchange(t, g, tasks, Outcome{Result: Throttled, RetryAfter: time.Minute})
			exchange(t, g, users, Outcome{Result: Accepted})
			assert.GreaterOrEqual(t, time.Since(start), time.Minute)
			for range 20 {
				exchange(t, g, users, Outcome{Result: Accepted})
			}
		}
		assert.Len(t, a.owns, suspect.MostOwn)
	})
}
