package iamhttp_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/aksk"
	"github.com/iamhttp/iamhttp/gate"
)

// A step is a scripted Base's reaction to one request.
type step func(*http.Request) (*http.Response, error)

// scripted is a Base that runs its steps in order, one per request, and the last step for
// all further requests. It records every request whose body can be read. For a request
// whose body cannot be read, it returns the read error instead of running a step.
type scripted struct {
	steps []step

	mu   sync.Mutex
	sent []sent
}

type sent struct {
	req    *http.Request
	body   string
	resend int
	at     time.Time
}

func script(steps ...step) *scripted { return &scripted{steps: steps} }

func (s *scripted) RoundTrip(req *http.Request) (*http.Response, error) {
	now := sent{req: req, resend: iamhttp.ResendCount(req.Context()), at: time.Now()}
	if req.Body != nil {
		b, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		now.body = string(b)
		req.Body.Close()
	}
	s.mu.Lock()
	step := s.steps[min(len(s.sent), len(s.steps)-1)]
	s.sent = append(s.sent, now)
	s.mu.Unlock()
	return step(req)
}

// count returns how many requests were recorded.
func (s *scripted) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sent)
}

// gaps returns the times between consecutive recorded requests.
func (s *scripted) gaps() []time.Duration {
	var d []time.Duration
	for i := 1; i < len(s.sent); i++ {
		d = append(d, s.sent[i].at.Sub(s.sent[i-1].at))
	}
	return d
}

// answer returns a step that responds with code and body. The header consists of lines
// such as "Retry-After: 1".
func answer(code int, body string, header ...string) step {
	return func(req *http.Request) (*http.Response, error) {
		return response(req, code, io.NopCloser(strings.NewReader(body)), int64(len(body)), header...), nil
	}
}

// answerWith returns a step that responds with code and the body b, without a
// Content-Length.
func answerWith(code int, b io.ReadCloser, header ...string) step {
	return func(req *http.Request) (*http.Response, error) {
		return response(req, code, b, -1, header...), nil
	}
}

func fail(err error) step {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

func response(req *http.Request, code int, body io.ReadCloser, length int64, header ...string) *http.Response {
	h := http.Header{}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	return &http.Response{
		StatusCode: code, Status: fmt.Sprint(code, " ", http.StatusText(code)),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: body, ContentLength: length, Request: req,
	}
}

// watchedBody is a body that counts the bytes read and the calls to Close. Read returns
// r's error at the end of the data, but if stall is set and that error is io.EOF, it
// blocks until the body is closed. After Close, Read fails.
type watchedBody struct {
	r      io.Reader
	stall  bool
	closed chan struct{}

	mu     sync.Mutex
	read   int64
	closes int
}

func watch(r io.Reader) *watchedBody { return &watchedBody{r: r, closed: make(chan struct{})} }

func stalling(beginning string) *watchedBody {
	b := watch(strings.NewReader(beginning))
	b.stall = true
	return b
}

// answers returns a Base that responds with resp to each request.
func answers(resp *http.Response) roundTripper {
	return func(*http.Request) (*http.Response, error) { return resp, nil }
}

// stuck is a body whose Read and Close block until the channel is closed.
type stuck chan struct{}

func (s stuck) Read([]byte) (int, error) { <-s; return 0, io.EOF }
func (s stuck) Close() error             { <-s; return nil }

func (b *watchedBody) Read(p []byte) (int, error) {
	select {
	case <-b.closed:
		return 0, errors.New("read after close")
	default:
	}
	n, err := b.r.Read(p)
	b.mu.Lock()
	b.read += int64(n)
	b.mu.Unlock()
	if err == io.EOF && n == 0 && b.stall {
		<-b.closed
		return 0, errors.New("closed during read")
	}
	return n, err
}

func (b *watchedBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closes++; b.closes == 1 {
		close(b.closed)
	}
	return nil
}

func (b *watchedBody) counts() (read int64, closes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read, b.closes
}

// zeros is an endless reader of zero bytes.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func newRequest(t testing.TB, method, body string) *http.Request {
	t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "https://iam.example/v3/users?token=secret", r)
	require.NoError(t, err)
	return req
}

// statusError asserts that err holds a *StatusError and returns it.
func statusError(t testing.TB, err error) *iamhttp.StatusError {
	t.Helper()
	var e *iamhttp.StatusError
	ok := errors.As(err, &e)
	require.True(t, ok, "no *StatusError in %v", err)
	return e
}

func zero() backoff.BackOff { return &backoff.ZeroBackOff{} }

func constant(d time.Duration) func() backoff.BackOff {
	return func() backoff.BackOff { return backoff.NewConstantBackOff(d) }
}

// onAnswer returns an OnFailure that calls f for each failure with a *StatusError, and
// ignores other failures.
func onAnswer(f func(ctx context.Context, e *iamhttp.StatusError, wait time.Duration)) func(context.Context, iamhttp.Failure) {
	return func(ctx context.Context, failed iamhttp.Failure) {
		if e, ok := failed.Status(); ok {
			f(ctx, e, failed.Wait)
		}
	}
}

// modes runs f in error mode and with PassThrough.
func modes(t *testing.T, f func(t *testing.T, passThrough bool)) {
	t.Run("error mode", func(t *testing.T) { f(t, false) })
	t.Run("pass-through", func(t *testing.T) { f(t, true) })
}

func TestSuccessIsReturnedUnchanged(t *testing.T) {
	for _, code := range []int{100, 101, 200, 201, 204, 206, 299, 300, 302, 304, 307, 399} {
		body := watch(strings.NewReader("data"))
		want := response(nil, code, body, 4)
		base := script(func(*http.Request) (*http.Response, error) { return want, nil })
		req := newRequest(t, "POST", "body")
		got, err := (&iamhttp.Transport{Base: base}).RoundTrip(req)
		require.NoError(t, err, code)
		assert.Same(t, want, got, code)
		assert.Same(t, req, base.sent[0].req, "the first attempt must send the caller's own request")
		read, closes := body.counts()
		assert.Zero(t, read, code)
		assert.Zero(t, closes, code)
	}
}

func TestA101ResponseKeepsItsWritableBody(t *testing.T) {
	type connection struct {
		io.ReadCloser
		io.Writer
	}
	body := connection{io.NopCloser(strings.NewReader("")), io.Discard}
	resp, err := (&iamhttp.Transport{Base: script(answerWith(101, body))}).RoundTrip(newRequest(t, "GET", ""))
	require.NoError(t, err)
	assert.Implements(t, (*io.Writer)(nil), resp.Body)
}

func TestExpectedCodesAreReturnedAsResponses(t *testing.T) {
	for _, name := range []string{"Expected field", "WithExpected"} {
		t.Run(name, func(t *testing.T) {
			body := watch(strings.NewReader("no such token"))
			tr := &iamhttp.Transport{
				Base: script(answerWith(429, body, "Retry-After: 1")),
				OnFailure: onAnswer(func(context.Context, *iamhttp.StatusError, time.Duration) {
					t.Error("OnFailure was called for an expected code")
				}),
			}
			ctx, rec := iamhttp.WithRecorder(t.Context())
			if name == "Expected field" {
				tr.Expected = []iamhttp.Code{iamhttp.ErrTooManyRequests}
			} else {
				ctx = iamhttp.WithExpected(iamhttp.WithExpected(ctx, iamhttp.ErrTooManyRequests), iamhttp.ErrNotFound)
			}
			resp, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
			require.NoError(t, err)
			assert.Equal(t, 429, resp.StatusCode)
			read, closes := body.counts()
			assert.Zero(t, read)
			assert.Zero(t, closes)
			_, ok := rec.Last()
			assert.False(t, ok)
		})
	}
}

