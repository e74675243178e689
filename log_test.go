package iamhttp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/iamtest"
)

// logger returns a logger that omits the time and drops records below level.
func logger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

func TestLogLevelIsInfoForRetriesWarnFor4xxErrorFor5xx(t *testing.T) {
	var logged bytes.Buffer
	service := new(iamtest.Server)
	service.Next(
		iamtest.Throttled(0), iamtest.Keystone(404, "No.").With("X-Openstack-Request-Id", "r"),
		iamtest.Page(503),
		iamtest.Answer{Status: 200},
	)
	tr := &iamhttp.Transport{Base: service, Backoff: zero, OnFailure: iamhttp.LogFailures(logger(&logged, slog.LevelInfo))}
	for range 3 {
		_, _ = tr.RoundTrip(newRequest(t, "GET", ""))
	}
	const request = "err.method=GET err.url=https://iam.example/v3/users"
	assert.Equal(t, `level=INFO msg="IAM request failed, will be retried" wait=0s err.code=429 err.title=TooManyRequests err.service_code=APIG.0308 `+
		`err.request_id=e2b44851-0991-411b-a6b7-9ac8518a4cd9 `+request+" err.attempts=1\n"+
		`level=WARN msg="IAM request failed" err.code=404 err.title=NotFound err.request_id=r `+request+` err.attempts=2 err.stop="not retryable"`+"\n"+
		`level=ERROR msg="IAM request failed" err.code=503 err.title=ServiceUnavailable `+request+` err.attempts=1 err.stop="not retryable"`+"\n",
		logged.String())

	logged.Reset()
	iamhttp.LogFailures(logger(&logged, slog.LevelError))(t.Context(), iamhttp.Failure{Err: &iamhttp.StatusError{Code: 404, Stop: iamhttp.StopNotRetryable}})
	assert.Empty(t, logged.String(), "a WARN was logged although the level is ERROR")
	iamhttp.LogFailures(logger(&logged, slog.LevelError))(t.Context(), iamhttp.Failure{Err: &iamhttp.StatusError{Code: 999, Stop: iamhttp.StopNotRetryable}})
	assert.Equal(t, "level=ERROR msg=\"IAM request failed\" err.code=999 err.stop=\"not retryable\"\n", logged.String())
}

func TestFinal4xxResponsesAreLoggedAtWarnAndOthersAtError(t *testing.T) {
	for code, want := range map[iamhttp.Code]string{400: "WARN", 499: "WARN", 500: "ERROR", 99: "ERROR"} {
		var logged bytes.Buffer
		iamhttp.LogFailures(logger(&logged, slog.LevelInfo))(t.Context(), iamhttp.Failure{Err: &iamhttp.StatusError{Code: code, Stop: iamhttp.StopNotRetryable}})
		assert.Contains(t, logged.String(), "level="+want, code)
	}
}

// contextHandler adds a value from the context to each record, as tracing handlers do.
type contextHandler struct{ slog.Handler }

type traceKey struct{}

func (h contextHandler) Handle(ctx context.Context, r slog.Record) error {
	r.AddAttrs(slog.Any("trace", ctx.Value(traceKey{})))
	return h.Handler.Handle(ctx, r)
}

func TestFailureIsLoggedWithTheContextOfItsRequest(t *testing.T) {
	var logged bytes.Buffer
	l := slog.New(contextHandler{logger(&logged, slog.LevelInfo).Handler()})
	tr := &iamhttp.Transport{Base: script(answer(404, "")), OnFailure: iamhttp.LogFailures(l)}
	_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(context.WithValue(t.Context(), traceKey{}, "t-1")))
	require.Error(t, err)
	assert.Contains(t, logged.String(), "trace=t-1")
}

