package iamhttp_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
)

// The tests in this file simulate attacks by a server, or by someone between the server
// and the caller. Most of them call cost, to check what the caller gets, that the call
// ends in time, and how much memory is allocated; docs/hostile.md shows these results.
// security_test.go lists the tests for each bold statement in SECURITY.md.

// cost runs f, which returns what the caller got. It fails the test if f takes 20 s or
// more, if the whole process, including the test's server, allocates more than limit bytes
// while f runs, or if docs/hostile.md does not contain the call's row. With -update, it
// writes the row instead of looking for it.
func cost(t *testing.T, server string, limit uint64, f func() (got string)) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	got := f()
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	allocated := after.TotalAlloc - before.TotalAlloc
	t.Logf("took %v, allocated %d KiB", took.Round(time.Millisecond), allocated>>10)
	assert.LessOrEqual(t, allocated, limit)
	assert.Less(t, took, 20*time.Second, "the call did not end in time")

	const path, end = "docs/hostile.md", "<!-- end of hostile table -->"
	row := fmt.Sprintf("| %s | %s | %d MiB |", server, got, limit>>20)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	if *update {
		lines := strings.SplitAfter(string(text), "\n")
		line := fmt.Sprintf("%s %d KiB | %v |\n", row, allocated>>10, took.Round(time.Millisecond))
		if at := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "| "+server+" |") }); at >= 0 {
			lines[at] = line
		} else {
			at = slices.Index(lines, end+"\n")
			require.Positive(t, at)
			lines = slices.Insert(lines, at, line)
		}
		require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "")), 0o644))
		return
	}
	assert.Contains(t, string(text), row, "docs/hostile.md is out of date; run: go test -update .")
}

// outcome describes the result of a call, without details that differ from run to run.
func outcome(resp *http.Response, err error) string {
	var e *iamhttp.StatusError
	typed := errors.As(err, &e)
	unverified := errors.As(err, new(*tls.CertificateVerificationError))
	switch {
	case err == nil:
		return fmt.Sprint("the ", resp.StatusCode)
	case typed:
		text := fmt.Sprintf("an error: %v, sent %d×, %v", e.Code, e.Attempts, e.Stop)
		if e.Truncated {
			text += "; its body is truncated"
		}
		return text
	case unverified:
		return "an error: certificate verification failed"
	case errors.Is(err, context.DeadlineExceeded):
		return "an error: context.DeadlineExceeded"
	}
	return "an error: no response"
}

func TestEveryRowOfHostileMdHasATest(t *testing.T) {
	text, err := os.ReadFile("docs/hostile.md")
	require.NoError(t, err)
	var tests string
	for _, file := range []string{"hostile_test.go", "hostile_http2_test.go"} {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		tests += string(b)
	}
	_, table, _ := strings.Cut(string(text), "|--:|\n")
	table, _, _ = strings.Cut(table, "<!--")
	lines := strings.Split(strings.TrimSpace(table), "\n")
	assert.Greater(t, len(lines), 30)
	for _, line := range lines {
		assert.Contains(t, tests, strconv.Quote(strings.Split(line, " | ")[0][len("| "):]))
	}
}

// short returns a context whose deadline is in 300 ms.
func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func get(ctx context.Context, t *testing.T, tr *iamhttp.Transport, url string) (*http.Response, error) {
	t.Helper()
	if tr.Base == nil {
		tr.Base = newBase(t)
	}
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	require.NoError(t, err)
	return tr.RoundTrip(req)
}

