package redisgate

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/gate"
)

// An account simulates an account with a rate limit: a token bucket that starts full, or
// a counter.
type account struct {
	mu         sync.Mutex
	rate       float64 // requests per second
	depth      float64
	retryAfter time.Duration
	trip       time.Duration // how long a request takes; only set in virtual time
	tokens     float64
	at         time.Time
	closed     time.Time     // when the Retry-After of the latest pause's first 429 ends
	counter    *counter      // nil: the account is a token bucket
	stated     gate.Limit    // the limit stated with each 429; zero: no limit is stated
	news       time.Duration // how long a process may take to learn of a Retry-After

	sent, accepted, early int
}

func newAccount(rate, depth float64, retryAfter time.Duration) *account {
	return &account{rate: rate, depth: depth, retryAfter: retryAfter, tokens: depth, at: time.Now(), news: 50 * time.Millisecond}
}

// serve handles one request. A request counts as early if it arrives during a
// Retry-After that the process should already know about.
func (a *account) serve() (throttled bool) {
	if a.trip > 0 {
		time.Sleep(a.trip)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	a.sent++
	if now.Before(a.closed) && now.After(a.closed.Add(a.news-a.retryAfter)) {
		a.early++
	}
	if !a.take(now) {
		if now.After(a.closed) {
			a.closed = now.Add(a.retryAfter)
		}
		return true
	}
	a.accepted++
	return false
}

func (a *account) take(now time.Time) bool {
	if a.counter != nil {
		return a.counter.take(now, a.rate)
	}
	a.tokens = min(a.tokens+now.Sub(a.at).Seconds()*a.rate, a.depth)
	a.at = now
	if a.tokens < 1 {
		return false
	}
	a.tokens--
	return true
}

// A counter counts requests the way HAProxy does: over the current and the previous
// second, with less weight on the previous second. Throttled requests count too.
type counter struct {
	second   int64
	past, in float64
}

func (c *counter) take(now time.Time, rate float64) bool {
	switch now.Unix() - c.second {
	case 0:
	case 1:
		c.past, c.in = c.in, 0
	default:
		c.past, c.in = 0, 0
	}
	c.second = now.Unix()
	c.in++
	left := 1 - float64(now.Nanosecond())/1e9
	return c.in+math.Floor(c.past*left) <= rate
}

func (a *account) counts() (sent, accepted, early int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sent, a.accepted, a.early
}

// somePath returns a path on one of seven routes that share the account's limit.
func somePath() string { return fmt.Sprintf("/v3/%c/%d", 'a'+rand.IntN(7), rand.Uint32()) }

// call makes one call through a gate, and retries it until it is accepted or the gate
// refuses it.
func call(ctx context.Context, g gate.Gate, key string, a *account) error {
	path := somePath()
	for resend := 0; ; resend++ {
		r := gate.Request{Key: key, Resend: resend, Method: "GET", Path: path}
		ticket, err := g.Wait(ctx, r)
		if err != nil {
			return err
		}
		if !a.serve() {
			g.Observe(r, ticket, gate.Outcome{Result: gate.Accepted})
			return nil
		}
		g.Observe(r, ticket, gate.Outcome{Result: gate.Throttled, RetryAfter: a.retryAfter, Limit: a.stated})
	}
}

// A crowd makes calls through gates until left is used up or set to 0.
type crowd struct {
	wg     sync.WaitGroup
	left   atomic.Int64
	failed atomic.Int64
	done   []atomic.Int64 // number of calls made, by index of the gate
}

func start[G gate.Gate](gates []G, callers, calls int, key string, a *account) *crowd {
	c := &crowd{done: make([]atomic.Int64, len(gates))}
	c.left.Store(int64(calls))
	for i, g := range gates {
		for range callers {
			c.wg.Go(func() {
				for c.left.Add(-1) >= 0 {
					if call(context.Background(), g, key, a) != nil {
						c.failed.Add(1)
					}
					c.done[i].Add(1)
				}
			})
		}
	}
	return c
}

func (c *crowd) wait(t *testing.T) {
	t.Helper()
	c.wg.Wait()
	assert.Zero(t, c.failed.Load(), "some calls failed")
}

// throttle sends one request through g, and reports it to g as throttled with a
// Retry-After of d.
func throttle(t *testing.T, g gate.Gate, key string, d time.Duration) {
	t.Helper()
	ticket, err := g.Wait(context.Background(), gate.Request{Key: key})
	assert.NoError(t, err)
	g.Observe(gate.Request{Key: key}, ticket, gate.Outcome{Result: gate.Throttled, RetryAfter: d})
}
