package iamhttp_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
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

func TestPermanentConnectionErrorIsNotRetried(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = nil
	secure.StartTLS()
	defer secure.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // sends a TLS alert instead of HTTP
	require.NoError(t, err)
	defer silent.Close()
	go func() {
		for {
			c, err := silent.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 4<<10)) // if data were left unread, Close would reset the connection
			_, _ = c.Write([]byte{0x15, 3, 1, 0, 2, 2, 70})
			c.Close()
		}
	}()
	body := func(failure error, length int64) func(*http.Request) {
		return func(r *http.Request) {
			r.Method, r.ContentLength = "PUT", length
			r.GetBody = func() (io.ReadCloser, error) {
				return io.NopCloser(&failingReader{strings.NewReader("begin"), failure}), nil
			}
			r.Body, _ = r.GetBody()
		}
	}
	for name, tt := range map[string]struct {
		url string
		set func(*http.Request)
	}{
		"no host":                           {plain.URL, func(r *http.Request) { r.URL.Host, r.Host = "", "" }},
		"no URL":                            {plain.URL, func(r *http.Request) { r.URL = nil }},
		"no header":                         {plain.URL, func(r *http.Request) { r.Header = nil }},
		"a method with a space":             {plain.URL, func(r *http.Request) { r.Method = "GET IT"; r.Header["Idempotency-Key"] = []string{"k"} }},
		"an invalid header":                 {plain.URL, func(r *http.Request) { r.Header["A B"] = []string{"x"} }},
		"an invalid header value":           {plain.URL, func(r *http.Request) { r.Header["A"] = []string{"x\n"} }},
		"an unknown scheme":                 {plain.URL, func(r *http.Request) { r.URL.Scheme = "gopher" }},
		"a body shorter than ContentLength": {plain.URL, body(io.EOF, 10)},
		"a body longer than ContentLength":  {plain.URL, body(io.EOF, 3)},
		"a body whose Read fails":           {plain.URL, body(errors.New("disk on fire"), 10)},
		"a body that breaks off":            {plain.URL, body(io.ErrUnexpectedEOF, -1)},
		"HTTPS to an HTTP port":             {strings.Replace(plain.URL, "http:", "https:", 1), nil},
		"HTTP to a port that speaks TLS":    {"http://" + silent.Addr().String(), nil},
		"an untrusted certificate":          {secure.URL, nil},
		"a host that does not exist":        {"http://host.invalid./", nil},
		"an invalid port":                   {"http://127.0.0.1:nonesuch/", nil},
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
			tr := &iamhttp.Transport{RetryConnectionErrors: true, MaxAttempts: 3, Backoff: constant(time.Millisecond),
				Base: roundTripper(func(r *http.Request) (*http.Response, error) {
					attempts.Add(1)
					return base.RoundTrip(r)
				})}
			resp, err := tr.RoundTrip(req)
			require.Error(t, err, resp)
			assert.EqualValues(t, 1, attempts.Load(), "the request was retried although the error is permanent: %v", err)
		})
	}
}

func TestTemporaryConnectionErrorIsRetried(t *testing.T) {
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
		"a GET whose dial was refused":              {"GET", newBase(t), 3},
		"a POST whose dial was refused":             {"POST", newBase(t), 3},
		"a POST whose DNS lookup failed":            {"POST", script(fail(dns)), 3},
		"a POST whose connection to a proxy failed": {"POST", script(fail(&net.OpError{Op: "proxyconnect", Err: errors.New("refused")})), 3},
		"a POST that was reset":                     {"POST", script(fail(&net.OpError{Op: "read", Err: errors.New("reset")})), 1},
		"a GET that was reset":                      {"GET", script(fail(&net.OpError{Op: "read", Err: errors.New("reset")})), 3},
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
