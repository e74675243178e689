package iamhttp_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
)

const retryInfo = `{"error":{"code":429,"message":"Slow down.","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"%s"}]}}`

const gatewayText = `{"error_code":"APIG.0308","error_msg":"The throttling threshold has been reached: policy user over ratelimit,limit:200,time:5 minute"}`

func TestDeadlineReplacesTheDefaultLimits(t *testing.T) {
	minutes := func(d time.Duration) func(context.Context) (context.Context, context.CancelFunc) {
		return func(ctx context.Context) (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, d) }
	}
	none := func(ctx context.Context) (context.Context, context.CancelFunc) { return ctx, func() {} }
	for name, tt := range map[string]struct {
		tr       iamhttp.Transport
		ctx      func(context.Context) (context.Context, context.CancelFunc)
		header   []string
		attempts int
		stop     iamhttp.StopReason
	}{
		"without a deadline, 8 attempts":                            {iamhttp.Transport{Backoff: constant(time.Second)}, none, nil, 8, iamhttp.StopAttempts},
		"without a deadline, waits of at most 2 minutes":            {iamhttp.Transport{}, none, []string{"Retry-After: 121"}, 1, iamhttp.StopWaitTooLong},
		"with a deadline, all attempts that fit":                    {iamhttp.Transport{Backoff: constant(10 * time.Second)}, minutes(5 * time.Minute), nil, 30, iamhttp.StopDeadline},
		"with a deadline, any Retry-After that fits":                {iamhttp.Transport{Backoff: zero}, minutes(time.Hour), []string{"Retry-After: 1000"}, 4, iamhttp.StopDeadline},
		"with a deadline and MaxAttempts":                           {iamhttp.Transport{Backoff: constant(10 * time.Second), MaxAttempts: 3}, minutes(5 * time.Minute), nil, 3, iamhttp.StopAttempts},
		"with a deadline and MaxWait":                               {iamhttp.Transport{MaxWait: time.Minute}, minutes(time.Hour), []string{"Retry-After: 61"}, 1, iamhttp.StopWaitTooLong},
		"with a deadline and a schedule without waits":              {iamhttp.Transport{Backoff: zero}, minutes(time.Minute), nil, 7 + 60, iamhttp.StopDeadline},
		"with a deadline and a gate that never waits":               {iamhttp.Transport{Backoff: zero, Gate: new(scriptedGate)}, minutes(time.Minute), nil, 7 + 60, iamhttp.StopDeadline},
		"with a deadline, MaxAttempts and a schedule without waits": {iamhttp.Transport{Backoff: zero, MaxAttempts: 1000}, minutes(time.Minute), nil, 1000, iamhttp.StopAttempts},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := tt.tr
				base := script(answer(429, "", tt.header...))
				tr.Base = base
				ctx, cancel := tt.ctx(t.Context())
				defer cancel()
				_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
				assert.Equal(t, tt.stop, statusError(t, err).Stop)
				assert.Equal(t, tt.attempts, base.count())
				assert.NoError(t, ctx.Err(), "the typed error must be returned before the deadline")
			})
		})
	}
}

func TestGateIsAskedWithoutMaxWaitIfOnlyADeadlineLimitsTheCall(t *testing.T) {
	g := new(scriptedGate)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	for _, tr := range []*iamhttp.Transport{{Gate: g}, {Gate: g, MaxWait: time.Minute}} {
		tr.Base = script(answer(200, ""))
		resp, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
		require.NoError(t, err)
		resp.Body.Close()
	}
	assert.Zero(t, g.asked[0].MaxWait)
	assert.Equal(t, time.Minute, g.asked[1].MaxWait)
}

