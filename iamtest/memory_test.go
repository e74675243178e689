package iamtest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/iamtest"
)

// seen describes what a client gets for a request without a body.
func seen(t *testing.T, base http.RoundTripper, method string, header http.Header) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://iam.example/", nil)
	require.NoError(t, err)
	req.Header = header.Clone()
	return result(base, req)
}

// result describes what a client gets: the response, except its Date, or an error.
func result(base http.RoundTripper, req *http.Request) string {
	resp, err := base.RoundTrip(req)
	if err != nil {
		return "error " + strings.TrimPrefix(err.Error(), "net/http: HTTP/1.x transport connection broken: ")
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	resp.Header.Del("Date")
	return fmt.Sprintf("%s, %s, length %d, body %q, error %v, header %v, encoding %v, trailer %v, close %v, uncompressed %v",
		resp.Status, resp.Proto, resp.ContentLength, b, err, resp.Header, resp.TransferEncoding, resp.Trailer, resp.Close, resp.Uncompressed)
}

func TestResponsesInMemoryAreTheSameAsOverASocket(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := io.WriteString(w, `{"message":"x"}`)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	zipped := iamtest.Answer{Status: 404, Body: packed.String()}.With("Content-Encoding", "gzip")
	cutOff := zipped
	cutOff.Body = cutOff.Body[:len(cutOff.Body)-12]
	hello := iamtest.Answer{Status: 404, Body: "hello"}
	for name, a := range map[string]iamtest.Answer{
		"a text":                             hello,
		"JSON":                               {Status: 404, Body: `{"message":"x"}`},
		"no body":                            {Status: 404},
		"2048 bytes":                         {Status: 404, Body: strings.Repeat("x", 2048)},
		"2049 bytes":                         {Status: 404, Body: strings.Repeat("x", 2049)},
		"a Content-Length that is too long":  hello.With("Content-Length", "10"),
		"a Content-Length that is too short": hello.With("Content-Length", "3"),
		"a Content-Length that is exact":     hello.With("Content-Length", "5"),
		"a Content-Length that is 0":         iamtest.Answer{Status: 404}.With("Content-Length", "0"),
		"a 304 with a Content-Length":        iamtest.Answer{Status: 304}.With("Content-Length", "5"),
		"a Content-Length that is nil":       {Status: 404, Body: "hello", Header: http.Header{"Content-Length": nil}},
		"a 304 with JSON":                    {Status: 304, Body: "{}"},
		"a 205":                              {Status: 205},
		"a 100":                              {Status: 100, Body: "x"},
		"a 103":                              iamtest.Answer{Status: 103, Body: "x"}.With("Link", "x"),
		"a 204 with a body":                  {Status: 204, Body: "x"},
		"a 101":                              {Status: 101},
		"a status without a text":            {Status: 299},
		"a 999":                              {Status: 999, Body: "x"},
		"gzip":                               zipped,
		"gzip, cut off":                      cutOff,
		"a body that is not gzip, despite Content-Encoding": hello.With("Content-Encoding", "gzip"),
		"gzip without a body":                               iamtest.Answer{Status: 404}.With("Content-Encoding", "gzip"),
		"another encoding":                                  hello.With("Content-Encoding", "br"),
		"Transfer-Encoding":                                 hello.With("Transfer-Encoding", "chunked"),
		"Transfer-Encoding: identity":                       hello.With("Transfer-Encoding", "identity"),
		"Transfer-Encoding: identity, without a body":       iamtest.Answer{Status: 404}.With("Transfer-Encoding", "identity"),
		"Transfer-Encoding: identity and a Content-Length":  hello.With("Transfer-Encoding", "identity").With("Content-Length", "5"),
		"Transfer-Encoding and a Content-Length":            hello.With("Transfer-Encoding", "chunked").With("Content-Length", "5"),
		"a declared trailer":                                {Status: 404, Body: "hello", Header: http.Header{"Trailer": {"X-A, X-B"}, "X-A": {"1"}}},
		"a trailer and a Content-Length":                    iamtest.Answer{Status: 404, Body: "hello", Header: http.Header{"Trailer": {"X-A"}, "X-A": {"1"}}}.With("Content-Length", "5"),
		"a trailer that is not declared":                    {Status: 404, Body: "hello", Header: http.Header{"Trailer:X-A": {"1"}}},
		"Connection: close":                                 iamtest.Page(408),
		"Connection: X-A, Close":                            hello.With("Connection", "X-A, Close"),
		"two Connection fields":                             {Status: 404, Header: http.Header{"Connection": {"X-A", "close"}}},
		"a 204 with Connection: close":                      iamtest.Answer{Status: 204}.With("Connection", "close"),
		"Connection: Upgrade":                               iamtest.Answer{Status: 426}.With("Connection", "Upgrade").With("Upgrade", "x"),
		"two cookies":                                       {Status: 404, Header: http.Header{"Set-Cookie": {"a=b", "c=d"}}},
		"an empty value":                                    hello.With("X-A", ""),
		"an empty Content-Type":                             hello.With("Content-Type", ""),
		"an empty Date":                                     hello.With("Date", ""),
		"a large header":                                    hello.With("X-A", strings.Repeat("x", 100<<10)),
		"Connection: keep-alive":                            hello.With("Connection", "keep-alive"),
		"a header value with newlines":                      iamtest.Answer{Status: 404}.With("X-A", " a\r\nb "),
		"a header name with a space":                        iamtest.Answer{Status: 404}.With("X A", "a"),
		"a header name in lower case":                       {Status: 404, Header: http.Header{"x-request-id": {"1"}}},
		"a header field without a value":                    {Status: 404, Body: "hello", Header: http.Header{"Content-Type": nil}},
		"a reset within the body":                           {Status: 404, Body: "hello", Fault: iamtest.Reset},
		"a reset after the whole body":                      iamtest.Answer{Status: 404, Body: "hello", Fault: iamtest.Reset}.With("Content-Length", "5"),
		"a stall after the whole body":                      iamtest.Answer{Status: 404, Body: "hello", Fault: iamtest.Stall}.With("Content-Length", "5"),
		"a stall of a response without a body":              {Status: 204, Fault: iamtest.Stall},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			for _, header := range []http.Header{{}, {"Accept-Encoding": {"gzip"}}, {"Connection": {"close"}}} {
				t.Run(fmt.Sprint(name, " ", method, " ", header), func(t *testing.T) {
					var memory, socket iamtest.Server
					memory.On("/", a)
					socket.On("/", a)
					want := seen(t, overSocket(t, &socket), method, header)
					assert.Equal(t, want, seen(t, &memory, method, header))
				})
			}
		}
	}
}

