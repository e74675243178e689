package iamhttp_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/aksk"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/iamtest"
)

// signedAbove returns a request signed the way an SDK above the Transport signs it.
func signedAbove(t testing.TB, method, body string) *http.Request {
	t.Helper()
	req := newRequest(t, method, body)
	require.NoError(t, aksk.Sign(req, aksk.Credentials{AccessKey: "ak", SecretKey: "sk"}, time.Now()))
	return req
}

func TestWaitThatWouldOutliveTheSignatureStopsTheCall(t *testing.T) {
	hour := func(ctx context.Context) context.Context {
		limited, cancel := context.WithTimeout(ctx, time.Hour)
		t.Cleanup(cancel)
		return limited
	}
	for name, tt := range map[string]struct {
		tr      iamhttp.Transport
		limit   func(context.Context) context.Context
		asked   string
		sent    int
		stop    iamhttp.StopReason
		took    time.Duration
		signers func(http.RoundTripper) http.RoundTripper
	}{
		"a wait of 14 minutes, then another one":                         {iamhttp.Transport{Backoff: zero}, hour, "840", 2, iamhttp.StopSignature, 14 * time.Minute, nil},
		"a wait of 15 minutes":                                           {iamhttp.Transport{Backoff: zero}, hour, "900", 1, iamhttp.StopSignature, 0, nil},
		"a schedule with an interval of 16 minutes":                      {iamhttp.Transport{Backoff: constant(16 * time.Minute)}, hour, "", 1, iamhttp.StopSignature, 0, nil},
		"a wait of 61 s, with a SignatureLife of 1 minute":               {iamhttp.Transport{Backoff: zero, SignatureLife: time.Minute}, hour, "61", 1, iamhttp.StopSignature, 0, nil},
		"the deadline comes before the signature expires":                {iamhttp.Transport{Backoff: zero, SignatureLife: 2 * time.Hour}, hour, "3600", 1, iamhttp.StopDeadline, 0, nil},
		"MaxAttempts wins over the signature":                            {iamhttp.Transport{MaxAttempts: 1}, hour, "900", 1, iamhttp.StopAttempts, 0, nil},
		"negative SignatureLife":                                         {iamhttp.Transport{Backoff: zero, SignatureLife: -1}, hour, "1790", 3, iamhttp.StopDeadline, 2 * 1790 * time.Second, nil},
		"each attempt is signed by Base":                                 {iamhttp.Transport{Backoff: zero}, hour, "1790", 3, iamhttp.StopDeadline, 2 * 1790 * time.Second, signer},
		"each attempt is signed below a wrapper":                         {iamhttp.Transport{Backoff: zero}, hour, "1790", 3, iamhttp.StopDeadline, 2 * 1790 * time.Second, func(rt http.RoundTripper) http.RoundTripper { return wrapping{signer(rt)} }},
		"each attempt is signed below a wrapper that does not reveal it": {iamhttp.Transport{Backoff: zero}, hour, "1790", 1, iamhttp.StopSignature, 0, func(rt http.RoundTripper) http.RoundTripper { return opaque{signer(rt)} }},
		"each attempt is signed below another Transport": {iamhttp.Transport{Backoff: zero}, hour, "1790", 3, iamhttp.StopAttempts, 2 * 1790 * time.Second, func(rt http.RoundTripper) http.RoundTripper {
			return &iamhttp.Transport{Base: signer(rt), Backoff: zero, MaxAttempts: 3}
		}},
		"a third-party RoundTripper says that it signs each attempt": {iamhttp.Transport{Backoff: zero}, hour, "1790", 3, iamhttp.StopDeadline, 2 * 1790 * time.Second, func(rt http.RoundTripper) http.RoundTripper { return otherSigner{rt} }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				header := "X: y"
				if tt.asked != "" {
					header = "Retry-After: " + tt.asked
				}
				base := script(answer(429, "", header))
				tt.tr.Base = base
				if tt.signers != nil {
					tt.tr.Base = tt.signers(base)
				}
				req := signedAbove(t, "POST", "body")
				began := time.Now()
				_, err := tt.tr.RoundTrip(req.WithContext(tt.limit(req.Context())))
				var e *iamhttp.StatusError
				require.ErrorAs(t, err, &e)
				assert.Equal(t, iamhttp.ErrTooManyRequests, e.Code)
				assert.Equal(t, tt.stop, e.Stop, e.Stop.String())
				assert.Equal(t, tt.sent, e.Attempts)
				assert.GreaterOrEqual(t, time.Since(began), tt.took)
				assert.Less(t, time.Since(began), tt.took+time.Minute)
			})
		})
	}
}

func signer(rt http.RoundTripper) http.RoundTripper {
	return &aksk.Transport{Base: rt, Credentials: func(*http.Request) (aksk.Credentials, error) {
		return aksk.Credentials{AccessKey: "ak", SecretKey: "sk"}, nil
	}}
}

