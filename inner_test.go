package iamhttp_test

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
)

// A tokenUser is a RoundTripper that needs a valid token for each request, except for
// the requests for tokens. It fetches tokens through the client that contains the
// tokenUser itself.
type tokenUser struct {
	base   http.RoundTripper
	client *http.Client
	uses   int  // how many requests a token is valid for; 0: no limit
	own    bool // whether each request fetches its own token
	busy   chan struct{}
	left   int // counts down from uses with each request; at 0 or less, a new token is fetched
	tokens atomic.Int64
}

func (u *tokenUser) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path == "/token" {
		u.tokens.Add(1)
		return u.base.RoundTrip(req)
	}
	if err := u.token(); err != nil {
		return nil, err
	}
	return u.base.RoundTrip(req)
}

func (u *tokenUser) token() error {
	if !u.own {
		u.busy <- struct{}{}
		defer func() { <-u.busy }()
		if u.left--; u.left > 0 {
			return nil
		}
	}
	resp, err := u.client.Post("https://iam.example/token", "", nil)
	if err != nil {
		return err
	}
	if !u.own {
		u.left = cmp.Or(u.uses, math.MaxInt)
	}
	return resp.Body.Close()
}

// refusingOnce returns a constructor for servers that throttle only the nth request.
func refusingOnce(nth int64, retryAfter string) func() http.RoundTripper {
	return func() http.RoundTripper {
		var n atomic.Int64
		return roundTripper(func(req *http.Request) (*http.Response, error) {
			time.Sleep(20 * time.Millisecond)
			if n.Add(1) == nth {
				return answer(429, "", "Retry-After: "+retryAfter)(req)
			}
			return answer(200, "")(req)
		})
	}
}

// allowing returns a server with a token bucket. It admits perSecond requests per second,
// and bursts of up to perSecond/2 requests.
func allowing(perSecond float64) http.RoundTripper {
	var mu sync.Mutex
	saved, at := perSecond/2, time.Now()
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		time.Sleep(20 * time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		saved, at = min(perSecond/2, saved+time.Since(at).Seconds()*perSecond), time.Now()
		if saved < 1 {
			return answer(429, "", "Retry-After: 1")(req)
		}
		saved--
		return answer(200, "")(req)
	})
}

// A token request must not queue behind the other requests: each of them would use up a
// turn and then wait for the token.
func TestFetchingTokensThroughTheSameGateAtMostDoublesTheTime(t *testing.T) {
	for _, tt := range []struct {
		name    string
		server  func() http.RoundTripper
		callers int
		uses    int
		own     bool
	}{
		{"there is no 429, and the token expires", refusingOnce(-1, ""), 1000, 250, false},
		{"the token request is throttled", refusingOnce(1, "2"), 100, 0, false},
		{"a caller is throttled", refusingOnce(50, "2"), 100, 0, false},
		{"a caller is throttled, and the token expires", refusingOnce(500, "2"), 1000, 100, false},
		{"the second token request is throttled", refusingOnce(102, "2"), 1000, 100, false},
		{"each caller fetches its own token, and one request is throttled", refusingOnce(30, "2"), 100, 0, true},
		{"a limit of 20 requests a second", func() http.RoundTripper { return allowing(20) }, 300, 0, false},
		{"a limit of 20 requests a second, and the token expires", func() http.RoundTripper { return allowing(20) }, 300, 50, false},
		{"a limit of 200 requests a second, and the token expires", func() http.RoundTripper { return allowing(200) }, 3000, 100, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			took := make(map[bool]time.Duration)
			for _, gets := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					server := tt.server()
					tr := &iamhttp.Transport{Base: server, Gate: new(gate.Adaptive), GateKey: gate.KeyByHost}
					client := &http.Client{Transport: tr}
					user := &tokenUser{base: server, client: client, uses: tt.uses, own: tt.own, busy: make(chan struct{}, 1)}
					if gets {
						tr.Base = user
					}
					start := time.Now()
					var calls sync.WaitGroup
					for range tt.callers {
						calls.Go(func() {
							ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
							defer cancel()
							resp, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
							if assert.NoError(t, err) {
								resp.Body.Close()
							}
						})
					}
					calls.Wait()
					took[gets] = time.Since(start)
					if gets {
						assert.Positive(t, user.tokens.Load())
					}
				})
			}
			t.Logf("the calls took %v without token requests, and %v with them", took[false], took[true])
			assert.LessOrEqual(t, took[true], 2*took[false])
		})
	}
}

