package aksk_test

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/aksk"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/iamtest"
)

// A scenario is a service, and the way in which an SDK makes many calls to it. The SDK
// signs each call once, above the Transport, with the time and the key of that moment.
type scenario struct {
	service  func(began time.Time) *iamtest.Server
	client   iamhttp.Transport
	deadline time.Duration                          // each call's time limit; 0 means no limit
	key      func(began time.Time) aksk.Credentials // returns the current key; nil if the key never changes
	lost     [2]float64                             // minimum and maximum fraction of calls that end in a 401 without the signer
}

// run returns how many calls ended with each status. Status 0 stands for an error.
func (s scenario) run(t *testing.T, calls int, signer bool) map[int]int {
	t.Helper()
	got := map[int]int{}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		service := s.service(began)
		key := func() aksk.Credentials { return permanent }
		if s.key != nil {
			key = func() aksk.Credentials { return s.key(began) }
		}
		tr := &iamhttp.Transport{
			Base: service, PassThrough: true, MaxAttempts: s.client.MaxAttempts, MaxWait: s.client.MaxWait,
			AlsoRetry: s.client.AlsoRetry, Gate: s.client.Gate, SignatureLife: -1, // otherwise some calls would end early, with StopSignature
		}
		if signer {
			tr.Base = &aksk.Transport{Base: service, Credentials: func(*http.Request) (aksk.Credentials, error) { return key(), nil }}
		}
		if tr.Gate != nil {
			tr.Gate = new(gate.Adaptive)
		}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range calls {
			wg.Go(func() {
				ctx := context.Background()
				if s.deadline > 0 {
					limited, cancel := context.WithTimeout(ctx, s.deadline)
					defer cancel()
					ctx = limited
				}
				req, err := http.NewRequestWithContext(ctx, "GET", "https://iam.example/v3/users/"+strconv.Itoa(i), nil)
				if !assert.NoError(t, err) || !assert.NoError(t, aksk.Sign(req, key(), time.Now())) {
					return
				}
				status := 0
				if resp, err := tr.RoundTrip(req); err == nil {
					status = resp.StatusCode
					resp.Body.Close()
				}
				mu.Lock()
				defer mu.Unlock()
				got[status]++
			})
		}
		wg.Wait()
	})
	return got
}

// throttles returns a handler that responds with 429 to the first n attempts of each
// call, and with 200 to all later ones.
func throttles(n int, retryAfter time.Duration) http.Handler {
	var mu sync.Mutex
	seen := map[string]int{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen[r.URL.Path]++
		early := seen[r.URL.Path] <= n
		mu.Unlock()
		if early {
			iamtest.Throttled(retryAfter).ServeHTTP(w, r)
			return
		}
		iamtest.Answer{Body: "{}"}.ServeHTTP(w, r)
	})
}

// rotating returns a constructor for a service whose key changes once the given duration
// has passed. From then on, the first key is invalid.
func rotating(after time.Duration, n int, retryAfter time.Duration) func(time.Time) *iamtest.Server {
	return func(began time.Time) *iamtest.Server {
		return &iamtest.Server{Handler: throttles(n, retryAfter), Keys: func(accessKey, _ string) (string, bool) {
			c := keyOf(began, after)
			return c.SecretKey, accessKey == c.AccessKey
		}}
	}
}

func keyOf(began time.Time, after time.Duration) aksk.Credentials {
	if time.Since(began) < after {
		return aksk.Credentials{AccessKey: "FIRST", SecretKey: "first-secret"}
	}
	return aksk.Credentials{AccessKey: "SECOND", SecretKey: "second-secret"}
}

