package gate

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// throttle returns a gate whose account was throttled with o after twenty accepted
// requests.
func throttle(t *testing.T, o Outcome) *Adaptive {
	t.Helper()
	g := &Adaptive{StartWindow: -1}
	o.Result = Throttled
	for range 20 {
		passes(t, g, 0, 0, 0, Outcome{Result: Accepted})
	}
	withoutTrials(g)
	passes(t, g, 0, 0, 0, o)
	return g
}

// withoutTrials lets nothing be sent before a hold has ended.
func withoutTrials(g *Adaptive) { g.account("k").tried = len(trials) }

// passes sends a request through the gate, reports the outcome o, and returns how long
// the request waited. A deadline of 0 means no deadline.
func passes(t *testing.T, g *Adaptive, resend int, deadline, maxWait time.Duration, o Outcome) time.Duration {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	if deadline > 0 {
		ctx, cancel = context.WithTimeout(t.Context(), deadline)
	}
	defer cancel()
	start, r := time.Now(), Request{Key: "k", Resend: resend, MaxWait: maxWait}
	ticket, err := g.Wait(ctx, r)
	if assert.NoError(t, err, "deadline %v, MaxWait %v", deadline, maxWait) {
		g.Observe(r, ticket, o)
	}
	return time.Since(start)
}

func TestWaitersWaitForTheStatedEndOfTheWindowIfTheyHaveTime(t *testing.T) {
	reset := func(d time.Duration) Outcome { return Outcome{Limit: Limit{Reset: d}} }
	for name, tt := range map[string]struct {
		o                 Outcome
		deadline, maxWait time.Duration
		want              time.Duration
	}{
		"no deadline and no MaxWait":            {reset(time.Minute), 0, 0, time.Minute},
		"deadline after the stated end":         {reset(time.Minute), 2 * time.Minute, 0, time.Minute},
		"deadline before the stated end":        {reset(10 * time.Minute), time.Minute, 0, 250 * time.Millisecond},
		"MaxWait ends before the stated end":    {reset(10 * time.Minute), 0, 2 * time.Minute, 2 * time.Minute},
		"deadline before the end of MaxWait":    {reset(10 * time.Minute), time.Minute, 2 * time.Minute, 250 * time.Millisecond},
		"stated end after more than 15 minutes": {reset(time.Hour), 0, 0, 15 * time.Minute},
		"Retry-After before the stated end":     {Outcome{RetryAfter: time.Second, Limit: Limit{Reset: time.Hour}}, 0, 0, time.Second},
		"no Reset":                              {Outcome{Limit: Limit{Requests: 9, Per: time.Hour}}, 0, 0, 250 * time.Millisecond},
		"Remaining is not zero":                 {Outcome{Limit: Limit{Remaining: 1, Reset: time.Hour}}, 0, 0, 250 * time.Millisecond},
		"negative Reset":                        {reset(-1), 0, 0, 250 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := throttle(t, tt.o)
				took := passes(t, g, 1, tt.deadline, tt.maxWait, Outcome{Result: Accepted})
				assert.GreaterOrEqual(t, took, tt.want)
				assert.LessOrEqual(t, took, tt.want+maxJitter+10*time.Millisecond)
			})
		})
	}
}

func TestStatedWindowEndsNoCallAndImpatientCallsProbeForTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stated := Outcome{Result: Throttled, Limit: Limit{Reset: 10 * time.Minute}}
		g := throttle(t, stated)
		start := time.Now()
		var wg sync.WaitGroup
		patient := make([]time.Duration, 10)
		for i := range patient {
			wg.Go(func() {
				passes(t, g, 0, time.Hour, 0, Outcome{Result: Accepted})
				patient[i] = time.Since(start)
			})
		}
		synctest.Wait()
		for resend := range 4 { // sent after pauses of 0.25 s, 0.5 s, 1 s and 2 s, ahead of the requests that wait for the stated end
			took := passes(t, g, resend, time.Minute, 0, stated)
			assert.InDelta(t, 0.25*float64(int(1)<<resend), took.Seconds(), 0.15)
		}
		s, _ := g.Stats("k")
		assert.Equal(t, 10, s.Waiting)
		assert.InDelta(t, 600, s.Pause.Seconds(), 1)
		wg.Wait()
		assert.InDelta(t, 604, slices.Min(patient).Seconds(), 1)
	})
}