// Token requests count against the limit too. If they were all sent at the end of a pause,
// most of them would be throttled and start the next pause. The second and the third
// service are harder for a gate: one responds late, and the other limits the requests in
// flight instead of their rate.
func TestCallsThatEachNeedTokensTakeAtMostTwoAndAHalfTimesAsLongWithAGate(t *testing.T) {
	for _, tt := range []struct {
		name   string
		server func() http.RoundTripper
		most   float64 // the maximum ratio of the time with a gate to the time without one
	}{
		{"20 requests a second", func() http.RoundTripper { return allowing(20) }, 0.9},
		{"20 requests a second, responses take 2 s", func() http.RoundTripper { return taking(2*time.Second, allowing(20)) }, 2},
		{"10 requests in flight", func() http.RoundTripper { return inFlight(10, 200*time.Millisecond) }, 2.5},
	} {
		for _, levels := range []int{1, 2} {
			t.Run(fmt.Sprint(tt.name, ", tokens per call: ", levels), func(t *testing.T) {
				without := timeOfCallsWithTokens(t, nil, tt.server, levels)
				with := timeOfCallsWithTokens(t, new(gate.Adaptive), tt.server, levels)
				t.Logf("the calls took %v without a gate, and %v with one", without, with)
				assert.LessOrEqual(t, with, time.Duration(tt.most*float64(without)))
			})
		}
	}
}

// timeOfCallsWithTokens returns how long 100 concurrent calls take. Each call needs a
// token, the request for that token needs another token, and so on; levels is the number
// of tokens per call.
func timeOfCallsWithTokens(t *testing.T, g gate.Gate, server func() http.RoundTripper, levels int) (took time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		service := server()
		tr := &iamhttp.Transport{Gate: g, GateKey: gate.KeyByHost}
		client := &http.Client{Transport: tr}
		tr.Base = roundTripper(func(req *http.Request) (*http.Response, error) {
			if level := len(req.URL.Path) - len("/"); level < levels {
				token, err := http.NewRequestWithContext(context.Background(), "POST", "https://iam.example"+req.URL.Path+"t", nil)
				require.NoError(t, err)
				resp, err := client.Do(token)
				if err != nil {
					return nil, err
				}
				resp.Body.Close()
			}
			return service.RoundTrip(req)
		})
		start := time.Now()
		var calls sync.WaitGroup
		for range 100 {
			calls.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, "GET", "https://iam.example/", nil)
				require.NoError(t, err)
				for range 100 { // without a gate, a token request can use up its attempts
					resp, err := tr.RoundTrip(req)
					if err == nil {
						resp.Body.Close()
						return
					}
				}
				assert.Fail(t, "the call never succeeded")
			})
		}
		calls.Wait()
		took = time.Since(start)
	})
	return took
}

// taking returns a RoundTripper that passes each request to the service after a delay of d.
func taking(d time.Duration, service http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		time.Sleep(d)
		return service.RoundTrip(req)
	})
}

// inFlight returns a service that refuses a request while n others are in flight, and
// otherwise takes the given time to respond.
func inFlight(n int64, each time.Duration) http.RoundTripper {
	var flying atomic.Int64
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		defer flying.Add(-1)
		if flying.Add(1) > n {
			return answer(429, "", "Retry-After: 1")(req)
		}
		time.Sleep(each)
		return answer(200, "")(req)
	})
}