func TestExpectedCodesInNestedContextsAddUp(t *testing.T) {
	ctx := iamhttp.WithExpected(iamhttp.WithExpected(t.Context(), 401), 404)
	tr := &iamhttp.Transport{Base: script(answer(401, ""), answer(404, ""), answer(403, "")), Expected: []iamhttp.Code{409}}
	for range 2 {
		_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
		require.NoError(t, err)
	}
	_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
	require.ErrorIs(t, err, iamhttp.ErrForbidden)
}

func TestOnly408And429AreRetriedByDefault(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
		for code := range 1100 {
			base := script(answer(code, "", "Retry-After: 0"))
			tr := &iamhttp.Transport{Base: base, MaxAttempts: 2, Backoff: zero}
			_, err := tr.RoundTrip(newRequest(t, method, ""))
			switch {
			case code >= 100 && code < 400:
				require.NoError(t, err)
				require.Equal(t, 1, base.count(), "wrong number of attempts for a %s that gets status %d", method, code)
			case code == 408 || code == 429:
				require.Equal(t, 2, base.count(), "wrong number of attempts for a %s that gets status %d", method, code)
				require.Equal(t, iamhttp.StopAttempts, statusError(t, err).Stop)
			default:
				require.Equal(t, 1, base.count(), "wrong number of attempts for a %s that gets status %d", method, code)
				e := statusError(t, err)
				require.Equal(t, iamhttp.StopNotRetryable, e.Stop)
				require.ErrorIs(t, err, iamhttp.Code(code))
			}
		}
	}
}

func TestAlsoRetryRequiresIdempotenceExceptFor413(t *testing.T) {
	key := http.Header{"Idempotency-Key": {"k"}}
	tests := map[string]struct {
		code   int
		method string
		header http.Header
		answer []string
		want   int
	}{
		"503 on a GET":                         {503, "GET", nil, nil, 2},
		"503 on a request without a method":    {503, "", nil, nil, 2},
		"503 on a PUT":                         {503, "PUT", nil, nil, 2},
		"503 on a DELETE":                      {503, "DELETE", nil, nil, 2},
		"503 on an OPTIONS":                    {503, "OPTIONS", nil, nil, 2},
		"503 on a TRACE":                       {503, "TRACE", nil, nil, 2},
		"503 on a POST":                        {503, "POST", nil, nil, 1},
		"503 on a PATCH":                       {503, "PATCH", nil, nil, 1},
		"503 with Retry-After on a POST":       {503, "POST", nil, []string{"Retry-After: 0"}, 1},
		"503 on a POST with Idempotency-Key":   {503, "POST", key, nil, 2},
		"503 on a POST with X-Idempotency-Key": {503, "POST", http.Header{"X-Idempotency-Key": {"k"}}, nil, 2},
		"503 on a POST with an Idempotency-Key without a value": {503, "POST", http.Header{"Idempotency-Key": nil}, nil, 2},
		"404 on a GET, if it is listed":                         {404, "GET", nil, nil, 2},
		"999 on a GET, if it is listed":                         {999, "GET", nil, nil, 2},
		"413 with Retry-After on a POST":                        {413, "POST", nil, []string{"Retry-After: 0"}, 2},
		"413 without Retry-After on a GET":                      {413, "GET", nil, nil, 1},
		"413 with an invalid Retry-After on a GET":              {413, "GET", nil, []string{"Retry-After: soon"}, 1},
		"500 on a GET, if it is not listed":                     {500, "GET", nil, nil, 1},
		"429 on a POST, if it is not listed":                    {429, "POST", nil, nil, 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			base := script(answer(tt.code, "", tt.answer...), answer(200, ""))
			tr := &iamhttp.Transport{Base: base, Backoff: zero, AlsoRetry: []iamhttp.Code{404, 413, 503, 999}}
			req := newRequest(t, tt.method, "")
			req.Method = tt.method
			maps.Copy(req.Header, tt.header)
			_, err := tr.RoundTrip(req)
			assert.Equal(t, tt.want, base.count())
			assert.Equal(t, tt.want == 2, err == nil)
		})
	}
}

func TestA413WithRetryAfterIsNotRetriedUnlessListed(t *testing.T) {
	base := script(answer(413, "", "Retry-After: 1"))
	_, err := (&iamhttp.Transport{Base: base}).RoundTrip(newRequest(t, "PUT", ""))
	e := statusError(t, err)
	assert.Equal(t, iamhttp.StopNotRetryable, e.Stop)
	assert.Equal(t, time.Second, e.RetryAfter, "RetryAfter must be set, whatever the status code is")
}

func TestRetryWithoutAResponseReturnsBasesErrorUnchanged(t *testing.T) {
	modes(t, func(t *testing.T, passThrough bool) {
		broken := errors.New("connection reset")
		var reported []int
		tr := &iamhttp.Transport{
			Base: script(answer(429, ""), fail(broken)), Backoff: zero, PassThrough: passThrough,
			OnFailure: onAnswer(func(_ context.Context, e *iamhttp.StatusError, _ time.Duration) {
				reported = append(reported, int(e.Code))
			}),
		}
		ctx, rec := iamhttp.WithRecorder(t.Context())
		resp, err := tr.RoundTrip(newRequest(t, "POST", "x").WithContext(ctx))
		assert.Nil(t, resp)
		assert.Same(t, broken, err, "RoundTrip must return Base's error unchanged, got %v", err)
		assert.Equal(t, []int{429}, reported)
		_, ok := rec.Last()
		assert.False(t, ok, "the Recorder must forget the earlier response, because the request may have been processed since")
	})
}

func TestBodyIsReplayedFromGetBodyForEachRetry(t *testing.T) {
	var opened []*watchedBody
	open := func() (io.ReadCloser, error) {
		b := watch(strings.NewReader(`{"user":{}}`))
		opened = append(opened, b)
		return b, nil
	}
	req := newRequest(t, "POST", "")
	req.Body, _ = open()
	req.GetBody = open
	req.ContentLength = 11
	req.Header.Set("Idempotency-Key", "the same")
	base := script(answer(429, ""), answer(408, ""), answer(201, ""))
	_, err := (&iamhttp.Transport{Base: base, Backoff: zero}).RoundTrip(req)
	require.NoError(t, err)
	require.Len(t, opened, 3, "each of the three attempts must get exactly one body")
	for i, s := range base.sent {
		assert.Equal(t, `{"user":{}}`, s.body)
		assert.EqualValues(t, 11, s.req.ContentLength)
		assert.Equal(t, "the same", s.req.Header.Get("Idempotency-Key"))
		assert.Equal(t, i, s.resend)
		assert.NotNil(t, s.req.GetBody, "GetBody must be kept, because net/http needs it for its own resends")
		_, closes := opened[i].counts()
		assert.Equal(t, 1, closes)
	}
}