func TestStatedEndIsIgnoredOnceARequestIsAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := throttle(t, Outcome{Limit: Limit{Reset: 10 * time.Minute}})
		start := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() { passes(t, g, 0, 0, 0, Outcome{Result: Accepted}) })
		synctest.Wait()
		passes(t, g, 0, time.Minute, 0, Outcome{Result: Accepted})
		wg.Wait()
		assert.Less(t, time.Since(start), 5*time.Second)
	})
}

func TestResponseToARequestSentBeforeThePauseDoesNotEndTheWaitForTheStatedEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := throttle(t, Outcome{})
		time.Sleep(time.Minute)
		one, err := g.Wait(t.Context(), plain)
		require.NoError(t, err)
		two, err := g.Wait(t.Context(), plain)
		require.NoError(t, err)
		g.Observe(plain, one, Outcome{Result: Throttled, Limit: Limit{Reset: time.Minute}})
		g.Observe(plain, two, accepted)
		assert.GreaterOrEqual(t, passes(t, g, 0, 0, 0, accepted), time.Minute)
	})
}

func TestLaterStatedEndCountsIfTwo429sStateDifferentEnds(t *testing.T) {
	for _, ends := range [][2]time.Duration{{10 * time.Minute, time.Minute}, {time.Minute, 10 * time.Minute}} {
		synctest.Test(t, func(t *testing.T) {
			g := throttle(t, Outcome{})
			time.Sleep(time.Minute)
			var tickets []Ticket
			for range 2 {
				ticket, err := g.Wait(t.Context(), plain)
				require.NoError(t, err)
				tickets = append(tickets, ticket)
			}
			for i, end := range ends {
				g.Observe(plain, tickets[i], Outcome{Result: Throttled, Limit: Limit{Reset: end}})
			}
			assert.InDelta(t, 600, passes(t, g, 0, 0, 0, accepted).Seconds(), 5, "%v", ends)
		})
	}
}

// A long pause or another use may put off a sweep, so the time of the stated end is not
// always between two sweeps.
func TestAccountWithAStatedEndIsNotRetired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := throttle(t, Outcome{Limit: Limit{Reset: 14 * time.Minute}})
		a := g.account("k")
		a.retire(false) // counts its use
		time.Sleep(13 * time.Minute)
		assert.False(t, a.retire(false))
		time.Sleep(time.Hour)
		_, known := g.Stats("k")
		assert.False(t, known)
	})
}

func TestAccountIsNotForgottenBeforeTheStatedEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := throttle(t, Outcome{Limit: Limit{Reset: 14 * time.Minute}})
		time.Sleep(13 * time.Minute)
		s, known := g.Stats("k")
		assert.True(t, known)
		assert.InDelta(t, 60, s.Pause.Seconds(), 1)
		time.Sleep(time.Hour)
		_, known = g.Stats("k")
		assert.False(t, known)
	})
}

func TestControllerTreatsTheWaitForTheStatedEndAsAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := throttle(t, Outcome{Limit: Limit{Requests: 10, Per: time.Minute, Reset: 40 * time.Second}})
		assert.InDelta(t, 40, passes(t, g, 1, 0, 0, Outcome{Result: Accepted}).Seconds(), 0.5)
		assert.InDelta(t, 40, g.account("k").pacer.Silence().Seconds(), 0.5)
	})
}

func TestWaitForTheStatedEndIsAPauseEvenIfAnInnerRequestIsSentNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := throttle(t, Outcome{Limit: Limit{Reset: 40 * time.Second}})
		time.Sleep(time.Minute)
		a := g.account("k")
		w, err := a.enqueue(t.Context(), plain, true)
		require.NoError(t, err)
		require.NoError(t, <-w.ready)
		assert.InDelta(t, 40, a.pacer.Silence().Seconds(), 0.5)
	})
}

