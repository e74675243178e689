package main

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/gate"
)

// A google is a gate that implements the client-side throttling in chapter 21 of Google's
// book Site Reliability Engineering. We took the formula from libraries and issues that
// quote it. The gate counts the requests that callers made in the last two minutes, and
// those that the service accepted. It refuses a request at once, without sending it, with
// the probability
//
//	max(0, (requests - 2·accepts) / (requests + 1))
//
// so that at most about twice as many requests are sent as are accepted. The formula does
// not say when to retry a throttled request; the pauses are our addition.
type google struct {
	mu      sync.Mutex
	pause   pause
	began   time.Time
	seconds [120]googleSecond
}

// A googleSecond counts the requests in one second.
type googleSecond struct {
	second            int // number of the second, counted from the gate's creation
	requests, accepts float64
}

const googleMultiple = 2

var errThrottledHere = errors.New("throttled by the client")

func newGoogle() *google { return &google{pause: newPause(), began: time.Now()} }

// now returns the current second's counts.
func (g *google) now() *googleSecond {
	second := int(time.Since(g.began) / time.Second)
	t := &g.seconds[second%len(g.seconds)]
	if t.second != second {
		*t = googleSecond{second: second}
	}
	return t
}

// refuses returns the probability that a request is refused without being sent.
func (g *google) refuses() float64 {
	oldest := g.now().second - len(g.seconds)
	var requests, accepts float64
	for _, t := range g.seconds {
		if t.second > oldest {
			requests += t.requests
			accepts += t.accepts
		}
	}
	return max(0, (requests-googleMultiple*accepts)/(requests+1))
}

func (g *google) Wait(ctx context.Context, _ gate.Request) (gate.Ticket, error) {
	g.mu.Lock()
	refuse := g.pause.rng.Float64() < g.refuses()
	g.now().requests++
	wait := time.Until(g.pause.until)
	g.mu.Unlock()
	if refuse {
		return 0, &gate.Error{Err: errThrottledHere}
	}
	for wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		g.mu.Lock()
		wait = time.Until(g.pause.until)
		g.mu.Unlock()
	}
	return 0, nil
}

func (g *google) Observe(_ gate.Request, _ gate.Ticket, o gate.Outcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch o.Result {
	case gate.Accepted:
		g.now().accepts++
	case gate.Throttled:
		g.pause.extend(o, noRetryAfter)
	case gate.Unknown, gate.NotSent:
	}
}

// sends makes 100 requests per second, and returns the share of them that g sends.
// accepted is the largest share of these requests, sent or not, that the service accepts.
func sends(t *testing.T, g *google, requests int, accepted float64) float64 {
	t.Helper()
	sent, accepts := 0, 0
	for i := range requests {
		time.Sleep(10 * time.Millisecond)
		ticket, err := g.Wait(t.Context(), gate.Request{Key: "iam.test"})
		if err != nil {
			refused := new(gate.Error)
			require.ErrorAs(t, err, &refused)
			continue
		}
		sent++
		result := gate.Unknown // Throttled would cause a pause
		if float64(accepts) < accepted*float64(i+1) {
			accepts++
			result = gate.Accepted
		}
		answered(g, ticket, result)
	}
	return float64(sent) / float64(requests)
}

func TestGoogleSendsAtMostAboutTwiceAsManyRequestsAsAreAccepted(t *testing.T) {
	for _, tt := range []struct{ accepted, sent float64 }{{1, 1}, {0.6, 1}, {0.5, 1}, {0.25, 0.5}, {0.05, 0.1}} {
		synctest.Test(t, func(t *testing.T) {
			g := newGoogle()
			sends(t, g, 12_000, tt.accepted)
			assert.InDelta(t, tt.sent, sends(t, g, 12_000, tt.accepted), 0.04, "wrong share of requests sent when the service accepts a share of %v", tt.accepted)
		})
	}
}

func TestGoogleForgetsRequestsAfterTwoMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGoogle()
		assert.Less(t, sends(t, g, 12_000, 0), 0.01)
		time.Sleep(2 * time.Minute)
		assert.InDelta(t, 1, sends(t, g, 10, 1), 0)
	})
}
