package iamhttp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
)

// failingReader is a reader that returns err instead of io.EOF.
type failingReader struct {
	r   io.Reader
	err error
}

func (f *failingReader) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err == io.EOF {
		err = f.err
	}
	return n, err
}

func TestPermanentErrorIsNotRetried(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = nil
	secure.StartTLS()
	defer secure.Close()
	open := func(length int64, open func() (io.ReadCloser, error)) func(*http.Request) {
		return func(r *http.Request) {
			r.Method, r.ContentLength, r.GetBody = "PUT", length, open
			r.Body, _ = r.GetBody()
		}
	}
	body := func(failure error, length int64) func(*http.Request) {
		return open(length, func() (io.ReadCloser, error) {
			return io.NopCloser(&failingReader{strings.NewReader("begin"), failure}), nil
		})
	}
	for name, tt := range map[string]struct {
		url string
		set func(*http.Request)
	}{
		"a control character in the URL":               {plain.URL, func(r *http.Request) { r.URL.RawQuery = "a\nb" }},
		"an invalid trailer":                           {plain.URL, func(r *http.Request) { body(io.EOF, -1)(r); r.Trailer = http.Header{"Content-Length": {"1"}} }},
		"an invalid Content-Length in the response":    {speaks(t, "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"), nil},
		"a malformed status code":                      {speaks(t, "HTTP/1.1 abc OK\r\n\r\n"), nil},
		"an unknown transfer encoding in the response": {speaks(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: foo\r\n\r\n"), nil},
		"an invalid trailer in the response":           {speaks(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n"), nil},
		"an invalid header value in the response":      {speaks(t, "HTTP/1.1 200 OK\r\nA: b\x00c\r\n\r\n"), nil},
		"a directory as the body":                      {plain.URL, open(10, func() (io.ReadCloser, error) { return os.Open(".") })},
		"a body whose source lost its connection":      {plain.URL, body(errors.New("vault: lost connection"), 10)},
		"a body whose Read times out":                  {plain.URL, body(os.ErrDeadlineExceeded, 10)},
		"no host":                                      {plain.URL, func(r *http.Request) { r.URL.Host, r.Host = "", "" }},
		"no URL":                                       {plain.URL, func(r *http.Request) { r.URL = nil }},
		"no header":                                    {plain.URL, func(r *http.Request) { r.Header = nil }},
		"a method with a space":                        {plain.URL, func(r *http.Request) { r.Method = "GET IT"; r.Header["Idempotency-Key"] = []string{"k"} }},
		"an invalid header name":                       {plain.URL, func(r *http.Request) { r.Header["A B"] = []string{"x"} }},
		"an invalid header value":                      {plain.URL, func(r *http.Request) { r.Header["A"] = []string{"x\n"} }},
		"an unknown scheme":                            {plain.URL, func(r *http.Request) { r.URL.Scheme = "gopher" }},
		"a body shorter than ContentLength":            {plain.URL, body(io.EOF, 10)},
		"a body longer than ContentLength":             {plain.URL, body(io.EOF, 3)},
		"a body whose Read fails":                      {plain.URL, body(errors.New("disk on fire"), 10)},
		"a body that breaks off":                       {plain.URL, body(io.ErrUnexpectedEOF, -1)},
		"HTTPS to an HTTP port":                        {strings.Replace(plain.URL, "http:", "https:", 1), nil},
		"HTTP to a port that speaks TLS":               {speaks(t, "\x15\x03\x01\x00\x02\x02\x46"), nil},
		"an untrusted certificate":                     {secure.URL, nil},
		"a host that does not exist":                   {"http://host.invalid./", nil},
		"an invalid port":                              {"http://127.0.0.1:nonesuch/", nil},
	} {
		t.Run(name, func(t *testing.T) {
			u, err := url.Parse(strings.Replace(tt.url, ":nonesuch", "", 1))
			require.NoError(t, err)
			if strings.Contains(tt.url, "nonesuch") {
				u.Host = "127.0.0.1:nonesuch"
			}
			req := (&http.Request{Method: "GET", URL: u, Header: http.Header{}}).WithContext(t.Context())
			if tt.set != nil {
				tt.set(req)
			}
			base := newBase(t)
			if strings.Contains(name, "host that does not") {
				base.DialContext = func(context.Context, string, string) (net.Conn, error) {
					return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "host.invalid", IsNotFound: true}}
				}
			}
			var attempts atomic.Int32
			tr := &iamhttp.Transport{RetryConnectionErrors: true, MaxAttempts: 20, Backoff: constant(time.Millisecond),
				Base: roundTripper(func(r *http.Request) (*http.Response, error) {
					resp, err := base.RoundTrip(r)
					// Instead of the error for which it closed the connection, net/http sometimes
					// returns this one, under load even several times in a row.
					if !errors.Is(err, net.ErrClosed) {
						attempts.Add(1)
					}
					return resp, err
				})}
			resp, err := tr.RoundTrip(req)
			require.Error(t, err, resp)
			assert.EqualValues(t, 1, attempts.Load(), "the request was retried although the error is permanent: %v", err)
		})
	}
}

// speaks returns the URL of a server that reads once from each connection, sends text and
// closes the connection.
func speaks(t *testing.T, text string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 4<<10)) // if data were left unread, Close would reset the connection
			_, _ = io.WriteString(c, text)
			c.Close()
		}
	}()
	return "http://" + l.Addr().String()
}