func TestRequestWhoseBodyCannotBeReplayedIsSentOnce(t *testing.T) {
	modes(t, func(t *testing.T, passThrough bool) {
		cause := errors.New("file is gone")
		tests := map[string]struct {
			getBody func() (io.ReadCloser, error)
			want    error
		}{
			"no GetBody":                             {nil, nil},
			"GetBody fails":                          {func() (io.ReadCloser, error) { return nil, cause }, cause},
			"GetBody returns neither body nor error": {func() (io.ReadCloser, error) { return nil, nil }, nil},
		}
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				base := script(answer(429, "slow down", "Retry-After: 1"))
				var stop iamhttp.StopReason
				tr := &iamhttp.Transport{Base: base, PassThrough: passThrough,
					OnFailure: onAnswer(func(_ context.Context, e *iamhttp.StatusError, wait time.Duration) {
						stop = e.Stop
						assert.Zero(t, wait)
						if tt.want != nil {
							assert.ErrorIs(t, e, tt.want)
						}
					})}
				req := newRequest(t, "POST", "x")
				req.GetBody = tt.getBody
				resp, err := tr.RoundTrip(req)
				assert.Equal(t, 1, base.count())
				assert.Equal(t, iamhttp.StopBodyNotReplayable, stop)
				if passThrough {
					require.NoError(t, err)
					b, _ := io.ReadAll(resp.Body)
					assert.Equal(t, "slow down", string(b))
				} else {
					assert.Equal(t, stop, statusError(t, err).Stop)
				}
			})
		}
	})
}

func TestRequestWithoutBodyIsRetriedWithoutGetBody(t *testing.T) {
	for _, body := range []io.ReadCloser{nil, http.NoBody} {
		req := newRequest(t, "POST", "")
		req.Body, req.GetBody = body, nil
		base := script(answer(429, ""), answer(200, ""))
		_, err := (&iamhttp.Transport{Base: base, Backoff: zero}).RoundTrip(req)
		require.NoError(t, err)
		assert.Equal(t, body, base.sent[1].req.Body)
	}
}

func TestGetBodyIsCalledOnlyIfNothingElsePreventsTheRetry(t *testing.T) {
	tests := map[string]struct {
		step step
		ctx  func(context.Context) context.Context
	}{
		"not retryable":    {answer(404, ""), nil},
		"wait too long":    {answer(429, "", "Retry-After: 3600"), nil},
		"attempts used up": {answer(429, ""), func(c context.Context) context.Context { return iamhttp.WithMaxAttempts(c, 1) }},
		"canceled": {answer(429, ""), func(c context.Context) context.Context {
			c, cancel := context.WithCancel(c)
			cancel()
			return c
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			req := newRequest(t, "POST", "x")
			req.GetBody = func() (io.ReadCloser, error) {
				t.Error("GetBody was called although the request is not retried")
				return http.NoBody, nil
			}
			if tt.ctx != nil {
				req = req.WithContext(tt.ctx(req.Context()))
			}
			_, err := (&iamhttp.Transport{Base: script(tt.step)}).RoundTrip(req)
			require.Error(t, err)
		})
	}
}

func TestTheRequestIsNeverModified(t *testing.T) {
	req := newRequest(t, "POST", "body")
	req.Header.Set("X-Auth-Token", "secret")
	body := watch(strings.NewReader("body"))
	req.Body = body
	before, header, ctx := *req, req.Header.Clone(), req.Context()
	_, err := (&iamhttp.Transport{Base: script(answer(429, ""), answer(408, ""), answer(404, "")), Backoff: zero}).RoundTrip(req)
	require.Error(t, err)
	assert.Equal(t, header, req.Header)
	assert.Same(t, body, req.Body, "req.Body was replaced")
	assert.Same(t, before.URL, req.URL)
	assert.Equal(t, before.URL.String(), req.URL.String())
	assert.Equal(t, before.ContentLength, req.ContentLength)
	assert.NotNil(t, req.GetBody)
	assert.Equal(t, ctx, req.Context())
	assert.Equal(t, 0, iamhttp.ResendCount(req.Context()))
}

func TestFailingResponseBodiesAreClosedExactlyOnce(t *testing.T) {
	tests := map[string]int{"429 before a retry": 429, "408 before a retry": 408, "404 returned as an error": 404}
	for name, code := range tests {
		t.Run(name, func(t *testing.T) {
			body := watch(strings.NewReader("text"))
			_, _ = (&iamhttp.Transport{Base: script(answerWith(code, body), answer(200, "")), Backoff: zero}).RoundTrip(newRequest(t, "GET", ""))
			_, closes := body.counts()
			assert.Equal(t, 1, closes)
		})
	}
}

func TestTheBodyOfADiscarded408IsNotRead(t *testing.T) {
	body := watch(strings.NewReader("the server is about to close the connection"))
	var told *iamhttp.StatusError
	tr := &iamhttp.Transport{Base: script(answerWith(408, body), answer(200, "")), Backoff: zero,
		OnFailure: onAnswer(func(_ context.Context, e *iamhttp.StatusError, _ time.Duration) { told = e })}
	resp, err := tr.RoundTrip(newRequest(t, "GET", ""))
	require.NoError(t, err)
	read, closes := body.counts()
	assert.Zero(t, read)
	assert.Equal(t, 1, closes)
	assert.Empty(t, told.Body())
	assert.True(t, told.Truncated)
	assert.Equal(t, 1, iamhttp.ResendCount(resp.Request.Context()), "the context of resp.Request must hold the resend count")
}

