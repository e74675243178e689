package main

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/bench/internal/sim"
	"github.com/iamhttp/iamhttp/gate"
)

// A metronome is a gate with a constant pace. It obeys Retry-After, but learns nothing.
type metronome struct {
	gap time.Duration

	mu   sync.Mutex
	next time.Time
}

func (m *metronome) Wait(context.Context, gate.Request) (gate.Ticket, error) {
	for {
		m.mu.Lock()
		wait := time.Until(m.next)
		if wait <= 0 {
			m.next = time.Now().Add(m.gap)
			m.mu.Unlock()
			return 0, nil
		}
		m.mu.Unlock()
		time.Sleep(wait)
	}
}

func (m *metronome) Observe(_ gate.Request, _ gate.Ticket, o gate.Outcome) {
	if o.Result != gate.Throttled {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if until := time.Now().Add(o.RetryAfter); until.After(m.next) {
		m.next = until
	}
}

// best tries metronomes with the given paces, in requests per second. It returns the
// lowest figure that any of these metronomes reaches, and the pace of that metronome.
func best(t *testing.T, server, arrivals, answers string, figure func(sim.Result) float64, paces ...float64) (lowest, at float64) {
	scenarios, err := scenarios(server, "seconds", arrivals, answers, "1")
	require.NoError(t, err)
	for _, pace := range paces {
		r := scenarios[0].Run(t, func(base http.RoundTripper) func(*http.Request) (*http.Response, error) {
			shared := &metronome{gap: time.Duration(float64(time.Second) / pace)}
			return (&http.Client{Transport: &iamhttp.Transport{Base: base, Gate: shared, MaxAttempts: 1000}}).Do
		}, false)
		require.Zero(t, r.Failed)
		f := figure(r)
		t.Logf("%v, %.4g/s: %.3g", scenarios[0], pace, f)
		if at == 0 || f < lowest {
			lowest, at = f, pace
		}
	}
	return lowest, at
}

// The exceptions for one token with strangers, and for two tokens with jitter, rely on this
// test: there, even the best of several constant paces misses a goal.
func TestNoConstantPaceReachesTheGoalsOfTheSmallestBuckets(t *testing.T) {
	if raceDetector {
		t.Skip("this test measures figures, and finds no races that other tests miss")
	}
	t.Run("one token and strangers", func(t *testing.T) {
		lowest, at := best(t, "tb10/0.1+50%", "1000@once", "10ms", sim.Result.SentPerOK, 0.5, 1, 2, 3, 4, 5)
		t.Logf("best: %.3g requests per success, at %.4g/s", lowest, at)
		assert.Greater(t, lowest, 1.4, "a constant pace needs so few requests that the gate's exception is not justified")
	})
	t.Run("two tokens and jitter", func(t *testing.T) {
		lowest, at := best(t, "tb100/0.02", "1000@once", "lognormal", sim.Result.MakespanRatio, 20, 25, 30, 35, 40, 50, 70)
		t.Logf("best: %.3g times the ideal, at %.4g/s", lowest, at)
		assert.Greater(t, lowest, 3.0, "a constant pace is so fast that the gate's exception is not justified")
	})
}
