package iamhttp_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
)

// The tests encode their own HTTP/2 frames (RFC 9113), because net/http does not let a
// server misbehave like this.

const (
	frameData         = 0x0
	frameHeaders      = 0x1
	frameRSTStream    = 0x3
	frameSettings     = 0x4
	framePing         = 0x6
	frameGoAway       = 0x7
	flagEndStream     = 0x1 // in DATA and HEADERS frames
	flagAck           = 0x1 // in SETTINGS and PING frames
	flagEndHeaders    = 0x4
	errorNone         = 0x0
	errorInternal     = 0x2
	errorRefused      = 0x7
	errorEnhanceCalm  = 0xb
	fieldStatus200    = "\x88" // RFC 7541, appendix A
	fieldStatus404    = "\x8d"
	fieldStatus429    = "\x08\x03429" // :status, with a literal value
	clientsConnection = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
)

// An h2 is the server's side of one HTTP/2 connection.
type h2 struct {
	net.Conn
	n int // the connection's number, starting at 1
}

func (c h2) frame(kind, flags byte, stream uint32, payload string) {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	b = binary.BigEndian.AppendUint32(b, stream)
	_, _ = c.Write(append(b, payload...))
}

func (c h2) rstStream(stream, code uint32) { c.frame(frameRSTStream, 0, stream, number(code)) }

// goAway sends a GOAWAY frame, which states that no stream after the given one was
// processed.
func (c h2) goAway(stream, code uint32) { c.frame(frameGoAway, 0, 0, number(stream)+number(code)) }

func number(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }

// h2Server starts a server that calls f for each request once the request's body is
// complete. For each request, seen returns the connection's number and the body, in order
// of arrival.
func h2Server(t *testing.T, f func(c h2, request int, stream uint32)) (url string, seen func() []string) {
	var mu sync.Mutex
	var requests []string
	url, _ = rawServer(t, func(n int, c net.Conn, r *bufio.Reader) {
		conn := h2{c, n}
		if _, err := r.Discard(len(clientsConnection)); err != nil {
			return
		}
		conn.frame(frameSettings, 0, 0, "")
		bodies := map[uint32]*bytes.Buffer{}
		for {
			var head [9]byte
			if _, err := io.ReadFull(r, head[:]); err != nil {
				return
			}
			payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
			if _, err := io.ReadFull(r, payload); err != nil {
				return
			}
			kind, flags, stream := head[3], head[4], binary.BigEndian.Uint32(head[5:])
			switch {
			case kind == frameSettings && flags&flagAck == 0:
				conn.frame(frameSettings, flagAck, 0, "")
			case kind == framePing && flags&flagAck == 0:
				conn.frame(framePing, flagAck, 0, string(payload))
			case kind == frameHeaders:
				bodies[stream] = new(bytes.Buffer)
			case kind == frameData:
				bodies[stream].Write(payload)
			default:
				continue
			}
			if (kind == frameHeaders || kind == frameData) && flags&flagEndStream != 0 {
				mu.Lock()
				requests = append(requests, fmt.Sprintf("%d: %s", n, bodies[stream]))
				request := len(requests)
				mu.Unlock()
				f(conn, request, stream)
			}
		}
	})
	return url, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return requests
	}
}

// h2Base returns a Base that speaks HTTP/2 from the first byte, without TLS.
func h2Base(t *testing.T) *http.Transport {
	base := newBase(t)
	base.Protocols = new(http.Protocols)
	base.Protocols.SetUnencryptedHTTP2(true)
	return base
}

func TestHTTP2POSTIsResentOnlyIfItWasNotProcessed(t *testing.T) {
	const whole = "the whole body"
	tests := map[string]struct {
		f      func(c h2, request int, stream uint32)
		seen   []string // for each request, the connection's number and the body
		status int      // status code; 0 if the call gets no response
		typed  bool
	}{
		"REFUSED_STREAM, then a 200": { // net/http resends a refused stream
			f: func(c h2, request int, stream uint32) {
				if request == 1 {
					c.rstStream(stream, errorRefused)
					return
				}
				c.frame(frameHeaders, flagEndHeaders|flagEndStream, stream, fieldStatus200)
			},
			seen: []string{"1: " + whole, "1: " + whole}, status: 200,
		},
		"a 429, REFUSED_STREAM for the retry, then a 200": { // net/http resends a refused retry with its body
			f: func(c h2, request int, stream uint32) {
				switch request {
				case 1:
					c.frame(frameHeaders, flagEndHeaders|flagEndStream, stream, fieldStatus429)
				case 2:
					c.rstStream(stream, errorRefused)
				default:
					c.frame(frameHeaders, flagEndHeaders|flagEndStream, stream, fieldStatus200)
				}
			},
			seen: []string{"1: " + whole, "1: " + whole, "1: " + whole}, status: 200,
		},
		"GOAWAY that excludes the request, then a 200 on the next connection": { // net/http resends the request on a new connection
			f: func(c h2, _ int, stream uint32) {
				if c.n == 1 {
					c.goAway(0, errorNone)
					return
				}
				c.frame(frameHeaders, flagEndHeaders|flagEndStream, stream, fieldStatus200)
			},
			seen: []string{"1: " + whole, "2: " + whole}, status: 200,
		},
		"GOAWAY that includes the request, and no response": { // the server may have processed the request
			f: func(c h2, _ int, stream uint32) {
				c.goAway(stream, errorEnhanceCalm)
				c.Close()
			},
			seen: []string{"1: " + whole},
		},
		"RST_STREAM instead of a response": { // the server may have processed the request before it reset the stream
			f:    func(c h2, _ int, stream uint32) { c.rstStream(stream, errorInternal) },
			seen: []string{"1: " + whole},
		},
		"a closed connection instead of a response": { // the server may have processed the request before it closed the connection
			f:    func(c h2, _ int, _ uint32) { c.Close() },
			seen: []string{"1: " + whole},
		},
		"RST_STREAM in the body of a 404": { // the error must still be typed
			f: func(c h2, _ int, stream uint32) {
				c.frame(frameHeaders, flagEndHeaders, stream, fieldStatus404)
				c.frame(frameData, 0, stream, `{"message":"cut`)
				c.rstStream(stream, errorInternal)
			},
			seen: []string{"1: " + whole}, status: 404, typed: true,
		},
		"an invalid HEADERS frame": { // net/http closes the connection
			f: func(c h2, _ int, stream uint32) {
				c.frame(frameHeaders, flagEndHeaders, stream, "\xff\xff\xff\xff\xff\xff")
			},
			seen: []string{"1: " + whole},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			url, seen := h2Server(t, tt.f)
			tr := &iamhttp.Transport{Base: h2Base(t), Backoff: zero, RetryConnectionErrors: true}
			req, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(whole))
			require.NoError(t, err)
			cost(t, name, 2<<20, func() string {
				resp, err := tr.RoundTrip(req)
				typed := errors.As(err, new(*iamhttp.StatusError))
				assert.Equal(t, tt.typed, typed, "want a StatusError if, and only if, there is a failing response; got %v", err)
				switch {
				case tt.typed:
					e := statusError(t, err)
					assert.Equal(t, tt.status, int(e.Code))
					assert.True(t, e.Truncated)
					assert.Equal(t, "cut", e.Message)
				case tt.status == 0:
					assert.Error(t, err)
					assert.Nil(t, resp)
				default:
					require.NoError(t, err)
					assert.Equal(t, tt.status, resp.StatusCode)
					assert.Equal(t, 2, resp.ProtoMajor)
					resp.Body.Close()
				}
				return outcome(resp, err)
			})
			assert.Equal(t, tt.seen, seen())
		})
	}
}