func TestReadingAnErrorBodyIsBounded(t *testing.T) {
	const limit = 64 << 10
	t.Run("at most 64 KiB are read", func(t *testing.T) {
		body := watch(io.LimitReader(zeros{}, 1<<30))
		_, err := (&iamhttp.Transport{Base: script(answerWith(500, body))}).RoundTrip(newRequest(t, "GET", ""))
		e := statusError(t, err)
		assert.Len(t, e.Body(), limit)
		assert.True(t, e.Truncated)
		read, closes := body.counts()
		assert.LessOrEqual(t, read, int64(limit))
		assert.Equal(t, 1, closes)
	})
	t.Run("a body of exactly 64 KiB is complete", func(t *testing.T) {
		_, err := (&iamhttp.Transport{Base: script(answer(500, strings.Repeat("x", limit)))}).RoundTrip(newRequest(t, "GET", ""))
		e := statusError(t, err)
		assert.Len(t, e.Body(), limit)
		assert.False(t, e.Truncated)
	})
	t.Run("reading ends after 5 s if there is no deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			_, err := (&iamhttp.Transport{Base: script(answerWith(403, stalling(`{"error":{"message":"half a mess`)))}).RoundTrip(newRequest(t, "GET", ""))
			e := statusError(t, err)
			assert.Equal(t, 5*time.Second, time.Since(start))
			assert.True(t, e.Truncated)
			assert.Equal(t, "half a mess", e.Message, "the part that arrived must be parsed")
		})
	})
	t.Run("reading a decompressed body ends after 5 s and keeps what has arrived", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			resp := response(nil, 403, stalling(`{"error":{"message":"half a mess`), -1)
			resp.Uncompressed = true
			_, err := (&iamhttp.Transport{Base: answers(resp)}).RoundTrip(newRequest(t, "GET", ""))
			e := statusError(t, err)
			assert.Equal(t, 5*time.Second, time.Since(start))
			assert.True(t, e.Truncated)
			assert.Equal(t, "half a mess", e.Message)
		})
	})
	t.Run("the call takes 5.1 s if Close of a decompressed body blocks", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			start, body := time.Now(), make(stuck)
			resp := response(nil, 403, body, -1)
			resp.Uncompressed = true
			_, err := (&iamhttp.Transport{Base: answers(resp)}).RoundTrip(newRequest(t, "GET", ""))
			e := statusError(t, err)
			assert.Equal(t, 5100*time.Millisecond, time.Since(start))
			assert.True(t, e.Truncated)
			assert.Empty(t, e.Body())
			close(body)
		})
	})
	t.Run("the call ends before its deadline even if Close of a decompressed body blocks", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			start, body := time.Now(), make(stuck)
			resp := response(nil, 403, body, -1)
			resp.Uncompressed = true
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, err := (&iamhttp.Transport{Base: answers(resp)}).RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
			assert.Equal(t, iamhttp.ErrForbidden, statusError(t, err).Code)
			assert.Equal(t, 75*time.Millisecond, time.Since(start))
			close(body)
		})
	})
	for name, below := range map[string]func(base http.RoundTripper) http.RoundTripper{
		"reading ends after 5 s if a Transport below has read ahead": func(base http.RoundTripper) http.RoundTripper {
			return opaque{&iamhttp.Transport{Base: base, PassThrough: true, OnFailure: func(context.Context, iamhttp.Failure) {}}}
		},
		"reading ends after 5 s if an aksk.Transport below has read ahead": func(base http.RoundTripper) http.RoundTripper {
			return &aksk.Transport{Base: base, SignUnsigned: true, Credentials: func(*http.Request) (aksk.Credentials, error) {
				return aksk.Credentials{AccessKey: "a", SecretKey: "b"}, nil
			}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			modes(t, func(t *testing.T, passThrough bool) {
				synctest.Test(t, func(t *testing.T) {
					start := time.Now()
					date := "Date: " + start.Add(-time.Hour).UTC().Format(http.TimeFormat) // makes aksk read the body
					base := script(answerWith(401, stalling(`{"error":{"message":"half a mess`), date))
					ctx, rec := iamhttp.WithRecorder(t.Context())
					resp, err := (&iamhttp.Transport{Base: below(base), PassThrough: passThrough}).RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
					if passThrough {
						require.NoError(t, err)
						err = iamhttp.CheckResponse(resp)
						resp.Body.Close()
					}
					e, _ := rec.Last()
					for _, e := range []*iamhttp.StatusError{e, statusError(t, err)} {
						assert.True(t, e.Truncated)
						assert.Equal(t, "half a mess", e.Message)
					}
					assert.Equal(t, 5*time.Second, time.Since(start))
				})
			})
		})
	}
	t.Run("reading takes at most half of the time left before the deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
			defer cancel()
			start := time.Now()
			_, err := (&iamhttp.Transport{Base: script(answerWith(403, stalling("")))}).RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
			statusError(t, err)
			assert.Equal(t, 2*time.Second, time.Since(start))
		})
	})
	t.Run("reading ends when the context is canceled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			start := time.Now()
			_, err := (&iamhttp.Transport{Base: script(answerWith(403, stalling("")))}).RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
			assert.Equal(t, iamhttp.StopNotRetryable, statusError(t, err).Stop)
			assert.Equal(t, time.Second, time.Since(start))
		})
	})
}

func TestDiscardingABodyIsBounded(t *testing.T) {
	t.Run("at most 64 KiB are read", func(t *testing.T) {
		body := watch(io.LimitReader(zeros{}, 1<<30))
		_, err := (&iamhttp.Transport{Base: script(answerWith(429, body), answer(200, "")), Backoff: zero}).RoundTrip(newRequest(t, "GET", ""))
		require.NoError(t, err)
		read, closes := body.counts()
		assert.LessOrEqual(t, read, int64(64<<10))
		assert.Equal(t, 1, closes)
	})
	t.Run("at most 4 KiB are read of a body with a Content-Length above 64 KiB", func(t *testing.T) {
		body := watch(io.LimitReader(zeros{}, 1<<30))
		long := func(req *http.Request) (*http.Response, error) { return response(req, 429, body, 1<<30), nil }
		var told *iamhttp.StatusError
		_, err := (&iamhttp.Transport{Base: script(long, answer(200, "")), Backoff: zero,
			OnFailure: onAnswer(func(_ context.Context, e *iamhttp.StatusError, _ time.Duration) { told = e })}).RoundTrip(newRequest(t, "GET", ""))
		require.NoError(t, err)
		read, _ := body.counts()
		assert.LessOrEqual(t, read, int64(4<<10))
		assert.Len(t, told.Body(), 4<<10)
		assert.True(t, told.Truncated)
	})
	t.Run("a body with a Content-Length of exactly 64 KiB is read to its end", func(t *testing.T) {
		body := watch(io.LimitReader(zeros{}, 64<<10))
		exact := func(req *http.Request) (*http.Response, error) { return response(req, 429, body, 64<<10), nil }
		_, err := (&iamhttp.Transport{Base: script(exact, answer(200, "")), Backoff: zero}).RoundTrip(newRequest(t, "GET", ""))
		require.NoError(t, err)
		read, _ := body.counts()
		assert.EqualValues(t, 64<<10, read)
	})
	for _, tt := range []struct{ wait, want time.Duration }{
		{0, 50 * time.Millisecond},
		{300 * time.Millisecond, 300 * time.Millisecond},
		{3 * time.Second, 3 * time.Second}, // the body is read for one second, and the wait continues
	} {
		t.Run(fmt.Sprint("a stalled body hardly delays a retry that waits ", tt.wait), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				body := stalling("beginning")
				base := script(answerWith(429, body), answer(200, ""))
				closedAt := make(chan time.Duration, 1)
				start := time.Now()
				go func() { <-body.closed; closedAt <- time.Since(start) }()
				_, err := (&iamhttp.Transport{Base: base, Backoff: constant(tt.wait)}).RoundTrip(newRequest(t, "GET", ""))
				require.NoError(t, err)
				assert.Equal(t, []time.Duration{tt.want}, base.gaps())
				assert.Equal(t, min(tt.want, time.Second), <-closedAt)
			})
		})
	}
}

func TestDiscardedBodyIsTruncatedIfLongerThan4KiB(t *testing.T) {
	for size, truncated := range map[int]bool{4 << 10: false, 4<<10 + 1: true} {
		var got *iamhttp.StatusError
		body := io.NopCloser(lateEOF{strings.NewReader(strings.Repeat("x", size))})
		tr := &iamhttp.Transport{Base: script(answerWith(429, body), answer(200, "")), Backoff: zero,
			OnFailure: onAnswer(func(_ context.Context, e *iamhttp.StatusError, _ time.Duration) { got = e })}
		_, err := tr.RoundTrip(newRequest(t, "GET", ""))
		require.NoError(t, err)
		assert.Len(t, got.Body(), 4<<10)
		assert.Equal(t, truncated, got.Truncated)
	}
}