func TestWithoutRetryAfterAStatedLimitCanLengthenTheWait(t *testing.T) {
	for name, tt := range map[string]struct {
		body   string
		header []string
		least  time.Duration
		most   time.Duration
	}{
		"no stated limit":                                          {"", nil, time.Second, time.Second},
		"Retry-After wins":                                         {gatewayText, []string{"Retry-After: 7", "X-Retry-After: 58"}, 7 * time.Second, 8 * time.Second},
		"X-Retry-After":                                            {"", []string{"X-Retry-After: 58"}, 58 * time.Second, 59 * time.Second},
		"reset in the IETF's RateLimit header":                     {"", []string{`RateLimit: "a";r=0;t=30`}, 30 * time.Second, 31 * time.Second},
		"reset in the RateLimit header of an older draft":          {"", []string{"RateLimit: limit=100, remaining=0, reset=30"}, 30 * time.Second, 31 * time.Second},
		"X-Ratelimit-Reset, as Envoy sends it":                     {"", []string{"X-Ratelimit-Reset: 41"}, 41 * time.Second, 42 * time.Second},
		"a third of the window stated in the message":              {gatewayText, nil, 100 * time.Second, 101 * time.Second},
		"requests remain, but X-Retry-After asks for a wait":       {"", []string{"X-Retry-After: 58", "X-Ratelimit-Remaining: 5"}, 58 * time.Second, 59 * time.Second},
		"one limit is used up, but requests remain under another":  {"", []string{`RateLimit: "b";r=0;t=58`, "X-Ratelimit-Remaining: 7", "X-Ratelimit-Reset: 3000"}, 58 * time.Second, 59 * time.Second},
		"two resets and a window, of which the later reset counts": {gatewayText, []string{"X-Ratelimit-Reset: 5", `RateLimit: "b";r=0;t=30`}, 30 * time.Second, 31 * time.Second},
		"X-Retry-After and a later reset":                          {gatewayText, []string{"X-Retry-After: 5", "X-Ratelimit-Reset: 3000"}, 5 * time.Second, 6 * time.Second},
		"a short window in the header, a long one in the message":  {gatewayText, []string{"X-Ratelimit-Limit: 5r/s"}, 100 * time.Second, 101 * time.Second},
		"a message in a compressed body":                           {string(gzipped(t, []byte(gatewayText))), []string{"Content-Encoding: gzip"}, 100 * time.Second, 101 * time.Second},
		"a message with escaped characters":                        {`{"error_msg":"policy user over rate,l\u0069mit\u003a200\u002ctime\u003a5 minute"}`, nil, 100 * time.Second, 101 * time.Second},
		"a malformed limit in the message":                         {strings.Replace(gatewayText, "limit:200", "limit:1,000", 1), nil, time.Second, time.Second},
		"RetryInfo in the body":                                    {fmt.Sprintf(retryInfo, "52.1s"), nil, 53 * time.Second, 54 * time.Second},
		"RetryInfo in the body, but Retry-After wins":              {fmt.Sprintf(retryInfo, "53s"), []string{"Retry-After: 7"}, 7 * time.Second, 8 * time.Second},
		"RetryInfo in a compressed body":                           {string(gzipped(t, fmt.Appendf(nil, retryInfo, "53s"))), []string{"Content-Encoding: gzip"}, 53 * time.Second, 54 * time.Second},
		"a negative RetryInfo":                                     {fmt.Sprintf(retryInfo, "-53s"), nil, time.Second, time.Second},
		"X-Rate-Limit-Retry-After-Seconds, as Bucket4j sends it":   {"", []string{"X-Rate-Limit-Retry-After-Seconds: 58", "X-Rate-Limit-Remaining: 0"}, 58 * time.Second, 59 * time.Second},
		"a reset in milliseconds since 1970":                       {"", []string{"X-Ratelimit-Reset: 1000000058000", "Date: Sun, 09 Sep 2001 01:46:40 GMT"}, 58 * time.Second, 59 * time.Second},
		"requests remain, as Docker Hub says it":                   {"", []string{"Ratelimit-Limit: 100;w=21600", "Ratelimit-Remaining: 76;w=21600"}, time.Second, time.Second},
		"X-Retry-After cut to MaxWait":                             {"", []string{"X-Retry-After: 500"}, 2 * time.Minute, 121 * time.Second},
		"reset as short as the schedule's interval":                {"", []string{"X-Ratelimit-Limit: 5", "X-Ratelimit-Reset: 1"}, time.Second, time.Second},
		"window as short as the schedule's interval":               {strings.Replace(gatewayText, "5 minute", "1 second", 1), nil, time.Second, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := &iamhttp.Transport{Base: script(answer(429, tt.body, tt.header...), answer(200, "")), Backoff: constant(time.Second)}
				start := time.Now()
				resp, err := tr.RoundTrip(newRequest(t, "GET", ""))
				require.NoError(t, err)
				resp.Body.Close()
				assert.GreaterOrEqual(t, time.Since(start), tt.least)
				assert.LessOrEqual(t, time.Since(start), tt.most)
			})
		})
	}
}

