// A trap cites a clause of the Go documentation or of an RFC, and tests a situation in
// which that clause is easily broken. To add a trap, add a line to traps and write a
// function that returns what went wrong. Run the RoundTripper in virtual time, with
// bubble. Also add a RoundTripper to defects below: it must have a defect that the new
// trap finds, but no other trap does. A rule of good style that does not follow from a
// clause is not a trap.
package roundtriptest_test

import (
	"bytes"
	"context"
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
	"github.com/iamhttp/iamhttp/roundtriptest"
)

var (
	passThrough = roundtriptest.Options{Retries: 429}
	errorMode   = roundtriptest.Options{Retries: 429, StatusErrors: true}
)

// All settings except Base, the mode and the gate have their defaults, because most users
// use the zero Transport.
func TestTransportAvoidsEveryTrap(t *testing.T) {
	for _, status := range []int{429, 408} {
		for _, errors := range []bool{false, true} {
			for _, gated := range []bool{false, true} {
				t.Run(fmt.Sprintf("status %d, StatusErrors %v, gate %v", status, errors, gated), func(t *testing.T) {
					roundtriptest.Run(t, func(base http.RoundTripper) http.RoundTripper {
						tr := &iamhttp.Transport{Base: base, PassThrough: !errors}
						if gated {
							tr.Gate = new(gate.Adaptive)
						}
						return tr
					}, roundtriptest.Options{
						Retries:      status,
						StatusErrors: errors,
						Shared:       gated && status == 429, // a 408 does not concern the whole account
					})
				})
			}
		}
	}
}

func TestBaseAloneAvoidsEveryTrapThatApplies(t *testing.T) {
	roundtriptest.Run(t, func(base http.RoundTripper) http.RoundTripper { return base }, roundtriptest.Options{})
}

func TestTrapsThatDoNotApplyReturnErrNotApplicable(t *testing.T) {
	alone := func(base http.RoundTripper) http.RoundTripper { return base }
	var applicable []string
	for trap := range roundtriptest.Traps() {
		if err := trap.Check(t, alone, roundtriptest.Options{}); !errors.Is(err, roundtriptest.ErrNotApplicable) {
			require.NoError(t, err, trap.Name)
			applicable = append(applicable, trap.Name)
		}
	}
	assert.Len(t, applicable, 14)
}

// If the RoundTripper does not retry the status in Options.Retries, at least one trap
// must report that.
func TestRoundTripperThatDoesNotRetryAsDeclaredFails(t *testing.T) {
	alone := func(base http.RoundTripper) http.RoundTripper { return base }
	fails := func(http.RoundTripper) http.RoundTripper {
		return below{f: func(http.RoundTripper, *http.Request) (*http.Response, error) { return nil, errors.New("no") }}
	}
	found := 0
	for trap := range roundtriptest.Traps() {
		if trap.Name == "there is a pause without Retry-After too" || trap.Name == "Retry-After is understood in all its forms" {
			found++
			assert.ErrorContains(t, trap.Check(t, alone, passThrough), "a 429 was to be retried, but the base received only 1 request(s)")
			assert.ErrorContains(t, trap.Check(t, fails, passThrough), "a 429 was to be retried, but the base received only 0 request(s) (error: no)")
		}
	}
	assert.Equal(t, 2, found)
}

// Without Options.Retries, no request may be sent again. With it, a GET may be sent again
// after a 500 or a 503, but a POST only if Retries is such a status.
func TestRequestsThatAreSentAgainAreFoundUnlessTheOptionsAllowIt(t *testing.T) {
	again := func(method string, code int) func(http.RoundTripper) http.RoundTripper {
		return func(base http.RoundTripper) http.RoundTripper {
			return below{base, func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
				resp, err := base.RoundTrip(req)
				if err != nil || resp.StatusCode != code || req.Method != method {
					return resp, err
				}
				resp.Body.Close()
				return base.RoundTrip(req)
			}}
		}
	}
	for trap := range roundtriptest.Traps() {
		if trap.Name != "a request is sent once" {
			continue
		}
		for _, code := range []int{200, 500, 503} {
			for _, retries := range []int{0, 429, 503} {
				o := roundtriptest.Options{Retries: retries}
				allowed := retries == 503 && code != 200
				assert.Equal(t, !allowed, trap.Check(t, again("POST", code), o) != nil, "a POST that gets a %d, %+v", code, o)
				allowed = retries != 0 && code != 200
				assert.Equal(t, !allowed, trap.Check(t, again("GET", code), o) != nil, "a GET that gets a %d, %+v", code, o)
			}
		}
		return
	}
	t.Error("there is no trap with this name")
}