func scenarios() map[string]scenario {
	sevenTimes := func(ahead time.Duration) func(time.Time) *iamtest.Server {
		return func(time.Time) *iamtest.Server {
			return &iamtest.Server{Keys: keys, Handler: throttles(7, 2*time.Minute), Ahead: ahead}
		}
	}
	atOnce := func(ahead time.Duration) func(time.Time) *iamtest.Server {
		return func(time.Time) *iamtest.Server { return &iamtest.Server{Keys: keys, Ahead: ahead} }
	}
	return map[string]scenario{
		"Retry-After: 120 seven times": {service: sevenTimes(0), lost: [2]float64{0.02, 0.15}},
		"a 20-minute outage": {
			service: func(began time.Time) *iamtest.Server {
				return &iamtest.Server{Keys: keys, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					a := iamtest.Answer{Body: "{}"}
					if time.Since(began) < 20*time.Minute {
						a = iamtest.Page(503).With("Retry-After", "60")
					}
					a.ServeHTTP(w, r)
				})}
			},
			client:   iamhttp.Transport{AlsoRetry: []iamhttp.Code{iamhttp.ErrServiceUnavailable}},
			deadline: time.Hour,
			lost:     [2]float64{1, 1},
		},
		"a gate whose queue is 30 minutes long": {
			service: func(time.Time) *iamtest.Server {
				return &iamtest.Server{Keys: keys, Limit: 5, Window: 9 * time.Second}
			},
			client:   iamhttp.Transport{Gate: new(gate.Adaptive)},
			deadline: 3 * time.Hour,
			lost:     [2]float64{0.3, 0.7},
		},
		"a clock that is 20 minutes behind":                 {service: atOnce(20 * time.Minute), lost: [2]float64{1, 1}},
		"a clock that is 20 minutes ahead":                  {service: atOnce(-20 * time.Minute), lost: [2]float64{1, 1}},
		"a clock that is 20 minutes behind, and long waits": {service: sevenTimes(20 * time.Minute), lost: [2]float64{1, 1}},
		"a clock that is 20 minutes ahead, and long waits":  {service: sevenTimes(-20 * time.Minute), lost: [2]float64{1, 1}},
		"keys that rotate during a wait": {
			service: rotating(5*time.Minute, 3, 2*time.Minute),
			key:     func(began time.Time) aksk.Credentials { return keyOf(began, 5*time.Minute) },
			lost:    [2]float64{1, 1},
		},
		"keys that rotate during a short wait": {
			service: rotating(20*time.Second, 1, 30*time.Second),
			key:     func(began time.Time) aksk.Credentials { return keyOf(began, 20*time.Second) },
			lost:    [2]float64{1, 1},
		},
	}
}

// Each run of a scenario makes a thousand calls, or a hundred with -short or -race. Without
// the signer, between 2% and 100% of a thousand calls end in a 401 that a fresh signature
// would have avoided, depending on the scenario. With the signer, no call does.
func TestNoCallEndsInA401ThatAFreshSignatureWouldHaveAvoided(t *testing.T) {
	calls := 1000
	if testing.Short() || raceDetector { // the race detector fails with more calls in virtual time: golang/go issue 78156
		calls = 100
	}
	for name, s := range scenarios() {
		t.Run(name, func(t *testing.T) {
			without, with := s.run(t, calls, false), s.run(t, calls, true)
			t.Logf("%s: of %d calls, %d end in a 401 without the signer and %d with it", name, calls, without[401], with[401])
			if calls == 1000 { // with fewer calls, the fraction varies too much
				lost := float64(without[401]) / float64(calls)
				assert.GreaterOrEqual(t, lost, s.lost[0])
				assert.LessOrEqual(t, lost, s.lost[1])
			}
			assert.Equal(t, calls, without[401]+without[200], "%v", without)
			assert.Equal(t, map[int]int{200: calls}, with)
		})
	}
}

func TestACallThatWaitsAtTheGateIsSignedAfterTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := &iamtest.Server{Keys: keys}
		tr := &iamhttp.Transport{
			Base: signingOver(service), Gate: slowGate{20 * time.Minute}, SignatureLife: 15 * time.Minute,
		}
		req := newRequest(t, "GET", "https://iam.example/v3/users", "")
		require.NoError(t, aksk.Sign(req, permanent, time.Now()))
		resp, err := tr.RoundTrip(req)
		require.NoError(t, err)
		assert.Equal(t, 200, resp.StatusCode)
	})
}

// slowGate makes each request wait for a fixed time.
type slowGate struct{ time.Duration }

func (g slowGate) Wait(ctx context.Context, _ gate.Request) (gate.Ticket, error) {
	select {
	case <-time.After(g.Duration):
		return 0, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (slowGate) Observe(gate.Request, gate.Ticket, gate.Outcome) {}

// signingOver returns a signer above s that counts the calls to Credentials.
func signingOver(s http.RoundTripper) *counted {
	c := &counted{Transport: aksk.Transport{Base: s}}
	c.Credentials = func(*http.Request) (aksk.Credentials, error) {
		c.asked.Add(1)
		return permanent, nil
	}
	return c
}

type counted struct {
	aksk.Transport
	asked atomic.Int32
}