type wrapping struct{ http.RoundTripper }

func (w wrapping) WrappedRoundTripper() http.RoundTripper { return w.RoundTripper }

type otherSigner struct{ http.RoundTripper }

func (otherSigner) SignsEachAttempt(*http.Request) bool { return true }

func TestPassThroughReturnsTheResponseIfTheWaitWouldOutliveTheSignature(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last iamhttp.Failure
		tr := &iamhttp.Transport{
			Base: script(answer(429, "", "Retry-After: 900")), PassThrough: true, MaxWait: time.Hour,
			OnFailure: func(_ context.Context, f iamhttp.Failure) { last = f },
		}
		resp, err := tr.RoundTrip(signedAbove(t, "GET", ""))
		require.NoError(t, err)
		assert.Equal(t, 429, resp.StatusCode)
		assert.Equal(t, iamhttp.StopSignature, last.Stop)
	})
}

func TestRetryOfAConnectionErrorStopsBeforeTheSignatureExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last iamhttp.Failure
		broken := errors.New("broken")
		tr := &iamhttp.Transport{
			Base: script(fail(broken)), RetryConnectionErrors: true, Backoff: constant(6 * time.Minute), MaxWait: time.Hour,
			OnFailure: func(_ context.Context, f iamhttp.Failure) { last = f },
		}
		_, err := tr.RoundTrip(signedAbove(t, "GET", ""))
		assert.Equal(t, broken, err)
		assert.Equal(t, iamhttp.StopSignature, last.Stop)
		assert.Equal(t, 3, last.Attempt)
	})
}

func TestWaitInTheGateDoesNotOutliveTheSignature(t *testing.T) {
	busy := func(t *testing.T) *gate.Adaptive {
		t.Helper()
		g := new(gate.Adaptive)
		r := gate.Request{Key: "iam.example"}
		ticket, err := g.Wait(t.Context(), r)
		require.NoError(t, err)
		g.Observe(r, ticket, gate.Outcome{Result: gate.Throttled, RetryAfter: 20 * time.Minute})
		return g
	}
	t.Run("the first attempt is not sent, and the call fails at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var last iamhttp.Failure
			base := script(answer(200, ""))
			tr := &iamhttp.Transport{Base: base, Gate: busy(t), MaxWait: time.Hour, OnFailure: func(_ context.Context, f iamhttp.Failure) { last = f }}
			began := time.Now()
			_, err := tr.RoundTrip(signedAbove(t, "GET", ""))
			var e *iamhttp.NotSentError
			require.ErrorAs(t, err, &e)
			assert.ErrorIs(t, err, gate.ErrDeadline)
			assert.Contains(t, err.Error(), "iamhttp: gate: its signature would expire: ")
			assert.GreaterOrEqual(t, e.RetryAfter, 20*time.Minute)
			assert.Equal(t, iamhttp.StopSignature, last.Stop)
			assert.Zero(t, time.Since(began))
			assert.Empty(t, base.sent)
		})
	})
	t.Run("an attempt that Base signs is sent although the pause outlasts the caller's signature", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := &iamhttp.Transport{Base: signer(script(answer(200, ""))), Gate: busy(t), MaxWait: time.Hour}
			resp, err := tr.RoundTrip(signedAbove(t, "GET", ""))
			require.NoError(t, err)
			assert.Equal(t, 200, resp.StatusCode)
		})
	})
	t.Run("a body that can be read only once prevents a new signature if the signature covers the body", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			req := signedAbove(t, "POST", "body")
			req.GetBody = nil
			_, err := (&iamhttp.Transport{Base: signer(script(answer(200, ""))), Gate: busy(t), GateKey: gate.KeyByHost, MaxWait: time.Hour}).RoundTrip(req)
			assert.ErrorContains(t, err, "its signature would expire")

			req = newRequest(t, "POST", "body")
			req.Header.Set("X-Sdk-Content-Sha256", "UNSIGNED-PAYLOAD")
			require.NoError(t, aksk.Sign(req, aksk.Credentials{AccessKey: "ak", SecretKey: "sk"}, time.Now()))
			req.GetBody = nil
			resp, err := (&iamhttp.Transport{Base: signer(script(answer(200, ""))), Gate: busy(t), GateKey: gate.KeyByHost, MaxWait: time.Hour}).RoundTrip(req)
			require.NoError(t, err, "a body that the signature does not cover must not prevent a new signature")
			assert.Equal(t, 200, resp.StatusCode)
		})
	})
	t.Run("if the gate does not check deadlines in advance, the wait ends when the signature expires", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := &iamhttp.Transport{Base: script(answer(429, "")), MaxWait: time.Hour}
			waits := 0
			tr.Gate = &scriptedGate{wait: func(ctx context.Context, _ gate.Request) (gate.Ticket, error) {
				if waits++; waits == 1 {
					return 0, nil
				}
				<-ctx.Done()
				return 0, ctx.Err()
			}}
			began := time.Now()
			_, err := tr.RoundTrip(signedAbove(t, "GET", ""))
			var e *iamhttp.StatusError
			require.ErrorAs(t, err, &e)
			assert.Equal(t, iamhttp.StopSignature, e.Stop)
			assert.Equal(t, 1, e.Attempts)
			assert.ErrorIs(t, e.Cause, gate.ErrDeadline)
			assert.False(t, e.Timeout(), "the caller has no deadline")
			assert.LessOrEqual(t, time.Since(began), 15*time.Minute)
		})
	})
	t.Run("a pause longer than MaxWait is reported as StopGate", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var last iamhttp.Failure
			tr := &iamhttp.Transport{Base: script(answer(200, "")), Gate: busy(t), GateKey: gate.KeyByHost, MaxWait: time.Minute, OnFailure: func(_ context.Context, f iamhttp.Failure) { last = f }}
			_, err := tr.RoundTrip(signedAbove(t, "GET", ""))
			assert.ErrorIs(t, err, gate.ErrPaused)
			assert.Equal(t, iamhttp.StopGate, last.Stop)
		})
	})
	t.Run("a deadline before the signature expires is reported as StopGate", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var last iamhttp.Failure
			tr := &iamhttp.Transport{Base: script(answer(200, "")), Gate: busy(t), GateKey: gate.KeyByHost, OnFailure: func(_ context.Context, f iamhttp.Failure) { last = f }}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			_, err := tr.RoundTrip(signedAbove(t, "GET", "").WithContext(ctx))
			assert.ErrorIs(t, err, gate.ErrDeadline)
			assert.Equal(t, iamhttp.StopGate, last.Stop)
		})
	})
	t.Run("a request whose signature looks expired from the start is sent anyway, because the clock may be wrong", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			req := signedAbove(t, "GET", "")
			time.Sleep(20 * time.Minute)
			resp, err := (&iamhttp.Transport{Base: script(answer(200, "")), Gate: new(gate.Adaptive)}).RoundTrip(req)
			require.NoError(t, err)
			assert.Equal(t, 200, resp.StatusCode)
		})
	})
}