func TestCodeInAlsoRetryIsNotRetriedBeforeXRetryAfterHasElapsed(t *testing.T) {
	for name, tt := range map[string]struct {
		code   int
		header string
		least  time.Duration
		most   time.Duration
	}{
		"a 498":                          {498, "X-Retry-After: 58", 58 * time.Second, 59 * time.Second},
		"a 503":                          {503, "X-RateLimit-Retry-After: 58", 58 * time.Second, 59 * time.Second},
		"a 503 with another stated time": {503, "X-RateLimit-Reset: 58", time.Second, time.Second},
	} {
		for client, send := range map[string]func(*testing.T, *iamhttp.Transport) error{
			"Transport": func(t *testing.T, tr *iamhttp.Transport) error {
				_, err := tr.RoundTrip(newRequest(t, "GET", ""))
				return err
			},
			"go-retryablehttp": func(_ *testing.T, tr *iamhttp.Transport) error {
				_, err := retryable(tr, tr.Base).Get("https://iam.example/")
				return err
			},
		} {
			t.Run(name+", "+client, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					start := time.Now()
					base := script(answer(tt.code, "", tt.header), answer(404, ""))
					err := send(t, &iamhttp.Transport{Base: base, Backoff: constant(time.Second), AlsoRetry: []iamhttp.Code{498, 503}})
					assert.ErrorIs(t, err, iamhttp.ErrNotFound)
					assert.GreaterOrEqual(t, time.Since(start), tt.least)
					assert.LessOrEqual(t, time.Since(start), tt.most)
				})
			})
		}
	}
}

func TestAResetAfterTheDeadlineDoesNotHideAnEarlierOne(t *testing.T) {
	for name, newGate := range map[string]func() gate.Gate{
		"without a gate": func() gate.Gate { return nil },
		"with a gate":    func() gate.Gate { return new(gate.Adaptive) },
	} {
		for _, header := range []string{"X-Retry-After: 58", `RateLimit: "a";r=0;t=58`, `RateLimit: "a";r=0;t=58, "b";r=0;t=2000`} {
			t.Run(name+", "+header, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
					defer cancel()
					start, sent := time.Now(), 0
					tr := &iamhttp.Transport{Gate: newGate(), Backoff: constant(time.Second), Base: roundTripper(func(req *http.Request) (*http.Response, error) {
						if sent++; time.Since(start) < 58*time.Second {
							return answer(429, "", header, "X-Ratelimit-Reset: 3000")(req)
						}
						return answer(200, "")(req)
					})}
					resp, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
					require.NoError(t, err)
					resp.Body.Close()
					assert.Equal(t, 2, sent)
				})
			})
		}
	}
}

func TestStatedLimitIsInTheError(t *testing.T) {
	e := iamhttp.NewStatusError(429, nil, []byte(gatewayText))
	assert.Equal(t, gate.Limit{Requests: 200, Per: 5 * time.Minute, Policy: "user"}, e.Limit)
	assert.Contains(t, e.Error(), "(APIG.0308, limit 200 per 5m0s (user))")
	e = iamhttp.NewStatusError(429, http.Header{"X-Ratelimit-Reset": {"41"}}, nil)
	assert.EqualError(t, e, "iamhttp: 429 TooManyRequests (limit new in 41s)")
	e = iamhttp.NewStatusError(429, http.Header{"X-Ratelimit-Limit": {"5r/s"}}, []byte(gatewayText))
	assert.Equal(t, gate.Limit{Requests: 200, Per: 5 * time.Minute, Policy: "user"}, e.Limit, "the limit with the longer wait counts")
	e = iamhttp.NewStatusError(404, http.Header{"X-Ratelimit-Limit": {"60"}, "X-Ratelimit-Reset": {"7"}}, nil)
	assert.Equal(t, gate.Limit{Requests: 60, Reset: 7 * time.Second}, e.Limit)
	assert.EqualError(t, e, "iamhttp: 404 NotFound", "the text of a 404 must not mention the limit")
}