func TestHTTP2RefusedStreamsEndTheCallAtTheDeadline(t *testing.T) {
	url, seen := h2Server(t, func(c h2, _ int, stream uint32) { c.rstStream(stream, errorRefused) })
	cost(t, "REFUSED_STREAM for every request; deadline in 300 ms", 2<<20, func() string {
		_, err := get(short(t), t, &iamhttp.Transport{Base: h2Base(t)}, url)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		return outcome(nil, err)
	})
	assert.Less(t, len(seen()), 10)
}

func TestHTTP2StreamResetsUseUpTheAttempts(t *testing.T) {
	url, seen := h2Server(t, func(c h2, _ int, stream uint32) { c.rstStream(stream, errorInternal) })
	tr := &iamhttp.Transport{Base: h2Base(t), RetryConnectionErrors: true, MaxAttempts: 3, Backoff: constant(time.Millisecond)}
	cost(t, "RST_STREAM for every attempt of a GET with RetryConnectionErrors", 2<<20, func() string {
		_, err := get(t.Context(), t, tr, url)
		assert.Error(t, err)
		return outcome(nil, err)
	})
	assert.Len(t, seen(), 3, "a GET must be sent MaxAttempts times")
}

// Over HTTP/2, net/http's Close of a response body waits until the request body is no longer
// being sent. A Read of the request body may take arbitrarily long.
func TestHTTP2FailureArrivesWhileTheRequestBodyIsStillBeingRead(t *testing.T) {
	t.Parallel()
	for _, code := range []int{403, 408, 429} {
		for _, mode := range []string{"error", "PassThrough", "with a Recorder"} {
			for _, replayable := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d, %s, replayable: %v", code, mode, replayable), func(t *testing.T) {
					t.Parallel()
					s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
						w.WriteHeader(code)
						_, _ = io.WriteString(w, `{"message":"no"}`)
					}))
					s.EnableHTTP2 = true
					s.StartTLS()
					t.Cleanup(s.Close)
					ctx, cancel := context.WithCancel(t.Context())
					var quiet sync.WaitGroup
					release := make(chan struct{})
					t.Cleanup(func() { close(release); cancel(); quiet.Wait(); s.CloseClientConnections() })
					body := func() (io.ReadCloser, error) {
						r, w := io.Pipe()
						quiet.Go(func() {
							_, _ = io.WriteString(w, "begin")
							<-release
							w.Close()
						})
						quiet.Go(func() { <-release; r.Close() })
						return io.NopCloser(r), nil // like http.NewRequest for a reader without Close, so that Close does not end a Read
					}
					first, _ := body()
					if mode == "with a Recorder" {
						ctx, _ = iamhttp.WithRecorder(ctx)
					}
					req, err := http.NewRequestWithContext(ctx, "POST", s.URL, first)
					require.NoError(t, err)
					if replayable {
						req.GetBody = body
					}
					tr := &iamhttp.Transport{Base: s.Client().Transport, MaxAttempts: 2, Backoff: constant(time.Millisecond), PassThrough: mode != "error"}
					ended := make(chan error, 1)
					go func() {
						resp, err := tr.RoundTrip(req) //nolint:bodyclose // its Close would wait for the request body
						if err == nil && resp.StatusCode != code {
							err = fmt.Errorf("got a %d", resp.StatusCode)
						}
						ended <- err
					}()
					select {
					case err = <-ended:
					case <-time.After(20 * time.Second):
						t.Fatal("the call has not returned")
					}
					if mode == "error" {
						assert.ErrorIs(t, err, iamhttp.Code(code))
					} else {
						assert.NoError(t, err)
					}
				})
			}
		}
	}
}
