package iamhttp_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
)

// A windowed is a service with a limit of n requests per window. age is how long the first
// window has lasted when the first call is made. state adds what the service states to the
// header of each 429; left is the time until the window ends.
type windowed struct {
	n     int
	per   time.Duration
	age   time.Duration
	state func(h http.Header, left time.Duration)
}

// run makes calls with 10 workers. deadline is that of each call; 0 means none.
func (w windowed) run(t *testing.T, calls int64, deadline time.Duration, tr *iamhttp.Transport) (failed int64, took time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		start, window, used := time.Now(), 0, 0
		var mu sync.Mutex
		tr.Base = roundTripper(func(req *http.Request) (*http.Response, error) {
			time.Sleep(100 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			now := time.Since(start) + w.age
			if latest := int(now / w.per); latest != window {
				window, used = latest, 0
			}
			if used++; used <= w.n {
				return answer(200, "")(req)
			}
			resp, err := answer(429, "")(req)
			w.state(resp.Header, time.Duration(window+1)*w.per-now)
			return resp, err
		})
		var left, failures atomic.Int64
		left.Store(calls)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				for left.Add(-1) >= 0 {
					ctx, cancel := context.WithCancel(t.Context())
					if deadline > 0 {
						ctx, cancel = context.WithTimeout(t.Context(), deadline)
					}
					resp, err := tr.RoundTrip(newRequest(t, http.MethodGet, "").WithContext(ctx))
					if err != nil {
						failures.Add(1)
					} else {
						resp.Body.Close()
					}
					cancel()
				}
			})
		}
		wg.Wait()
		failed, took = failures.Load(), time.Since(start)
	})
	return failed, took
}

// limitHeader returns a function that states a number of requests per window.
func limitHeader(n int, per time.Duration) func(http.Header, time.Duration) {
	return func(h http.Header, _ time.Duration) {
		h.Set("X-RateLimit-Limit", fmt.Sprintf("%d;w=%.0f", n, per.Seconds()))
	}
}

// andRetryAfter adds a correct Retry-After.
func andRetryAfter(state func(http.Header, time.Duration)) func(http.Header, time.Duration) {
	return func(h http.Header, left time.Duration) {
		h.Set("Retry-After", inSeconds(left))
		state(h, left)
	}
}

func nothing(http.Header, time.Duration) {}

func inSeconds(d time.Duration) string { return strconv.Itoa(int(d.Seconds()) + 1) }

func gated() *iamhttp.Transport { return &iamhttp.Transport{Gate: new(gate.Adaptive)} }

func TestNoCallFailsBecauseACorrectLimitIsStated(t *testing.T) {
	for name, state := range map[string]func(http.Header, time.Duration){
		"window":                 limitHeader(200, 5*time.Minute),
		"window and Retry-After": andRetryAfter(limitHeader(200, 5*time.Minute)),
		"end":                    func(h http.Header, left time.Duration) { h.Set("X-RateLimit-Reset", inSeconds(left)) },
	} {
		for _, deadline := range []time.Duration{0, time.Hour} {
			for _, maxWait := range []time.Duration{0, 2 * time.Minute} {
				if name == "window and Retry-After" && (deadline == 0 || maxWait > 0) {
					continue // Retry-After is longer than MaxWait, which is 2 minutes without a deadline
				}
				tr := gated()
				tr.MaxWait = maxWait
				failed, took := windowed{200, 5 * time.Minute, 0, state}.run(t, 500, deadline, tr)
				assert.Zero(t, failed, "%s, deadline %v, MaxWait %v", name, deadline, maxWait)
				assert.Less(t, took, 660*time.Second, "%s, deadline %v, MaxWait %v", name, deadline, maxWait)
			}
		}
	}
}

func TestCorrectStatedLimitHelpsWheneverTheCallsBegin(t *testing.T) {
	ietf := func(h http.Header, left time.Duration) {
		h.Set("RateLimit", `"a";r=0;t=`+inSeconds(left))
		h.Set("RateLimit-Policy", `"a";q=200;w=300`)
	}
	for age := 0 * time.Second; age < 300*time.Second; age += 15 * time.Second {
		ideal := 600*time.Second - age + 2*time.Second
		for name, state := range map[string]func(http.Header, time.Duration){"Retry-After and window": andRetryAfter(limitHeader(200, 5*time.Minute)), "IETF": ietf} {
			_, took := windowed{200, 5 * time.Minute, age, state}.run(t, 500, 15*time.Minute, gated())
			assert.Less(t, took, ideal*105/100, "%s, after %v", name, age)
		}
		_, took := windowed{200, 5 * time.Minute, age, limitHeader(200, 5*time.Minute)}.run(t, 500, 15*time.Minute, gated())
		assert.Less(t, took, ideal*125/100, "window only, after %v", age) // the gate does not know when the window began
	}
}

func TestWholeWindowsAreUsedIfTheLimitIsStated(t *testing.T) {
	for calls := int64(390); calls <= 1000; calls += 10 {
		ideal := time.Duration((calls-1)/200) * 5 * time.Minute
		_, took := windowed{200, 5 * time.Minute, 0, andRetryAfter(limitHeader(200, 5*time.Minute))}.run(t, calls, 15*time.Minute, gated())
		assert.Less(t, took, ideal*105/100+20*time.Second, "%d calls", calls) // the calls of a window take 10 s
	}
}

// The stated window is ten times as long as the real one, or belongs to another limit.
func TestNoCallFailsBecauseAWrongWindowIsStated(t *testing.T) {
	for _, stated := range []time.Duration{100 * time.Second, time.Hour} {
		for name, state := range map[string]func(http.Header, time.Duration){"window": limitHeader(20, stated), "window and Retry-After": andRetryAfter(limitHeader(20, stated))} {
			failed, took := windowed{20, 10 * time.Second, 0, state}.run(t, 500, 30*time.Second, gated())
			assert.Zero(t, failed, "%s of %v", name, stated)
			assert.Less(t, took, 320*time.Second, "%s of %v", name, stated)
		}
	}
}

func TestStatedResetOfAnotherLimitDelaysTheCallsByLessThanTwoMinutes(t *testing.T) {
	hourly := func(h http.Header, _ time.Duration) {
		h.Set("X-RateLimit-Limit", "10000")
		h.Set("X-RateLimit-Reset", "600")
	}
	_, without := windowed{20, 10 * time.Second, 0, nothing}.run(t, 500, time.Hour, gated())
	_, took := windowed{20, 10 * time.Second, 0, hourly}.run(t, 500, time.Hour, gated())
	assert.Less(t, took, without+2*time.Minute)
	tenfold := func(h http.Header, left time.Duration) { h.Set("X-RateLimit-Reset", inSeconds(10*left)) }
	_, took = windowed{200, 5 * time.Minute, 0, tenfold}.run(t, 500, 2*time.Hour, gated())
	assert.Less(t, took, 12*time.Minute)
}