// An SDK may know that this machine's clock is off, and sign with the corrected time.
func TestSignatureWhoseTimeIs20MinutesOffDoesNotPreventRetries(t *testing.T) {
	for _, ago := range []time.Duration{20 * time.Minute, -20 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			req := newRequest(t, "GET", "")
			require.NoError(t, aksk.Sign(req, aksk.Credentials{AccessKey: "ak", SecretKey: "sk"}, time.Now().Add(-ago)))
			s := new(iamtest.Server)
			s.Next(iamtest.Throttled(time.Second))
			resp, err := (&iamhttp.Transport{Base: s}).RoundTrip(req)
			require.NoError(t, err)
			assert.Equal(t, 200, resp.StatusCode)
		})
	}
}

func TestExpiredSignatureIsNotBlamedForACallThatTheGateRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate.Adaptive)
		r := gate.Request{Key: "iam.example"}
		ticket, err := g.Wait(t.Context(), r)
		require.NoError(t, err)
		g.Observe(r, ticket, gate.Outcome{Result: gate.Throttled, RetryAfter: time.Minute})

		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		req := newRequest(t, "GET", "").WithContext(ctx)
		require.NoError(t, aksk.Sign(req, aksk.Credentials{AccessKey: "ak", SecretKey: "sk"}, time.Now().Add(-20*time.Minute)))
		var last iamhttp.Failure
		tr := &iamhttp.Transport{Base: script(), Gate: g, OnFailure: func(_ context.Context, f iamhttp.Failure) { last = f }}
		_, err = tr.RoundTrip(req)
		require.ErrorIs(t, err, gate.ErrDeadline)
		assert.Equal(t, iamhttp.StopGate, last.Stop)
		assert.NotContains(t, err.Error(), "signature")
	})
}

func TestTimeoutOfTheGateItselfIsNotBlamedOnTheSignature(t *testing.T) {
	var last iamhttp.Failure
	tr := &iamhttp.Transport{Base: script(), Gate: refusing{context.DeadlineExceeded}, OnFailure: func(_ context.Context, f iamhttp.Failure) { last = f }}
	_, err := tr.RoundTrip(signedAbove(t, "GET", ""))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.NotEqual(t, iamhttp.StopSignature, last.Stop)
	assert.NotContains(t, err.Error(), "signature")
}

// refusing is a gate that refuses every request.
type refusing struct{ err error }

func (g refusing) Wait(context.Context, gate.Request) (gate.Ticket, error) { return 0, g.err }
func (refusing) Observe(gate.Request, gate.Ticket, gate.Outcome)           {}