// A trap must report what the worst RoundTrippers do wrong: not a panic of the trap itself,
// and without formatting errors.
func TestTrapsDescribeWhatTheWorstRoundTrippersDo(t *testing.T) {
	retrying := func(f func(*http.Response) *http.Response) func(http.RoundTripper) http.RoundTripper {
		return func(base http.RoundTripper) http.RoundTripper {
			return &broken{iamhttp.Transport{Base: base, PassThrough: true}, func(tr *iamhttp.Transport, req *http.Request) (*http.Response, error) {
				resp, err := tr.RoundTrip(req)
				if err != nil {
					return nil, err
				}
				if resp.Body != nil {
					resp.Body.Close()
				}
				return f(resp), nil
			}}
		}
	}
	unsent := func(resp *http.Response, err error) func(http.RoundTripper) http.RoundTripper {
		return func(http.RoundTripper) http.RoundTripper {
			return below{f: func(_ http.RoundTripper, req *http.Request) (*http.Response, error) {
				if req.Body != nil {
					req.Body.Close()
				}
				return resp, err
			}}
		}
	}
	for what, wrap := range map[string]func(http.RoundTripper) http.RoundTripper{
		"neither response nor error":            unsent(nil, nil),
		"always an error":                       unsent(nil, errors.New("no")),
		"always a response without a body":      unsent(&http.Response{StatusCode: 429}, nil),
		"retries, then neither":                 retrying(func(*http.Response) *http.Response { return nil }),
		"retries, then a response without body": retrying(func(resp *http.Response) *http.Response { resp.Body = nil; return resp }),
		"a GetBody that returns nothing": func(base http.RoundTripper) http.RoundTripper {
			return below{base, func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
				sent := *req
				sent.GetBody = func() (io.ReadCloser, error) { return nil, nil } //nolint:nilnil // this is the defect
				return base.RoundTrip(&sent)
			}}
		},
	} {
		for trap := range roundtriptest.Traps() {
			for _, options := range []roundtriptest.Options{{}, passThrough, errorMode} {
				if err := trap.Check(t, wrap, options); err != nil {
					assert.NotContains(t, err.Error(), "%!", "%s: %s", what, trap.Name)
					assert.NotContains(t, err.Error(), "panicked", "%s: %s", what, trap.Name)
				}
			}
		}
	}
}

// broken is a Transport. Its field above, if set, is a function with a defect, which
// handles each request in place of the Transport and calls the Transport.
type broken struct {
	iamhttp.Transport
	above func(*iamhttp.Transport, *http.Request) (*http.Response, error)
}

func (b *broken) RoundTrip(req *http.Request) (*http.Response, error) {
	if b.above == nil {
		return b.Transport.RoundTrip(req)
	}
	return b.above(&b.Transport, req)
}

// below is a RoundTripper with a defect, usually between a Transport and the base.
type below struct {
	http.RoundTripper
	f func(base http.RoundTripper, req *http.Request) (*http.Response, error)
}

func (b below) RoundTrip(req *http.Request) (*http.Response, error) { return b.f(b.RoundTripper, req) }

// CloseIdleConnections forwards the call to the base, so that the defect under test is
// the only one.
func (b below) CloseIdleConnections() {
	(&http.Client{Transport: b.RoundTripper}).CloseIdleConnections()
}

// onlyRoundTrip hides all methods except RoundTrip.
type onlyRoundTrip struct{ http.RoundTripper }