func TestTokenRequestWaitsForTheEndOfAPauseUnlessItsDeadlineIsEarlier(t *testing.T) {
	for _, tt := range []struct {
		name    string
		timeout time.Duration
		want    error
	}{
		{"the deadline is after the end of the pause", time.Minute, nil},
		{"the deadline is before the end of the pause", 5 * time.Second, gate.ErrDeadline},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(gate.Adaptive)
				var sent []time.Duration
				start := time.Now()
				tr := &iamhttp.Transport{Gate: g, GateKey: gate.KeyByHost}
				tr.Base = roundTripper(func(req *http.Request) (*http.Response, error) {
					if req.URL.Path == "/token" {
						sent = append(sent, time.Since(start))
						return answer(200, "")(req)
					}
					throttle(t, g, 10*time.Second) // another caller is throttled
					ctx, cancel := context.WithTimeout(context.Background(), tt.timeout)
					defer cancel()
					token, err := http.NewRequestWithContext(ctx, "POST", "https://iam.example/token", nil)
					require.NoError(t, err)
					resp, err := (&http.Client{Transport: tr}).Do(token)
					if err != nil {
						return nil, err
					}
					resp.Body.Close()
					return answer(200, "")(req)
				})
				_, err := tr.RoundTrip(newRequest(t, "GET", ""))
				if tt.want != nil {
					require.ErrorIs(t, err, tt.want)
					assert.Empty(t, sent)
					assert.Zero(t, time.Since(start))
					return
				}
				require.NoError(t, err)
				require.Len(t, sent, 1)
				assert.GreaterOrEqual(t, sent[0], 10*time.Second)
				assert.LessOrEqual(t, sent[0], 11*time.Second)
			})
		})
	}
}

func TestThrottledTokenRequestWithoutRetryAfterPausesTheAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent []time.Time
		tr := &iamhttp.Transport{Gate: new(gate.Adaptive), GateKey: gate.KeyByHost}
		client := &http.Client{Transport: tr}
		throttle(t, tr.Gate, time.Second)
		tr.Base = roundTripper(func(req *http.Request) (*http.Response, error) {
			if req.URL.Path == "/token" {
				sent = append(sent, time.Now())
				return answer(429, "")(req)
			}
			_, err := client.Post("https://iam.example/token", "", nil)
			return nil, err
		})
		_, err := tr.RoundTrip(newRequest(t, "GET", ""))
		require.Error(t, err)
		require.Len(t, sent, 8)
		pause := 200 * time.Millisecond
		for i := range sent[1:] {
			assert.GreaterOrEqual(t, sent[i+1].Sub(sent[i]), pause)
			pause = min(2*pause, 10*time.Second)
		}
	})
}

// While the service hung, every call ran into its deadline, so the gate expects late
// responses and sends only an occasional request. That request needs a token, so the gate
// must also admit the token request.
func TestTokenIsFetchedAfterAnOutageAlthoughResponsesAreExpectedToBeLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hangs, hasToken atomic.Bool
		tr := &iamhttp.Transport{Gate: new(gate.Adaptive), GateKey: gate.KeyByHost, MaxAttempts: 1}
		client := &http.Client{Transport: tr}
		tr.Base = roundTripper(func(req *http.Request) (*http.Response, error) {
			if hangs.Load() {
				<-req.Context().Done()
				return nil, req.Context().Err()
			}
			if req.URL.Path != "/token" && !hasToken.Load() {
				time.Sleep(200 * time.Millisecond) // meanwhile, the gate refuses other calls
				login, err := http.NewRequestWithContext(req.Context(), "POST", "https://iam.example/token", nil)
				require.NoError(t, err)
				resp, err := client.Do(login)
				if err != nil {
					return nil, err
				}
				resp.Body.Close()
				hasToken.Store(true)
			}
			return answer(200, "")(req)
		})
		var succeeded atomic.Int64
		call := func(timeout time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			if resp, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx)); err == nil {
				resp.Body.Close()
				succeeded.Add(1)
			}
		}
		throttle(t, tr.Gate, time.Second)
		hangs.Store(true)
		for range 9 {
			call(10 * time.Second)
		}
		hangs.Store(false)
		var calls sync.WaitGroup
		for range 600 {
			calls.Go(func() { call(9 * time.Second) })
			time.Sleep(50 * time.Millisecond)
		}
		calls.Wait()
		assert.GreaterOrEqual(t, succeeded.Load(), int64(500), "too few of the 600 calls succeeded")
	})
}