// lateEOF is a reader whose Read does not return io.EOF if it is called with an empty
// buffer.
type lateEOF struct{ io.Reader }

func (r lateEOF) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return r.Reader.Read(p)
}

func TestFirst4KiBOfADiscardedBodyAreKept(t *testing.T) {
	var got *iamhttp.StatusError
	body := `{"message":"` + strings.Repeat("x", 5000) + `"}`
	tr := &iamhttp.Transport{Base: script(answer(429, body), answer(200, "")), Backoff: zero,
		OnFailure: onAnswer(func(_ context.Context, e *iamhttp.StatusError, _ time.Duration) { got = e })}
	_, err := tr.RoundTrip(newRequest(t, "GET", ""))
	require.NoError(t, err)
	assert.Equal(t, body[:4096], string(got.Body()))
	assert.True(t, got.Truncated)
	assert.True(t, strings.HasPrefix(got.Message, "xxx"))
}

func TestCanceledWaitReturnsAtOnceWithStatusAndCause(t *testing.T) {
	cause := errors.New("user closed the window")
	modes(t, func(t *testing.T, passThrough bool) {
		tests := map[string]struct {
			body  string
			stall bool
		}{
			"during the wait":                      {"", false},
			"during the wait, with a request body": {"x", false},
			"while the response body is discarded": {"", true},
		}
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithCancelCause(t.Context())
					ctx, rec := iamhttp.WithRecorder(ctx)
					var reports []iamhttp.Failure
					throttled := answer(429, `{"error_code":"APIG.0308"}`, "Retry-After: 60")
					if tt.stall {
						throttled = answerWith(429, stalling(`{"error_code":"APIG.0308"`), "Retry-After: 60")
					}
					tr := &iamhttp.Transport{Base: script(throttled), PassThrough: passThrough,
						OnFailure: func(_ context.Context, f iamhttp.Failure) { reports = append(reports, f) }}
					req := newRequest(t, "POST", tt.body).WithContext(ctx)
					var fresh *watchedBody
					if tt.body != "" {
						req.GetBody = func() (io.ReadCloser, error) {
							fresh = watch(strings.NewReader(tt.body))
							return fresh, nil
						}
					}
					time.AfterFunc(500*time.Millisecond, func() { cancel(cause) })
					start := time.Now()
					resp, err := tr.RoundTrip(req)
					assert.Equal(t, 500*time.Millisecond, time.Since(start))
					assert.Nil(t, resp)
					e := statusError(t, err)
					assert.Equal(t, iamhttp.StopCanceled, e.Stop)
					assert.Equal(t, 1, e.Attempts)
					assert.Equal(t, "APIG.0308", e.ServiceCode)
					assert.Equal(t, time.Minute, e.RetryAfter)
					assert.ErrorIs(t, err, context.Canceled)
					assert.ErrorIs(t, err, cause)
					assert.ErrorIs(t, err, iamhttp.ErrTooManyRequests)
					assert.False(t, e.Timeout())
					require.Len(t, reports, 2, "OnFailure must be called for the response and again for the cancellation")
					assert.Equal(t, iamhttp.StopUnset, reports[0].Stop)
					assert.True(t, reports[0].Retry)
					assert.GreaterOrEqual(t, reports[0].Wait, time.Minute)
					assert.Equal(t, iamhttp.Failure{Err: e, Method: "POST", URL: e.URL, Attempt: 1, Stop: iamhttp.StopCanceled}, reports[1])
					last, _ := rec.Last()
					assert.Same(t, e, last)
					if fresh != nil {
						_, closes := fresh.counts()
						assert.Equal(t, 1, closes, "the body of the unsent retry must be closed")
					}
				})
			})
		}
	})
}

func TestCancellationBeforeTheWaitEndsTheCallWithStopCanceled(t *testing.T) {
	modes(t, func(t *testing.T, passThrough bool) {
		ctx, cancel := context.WithCancel(t.Context())
		var stops []iamhttp.StopReason
		tr := &iamhttp.Transport{
			Base: script(func(req *http.Request) (*http.Response, error) {
				cancel()
				return answer(429, "")(req)
			}),
			PassThrough: passThrough,
			OnFailure: onAnswer(func(_ context.Context, e *iamhttp.StatusError, _ time.Duration) {
				stops = append(stops, e.Stop)
			}),
		}
		_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
		assert.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, iamhttp.StopCanceled, statusError(t, err).Stop)
		assert.Equal(t, []iamhttp.StopReason{iamhttp.StopCanceled}, stops, "the response must be reported exactly once")
	})
}

func TestCancelingInOnFailureStopsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		base := script(answer(429, ""))
		tr := &iamhttp.Transport{Base: base, OnFailure: onAnswer(func(context.Context, *iamhttp.StatusError, time.Duration) { cancel() })}
		_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
		assert.ErrorIs(t, err, context.Canceled)
		assert.Zero(t, time.Since(start))
		assert.Equal(t, 1, base.count())
	})
}

func TestRequestCancelEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		req := newRequest(t, "GET", "")
		cancel := make(chan struct{})
		// http.Client still sets the deprecated Cancel field.
		req.Cancel = cancel
		time.AfterFunc(time.Second, func() { close(cancel) })
		start := time.Now()
		_, err := (&iamhttp.Transport{Base: script(answer(429, "", "Retry-After: 60"))}).RoundTrip(req)
		assert.Equal(t, time.Second, time.Since(start))
		assert.Equal(t, iamhttp.StopCanceled, statusError(t, err).Stop)
		assert.ErrorIs(t, err, context.Canceled)
	})
}

func TestPanicInOnFailureClosesTheBodyOfTheUnsentRetry(t *testing.T) {
	req := newRequest(t, "POST", "x")
	var fresh *watchedBody
	req.GetBody = func() (io.ReadCloser, error) { fresh = watch(strings.NewReader("x")); return fresh, nil }
	tr := &iamhttp.Transport{Base: script(answer(429, "")), OnFailure: onAnswer(func(context.Context, *iamhttp.StatusError, time.Duration) { panic("x") })}
	assert.Panics(t, func() { _, _ = tr.RoundTrip(req) })
	_, closes := fresh.counts()
	assert.Equal(t, 1, closes)
}

func TestPassThroughReturnsTheLastResponseUnread(t *testing.T) {
	tests := map[string]struct {
		step step
		want int // the expected number of attempts
	}{
		"not retryable":    {answer(404, "who?"), 1},
		"attempts used up": {answer(429, "who?"), 3},
		"wait too long":    {answer(429, "who?", "Retry-After: 86400"), 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			base := script(tt.step)
			resp, err := (&iamhttp.Transport{Base: base, PassThrough: true, MaxAttempts: 3, Backoff: zero}).RoundTrip(newRequest(t, "GET", ""))
			require.NoError(t, err)
			assert.Equal(t, tt.want, base.count())
			b, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Equal(t, "who?", string(b))
		})
	}
	t.Run("the body is Base's own, unread and open", func(t *testing.T) {
		body := watch(strings.NewReader("x"))
		resp, err := (&iamhttp.Transport{Base: script(answerWith(404, body)), PassThrough: true}).RoundTrip(newRequest(t, "GET", ""))
		require.NoError(t, err)
		assert.Same(t, body, resp.Body)
		read, closes := body.counts()
		assert.Zero(t, read)
		assert.Zero(t, closes)
	})
}

