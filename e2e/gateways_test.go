package e2e

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
)

func quick() backoff.BackOff { return backoff.NewConstantBackOff(10 * time.Millisecond) }

// statusError asserts that err contains a *StatusError with the given code, and returns
// it.
func statusError(t *testing.T, err error, code iamhttp.Code) *iamhttp.StatusError {
	t.Helper()
	require.ErrorIs(t, err, code)
	var e *iamhttp.StatusError
	ok := errors.As(err, &e)
	require.True(t, ok)
	return e
}

// get sends a GET and discards the response. It returns the error, if any.
func get(c *http.Client, url string) error {
	resp, err := c.Get(url)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return err
}

func TestRetriesWaitAsLongAsTheRateLimiterAsks(t *testing.T) {
	for name, tt := range map[string]struct {
		server  int
		path    string
		service string
		atLeast time.Duration
		date    bool
	}{
		"nginx":                          {nginxLimited, "/v3", "", time.Second, false},
		"HAProxy":                        {haproxyLimited, "/v3", "APIG.0308", 2 * time.Second, false},
		"HAProxy, Retry-After as a date": {haproxyLimited, "/v3/date", "APIG.0308", 2 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			url := at(t, tt.server) + tt.path
			tr := &iamhttp.Transport{}
			reports := reporting(tr)
			c := client(t, tr)
			for i := 0; i < 30 && len(*reports) == 0; i++ {
				start := time.Now()
				require.NoError(t, get(c, url))
				for _, f := range *reports {
					e := statusError(t, f.Err, iamhttp.ErrTooManyRequests)
					assert.True(t, f.Retry)
					assert.Equal(t, iamhttp.StopUnset, f.Stop)
					assert.Equal(t, tt.service, e.ServiceCode)
					assert.GreaterOrEqual(t, e.RetryAfter, tt.atLeast)
					assert.GreaterOrEqual(t, f.Wait, e.RetryAfter, "the retry must not come before Retry-After")
					assert.Equal(t, tt.date, strings.HasSuffix(e.Header().Get("Retry-After"), "GMT"))
					assert.GreaterOrEqual(t, time.Since(start), f.Wait)
				}
			}
			require.NotEmpty(t, *reports, "no request was throttled")
		})
	}
}

func TestWithoutRetryAfterTheLimitStatedByNginxDecidesTheWait(t *testing.T) {
	for path, limit := range map[string]gate.Limit{
		"envoy": {Reset: 2 * time.Second},
		"ietf":  {Requests: 1, Per: 2 * time.Second, Reset: 2 * time.Second, Policy: "default"},
	} {
		t.Run(path, func(t *testing.T) {
			tr := &iamhttp.Transport{Backoff: quick}
			reports := reporting(tr)
			c := client(t, tr)
			c.Timeout = time.Minute
			for i := 0; i < 10 && len(*reports) == 0; i++ {
				require.NoError(t, get(c, at(t, nginx)+"/stated/"+path))
			}
			require.Len(t, *reports, 1, "one retry must be enough, because it is sent after the limit is reset")
			f := (*reports)[0]
			e := statusError(t, f.Err, iamhttp.ErrTooManyRequests)
			assert.True(t, f.Retry)
			assert.Zero(t, e.RetryAfter)
			assert.Equal(t, limit, e.Limit)
			assert.GreaterOrEqual(t, f.Wait, 2*time.Second)
		})
	}
}

func Test408FromHAProxyIsRetriedUntilTheAttemptsAreUsedUp(t *testing.T) {
	for path, retryAfter := range map[string]time.Duration{"/fault/408": 0, "/fault/408-retry-after": time.Second} {
		t.Run(path, func(t *testing.T) {
			tr := &iamhttp.Transport{MaxAttempts: 2, Backoff: quick}
			reports := reporting(tr)
			err := get(client(t, tr), at(t, haproxy)+path)
			e := statusError(t, err, iamhttp.ErrRequestTimeout)
			assert.Equal(t, iamhttp.StopAttempts, e.Stop)
			assert.Equal(t, 2, e.Attempts)
			assert.Equal(t, retryAfter, e.RetryAfter)
			assert.True(t, e.Timeout())
			assert.Len(t, *reports, 2)
		})
	}
}

