package iamhttp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
)

func TestRecorderHoldsTheLatestFailure(t *testing.T) {
	modes(t, func(t *testing.T, passThrough bool) {
		tr := &iamhttp.Transport{
			Base:        script(answer(404, ""), answer(429, ""), answer(403, ""), answer(200, ""), answer(409, ""), answer(404, "")),
			PassThrough: passThrough, Backoff: zero,
		}
		ctx, rec := iamhttp.WithRecorder(t.Context())
		last := func() iamhttp.Code {
			e, ok := rec.Last()
			if !ok {
				assert.Nil(t, e)
				return 0
			}
			return e.Code
		}
		send := func(ctx context.Context) { _, _ = tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx)) }
		assert.Zero(t, last(), "a new Recorder must be empty")
		send(ctx)
		assert.Equal(t, iamhttp.ErrNotFound, last())
		send(ctx)
		assert.Equal(t, iamhttp.ErrForbidden, last(), "the Recorder must hold the 403, not the retried 429")
		send(ctx)
		assert.Zero(t, last(), "a success must clear the Recorder")
		send(ctx)
		assert.Equal(t, iamhttp.ErrConflict, last())
		send(iamhttp.WithExpected(ctx, 404))
		assert.Zero(t, last(), "an expected response must clear the Recorder")
	})
}

func TestNestedRecordersBothRecord(t *testing.T) {
	tr := &iamhttp.Transport{Base: script(answer(404, ""))}
	outer, outerRec := iamhttp.WithRecorder(t.Context())
	inner, innerRec := iamhttp.WithRecorder(outer)
	_, _ = tr.RoundTrip(newRequest(t, "GET", "").WithContext(inner))
	for _, r := range []*iamhttp.Recorder{outerRec, innerRec} {
		e, ok := r.Last()
		require.True(t, ok)
		assert.Equal(t, iamhttp.ErrNotFound, e.Code)
	}
}

func TestContextOptionsCombine(t *testing.T) {
	ctx, rec := iamhttp.WithRecorder(iamhttp.WithExpected(t.Context(), 404))
	ctx = iamhttp.WithMaxAttempts(ctx, 2)
	ctx = iamhttp.WithExpected(ctx, 401)
	base := script(answer(404, ""), answer(401, ""), answer(429, ""))
	tr := &iamhttp.Transport{Base: base, Backoff: zero}
	for _, want := range []bool{true, true, false} {
		_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
		assert.Equal(t, want, err == nil)
	}
	assert.Equal(t, 4, base.count())
	_, ok := rec.Last()
	assert.True(t, ok)
}

func TestWrapAddsTheRecordedFailure(t *testing.T) {
	sdk := errors.New("sdk: unable to delete user")
	ctx, rec := iamhttp.WithRecorder(t.Context())
	assert.NoError(t, rec.Wrap(nil))
	assert.Same(t, sdk, rec.Wrap(sdk), "an empty Recorder must return the error unchanged")

	tr := &iamhttp.Transport{Base: script(answer(404, "")), PassThrough: true}
	_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
	require.NoError(t, err)
	assert.NoError(t, rec.Wrap(nil), "Wrap(nil) must be nil")
	err = rec.Wrap(sdk)
	assert.ErrorIs(t, err, sdk)
	assert.ErrorIs(t, err, iamhttp.ErrNotFound)
	assert.Equal(t, "https://iam.example/v3/users", statusError(t, err).URL)
	assert.EqualError(t, err, "sdk: unable to delete user: iamhttp: 404 NotFound (sent once: not retryable)")
	assert.Same(t, err, rec.Wrap(err), "an error that holds the StatusError must be returned unchanged")
}

func TestZeroRecorderRecordsNothing(t *testing.T) {
	var rec iamhttp.Recorder
	_, ok := rec.Last()
	assert.False(t, ok)
	err := errors.New("x")
	assert.Same(t, err, rec.Wrap(err))
}

func TestRecorderIsSafeForConcurrentUse(t *testing.T) {
	ctx, rec := iamhttp.WithRecorder(t.Context())
	tr := &iamhttp.Transport{Base: script(answer(404, "x"))}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
				assert.Error(t, err)
				if e, ok := rec.Last(); assert.True(t, ok) {
					assert.Equal(t, "x", string(e.Body()))
				}
			}
		})
	}
	wg.Wait()
}

func TestErrorWithoutAResponseClearsTheRecorder(t *testing.T) {
	broken := errors.New("connection reset by peer")
	for name, steps := range map[string][]step{
		"after an earlier call got a 404":                       {answer(404, ""), fail(broken)},
		"after an earlier call got a 401 and a login succeeded": {answer(401, ""), answer(201, ""), fail(broken)},
		"retry of a 429 got no response":                        {answer(429, ""), fail(broken)},
		"all retries of a 429 got no response":                  {answer(429, ""), fail(broken), fail(broken), fail(broken)},
	} {
		modes(t, func(t *testing.T, passThrough bool) {
			t.Run(name, func(t *testing.T) {
				ctx, rec := iamhttp.WithRecorder(t.Context())
				base := script(steps...)
				tr := &iamhttp.Transport{Base: base, PassThrough: passThrough, Backoff: zero, MaxAttempts: 4, RetryConnectionErrors: strings.Contains(name, "all retries")}
				var err error
				for base.count() < len(steps) {
					_, err = tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
				}
				require.ErrorIs(t, err, broken)
				sdk := errors.New("sdk: request failed")
				assert.Same(t, sdk, rec.Wrap(sdk), "Wrap must not add an earlier response's error")
				_, ok := rec.Last()
				assert.False(t, ok)
			})
		})
	}
}

