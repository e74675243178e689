package gate

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// throttledAt makes plain's account a throttled one with the given pace, and returns it.
func throttledAt(g *Adaptive, pace float64) *account {
	a := g.account(plain.Key)
	l := fleet1.Learned{Pace: pace, Lo: pace, Best: pace, Burst: 1, Burst0: 1, Trip: 1e-3, Silence: 1, Holding: 10}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.adopt(fleet1.Resume(a.now(), l, 0))
	return a
}

// BenchmarkAdaptiveThrottled measures Wait and Observe for requests that wait for their
// account's pace. Each request has a deadline.
func BenchmarkAdaptiveThrottled(b *testing.B) {
	for _, c := range []struct{ callers, bulk int }{{1, 0}, {64, 0}, {1024, 0}, {64, 100_000}} {
		b.Run(fmt.Sprintf("callers per CPU: %d, bulk callers: %d", c.callers, c.bulk), func(b *testing.B) {
			g := new(Adaptive)
			a := throttledAt(g, 1e6)
			ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
			var bulk sync.WaitGroup
			var sent atomic.Int64
			a.mu.Lock()
			a.pacer.Pause(a.now() + time.Duration(c.bulk)*50*time.Microsecond) // until all bulk requests wait
			a.mu.Unlock()
			for range c.bulk {
				bulk.Go(func() {
					ctx := WithPriority(ctx, Bulk)
					for ticket, err := g.Wait(ctx, plain); err == nil; ticket, err = g.Wait(ctx, plain) {
						g.Observe(plain, ticket, accepted)
						sent.Add(1)
					}
				})
			}
			time.Sleep(time.Duration(c.bulk) * 50 * time.Microsecond)
			b.SetParallelism(c.callers)
			sent.Store(0)
			start := time.Now()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					r := Request{Key: plain.Key, Method: "GET", Path: "/v3/users/17/projects"}
					ticket, err := g.Wait(ctx, r)
					if err != nil {
						panic(err)
					}
					g.Observe(r, ticket, accepted)
					sent.Add(1)
				}
			})
			b.ReportMetric(float64(time.Since(start))/float64(sent.Load()), "ns/request") // b.N does not count the bulk requests
			cancel()
			bulk.Wait()
		})
	}
}

func TestRequestOfAThrottledAccountMakesAtMostThreeAllocations(t *testing.T) {
	for name, r := range map[string]Request{
		"without a path":            plain,
		"with a path":               {Key: plain.Key, Method: "GET", Path: "/v3/users/17/projects"},
		"whose endpoint is suspect": {Key: plain.Key, Method: "GET", Path: "/v3/users/18/projects"},
	} {
		t.Run(name, func(t *testing.T) {
			g := new(Adaptive)
			a := throttledAt(g, 1e6)
			if name == "whose endpoint is suspect" {
				a.suspects.Refused(0, r.endpoint())
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			assert.LessOrEqual(t, testing.AllocsPerRun(1000, func() {
				ticket, err := g.Wait(ctx, r)
				assert.NoError(t, err)
				g.Observe(r, ticket, accepted)
			}), 3.0)
		})
	}
}

// The test uses the real clock, because in virtual time no time passes between the
// arrival of a caller and its turn.
func TestLoneRequestIsSentNowAndThenEvenIfAllEarlierOnesMissedTheirDeadlines(t *testing.T) {
	g := new(Adaptive)
	a := throttledAt(g, 1e6)
	a.mu.Lock()
	a.given, a.turned, a.ticket, a.sentAt = time.Hour, 1, 1, a.now()-longAnswer
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := g.Wait(ctx, plain)
	assert.NoError(t, err)
}

func TestLateRequestThatHasWaitedIsSentLessOftenThanAFreshOne(t *testing.T) {
	for _, tt := range []struct {
		answered, waited, since time.Duration // since is the time since a turn was last used
		turned                  int
		sent                    bool
	}{
		{time.Second, 0, 999 * time.Millisecond, 1, false},
		{time.Second, 0, time.Second, 1, true},
		{time.Minute, 0, longAnswer, 1, true},
		{time.Second, time.Second, time.Second, 1, false},
		{300 * time.Millisecond, time.Second, 2399 * time.Millisecond, 1, false},
		{300 * time.Millisecond, time.Second, 2400 * time.Millisecond, 1, true},
		{time.Minute, time.Second, 2*longAnswer - 1, 1, false},
		{time.Minute, time.Second, 2 * longAnswer, 1, true},
		{time.Minute, time.Second, 0, 0, true}, // no other request wants the turn
	} {
		a := throttledAt(new(Adaptive), 1)
		a.given, a.turned, a.sentAt = tt.answered*5/6, tt.turned, time.Hour-tt.since
		assert.Equal(t, tt.sent, a.tries(&waiter{since: time.Hour - tt.waited}, time.Hour), "%+v", tt)
	}
}

// farAway returns an account whose next turn comes 10 s after now.
func farAway(now time.Duration) *account {
	a := throttledAt(new(Adaptive), 0.1)
	a.pacer.Next(now, 0)
	a.pacer.Idle(now)
	a.pacer.Sent(now, 0)
	a.sentAt = now
	return a
}

// If it were not refused, the caller would keep the turn from those that arrive later and
// have more time.
func TestCallerIsRefusedIfTheNextTurnIsFarAwayAndLeavesLittleTime(t *testing.T) {
	const s, ms, now = time.Second, time.Millisecond, time.Minute
	for name, tt := range map[string]struct {
		answered, deadline, pause time.Duration // deadline and pause count from now
		late                      bool
	}{
		"less than three times as long as a response takes":             {2400 * ms, 17199 * ms, 0, true},
		"three times as long as a response takes":                       {2400 * ms, 17200 * ms, 0, false},
		"less than half of the time until the deadline":                 {6 * s, 19999 * ms, 0, true},
		"half of the time until the deadline":                           {6 * s, 20 * s, 0, false},
		"less time than a response takes":                               {12 * s, 21999 * ms, 0, true},
		"just the time that a response takes":                           {12 * s, 22 * s, 0, false},
		"little time, but the turn is far away only because of a pause": {2400 * ms, 11 * s, 10 * s, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := farAway(now)
			a.pacer.Pause(now + tt.pause)
			a.given = tt.answered * 5 / 6
			earliest, late := a.late(&waiter{limited: true, deadline: now + tt.deadline}, now, 0)
			assert.Equal(t, now+10*s, earliest)
			assert.Equal(t, tt.late, late)
		})
	}
}