func TestStatsShowTheStatedLimitOnlyWhileItIsBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Adaptive{StartWindow: -1}
		r := Request{Key: "k", MaxWait: time.Hour}
		send := func(o Outcome) Stats {
			t.Helper()
			ticket, err := g.Wait(t.Context(), r)
			require.NoError(t, err)
			time.Sleep(10 * time.Millisecond)
			g.Observe(r, ticket, o)
			s, ok := g.Stats("k")
			require.True(t, ok)
			return s
		}
		for range 200 {
			assert.Zero(t, send(Outcome{Result: Accepted}).Limit)
		}
		withoutTrials(g)
		stated := Limit{Requests: 200, Per: 5 * time.Minute, Policy: "user", Reset: 298 * time.Second}
		s := send(Outcome{Result: Throttled, Limit: stated})
		assert.Equal(t, Limit{Requests: 200, Per: 5 * time.Minute, Policy: "user"}, s.Limit)
		assert.InDelta(t, 298, s.Pause.Seconds(), 0.5)
		for range 2 {
			assert.NotZero(t, send(Outcome{Result: Accepted}).Limit)
			send(Outcome{Result: Throttled, RetryAfter: time.Second, Limit: stated})
		}
		time.Sleep(2 * time.Second)
		assert.Zero(t, send(Outcome{Result: Accepted}).Limit, "two refusals long before the 200th request should disprove the limit")
	})
}

func TestWaitersForTheStatedEndDoNotDelayRequestsThatCannotWaitForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := throttle(t, Outcome{Limit: Limit{Reset: time.Minute}})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range 500 {
			queueUp(ctx, g)
		}
		assert.Less(t, passes(t, g, 0, 5*time.Second, 0, Outcome{Result: Accepted}), time.Second)
	})
}

func TestEachPriorityGetsATenthOfTheTurnsBeforeTheStatedEnd(t *testing.T) {
	a := new(Adaptive).account("k")
	a.adopt(closed())
	a.hold.until = a.now() + time.Hour
	var turns [len(lanes{})]int
	for range 1000 {
		for _, p := range []Priority{Interactive, Normal, Bulk} {
			a.lanes.push(&waiter{limited: true, deadline: a.now() + time.Minute, ready: make(chan error, 1)}, p)
		}
		free, _ := a.free(a.now())
		lane := a.lanes.next(func(i int) bool { return free[i] != nil })
		a.lanes.took(lane)
		turns[lane]++
		free[lane].queue.remove(free[lane])
	}
	for lane, n := range turns {
		assert.GreaterOrEqual(t, n, 99, "lane %d got too few turns", lane)
	}
}

// A lookout is a Pacer that counts how often the gate looks at a waiter with a deadline. A
// 429 only makes its pause longer, by Retry-After.
type lookout struct {
	*turnstile
	looks int
}

func (l *lookout) Refused(_ time.Duration, _ fleet1.Send, retryAfter time.Duration) bool {
	l.pause += retryAfter
	return false
}

func (l *lookout) Trip() time.Duration {
	l.looks++
	return 0
}

func TestWaitersForTheStatedEndAreNotLookedAtWheneverARequestArrivesOrIsCanceled(t *testing.T) {
	for name, impatient := range map[string]int{"no other waiters": 0, "some waiters cannot wait for it": 50} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(Adaptive)
				a, p := g.account("k"), &lookout{turnstile: closed()}
				a.adopt(p)
				a.hold.until = a.now() + time.Minute
				for i := range 1000 + impatient {
					ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
					if i >= 1000 {
						ctx, cancel = context.WithTimeout(t.Context(), 30*time.Second)
					}
					defer cancel()
					go g.Wait(ctx, plain)
				}
				synctest.Wait()
				before := p.looks
				for range 100 {
					ctx, cancel := context.WithCancel(t.Context())
					queueUp(ctx, g)
					cancel()
					synctest.Wait()
				}
				assert.Less(t, p.looks-before, 100*10)
			})
		})
	}
}