func TestOuterTransportDoesNotDisturbThePaceOfAnInnerGate(t *testing.T) {
	sent := make(map[string]int)
	for name, outer := range map[string]*iamhttp.Transport{
		"alone": nil, "below a Transport": {}, "below a Transport with a gate": {Gate: new(gate.Adaptive), GateKey: func(*http.Request) string { return "outer" }},
	} {
		synctest.Test(t, func(t *testing.T) {
			var n atomic.Int64
			server := allowing(10)
			inner := &iamhttp.Transport{Gate: new(gate.Adaptive), MaxAttempts: 20, Base: roundTripper(func(req *http.Request) (*http.Response, error) {
				n.Add(1)
				return server.RoundTrip(req)
			})}
			tr := http.RoundTripper(inner)
			if outer != nil {
				outer.Base = inner
				tr = outer
			}
			var calls sync.WaitGroup
			for range 200 {
				calls.Go(func() {
					resp, err := tr.RoundTrip(newRequest(t, "GET", ""))
					if assert.NoError(t, err) {
						resp.Body.Close()
					}
				})
			}
			calls.Wait()
			sent[name] = int(n.Load())
		})
	}
	t.Log(sent)
	for name, n := range sent {
		assert.Less(t, n, 320, "%s: too many requests for 200 calls", name)
	}
}

// A RoundTripper below a Transport may fetch a token with the context of each attempt.
func TestResendCountOfATokenRequestDoesNotIncludeTheAttemptsOfTheCallThatNeedsTheToken(t *testing.T) {
	retryable := func(base http.RoundTripper) *http.Client {
		c := retryablehttp.NewClient()
		c.HTTPClient, c.Logger = &http.Client{Transport: base}, nil
		(&iamhttp.Transport{}).ConfigureRetryable(c)
		return c.StandardClient()
	}
	for name, client := range map[string]func(base http.RoundTripper) *http.Client{
		"with a Transport": func(base http.RoundTripper) *http.Client {
			return &http.Client{Transport: &iamhttp.Transport{Base: base, PassThrough: true}}
		},
		"with two Transports": func(base http.RoundTripper) *http.Client {
			return &http.Client{Transport: &iamhttp.Transport{Base: &iamhttp.Transport{Base: base, PassThrough: true}, PassThrough: true}}
		},
		"with go-retryablehttp": retryable,
		"with go-retryablehttp and a Transport": func(base http.RoundTripper) *http.Client {
			return retryable(&iamhttp.Transport{Base: base, PassThrough: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				throttled := answer(429, "", "Retry-After: 1")
				tokens := script(answer(201, ""), throttled, answer(201, ""), answer(307, "", "Location: /moved"), throttled, answer(201, ""))
				service := script(throttled, throttled, answer(404, ""))
				client := client(tokens)
				tr := &iamhttp.Transport{Base: roundTripper(func(req *http.Request) (*http.Response, error) {
					token, err := http.NewRequestWithContext(req.Context(), "POST", "https://iam.example/token", nil)
					require.NoError(t, err)
					resp, err := client.Do(token)
					require.NoError(t, err)
					resp.Body.Close()
					return service.RoundTrip(req)
				})}
				_, err := tr.RoundTrip(newRequest(t, "GET", ""))
				assert.Equal(t, 3, statusError(t, err).Attempts)
				counts := func(s *scripted) (all []int) {
					for _, each := range s.sent {
						all = append(all, each.resend)
					}
					return all
				}
				assert.Equal(t, []int{0, 1, 2}, counts(service))
				want := []int{0, 0, 1, 0, 0, 1}
				if strings.HasPrefix(name, "with go") { // it retries the first request, not the one that the redirect led to
					tokens.steps = tokens.steps[:3]
				}
				assert.Equal(t, want[:len(counts(tokens))], counts(tokens))
			})
		})
	}
}

// The inner Transport counts from 0, because the URL is another one.
func TestTheOuterTransportCountsTheAttemptsOfTheInnerOneEvenIfTheURLIsChangedInBetween(t *testing.T) {
	base := script(answer(408, ""), answer(503, ""), answer(429, ""), answer(429, ""), answer(404, ""))
	inner := &iamhttp.Transport{Base: base, Backoff: zero, PassThrough: true}
	tr := &iamhttp.Transport{Backoff: zero, Base: roundTripper(func(req *http.Request) (*http.Response, error) {
		mirrored := req.Clone(req.Context())
		mirrored.URL.Host = "mirror.example"
		if base.count() == 0 {
			return base.RoundTrip(mirrored)
		}
		return inner.RoundTrip(mirrored)
	})}
	tr.AlsoRetry = []iamhttp.Code{503}
	_, err := tr.RoundTrip(newRequest(t, "GET", ""))
	assert.Equal(t, 5, statusError(t, err).Attempts)
	assert.Equal(t, 5, base.count())
}
