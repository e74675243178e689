package iamhttp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/hashicorp/go-retryablehttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/iamtest"
)

// retryable returns a go-retryablehttp client over base that follows tr's rules.
func retryable(tr *iamhttp.Transport, base http.RoundTripper) *retryablehttp.Client {
	c := retryablehttp.NewClient()
	c.Logger = nil
	c.HTTPClient = &http.Client{Transport: base}
	tr.ConfigureRetryable(c)
	return c
}

func TestRetryableClientFollowsTheTransportsRules(t *testing.T) {
	for name, tt := range map[string]struct {
		tr    iamhttp.Transport
		steps []step
		sends int          // the expected number of attempts
		code  iamhttp.Code // the expected code of the error; 0 if the call succeeds
		stop  iamhttp.StopReason
	}{
		"429 is retried":                  {iamhttp.Transport{}, []step{answer(429, ""), answer(429, ""), answer(200, "")}, 3, 0, 0},
		"408 is retried":                  {iamhttp.Transport{}, []step{answer(408, ""), answer(200, "")}, 2, 0, 0},
		"503 is not retried":              {iamhttp.Transport{}, []step{answer(503, "")}, 1, 503, iamhttp.StopNotRetryable},
		"500 is not retried":              {iamhttp.Transport{}, []step{answer(500, "")}, 1, 500, iamhttp.StopNotRetryable},
		"404 is an error":                 {iamhttp.Transport{}, []step{answer(404, "")}, 1, 404, iamhttp.StopNotRetryable},
		"404 is a response if expected":   {iamhttp.Transport{Expected: []iamhttp.Code{404}}, []step{answer(404, "")}, 1, 0, 0},
		"503 is retried if listed":        {iamhttp.Transport{AlsoRetry: []iamhttp.Code{503}}, []step{answer(503, ""), answer(200, "")}, 2, 0, 0},
		"MaxAttempts 3":                   {iamhttp.Transport{MaxAttempts: 3}, []step{answer(429, "")}, 3, 429, iamhttp.StopAttempts},
		"8 attempts by default":           {iamhttp.Transport{}, []step{answer(429, "")}, 8, 429, iamhttp.StopAttempts},
		"MaxAttempts 1":                   {iamhttp.Transport{MaxAttempts: 1}, []step{answer(429, "")}, 1, 429, iamhttp.StopAttempts},
		"Retry-After longer than MaxWait": {iamhttp.Transport{}, []step{answer(429, "", "Retry-After: 3600")}, 1, 429, iamhttp.StopWaitTooLong},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := script(tt.steps...)
				resp, err := retryable(&tt.tr, base).Get("https://iam.example/v3/users?secret=1")
				assert.Equal(t, tt.sends, base.count())
				if tt.code == 0 {
					require.NoError(t, err)
					resp.Body.Close()
					return
				}
				require.ErrorIs(t, err, tt.code)
				assert.Nil(t, resp, "if there is an error, there must not be a response")
				e := statusError(t, err)
				assert.Equal(t, tt.stop, e.Stop)
				assert.Equal(t, tt.sends, e.Attempts)
				assert.Equal(t, "https://iam.example/v3/users", e.URL)
				for i, s := range base.sent {
					assert.Equal(t, i, s.resend)
				}
			})
		})
	}
}

func TestRetryableClientUsesTheTransportsSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := script(answer(429, ""), answer(429, "", "Retry-After: 20"), answer(429, ""), answer(200, ""))
		resp, err := retryable(&iamhttp.Transport{Backoff: func() backoff.BackOff {
			return &intervals{list: []time.Duration{time.Second, 2 * time.Second, 5 * time.Second}}
		}}, base).Get("https://iam.example/")
		require.NoError(t, err)
		resp.Body.Close()
		gaps := base.gaps()
		assert.Equal(t, time.Second, gaps[0])
		assert.GreaterOrEqual(t, gaps[1], 20*time.Second)
		assert.Less(t, gaps[1], 22*time.Second)
		assert.Equal(t, 5*time.Second, gaps[2])
	})
}

func TestRetryableClientStopsBeforeTheDeadline(t *testing.T) {
	for _, retryAfter := range []string{"60", ""} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			req, err := retryablehttp.NewRequestWithContext(ctx, "POST", "https://iam.example/", []byte("x"))
			require.NoError(t, err)
			base := script(answer(429, "", "Retry-After: "+retryAfter))
			start := time.Now()
			_, err = retryable(&iamhttp.Transport{Backoff: constant(time.Minute)}, base).Do(req)
			assert.Equal(t, iamhttp.StopDeadline, statusError(t, err).Stop)
			assert.Zero(t, time.Since(start))
		})
	}
}

func TestRetryableClientStopsIfTheNextResponseWouldComeAfterTheDeadline(t *testing.T) {
	for name, first := range map[string][]step{
		"after the first attempt":  {slowly(answer(429, "", "Retry-After: 9"))},
		"after the second attempt": {slowly(answer(429, "", "Retry-After: 1")), slowly(answer(429, "", "Retry-After: 6"))},
	} {
		for _, reused := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
				defer cancel()
				req, err := retryablehttp.NewRequestWithContext(ctx, "GET", "https://iam.example/", nil)
				require.NoError(t, err)
				if reused {
					_, err = retryable(&iamhttp.Transport{}, script(answer(404, ""))).Do(req)
					require.ErrorIs(t, err, iamhttp.ErrNotFound)
				}
				base := script(first...)
				start := time.Now()
				_, err = retryable(&iamhttp.Transport{Backoff: zero}, base).Do(req)
				e := statusError(t, err)
				assert.Equal(t, iamhttp.StopDeadline, e.Stop, name)
				assert.Equal(t, len(first), e.Attempts, name)
				assert.Less(t, time.Since(start), 10*time.Second, name)
			})
		}
	}
}