func TestWaitersAreNotAllLookedAtWheneverTheMaxWaitOfOneOfThemEnds(t *testing.T) {
	a, p := new(Adaptive).account("k"), &lookout{turnstile: closed()}
	a.adopt(p)
	a.hold.until = time.Hour
	for i := range 1000 { // the first waiter is willing to wait longest
		a.lanes.push(&waiter{limited: true, deadline: 2 * time.Hour, maxWait: time.Minute - time.Duration(i)*time.Microsecond}, Normal)
	}
	for left := time.Millisecond; left > -3*time.Millisecond; left -= time.Microsecond {
		free, _ := a.free(time.Minute - left)
		if w := free[Normal.lane()]; w != nil {
			w.queue.remove(w)
		}
	}
	assert.Zero(t, a.waiting(), "the MaxWait of all waiters has ended")
	assert.Less(t, p.looks, 10_000)
}

func TestWaitersAreNotLookedAtForEach429ThatMakesThePauseALittleLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Adaptive)
		a, p := g.account("k"), &lookout{turnstile: closed()}
		a.adopt(p)
		p.pause = a.now() + time.Minute
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		for range 1000 {
			go g.Wait(ctx, plain)
		}
		synctest.Wait()
		throttled := func(longer time.Duration) {
			a.ticket++
			a.tickets[a.ticket] = sent{}
			g.Observe(plain, a.ticket, Outcome{Result: Throttled, RetryAfter: longer})
			synctest.Wait()
		}
		throttled(time.Second)
		before := p.looks
		for range 100 {
			throttled(9 * time.Microsecond)
		}
		assert.Equal(t, before, p.looks)
		assert.Equal(t, 1000, a.waiting())
		throttled(time.Hour)
		assert.Zero(t, a.waiting(), "the waiters should be refused, because the pause lasts longer than they can wait")
	})
}

func TestWaiterForTheStatedEndIsSentWhenItsMaxWaitEndsHoweverManyRequestsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := throttle(t, Outcome{Limit: Limit{Reset: 10 * time.Minute}})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range 1000 {
			go g.Wait(ctx, plain)
		}
		synctest.Wait()
		for _, maxWait := range []time.Duration{time.Minute, 3 * time.Minute} {
			for range 10 {
				go g.Wait(ctx, Request{Key: "k", MaxWait: maxWait})
			}
		}
		time.Sleep(10 * time.Second)
		took := passes(t, g, 0, 0, 2*time.Minute, Outcome{Result: Unknown})
		assert.InDelta(t, 120, took.Seconds(), 1)
	})
}

// useUp returns a gate whose account has a stated window of 20 requests per minute that is
// used up, and the ticket of an earlier request whose outcome was not reported.
func useUp(t *testing.T) (g *Adaptive, early Ticket) {
	g = &Adaptive{StartWindow: -1}
	wait := func() Ticket {
		ticket, err := g.Wait(t.Context(), plain)
		require.NoError(t, err)
		return ticket
	}
	early = wait()
	for range 20 {
		g.Observe(plain, wait(), accepted)
	}
	g.Observe(plain, wait(), Outcome{Result: Throttled, RetryAfter: 59 * time.Second, Limit: Limit{Requests: 20, Per: time.Minute}})
	for range 20 {
		ticket := wait()
		time.Sleep(10 * time.Millisecond)
		g.Observe(plain, ticket, accepted)
	}
	return g, early
}

func TestNothingIsSentDuringAPauseWhileAWindowIsUsedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, early := useUp(t)
		start := time.Now()
		done := queueUp(t.Context(), g)
		time.Sleep(10 * time.Second)
		g.Observe(plain, early, Outcome{Result: Throttled, RetryAfter: 5 * time.Second})
		require.NoError(t, <-done)
		assert.GreaterOrEqual(t, time.Since(start), 50*time.Second)
	})
}

func TestTurnThatIsGivenBackIsUsedAlthoughTheRestOfTheWindowIsUsedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := useUp(t)
		time.Sleep(61 * time.Second)
		var last Ticket
		for range 20 {
			ticket, err := g.Wait(t.Context(), plain)
			require.NoError(t, err)
			time.Sleep(10 * time.Millisecond)
			if last != 0 {
				g.Observe(plain, last, accepted)
			}
			last = ticket
		}
		done, start := queueUp(t.Context(), g), time.Now()
		time.Sleep(time.Second)
		g.Observe(plain, last, Outcome{Result: NotSent})
		require.NoError(t, <-done)
		assert.Less(t, time.Since(start), 3*time.Second)
	})
}