// listen returns a listener on the port of a server that the test itself provides.
func listen(t *testing.T, server int) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address(t, server))
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// stall is a body that blocks after its first bytes until it is closed, like a file on a
// network disk that has gone away.
type stall struct {
	begun  bool
	closed chan struct{}
}

func (s *stall) Read(p []byte) (int, error) {
	if !s.begun {
		s.begun = true
		return copy(p, "begin"), nil
	}
	<-s.closed
	return 0, io.ErrUnexpectedEOF
}

func (s *stall) Close() error { close(s.closed); return nil }

func TestStalledUploadIsRetriedInFullAfterTheGatewayTimesOut(t *testing.T) {
	url := at(t, haproxyBuffered)
	const whole = "beginning and end"
	var stored atomic.Value
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		stored.Store(string(b))
		w.WriteHeader(201)
	})}
	go srv.Serve(listen(t, upstream))
	defer srv.Close()

	tr := &iamhttp.Transport{Backoff: quick}
	reports := reporting(tr)
	req, err := http.NewRequestWithContext(t.Context(), "POST", url+"/upload/x", &stall{closed: make(chan struct{})})
	require.NoError(t, err)
	req.ContentLength = int64(len(whole))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(whole)), nil }
	resp, err := client(t, tr).Do(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 201, resp.StatusCode)
	assert.Equal(t, whole, stored.Load())
	require.Len(t, *reports, 1)
	assert.Equal(t, iamhttp.ErrRequestTimeout, code((*reports)[0]))
}

func Test413DuringAnUploadIsTypedAndNotRetried(t *testing.T) {
	for _, size := range []int{100 << 10, 8 << 20} {
		t.Run(fmt.Sprint(size, " bytes"), func(t *testing.T) {
			tr := &iamhttp.Transport{}
			reports := reporting(tr)
			_, err := client(t, tr).Post(at(t, nginx)+"/v3/users", "application/json", bytes.NewReader(make([]byte, size)))
			e := statusError(t, err, iamhttp.ErrRequestEntityTooLarge)
			assert.Equal(t, iamhttp.StopNotRetryable, e.Stop)
			assert.Equal(t, 1, e.Attempts)
			assert.Empty(t, e.Message, "Message must be empty, because the body is HTML")
			assert.Len(t, *reports, 1)
		})
	}
}

func Test5xxFromTheGatewaysIsTypedAndNotRetried(t *testing.T) {
	for name, tt := range map[string]struct {
		server     int
		path       string
		code       iamhttp.Code
		retryAfter time.Duration
	}{
		"nginx, upstream is down":            {nginx, "/down/", iamhttp.ErrBadGateway, 0},
		"nginx, maintenance":                 {nginx, "/maintenance/", iamhttp.ErrServiceUnavailable, 2 * time.Second},
		"nginx, upstream does not respond":   {nginx, "/hang/", iamhttp.ErrGatewayTimeout, 0},
		"HAProxy, no upstream":               {haproxy, "/nobody/", iamhttp.ErrServiceUnavailable, 0},
		"HAProxy, upstream does not respond": {haproxy, "/hang/", iamhttp.ErrGatewayTimeout, 0},
		"HAProxy, no failure":                {haproxy, "/v3", 0, 0},
		"Keystone, no failure":               {keystone, "/v3", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			url := at(t, tt.server) + tt.path
			if strings.HasSuffix(tt.path, "/hang/") {
				listen(t, hang) // the kernel accepts connections, but nothing reads from them
			}
			tr := &iamhttp.Transport{}
			reports := reporting(tr)
			err := get(client(t, tr), url)
			if tt.code == 0 {
				require.NoError(t, err)
				return
			}
			e := statusError(t, err, tt.code)
			assert.Equal(t, iamhttp.StopNotRetryable, e.Stop)
			assert.Equal(t, 1, e.Attempts)
			assert.Len(t, *reports, 1)
			assert.Equal(t, tt.retryAfter, e.RetryAfter, "RetryAfter must hold the header's value, although the request is not retried")
			assert.Empty(t, e.Message)
			assert.NotEmpty(t, e.Body())
			assert.Equal(t, tt.code == iamhttp.ErrGatewayTimeout, e.Timeout())
		})
	}
}

