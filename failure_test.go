package iamhttp_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
)

// failures collects the Failures that OnFailure receives.
type failures []iamhttp.Failure

func (f *failures) add(_ context.Context, failure iamhttp.Failure) { *f = append(*f, failure) }

func TestRetriedConnectionErrorsAreReportedToOnFailure(t *testing.T) {
	modes(t, func(t *testing.T, passThrough bool) {
		broken := &net.OpError{Op: "read", Err: syscall.ECONNRESET}
		var got failures
		tr := &iamhttp.Transport{Base: script(fail(broken), fail(broken), answer(429, ""), fail(broken), answer(200, "")),
			RetryConnectionErrors: true, Backoff: zero, PassThrough: passThrough, OnFailure: got.add}
		_, err := tr.RoundTrip(newRequest(t, "GET", ""))
		require.NoError(t, err)
		require.Len(t, got, 4)
		for i, f := range got {
			assert.Equal(t, i+1, f.Attempt)
			assert.True(t, f.Retry)
			assert.Equal(t, iamhttp.StopUnset, f.Stop)
			_, answered := f.Status()
			assert.Equal(t, i == 2, answered)
			assert.Equal(t, i != 2, f.Err == error(broken))
			assert.Equal(t, "https://iam.example/v3/users", f.URL)
		}
	})
}

func TestEachFailedCallEndsWithOneFinalFailure(t *testing.T) {
	broken := errors.New("connection reset by peer")
	never := func(context.Context, gate.Request) (gate.Ticket, error) { return 0, &gate.Error{Err: gate.ErrPaused} }
	once := func(_ context.Context, r gate.Request) (gate.Ticket, error) {
		if r.Resend == 0 {
			return 1, nil
		}
		return 0, &gate.Error{Err: gate.ErrPaused}
	}
	for name, tt := range map[string]struct {
		steps   []step
		tr      iamhttp.Transport
		cancel  bool // whether the call is canceled after half a second
		attempt int
		stop    iamhttp.StopReason
		reports int
	}{
		"not retryable":                                    {[]step{answer(404, "")}, iamhttp.Transport{}, false, 1, iamhttp.StopNotRetryable, 1},
		"attempts used up":                                 {[]step{answer(429, "")}, iamhttp.Transport{MaxAttempts: 3}, false, 3, iamhttp.StopAttempts, 3},
		"wait longer than MaxWait":                         {[]step{answer(429, "", "Retry-After: 900")}, iamhttp.Transport{}, false, 1, iamhttp.StopWaitTooLong, 1},
		"canceled during the wait":                         {[]step{answer(429, "", "Retry-After: 9")}, iamhttp.Transport{}, true, 1, iamhttp.StopCanceled, 2},
		"no response":                                      {[]step{fail(broken)}, iamhttp.Transport{}, false, 1, iamhttp.StopNotRetryable, 1},
		"no response, attempts used up":                    {[]step{fail(broken)}, iamhttp.Transport{RetryConnectionErrors: true, MaxAttempts: 2}, false, 2, iamhttp.StopAttempts, 2},
		"no response, canceled during the wait":            {[]step{fail(broken)}, iamhttp.Transport{RetryConnectionErrors: true, Backoff: constant(time.Minute)}, true, 1, iamhttp.StopCanceled, 2},
		"canceled during the attempt":                      {[]step{hang}, iamhttp.Transport{RetryConnectionErrors: true}, true, 1, iamhttp.StopCanceled, 1},
		"refused by the gate":                              {nil, iamhttp.Transport{Gate: &scriptedGate{wait: never}}, false, 0, iamhttp.StopGate, 1},
		"retry refused by the gate":                        {[]step{answer(429, "")}, iamhttp.Transport{Gate: &scriptedGate{wait: once}}, false, 1, iamhttp.StopGate, 2},
		"canceled while waiting at the gate":               {nil, iamhttp.Transport{Gate: &scriptedGate{wait: hold}}, true, 0, iamhttp.StopCanceled, 1},
		"no response, retry refused by the gate":           {[]step{fail(broken)}, iamhttp.Transport{Gate: &scriptedGate{wait: once}, RetryConnectionErrors: true}, false, 1, iamhttp.StopGate, 2},
		"Base returns neither response nor error":          {[]step{func(*http.Request) (*http.Response, error) { return nil, nil }}, iamhttp.Transport{}, false, 1, iamhttp.StopNotRetryable, 1},
		"no response to the retry of a 429":                {[]step{answer(429, ""), fail(broken)}, iamhttp.Transport{}, false, 2, iamhttp.StopNotRetryable, 2},
		"GateKey returns an empty key":                     {nil, iamhttp.Transport{Gate: new(scriptedGate), GateKey: func(*http.Request) string { return "" }}, false, 0, iamhttp.StopNotRetryable, 1},
		"StatusError from an inner Transport":              {[]step{answer(404, "")}, iamhttp.Transport{Base: &iamhttp.Transport{Base: script(answer(404, ""))}}, false, 1, iamhttp.StopNotRetryable, 1},
		"Base's error wraps another request's StatusError": {[]step{fail(fmt.Errorf("log in: %w", iamhttp.NewStatusError(401, nil, nil)))}, iamhttp.Transport{}, false, 1, iamhttp.StopNotRetryable, 1},
	} {
		modes(t, func(t *testing.T, passThrough bool) {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var got failures
					tr := tt.tr
					if tr.Base == nil {
						tr.Base = script(tt.steps...)
					}
					tr.PassThrough, tr.OnFailure = passThrough, got.add
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if tt.cancel {
						time.AfterFunc(time.Second/2, cancel)
					}
					resp, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
					require.Len(t, got, tt.reports)
					for _, f := range got[:len(got)-1] {
						assert.True(t, f.Retry)
						assert.Equal(t, iamhttp.StopUnset, f.Stop)
					}
					last := got[len(got)-1]
					assert.False(t, last.Retry)
					assert.Equal(t, tt.stop, last.Stop)
					assert.Equal(t, tt.attempt, last.Attempt)
					assert.Zero(t, last.Wait)
					assert.Equal(t, "GET", last.Method)
					if err != nil {
						assert.Same(t, last.Err, err, "RoundTrip must return the reported error: %v", last.Err)
					} else {
						assert.GreaterOrEqual(t, resp.StatusCode, 400)
					}
				})
			})
		})
	}
}

