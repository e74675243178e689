package iamhttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"go/version"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
)

// The tests in this file limit what a call may cost in allocations and memory, and check
// that waiting calls return when they are canceled. bench_test.go measures durations.

// fixed is a Base that does not allocate: it returns the same responses in turn, over
// and over.
type fixed struct {
	answers []http.Response
	bodies  []string
	next    int
	current strings.Reader
}

func (f *fixed) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		req.Body.Close()
	}
	i := f.next % len(f.answers)
	f.next++
	resp := &f.answers[i]
	resp.Body = http.NoBody
	if f.bodies[i] != "" {
		f.current.Reset(f.bodies[i])
		resp.Body, resp.ContentLength = (*readCloser)(&f.current), int64(len(f.bodies[i]))
	}
	return resp, nil
}

// readCloser is a strings.Reader with a Close method.
type readCloser strings.Reader

func (r *readCloser) Read(p []byte) (int, error) { return (*strings.Reader)(r).Read(p) }
func (r *readCloser) Close() error               { return nil }

func fixedAnswers(header http.Header, body string, codes ...int) *fixed {
	f := new(fixed)
	for _, code := range codes {
		f.answers = append(f.answers, http.Response{StatusCode: code, Header: header})
		if code < 400 {
			f.bodies = append(f.bodies, "")
		} else {
			f.bodies = append(f.bodies, body)
		}
	}
	return f
}

const keystoneBody = `{"error":{"code":404,"message":"Could not find user: 0123456789abcdef0123456789abcdef.","title":"Not Found"}}`

var keystoneHeader = http.Header{
	"Content-Type":           {"application/json"},
	"Vary":                   {"X-Auth-Token"},
	"X-Openstack-Request-Id": {"req-7e3bf0a6-55a1-4f5a-9c8d-0f6f7c1b2a3d"},
}

// allocs returns the number of allocations per call.
func allocs(t testing.TB, rt http.RoundTripper, req *http.Request) float64 {
	t.Helper()
	return testing.AllocsPerRun(200, func() { _, _ = rt.RoundTrip(req) })
}

func TestSuccessAddsNoAllocation(t *testing.T) {
	ctx, _ := iamhttp.WithRecorder(iamhttp.WithMaxAttempts(iamhttp.WithExpected(t.Context(), 404), 3))
	for name, req := range map[string]*http.Request{
		"GET":                           newRequest(t, "GET", ""),
		"POST":                          newRequest(t, "POST", "body"),
		"GET with options":              newRequest(t, "GET", "").WithContext(ctx),
		"GET with a cancelable context": newRequest(t, "GET", "").WithContext(t.Context()),
	} {
		t.Run(name, func(t *testing.T) {
			base := fixedAnswers(nil, "", 200)
			assert.Zero(t, allocs(t, &iamhttp.Transport{Base: base}, req)-allocs(t, base, req))
		})
	}
}

func TestSuccessOverTheDefaultTransportAddsNoAllocation(t *testing.T) {
	original := http.DefaultTransport
	defer func() { http.DefaultTransport = original }()
	plain := new(http.Transport)
	plain.RegisterProtocol("fixed", fixedAnswers(nil, "", 200))
	http.DefaultTransport = plain
	req := newRequest(t, "GET", "")
	req.URL.Scheme = "fixed"
	assert.Zero(t, allocs(t, new(iamhttp.Transport), req)-allocs(t, plain, req))
}

func TestSuccessAllocatesNoBytes(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		req := newRequest(t, method, strings.Repeat("x", len(method)-3))
		tr := &iamhttp.Transport{Base: fixedAnswers(nil, "", 200)}
		assert.Zero(t, allocated(func() { _, _ = tr.RoundTrip(req) }), method)
	}
}

// allocated returns how many bytes f allocates on average.
func allocated(f func()) uint64 {
	const calls = 10_000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range calls {
		f()
	}
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / calls
}

// own is an error type that an application might write if it did not use this library.
type own struct {
	Code                                    int
	ServiceCode, Message, RequestID, Method string
	URL                                     string
	Header                                  http.Header
	Body                                    []byte
	RetryAfter                              string
}

func (e *own) Error() string { return e.Message }