func TestHandlersInMemoryRespondAsOverASocket(t *testing.T) {
	body := func(w http.ResponseWriter) { _, _ = io.WriteString(w, "hello") }
	for name, handle := range map[string]http.HandlerFunc{
		"after WriteHeader": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
			w.Header().Set("X-A", "1")
			w.Header().Set("Content-Type", "text/css")
			body(w)
		},
		"after Write": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-A", "1")
			body(w)
			w.Header().Set("X-A", "2")
			w.Header().Del("X-B")
			w.Header().Set("Content-Length", "3")
		},
		"after Flush": func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).Flush()
			w.Header().Set("X-A", "1")
			body(w)
		},
		"deleted after WriteHeader": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-A", "1")
			w.WriteHeader(404)
			w.Header().Del("X-A")
		},
		"a trailer, declared in time": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-A")
			w.WriteHeader(404)
			body(w)
			w.Header().Set("X-A", "1")
		},
		"a trailer, declared late": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
			w.Header().Set("Trailer", "X-A")
			body(w)
			w.Header().Set("X-A", "1")
		},
		"a trailer that is not declared": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
			body(w)
			_ = http.NewResponseController(w).Flush()
			w.Header().Set(http.TrailerPrefix+"X-A", "1")
		},
		"a second WriteHeader": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
			w.WriteHeader(200)
			body(w)
		},
		"informational responses": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "x")
			w.WriteHeader(100)
			w.WriteHeader(103)
			w.WriteHeader(404)
			body(w)
		},
		"a body that a 204 must not have": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(204)
			_, err := io.WriteString(w, "x")
			assert.ErrorIs(t, err, http.ErrBodyNotAllowed)
		},
		"a body longer than its Content-Length": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "6")
			body(w)
			_, err := io.WriteString(w, "xx")
			assert.ErrorIs(t, err, http.ErrContentLength)
		},
		"a body in parts": func(w http.ResponseWriter, _ *http.Request) {
			for range 5 {
				_, _ = io.WriteString(w, strings.Repeat("x", 500))
			}
		},
		"Flush and a Content-Length": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5")
			_ = http.NewResponseController(w).Flush()
			body(w)
		},
		"Flush of a 204": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(204)
			_ = http.NewResponseController(w).Flush()
		},
		"ErrAbortHandler within the body": func(w http.ResponseWriter, _ *http.Request) {
			body(w)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"ErrAbortHandler within a large body": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat("x", 5000))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/v3/", http.StatusTemporaryRedirect)
		},
		"a range": func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("Range", "bytes=2-4")
			http.ServeContent(w, r, "x.txt", time.Time{}, strings.NewReader("0123456789"))
		},
		"neither a status nor a body": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-A", "1") },
	} {
		for _, method := range []string{"GET", "HEAD"} {
			t.Run(name+" "+method, func(t *testing.T) {
				want := seen(t, overSocket(t, handle), method, http.Header{})
				assert.Equal(t, want, seen(t, &iamtest.Server{Handler: handle}, method, http.Header{}))
			})
		}
	}
}