// Mocks and caches sometimes return the same response more than once.
func TestRetryableClientJudgesEachAttemptEvenIfTheResponseIsTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		resp := response(nil, 429, http.NoBody, 0, "Retry-After: 1")
		c := retryable(&iamhttp.Transport{}, answers(resp))
		start := time.Now()
		_, err := c.Get("https://iam.example/")
		e := statusError(t, err)
		assert.Equal(t, 8, e.Attempts)
		assert.Equal(t, iamhttp.StopAttempts, e.Stop)
		assert.GreaterOrEqual(t, time.Since(start), 7*time.Second)
	})
}

func TestRetryableClientRecordsItsFailures(t *testing.T) {
	ctx, rec := iamhttp.WithRecorder(t.Context())
	c := retryable(&iamhttp.Transport{Backoff: zero}, script(answer(429, ""), answer(404, ""), answer(200, "")))
	send := func() error {
		req, err := retryablehttp.NewRequestWithContext(ctx, "GET", "https://iam.example/", nil)
		require.NoError(t, err)
		_, err = c.Do(req)
		return err
	}
	err := send()
	e, ok := rec.Last()
	require.True(t, ok)
	assert.Same(t, statusError(t, err), e)
	require.NoError(t, send())
	_, ok = rec.Last()
	assert.False(t, ok, "a success must clear the Recorder")
}

func TestPanicBelowARetryableClientClearsTheRecorder(t *testing.T) {
	panics := func(*http.Request) (*http.Response, error) { panic("x") }
	for name, steps := range map[string][]step{
		"in the first attempt": {answer(404, ""), panics},
		"in a retry":           {answer(404, ""), answer(429, ""), panics},
	} {
		t.Run(name, func(t *testing.T) {
			c := retryable(&iamhttp.Transport{Backoff: zero}, script(steps...))
			ctx, rec := iamhttp.WithRecorder(t.Context())
			req, err := retryablehttp.FromRequest(newRequest(t, "GET", "").WithContext(ctx))
			require.NoError(t, err)
			_, err = c.Do(req)
			require.ErrorIs(t, err, iamhttp.ErrNotFound)
			assert.PanicsWithValue(t, "x", func() { _, _ = c.Do(req) })
			sdk := errors.New("sdk: panicked")
			assert.Same(t, sdk, rec.Wrap(sdk), "Wrap must not add an earlier response's error")
		})
	}
}

// A program may have got the error from the Recorder in a hook, which runs before the client
// gives up.
func TestRetryableClientDoesNotChangeAnErrorThatTheRecorderHasHandedOut(t *testing.T) {
	for name, tt := range map[string]struct {
		steps  []step
		change func(*retryablehttp.Client)
		same   bool // whether the recorded error is also the returned one
	}{
		"a failure that is not retried": {[]step{answer(404, "x")}, nil, true},
		"RetryMax is used up":           {[]step{answer(429, "x")}, nil, false},
		"PrepareRetry is removed":       {[]step{answer(429, "x"), answer(404, "x")}, func(c *retryablehttp.Client) { c.PrepareRetry = nil }, true},
		"both hooks are removed":        {[]step{answer(429, "x"), answer(404, "x")}, func(c *retryablehttp.Client) { c.PrepareRetry, c.RequestLogHook = nil, nil }, false},
		"PrepareRetry fails": {[]step{answer(429, "x")}, func(c *retryablehttp.Client) {
			c.PrepareRetry = func(*http.Request) error { return errors.New("no signature") }
		}, true},
		"a CheckRetry that wraps ours, and both hooks are removed": {[]step{answer(429, "x"), answer(404, "x")}, func(c *retryablehttp.Client) {
			c.PrepareRetry, c.RequestLogHook = nil, nil
			ours := c.CheckRetry
			c.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
				again, err := ours(ctx, resp, err)
				if err != nil {
					err = fmt.Errorf("checked: %w", err)
				}
				return again, err
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, rec := iamhttp.WithRecorder(t.Context())
				base := script(tt.steps...)
				c := retryable(&iamhttp.Transport{MaxAttempts: 3}, base)
				if tt.change != nil {
					tt.change(c)
				}
				var held *iamhttp.StatusError
				var before iamhttp.StatusError
				c.ResponseLogHook = func(_ retryablehttp.Logger, resp *http.Response) {
					held, _ = rec.Last()
					before = withoutContent(held)
					resp.Header.Set("Server", "changed")
				}
				req, err := retryablehttp.NewRequestWithContext(ctx, "GET", "https://iam.example/", nil)
				require.NoError(t, err)
				_, err = c.Do(req)
				assert.Equal(t, before, withoutContent(held))
				assert.Empty(t, held.Header().Get("Server"))
				e := statusError(t, err)
				assert.Equal(t, 1, strings.Count(err.Error(), "iamhttp: "), "%v", err)
				assert.Equal(t, tt.same, e == held)
				assert.Equal(t, base.count(), e.Attempts)
				last, ok := rec.Last()
				require.True(t, ok)
				assert.Same(t, e, last, "the Recorder must hold the final error")
			})
		})
	}
}

func TestRetryableClientReportsACanceledContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	req, err := retryablehttp.NewRequestWithContext(ctx, "GET", "https://iam.example/", nil)
	require.NoError(t, err)
	_, err = retryable(&iamhttp.Transport{}, script(func(req *http.Request) (*http.Response, error) {
		cancel()
		return answer(429, "")(req)
	})).Do(req)
	assert.Equal(t, iamhttp.StopCanceled, statusError(t, err).Stop)
	assert.ErrorIs(t, err, context.Canceled)
}