func ownError(req *http.Request, resp *http.Response) error {
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	var parsed struct {
		Error struct {
			Code    any    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	_ = json.Unmarshal(body, &parsed)
	u := *req.URL
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	code, _ := parsed.Error.Code.(string)
	return &own{
		Code: resp.StatusCode, ServiceCode: code, Message: parsed.Error.Message, RequestID: resp.Header.Get("X-Openstack-Request-Id"),
		Method: req.Method, URL: u.String(), Header: resp.Header.Clone(), Body: body, RetryAfter: resp.Header.Get("Retry-After"),
	}
}

func TestTypedErrorAllocatesLessThanAHandWrittenOne(t *testing.T) {
	req := newRequest(t, "GET", "")
	req = req.WithContext(context.Background())
	base := fixedAnswers(keystoneHeader, keystoneBody, 404)
	tr := &iamhttp.Transport{Base: base}
	floor := allocs(t, base, req)
	typed := allocs(t, tr, req) - floor
	byHand := func() {
		resp, _ := base.RoundTrip(req)
		_ = ownError(req, resp)
	}
	allocsByHand := testing.AllocsPerRun(200, byHand) - floor
	bytes, bytesByHand := allocated(func() { _, _ = tr.RoundTrip(req) }), allocated(byHand)
	t.Logf("typed error: %v allocations, %d bytes; hand-written error with io.ReadAll and json.Unmarshal: %v allocations, %d bytes", typed, bytes, allocsByHand, bytesByHand)
	assert.LessOrEqual(t, typed, 8.0)
	if version.Compare(runtime.Version(), "go1.27") < 0 { // with Go 1.27, the hand-written code, which reads the body without a time limit, makes only 9 allocations
		assert.Less(t, typed, allocsByHand)
	}
	assert.Less(t, bytes, bytesByHand)
}

func TestErrorBodyOfKnownLengthIsReadIntoOneBuffer(t *testing.T) {
	req := newRequest(t, "GET", "").WithContext(context.Background())
	cost := func(size int) float64 {
		return allocs(t, &iamhttp.Transport{Base: fixedAnswers(nil, strings.Repeat("x", size), 404)}, req)
	}
	assert.Equal(t, cost(100), cost(4000))
}

// The gateway's error bodies contain a code, a message and a request ID.
func TestTypedErrorForAGatewayResponseCostsAtMostEightAllocations(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	for name, ctx := range map[string]context.Context{"without a deadline": context.Background(), "with a deadline": ctx} {
		for _, message := range []string{"Could not find user", `Could not find user \"bob\"`} {
			req := newRequest(t, "GET", "").WithContext(ctx)
			base := fixedAnswers(nil, `{"error_msg":"`+message+`","error_code":"IAM.0004","request_id":"e2b44851-0991-411b-a6b7-9ac8518a4cd9"}`, 404)
			assert.LessOrEqual(t, allocs(t, &iamhttp.Transport{Base: base}, req)-allocs(t, base, req), 8.0, "%s, with the message %s", name, message)
		}
	}
}

func TestRetryCostsAtMostThreeAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("with the race detector, a sync.Pool drops some values at random")
	}
	limited, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	for name, tt := range map[string]struct {
		header http.Header
		body   string
		ctx    context.Context
	}{
		"without a body":                          {nil, "", context.Background()},
		"with a body of 200 bytes":                {nil, strings.Repeat("x", 200), context.Background()},
		"with a body of 200 bytes and a deadline": {nil, strings.Repeat("x", 200), limited},
		"with a RateLimit header":                 {http.Header{"Ratelimit": {`"default";r=0;t=1`}}, "", context.Background()},
		"with a RateLimit header and a body": {
			http.Header{"Ratelimit": {`"default";r=0;t=1`}, "Ratelimit-Policy": {`"default";q=10;w=60`}}, strings.Repeat("x", 200), context.Background(),
		},
		"with a RateLimit header of an older draft and a body": {
			http.Header{"Ratelimit": {"limit=10, remaining=0, reset=1"}, "Ratelimit-Policy": {"10;w=60"}}, strings.Repeat("x", 200), context.Background(),
		},
		"with a body that states a limit": {
			nil, `{"error_msg":"The throttling threshold has been reached: Policy user over ratelimit,limit:200,time:1 second","error_code":"APIG.0308","request_id":"e2b44851-0991-411b-a6b7-9ac8518a4cd9"}`,
			context.Background(),
		},
	} {
		req, body := newRequest(t, "GET", "").WithContext(tt.ctx), tt.body
		t.Run(name, func(t *testing.T) {
			cost := func(codes ...int) float64 {
				base := fixedAnswers(tt.header, body, codes...)
				attempts := func() {
					for range codes {
						_, _ = base.RoundTrip(req)
					}
				}
				// MaxWait shortens the wait for the stated limit.
				return allocs(t, &iamhttp.Transport{Base: base, Backoff: zero, MaxWait: time.Nanosecond}, req) - testing.AllocsPerRun(200, attempts)
			}
			one, two := cost(429, 200), cost(429, 429, 200)
			t.Logf("allocations, including timers and bounded reading: %v for one retry, %v for two", one, two)
			assert.LessOrEqual(t, one, 3.0)
			assert.LessOrEqual(t, two, 6.0)
		})
	}
}

