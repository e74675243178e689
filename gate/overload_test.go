package gate

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// A crowd makes calls as the Transport does, with up to 20 attempts. A refusal takes 2 ms,
// a response 100 ms.
type crowd struct {
	g       *Adaptive
	service service
	path    string        // of the requests
	timeout time.Duration // of a call, or of all calls that depend on each other

	mu       sync.Mutex
	answered int
	failed   int
	until    time.Duration // how long the calls that failed took, in all
}

func (c *crowd) call(ctx context.Context) bool {
	began := time.Now()
	ok := c.attempts(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if ok {
		c.answered++
	} else {
		c.failed++
		c.until += time.Since(began)
	}
	return ok
}

func (c *crowd) attempts(ctx context.Context) bool {
	for n := range 20 {
		r := Request{Key: "k", Resend: n, Path: c.path}
		if _, ok := ctx.Deadline(); !ok {
			r.MaxWait = 2 * time.Minute
		}
		ticket, err := c.g.Wait(ctx, r)
		if err != nil {
			return false
		}
		c.mu.Lock()
		o := c.service()
		c.mu.Unlock()
		took := 100 * time.Millisecond
		if o.Result == Throttled {
			took = 2 * time.Millisecond
		}
		select {
		case <-time.After(took):
		case <-ctx.Done():
			o = Outcome{Result: Unknown}
		}
		if c.g.Observe(r, ticket, o); o.Result == Accepted {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
	}
	return false
}

// list makes n calls with a number of workers.
func (c *crowd) list(n, workers int) {
	items := make(chan int, n)
	for i := range n {
		items <- i
	}
	close(items)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range items {
				ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
				c.call(ctx)
				cancel()
			}
		})
	}
	wg.Wait()
}

// come lets callers come independently of each other, rate per second, for the given time.
// Each makes a number of calls, one after the other, and the result counts those for whom
// all succeed.
func (c *crowd) come(rate float64, length time.Duration, calls int) (served int) {
	rng := rand.New(rand.NewPCG(1, 1))
	var wg sync.WaitGroup
	for start := time.Now(); time.Since(start) < length; time.Sleep(time.Duration(rng.ExpFloat64() / rate * 1e9)) {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
			defer cancel()
			for range calls {
				if !c.call(ctx) {
					return
				}
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			served++
		})
	}
	wg.Wait()
	return served
}

// When the first refusals arrive, no response has arrived yet.
func TestBurstWhoseRefusalsOvertakeItsResponsesIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{g: new(Adaptive), service: window(60, time.Minute, true), timeout: 90 * time.Second}
		c.list(100, 100)
		assert.GreaterOrEqual(t, c.answered, 97)
	})
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{g: new(Adaptive), service: bucket(55, 55, time.Second), timeout: 5 * time.Second}
		c.list(167, 167)
		assert.GreaterOrEqual(t, c.answered, 162)
	})
}

// Without a gate, about 380 of these calls succeed. If calls failed at once, 20 would.
func TestListIsNotUsedUpByCallsThatFailEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{g: new(Adaptive), service: bucket(5, 5, time.Second), timeout: 5 * time.Second}
		c.list(1000, 50)
		assert.GreaterOrEqual(t, c.answered, 190)
	})
}

func TestCallersThatComeInAnOverloadLearnEarlyThatTheyAreTooLate(t *testing.T) {
	for _, by := range []float64{1.2, 2} {
		synctest.Test(t, func(t *testing.T) {
			c := &crowd{g: new(Adaptive), service: bucket(50, 50, time.Second), timeout: 10 * time.Second}
			served := c.come(50*by, 5*time.Minute, 1)
			assert.GreaterOrEqual(t, served, 300*50*97/100, "%v times the limit", by)
			assert.LessOrEqual(t, c.until/time.Duration(c.failed), 3*time.Second, "%v times the limit", by)
		})
	}
}

// Without a gate, about 1200 of these 3600 callers are served. In order of arrival, most
// would wait for the first of their calls until too little time is left for the others.
func TestCallsThatDependOnEachOtherAreServedInAnOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{g: new(Adaptive), service: bucket(50, 50, time.Second), timeout: 3 * time.Second}
		assert.GreaterOrEqual(t, c.come(30, 2*time.Minute, 3), 1000)
	})
}