func TestRetryableClientNeverRetriesConnectionErrors(t *testing.T) {
	broken := errors.New("connection reset by peer")
	base := script(fail(broken))
	_, err := retryable(&iamhttp.Transport{RetryConnectionErrors: true}, base).Get("https://iam.example/")
	assert.ErrorIs(t, err, broken)
	assert.Equal(t, 1, base.count())
}

func TestRetryableClientReturnsAStatusErrorFromItsTransportUnchanged(t *testing.T) {
	below := iamhttp.NewStatusError(503, nil, nil)
	_, err := retryable(&iamhttp.Transport{}, script(fail(below))).Get("https://iam.example/")
	isURL := errors.As(err, new(*url.Error))
	assert.True(t, isURL)
	assert.Same(t, below, statusError(t, err))
}

func TestRetryableClientKeepsItsPrepareRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := script(answer(429, ""), answer(429, ""), answer(200, ""))
		c := retryablehttp.NewClient()
		c.Logger = nil
		c.HTTPClient = &http.Client{Transport: base}
		signed := 0
		c.PrepareRetry = func(req *http.Request) error {
			signed++
			assert.Equal(t, signed, iamhttp.ResendCount(req.Context()))
			req.Header.Set("Signature", fmt.Sprint(signed))
			return nil
		}
		(&iamhttp.Transport{}).ConfigureRetryable(c)
		resp, err := c.Get("https://iam.example/")
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, "2", base.sent[2].req.Header.Get("Signature"))
	})
}

func TestRetryableClientCountsAttemptsIfPrepareRetryIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := retryable(&iamhttp.Transport{}, script(answer(429, ""), answer(429, ""), answer(404, "")))
		c.PrepareRetry = func(*http.Request) error { return nil }
		_, err := c.Get("https://iam.example/")
		assert.Equal(t, 3, statusError(t, err).Attempts)
	})
}

// replacesContext returns a hook that gives each request a context from before the call.
func replacesContext(ctx context.Context) func(*http.Request) {
	return func(req *http.Request) { *req = *req.WithContext(context.WithValue(ctx, spanKey{}, "span")) }
}

type spanKey struct{}

func TestRetryableClientCountsAttemptsWhateverTheProgramsHooksDo(t *testing.T) {
	noPrepare, noLog := func(*http.Request) error { return nil }, func(retryablehttp.Logger, *http.Request, int) {}
	for name, tt := range map[string]struct {
		before, after func(context.Context, *retryablehttp.Client)
		counted       bool // whether the client can still count its attempts
	}{
		"no hooks": {nil, nil, true},
		"a PrepareRetry that replaces the context": {func(ctx context.Context, c *retryablehttp.Client) {
			c.PrepareRetry = func(req *http.Request) error { replacesContext(ctx)(req); return nil }
		}, nil, true},
		"a RequestLogHook that replaces the context": {func(ctx context.Context, c *retryablehttp.Client) {
			c.RequestLogHook = func(_ retryablehttp.Logger, req *http.Request, _ int) { replacesContext(ctx)(req) }
		}, nil, true},
		"both replace the context": {func(ctx context.Context, c *retryablehttp.Client) {
			c.PrepareRetry = func(req *http.Request) error { replacesContext(ctx)(req); return nil }
			c.RequestLogHook = func(_ retryablehttp.Logger, req *http.Request, _ int) { replacesContext(ctx)(req) }
		}, nil, true},
		"a later PrepareRetry":   {nil, func(_ context.Context, c *retryablehttp.Client) { c.PrepareRetry = noPrepare }, true},
		"a later RequestLogHook": {nil, func(_ context.Context, c *retryablehttp.Client) { c.RequestLogHook = noLog }, true},
		"a later PrepareRetry that replaces the context": {nil, func(ctx context.Context, c *retryablehttp.Client) {
			c.PrepareRetry = func(req *http.Request) error { replacesContext(ctx)(req); return nil }
		}, true},
		"a later PrepareRetry and a later RequestLogHook": {nil, func(_ context.Context, c *retryablehttp.Client) { c.PrepareRetry, c.RequestLogHook = noPrepare, noLog }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				base := script(answer(429, ""))
				c := retryablehttp.NewClient()
				c.Logger = nil
				c.HTTPClient = &http.Client{Transport: base}
				if tt.before != nil {
					tt.before(ctx, c)
				}
				(&iamhttp.Transport{Backoff: zero}).ConfigureRetryable(c)
				if tt.after != nil {
					tt.after(ctx, c)
				}
				req, err := retryablehttp.NewRequestWithContext(ctx, "GET", "https://iam.example/", nil)
				require.NoError(t, err)
				for range 2 { // the request is used again
					before := base.count()
					_, err = c.Do(req)
					sent := base.sent[before:]
					assert.Less(t, len(sent), 70, "from the ninth attempt on, the waits must be at least 1 s")
					if tt.counted {
						e := statusError(t, err)
						assert.Equal(t, len(sent), e.Attempts)
						assert.Equal(t, iamhttp.StopDeadline, e.Stop)
						if before == 0 || !strings.HasPrefix(name, "a later RequestLogHook") {
							for i, s := range sent {
								assert.Equal(t, i, s.resend)
							}
						}
					}
				}
			})
		})
	}
}

func TestRetryableClientMakes8AttemptsInEachCallWithOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := script(answer(429, ""))
		c := retryable(&iamhttp.Transport{Backoff: zero}, base)
		c.RequestLogHook = func(retryablehttp.Logger, *http.Request, int) {}
		req, err := retryablehttp.NewRequest("GET", "https://iam.example/", nil)
		require.NoError(t, err)
		for i := range 3 {
			_, err = c.Do(req)
			assert.Equal(t, 8, statusError(t, err).Attempts)
			assert.Equal(t, 8*(i+1), base.count())
		}
	})
}

