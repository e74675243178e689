package main

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/gate"
)

// A gradient limits the number of requests in flight. It follows a version of
// Gradient2Limit in Netflix's concurrency-limits that has no rttTolerance, with the
// defaults of that version. As in the library's README, a WindowedLimit wraps the limit,
// and requests above the limit block. Once a second, if at least ten responses arrived, a
// gradient compares their average response time with a long-term average. If the service
// has become slower, requests must be queuing there, so the limit is reduced in proportion.
// Each update also adds four requests, and then moves the limit only a fifth of the way to
// the result.
//
// Gradient2Limit ignores refusals and does not say when to retry a refused request, so the
// pauses are our addition.
type gradient struct {
	line  line
	began time.Time

	mu     sync.Mutex
	pause  pause
	limit  float64
	flying int         // requests in flight
	long   longAverage // long-term average of the response time
	second sample      // responses in the current second
	next   time.Time   // when the current second ends
}

// A sample sums up the responses in a second.
type sample struct {
	sum   time.Duration
	count int
	most  int // largest number of requests in flight
}

const (
	gradientLeast = 20  // smallest limit, and the initial one
	gradientMost  = 200 // largest limit
	gradientQueue = 4   // number of requests that each update adds to the new limit
	gradientShare = 0.2 // weight of the new limit when it is averaged with the old one
	gradientReady = 10  // smallest number of responses for which a second counts
)

func newGradient() *gradient {
	return &gradient{line: newLine(), began: time.Now(), pause: newPause(), limit: gradientLeast}
}

func (g *gradient) Wait(ctx context.Context, _ gate.Request) (left gate.Ticket, err error) {
	err = g.line.pass(ctx, func(bool) time.Duration {
		g.mu.Lock()
		defer g.mu.Unlock()
		if wait := time.Until(g.pause.until); wait > 0 {
			return wait
		}
		if g.flying >= int(g.limit) {
			return time.Hour // the wait ends sooner if a response arrives
		}
		g.flying++
		left = gate.Ticket(time.Since(g.began))
		return 0
	})
	return left, err
}

func (g *gradient) Observe(_ gate.Request, left gate.Ticket, o gate.Outcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	defer g.line.again()
	flying := g.flying
	g.flying--
	switch o.Result {
	case gate.Throttled:
		g.pause.extend(o, noRetryAfter)
	case gate.Unknown, gate.NotSent:
		return // the response time of such a request says nothing about the service
	case gate.Accepted:
	}
	now := time.Now()
	g.second.sum += now.Sub(g.began) - time.Duration(left)
	g.second.count++
	g.second.most = max(g.second.most, flying)
	if now.After(g.next) {
		g.next = now.Add(time.Second)
		if g.second.count >= gradientReady {
			g.update(g.second)
		}
		g.second = sample{}
	}
}

func (g *gradient) update(s sample) {
	short := (s.sum / time.Duration(s.count)).Seconds()
	long := g.long.add(short)
	if long > 2*short { // the service has recovered after being slow for a long time
		g.long.value *= 0.9
	}
	if float64(s.most) < g.limit/2 {
		return // the callers use less than half of the limit
	}
	slope := max(0.5, min(1, long/short))
	limit := slope*g.limit + gradientQueue
	g.limit = max(gradientLeast, min(gradientMost, (1-gradientShare)*g.limit+gradientShare*limit))
}

// A longAverage is the mean of the values up to the tenth value. After that, it is an
// exponential average over about six hundred values.
type longAverage struct {
	value float64
	count int
}

func (a *longAverage) add(v float64) float64 {
	if a.count < 10 {
		a.count++
		a.value += (v - a.value) / float64(a.count)
	} else {
		a.value += (v - a.value) * 2 / (600 + 1)
	}
	return a.value
}

// most returns how many requests a gate admits before the first response arrives. All
// responses arrive together, when the duration after has passed.
func most(t *testing.T, g gate.Gate, after time.Duration) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), after)
	defer cancel()
	var tickets []gate.Ticket
	for {
		ticket, err := g.Wait(ctx, gate.Request{Key: "iam.test"})
		if err != nil {
			break
		}
		tickets = append(tickets, ticket)
	}
	for _, ticket := range tickets {
		answered(g, ticket, gate.Accepted)
	}
	return len(tickets)
}

func TestGradientGrowsWhileResponsesDoNotBecomeSlower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGradient()
		assert.Equal(t, 20, most(t, g, 2*time.Second))
		for range 50 {
			most(t, g, 2*time.Second)
		}
		assert.InDelta(t, 20+50*0.8, most(t, g, 2*time.Second), 2, "the limit must grow by 0.8 in each of 50 rounds")
		for range 500 {
			most(t, g, 2*time.Second)
		}
		assert.Equal(t, 200, most(t, g, 2*time.Second))
	})
}

func TestGradientShrinksWhenResponsesBecomeSlower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGradient()
		for range 100 {
			most(t, g, 2*time.Second)
		}
		before := most(t, g, 2*time.Second)
		for range 5 {
			most(t, g, 4*time.Second)
		}
		after := most(t, g, 4*time.Second)
		assert.InDelta(t, float64(before)*0.62, after, 10, "each of five slow rounds must multiply the limit by about 0.9 and add 0.8")
		for range 20 {
			most(t, g, 10*time.Second)
		}
		assert.Equal(t, 20, most(t, g, 10*time.Second), "the limit must fall to its minimum of 20")
	})
}