func TestStatedLimitIsReportedToTheGate(t *testing.T) {
	for name, first := range map[string]step{
		"limit in the body":          answer(429, gatewayText),
		"limit in a compressed body": answer(429, string(gzipped(t, []byte(gatewayText))), "Content-Encoding: gzip"),
		"limit in the header":        answer(429, "", "RateLimit-Policy: \"user\";q=200;w=300"),
	} {
		modes(t, func(t *testing.T, passThrough bool) {
			t.Run(name, func(t *testing.T) {
				g := new(scriptedGate)
				tr := &iamhttp.Transport{Base: script(first), Gate: g, PassThrough: passThrough, MaxAttempts: 1}
				resp, err := tr.RoundTrip(newRequest(t, "GET", ""))
				assert.Equal(t, gate.Limit{Requests: 200, Per: 5 * time.Minute, Policy: "user"}, g.told[0].outcome.Limit)
				if passThrough {
					require.NoError(t, err)
					if name != "limit in the header" {
						assert.Equal(t, "APIG.0308", statusError(t, iamhttp.CheckResponse(resp)).ServiceCode, "the body must still be readable")
					}
				}
			})
		})
	}
}

// window is a service that admits at most limit requests in each fixed window of length
// per.
type window struct {
	mu         sync.Mutex
	limit      int
	per        time.Duration
	began      time.Time
	count      int
	sent, good int
	retryAfter bool
	last       time.Time
}

func (w *window) RoundTrip(req *http.Request) (*http.Response, error) {
	time.Sleep(100 * time.Millisecond)
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if now.Sub(w.began) >= w.per {
		w.began, w.count = now.Truncate(w.per), 0
	}
	w.sent++
	if w.count++; w.count <= w.limit {
		w.good++
		w.last = now
		return response(req, 200, http.NoBody, 0), nil
	}
	if w.retryAfter {
		left := w.began.Add(w.per).Sub(now)
		return answer(429, gatewayText, "Retry-After: "+strconv.Itoa(int(left/time.Second)+1))(req)
	}
	return answer(429, gatewayText)(req)
}

// Callers without a gate do not know when the window ends unless Retry-After says so. If
// their calls do not begin when a window does, they may take a third of a window longer.
func TestNoCallFailsAtALimitOf200InFiveMinutes(t *testing.T) {
	const limit, per = 200, 5 * time.Minute
	for _, tt := range []struct {
		calls int
		age   time.Duration // of the window when the calls begin
	}{{500, 0}, {500, time.Minute}, {500, 3 * time.Minute}, {500, 290 * time.Second}, {2000, 0}, {2000, time.Minute}} {
		for _, deadline := range []time.Duration{0, 15 * time.Minute} {
			for _, retryAfter := range []bool{false, true} {
				if deadline == 0 && retryAfter {
					continue // without a deadline, MaxWait is 2 minutes, and a call fails at once if Retry-After is longer
				}
				t.Run(fmt.Sprintf("%d calls, window %v old, deadline %v, Retry-After %v", tt.calls, tt.age, deadline, retryAfter), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w := &window{limit: limit, per: per, began: time.Now(), retryAfter: retryAfter}
						time.Sleep(tt.age)
						start := time.Now()
						assert.Empty(t, batch(t, &iamhttp.Transport{Base: w}, tt.calls, deadline))
						perSuccess, took := float64(w.sent)/float64(tt.calls), w.last.Sub(start)
						ideal := time.Duration((tt.calls-1)/limit)*per - tt.age
						t.Logf("%.3f requests per success, %.3f times the ideal duration", perSuccess, took.Seconds()/ideal.Seconds())
						assert.LessOrEqual(t, perSuccess, 1.15)
						most := ideal * 11 / 10
						if tt.age > 0 && !retryAfter {
							most = max(most, ideal+per/3)
						}
						assert.LessOrEqual(t, took, most)
					})
				})
			}
		}
	}
}