func TestRetryableClientObeysWithMaxAttemptsUpToRetryMax(t *testing.T) {
	for n, want := range map[int]int{1: 1, 2: 2, 3: 3, 4: 3} {
		synctest.Test(t, func(t *testing.T) {
			base := script(answer(429, ""))
			c := retryable(&iamhttp.Transport{MaxAttempts: 3}, base)
			req, err := retryablehttp.NewRequestWithContext(iamhttp.WithMaxAttempts(t.Context(), n), "GET", "https://iam.example/", nil)
			require.NoError(t, err)
			_, err = c.Do(req)
			var e *iamhttp.StatusError
			require.ErrorAs(t, err, &e)
			assert.Equal(t, want, e.Attempts)
			assert.Equal(t, iamhttp.StopAttempts, e.Stop)
			assert.Len(t, base.sent, want)
		})
	}
}

func TestRetryableClientRetryMaxOverridesMaxAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := script(answer(429, ""))
		c := retryable(&iamhttp.Transport{MaxAttempts: 2}, base)
		c.RetryMax = 4
		_, err := c.Get("https://iam.example/")
		e := statusError(t, err)
		assert.Equal(t, 5, base.count())
		assert.Equal(t, 5, e.Attempts)
		assert.Equal(t, iamhttp.StopAttempts, e.Stop)
	})
}

func TestRetryableClientWithReplacedCheckRetryUsesItsOwnWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := script(answer(503, ""), answer(503, "", "Retry-After: 7"), answer(503, ""), answer(200, ""))
		c := retryable(&iamhttp.Transport{}, base)
		c.CheckRetry = retryablehttp.DefaultRetryPolicy
		resp, err := c.Get("https://iam.example/")
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, []time.Duration{c.RetryWaitMin, 7 * time.Second, 4 * c.RetryWaitMin}, base.gaps(), "the waits must be the same as without ConfigureRetryable")
	})
}

// The wrapper calls our CheckRetry for every response, but retries a 503 whatever our
// CheckRetry returns.
func TestRetryableClientWithWrappedCheckRetryWaitsBeforeARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := script(answer(503, "down"))
		c := retryable(&iamhttp.Transport{MaxAttempts: 3}, base)
		ours := c.CheckRetry
		c.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
			again, err := ours(ctx, resp, err)
			if resp != nil && resp.StatusCode == 503 {
				return true, nil
			}
			return again, err
		}
		_, err := c.Get("https://iam.example/")
		e := statusError(t, err)
		assert.Equal(t, []time.Duration{c.RetryWaitMin, 2 * c.RetryWaitMin}, base.gaps())
		assert.Equal(t, iamhttp.StopAttempts, e.Stop)
		assert.Equal(t, 3, e.Attempts)
		assert.Equal(t, "down", string(e.Body()))
	})
}

func TestRetryableClientWithReplacedBackoffKeepsTheOtherRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := script(answer(429, "", "Retry-After: 60"), answer(404, `{"message":"who?"}`))
		c := retryable(&iamhttp.Transport{}, base)
		c.Backoff = retryablehttp.LinearJitterBackoff
		c.RetryWaitMax = c.RetryWaitMin
		_, err := c.Get("https://iam.example/")
		e := statusError(t, err)
		assert.Equal(t, []time.Duration{c.RetryWaitMin}, base.gaps())
		assert.Equal(t, 2, e.Attempts)
		assert.Equal(t, "who?", e.Message)
	})
}

// Without an ErrorHandler, the client closes the body and wraps the error in an error of
// its own.
func TestRetryableClientWithoutErrorHandlerStillReturnsTheTypedError(t *testing.T) {
	body := watch(strings.NewReader(`{"message":"who?"}`))
	c := retryable(&iamhttp.Transport{}, script(answerWith(404, body)))
	c.ErrorHandler = nil
	_, err := c.Get("https://iam.example/")
	e := statusError(t, err)
	assert.Equal(t, "who?", e.Message)
	assert.Equal(t, iamhttp.StopNotRetryable, e.Stop)
	assert.Equal(t, 1, e.Attempts)
	_, closes := body.counts()
	assert.Positive(t, closes)
}

// readWhole returns a ResponseLogHook that reads each body before it calls then. For each
// body that the hook has read so far, read holds the status code, the text and the error.
func readWhole(then func(*http.Response)) (hook retryablehttp.ResponseLogHook, read *[]string) {
	read = new([]string)
	return func(_ retryablehttp.Logger, resp *http.Response) {
		data, err := io.ReadAll(resp.Body)
		*read = append(*read, fmt.Sprint(resp.StatusCode, " ", string(data), " ", err))
		if then != nil {
			then(resp)
		}
	}, read
}