func TestManyCallsWithOneDeadlineDoNotKeepOthersFromBeingSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{g: new(Adaptive), service: bucket(10, 10, time.Second), timeout: 20 * time.Second}
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				for start := time.Now(); time.Since(start) < 5*time.Minute; {
					c.call(ctx)
				}
			})
		}
		served := c.come(2, 5*time.Minute, 1)
		wg.Wait()
		assert.GreaterOrEqual(t, served, 570)
	})
}

// If callers have little time, few of them wait at once, although there is much to do.
func TestPaceAfterARefusalTakesIntoAccountCallersThatHaveGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{g: new(Adaptive), service: bucket(2, 1, 5*time.Second), timeout: 1100 * time.Millisecond}
		served := c.come(3, 10*time.Minute, 1)
		assert.GreaterOrEqual(t, served, 600*2*75/100)
	})
}

func TestRefusalIsHeldBackLongerIfCallersWaitForIt(t *testing.T) {
	var l telling
	now := time.Duration(0)
	for range 20 { // 20 workers, one after the other
		for range 20 {
			l.hold(now, 10*time.Second)
		}
		now += l.of(10 * time.Second)
	}
	assert.Equal(t, 9*time.Second, l.of(10*time.Second))

	l = telling{}
	longest := time.Duration(0)
	sum := time.Duration(0)
	for range 1000 { // callers that come independently
		d := l.hold(now, 10*time.Second)
		longest, sum = max(longest, d), sum+d
		now += 50 * time.Millisecond
	}
	assert.LessOrEqual(t, longest, time.Second)
	assert.LessOrEqual(t, sum/1000, 600*time.Millisecond)
}

func TestRefusalThatIsHeldBackEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		assert.ErrorIs(t, tell(ctx, &Error{Err: ErrDeadline}, time.Minute), context.Canceled)
		refusal := &Error{RetryAfter: 5 * time.Second, Err: ErrDeadline}
		start := time.Now()
		assert.Same(t, refusal, tell(t.Context(), refusal, 2*time.Second))
		assert.Equal(t, 2*time.Second, time.Since(start))
		assert.Equal(t, 3*time.Second, refusal.RetryAfter)
	})
}

// A long queue of requests without a deadline is no reason to refuse those with one.
func TestCallersWithDeadlinesAreServedBesideAJobWithoutOne(t *testing.T) {
	for timeout, want := range map[time.Duration]int{10 * time.Second: 1150, 7 * time.Second: 1000, 6 * time.Second: 600} {
		synctest.Test(t, func(t *testing.T) {
			c := &crowd{g: new(Adaptive), service: bucket(10, 10, time.Second), timeout: timeout}
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					for start := time.Now(); time.Since(start) < 10*time.Minute; {
						c.call(context.Background())
					}
				})
			}
			served := c.come(2, 10*time.Minute, 1)
			wg.Wait()
			assert.GreaterOrEqual(t, served, want, "a timeout of %v", timeout)
		})
	}
}

// One late call in a queue that never runs empty must not make others fail for long.
func TestAnOverloadEndsAlthoughRequestsAreStillWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{g: new(Adaptive), service: bucket(1, 1, time.Second), timeout: 20 * time.Second}
		all, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for all.Err() == nil {
					ctx, cancel := context.WithTimeout(all, time.Minute)
					c.attempts(ctx)
					cancel()
				}
			})
		}
		time.Sleep(time.Minute)
		short, stop := context.WithTimeout(context.Background(), 10*time.Millisecond)
		assert.False(t, c.call(short))
		stop()
		time.Sleep(time.Hour)
		c.answered = 0
		c.list(20, 1)
		assert.Equal(t, 20, c.answered)
		cancel()
		wg.Wait()
	})
}

// A long pause is no overload: after it, callers that still have time are served.
func TestCallersWhoHaveTimeUntilALongPauseEndsAreServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{g: new(Adaptive), service: bucket(50, 50, time.Minute), timeout: 30 * time.Second}
		var wg sync.WaitGroup
		for range 80 { // use up the bucket, and begin a pause of a minute
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				c.call(ctx)
			})
		}
		wg.Wait()
		c.answered, c.failed, c.until = 0, 0, 0
		c.come(1, 58*time.Second, 1)
		assert.GreaterOrEqual(t, c.answered, 20)
		assert.Less(t, c.until/time.Duration(c.failed), time.Second, "if only the pause is the reason, callers should be told at once")
	})
}