// defects maps each trap's name to a RoundTripper with one defect. That trap must find
// the defect, and no other trap may report one.
var defects = map[string]struct {
	options roundtriptest.Options // the zero value means passThrough
	above   func(*iamhttp.Transport, *http.Request) (*http.Response, error)
	below   func(base http.RoundTripper, req *http.Request) (*http.Response, error)
	wrap    func(base http.RoundTripper) http.RoundTripper
}{
	"RoundTrip returns either a response or an error": {
		above: func(tr *iamhttp.Transport, req *http.Request) (*http.Response, error) {
			resp, err := tr.RoundTrip(req)
			if err == nil && resp.StatusCode == 500 {
				err = errors.New("giving up")
			}
			return resp, err
		},
	},
	"a client's timeout does not hide the response": {
		above: func(tr *iamhttp.Transport, req *http.Request) (*http.Response, error) {
			return tr.RoundTrip(req.WithContext(noDeadline{req.Context()}))
		},
	},
	"an error of the base stays an error": {
		below: func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			resp, err := base.RoundTrip(req)
			if _, ok := err.(*net.OpError); ok {
				return &http.Response{StatusCode: 502, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
			}
			return resp, err
		},
	},
	"the request is not modified": {
		above: func(tr *iamhttp.Transport, req *http.Request) (*http.Response, error) {
			req.Header.Set("Retry-Attempt", "1")
			return tr.RoundTrip(req)
		},
	},
	"the body is always closed": {
		above: func(tr *iamhttp.Transport, req *http.Request) (*http.Response, error) {
			sent := *req
			if req.Body != nil {
				sent.Body = io.NopCloser(req.Body)
			}
			return tr.RoundTrip(&sent)
		},
	},
	"a body is not used again while it may be read": {
		above: func(tr *iamhttp.Transport, req *http.Request) (*http.Response, error) {
			if req.GetBody == nil {
				return tr.RoundTrip(req)
			}
			b, err := io.ReadAll(req.Body)
			if err != nil {
				return nil, err
			}
			req.Body.Close()
			sent, shared := *req, bytes.NewReader(b)
			sent.Body = io.NopCloser(shared)
			sent.GetBody = func() (io.ReadCloser, error) {
				_, err := shared.Seek(0, io.SeekStart)
				return io.NopCloser(shared), err
			}
			return tr.RoundTrip(&sent)
		},
	},
	"a body that is gone is not sent again as an empty one": {
		above: func(tr *iamhttp.Transport, req *http.Request) (*http.Response, error) {
			sent := *req
			if req.Body != nil && req.GetBody == nil {
				sent.GetBody = func() (io.ReadCloser, error) { return http.NoBody, nil }
			}
			return tr.RoundTrip(&sent)
		},
	},
	"redirects belong to the client": {
		above: func(tr *iamhttp.Transport, req *http.Request) (*http.Response, error) {
			resp, err := tr.RoundTrip(req)
			if err != nil || resp.Header.Get("Location") == "" {
				return resp, err
			}
			resp.Body.Close()
			next := req.Clone(req.Context())
			if next.URL, err = resp.Location(); err != nil {
				return nil, err
			}
			return tr.RoundTrip(next)
		},
	},
	"a response is returned with its body untouched": {
		above: func(tr *iamhttp.Transport, req *http.Request) (*http.Response, error) {
			resp, err := tr.RoundTrip(req)
			if err == nil {
				resp.Body = struct{ io.ReadCloser }{resp.Body}
			}
			return resp, err
		},
	},
	"CloseIdleConnections reaches the base": {
		wrap: func(base http.RoundTripper) http.RoundTripper {
			return onlyRoundTrip{&iamhttp.Transport{Base: base, PassThrough: true}}
		},
	},
	"the connection of a retried response is reused": {
		below: func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			resp, err := base.RoundTrip(req)
			if err == nil && resp != nil && resp.StatusCode == 429 && resp.Body != nil {
				resp.Body = io.NopCloser(strings.NewReader(""))
			}
			return resp, err
		},
	},
	"a body that does not end is not read to its end": {
		below: func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			resp, err := base.RoundTrip(req)
			if err == nil && resp != nil && resp.StatusCode == 429 && resp.Body != nil {
				_, _ = io.Copy(io.Discard, resp.Body)
			}
			return resp, err
		},
	},
	"a broken base causes no panic": {
		below: func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			resp, err := base.RoundTrip(req)
			if err == nil && resp.StatusCode == 0 {
				return resp, errors.New("no status")
			}
			return resp, err
		},
	},
	"a request is sent once": {
		below: func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			resp, err := base.RoundTrip(req)
			if err != nil || resp == nil || resp.StatusCode != 503 || req.Method != "POST" || req.GetBody == nil {
				return resp, err
			}
			resp.Body.Close()
			again := *req
			if again.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
			return base.RoundTrip(&again)
		},
	},
	"a cancellation reaches the attempt in flight": {
		below: func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			return base.RoundTrip(req.WithContext(context.WithoutCancel(req.Context())))
		},
	},
	"a canceled wait ends at once and says why": {
		above: func(tr *iamhttp.Transport, req *http.Request) (*http.Response, error) {
			resp, err := tr.RoundTrip(req)
			if req.Context().Err() != nil && err != nil {
				err = errors.New("request canceled")
			}
			return resp, err
		},
	},
	"nothing goes on after a canceled call": {
		above: func(tr *iamhttp.Transport, req *http.Request) (*http.Response, error) {
			resp, err := tr.RoundTrip(req)
			if req.Context().Err() != nil {
				go time.Sleep(time.Minute)
			}
			return resp, err
		},
	},
	"a client's timeout ends the wait": {
		above: func(tr *iamhttp.Transport, req *http.Request) (*http.Response, error) {
			resp, err := tr.RoundTrip(req)
			_, limited := req.Context().Deadline()
			if limited && err == nil && resp.StatusCode == 429 && resp.Header.Get("Retry-After") == "" {
				time.Sleep(5 * time.Second)
			}
			return resp, err
		},
	},
	"Retry-After is understood in all its forms": {
		below: edit(func(h http.Header) {
			// Some implementations can parse only time.RFC1123.
			v := h.Get("Retry-After")
			if _, err := time.Parse(time.RFC1123, v); err != nil && strings.Contains(v, ":") {
				h.Del("Retry-After")
			}
		}),
	},
	"a wrong clock does not matter": {
		below: edit(func(h http.Header) { h.Del("Date") }),
	},
	"no retry before Retry-After has elapsed": {
		below: edit(func(h http.Header) {
			if h.Get("Retry-After") == "100" {
				h.Set("Retry-After", "30")
			}
		}),
	},
	"throttled callers do not all retry at once": {
		wrap: func(base http.RoundTripper) http.RoundTripper {
			var calls atomic.Int32
			b := &broken{Transport: iamhttp.Transport{PassThrough: true}}
			b.Base = below{base, edit(func(h http.Header) {
				if calls.Load() > 10 {
					h.Del("Retry-After")
				}
			})}
			b.above = func(tr *iamhttp.Transport, req *http.Request) (*http.Response, error) {
				calls.Add(1)
				defer calls.Add(-1)
				return tr.RoundTrip(req)
			}
			return b
		},
	},
	"there is a pause without Retry-After too": {
		wrap: func(base http.RoundTripper) http.RoundTripper {
			return &iamhttp.Transport{Base: base, PassThrough: true, Backoff: func() backoff.BackOff { return &backoff.ZeroBackOff{} }}
		},
	},
	"an odd response causes no panic": {
		below: func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			resp, err := base.RoundTrip(req)
			if err == nil && resp != nil {
				resp.Header.Set("X-Attempt", "1")
			}
			return resp, err
		},
	},
	"Content-Length is kept": {
		below: func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			sent := *req
			if iamhttp.ResendCount(req.Context()) > 0 && req.Body != nil {
				sent.ContentLength = -1
			}
			return base.RoundTrip(&sent)
		},
	},
	"errors contain no secrets": {
		above: func(tr *iamhttp.Transport, req *http.Request) (*http.Response, error) {
			resp, err := tr.RoundTrip(req)
			if err != nil {
				err = fmt.Errorf("%s %s: %w", req.Method, req.URL, err)
			}
			return resp, err
		},
	},
	"errors of one kind have one pointer type": {
		options: errorMode,
		above: func(tr *iamhttp.Transport, req *http.Request) (*http.Response, error) {
			resp, err := tr.RoundTrip(req)
			if e, ok := err.(*iamhttp.StatusError); ok {
				err = valueError{e, []int{e.Attempts}}
			}
			return resp, err
		},
	},
	"GetBody is passed on": {
		below: func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			sent := *req
			sent.GetBody = nil
			return base.RoundTrip(&sent)
		},
	},
	"wrapping twice does not multiply the attempts": {
		above: func(tr *iamhttp.Transport, req *http.Request) (*http.Response, error) {
			resp, err := tr.RoundTrip(req)
			if err == nil {
				resp.Request = nil // this field shows the outer Transport that the request has already been retried
			}
			return resp, err
		},
	},
}