func TestProxyAndDialerErrorsAreRetriedOnlyIfTemporary(t *testing.T) {
	proxy := func(answer string) func(*http.Transport) {
		return func(base *http.Transport) {
			u, err := url.Parse(speaks(t, answer))
			require.NoError(t, err)
			base.Proxy = http.ProxyURL(u)
		}
	}
	for name, tt := range map[string]struct {
		set  func(*http.Transport)
		want int32
	}{
		"a proxy that requires a password":   {proxy("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"), 1},
		"a proxy that refuses the host":      {proxy("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"), 1},
		"a proxy that cannot reach the host": {proxy("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"), 3},
		"a dialer that returns neither connection nor error": {func(base *http.Transport) {
			base.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, nil }
		}, 1},
		"a Unix socket that does not exist": {func(base *http.Transport) {
			base.DialContext = func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", "/nonesuch") }
		}, 1},
		"an invalid proxy address": {func(base *http.Transport) {
			base.Proxy = func(*http.Request) (*url.URL, error) { return nil, errors.New(`invalid proxy address "x y"`) }
		}, 1},
		"a proxy address that cannot be parsed": {func(base *http.Transport) {
			base.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(strings.TrimSuffix("http://[::1]", "]")) }
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			base := newBase(t)
			tt.set(base)
			var attempts atomic.Int32
			tr := &iamhttp.Transport{RetryConnectionErrors: true, MaxAttempts: 3, Backoff: zero, Base: roundTripper(func(r *http.Request) (*http.Response, error) {
				attempts.Add(1)
				return base.RoundTrip(r)
			})}
			_, err := tr.RoundTrip(newRequest(t, "GET", ""))
			require.Error(t, err)
			assert.Equal(t, tt.want, attempts.Load(), err)
		})
	}
}

// A response that breaks off within a line must not be taken for a malformed response.
func TestRequestIsRetriedWhereverTheResponseHeaderBreaksOff(t *testing.T) {
	const whole = "HTTP/1.1 200 OK\r\nServer: a b\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
	for n := range len(whole) - 1 {
		base := newBase(t)
		u, err := url.Parse(speaks(t, whole[:n]))
		require.NoError(t, err)
		req := newRequest(t, "GET", "")
		req.URL = u
		var attempts atomic.Int32
		tr := &iamhttp.Transport{RetryConnectionErrors: true, MaxAttempts: 2, Backoff: zero, Base: roundTripper(func(r *http.Request) (*http.Response, error) {
			attempts.Add(1)
			return base.RoundTrip(r)
		})}
		_, err = tr.RoundTrip(req)
		require.Error(t, err)
		assert.EqualValues(t, 2, attempts.Load(), "%q: %v", whole[:n], err)
	}
}

func TestBodyThatFailsInARetryEndsTheCall(t *testing.T) {
	base := script(answer(429, ""))
	req := newRequest(t, "PUT", "x")
	req.GetBody = func() (io.ReadCloser, error) {
		return io.NopCloser(&failingReader{strings.NewReader(""), errors.New("disk on fire")}), nil
	}
	attempts := 0
	tr := &iamhttp.Transport{RetryConnectionErrors: true, Backoff: zero, Base: roundTripper(func(r *http.Request) (*http.Response, error) {
		attempts++
		return base.RoundTrip(r)
	})}
	_, err := tr.RoundTrip(req)
	require.EqualError(t, err, "disk on fire")
	assert.Equal(t, 2, attempts)
}

// A rewinding is a body whose GetBody returns the same reader, rewound. Each Read takes a
// while.
type rewinding struct {
	*bytes.Reader
	every time.Duration
	reads atomic.Int32 // the number of Reads that are running
	mixed atomic.Bool  // whether two Reads, or a Read and GetBody, have run at the same time
}