func TestResponseLogHookOfARetryableClientCanReadTheBody(t *testing.T) {
	const slow, unknown = `{"message":"slow down","request_id":"r1"}`, `{"message":"who?","error_code":"IAM.0004","request_id":"r2"}`
	for name, then := range map[string]func(*http.Response){
		"hook leaves the body open": nil,
		"hook closes the body":      func(resp *http.Response) { resp.Body.Close() },
		"hook replaces the body":    func(resp *http.Response) { resp.Body = io.NopCloser(strings.NewReader("other")) },
		"hook removes the body":     func(resp *http.Response) { resp.Body = http.NoBody },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := script(answer(429, slow, "Retry-After: 20"), answer(404, unknown))
				c := retryable(&iamhttp.Transport{Backoff: zero}, base)
				var read *[]string
				c.ResponseLogHook, read = readWhole(then)
				resp, err := c.Get("https://iam.example/v3/users")
				assert.Nil(t, resp)
				e := statusError(t, err)
				assert.Equal(t, []string{"429 " + slow + " <nil>", "404 " + unknown + " <nil>"}, *read)
				assert.Equal(t, []time.Duration{20 * time.Second}, base.gaps(), "the wait must equal Retry-After")
				assert.Equal(t, `iamhttp: 404 NotFound: "who?" (IAM.0004, request r2, sent 2 times: not retryable)`, err.Error())
				assert.Equal(t, unknown, string(e.Body()))
			})
		})
	}
	t.Run("attempts are used up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := retryable(&iamhttp.Transport{MaxAttempts: 2}, script(answer(429, slow)))
			var read *[]string
			c.ResponseLogHook, read = readWhole(func(resp *http.Response) { resp.Body.Close() })
			_, err := c.Get("https://iam.example/v3/users")
			assert.EqualError(t, err, `iamhttp: 429 TooManyRequests: "slow down" (request r1, sent 2 times: attempts used up)`)
			assert.Len(t, *read, 2)
		})
	})
	t.Run("hook replaces the body of an expected response", func(t *testing.T) {
		c := retryable(&iamhttp.Transport{Expected: []iamhttp.Code{404}}, script(answer(404, unknown)))
		var read *[]string
		c.ResponseLogHook, read = readWhole(func(resp *http.Response) { resp.Body = io.NopCloser(strings.NewReader("other")) })
		resp, err := c.Get("https://iam.example/v3/users")
		require.NoError(t, err)
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, "other", string(data), "the caller must get the body that the hook has set")
		assert.Len(t, *read, 1)
	})
	t.Run("hook can read at most 64 KiB of a failure", func(t *testing.T) {
		c := retryable(&iamhttp.Transport{}, script(answerWith(404, watch(zeros{}))))
		var n int64
		var err error
		c.ResponseLogHook = func(_ retryablehttp.Logger, resp *http.Response) { n, err = io.Copy(io.Discard, resp.Body) }
		_, got := c.Get("https://iam.example/v3/users")
		assert.True(t, statusError(t, got).Truncated)
		assert.EqualValues(t, 64<<10, n)
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	})
}

// For a response that is not retried, the client calls CheckRetry before and after the
// response handler.
func TestResponseHandlerOfARetryableClientGetsOnlyTheFinalResponse(t *testing.T) {
	const unknown = `{"message":"who?","error_code":"IAM.0004","request_id":"r2"}`
	const text = `iamhttp: 404 NotFound: "who?" (IAM.0004, request r2, sent 2 times: not retryable)`
	own := errors.New("handler: no user")
	read := func(resp *http.Response) error {
		data, err := io.ReadAll(resp.Body)
		if string(data) != unknown {
			return fmt.Errorf("read %q: %w", data, err)
		}
		return err
	}
	for name, tt := range map[string]struct {
		handler retryablehttp.ResponseHandlerFunc
		text    string
		is      error
	}{
		"handler reads the body":               {read, text, nil},
		"handler reads the body and closes it": {func(resp *http.Response) error { defer resp.Body.Close(); return read(resp) }, text, nil},
		"handler does nothing":                 {func(*http.Response) error { return nil }, text, nil},
		"handler replaces the body":            {func(resp *http.Response) error { resp.Body = http.NoBody; return nil }, text, nil},
		"handler fails":                        {func(*http.Response) error { return own }, text + ": handler: no user", own},
		"handler reads the body and fails":     {func(resp *http.Response) error { return errors.Join(read(resp), own) }, text + ": handler: no user", own},
		"handler calls CheckResponse":          {iamhttp.CheckResponse, text + `: iamhttp: 404 NotFound: "who?" (IAM.0004, request r2)`, iamhttp.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := script(answer(429, ""), answer(404, unknown))
				req, err := retryablehttp.NewRequest("GET", "https://iam.example/v3/users", nil)
				require.NoError(t, err)
				handled := 0
				req.SetResponseHandler(func(resp *http.Response) error {
					handled++
					return tt.handler(resp)
				})
				resp, err := retryable(&iamhttp.Transport{}, base).Do(req)
				assert.Nil(t, resp)
				assert.EqualError(t, err, tt.text)
				if tt.is != nil {
					assert.ErrorIs(t, err, tt.is)
				}
				e := statusError(t, err)
				assert.Equal(t, iamhttp.StatusError{
					Code: 404, ServiceCode: "IAM.0004", Message: "who?", RequestID: "r2", Method: "GET", URL: "https://iam.example/v3/users",
					Attempts: 2, Stop: iamhttp.StopNotRetryable,
				}, withoutContent(e))
				assert.Equal(t, unknown, string(e.Body()))
				assert.Equal(t, 1, handled, "the handler must not be called for the 429, which is retried")
				assert.Equal(t, 2, base.count())
			})
		})
	}
}

func TestResponseHandlerOfARetryableClientCanSendAnotherRequest(t *testing.T) {
	base := script(answer(404, `{"message":"who?"}`), answer(409, `{"message":"exists"}`))
	c := retryable(&iamhttp.Transport{}, base)
	req, err := retryablehttp.NewRequest("GET", "https://iam.example/v3/users", nil)
	require.NoError(t, err)
	var inner error
	req.SetResponseHandler(func(resp *http.Response) error {
		more, err := retryablehttp.NewRequestWithContext(resp.Request.Context(), "PUT", "https://iam.example/v3/users/1", nil)
		require.NoError(t, err)
		_, inner = c.Do(more)
		return nil
	})
	_, err = c.Do(req)
	assert.EqualError(t, err, `iamhttp: 404 NotFound: "who?" (sent once: not retryable)`)
	assert.EqualError(t, inner, `iamhttp: 409 Conflict: "exists" (sent once: not retryable)`)
}