// drip writes s over and over, one byte every 5 ms, until the other side closes the
// connection.
func drip(w io.Writer, s string) {
	for {
		for i := range len(s) {
			if _, err := io.WriteString(w, s[i:i+1]); err != nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

func TestEndlessHeaderEndsTheCallAtTheDeadline(t *testing.T) {
	url, connections := rawServer(t, func(_ int, c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		fmt.Fprint(c, "HTTP/1.1 429 Too Many Requests\r\n")
		drip(c, "X-Slow: loris\r\n")
	})
	cost(t, "an endless header, one byte every 5 ms; deadline in 300 ms", 1<<20, func() string {
		resp, err := get(short(t), t, &iamhttp.Transport{}, url)
		assert.Nil(t, resp)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		typed := errors.As(err, new(*iamhttp.StatusError))
		assert.False(t, typed, "without a response there must not be a StatusError")
		return outcome(resp, err)
	})
	assert.EqualValues(t, 1, connections.Load())
}

func TestSlowErrorBodyIsTruncatedBeforeTheDeadline(t *testing.T) {
	url, _ := rawServer(t, func(_ int, c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		fmt.Fprint(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 1000000\r\n\r\n"+`{"message":"`)
		drip(c, "so slow ")
	})
	cost(t, "a 404 whose body arrives at one byte every 5 ms; deadline in 300 ms", 1<<20, func() string {
		_, err := get(short(t), t, &iamhttp.Transport{}, url)
		e := statusError(t, err)
		assert.Equal(t, iamhttp.ErrNotFound, e.Code)
		assert.True(t, e.Truncated)
		assert.NotEmpty(t, e.Message)
		assert.Contains(t, strings.Repeat("so slow ", 10), e.Message, "Message must be the part that arrived")
		return outcome(nil, err)
	})
}

// While the gzip header is incomplete, Read of net/http's response body blocks. In Go 1.26,
// Close then blocks too, because it waits for Read.
func TestStalledGzipBodyDoesNotDelayTheCall(t *testing.T) {
	for name, code := range map[string]int{
		"a 404 that stalls after three bytes of its compressed body; deadline in 300 ms": 404,
		"a 429 that stalls after three bytes of its compressed body, then a 404":         429,
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := rawServer(t, func(n int, c net.Conn, r *bufio.Reader) {
				_, _ = http.ReadRequest(r)
				if n == 2 {
					fmt.Fprint(c, "HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n")
				} else {
					fmt.Fprintf(c, "HTTP/1.1 %d x\r\nContent-Encoding: gzip\r\nContent-Length: 100\r\n\r\n\x1f\x8b\x08", code)
				}
				_, _ = r.ReadByte() // returns when the client closes the connection
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if code == 404 {
				ctx = short(t)
			}
			cost(t, name, 1<<20, func() string {
				_, err := get(ctx, t, &iamhttp.Transport{Backoff: zero}, url)
				e := statusError(t, err)
				assert.Equal(t, iamhttp.ErrNotFound, e.Code)
				assert.NoError(t, ctx.Err(), "the call must return before the deadline")
				return outcome(nil, err)
			})
		})
	}
}

// The stuck connection counts toward MaxConnsPerHost, so a retry might wait forever for
// a connection.
func TestStalledGzipBodyDoesNotBlockTheCallWithOneConnectionPerHost(t *testing.T) {
	url, _ := rawServer(t, func(_ int, c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		fmt.Fprint(c, "HTTP/1.1 429 x\r\nContent-Encoding: gzip\r\nContent-Length: 100\r\n\r\n\x1f\x8b\x08")
		_, _ = r.ReadByte() // returns when the client closes the connection
	})
	for name, wrap := range map[string]func(http.RoundTripper) http.RoundTripper{
		"directly above http.Transport":                    func(rt http.RoundTripper) http.RoundTripper { return rt },
		"above a RoundTripper that reveals http.Transport": func(rt http.RoundTripper) http.RoundTripper { return wrapped{opaque{rt}} },
		"above a RoundTripper that hides http.Transport":   func(rt http.RoundTripper) http.RoundTripper { return opaque{rt} },
	} {
		modes(t, func(t *testing.T, passThrough bool) {
			t.Run(name, func(t *testing.T) {
				base := newBase(t)
				base.MaxConnsPerHost = 1
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				wait := constant(200 * time.Millisecond) // from Go 1.27 on, net/http closes the connection 50 ms after the body
				resp, err := get(ctx, t, &iamhttp.Transport{Base: wrap(base), Backoff: wait, PassThrough: passThrough, MaxAttempts: 2}, url)
				if passThrough && !strings.HasPrefix(runtime.Version(), "go1.26") {
					require.NoError(t, err, "net/http can close a stalled body except in Go 1.26 (see errStuck), so the retry must be sent")
				}
				if passThrough && err == nil {
					assert.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
				} else {
					assert.Equal(t, iamhttp.ErrTooManyRequests, statusError(t, err).Code)
				}
				assert.NoError(t, ctx.Err(), "the call must return before the deadline")
			})
		})
	}
}

func TestErrorBodyArrivingAtAByteASecondIsReadForFiveSeconds(t *testing.T) {
	for name, tt := range map[string]struct {
		answer string
		took   time.Duration
		body   string
	}{
		"a 404 whose body arrives at one byte per second; no deadline":                      {"404 x\r\n", 5 * time.Second, "xxxxx"},
		"a 429 with Retry-After: 10, then a 404; both bodies arrive at one byte per second": {"429 x\r\nRetry-After: 10\r\n", 15 * time.Second, "xxxxx"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answers := []string{tt.answer, "404 x\r\n"}
				base := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
					client, server := net.Pipe()
					answer := answers[0]
					answers = answers[1:]
					go func() {
						defer server.Close()
						_, _ = http.ReadRequest(bufio.NewReader(server))
						fmt.Fprintf(server, "HTTP/1.1 %sContent-Length: 1000000\r\n\r\n", answer)
						for err := error(nil); err == nil; _, err = io.WriteString(server, "x") {
							time.Sleep(time.Second)
						}
					}()
					return client, nil
				}}
				cost(t, name, 1<<20, func() string {
					start := time.Now()
					_, err := get(t.Context(), t, &iamhttp.Transport{Base: base, Backoff: zero}, "http://iam.example")
					e := statusError(t, err)
					assert.Equal(t, tt.took, time.Since(start))
					assert.LessOrEqual(t, len(e.Body()), len(tt.body), "Body contains more than can have arrived in 5 s")
					assert.True(t, e.Truncated)
					return outcome(nil, err)
				})
				time.Sleep(2 * time.Second) // gives the server time to notice the closed connection
			})
		})
	}
}

func TestSlowDiscardedBodyHardlyDelaysTheRetry(t *testing.T) {
	url, connections := rawServer(t, func(n int, c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		if n > 1 {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			return
		}
		fmt.Fprint(c, "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 1000\r\n\r\n")
		drip(c, "x")
	})
	cost(t, "a 429 whose body arrives at one byte every 5 ms, then a 200", 1<<20, func() string {
		resp, err := get(t.Context(), t, &iamhttp.Transport{Backoff: zero}, url)
		require.NoError(t, err)
		resp.Body.Close()
		return outcome(resp, err)
	})
	assert.EqualValues(t, 2, connections.Load(), "the slow connection must be closed and a new one used")
}

func TestErrorBodyOfAGigabyteIsReadOnlyUpTo64KiB(t *testing.T) {
	chunk := make([]byte, 64<<10)
	for name, tt := range map[string]struct {
		code   int
		header string
	}{
		"a 404 with a body of 1 GiB":                                         {404, "Content-Length: 1073741824\r\n"},
		"a 404 with a body of 1 GiB and without a Content-Length":            {404, ""},
		"429s only, each with a body of 1 GiB":                               {429, "Content-Length: 1073741824\r\n"},
		"429s only, each with a body of 1 GiB and a Content-Length of 8 EiB": {429, "Content-Length: 9223372036854775807\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var written atomic.Int64
			gone := make(chan struct{}, 3)
			url, _ := rawServer(t, func(_ int, c net.Conn, r *bufio.Reader) {
				_, _ = http.ReadRequest(r)
				fmt.Fprintf(c, "HTTP/1.1 %d x\r\n%s\r\n", tt.code, tt.header)
				for written.Load() < 1<<30 {
					n, err := c.Write(chunk)
					written.Add(int64(n))
					if err != nil {
						break
					}
				}
				gone <- struct{}{}
			})
			cost(t, name, 2<<20, func() string {
				_, err := get(t.Context(), t, &iamhttp.Transport{Backoff: zero, MaxAttempts: 3}, url)
				e := statusError(t, err)
				assert.Len(t, e.Body(), 64<<10)
				assert.True(t, e.Truncated)
				for range e.Attempts {
					<-gone
				}
				return outcome(nil, err)
			})
			t.Logf("the server wrote %d KiB", written.Load()>>10)
			assert.Less(t, written.Load(), int64(100<<20), "the server wrote 100 MiB or more, so the client read too much or closed a connection too late")
		})
	}
}

func TestHeaderWithinTheLimitIsKeptAndALargerOneIsAnError(t *testing.T) {
	within, beyond := strings.Repeat("r", 900<<10), strings.Repeat("r", 2<<20)
	limits := "r\r\nX-Apig-Ratelimit-User: remain:0" + strings.Repeat(",limit:1,time:1s,limit:1,time:2s,limit:1,time:3s", 20<<10)
	url, _ := rawServer(t, func(n int, c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nX-Request-Id: ")
		_, _ = io.WriteString(c, []string{within, beyond, limits}[n-1])
		_, _ = io.WriteString(c, "\r\n\r\n")
	})
	base := newBase(t)
	base.MaxResponseHeaderBytes = 1 << 20 // net/http's default is 10 MiB
	base.DisableKeepAlives = true
	tr := &iamhttp.Transport{Base: base}
	cost(t, "a 403 with 900 KiB in a header line; the limit is 1 MiB", 16<<20, func() string { // net/http allocates most of the memory, to read the header lines
		_, err := get(t.Context(), t, tr, url)
		e := statusError(t, err)
		assert.Len(t, e.RequestID, 128)
		assert.Len(t, e.Header().Get("X-Request-Id"), 900<<10)
		assert.Less(t, len(e.Error()), 300)
		return outcome(nil, err)
	})
	cost(t, "a 403 with 2 MiB in a header line; the limit is 1 MiB", 16<<20, func() string {
		resp, err := get(t.Context(), t, tr, url)
		assert.Nil(t, resp)
		assert.ErrorContains(t, err, "headers exceeded")
		typed := errors.As(err, new(*iamhttp.StatusError))
		assert.False(t, typed)
		return outcome(resp, err)
	})
	cost(t, "a 403 that states 60,000 limits in a header line", 16<<20, func() string {
		_, err := get(t.Context(), t, tr, url)
		assert.Equal(t, 3*time.Second, statusError(t, err).Limit.Per)
		return outcome(nil, err)
	})
}

func TestUploadRefusedHalfwayIsResentInFull(t *testing.T) {
	const size = 4 << 20
	payload := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	for name, code := range map[string]int{
		"a 408 in the middle of an upload of 4 MiB, then a 201": 408,
		"a 429 in the middle of an upload of 4 MiB, then a 201": 429,
	} {
		t.Run(name, func(t *testing.T) {
			whole := make(chan bool, 1)
			url, connections := rawServer(t, func(n int, c net.Conn, r *bufio.Reader) {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				if n == 1 {
					_, _ = io.CopyN(io.Discard, req.Body, size/2)
					fmt.Fprintf(c, "HTTP/1.1 %d x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", code)
					_, _ = io.Copy(io.Discard, r) // until the client closes the connection
					return
				}
				got, _ := io.ReadAll(req.Body)
				whole <- bytes.Equal(payload, got)
				fmt.Fprint(c, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
			})
			req, err := http.NewRequestWithContext(t.Context(), "POST", url, bytes.NewReader(payload))
			require.NoError(t, err)
			cost(t, name, 32<<20, func() string { // the server allocates nearly all of the memory, to read the request body
				resp, err := (&iamhttp.Transport{Base: newBase(t), Backoff: zero}).RoundTrip(req)
				require.NoError(t, err)
				resp.Body.Close()
				return outcome(resp, err)
			})
			assert.True(t, <-whole)
			assert.EqualValues(t, 2, connections.Load())
		})
	}
}

// reset closes a connection so that the other side gets a reset instead of an EOF.
func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

func TestConnectionResetAtAnyByteIsAnErrorAndAPOSTIsSentOnce(t *testing.T) {
	const (
		header = "HTTP/1.1 409 Conflict\r\nX-Request-Id: r\r\nContent-Length: 27\r\n\r\n"
		body   = `{"message":"it is there."}` + "\n"
		answer = header + body
	)
	const sentBody = `{"user":{}}`
	request := make(chan int, 1)
	whole, _ := rawServer(t, func(_ int, c net.Conn, r *bufio.Reader) {
		var got []byte
		for !bytes.HasSuffix(got, []byte(sentBody)) {
			b, err := r.ReadByte()
			if err != nil {
				return
			}
			got = append(got, b)
		}
		request <- len(got)
		fmt.Fprint(c, answer)
	})
	tr := &iamhttp.Transport{RetryConnectionErrors: true}
	base := newBase(t)
	base.DisableKeepAlives = true
	tr.Base = base
	post := func(url string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(sentBody))
		require.NoError(t, err)
		return tr.RoundTrip(req)
	}
	_, err := post(whole)
	require.Equal(t, "it is there.", statusError(t, err).Message)

	offsets := make(chan int, 1)
	t.Run("reset by the server while it sends the response", func(t *testing.T) {
		url, connections := rawServer(t, func(_ int, c net.Conn, r *bufio.Reader) {
			if req, err := http.ReadRequest(r); err == nil {
				_, _ = io.Copy(io.Discard, req.Body)
			}
			fmt.Fprint(c, answer[:<-offsets])
			reset(c)
		})
		cost(t, "a connection reset at each byte of the response, one call per byte", 32<<20, func() string {
			for offset := range len(answer) + 1 {
				offsets <- offset
				resp, err := post(url)
				require.Nil(t, resp)
				require.Error(t, err)
				require.EqualValues(t, offset+1, connections.Load(), "the request must be sent exactly once")
				var e *iamhttp.StatusError
				typed := errors.As(err, &e)
				if offset < len(header) {
					require.False(t, typed, "got a StatusError although the response ended before its header was complete: %q", answer[:offset])
				}
				if !typed { // a reset may overtake data sent before it
					continue
				}
				require.Equal(t, iamhttp.ErrConflict, e.Code)
				require.Equal(t, "r", e.RequestID)
				require.True(t, strings.HasPrefix(body, string(e.Body())), "Body is not a prefix of the body sent: %q", e.Body())
				require.Equal(t, len(e.Body()) < len(body), e.Truncated, "Truncated must be set if, and only if, the body is incomplete: %q", e.Body())
			}
			return "an error, sent once: no response or, if its header was complete, the part of the body that arrived"
		})
	})
	t.Run("reset by the server while it reads the request", func(t *testing.T) {
		url, connections := rawServer(t, func(_ int, c net.Conn, _ *bufio.Reader) {
			_, _ = io.CopyN(io.Discard, c, int64(<-offsets))
			reset(c)
		})
		cost(t, "a connection reset at each byte of the request, one call per byte", 32<<20, func() string {
			for offset := range <-request {
				offsets <- offset
				resp, err := post(url)
				require.Nil(t, resp)
				require.Error(t, err)
				typed := errors.As(err, new(*iamhttp.StatusError))
				require.False(t, typed)
				require.EqualValues(t, offset+1, connections.Load(), "the request must be sent exactly once")
			}
			return "an error, sent once: no response"
		})
	})
}

func TestUnsolicitedResponseIsNotUsedForTheNextRequest(t *testing.T) {
	closed := make(chan struct{})
	url, connections := rawServer(t, func(n int, c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n)
		if n == 1 {
			if _, err := r.ReadByte(); err == nil {
				t.Error("the client reused the connection after an unsolicited response")
			}
			close(closed)
		}
	})
	// This proxy adds a response of its own after the first response that it forwards.
	proxied, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer proxied.Close()
	go func() {
		for first := true; ; first = false {
			c, err := proxied.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
			if err != nil {
				c.Close()
				return
			}
			go func() {
				_, _ = io.Copy(s, c)
				s.Close()
			}()
			go func(first bool) {
				defer c.Close()
				b := make([]byte, 1000)
				n, _ := s.Read(b)
				_, _ = c.Write(b[:n])
				if first {
					fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlies")
				}
				_, _ = io.Copy(c, s)
			}(first)
		}
	}()
	tr := &iamhttp.Transport{Base: newBase(t)}
	ask := func() string {
		resp, err := get(t.Context(), t, tr, "http://"+proxied.Addr().String())
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(b)
	}
	cost(t, "an unsolicited response after the response to the first of two requests", 1<<20, func() string {
		assert.Equal(t, "1", ask())
		<-closed
		assert.Equal(t, "2", ask())
		return "the two responses that belong to its requests"
	})
	assert.EqualValues(t, 2, connections.Load())
}

func TestInvalidCertificateEndsTheCallAtTheFirstHandshake(t *testing.T) {
	var handshakes atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the server received a request") }))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			handshakes.Add(1)
		}
	}
	srv.StartTLS()
	defer srv.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(srv.Certificate())
	for name, config := range map[string]*tls.Config{
		"a certificate signed by an unknown authority": {},
		"a certificate for another host":               {RootCAs: trusted, ServerName: "elsewhere.invalid"},
		"an expired certificate":                       {RootCAs: trusted, Time: func() time.Time { return time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC) }},
	} {
		t.Run(name, func(t *testing.T) {
			handshakes.Store(0)
			base := newBase(t)
			base.TLSClientConfig = config
			body := watch(strings.NewReader("secret"))
			req, err := http.NewRequestWithContext(t.Context(), "PUT", srv.URL, body)
			require.NoError(t, err)
			req.Header.Set("X-Auth-Token", "secret")
			req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("secret")), nil }
			cost(t, name, 8<<20, func() string { // the first call loads the machine's root certificates
				resp, err := (&iamhttp.Transport{Base: base, RetryConnectionErrors: true, Backoff: zero}).RoundTrip(req)
				assert.Nil(t, resp)
				unverified := errors.As(err, new(*tls.CertificateVerificationError))
				assert.True(t, unverified, "want a CertificateVerificationError, got %v", err)
				return outcome(resp, err)
			})
			assert.EqualValues(t, 1, handshakes.Load(), "the request must not be retried after an invalid certificate, although it is idempotent")
			read, closes := body.counts()
			assert.Zero(t, read, "the body must not be sent")
			assert.Positive(t, closes)
		})
	}
}

func TestSecretsInARedirectDoNotReachTheError(t *testing.T) {
	const secret = "s3cr3t"
	var hits atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		hits.Add(1)
		w.WriteHeader(403)
	}))
	defer other.Close()
	to := strings.Replace(other.URL, "http://", "http://user:"+secret+"@", 1) + "/path?token=" + secret + "#" + secret
	srv := httptest.NewServer(http.RedirectHandler(to, http.StatusTemporaryRedirect))
	defer srv.Close()
	tr := &iamhttp.Transport{Base: newBase(t)}

	cost(t, "a redirect to a URL that contains a password and a token", 1<<20, func() string {
		resp, err := get(t.Context(), t, tr, srv.URL)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, 307, resp.StatusCode)
		assert.Zero(t, hits.Load(), "the Transport must not follow the redirect")
		return outcome(resp, err)
	})
	cost(t, "the same redirect to an http.Client, which follows it and gets a 403", 1<<20, func() string {
		_, err := (&http.Client{Transport: tr}).Get(srv.URL)
		e := statusError(t, err)
		assert.EqualValues(t, 1, hits.Load(), "http.Client must follow the redirect")
		assert.Equal(t, other.URL+"/path", e.URL)
		var logged bytes.Buffer
		slog.New(slog.NewJSONHandler(&logged, nil)).Error("x", "err", e)
		assert.NotContains(t, e.Error()+logged.String(), secret)
		return outcome(nil, err)
	})
}

// lie returns a random value for a Retry-After or Date header, usually an invalid or an
// absurd one.
func lie(r *rand.Rand) string {
	n := r.Uint64() >> r.IntN(64)
	return []func() string{
		func() string { return strconv.FormatUint(n, 10) },
		func() string { return "-" + strconv.FormatUint(n, 10) },
		func() string { return strconv.FormatFloat(math.Float64frombits(r.Uint64()), 'g', -1, 64) },
		func() string { return strings.Repeat("9", r.IntN(2000)) },
		func() string { return time.Unix(int64(n>>1), 0).UTC().Format(http.TimeFormat) },
		func() string { return time.Unix(int64(r.Uint32()), 0).UTC().Format("Monday, 02-Jan-06 15:04:05 GMT") },
		func() string { return time.Unix(-int64(n>>20), 0).UTC().Format(time.ANSIC) },
		func() string { return fmt.Sprintf("%x, %d; a=%d", n, n, n) },
		func() string { return string(rune(r.IntN(unicode.MaxRune))) + "1" },
		func() string { return "" },
	}[r.IntN(10)]()
}

func Test100000BogusRetryAfterValuesNeverMakeTheWaitTooLong(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var value, date string
	base := roundTripper(func(req *http.Request) (*http.Response, error) {
		return response(req, 429, http.NoBody, 0, "Retry-After: "+value, "Date: "+date), nil
	})
	stops := map[iamhttp.StopReason]int{}
	lies := 100_000
	if testing.Short() {
		lies = 5_000
	}
	synctest.Test(t, func(t *testing.T) { // in synctest, only waits take time
		start := time.Now()
		cost(t, "100,000 bogus Retry-After values, each in a 429", 1<<30, func() string {
			for range lies {
				value, date = lie(r), lie(r)
				ctx, cancel := context.WithCancel(t.Context())
				tr := &iamhttp.Transport{Base: base, MaxWait: time.Minute, OnFailure: onAnswer(func(_ context.Context, e *iamhttp.StatusError, wait time.Duration) {
					if e.Stop == iamhttp.StopCanceled {
						return // canceled by this test
					}
					stops[e.Stop]++
					switch {
					case e.Stop == iamhttp.StopUnset && wait > 0 && e.RetryAfter <= wait && wait <= time.Minute+30*time.Second:
					case e.Stop == iamhttp.StopWaitTooLong && wait == 0 && e.RetryAfter > time.Minute:
					default:
						t.Errorf("wrong decision: stop reason %v, wait %v, RetryAfter %v; the server sent Retry-After: %.50q and Date: %.50q", e.Stop, wait, e.RetryAfter, value, date)
					}
					cancel() // instead of waiting
				})}
				_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
				require.ErrorIs(t, err, iamhttp.ErrTooManyRequests)
				cancel()
				if t.Failed() {
					break
				}
			}
			return "an error: 429 TooManyRequests, wait longer than allowed, or canceled by the test"
		})
		assert.Zero(t, time.Since(start), "a call waited")
	})
	t.Log(stops)
	assert.Greater(t, stops[iamhttp.StopUnset], lies/10)
	assert.Greater(t, stops[iamhttp.StopWaitTooLong], lies/10)
}

func Test100000RetryAfterLinesAreParsedQuickly(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	lines := []byte("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nRetry-After: 3600\r\n")
	for range 100_000 {
		lines = fmt.Appendf(lines, "Retry-After: -%d\r\n", r.Uint32())
	}
	lines = append(lines, "\r\n"...)
	url, _ := rawServer(t, func(_ int, c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		_, _ = c.Write(lines)
	})
	cost(t, "a 429 with 100,000 lines of Retry-After", 128<<20, func() string { // most of the memory is short-lived: net/http's errors about invalid dates
		_, err := get(t.Context(), t, &iamhttp.Transport{}, url)
		e := statusError(t, err)
		assert.Equal(t, time.Hour, e.RetryAfter)
		assert.Equal(t, iamhttp.StopWaitTooLong, e.Stop)
		return outcome(nil, err)
	})
}

func TestPausedAccountDoesNotDelayAnotherAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := script(answer(429, "", "Retry-After: 3600"), answer(200, ""))
		tr := &iamhttp.Transport{Base: base, Gate: &gate.Adaptive{},
			GateKey: func(req *http.Request) string { return req.Header.Get("X-Domain-Id") }}
		call := func(account string) error {
			req := newRequest(t, "GET", "")
			req.Header.Set("X-Domain-Id", account)
			_, err := tr.RoundTrip(req)
			return err
		}
		start := time.Now()
		assert.Equal(t, iamhttp.StopWaitTooLong, statusError(t, call("closed")).Stop)
		assert.ErrorIs(t, call("closed"), gate.ErrPaused)
		assert.NoError(t, call("open"))
		assert.Zero(t, time.Since(start))
		assert.Equal(t, 2, base.count())
	})
}

func TestGzipBombIsNotInflatedBeyondTheLimit(t *testing.T) {
	var bomb bytes.Buffer
	z, err := gzip.NewWriterLevel(&bomb, gzip.BestCompression)
	require.NoError(t, err)
	_, err = io.CopyN(z, zeros{}, 64<<20)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	require.Less(t, bomb.Len(), 128<<10)
	for name, code := range map[string]int{"a 429 with a compressed body of 64 MiB of zeros": 429, "a 500 with a compressed body of 64 MiB of zeros": 500} {
		t.Run(name, func(t *testing.T) {
			url, _ := rawServer(t, func(_ int, c net.Conn, r *bufio.Reader) {
				_, _ = http.ReadRequest(r)
				fmt.Fprintf(c, "HTTP/1.1 %d x\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n", code, bomb.Len())
				_, _ = c.Write(bomb.Bytes())
			})
			cost(t, name, 2<<20, func() string {
				_, err := get(t.Context(), t, &iamhttp.Transport{Backoff: zero, MaxAttempts: 2}, url)
				e := statusError(t, err)
				assert.Equal(t, make([]byte, 64<<10), e.Body(), "Body must be the first 64 KiB of the inflated body")
				assert.True(t, e.Truncated)
				return outcome(nil, err)
			})
		})
	}
}

func TestTextFromTheServerCannotForgeALogLine(t *testing.T) {
	const evil = "No.\r\nlevel=ERROR msg='all users deleted'\x1b[2J\x07\u202e\u2028\u200b\u00ad\ufeff\ue000\U000e0041\x00\xff\xfe\xc3\x28 \xed\xa0\x80"
	escaped := ""
	for i := range len(evil) {
		if c := evil[i]; c < ' ' {
			escaped += fmt.Sprintf(`\u%04x`, c)
		} else {
			escaped += evil[i : i+1]
		}
	}
	for server, said := range map[string]string{
		"a 400 whose body tries to forge a log line and is invalid UTF-8":          evil,
		"a 400 whose body tries to forge a log line and is invalid UTF-8, escaped": escaped,
	} {
		t.Run(server, func(t *testing.T) {
			body := fmt.Sprintf(`{"error":{"code":"%s","message":"%[1]s","title":"%[1]s"},"request_id":"%[1]s"}`, said)
			url, _ := rawServer(t, func(_ int, c net.Conn, r *bufio.Reader) {
				_, _ = http.ReadRequest(r)
				fmt.Fprintf(c, "HTTP/1.1 400 \x1b[31m\xffBad\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			})
			cost(t, server, 1<<20, func() string {
				_, err := get(t.Context(), t, &iamhttp.Transport{}, url)
				e := statusError(t, err)
				var logged bytes.Buffer
				slog.New(slog.NewTextHandler(&logged, nil)).Error("failed", "err", e)
				text, _ := strings.CutSuffix(logged.String(), "\n")
				for name, s := range map[string]string{"Error": e.Error(), "slog": text, "Message": e.Message, "ServiceCode": e.ServiceCode, "RequestID": e.RequestID} {
					assert.Contains(t, s, "No. level=ERROR msg='all users deleted'[2J", name)
					assert.True(t, utf8.ValidString(s), "%s is not UTF-8: %q", name, s)
					assert.False(t, strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }), "%s has unprintable characters: %q", name, s)
				}
				return outcome(nil, err) + "; its text is one line of printable UTF-8"
			})
		})
	}
}

// slowBody is a response body that delivers one part per second.
type slowBody struct {
	parts  []string
	closed chan struct{}
}

func (b *slowBody) Read(p []byte) (int, error) {
	if len(b.parts) == 0 {
		return 0, io.EOF
	}
	select {
	case <-time.After(time.Second):
	case <-b.closed:
		return 0, errors.New("read after close")
	}
	n := copy(p, b.parts[0])
	b.parts = b.parts[1:]
	return n, nil
}

func (b *slowBody) Close() error { close(b.closed); return nil }

func TestSlowBodyIsReadAheadForAtMostFiveSecondsAndStaysReadable(t *testing.T) {
	for name, tt := range map[string]struct {
		timeout time.Duration
		want    time.Duration
	}{
		"without a deadline": {0, 5 * time.Second},
		"with a near deadline, only for half the time left": {4 * time.Second, 2 * time.Second},
		"with a distant deadline":                           {time.Hour, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var parts []string
				for i := range 20 {
					parts = append(parts, fmt.Sprint("part ", i, "\n"))
				}
				want := strings.Join(parts, "")
				var reported *iamhttp.StatusError
				tr := &iamhttp.Transport{PassThrough: true, Base: answers(response(nil, 500, &slowBody{parts, make(chan struct{})}, -1)),
					OnFailure: onAnswer(func(_ context.Context, e *iamhttp.StatusError, _ time.Duration) { reported = e })}
				ctx := t.Context()
				if tt.timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.timeout)
					defer cancel()
				}
				start := time.Now()
				resp, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
				require.NoError(t, err)
				assert.Equal(t, tt.want, time.Since(start))
				assert.True(t, reported.Truncated)
				if tt.timeout != 4*time.Second {
					body, err := io.ReadAll(resp.Body)
					require.NoError(t, err)
					assert.Equal(t, want, string(body))
					assert.Equal(t, 20*time.Second, time.Since(start), "each of the 20 parts must take one second, whether it is read ahead or later")
				}
				resp.Body.Close()
				synctest.Wait()
			})
		})
	}
}