func TestPanicClearsTheRecorder(t *testing.T) {
	panics := func(*http.Request) (*http.Response, error) { panic("x") }
	for name, tr := range map[string]*iamhttp.Transport{
		"in Base":             {Base: script(answer(404, ""), panics)},
		"in Base, in a retry": {Base: script(answer(404, ""), answer(429, ""), panics), Backoff: zero},
		"in GateKey": {Base: script(answer(404, "")), Gate: new(gate.Adaptive), GateKey: func(r *http.Request) string {
			if r.Method == "PUT" {
				panic("x")
			}
			return "account"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, rec := iamhttp.WithRecorder(t.Context())
			_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
			require.ErrorIs(t, err, iamhttp.ErrNotFound)
			assert.PanicsWithValue(t, "x", func() { _, _ = tr.RoundTrip(newRequest(t, "PUT", "").WithContext(ctx)) })
			sdk := errors.New("sdk: panicked")
			assert.Same(t, sdk, rec.Wrap(sdk), "Wrap must not add an earlier response's error")
		})
	}
}

func TestErrorOfATokenRequestBelowIsNotRecorded(t *testing.T) {
	for name, token := range map[string]*iamhttp.Transport{
		"the token request gets a 401": {Base: script(answer(401, ""))},
		"the gate refuses the token request": {Base: script(answer(200, "")), Gate: &scriptedGate{wait: func(context.Context, gate.Request) (gate.Ticket, error) {
			return 0, &gate.Error{Err: gate.ErrDeadline}
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, rec := iamhttp.WithRecorder(t.Context())
			tr := &iamhttp.Transport{PassThrough: true, Base: roundTripper(func(*http.Request) (*http.Response, error) {
				login, err := http.NewRequestWithContext(t.Context(), "POST", "https://iam.example/v3/auth/tokens", nil)
				require.NoError(t, err)
				_, err = token.RoundTrip(login)
				return nil, fmt.Errorf("token: %w", err)
			})}
			_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
			require.Error(t, err)
			sdk := errors.New("sdk error")
			assert.Same(t, sdk, rec.Wrap(sdk))
		})
	}
}

func TestWrapPrefersTheMoreDetailedErrorOfAResponse(t *testing.T) {
	ctx, rec := iamhttp.WithRecorder(t.Context())
	tr := &iamhttp.Transport{Base: script(answer(404, "", "X-Request-Id: r")), PassThrough: true}
	_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
	require.NoError(t, err)
	recorded, _ := rec.Last()

	built := fmt.Errorf("sdk: %w", iamhttp.NewStatusError(404, nil, nil)) // as adapters build it, without Attempts
	got := rec.Wrap(built)
	assert.Same(t, recorded, statusError(t, got))
	assert.ErrorIs(t, got, built)
	assert.EqualError(t, got, built.Error())

	other := fmt.Errorf("sdk: %w", iamhttp.NewStatusError(401, nil, nil))
	assert.Same(t, other, rec.Wrap(other), "an error that holds another response's StatusError must be returned unchanged")
	full := fmt.Errorf("sdk: %w", recorded)
	assert.Same(t, full, rec.Wrap(full), "an error that holds the recorded StatusError must be returned unchanged")
	assert.Equal(t, "unknown", iamhttp.StopUnset.String())
}

// While an SDK tidies up after a failure, a second request may get the same code.
func TestWrapIgnoresTheFailureOfAnotherRequest(t *testing.T) {
	for name, tt := range map[string]struct {
		method, path, id string
		same             bool
	}{
		"the same request":  {"POST", "/users", "r1", true},
		"another URL":       {"POST", "/groups", "", false},
		"another method":    {"DELETE", "/users", "", false},
		"another ID":        {"POST", "/users", "r2", false},
		"an ID only in one": {"POST", "/users", "", true},
		"two IDs":           {"POST", "/users", "r1; another", true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, rec := iamhttp.WithRecorder(t.Context())
			tr := &iamhttp.Transport{PassThrough: true, Base: roundTripper(func(r *http.Request) (*http.Response, error) {
				id, other, _ := strings.Cut(r.Header.Get("Id"), "; ")
				return answer(404, "", "X-Request-Id: "+id, "X-Openstack-Request-Id: "+other)(r)
			})}
			send := func(method, path, id string) *http.Response {
				req, err := http.NewRequestWithContext(ctx, method, "https://iam.example"+path, nil)
				require.NoError(t, err)
				req.Header.Set("Id", id)
				resp, err := tr.RoundTrip(req)
				require.NoError(t, err)
				return resp
			}
			built := iamhttp.CheckResponse(send("POST", "/users", "r1"))
			send(tt.method, tt.path, tt.id)
			recorded, _ := rec.Last()
			got := statusError(t, rec.Wrap(built))
			if tt.same {
				assert.Same(t, recorded, got)
			} else {
				assert.Same(t, built, error(got), "Wrap must return the error unchanged")
			}
		})
	}
}
