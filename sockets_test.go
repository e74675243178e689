package iamhttp_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/iamtest"
)

// The tests in this file use real connections, because the behavior that they check depends
// on net/http.

// rawServer starts a server that calls f for each connection; n is the connection's
// number, starting at 1.
func rawServer(t *testing.T, f func(n int, c net.Conn, r *bufio.Reader)) (url string, connections *atomic.Int32) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	connections = new(atomic.Int32)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n := int(connections.Add(1))
			go func() {
				defer c.Close()
				f(n, c, bufio.NewReader(c))
			}()
		}
	}()
	return "http://" + l.Addr().String(), connections
}

// newBase returns an http.Transport that does not share connections with any other
// http.Transport.
func newBase(t *testing.T) *http.Transport {
	base := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(base.CloseIdleConnections)
	return base
}

func Test408OnAnIdleConnectionIsRetriedOnANewOne(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) {
			served := make(chan string, 10)
			url, connections := rawServer(t, func(n int, c net.Conn, r *bufio.Reader) {
				for i := 0; ; i++ {
					if n == 1 && i == 1 {
						// The server gives up on the idle connection just as the next request
						// arrives: it reads one byte, sends a 408 and closes the connection.
						if _, err := r.ReadByte(); err == nil {
							fmt.Fprint(c, "HTTP/1.1 408 Request Time-out\r\nContent-Length: 4\r\nConnection: close\r\n\r\nslow")
						}
						return
					}
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					body, _ := io.ReadAll(req.Body)
					served <- fmt.Sprint(n, " ", req.Method, " ", string(body))
					fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
			})
			var failures []iamhttp.Code
			client := &http.Client{Transport: &iamhttp.Transport{Base: newBase(t), Backoff: zero,
				OnFailure: onAnswer(func(_ context.Context, e *iamhttp.StatusError, _ time.Duration) { failures = append(failures, e.Code) })}}
			for _, body := range []string{"first", "second"} {
				req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
				require.NoError(t, err)
				resp, err := client.Do(req)
				require.NoError(t, err)
				_, err = io.ReadAll(resp.Body)
				require.NoError(t, err)
				resp.Body.Close()
			}
			assert.Equal(t, []iamhttp.Code{408}, failures)
			assert.Equal(t, "1 "+method+" first", <-served)
			assert.Equal(t, "2 "+method+" second", <-served, "the retry must send the whole request on a new connection")
			assert.Empty(t, served)
			assert.EqualValues(t, 2, connections.Load())
		})
	}
}

func TestTheConnectionOfADiscarded408IsNotUsedAgain(t *testing.T) {
	url, connections := rawServer(t, func(n int, c net.Conn, r *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			if n == 1 { // some gateways leave the connection open after a 408
				fmt.Fprint(c, "HTTP/1.1 408 Request Time-out\r\nContent-Length: 4\r\n\r\nslow")
			} else {
				fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		}
	})
	client := &http.Client{Transport: &iamhttp.Transport{Base: newBase(t), Backoff: zero}}
	resp, err := client.Get(url)
	require.NoError(t, err)
	resp.Body.Close()
	assert.EqualValues(t, 2, connections.Load())
}

func TestUploadThrottledBeforeItsEndIsReplayedByteForByte(t *testing.T) {
	payload := make([]byte, 8<<20)
	for i := range payload {
		payload[i] = byte(i * 2654435761 >> 13)
	}
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprint("HTTP/2 ", h2), func(t *testing.T) {
			var n atomic.Int32
			var got [sha256.Size]byte
			var length atomic.Int64
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1) < 3 {
					w.WriteHeader(429) // before the body has been read
					return
				}
				h := sha256.New()
				_, err := io.Copy(h, r.Body)
				assert.NoError(t, err)
				h.Sum(got[:0])
				length.Store(r.ContentLength)
			}))
			srv.EnableHTTP2 = h2
			srv.StartTLS()
			defer srv.Close()
			client := &http.Client{Transport: &iamhttp.Transport{Base: srv.Client().Transport, Backoff: zero}}
			resp, err := client.Post(srv.URL, "application/octet-stream", bytes.NewReader(payload))
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, sha256.Sum256(payload), got)
			assert.EqualValues(t, len(payload), length.Load(), "the request must keep its Content-Length")
			assert.EqualValues(t, 3, n.Load())
		})
	}
}

func TestStalledErrorBodyDoesNotPreventTheRetry(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprint("HTTP/2 ", h2), func(t *testing.T) {
			service := new(iamtest.Server)
			service.Next(iamtest.Answer{Status: 429, Body: "beginning", Fault: iamtest.Stall})
			srv := httptest.NewUnstartedServer(service)
			srv.EnableHTTP2 = h2
			srv.StartTLS()
			defer srv.Close()
			var seen *iamhttp.StatusError
			client := &http.Client{Transport: &iamhttp.Transport{Base: srv.Client().Transport, Backoff: zero,
				OnFailure: onAnswer(func(_ context.Context, e *iamhttp.StatusError, _ time.Duration) { seen = e })}}
			resp, err := client.Get(srv.URL)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, h2, resp.ProtoMajor == 2)
			assert.Equal(t, "beginning", string(seen.Body()))
			assert.True(t, seen.Truncated)
		})
	}
}

func TestTypedErrorIsReturnedBeforeAClientTimeoutOverARealConnection(t *testing.T) {
	srv := httptest.NewServer(iamtest.Throttled(time.Hour))
	defer srv.Close()
	client := &http.Client{Transport: &iamhttp.Transport{Base: newBase(t), MaxWait: 2 * time.Hour}, Timeout: time.Minute}
	_, err := client.Get(srv.URL)
	assert.Equal(t, iamhttp.StopDeadline, statusError(t, err).Stop)
}

func TestConnectionIsReusedAfterADiscardedBody(t *testing.T) {
	var opened atomic.Int32
	n := 0
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n++; n%4 != 0 {
			w.WriteHeader(429)
			_, _ = io.WriteString(w, strings.Repeat("x", 10_000)) // sent chunked, and longer than the part that the error keeps
			return
		}
		w.WriteHeader(404)
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	client := &http.Client{Transport: &iamhttp.Transport{Base: srv.Client().Transport, Backoff: zero}}
	for range 5 {
		_, err := client.Get(srv.URL)
		require.ErrorIs(t, err, iamhttp.ErrNotFound)
	}
	assert.Equal(t, 20, n)
	assert.EqualValues(t, 1, opened.Load())
}