// hang is a step that blocks until the request's context ends.
func hang(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

func hold(ctx context.Context, _ gate.Request) (gate.Ticket, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

func TestFailuresReportedByAnInnerTransportAreNotReportedAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		steps        []step
		inner        iamhttp.Transport
		below, above int
	}{
		"a final response":                    {[]step{answer(404, "")}, iamhttp.Transport{}, 1, 0},
		"a final response, inner PassThrough": {[]step{answer(404, "")}, iamhttp.Transport{PassThrough: true}, 1, 0},
		"no response":                         {[]step{fail(errors.New("x"))}, iamhttp.Transport{}, 1, 0},
		"retries":                             {[]step{answer(429, ""), answer(404, "")}, iamhttp.Transport{}, 2, 0},
		"a code that only the inner Transport expects": {[]step{answer(404, "")}, iamhttp.Transport{Expected: []iamhttp.Code{404}}, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var below, above failures
			inner := tt.inner
			for way, base := range map[string]http.RoundTripper{"as Base": &inner, "embedded in Base": authenticating{&inner}} {
				inner.Base, inner.Backoff, inner.OnFailure = script(tt.steps...), zero, below.add
				below, above = nil, nil
				_, err := (&iamhttp.Transport{Base: base, Backoff: zero, OnFailure: above.add}).RoundTrip(newRequest(t, "GET", ""))
				require.Error(t, err)
				assert.Len(t, below, tt.below, way)
				assert.Len(t, above, tt.above, way)
			}
		})
	}
}

func TestTeeCallsAllFunctionsInOrder(t *testing.T) {
	var got []string
	note := func(name string) func(context.Context, iamhttp.Failure) {
		return func(ctx context.Context, f iamhttp.Failure) {
			got = append(got, fmt.Sprint(name, " ", f.Attempt, " ", ctx.Value(traceKey{})))
		}
	}
	iamhttp.Tee(note("a"), nil, note("b"))(context.WithValue(t.Context(), traceKey{}, "t-1"), iamhttp.Failure{Attempt: 7})
	assert.Equal(t, []string{"a 7 t-1", "b 7 t-1"}, got)
	iamhttp.Tee()(t.Context(), iamhttp.Failure{})
}