func TestAnInvalidContentLengthIsIgnored(t *testing.T) {
	for _, length := range []string{"abc", "-1", "1e3"} {
		var s iamtest.Server
		s.Next(iamtest.Answer{Status: 404, Body: "hello"}.With("Content-Length", length))
		got := seen(t, &s, "GET", http.Header{})
		assert.Contains(t, got, `length -1, body "hello", error <nil>`)
	}
}

func TestInvalidRequestsFailAsWithHTTPTransport(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"no URL":                         func(r *http.Request) { r.URL = nil },
		"no header":                      func(r *http.Request) { r.Header = nil },
		"a method with a space":          func(r *http.Request) { r.Method = "A B" },
		"a header name with a space":     func(r *http.Request) { r.Header["X A"] = []string{"secret"} },
		"a header value with a newline":  func(r *http.Request) { r.Header["X-A"] = []string{"secret\n"} },
		"a header value with a DEL byte": func(r *http.Request) { r.Header["X-A"] = []string{"secret\x7f"} },
	} {
		t.Run(name, func(t *testing.T) {
			var s iamtest.Server
			var errs []string
			for _, base := range []http.RoundTripper{new(http.Transport), &s} {
				body := &closable{Reader: strings.NewReader("x")}
				req, err := http.NewRequestWithContext(t.Context(), "POST", "http://iam.example/", body)
				require.NoError(t, err)
				change(req)
				resp, err := base.RoundTrip(req)
				if err == nil {
					resp.Body.Close()
				}
				require.Error(t, err)
				assert.True(t, body.closed, "the body must be closed")
				errs = append(errs, err.Error())
			}
			assert.Equal(t, errs[0], errs[1])
			s.AssertCount(t, 0)
		})
	}
}

type closable struct {
	io.Reader
	closed bool
}

func (c *closable) Close() error {
	c.closed = true
	return nil
}

func TestRequestCancelEndsARequestInMemory(t *testing.T) {
	for name, status := range map[string]int{"before the response": 0, "within the body": 200} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s iamtest.Server
				s.Next(iamtest.Answer{Status: status, Body: "x", Fault: iamtest.Stall})
				req, err := http.NewRequestWithContext(t.Context(), "GET", "http://iam.example/", nil)
				require.NoError(t, err)
				cancel := make(chan struct{})
				req.Cancel = cancel
				time.AfterFunc(time.Minute, func() { close(cancel) })
				start := time.Now()
				resp, err := s.RoundTrip(req)
				if err == nil {
					_, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				assert.EqualError(t, err, "net/http: request canceled")
				assert.Equal(t, time.Minute, time.Since(start))
				resp, err = s.RoundTrip(req)
				if err == nil {
					resp.Body.Close()
				}
				assert.EqualError(t, err, "net/http: request canceled")
				s.AssertCount(t, 1)
			})
		})
	}
}

func TestClientTimeoutReturnsDeadlineExceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s iamtest.Server
		s.Next(iamtest.Answer{Fault: iamtest.Stall})
		resp, err := (&http.Client{Transport: &s, Timeout: time.Second}).Get("http://iam.example/")
		if err == nil {
			resp.Body.Close()
		}
		assert.ErrorIs(t, err, context.DeadlineExceeded)
	})
}
