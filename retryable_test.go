package iamhttp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
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

// retryable returns a go-retryablehttp client that follows tr over base.
func retryable(tr *iamhttp.Transport, base http.RoundTripper) *retryablehttp.Client {
	c := retryablehttp.NewClient()
	c.Logger = nil
	c.HTTPClient = &http.Client{Transport: base}
	tr.ConfigureRetryable(c)
	return c
}

func TestARetryableClientFollowsTheSameRules(t *testing.T) {
	for name, tt := range map[string]struct {
		tr    iamhttp.Transport
		steps []step
		sends int
		code  iamhttp.Code // 0: success
		stop  iamhttp.StopReason
	}{
		"429 is retried":                  {iamhttp.Transport{}, []step{answer(429, ""), answer(429, ""), answer(200, "")}, 3, 0, 0},
		"408 is retried":                  {iamhttp.Transport{}, []step{answer(408, ""), answer(200, "")}, 2, 0, 0},
		"503 is not":                      {iamhttp.Transport{}, []step{answer(503, "")}, 1, 503, iamhttp.StopNotRetryable},
		"500 is not":                      {iamhttp.Transport{}, []step{answer(500, "")}, 1, 500, iamhttp.StopNotRetryable},
		"404 is an error":                 {iamhttp.Transport{}, []step{answer(404, "")}, 1, 404, iamhttp.StopNotRetryable},
		"404 if expected is none":         {iamhttp.Transport{Expected: []iamhttp.Code{404}}, []step{answer(404, "")}, 1, 0, 0},
		"503 if listed":                   {iamhttp.Transport{AlsoRetry: []iamhttp.Code{503}}, []step{answer(503, ""), answer(200, "")}, 2, 0, 0},
		"attempts":                        {iamhttp.Transport{MaxAttempts: 3}, []step{answer(429, "")}, 3, 429, iamhttp.StopAttempts},
		"attempts by default":             {iamhttp.Transport{}, []step{answer(429, "")}, 8, 429, iamhttp.StopAttempts},
		"never to retry":                  {iamhttp.Transport{MaxAttempts: 1}, []step{answer(429, "")}, 1, 429, iamhttp.StopAttempts},
		"Retry-After longer than allowed": {iamhttp.Transport{}, []step{answer(429, "", "Retry-After: 3600")}, 1, 429, iamhttp.StopWaitTooLong},
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
				assert.Nil(t, resp, "never both")
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

func TestARetryableClientWaitsByTheSameSchedule(t *testing.T) {
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

func TestARetryableClientStopsBeforeTheDeadlineToo(t *testing.T) {
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

func TestARetryableClientTellsThatTheContextHadEnded(t *testing.T) {
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

func TestARetryableClientNeverRetriesAnErrorWithoutAnAnswer(t *testing.T) {
	broken := errors.New("connection reset by peer")
	base := script(fail(broken))
	_, err := retryable(&iamhttp.Transport{RetryConnectionErrors: true}, base).Get("https://iam.example/")
	assert.ErrorIs(t, err, broken)
	assert.Equal(t, 1, base.count())
}

func TestARetryableClientReturnsATypedErrorFromBelowAsItIs(t *testing.T) {
	below := iamhttp.NewStatusError(503, nil, nil)
	_, err := retryable(&iamhttp.Transport{}, script(fail(below))).Get("https://iam.example/")
	isURL := errors.As(err, new(*url.Error))
	assert.True(t, isURL)
	assert.Same(t, below, statusError(t, err))
}

func TestARetryableClientKeepsItsPrepareRetry(t *testing.T) {
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

func TestARetryableClientWhosePrepareRetryIsReplacedStillCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := retryable(&iamhttp.Transport{}, script(answer(429, ""), answer(429, ""), answer(404, "")))
		c.PrepareRetry = func(*http.Request) error { return nil }
		_, err := c.Get("https://iam.example/")
		assert.Equal(t, 3, statusError(t, err).Attempts)
	})
}

func TestARetryableClientWithMoreRetriesThanTheTransportGoesOn(t *testing.T) {
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

func TestARetryableClientSurvivesAReplacedCheckRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := script(answer(503, ""), answer(200, ""))
		c := retryable(&iamhttp.Transport{}, base)
		c.CheckRetry = retryablehttp.DefaultRetryPolicy
		resp, err := c.Get("https://iam.example/")
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, []time.Duration{c.RetryWaitMin}, base.gaps())
	})
}

func TestARetryableClientOverARealConnection(t *testing.T) {
	service := new(iamtest.Server)
	service.Next(iamtest.Page(429), iamtest.Page(429), iamtest.Keystone(409, "exists").With("X-Openstack-Request-Id", "req-1"))
	srv := httptest.NewServer(service)
	defer srv.Close()
	_, err := retryable(&iamhttp.Transport{Backoff: zero}, srv.Client().Transport).Post(srv.URL, "text/plain", []byte("payload"))
	require.ErrorIs(t, err, iamhttp.ErrConflict)
	assert.EqualError(t, err, `iamhttp: 409 Conflict: "exists" (request req-1, sent 3 times: not retryable)`)
	service.AssertBodies(t, "payload", "payload", "payload")
}

// The client sends the first request again, whichever was throttled.
func TestARetryableClientDoesNotRetryWhatARedirectHasAnswered(t *testing.T) {
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

// go-retryablehttp hands its hooks what its http.Client returned: on a redirect
// that fails that is a response beside an error.
func TestTheHooksForRetryableLeaveWhatIsNoAnswer(t *testing.T) {
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
		assert.Same(t, tt.resp, got)
		assert.Equal(t, tt.err, err)
	}
}

func TestTheHooksForRetryableRetryAnAnswerWhoseRequestIsUnknown(t *testing.T) {
	c := retryablehttp.NewClient()
	(&iamhttp.Transport{Backoff: zero}).ConfigureRetryable(c)
	again, err := c.CheckRetry(t.Context(), response(nil, 429, http.NoBody, 0), nil)
	assert.True(t, again)
	assert.NoError(t, err)
}

func TestTheErrorHandlerForRetryableReadsUnderTheContextOfTheRequest(t *testing.T) {
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
		assert.Equal(t, 2*time.Second, took(newRequest(t, "GET", "").WithContext(ctx)), "half of what is left")
		assert.Equal(t, 5*time.Second, took(nil), "the most that reading a body may take")
	})
}

// http.Client closes Cancel when its Timeout is over, which for go-retryablehttp
// bounds one send and not the call.
func TestTheTimeoutOfOneSendDoesNotEndTheCallForRetryable(t *testing.T) {
	c := retryablehttp.NewClient()
	(&iamhttp.Transport{Backoff: zero}).ConfigureRetryable(c)
	req, over := newRequest(t, "GET", ""), make(chan struct{})
	close(over)
	//lint:ignore SA1019 deprecated, and still set by http.Client for its Timeout
	req.Cancel = over
	again, err := c.CheckRetry(t.Context(), response(req, 429, http.NoBody, 0), nil)
	assert.True(t, again)
	assert.NoError(t, err)
}