func TestRetryAfterFromNginxIsParsedOrIgnored(t *testing.T) {
	for path, tt := range map[string]struct {
		retryAfter time.Duration // expected value; -1 stands for more than a day
		stop       iamhttp.StopReason
	}{
		"seconds":  {time.Second, iamhttp.StopAttempts},
		"zero":     {0, iamhttp.StopAttempts},
		"past":     {0, iamhttp.StopAttempts},
		"garbage":  {0, iamhttp.StopAttempts},
		"negative": {0, iamhttp.StopAttempts},
		"twice":    {7 * time.Second, iamhttp.StopDeadline},
		"huge":     {24 * time.Hour, iamhttp.StopDeadline},
		"far":      {-1, iamhttp.StopDeadline},
	} {
		t.Run(path, func(t *testing.T) {
			c := client(t, &iamhttp.Transport{MaxAttempts: 2, Backoff: quick})
			c.Timeout = 5 * time.Second
			err := get(c, at(t, nginx)+"/fault/429-"+path)
			e := statusError(t, err, iamhttp.ErrTooManyRequests)
			assert.Equal(t, tt.stop, e.Stop)
			if tt.retryAfter < 0 {
				assert.Greater(t, e.RetryAfter, 24*time.Hour)
			} else {
				assert.Equal(t, tt.retryAfter, e.RetryAfter)
			}
			if tt.stop == iamhttp.StopAttempts {
				assert.Equal(t, 2, e.Attempts)
			} else {
				assert.Equal(t, 1, e.Attempts)
			}
		})
	}
}

// pattern is a body of size bytes whose content has a period of 512 KiB.
type pattern struct{ at, size int }

func (p *pattern) Read(b []byte) (int, error) {
	n := min(len(b), p.size-p.at)
	for i := range n {
		b[i] = byte((p.at + i) * 2654435761 >> 11)
	}
	p.at += n
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func TestBodyOf64MiBIsReplayedByteForByteAfterA429(t *testing.T) {
	const size = 64 << 20
	want := sha256.New()
	_, err := io.Copy(want, &pattern{size: size})
	require.NoError(t, err)
	for name, front := range map[string]int{"nginx": nginx, "HAProxy": haproxy} {
		t.Run(name, func(t *testing.T) {
			url := at(t, front)
			var sums [][]byte
			srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				assert.EqualValues(t, size, r.ContentLength, "the request must have a Content-Length")
				h := sha256.New()
				_, err := io.Copy(h, r.Body)
				assert.NoError(t, err)
				if sums = append(sums, h.Sum(nil)); len(sums) == 1 {
					w.Header().Set("Retry-After", "1")
					w.WriteHeader(429)
					return
				}
				w.WriteHeader(201)
			})}
			go srv.Serve(listen(t, upstream))
			defer srv.Close()
			req, err := http.NewRequestWithContext(t.Context(), "PUT", url+"/upload/image", io.NopCloser(&pattern{size: size}))
			require.NoError(t, err)
			req.ContentLength = size
			req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(&pattern{size: size}), nil }
			resp, err := client(t, &iamhttp.Transport{}).Do(req)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, 201, resp.StatusCode)
			assert.Equal(t, [][]byte{want.Sum(nil), want.Sum(nil)}, sums)
		})
	}
}