// RoundTrippers in tests often leave Response.Request unset.
func TestRetryableClientAcceptsResponsesWithoutARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alone := func(s step) step {
			return func(req *http.Request) (*http.Response, error) {
				resp, err := s(req)
				resp.Request = nil
				return resp, err
			}
		}
		base := script(alone(answer(429, "", "Retry-After: 5")), alone(answer(404, `{"message":"who?"}`)))
		c := retryable(&iamhttp.Transport{Backoff: zero}, base)
		c.ResponseLogHook = func(_ retryablehttp.Logger, resp *http.Response) {
			if resp.Request != nil {
				_ = resp.Request.URL.Path + resp.Request.Header.Get("X")
			}
		}
		req, err := retryablehttp.NewRequest("GET", "https://iam.example/v3/users", nil)
		require.NoError(t, err)
		req.SetResponseHandler(func(resp *http.Response) error {
			_, err := io.ReadAll(resp.Body)
			return err
		})
		_, err = c.Do(req)
		assert.EqualError(t, err, `iamhttp: 404 NotFound: "who?" (sent 2 times: not retryable)`)
		assert.Equal(t, []time.Duration{5 * time.Second}, base.gaps())
	})
}

func TestRetryableClientReturnsNoResponseWithAnErrorAndClosesBodies(t *testing.T) {
	own := errors.New("own")
	handle := func(_ *retryablehttp.Client, req *retryablehttp.Request) {
		req.SetResponseHandler(func(*http.Response) error { return own })
	}
	policy := func(again bool, err error) func(*retryablehttp.Client, *retryablehttp.Request) {
		return func(c *retryablehttp.Client, _ *retryablehttp.Request) {
			c.CheckRetry = func(context.Context, *http.Response, error) (bool, error) { return again, err }
		}
	}
	for name, tt := range map[string]struct {
		code  int
		setUp func(*retryablehttp.Client, *retryablehttp.Request)
		sent  int
		text  string
	}{
		"another CheckRetry returns false and an error for a failure": {404, policy(false, own), 1, "own"},
		"another CheckRetry returns false and an error for a success": {200, policy(false, own), 1, "own"},
		"another CheckRetry returns true and an error for a failure":  {503, policy(true, own), 3, "own"},
		"another CheckRetry returns true for a failure":               {503, policy(true, nil), 3, `iamhttp: 503 ServiceUnavailable: "m" (sent 3 times: attempts used up)`},
		"another CheckRetry returns true for a success":               {200, policy(true, nil), 3, `iamhttp: 200 OK: "m" (sent 3 times: attempts used up)`},
		"ErrorPropagatedRetryPolicy of go-retryablehttp": {500, func(c *retryablehttp.Client, _ *retryablehttp.Request) {
			c.CheckRetry = retryablehttp.ErrorPropagatedRetryPolicy
		}, 3, "unexpected HTTP status 500 Internal Server Error"},
		"the response handler of a success fails":        {200, handle, 1, "own"},
		"the response handler of an expected code fails": {418, handle, 1, "own"},
		"the response handler of a failure fails":        {404, handle, 1, `iamhttp: 404 NotFound: "m" (sent once: not retryable): own`},
		"the response handler fails, and another CheckRetry returns true": {200, func(c *retryablehttp.Client, req *retryablehttp.Request) {
			c.CheckRetry = retryablehttp.DefaultRetryPolicy
			handle(c, req)
		}, 3, "own"},
		"PrepareRetry fails": {429, func(c *retryablehttp.Client, _ *retryablehttp.Request) {
			c.PrepareRetry = func(*http.Request) error { return own }
		}, 1, `iamhttp: 429 TooManyRequests: "m" (sent once): own`},
		"PrepareRetry fails, and another CheckRetry returned true": {503, func(c *retryablehttp.Client, _ *retryablehttp.Request) {
			c.CheckRetry = retryablehttp.DefaultRetryPolicy
			c.PrepareRetry = func(*http.Request) error { return own }
		}, 1, "own"},
		"a redirect fails": {302, func(c *retryablehttp.Client, _ *retryablehttp.Request) {
			c.HTTPClient.CheckRedirect = func(*http.Request, []*http.Request) error { return own }
		}, 1, `Get "/else": own`},
		"a redirect fails, and another CheckRetry returns true": {302, func(c *retryablehttp.Client, _ *retryablehttp.Request) {
			c.CheckRetry = retryablehttp.ErrorPropagatedRetryPolicy
			c.HTTPClient.CheckRedirect = func(*http.Request, []*http.Request) error { return own }
		}, 3, `Get "/else": own`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var bodies []*watchedBody
				base := script(func(req *http.Request) (*http.Response, error) {
					b := watch(strings.NewReader(`{"message":"m"}`))
					bodies = append(bodies, b)
					return response(req, tt.code, b, -1, "Location: /else"), nil
				})
				c := retryable(&iamhttp.Transport{MaxAttempts: 3, Expected: []iamhttp.Code{418}}, base)
				req, err := retryablehttp.NewRequest("GET", "https://iam.example/", nil)
				require.NoError(t, err)
				tt.setUp(c, req)
				resp, err := c.Do(req)
				assert.Nil(t, resp)
				assert.EqualError(t, err, tt.text)
				if strings.HasSuffix(tt.text, "own") {
					assert.ErrorIs(t, err, own)
				}
				assert.Len(t, bodies, tt.sent)
				for _, b := range bodies {
					_, closes := b.counts()
					assert.Positive(t, closes)
				}
			})
		})
	}
}