// batch makes calls by 10 callers, with a deadline for each call unless it is 0. It returns
// the errors.
func batch(t *testing.T, tr *iamhttp.Transport, calls int, deadline time.Duration) (failed []error) {
	left := make(chan int, calls)
	for i := range calls {
		left <- i
	}
	close(left)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for range left {
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if deadline > 0 {
					ctx, cancel = context.WithTimeout(ctx, deadline)
				}
				resp, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
				if err == nil {
					resp.Body.Close()
				} else {
					mu.Lock()
					failed = append(failed, err)
					mu.Unlock()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	return failed
}

func TestStatedLimitDoesNotEndACallWithAGate(t *testing.T) {
	for name, tr := range map[string]*iamhttp.Transport{
		"limit resets after the deadline":             {Gate: new(gate.Adaptive)},
		"limit resets after MaxWait and the deadline": {Gate: new(gate.Adaptive), MaxWait: 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				throttled := answer(429, "", "X-Ratelimit-Limit: 100", "X-Ratelimit-Reset: 600")
				tr.Base = script(throttled, throttled, throttled, answer(200, ""), answer(200, ""))
				for range 2 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					resp, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
					require.NoError(t, err)
					resp.Body.Close()
				}
			})
		})
	}
}

func TestTenThousandBogusLimitsNeverShortenTheWaitOrEndTheCall(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	word := func() string {
		if r.IntN(3) == 0 {
			return lie(r)
		}
		return []string{"", "-1", "0", "1", "60", "1e9", "99999999999999999999", "\"a\";r=0;t=-5", `"a";q=0;w=0`, `"a";r=0;t=999999999`, "60r/parsec", "0.5", "NaN", "1;2;3", `"`, ";", "9999999999"}[r.IntN(17)]
	}
	names := []string{"X-Retry-After", "X-Ratelimit-Retry-After", "X-Rate-Limit-Retry-After-Seconds", "Ratelimit", "Ratelimit-Policy", "X-Ratelimit-Reset", "X-Rate-Limit-Reset", "X-Ratelimit-Limit", "X-Ratelimit-Remaining"}
	n := 10_000
	if testing.Short() {
		n = 1_000
	}
	for range n {
		h := http.Header{}
		for range 1 + r.IntN(3) {
			h.Set(names[r.IntN(len(names))], word())
		}
		body := fmt.Sprintf(`{"error_msg":"limit:%s,time:%s %s"}`, word(), word(), []string{"minute", "day", "", "parsec"}[r.IntN(4)])
		if r.IntN(3) == 0 {
			body = fmt.Sprintf(retryInfo, word()+[]string{"s", ""}[r.IntN(2)])
		}
		deadline, gated := time.Duration(0), r.IntN(2) == 0
		if r.IntN(2) == 0 {
			deadline = time.Duration(2+r.IntN(3600)) * time.Second
		}
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := t.Context(), context.CancelFunc(func() {})
			if deadline > 0 {
				ctx, cancel = context.WithTimeout(ctx, deadline)
			}
			defer cancel()
			base := script(func(req *http.Request) (*http.Response, error) {
				resp, err := answer(429, body)(req)
				resp.Header = h
				return resp, err
			}, answer(200, ""))
			tr, least := &iamhttp.Transport{Base: base, Backoff: constant(time.Second), MaxAttempts: 2}, time.Second
			if gated {
				tr.Gate, least = new(gate.Adaptive), 250*time.Millisecond
			}
			start := time.Now()
			resp, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
			require.NoError(t, err, "the call failed; header %v, body %s", h, body)
			resp.Body.Close()
			took := time.Since(start)
			most := 2*time.Minute + time.Second
			if deadline > 0 {
				most = deadline
			}
			require.True(t, took >= least && took <= most, "the call took %v, want %v to %v; header %v, body %s", took, least, most, h, body)
		})
	}
}