func TestRefusedTrialsDoNotRestartMaxWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, s := new(Adaptive), window(200, time.Hour, false)
		_ = run(g, s, 10, 70*time.Minute, 0, 0, briefly) // learns the window, and uses it up
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				for resend := range 3 {
					r, began := Request{Key: "k", Resend: resend, MaxWait: 2 * time.Minute}, time.Now()
					ticket, err := g.Wait(t.Context(), r)
					if !assert.NoError(t, err) {
						return
					}
					assert.LessOrEqual(t, time.Since(began), 2*time.Minute+10*time.Second)
					mu.Lock()
					o := s()
					mu.Unlock()
					g.Observe(r, ticket, o)
				}
			})
		}
		wg.Wait()
	})
}

// reset returns a gate whose account waits for a stated end in ten minutes.
func reset(t *testing.T) *Adaptive {
	g := &Adaptive{StartWindow: -1}
	for range 20 {
		passes(t, g, 0, 0, 0, accepted)
	}
	passes(t, g, 0, 0, 0, Outcome{Result: Throttled, Limit: Limit{Reset: 10 * time.Minute}})
	return g
}

// A caller that was canceled may make others wait behind newer ones, but not in a hold.
func TestTrialIsSentAlthoughACallerWasCanceledShortlyBefore(t *testing.T) {
	for _, cancels := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			g := reset(t)
			start, done := time.Now(), queueUp(t.Context(), g)
			other, stop := context.WithCancel(t.Context())
			defer stop()
			_ = queueUp(other, g)
			time.Sleep(5 * time.Second)
			ctx, cancel := context.WithCancel(t.Context())
			_ = queueUp(ctx, g)
			time.Sleep(28 * time.Second)
			if cancels {
				cancel()
			}
			require.NoError(t, <-done)
			assert.InDelta(t, 37.5, time.Since(start).Seconds(), 1, "canceled: %v", cancels)
			cancel()
		})
	}
}

func TestAfterAnAcceptedTrialLaterHoldsHaveTrialsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := reset(t)
		for range 5 {
			assert.InDelta(t, 37, passes(t, g, 0, 0, 0, accepted).Seconds(), 2)
			g.account("k").early = 0 // which would make the holds shorter
			passes(t, g, 0, 0, 0, Outcome{Result: Throttled, Limit: Limit{Reset: 10 * time.Minute}})
		}
	})
}

func TestThreeRefusedTrialsShowThatTheStatedEndIsRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, start := reset(t), time.Now()
		left := func() Outcome {
			return Outcome{Result: Throttled, Limit: Limit{Reset: 10*time.Minute - time.Since(start)}}
		}
		for range 3 {
			passes(t, g, 0, 0, 0, left())
		}
		assert.Less(t, time.Since(start), 9*time.Minute)
		passes(t, g, 0, 0, 0, left())
		assert.GreaterOrEqual(t, time.Since(start), 10*time.Minute)
	})
}

func TestHoldOfAMinuteHasNoTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Adaptive{StartWindow: -1}
		for range 20 {
			passes(t, g, 0, 0, 0, accepted)
		}
		passes(t, g, 0, 0, 0, Outcome{Result: Throttled, Limit: Limit{Reset: time.Minute}})
		assert.GreaterOrEqual(t, passes(t, g, 0, 0, 0, accepted), time.Minute)
	})
}

// The statement of a late 429 may be about another limit.
func TestStatedEndDoesNotProlongTheHoldOfAWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, early := useUp(t)
		done, start := queueUp(t.Context(), g), time.Now()
		g.Observe(plain, early, Outcome{Result: Throttled, Limit: Limit{Reset: 10 * time.Minute}})
		require.NoError(t, <-done)
		assert.Less(t, time.Since(start), 62*time.Second)
	})
}