func TestCancellationByTheCallerIsLoggedAtInfoAndATimeoutAtError(t *testing.T) {
	cause := errors.New("shut down")
	for name, tt := range map[string]struct {
		send func(ctx context.Context, req *http.Request, tr *iamhttp.Transport)
		want string
	}{
		"the context is canceled with a cause": {func(ctx context.Context, req *http.Request, tr *iamhttp.Transport) {
			ctx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(time.Second, func() { cancel(cause) })
			_, _ = tr.RoundTrip(req.WithContext(ctx))
		}, "level=INFO class=canceled"},
		"Request.Cancel is closed": {func(_ context.Context, req *http.Request, tr *iamhttp.Transport) {
			over := make(chan struct{})
			time.AfterFunc(time.Second, func() { close(over) })
			req.Cancel = over // http.Client still sets it for its Timeout
			_, _ = tr.RoundTrip(req)
		}, "level=INFO class=canceled"},
		"http.Client's Timeout passes": {func(_ context.Context, req *http.Request, tr *iamhttp.Transport) {
			_, _ = (&http.Client{Transport: tr, Timeout: time.Second}).Do(req)
		}, "level=ERROR class=timeout"},
		"the context's deadline passes, with a cause": {func(ctx context.Context, req *http.Request, tr *iamhttp.Transport) {
			ctx, cancel := context.WithTimeoutCause(ctx, time.Second, cause)
			defer cancel()
			_, _ = tr.RoundTrip(req.WithContext(ctx))
		}, "level=ERROR class=timeout"},
	} {
		for when, base := range map[string]http.RoundTripper{
			"during an attempt": roundTripper(func(req *http.Request) (*http.Response, error) { // as net/http does
				select {
				case <-req.Context().Done():
					return nil, context.Cause(req.Context())
				case <-req.Cancel:
					return nil, errors.New("net/http: request canceled")
				}
			}),
			"during the wait after a connection error": script(fail(io.EOF)),
		} {
			if when != "during an attempt" && strings.Contains(tt.want, "timeout") {
				continue // a wait that would outlast the deadline does not begin
			}
			t.Run(name+" "+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var logged bytes.Buffer
					tr := &iamhttp.Transport{Base: base, RetryConnectionErrors: true, MaxWait: time.Minute, Backoff: constant(10 * time.Second),
						OnFailure: iamhttp.LogFailures(logger(&logged, slog.LevelInfo))}
					tt.send(t.Context(), newRequest(t, "GET", ""), tr)
					lines := strings.Split(strings.TrimSpace(logged.String()), "\n")
					last := lines[len(lines)-1]
					level, class, _ := strings.Cut(tt.want, " ")
					assert.Contains(t, last, level)
					assert.Contains(t, last, class)
				})
			})
		}
	}
}

func TestLogFailuresWithNilUsesTheDefaultLogger(t *testing.T) {
	before := slog.Default()
	defer slog.SetDefault(before)
	f := iamhttp.LogFailures(nil)
	var logged bytes.Buffer
	slog.SetDefault(logger(&logged, slog.LevelInfo)) // after LogFailures was called
	f(t.Context(), iamhttp.Failure{Err: &iamhttp.StatusError{Code: 404, Stop: iamhttp.StopNotRetryable}})
	assert.Contains(t, logged.String(), "IAM request failed")
}

func TestNothingSecretIsLogged(t *testing.T) {
	const secret = "s3cr3t"
	failing := func(status int) iamtest.Answer {
		a := iamtest.Answer{Status: status, Body: `{"error":{"code":"IAM.0001","message":"'` + secret + `' is too short","title":"` + secret + `"},"password":"` + secret + `"}`}
		for _, name := range []string{"X-Subject-Token", "Set-Cookie", "Openstack-Auth-Receipt", "Www-Authenticate", "Location", secret} {
			a = a.With(name, secret)
		}
		return a
	}
	for name, passThrough := range map[string]bool{"error mode": false, "pass-through": true} {
		t.Run(name, func(t *testing.T) {
			var logged bytes.Buffer
			service := new(iamtest.Server)
			service.Next(failing(429), failing(401))
			log := iamhttp.LogFailures(slog.New(slog.NewJSONHandler(&logged, nil)))
			tr := &iamhttp.Transport{Base: service, Backoff: zero, PassThrough: passThrough, OnFailure: func(ctx context.Context, f iamhttp.Failure) {
				e, _ := f.Status()
				require.Contains(t, e.Message, secret, "the test needs a secret in the message")
				require.Contains(t, string(e.Body()), secret)
				require.Equal(t, secret, e.Header().Get("X-Subject-Token"))
				log(ctx, f)
			}}
			req, err := http.NewRequestWithContext(t.Context(), "POST",
				fmt.Sprintf("https://%[1]s:%[1]s@iam.example/v3/users?token=%[1]s&%[1]s#%[1]s", secret), strings.NewReader(secret))
			require.NoError(t, err)
			for _, name := range []string{"X-Auth-Token", "Authorization", "Cookie", secret} {
				req.Header.Set(name, secret)
			}
			_, _ = tr.RoundTrip(req)
			service.AssertCount(t, 2)
			assert.Equal(t, 2, strings.Count(logged.String(), "\n"))
			assert.Contains(t, logged.String(), `"service_code":"IAM.0001"`)
			assert.NotContains(t, logged.String(), secret)

			logged.Reset()
			log(t.Context(), iamhttp.Failure{Err: &iamhttp.StatusError{Code: 429, Message: secret, Stop: iamhttp.StopGate, Cause: errors.New(secret)}})
			assert.NotContains(t, logged.String(), secret, "the message or the text of Cause was logged")
		})
	}
}