func (r *rewinding) Read(p []byte) (int, error) {
	if r.reads.Add(1) > 1 {
		r.mixed.Store(true)
	}
	defer r.reads.Add(-1)
	time.Sleep(r.every)
	return r.Reader.Read(p[:min(len(p), 32<<10)])
}

func (r *rewinding) Close() error { return nil }

func (r *rewinding) open() (io.ReadCloser, error) {
	if r.reads.Load() > 0 {
		r.mixed.Store(true)
	}
	_, err := r.Seek(0, io.SeekStart)
	return r, err
}

func TestRetryNeverSharesItsBodyWithTheCheckOfTheBody(t *testing.T) {
	for name, tt := range map[string]struct {
		every time.Duration
		limit time.Duration
		sends int
		stop  iamhttp.StopReason
	}{
		"a slow body":       {8 * time.Millisecond, time.Hour, 2, iamhttp.StopUnset},
		"a Read that hangs": {time.Minute, time.Hour, 1, iamhttp.StopNotRetryable},
		"a Read that hangs, and the call is ended": {time.Minute, 500 * time.Millisecond, 1, iamhttp.StopCanceled},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				data := []byte(strings.Repeat("0123456789abcdef", 64<<10))
				body := &rewinding{Reader: bytes.NewReader(data), every: tt.every}
				var sends int
				var got []byte
				var stop iamhttp.StopReason
				ctx, cancel := context.WithTimeout(t.Context(), tt.limit)
				defer cancel()
				req := newRequest(t, "PUT", "").WithContext(ctx)
				req.Body, req.GetBody = body, body.open
				tr := &iamhttp.Transport{RetryConnectionErrors: true, Backoff: zero, Base: roundTripper(func(r *http.Request) (*http.Response, error) {
					if sends++; sends == 1 {
						return nil, errors.New("an attempt timed out")
					}
					var err error
					got, err = io.ReadAll(r.Body)
					assert.NoError(t, err)
					return answer(200, "")(r)
				}), OnFailure: func(_ context.Context, f iamhttp.Failure) { stop = f.Stop }}
				resp, err := tr.RoundTrip(req)
				assert.False(t, body.mixed.Load(), "two readers of the body ran at the same time")
				assert.Equal(t, tt.sends, sends)
				assert.Equal(t, tt.stop, stop)
				if tt.stop == iamhttp.StopUnset {
					require.NoError(t, err)
					resp.Body.Close()
					assert.Equal(t, data, got, "the retry must send the whole body")
				} else {
					assert.ErrorContains(t, err, "an attempt timed out")
				}
				if tt.stop == iamhttp.StopCanceled {
					assert.ErrorIs(t, err, context.DeadlineExceeded)
				}
				time.Sleep(time.Hour) // wait until the last Read has ended
			})
		})
	}
}

func TestAttemptsOfATokenRequestAreNotAttemptsOfTheRequestThatNeedsTheToken(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for name, tt := range map[string]struct {
		path       string // of the requests for a token
		token, api []step
		sends      int                // the expected number of requests with a token
		attempts   []int              // the expected attempts of the failures
		stop       iamhttp.StopReason // the expected Stop of the last failure; StopUnset if the call succeeds
	}{
		"no connection for 3 requests for a token": {
			"/v3/auth/tokens", []step{fail(refused), fail(refused), fail(refused), answer(200, "")},
			[]step{answer(429, ""), answer(429, ""), answer(200, "")}, 3, []int{1, 2, 3}, iamhttp.StopUnset,
		},
		"no connection for 3 requests for a token, with the same URL": {
			"/v3/users", []step{fail(refused), fail(refused), fail(refused), answer(200, "")},
			[]step{answer(429, ""), answer(429, ""), answer(200, "")}, 3, []int{1, 2, 3}, iamhttp.StopUnset,
		},
		"a 429 for 3 requests for a token": {
			"/v3/auth/tokens", []step{answer(429, "")}, nil, 0, []int{1}, iamhttp.StopNotRetryable,
		},
		"a 429 for 3 requests for a token, with the same URL": {
			"/v3/users", []step{answer(429, "")}, nil, 0, []int{1}, iamhttp.StopNotRetryable,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var reported failures
			api := script(tt.api...)
			tokens := &http.Client{Transport: &iamhttp.Transport{MaxAttempts: 3, Backoff: zero, RetryConnectionErrors: true, Base: script(tt.token...)}}
			tr := &iamhttp.Transport{MaxAttempts: 4, Backoff: zero, RetryConnectionErrors: true, OnFailure: reported.add, Base: roundTripper(func(req *http.Request) (*http.Response, error) {
				login := newRequest(t, "POST", "").WithContext(req.Context())
				login.URL.Path = tt.path
				resp, err := tokens.Do(login)
				if err != nil {
					return nil, fmt.Errorf("no token: %w", err)
				}
				resp.Body.Close()
				return api.RoundTrip(req)
			})}
			resp, err := tr.RoundTrip(newRequest(t, "GET", ""))
			var attempts []int
			var stop iamhttp.StopReason
			for _, f := range reported {
				attempts, stop = append(attempts, f.Attempt), f.Stop
				if e, ok := f.Status(); ok {
					assert.Equal(t, "GET", e.Method, "the error belongs to a request for a token")
				}
			}
			assert.Equal(t, tt.attempts, attempts)
			assert.Equal(t, tt.sends, api.count())
			assert.Equal(t, tt.stop, stop)
			if assert.Equal(t, tt.stop == iamhttp.StopUnset, err == nil, err) && err == nil {
				resp.Body.Close()
			}
		})
	}
}

