package gate_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/gate"
)

// A slowBucket is a service with a token bucket. A 429 takes 10 ms, and the response to an
// accepted request takes longer.
type slowBucket struct {
	rate, depth float64
	trip        time.Duration
	limit       gate.Limit

	mu       sync.Mutex
	tokens   float64
	at       time.Time
	accepted int
}

func (b *slowBucket) serve(trip time.Duration) gate.Outcome {
	b.mu.Lock()
	b.tokens = min(b.tokens+time.Since(b.at).Seconds()*b.rate, b.depth)
	b.at = time.Now()
	ok := b.tokens >= 1-1e-9
	if ok {
		b.tokens--
		b.accepted++
	}
	b.mu.Unlock()
	if !ok {
		time.Sleep(10 * time.Millisecond)
		return gate.Outcome{Result: gate.Throttled, RetryAfter: time.Second, Limit: b.limit}
	}
	time.Sleep(trip)
	return gate.Outcome{Result: gate.Accepted}
}

// work makes calls to b, one after another, until ctx ends. An accepted request takes the
// given time.
func work(ctx context.Context, g gate.Gate, b *slowBucket, trip time.Duration) {
	for resend := 0; ; resend++ {
		r := gate.Request{Key: "k", Resend: resend}
		ticket, err := g.Wait(ctx, r)
		if err != nil {
			return
		}
		o := b.serve(trip)
		g.Observe(r, ticket, o)
		if o.Result == gate.Accepted {
			resend = -1
		}
	}
}

// Each of these situations once kept the gate far below the limit for many minutes.
func TestRateLimitIsFoundAlthoughItLooksLikeSomethingElse(t *testing.T) {
	t.Parallel()
	second, minute, hour := time.Second, time.Minute, time.Hour
	for name, tt := range map[string]struct {
		bucket  *slowBucket
		workers int
		polls   int  // further workers, whose requests take a minute
		usedUp  bool // whether someone else used up the burst just before the first request
	}{
		"responses take longer than Retry-After":   {&slowBucket{rate: 50, depth: 50, trip: 3 * second}, 300, 0, false},
		"responses take 5 s, and the limit is low": {&slowBucket{rate: 2, depth: 5, trip: 5 * second}, 50, 0, false},
		"two long polls":                              {&slowBucket{rate: 20, depth: 20, trip: second / 10}, 50, 2, false},
		"twenty long polls":                           {&slowBucket{rate: 20, depth: 20, trip: second / 10}, 50, 20, false},
		"the first request is throttled":              {&slowBucket{rate: 100, depth: 20, trip: second / 50}, 50, 0, true},
		"stated limit equals the burst, by chance":    {&slowBucket{rate: 50, depth: 50, trip: second / 50, limit: gate.Limit{Requests: 50, Per: hour}}, 200, 0, false},
		"a window of 11 s is stated":                  {&slowBucket{rate: 50, depth: 50, trip: second / 50, limit: gate.Limit{Requests: 50, Per: 11 * second}}, 200, 0, false},
		"stated limit is too low, with a long window": {&slowBucket{rate: 50, depth: 50, trip: second / 50, limit: gate.Limit{Requests: 60, Per: minute}}, 200, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := new(gate.Adaptive)
				b := tt.bucket
				b.at = time.Now()
				if !tt.usedUp {
					b.tokens = b.depth
				}
				ctx, cancel := context.WithCancel(t.Context())
				var workers sync.WaitGroup
				for range tt.polls {
					workers.Go(func() { work(ctx, g, b, minute) })
				}
				for range tt.workers {
					workers.Go(func() { work(ctx, g, b, b.trip) })
				}
				time.Sleep(12 * minute)
				b.mu.Lock()
				before := b.accepted
				b.mu.Unlock()
				time.Sleep(4 * minute)
				b.mu.Lock()
				share := float64(b.accepted-before) / (4 * minute.Seconds() * b.rate)
				b.mu.Unlock()
				cancel()
				workers.Wait()
				t.Logf("%.0f%% of the limit", 100*share)
				assert.GreaterOrEqual(t, share, 0.75)
			})
		})
	}
}