func TestRetryableClientWithAnotherPolicyLeavesNoConnectionOpen(t *testing.T) {
	var open atomic.Int32
	srv := httptest.NewUnstartedServer(iamtest.Page(500))
	srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	srv.Start()
	defer srv.Close()
	c := retryable(&iamhttp.Transport{MaxAttempts: 2}, srv.Client().Transport)
	c.CheckRetry, c.RetryWaitMin = retryablehttp.ErrorPropagatedRetryPolicy, 0
	for range 5 {
		_, err := c.Get(srv.URL)
		assert.EqualError(t, err, "unexpected HTTP status 500 Internal Server Error")
	}
	assert.Eventually(t, func() bool { return open.Load() == 0 }, 5*time.Second, time.Millisecond)
}

func TestStalledBodyDelaysARetryableClientOnlyIfItIsTheFinalOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := script(answerWith(429, stalling("x"), "Retry-After: 20"), answerWith(404, stalling(`{"message":"who?"}`)))
		start := time.Now()
		_, err := retryable(&iamhttp.Transport{Backoff: zero}, base).Get("https://iam.example/")
		assert.Equal(t, 25*time.Second, time.Since(start), "the time that is spent reading the first body must count as part of the wait")
		e := statusError(t, err)
		assert.Equal(t, "who?", e.Message)
		assert.True(t, e.Truncated)
	})
}

// In Go 1.26, net/http cannot close such a body, and its connection still counts toward
// MaxConnsPerHost.
func TestStalledGzipBodyDoesNotBlockARetryableClientWithOneConnectionPerHost(t *testing.T) {
	for name, tt := range map[string]struct {
		limit int
		wrap  func(http.RoundTripper) http.RoundTripper
		sends bool // whether the retry must be sent in Go 1.26, too
	}{
		"one connection":            {1, func(rt http.RoundTripper) http.RoundTripper { return rt }, false},
		"any number of connections": {0, func(rt http.RoundTripper) http.RoundTripper { return rt }, true},
		"an unknown number":         {1, func(rt http.RoundTripper) http.RoundTripper { return opaque{rt} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := rawServer(t, func(n int, c net.Conn, r *bufio.Reader) {
				_, _ = http.ReadRequest(r)
				if n == 1 {
					fmt.Fprint(c, "HTTP/1.1 429 x\r\nContent-Encoding: gzip\r\nContent-Length: 100\r\n\r\n\x1f\x8b\x08")
				} else {
					fmt.Fprint(c, "HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n")
				}
				_, _ = r.ReadByte() // returns when the client closes the connection
			})
			base := newBase(t)
			base.MaxConnsPerHost = tt.limit
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			req, err := retryablehttp.NewRequestWithContext(ctx, "GET", url, nil)
			require.NoError(t, err)
			_, err = retryable(&iamhttp.Transport{Backoff: constant(200 * time.Millisecond)}, tt.wrap(base)).Do(req)
			e := statusError(t, err)
			assert.NoError(t, ctx.Err(), "the call must end before the deadline")
			if tt.sends || !strings.HasPrefix(runtime.Version(), "go1.26") {
				assert.Equal(t, iamhttp.ErrNotFound, e.Code)
				return
			}
			assert.Equal(t, iamhttp.ErrTooManyRequests, e.Code)
			assert.Equal(t, iamhttp.StopWaitTooLong, e.Stop)
			assert.ErrorContains(t, e.Cause, "cannot be freed")
		})
	}
}

// After a call, the Request keeps the last attempt's context.
func TestReusedRetryableRequestCountsItsAttemptsFromZero(t *testing.T) {
	for name, derive := range map[string]func(*retryablehttp.Request) *retryablehttp.Request{
		"the same Request": func(req *retryablehttp.Request) *retryablehttp.Request { return req },
		"the Request with a derived context": func(req *retryablehttp.Request) *retryablehttp.Request {
			return req.WithContext(context.WithValue(req.Context(), t, true))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := script(answer(429, ""), answer(429, ""), answer(200, ""), answer(429, ""), answer(429, ""), answer(404, ""))
				c := retryablehttp.NewClient()
				c.Logger, c.HTTPClient = nil, &http.Client{Transport: base}
				var logged []int
				c.RequestLogHook = func(_ retryablehttp.Logger, req *http.Request, retry int) {
					logged = append(logged, retry)
					assert.Equal(t, retry, iamhttp.ResendCount(req.Context()))
				}
				(&iamhttp.Transport{Backoff: func() backoff.BackOff {
					return &intervals{list: []time.Duration{time.Second, 2 * time.Second, 5 * time.Second}}
				}}).ConfigureRetryable(c)
				req, err := retryablehttp.NewRequest("PUT", "https://iam.example/", []byte("x"))
				require.NoError(t, err)
				resp, err := c.Do(req)
				require.NoError(t, err)
				resp.Body.Close()
				assert.Equal(t, 2, iamhttp.ResendCount(resp.Request.Context()))
				_, err = c.Do(derive(req))
				assert.Equal(t, 3, statusError(t, err).Attempts)
				assert.Equal(t, []int{0, 1, 2, 0, 1, 2}, logged)
				for i, s := range base.sent {
					assert.Equal(t, i%3, s.resend)
					assert.Equal(t, "x", s.body)
				}
				gaps := base.gaps()
				assert.Equal(t, []time.Duration{time.Second, 2 * time.Second}, gaps[3:])
			})
		})
	}
}