func TestFailuresWithoutAResponseAreLoggedByClass(t *testing.T) {
	const secret = "s3cr3t"
	refused := &net.OpError{Op: "dial", Err: fmt.Errorf("connect: %w", syscall.ECONNREFUSED)}
	for name, tt := range map[string]struct {
		f    iamhttp.Failure
		want string
	}{
		"refused":  {iamhttp.Failure{Err: refused, Stop: iamhttp.StopNotRetryable}, `level=ERROR msg="IAM request failed" err.class=refused err.type=syscall.Errno`},
		"reset":    {iamhttp.Failure{Err: &url.Error{Op: "Post", URL: "/?" + secret, Err: syscall.ECONNRESET}, Stop: iamhttp.StopNotRetryable}, `level=ERROR msg="IAM request failed" err.class=reset err.type=syscall.Errno`},
		"retried":  {iamhttp.Failure{Err: refused, Retry: true, Wait: time.Second}, `level=INFO msg="IAM request failed, will be retried" wait=1s err.class=refused`},
		"timeout":  {iamhttp.Failure{Err: context.DeadlineExceeded, Stop: iamhttp.StopNotRetryable}, `level=ERROR msg="IAM request failed" err.class=timeout`},
		"canceled": {iamhttp.Failure{Err: context.Canceled, Stop: iamhttp.StopCanceled}, `level=INFO msg="IAM request failed" err.class=canceled`},
		"TLS":      {iamhttp.Failure{Err: x509.HostnameError{Host: secret, Certificate: &x509.Certificate{}}, Stop: iamhttp.StopNotRetryable}, `level=ERROR msg="IAM request failed" err.class=TLS err.type=x509.HostnameError`},
		"gate":     {iamhttp.Failure{Err: &iamhttp.NotSentError{RetryAfter: time.Minute, Err: errors.New(secret)}, Stop: iamhttp.StopGate}, `level=WARN msg="IAM request failed" err.class=gate err.type=*iamhttp.NotSentError err.method="" err.url="" err.retry_after=1m0s err.stop="refused by the gate"`},
		"other":    {iamhttp.Failure{Err: errors.New(secret), Attempt: 3, Stop: iamhttp.StopAttempts}, `level=ERROR msg="IAM request failed" err.class=other err.type=*errors.errorString err.method="" err.url="" err.attempts=3 err.stop="attempts used up"`},
	} {
		t.Run(name, func(t *testing.T) {
			var logged bytes.Buffer
			iamhttp.LogFailures(logger(&logged, slog.LevelInfo))(t.Context(), tt.f)
			assert.Contains(t, logged.String(), tt.want)
			assert.NotContains(t, logged.String(), secret)
		})
	}
}

func TestRetryAfterFindsTheWaitInAnError(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		want time.Duration
		ok   bool
	}{
		"nil":                         {nil, 0, false},
		"another error":               {errors.New("x"), 0, false},
		"StatusError":                 {fmt.Errorf("sdk: %w", iamhttp.NewStatusError(429, http.Header{"Retry-After": {"7"}}, nil)), 7 * time.Second, true},
		"StatusError without a wait":  {iamhttp.NewStatusError(404, nil, nil), 0, false},
		"NotSentError":                {&url.Error{Err: &iamhttp.NotSentError{RetryAfter: time.Second}}, time.Second, true},
		"NotSentError without a wait": {&iamhttp.NotSentError{}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			d, ok := iamhttp.RetryAfter(tt.err)
			assert.Equal(t, tt.want, d)
			assert.Equal(t, tt.ok, ok)
		})
	}
}

func TestWithMaxWaitOverridesTheDefault(t *testing.T) {
	for name, tt := range map[string]struct {
		set  time.Duration
		want iamhttp.StopReason
	}{
		"longer than Retry-After":  {time.Hour, iamhttp.StopNotRetryable},
		"shorter than Retry-After": {time.Second, iamhttp.StopWaitTooLong},
		"not positive":             {-1, iamhttp.StopWaitTooLong},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := &iamhttp.Transport{Base: script(answer(429, "", "Retry-After: 600"), answer(404, ""))}
				_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(iamhttp.WithMaxWait(t.Context(), tt.set)))
				assert.Equal(t, tt.want, statusError(t, err).Stop)
			})
		})
	}
}
