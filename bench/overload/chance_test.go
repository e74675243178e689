package main

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// A lottery is a server without a limit that throttles one request in a hundred at
// random.
type lottery struct {
	retryAfter string // empty: no Retry-After
	accepted   atomic.Int64

	mu   sync.Mutex
	rand *rand.Rand
}

func (l *lottery) RoundTrip(req *http.Request) (*http.Response, error) {
	time.Sleep(100 * time.Millisecond)
	l.mu.Lock()
	refused := l.rand.IntN(100) == 0
	l.mu.Unlock()
	resp := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: req}
	if !refused {
		l.accepted.Add(1)
		return resp, nil
	}
	resp.StatusCode = http.StatusTooManyRequests
	if l.retryAfter != "" {
		resp.Header.Set("Retry-After", l.retryAfter)
	}
	return resp, nil
}

// docs/gate.md states the rates with Retry-After that this test logs, rounded. A hundred
// callers, which together can make a thousand calls per second, make calls for 40 minutes.
// The rate is measured in the last 20 minutes.
func TestGateKeepsAMinimumRateWhileRequestsAreThrottledByChance(t *testing.T) {
	if raceDetector {
		t.Skip("this test measures figures, and finds no races that other tests miss")
	}
	for name, tt := range map[string]struct {
		retryAfter string
		runs       int     // with 5 s, half of the single runs had a rate of 2 to 4, and the others of 10 to 13
		least      float64 // accepted requests per second, on average over the runs
	}{
		"no Retry-After": {"", 1, 200},
		"Retry-After: 1": {"1", 2, 50},
		"Retry-After: 5": {"5", 12, 6},
	} {
		t.Run(name, func(t *testing.T) {
			sum := 0.0
			for seed := range tt.runs {
				sum += acceptedByChance(t, tt.retryAfter, uint64(seed))
			}
			rate := sum / float64(tt.runs)
			t.Logf("%.1f accepted requests per second", rate)
			assert.Greater(t, rate, tt.least)
		})
	}
}

// acceptedByChance returns the number of accepted requests per second.
func acceptedByChance(t *testing.T, retryAfter string, seed uint64) (rate float64) {
	synctest.Test(t, func(t *testing.T) {
		server := &lottery{retryAfter: retryAfter, rand: rand.New(rand.NewPCG(1+seed, 2))}
		do := gated(server)
		var callers sync.WaitGroup
		end := time.Now().Add(40 * time.Minute)
		for range 100 {
			callers.Go(func() {
				for time.Now().Before(end) {
					req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://iam.test/v3/users", nil)
					if !assert.NoError(t, err) {
						return
					}
					resp, err := do(req)
					if !assert.NoError(t, err) {
						return
					}
					resp.Body.Close()
				}
			})
		}
		time.Sleep(20 * time.Minute)
		before := server.accepted.Load()
		time.Sleep(20 * time.Minute)
		rate = float64(server.accepted.Load()-before) / (20 * time.Minute).Seconds()
		callers.Wait()
	})
	return rate
}