func TestRetryableClientResendsTheBodyOverARealConnection(t *testing.T) {
	service := new(iamtest.Server)
	service.Next(iamtest.Page(429), iamtest.Page(429), iamtest.Keystone(409, "exists").With("X-Openstack-Request-Id", "req-1"))
	srv := httptest.NewServer(service)
	defer srv.Close()
	_, err := retryable(&iamhttp.Transport{Backoff: zero}, srv.Client().Transport).Post(srv.URL, "text/plain", []byte("payload"))
	require.ErrorIs(t, err, iamhttp.ErrConflict)
	assert.EqualError(t, err, `iamhttp: 409 Conflict: "exists" (request req-1, sent 3 times: not retryable)`)
	service.AssertBodies(t, "payload", "payload", "payload")
}

// To retry after the request to a redirect's target has failed, the client resends the
// first request, not the request that failed.
func TestRetryableClientRetriesAfterARedirectOnlyIfTheFirstRequestMayBeResent(t *testing.T) {
	for _, tt := range []struct {
		method, key    string
		redirect, code int
		sent           []string
	}{
		{"POST", "", 303, 429, []string{"POST /v3/users", "GET /v3/done"}},
		{"POST", "", 302, 503, []string{"POST /v3/users", "GET /v3/done"}},
		{"POST", "once", 303, 503, []string{"POST /v3/users", "GET /v3/done", "POST /v3/users", "GET /v3/done"}},
		{"PUT", "", 303, 429, []string{"PUT /v3/users", "GET /v3/done", "PUT /v3/users", "GET /v3/done"}},
		{"GET", "", 302, 503, []string{"GET /v3/users", "GET /v3/done", "GET /v3/users", "GET /v3/done"}},
		{"POST", "", 307, 429, []string{"POST /v3/users", "POST /v3/done", "POST /v3/users", "POST /v3/done"}},
		{"POST", "", 307, 503, []string{"POST /v3/users", "POST /v3/done"}},
	} {
		t.Run(fmt.Sprint(tt.method, tt.key, " ", tt.redirect, " ", tt.code), func(t *testing.T) {
			var sent []string
			base := roundTripper(func(req *http.Request) (*http.Response, error) {
				sent = append(sent, req.Method+" "+req.URL.Path)
				if req.URL.Path == "/v3/users" {
					return response(req, tt.redirect, http.NoBody, 0, "Location: /v3/done"), nil
				}
				return response(req, tt.code, http.NoBody, 0), nil
			})
			c := retryable(&iamhttp.Transport{Backoff: zero, MaxAttempts: 2, AlsoRetry: []iamhttp.Code{503}}, base)
			req, err := retryablehttp.NewRequest(tt.method, "https://iam.example/v3/users", nil)
			require.NoError(t, err)
			if tt.key != "" {
				req.Header.Set("Idempotency-Key", tt.key)
			}
			_, err = c.Do(req)
			e := statusError(t, err)
			assert.Equal(t, tt.sent, sent)
			assert.Equal(t, iamhttp.Code(tt.code), e.Code)
			assert.Equal(t, len(tt.sent) < 4, e.Stop == iamhttp.StopNotRetryable, e.Stop)
		})
	}
}

// go-retryablehttp passes to its hooks what http.Client.Do returned. For a redirect that
// fails, Do returns both a response and an error.
func TestRetryableHooksLeaveTheClientsErrorsUnchanged(t *testing.T) {
	c := retryablehttp.NewClient()
	new(iamhttp.Transport).ConfigureRetryable(c)
	resp, broken := response(nil, 500, http.NoBody, 0), errors.New("broken")
	for _, tt := range []struct {
		resp *http.Response
		err  error
	}{{resp, broken}, {nil, broken}, {nil, nil}} {
		again, err := c.CheckRetry(t.Context(), tt.resp, tt.err)
		assert.False(t, again)
		assert.NoError(t, err)
		got, err := c.ErrorHandler(tt.resp, tt.err, 1)
		assert.Nil(t, got)
		assert.Equal(t, tt.err, err)
	}
}

func TestRetryableCheckRetryRetriesA429WithoutARequest(t *testing.T) {
	c := retryablehttp.NewClient()
	(&iamhttp.Transport{Backoff: zero}).ConfigureRetryable(c)
	again, err := c.CheckRetry(t.Context(), response(nil, 429, http.NoBody, 0), nil)
	assert.True(t, again)
	assert.NoError(t, err)
}

func TestRetryableErrorHandlerReadsTheBodyWithinTheRequestsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := retryablehttp.NewClient()
		new(iamhttp.Transport).ConfigureRetryable(c)
		took := func(req *http.Request) time.Duration {
			start := time.Now()
			_, err := c.ErrorHandler(response(req, 429, stalling(""), -1), nil, 5)
			assert.Equal(t, 5, statusError(t, err).Attempts)
			return time.Since(start)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		assert.Equal(t, 2*time.Second, took(newRequest(t, "GET", "").WithContext(ctx)), "the body must be read for half of the time left before the deadline")
		assert.Equal(t, 5*time.Second, took(nil), "without a deadline, the body must be read for 5 s")
	})
}

// If its Transport is not net/http's own, http.Client closes Request.Cancel when its
// Timeout has passed. In go-retryablehttp, that Timeout limits one attempt, not the whole
// call.
func TestRetryableClientRetriesAfterTheTimeoutOfOneAttempt(t *testing.T) {
	c := retryablehttp.NewClient()
	(&iamhttp.Transport{Backoff: zero}).ConfigureRetryable(c)
	req, over := newRequest(t, "GET", ""), make(chan struct{})
	close(over)
	//lint:ignore SA1019 deprecated, but still set by http.Client for its Timeout
	req.Cancel = over
	again, err := c.CheckRetry(t.Context(), response(req, 429, http.NoBody, 0), nil)
	assert.True(t, again)
	assert.NoError(t, err)
}