func TestBodyReadAheadIsPutBackInFrontOfTheRest(t *testing.T) {
	broken := errors.New("connection reset")
	long := strings.Repeat("0123456789", 10_000)
	tests := map[string]struct {
		body      io.Reader
		want      string
		wantErr   error
		truncated bool
	}{
		"short body":              {strings.NewReader(`{"message":"no"}`), `{"message":"no"}`, nil, false},
		"empty body":              {strings.NewReader(""), "", nil, false},
		"body longer than 64 KiB": {strings.NewReader(long), long, nil, true},
		"body that breaks off":    {io.MultiReader(strings.NewReader("begin"), errReader{broken}), "begin", broken, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			body := watch(tt.body)
			ctx, rec := iamhttp.WithRecorder(t.Context())
			resp, err := (&iamhttp.Transport{Base: script(answerWith(404, body)), PassThrough: true}).RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
			require.NoError(t, err)
			read, closes := body.counts()
			assert.LessOrEqual(t, read, int64(64<<10))
			assert.Zero(t, closes)
			e, ok := rec.Last()
			require.True(t, ok)
			assert.Equal(t, tt.want[:min(len(tt.want), 64<<10)], string(e.Body()))
			assert.Equal(t, tt.truncated, e.Truncated)
			b, err := io.ReadAll(resp.Body)
			assert.Equal(t, tt.want, string(b))
			assert.Equal(t, tt.wantErr, err)
			require.NoError(t, resp.Body.Close())
			_, closes = body.counts()
			assert.Equal(t, 1, closes)
		})
	}
	t.Run("reading ends at the context's deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			ctx, rec := iamhttp.WithRecorder(ctx)
			resp, err := (&iamhttp.Transport{Base: script(answerWith(404, stalling("begin"))), PassThrough: true}).RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
			require.NoError(t, err)
			e, _ := rec.Last()
			assert.Equal(t, "begin", string(e.Body()))
			b, err := io.ReadAll(resp.Body)
			assert.Equal(t, "begin", string(b))
			assert.ErrorIs(t, err, context.DeadlineExceeded)
		})
	})
}

// While the caller has the response, only the caller's own Reads may change its Trailer,
// also if the body is still being read ahead.
func TestTrailersOfABodyThatWasReadAheadArriveWithItsEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		tr iamhttp.Transport
		in time.Duration // when the body ends, just after reading ahead has returned
	}{
		"for OnFailure": {iamhttp.Transport{OnFailure: func(context.Context, iamhttp.Failure) {}}, 5100 * time.Millisecond},
		"for the Gate":  {iamhttp.Transport{Gate: new(gate.Adaptive)}, 80 * time.Millisecond},
		"for both":      {iamhttp.Transport{Gate: new(gate.Adaptive), OnFailure: func(context.Context, iamhttp.Failure) {}}, 5100 * time.Millisecond},
	} {
		for header, declared := range map[string]http.Header{"": nil, "Trailer: X-Sum\r\n": {"X-Sum": nil}} {
			t.Run(name+" "+header, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					tr := tt.tr
					tr.PassThrough, tr.MaxAttempts = true, 1
					tr.Base = &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
						ours, theirs := net.Pipe()
						go func() {
							_, _ = http.ReadRequest(bufio.NewReader(theirs))
							fmt.Fprint(theirs, "HTTP/1.1 429 Too Many Requests\r\n"+header+"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
							time.Sleep(tt.in)
							fmt.Fprint(theirs, "0\r\nX-Sum: 1\r\n\r\n")
						}()
						return ours, nil
					}}
					req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://iam.example", nil)
					require.NoError(t, err)
					resp, err := tr.RoundTrip(req)
					require.NoError(t, err)
					for range 2 {
						assert.Equal(t, declared, resp.Trailer)
						time.Sleep(time.Minute)
					}
					text, err := io.ReadAll(resp.Body)
					require.NoError(t, err)
					assert.Equal(t, "a", string(text))
					assert.Equal(t, http.Header{"X-Sum": {"1"}}, resp.Trailer)
					resp.Body.Close()
				})
			})
		}
	}
}

func TestRecordingChangesNeitherTheErrorsOfABodyNorThatOfItsClose(t *testing.T) {
	gone, mismatch := errors.New("gone"), errors.New("checksum mismatch")
	for _, recorded := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { cancel(gone) })
			if recorded {
				ctx, _ = iamhttp.WithRecorder(ctx)
			}
			base := func(req *http.Request) (*http.Response, error) {
				resp, _ := answer(404, "")(req)
				resp.Body = &mismatched{strings.NewReader("text"), req.Context(), mismatch}
				return resp, nil
			}
			resp, err := (&iamhttp.Transport{Base: script(base), PassThrough: true}).RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
			require.NoError(t, err)
			text, err := io.ReadAll(resp.Body)
			assert.Equal(t, "text", string(text))
			assert.Equal(t, gone, err)
			assert.Equal(t, mismatch, resp.Body.Close())
		})
	}
}

// A mismatched body fails with the context's cause, as net/http's bodies do, and when it is
// closed.
type mismatched struct {
	io.Reader
	ctx context.Context //nolint:containedctx // the request's
	err error
}

func (m *mismatched) Read(p []byte) (int, error) {
	if n, err := m.Reader.Read(p); err == nil {
		return n, nil
	}
	<-m.ctx.Done()
	return 0, context.Cause(m.ctx)
}

func (m *mismatched) Close() error { return m.err }

// A dripping body yields a byte every 50 ms until it is closed, whatever its context.
type dripping chan struct{}

func (d dripping) Read(p []byte) (int, error) {
	select {
	case <-d:
		return 0, errors.New("closed")
	case <-time.After(50 * time.Millisecond):
		return copy(p, "x"), nil
	}
}

func (d dripping) Close() error {
	close(d)
	return nil
}

func TestAFailuresBodyThatIgnoresTheContextEndsSoonAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone, start := errors.New("gone"), time.Now()
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(2*time.Second, func() { cancel(gone) })
		base := func(req *http.Request) (*http.Response, error) {
			resp, _ := answer(404, "")(req)
			resp.Body = make(dripping)
			return resp, nil
		}
		tr := &iamhttp.Transport{Base: script(base), PassThrough: true, OnFailure: func(context.Context, iamhttp.Failure) {}}
		resp, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		assert.Equal(t, gone, err)
		assert.LessOrEqual(t, time.Since(start), 2200*time.Millisecond)
		assert.NoError(t, resp.Body.Close())
	})
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestOnFailureIsCalledForEachFailingResponse(t *testing.T) {
	modes(t, func(t *testing.T, passThrough bool) {
		synctest.Test(t, func(t *testing.T) {
			type report struct {
				code     iamhttp.Code
				stop     iamhttp.StopReason
				attempts int
				wait     time.Duration
			}
			var got []report
			var errs []*iamhttp.StatusError
			key := "of the request"
			tr := &iamhttp.Transport{
				Base:    script(answer(429, ""), answer(408, ""), answer(404, "")),
				Backoff: constant(time.Second), PassThrough: passThrough,
				OnFailure: onAnswer(func(ctx context.Context, e *iamhttp.StatusError, wait time.Duration) {
					assert.Equal(t, "value", ctx.Value(&key))
					got = append(got, report{e.Code, e.Stop, e.Attempts, wait})
					errs = append(errs, e)
				}),
			}
			_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(context.WithValue(t.Context(), &key, "value")))
			assert.Equal(t, []report{
				{429, iamhttp.StopUnset, 1, time.Second},
				{408, iamhttp.StopUnset, 2, time.Second},
				{404, iamhttp.StopNotRetryable, 3, 0},
			}, got)
			if !passThrough {
				assert.Same(t, errs[2], statusError(t, err))
			}
		})
	})
}

func TestAReportedErrorNeverChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reported *iamhttp.StatusError
		var before iamhttp.StatusError
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		stop := time.AfterFunc(time.Second, cancel)
		defer stop.Stop()
		tr := &iamhttp.Transport{Base: script(answer(429, "x", "Retry-After: 60")),
			OnFailure: onAnswer(func(_ context.Context, e *iamhttp.StatusError, _ time.Duration) {
				if reported == nil {
					reported, before = e, *e
				}
			})}
		_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
		assert.NotSame(t, reported, statusError(t, err))
		assert.Equal(t, withoutContent(&before), withoutContent(reported))
	})
}

func TestStackedTransportsSendNoMoreRequestsThanOneTransport(t *testing.T) {
	for _, inner := range []bool{false, true} {
		t.Run(fmt.Sprint("inner pass-through ", inner), func(t *testing.T) {
			base := script(answer(429, ""))
			tr := &iamhttp.Transport{
				Base:    &iamhttp.Transport{Base: base, Backoff: zero, MaxAttempts: 3, PassThrough: inner},
				Backoff: zero, MaxAttempts: 4,
			}
			_, err := tr.RoundTrip(newRequest(t, "POST", "x"))
			e := statusError(t, err)
			assert.Equal(t, 3, base.count())
			assert.Equal(t, 3, e.Attempts)
			assert.Equal(t, iamhttp.StopAttempts, e.Stop)
			for i, s := range base.sent {
				assert.Equal(t, i, s.resend)
			}
		})
	}
	t.Run("the outer Transport does not retry what the inner one has retried", func(t *testing.T) {
		base := script(answer(503, ""), answer(429, ""), answer(503, ""), answer(200, ""))
		tr := &iamhttp.Transport{
			Base:    &iamhttp.Transport{Base: base, Backoff: zero, PassThrough: true},
			Backoff: zero, AlsoRetry: []iamhttp.Code{503},
		}
		_, err := tr.RoundTrip(newRequest(t, "GET", ""))
		e := statusError(t, err)
		assert.Equal(t, iamhttp.StopAttempts, e.Stop, "the inner Transport retried the 429, so the outer one must not retry the 503")
		assert.Equal(t, 3, e.Attempts)
		assert.Equal(t, []int{0, 1, 2}, []int{base.sent[0].resend, base.sent[1].resend, base.sent[2].resend})
	})
}

func TestStackedTransportsDoNotMultiplyTheAttemptsAfterConnectionErrors(t *testing.T) {
	reset := &net.OpError{Op: "read", Err: syscall.ECONNRESET}
	for name, steps := range map[string][]step{
		"connection errors":                      {fail(reset)},
		"alternating 429s and connection errors": {answer(429, ""), fail(reset), answer(429, ""), fail(reset), answer(429, ""), fail(reset), answer(200, "")},
		"timeouts":                               {fail(os.ErrDeadlineExceeded)},
		"two 429s, then only connection errors":  {answer(429, ""), answer(429, ""), fail(reset)},
	} {
		for between, wrap := range map[string]func(http.RoundTripper) http.RoundTripper{
			"none":          func(rt http.RoundTripper) http.RoundTripper { return rt },
			"an opaque one": func(rt http.RoundTripper) http.RoundTripper { return opaque{rt} },
			"one that wraps errors": func(rt http.RoundTripper) http.RoundTripper {
				return roundTripper(func(req *http.Request) (*http.Response, error) {
					resp, err := rt.RoundTrip(req.Clone(req.Context()))
					if err != nil {
						err = fmt.Errorf("between: %w", err)
					}
					return resp, err
				})
			},
		} {
			t.Run(name+", RoundTripper in between: "+between, func(t *testing.T) {
				base := script(steps...)
				inner := &iamhttp.Transport{Base: base, RetryConnectionErrors: true, MaxAttempts: 4, Backoff: zero}
				outer := &iamhttp.Transport{Base: wrap(inner), RetryConnectionErrors: true, MaxAttempts: 4, Backoff: zero}
				_, err := outer.RoundTrip(newRequest(t, "GET", ""))
				require.Error(t, err)
				assert.Equal(t, 4, base.count())
			})
		}
	}
	t.Run("an inner Transport that makes fewer attempts than the outer one", func(t *testing.T) {
		base := script(fail(reset))
		inner := &iamhttp.Transport{Base: base, RetryConnectionErrors: true, MaxAttempts: 2, Backoff: zero}
		outer := &iamhttp.Transport{Base: inner, RetryConnectionErrors: true, MaxAttempts: 4, Backoff: zero}
		_, err := outer.RoundTrip(newRequest(t, "GET", ""))
		assert.Equal(t, error(reset), err)
		assert.Equal(t, 4, base.count())
		for i, s := range base.sent {
			assert.Equal(t, i, s.resend)
		}
	})
}

func TestAStatusErrorFromBaseIsReturnedUnchanged(t *testing.T) {
	for _, wrapped := range []bool{false, true} {
		var below error = iamhttp.NewStatusError(429, nil, nil)
		if wrapped {
			below = &url.Error{Op: "Get", URL: "x", Err: below}
		}
		base := script(fail(below))
		var failures []iamhttp.Failure
		tr := &iamhttp.Transport{Base: base, RetryConnectionErrors: true,
			OnFailure: func(_ context.Context, f iamhttp.Failure) { failures = append(failures, f) }}
		_, err := tr.RoundTrip(newRequest(t, "GET", ""))
		assert.Same(t, below, err)
		require.Len(t, failures, 1)
		assert.Same(t, below, failures[0].Err)
		assert.Equal(t, 1, base.count())
	}
}

func TestZeroAndNegativeSettingsMeanTheDefault(t *testing.T) {
	for _, n := range []int{0, -1} {
		synctest.Test(t, func(t *testing.T) {
			base := script(answer(429, "", "Retry-After: 120"))
			_, err := (&iamhttp.Transport{Base: base, MaxAttempts: n, MaxWait: time.Duration(n)}).RoundTrip(newRequest(t, "GET", ""))
			e := statusError(t, err)
			assert.Equal(t, 8, base.count())
			assert.Equal(t, 8, e.Attempts)
			assert.Equal(t, iamhttp.StopAttempts, e.Stop)

			base = script(answer(429, "", "Retry-After: 121"))
			_, err = (&iamhttp.Transport{Base: base, MaxAttempts: n, MaxWait: time.Duration(n)}).RoundTrip(newRequest(t, "GET", ""))
			assert.Equal(t, iamhttp.StopWaitTooLong, statusError(t, err).Stop)
		})
	}
}