// edit returns a function that calls f with each response's header.
func edit(f func(http.Header)) func(http.RoundTripper, *http.Request) (*http.Response, error) {
	return func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
		resp, err := base.RoundTrip(req)
		if err == nil && resp != nil && resp.Header != nil {
			f(resp.Header)
		}
		return resp, err
	}
}

type noDeadline struct{ context.Context }

func (noDeadline) Deadline() (time.Time, bool) { return time.Time{}, false }

// valueError is an error type that is neither a pointer nor comparable.
type valueError struct {
	error
	history []int
}

func (e valueError) Unwrap() error { return e.error }

func TestEachTrapFindsItsDefectAndNoOtherTrapDoes(t *testing.T) {
	n := 0
	for trap := range roundtriptest.Traps() {
		n++
		t.Run(trap.Name, func(t *testing.T) {
			defect, ok := defects[trap.Name]
			require.True(t, ok, "defects has no entry for this trap")
			wrap := defect.wrap
			options := defect.options
			if options == (roundtriptest.Options{}) {
				options = passThrough
			}
			if wrap == nil {
				wrap = func(base http.RoundTripper) http.RoundTripper {
					if defect.below != nil {
						base = below{base, defect.below}
					}
					return &broken{iamhttp.Transport{Base: base, PassThrough: !options.StatusErrors}, defect.above}
				}
			}
			for other := range roundtriptest.Traps() {
				err := other.Check(t, wrap, options)
				if errors.Is(err, roundtriptest.ErrNotApplicable) {
					err = nil
				}
				if other.Name == trap.Name {
					assert.Error(t, err)
					t.Log(err)
				} else {
					assert.NoError(t, err, other.Name)
				}
			}
		})
	}
	assert.Len(t, defects, n)
}