func TestPOSTIsNotRetriedIfARedirectLedToADialError(t *testing.T) {
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var carriedOut atomic.Int32
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		carriedOut.Add(1)
		http.Redirect(w, r, "http://"+refused.Addr().String(), http.StatusSeeOther)
	}))
	defer service.Close()
	refused.Close() // only now, because the service might have got the same port
	client := &http.Client{Transport: newBase(t)}
	req, err := http.NewRequestWithContext(t.Context(), "POST", service.URL, strings.NewReader("x"))
	require.NoError(t, err)
	_, err = (&iamhttp.Transport{RetryConnectionErrors: true, Backoff: zero, Base: roundTripper(client.Do)}).RoundTrip(req)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	assert.EqualValues(t, 1, carriedOut.Load(), "the POST was carried out more than once")
}

func TestTemporaryConnectionErrorIsRetriedIfARetryIsSafe(t *testing.T) {
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := "http://" + refused.Addr().String()
	refused.Close()
	dns := &net.OpError{Op: "dial", Err: &net.DNSError{Err: "server misbehaving", Name: "iam.example", IsTemporary: true}}
	for name, tt := range map[string]struct {
		method string
		base   http.RoundTripper
		want   int32
	}{
		"a GET whose connection was refused":                       {"GET", newBase(t), 3},
		"a POST whose connection was refused":                      {"POST", newBase(t), 3},
		"a POST whose DNS lookup failed":                           {"POST", script(fail(dns)), 3},
		"a POST whose connection to a proxy failed":                {"POST", script(fail(&net.OpError{Op: "proxyconnect", Err: errors.New("refused")})), 3},
		"a POST whose connection was reset":                        {"POST", script(fail(&net.OpError{Op: "read", Err: errors.New("reset")})), 1},
		"a GET whose connection was reset":                         {"GET", script(fail(&net.OpError{Op: "read", Err: errors.New("reset")})), 3},
		"a POST that neither of two hosts received":                {"POST", script(fail(errors.Join(dns, dns))), 3},
		"a POST that one of two hosts may have got":                {"POST", script(fail(errors.Join(io.EOF, dns))), 1},
		"a GET that one of two hosts may have got":                 {"GET", script(fail(errors.Join(io.EOF, dns))), 3},
		"a POST that a proxy and a host refused":                   {"POST", script(fail(errors.Join(dns, connectError(429)))), 3},
		"a POST that a proxy refused after a host may have got it": {"POST", script(fail(errors.Join(io.EOF, connectError(429)))), 1},
		"a GET that a proxy refused after a host may have got it":  {"GET", script(fail(errors.Join(io.EOF, connectError(429)))), 3},
	} {
		t.Run(name, func(t *testing.T) {
			var attempts atomic.Int32
			tr := &iamhttp.Transport{RetryConnectionErrors: true, MaxAttempts: 3, Backoff: constant(time.Millisecond),
				Base: roundTripper(func(r *http.Request) (*http.Response, error) {
					attempts.Add(1)
					return tt.base.RoundTrip(r)
				})}
			req, err := http.NewRequestWithContext(t.Context(), tt.method, address, bytes.NewReader([]byte("body")))
			require.NoError(t, err)
			_, err = tr.RoundTrip(req)
			require.Error(t, err)
			assert.Equal(t, tt.want, attempts.Load())
		})
	}
}