func TestWithMaxAttemptsOverridesTheSetting(t *testing.T) {
	for n, want := range map[int]int{-1: 2, 0: 2, 1: 1, 3: 3} {
		base := script(answer(429, ""))
		ctx := iamhttp.WithMaxAttempts(t.Context(), n)
		_, err := (&iamhttp.Transport{Base: base, MaxAttempts: 2, Backoff: zero}).RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
		assert.Equal(t, iamhttp.StopAttempts, statusError(t, err).Stop)
		assert.Equal(t, want, base.count(), "wrong number of attempts with WithMaxAttempts(%d)", n)
	}
}

func TestInvalidResultsFromBaseAreHandled(t *testing.T) {
	modes(t, func(t *testing.T, passThrough bool) {
		t.Run("neither response nor error", func(t *testing.T) {
			base := script(fail(nil))
			resp, err := (&iamhttp.Transport{Base: base, PassThrough: passThrough, RetryConnectionErrors: true}).RoundTrip(newRequest(t, "GET", ""))
			assert.Nil(t, resp)
			assert.EqualError(t, err, "iamhttp: Base returned neither response nor error")
			assert.Equal(t, 1, base.count())
		})
		t.Run("both response and error", func(t *testing.T) {
			body, broken := watch(strings.NewReader("")), errors.New("broken")
			both := func(req *http.Request) (*http.Response, error) { return response(req, 200, body, -1), broken }
			resp, err := (&iamhttp.Transport{Base: script(both), PassThrough: passThrough}).RoundTrip(newRequest(t, "GET", ""))
			assert.Nil(t, resp)
			assert.Same(t, broken, err)
			_, closes := body.counts()
			assert.Equal(t, 1, closes)
		})
		t.Run("both response and error, and the response has no body", func(t *testing.T) {
			broken := errors.New("broken")
			both := func(req *http.Request) (*http.Response, error) { return response(req, 200, nil, -1), broken }
			_, err := (&iamhttp.Transport{Base: script(both), PassThrough: passThrough}).RoundTrip(newRequest(t, "GET", ""))
			assert.Same(t, broken, err)
		})
		for _, code := range []int{200, 404, 408, 429} {
			t.Run(fmt.Sprint("no body, ", code), func(t *testing.T) {
				tr := &iamhttp.Transport{Base: script(answerWith(code, nil)), PassThrough: passThrough, MaxAttempts: 2, Backoff: zero}
				resp, err := tr.RoundTrip(newRequest(t, "GET", ""))
				if err == nil {
					assert.Equal(t, http.NoBody, resp.Body)
				} else {
					assert.False(t, statusError(t, err).Truncated)
				}
			})
		}
		for _, code := range []int{-1, 0, 1, 99, 600, 999, 1000} {
			t.Run(fmt.Sprint("status ", code), func(t *testing.T) {
				resp, err := (&iamhttp.Transport{Base: script(answer(code, "")), PassThrough: passThrough}).RoundTrip(newRequest(t, "GET", ""))
				if passThrough {
					require.NoError(t, err)
					assert.Equal(t, code, resp.StatusCode)
				} else {
					assert.ErrorIs(t, err, iamhttp.Code(code))
				}
			})
		}
	})
}

func TestCloseIdleConnectionsReachesBase(t *testing.T) {
	base := &closer{RoundTripper: script(answer(200, ""))}
	(&http.Client{Transport: &iamhttp.Transport{Base: base}}).CloseIdleConnections()
	assert.Equal(t, 1, base.closed)
	(&iamhttp.Transport{Base: script()}).CloseIdleConnections() // must not panic, although this Base has no CloseIdleConnections
}

type closer struct {
	http.RoundTripper
	closed int
}

func (c *closer) CloseIdleConnections() { c.closed++ }

func TestWrappedRoundTripperReturnsTheBaseInUse(t *testing.T) {
	base := script()
	assert.Same(t, base, (&iamhttp.Transport{Base: base}).WrappedRoundTripper())
	assert.Equal(t, http.DefaultTransport, (&iamhttp.Transport{}).WrappedRoundTripper())
}

func TestResendCountIsZeroInABackgroundContext(t *testing.T) {
	assert.Zero(t, iamhttp.ResendCount(context.Background()))
}

func TestSeveralGoroutinesCanSendTheSameRequest(t *testing.T) {
	base := script(answer(429, ""), answer(200, ""), answer(429, ""), answer(200, ""))
	tr := &iamhttp.Transport{Base: base, Backoff: zero}
	req := newRequest(t, "GET", "")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				resp, err := tr.RoundTrip(req)
				if assert.NoError(t, err) {
					resp.Body.Close()
				}
			}
		})
	}
	wg.Wait()
}

func TestHTTPClientWrapsTheStatusErrorInAURLError(t *testing.T) {
	client := &http.Client{Transport: &iamhttp.Transport{Base: script(answer(504, `{"message":"late"}`))}}
	resp, err := client.Get("https://user:password@iam.example/v3/users?x=1")
	assert.Nil(t, resp)
	var ue *url.Error
	ok := errors.As(err, &ue)
	require.True(t, ok)
	assert.True(t, ue.Timeout(), "url.Error.Timeout must be true for a 504")
	assert.ErrorIs(t, err, iamhttp.ErrGatewayTimeout)
	var code iamhttp.Code
	ok = errors.As(err, &code)
	assert.True(t, ok)
	assert.Equal(t, iamhttp.ErrGatewayTimeout, code)
	assert.Equal(t, "https://iam.example/v3/users", statusError(t, err).URL)
}

func TestRedirectsAreLeftToTheClient(t *testing.T) {
	var asked int
	base := script(answer(302, "", "Location: https://elsewhere.example/"), answer(200, ""))
	client := &http.Client{
		Transport:     &iamhttp.Transport{Base: base},
		CheckRedirect: func(*http.Request, []*http.Request) error { asked++; return http.ErrUseLastResponse },
	}
	resp, err := client.Get("https://iam.example/")
	require.NoError(t, err)
	assert.Equal(t, 302, resp.StatusCode)
	assert.Equal(t, 1, asked)
	assert.Equal(t, 1, base.count())
}

func TestHeaderOfAnErrorIsACopy(t *testing.T) {
	shared := http.Header{"X-Request-Id": {"r1"}}
	base := script(func(req *http.Request) (*http.Response, error) {
		r := response(req, 404, http.NoBody, 0)
		r.Header = shared
		return r, nil
	})
	_, err := (&iamhttp.Transport{Base: base}).RoundTrip(newRequest(t, "GET", ""))
	e := statusError(t, err)
	e.Header().Set("X-Request-Id", "changed")
	assert.Equal(t, "r1", shared.Get("X-Request-Id"))
}

func TestLargeRequestBodyIsReplayedIntact(t *testing.T) {
	req := newRequest(t, "PUT", "")
	payload := bytes.Repeat([]byte("x"), 1<<20)
	req.Body = io.NopCloser(bytes.NewReader(payload))
	req.ContentLength = int64(len(payload))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(payload)), nil }
	base := script(answer(429, ""), answer(200, ""))
	_, err := (&iamhttp.Transport{Base: base, Backoff: zero}).RoundTrip(req)
	require.NoError(t, err)
	assert.True(t, slices.Equal([]string{base.sent[0].body, base.sent[1].body}, []string{string(payload), string(payload)}))
}