// A process can be suspended, or its wall clock be set forward.
func TestRequestWhoseDeadlineHasPassedByTheWallClockCanBeSent(t *testing.T) {
	var o operations
	o.sent(time.Now().Add(-1).UnixNano())
	assert.Empty(t, o.order)
	assert.Empty(t, o.sentWith)
}

// If a Retry-After is too short, the gate's own pauses become longer and longer. A caller
// whose deadline is after the Retry-After, but before the end of such a pause, can still be
// served.
func TestPauseThatTheServiceDidNotAskForEndsBeforeTheNextDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := Outcome{Result: Throttled, RetryAfter: time.Second}
		g := throttle(t, refused)
		for range 4 {
			passes(t, g, 0, 0, 0, refused)
		}
		probe, err := g.Wait(t.Context(), plain)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		defer cancel()
		hopeless, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		late, done := queueUp(hopeless, g), queueUp(ctx, g)
		g.Observe(plain, probe, refused)
		s, _ := g.Stats("k")
		assert.Less(t, s.Pause, 6*time.Second)
		assert.Greater(t, s.Pause, 5*time.Second, "a caller that cannot even wait for Retry-After should not count")
		assert.Error(t, <-late)
		assert.NoError(t, <-done)
	})
}

func TestAtMost4096DeadlinesAreRemembered(t *testing.T) {
	var o operations
	later := time.Now().Add(time.Hour).UnixNano()
	for i := range int64(5000) {
		o.sent(later + i)
	}
	assert.Len(t, o.order, mostOperations)
	assert.Len(t, o.sentWith, mostOperations)
	assert.False(t, o.begun(later), "the oldest should be forgotten first")
	assert.True(t, o.begun(later+4999))
}

func TestAnOverloadEndsWhenNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := throttle(t, Outcome{RetryAfter: time.Second})
		a := g.account("k")
		a.overloads[Normal.lane()].late(a.now())
		passes(t, g, 0, time.Minute, 0, accepted)
		assert.Equal(t, [3]overload{}, a.overloads)
	})
}

func TestRefusalOfAnInteractiveRequestIsNotHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for p, want := range map[Priority]time.Duration{Interactive: 0, Interactive + 1: 0, Normal: time.Second / 50, Bulk: time.Second / 50, Bulk - 1: time.Second / 50} {
			a := &account{origin: time.Now(), pacer: fleet1.Resume(0, fleet1.Learned{Pace: 1, Best: 1, Silence: 1}, 0)}
			for range 50 {
				a.lanes.push(&waiter{}, p)
			}
			w := &waiter{limited: true, deadline: time.Second}
			assert.ErrorIs(t, a.refuse(w, p), ErrDeadline)
			assert.Equal(t, want, w.held, "%v", p)
		}
	})
}

// After the pause, each request waits for only a few others.
func TestWaitForAPauseDoesNotCountAsAWaitForOtherRequests(t *testing.T) {
	a := &account{pacer: fleet1.Resume(0, fleet1.Learned{Pace: 10, Best: 10, Silence: 1}, 6*time.Second)}
	a.overloads[Normal.lane()] = overload{since: 1, latest: 20 * time.Second}
	w := &waiter{limited: true, deadline: 30 * time.Second}
	now := 20 * time.Second
	for range 5 {
		a.lanes.push(&waiter{limited: true}, Normal)
	}
	assert.False(t, a.crowds(w, Normal, now, now+time.Second, 5))
	assert.True(t, a.crowds(w, Normal, now, now+3*time.Second, 5))
	a.overloads[Normal.lane()].since = 11 * time.Second
	assert.False(t, a.crowds(w, Normal, now, now+3*time.Second, 5), "the overload is shorter than the time that the request has")
	a.overloads[Normal.lane()].since = 1
	a.pacer.Pause(now + 5*time.Second)
	assert.False(t, a.crowds(w, Normal, now, now+6*time.Second, 5))
}
