package redisgate

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp"
)

// An account has a limit: a token bucket that starts full, or a counter.
type account struct {
	mu         sync.Mutex
	rate       float64 // requests per second
	depth      float64
	retryAfter time.Duration
	trip       time.Duration // of a request; in virtual time only
	tokens     float64
	at         time.Time
	closed     time.Time // end of the latest Retry-After
	counter    *counter  // nil: a bucket

	sent, accepted, early int
}

func newAccount(rate, depth float64, retryAfter time.Duration) *account {
	return &account{rate: rate, depth: depth, retryAfter: retryAfter, tokens: depth, at: time.Now()}
}

// serve answers a request. A request is early if it comes in a Retry-After, but
// for the time that the news takes.
func (a *account) serve() (throttled bool) {
	if a.trip > 0 {
		time.Sleep(a.trip)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	a.sent++
	const news = 50 * time.Millisecond
	if now.Before(a.closed) && now.After(a.closed.Add(news-a.retryAfter)) {
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

// A counter is that of HAProxy: of two seconds, the older one weighted, and
// refused requests count too.
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

// call is one call through a gate, repeated until it is accepted.
func call(ctx context.Context, g iamhttp.Gate, key string, a *account) error {
	for resend := 0; ; resend++ {
		ticket, err := g.Wait(ctx, key, resend)
		if err != nil {
			return err
		}
		throttled := a.serve()
		wait := time.Duration(0)
		if throttled {
			wait = a.retryAfter
		}
		g.Observe(key, ticket, throttled, wait)
		if !throttled {
			return nil
		}
	}
}

// A crowd makes calls through gates, until it is stopped or has made enough.
type crowd struct {
	wg     sync.WaitGroup
	left   atomic.Int64
	failed atomic.Int64
	done   []atomic.Int64 // by gate
}

func start[G iamhttp.Gate](gates []G, callers, calls int, key string, a *account) *crowd {
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
	assert.Zero(t, c.failed.Load(), "calls that failed")
}

// throttle makes the account known as throttled for d, by a refusal at g.
func throttle(t *testing.T, g iamhttp.Gate, key string, d time.Duration) {
	t.Helper()
	ticket, err := g.Wait(context.Background(), key, 0)
	assert.NoError(t, err)
	g.Observe(key, ticket, true, d)
}