func TestRetryThatWaitsCostsAtMostThreeAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("with the race detector, a sync.Pool drops some values at random")
	}
	limited, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	millisecond := backoff.NewConstantBackOff(time.Millisecond)
	for _, body := range []string{"", strings.Repeat("x", 200)} {
		for _, ctx := range []context.Context{context.Background(), limited} {
			req := newRequest(t, "GET", "").WithContext(ctx)
			base := fixedAnswers(nil, body, 429, 200)
			tr := &iamhttp.Transport{Base: base, Backoff: func() backoff.BackOff { return millisecond }}
			assert.LessOrEqual(t, allocs(t, tr, req)-2*allocs(t, base, req), 3.0, "body of %d bytes, %v", len(body), ctx)
		}
	}
	const stated = `{"error_msg":"The throttling threshold has been reached: policy user over ratelimit,limit:200,time:5 minute","error_code":"APIG.0308","request_id":"e2b44851-0991-411b-a6b7-9ac8518a4cd9"}`
	for _, body := range []string{strings.Repeat("x", 200), stated} {
		synctest.Test(t, func(t *testing.T) {
			req := newRequest(t, "GET", "").WithContext(context.Background())
			base := fixedAnswers(nil, body, 429, 429, 200)
			assert.LessOrEqual(t, allocs(t, &iamhttp.Transport{Base: base}, req)-3*allocs(t, base, req), 6.0, "two retries with the default Backoff and the body %s", body)
		})
	}
}

func TestUploadOf64MiBIsNotBuffered(t *testing.T) {
	const size = 64 << 20
	path := filepath.Join(t.TempDir(), "upload")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Truncate(path, size))
	open := func() (io.ReadCloser, error) { return os.Open(path) }
	received := 0
	buf := make([]byte, 32<<10)
	base := script(answer(429, ""), answer(200, ""))
	drained := roundTripper(func(req *http.Request) (*http.Response, error) {
		for {
			n, err := req.Body.Read(buf)
			received += n
			if err != nil {
				break
			}
		}
		req.Body.Close()
		sent := *req
		sent.Body = nil
		return base.RoundTrip(&sent)
	})
	body, err := open()
	require.NoError(t, err)
	req := newRequest(t, "PUT", "")
	req.Body, req.GetBody, req.ContentLength = body, open, size
	tr := &iamhttp.Transport{Base: drained, Backoff: zero}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = tr.RoundTrip(req)
	runtime.ReadMemStats(&after)
	require.NoError(t, err)
	assert.Equal(t, 2*size, received)
	t.Logf("the upload allocated %d bytes", after.TotalAlloc-before.TotalAlloc)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(100<<10))
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func TestTenThousandWaitingCallsUseLittleMemoryAndReturnWhenCanceled(t *testing.T) {
	if testing.Short() {
		t.Skip("this test starts ten thousand goroutines")
	}
	const calls = 10_000
	body := strings.Repeat("x", 200)
	var waiting sync.WaitGroup
	waiting.Add(calls)
	base := roundTripper(func(req *http.Request) (*http.Response, error) {
		defer waiting.Done()
		return &http.Response{StatusCode: 429, Body: io.NopCloser(strings.NewReader(body)), ContentLength: 200,
			Header: http.Header{"Retry-After": {"60"}}, Request: req}, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	tr := &iamhttp.Transport{Base: base}
	errs := make(chan error, calls)
	start := make(chan struct{})
	for range calls {
		go func() {
			<-start
			req, err := http.NewRequestWithContext(ctx, "GET", "https://iam.example/v3/users", nil)
			if err == nil {
				_, err = tr.RoundTrip(req)
			}
			errs <- err
		}()
	}
	// The goroutines stand for the caller's own, so they are started before the first
	// measurement.
	before, goroutines := heap(), runtime.NumGoroutine()
	close(start)
	waiting.Wait()
	// Let the goroutines that read the bodies finish. After that, each call waits for its
	// timer.
	for i := 0; i < 1000 && runtime.NumGoroutine() > goroutines; i++ {
		runtime.Gosched()
	}
	perCall := (int64(heap()) - int64(before)) / calls
	t.Logf("heap: %d bytes per waiting call, including the caller's request", perCall)
	assert.LessOrEqual(t, perCall, int64(2<<10))
	assert.LessOrEqual(t, runtime.NumGoroutine(), goroutines, "a waiting call must not keep a goroutine besides the caller's")

	canceled := time.Now()
	cancel()
	for range calls {
		require.ErrorIs(t, <-errs, context.Canceled)
	}
	t.Logf("all calls returned within %v of the cancellation", time.Since(canceled))
}

// heap returns how many bytes are live after a garbage collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestTenThousandCanceledCallsReturnAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("this test starts ten thousand goroutines")
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		tr := &iamhttp.Transport{Base: script(answer(429, "x", "Retry-After: 60"))}
		var canceled atomic.Int32
		var wg sync.WaitGroup
		for range 10_000 {
			wg.Go(func() {
				if _, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx)); errors.Is(err, context.Canceled) {
					canceled.Add(1)
				}
			})
		}
		synctest.Wait() // all calls are waiting now
		start := time.Now()
		cancel()
		wg.Wait()
		assert.Zero(t, time.Since(start))
		assert.EqualValues(t, 10_000, canceled.Load())
	})
}