func TestLateRequestIsSentIfOnlyCallersForWhichTheTurnWasFarAwayWantedIt(t *testing.T) {
	const now = time.Minute
	a := farAway(now)
	a.given = 2 * time.Second
	_, late := a.late(&waiter{limited: true, deadline: now + 14*time.Second}, now, 0)
	assert.True(t, late)
	a.turned++ // as enqueue does
	assert.True(t, a.tries(&waiter{since: now}, now))
	a.turned++ // another caller, for another reason
	assert.False(t, a.tries(&waiter{since: now}, now))
}

func TestNextArrivalIsNotRefusedBecauseOfWaitersThatHaveBecomeTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Adaptive)
		a := throttledAt(g, 1)
		a.pacer.Pause(a.now() + 10*time.Second)
		var waiters sync.WaitGroup
		for range 400 {
			waiters.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 1000*time.Second)
				defer cancel()
				_, err := g.Wait(ctx, plain)
				assert.ErrorIs(t, err, ErrDeadline)
			})
		}
		synctest.Wait()
		a.mu.Lock()
		a.given, a.came = 2000*time.Second, a.waiting() // the gate now knows that the waiters are too late, and checks them at the next arrival
		a.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Second)
		defer cancel()
		_, err := g.Wait(ctx, plain)
		assert.NoError(t, err)
		waiters.Wait()
	})
}

// BenchmarkAdaptiveHeld measures an arrival and its cancellation while many requests wait
// for the stated end of a window. Of these, 50 cannot wait for that end.
func BenchmarkAdaptiveHeld(b *testing.B) {
	for _, waiting := range []int{1000, 100_000} {
		for _, limited := range []bool{false, true} {
			b.Run(fmt.Sprintf("waiting: %d, deadline: %t", waiting, limited), func(b *testing.B) {
				a := new(Adaptive).account(plain.Key)
				a.mu.Lock()
				a.adopt(closed())
				a.hold.until = a.now() + time.Hour
				a.mu.Unlock()
				patient := b.Context()
				if limited {
					var cancel context.CancelFunc
					patient, cancel = context.WithTimeout(b.Context(), 2*time.Hour)
					defer cancel()
				}
				impatient, cancel := context.WithTimeout(b.Context(), 30*time.Minute)
				defer cancel()
				for range waiting {
					if _, err := a.enqueue(patient, plain, false); err != nil {
						b.Fatal(err)
					}
				}
				for range 50 {
					if _, err := a.enqueue(impatient, plain, false); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportAllocs()
				for b.Loop() {
					a.flying.Add(1)
					a.entering.Add(1)
					w, err := a.enqueue(patient, plain, false)
					if err != nil {
						b.Fatal(err)
					}
					a.mu.Lock()
					w.queue.remove(w)
					a.dispatch()
					a.mu.Unlock()
				}
			})
		}
	}
}
