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

// A gradient limits the number of requests in flight as Gradient2Limit of Netflix's
// concurrency-limits does, with its defaults, in a WindowedLimit as its README has it,
// for a client that blocks. We had the source. Once a second, if ten requests or more
// were answered, the limit follows the relation of a long average of the answer time
// to that of the second: a service that becomes slow has a queue.
//
// The rule looks at no refusals, and says nothing of when to send a refused request
// again, so that the pauses are ours.
type gradient struct {
	line  line
	began time.Time

	mu     sync.Mutex
	pause  pause
	limit  float64
	flying int
	long   longAverage
	second sample
	next   time.Time // when the second ends
}

// A sample is what was answered in a second.
type sample struct {
	sum   time.Duration
	count int
	most  int // in flight
}

const (
	gradientLeast = 20 // also the first limit
	gradientMost  = 200
	gradientQueue = 4 // what the limit grows by while the answers do not become slower
	gradientShare = 0.2
	gradientReady = 10 // answers
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
			return time.Hour // until an answer arrives
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
		return // took no time that says anything
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
	if long > 2*short { // it was slow for long, and is well again
		g.long.value *= 0.9
	}
	if float64(s.most) < g.limit/2 {
		return // nobody needs more
	}
	slope := max(0.5, min(1, long/short))
	limit := slope*g.limit + gradientQueue
	g.limit = max(gradientLeast, min(gradientMost, (1-gradientShare)*g.limit+gradientShare*limit))
}

// A longAverage is the mean of ten values, and from then on an exponential one of
// about six hundred.
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

// most returns how many requests a gate lets out while none is answered. It answers
// them after a time.
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

func TestGradientGrowsWhileTheAnswersDoNotBecomeSlower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGradient()
		assert.Equal(t, 20, most(t, g, 2*time.Second))
		for range 50 {
			most(t, g, 2*time.Second)
		}
		assert.InDelta(t, 20+50*0.8, most(t, g, 2*time.Second), 2, "0.8 in a second")
		for range 500 {
			most(t, g, 2*time.Second)
		}
		assert.Equal(t, 200, most(t, g, 2*time.Second))
	})
}

func TestGradientShrinksWhenTheAnswersBecomeSlower(t *testing.T) {
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
		assert.InDelta(t, float64(before)*0.62, after, 10, "0.9 times, and 0.8 more, in each of five")
		for range 20 {
			most(t, g, 10*time.Second)
		}
		assert.Equal(t, 20, most(t, g, 10*time.Second), "the least")
	})
}
