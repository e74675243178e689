package iamotel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/iamtest"
)

// recordWaits returns an OnFailure function that records failures, and the slice to which
// that function appends the wait before each retry.
func (r *recording) recordWaits() (func(context.Context, iamhttp.Failure), *[]time.Duration) {
	waits := new([]time.Duration)
	return iamhttp.Tee(r.OnFailure, func(_ context.Context, f iamhttp.Failure) {
		if f.Retry {
			*waits = append(*waits, f.Wait)
		}
	}), waits
}

func TestWaitsAndStopsAreRecordedAsEventsWithTheirReasons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.Next(iamtest.Throttled(30*time.Second), iamtest.Page(408), iamtest.IAM(401, "IAM.0061", "Locked."))
		r := record()
		tr := r.transport(&service)
		onFailure, waits := r.recordWaits()
		tr.OnFailure = onFailure
		require.Error(t, r.call(t, tr, "GET", "https://iam.example/", ""))
		require.Len(t, *waits, 2)
		assert.Equal(t, []string{
			fmt.Sprintf("iamhttp.wait error.type=429,http.request.resend_count=1,http.response.status_code=429,iamhttp.reason=throttled,iamhttp.retry_after=30,iamhttp.wait.duration=%v", (*waits)[0].Seconds()),
			fmt.Sprintf("iamhttp.wait error.type=408,http.request.resend_count=2,http.response.status_code=408,iamhttp.wait.duration=%v", (*waits)[1].Seconds()),
			"iamhttp.stop error.type=401,http.response.status_code=401,iamhttp.reason=account locked,iamhttp.stop.reason=not retryable",
		}, events(r.spans("call")[0]))
	})
}

func TestRateLimitThatTheServiceStatedIsRecordedInEventsButNotInMetrics(t *testing.T) {
	for want, a := range map[string]iamtest.Answer{
		"iamhttp.limit.requests=200,iamhttp.limit.window=300,":                      iamtest.ThrottledGateway(200, 5*time.Minute),
		"iamhttp.limit.requests=60,iamhttp.limit.reset=58,iamhttp.limit.window=60,": iamtest.ThrottledSAP(60, time.Minute, 58*time.Second),
		"iamhttp.limit.reset=7,": iamtest.Answer{Status: 429}.With("X-Ratelimit-Reset", "7"),
		"iamhttp.limit.requests=50,iamhttp.limit.reset=1.5,iamhttp.limit.window=86400,": {},
		"": iamtest.Throttled(0),
	} {
		r := record()
		e := iamhttp.NewStatusError(429, a.Header, []byte(a.Body))
		if a.Status == 0 {
			e.Limit = gate.Limit{Requests: 50, Per: 24 * time.Hour, Reset: 1500 * time.Millisecond, Policy: "secret"}
		}
		ctx, span := r.provider.Tracer("test").Start(t.Context(), "call")
		r.OnFailure(ctx, iamhttp.Failure{Err: e, Attempt: 1, Stop: iamhttp.StopAttempts})
		span.End()
		assert.Equal(t, []string{"iamhttp.stop error.type=429,http.response.status_code=429," + want + "iamhttp.reason=throttled,iamhttp.stop.reason=attempts used up"}, events(r.spans("call")[0]))
		assert.NotContains(t, strings.Join(r.metrics(t), "\n"), "limit")
	}
}

func TestRetriesWaitsAndStopReasonsAreRecordedAsMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		r := record()
		tr := r.transport(&service)
		tr.MaxAttempts = 2
		onFailure, waits := r.recordWaits()
		tr.OnFailure = onFailure
		service.Next(iamtest.Throttled(0), iamtest.Throttled(0), iamtest.Throttled(0), iamtest.Answer{}, iamtest.Page(503))
		for range 3 {
			_ = r.call(t, tr, "PUT", "https://iam.example/v3/users", "x")
		}
		waited := 0.0
		for _, w := range *waits {
			waited += w.Seconds()
		}
		assert.Equal(t, []string{
			"iamhttp.client.retries 2{request} http.request.method=PUT,server.address=iam.example",
			"iamhttp.client.stops 1{request} error.type=429,http.response.status_code=429,iamhttp.stop.reason=attempts used up,server.address=iam.example",
			"iamhttp.client.stops 1{request} error.type=503,http.response.status_code=503,iamhttp.stop.reason=not retryable,server.address=iam.example",
			fmt.Sprintf("iamhttp.client.wait.duration 2: %vs error.type=429,http.response.status_code=429,server.address=iam.example", waited),
		}, r.metrics(t))
	})
}

func TestCallWithoutAResponseIsCountedByErrorClassWithoutAStatusCode(t *testing.T) {
	cancelAfterASecond := func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(ctx)
		time.AfterFunc(time.Second, cancel)
		return ctx, cancel
	}
	cause := errors.New("shut down") // when a context ends, net/http returns its cause
	canceledWithCause := func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancelCause(ctx)
		time.AfterFunc(time.Second, func() { cancel(cause) })
		return ctx, func() { cancel(nil) }
	}
	aMinuteWithCause := func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeoutCause(ctx, time.Minute, cause)
	}
	aMinute := func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeout(ctx, time.Minute)
	}
	for name, tt := range map[string]struct {
		fault   iamtest.Fault
		context func(context.Context) (context.Context, context.CancelFunc)
		want    string // the expected attributes error.type and iamhttp.stop.reason
	}{
		"the connection was reset":                      {iamtest.Reset, aMinute, "error.type=*net.OpError,iamhttp.stop.reason=not retryable"},
		"the deadline passed":                           {iamtest.Stall, aMinute, "error.type=timeout,iamhttp.stop.reason=canceled"},
		"the deadline passed, with a cause":             {iamtest.Stall, aMinuteWithCause, "error.type=timeout,iamhttp.stop.reason=canceled"},
		"the caller canceled the request, with a cause": {iamtest.Stall, canceledWithCause, "error.type=canceled,iamhttp.stop.reason=canceled"},
		"the caller canceled the request":               {iamtest.Stall, cancelAfterASecond, "error.type=canceled,iamhttp.stop.reason=canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var service iamtest.Server
				service.Next(iamtest.Answer{Fault: tt.fault})
				r := record()
				ctx, span := r.provider.Tracer("test").Start(t.Context(), "call")
				ctx, cancel := tt.context(ctx)
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, "GET", "https://iam.example/", nil)
				require.NoError(t, err)
				_, err = (&iamhttp.Transport{Base: &service, OnFailure: r.OnFailure}).RoundTrip(req)
				require.Error(t, err)
				span.End()
				assert.Equal(t, []string{"iamhttp.stop " + tt.want}, events(r.spans("call")[0]))
				assert.Equal(t, []string{"iamhttp.client.stops 1{request} " + tt.want + ",server.address=iam.example"}, r.metrics(t))
			})
		})
	}
}

func TestRetriedConnectionErrorIsRecordedAsAWaitWithoutAStatusCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.Next(iamtest.Answer{Fault: iamtest.Reset})
		r := record()
		tr := r.transport(&service)
		tr.RetryConnectionErrors = true
		tr.Backoff = func() backoff.BackOff { return backoff.NewConstantBackOff(time.Second) }
		require.NoError(t, r.call(t, tr, "GET", "https://iam.example/", ""))
		assert.Equal(t, []string{"iamhttp.wait error.type=*net.OpError,http.request.resend_count=1,iamhttp.wait.duration=1"}, events(r.spans("call")[0]))
		assert.Equal(t, []string{
			"iamhttp.client.retries 1{request} http.request.method=GET,server.address=iam.example",
			"iamhttp.client.wait.duration 1: 1s error.type=*net.OpError,server.address=iam.example",
		}, r.metrics(t))
	})
}

// refusing is a gate that admits the first n requests and refuses all later ones with err.
type refusing struct {
	n   int
	err error
}

func (g *refusing) Wait(context.Context, gate.Request) (gate.Ticket, error) {
	if g.n--; g.n < 0 {
		return 0, g.err
	}
	return 0, nil
}

func (*refusing) Observe(gate.Request, gate.Ticket, gate.Outcome) {}

func TestRefusalByTheGateIsNotCountedAsA429Response(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		r := record()
		tr := r.transport(&service)
		tr.Gate = &refusing{err: &gate.Error{Err: gate.ErrPaused, RetryAfter: 5 * time.Minute}}
		require.ErrorIs(t, r.call(t, tr, "GET", "https://iam.example/", ""), iamhttp.ErrTooManyRequests)
		service.AssertCount(t, 0)
		assert.Empty(t, r.spans("GET"), "nothing was sent, so there must be no span for an attempt")
		assert.Equal(t, []string{"iamhttp.stop error.type=gate,iamhttp.retry_after=300,iamhttp.stop.reason=refused by the gate"}, events(r.spans("call")[0]))
		assert.Equal(t, []string{"iamhttp.client.stops 1{request} error.type=gate,iamhttp.stop.reason=refused by the gate,server.address=iam.example"}, r.metrics(t))
	})
}

func TestStopEventHasTheErrorTypeOfTheLastAttemptIfTheGateRefusesTheRetry(t *testing.T) {
	for name, tt := range map[string]struct {
		answer iamtest.Answer
		want   string
	}{
		"the attempt got a 429": {
			iamtest.Throttled(time.Minute),
			"error.type=429,http.response.status_code=429,iamhttp.reason=throttled,iamhttp.retry_after=300,iamhttp.stop.reason=refused by the gate",
		},
		"the attempt got no response": {
			iamtest.Answer{Fault: iamtest.Reset},
			"error.type=*net.OpError,iamhttp.stop.reason=refused by the gate",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var service iamtest.Server
				service.Next(tt.answer)
				r := record()
				tr := r.transport(&service)
				tr.RetryConnectionErrors = true
				tr.Gate = &refusing{n: 1, err: &gate.Error{Err: gate.ErrPaused, RetryAfter: 5 * time.Minute}}
				require.Error(t, r.call(t, tr, "GET", "https://iam.example/", ""))
				service.AssertCount(t, 1)
				told := events(r.spans("call")[0])
				require.Len(t, told, 2)
				assert.True(t, strings.HasPrefix(told[0], "iamhttp.wait "), told[0])
				assert.Equal(t, "iamhttp.stop "+tt.want, told[1])
			})
		})
	}
}

func TestStopsMetricCountsEachFailedCallOnce(t *testing.T) {
	stops := func(t *testing.T, r *recording) (n int) {
		t.Helper()
		for _, m := range r.metrics(t) {
			var count int
			if _, err := fmt.Sscanf(m, "iamhttp.client.stops %d", &count); err == nil {
				n += count
			}
		}
		return n
	}
	tooLate := &gate.Error{Err: gate.ErrDeadline}
	for name, tt := range map[string]struct {
		answers []iamtest.Answer
		change  func(*iamhttp.Transport)
		stops   int
	}{
		"a success":                          {nil, nil, 0},
		"a success after a retry":            {[]iamtest.Answer{iamtest.Throttled(time.Second)}, nil, 0},
		"a 404":                              {[]iamtest.Answer{iamtest.Page(404)}, nil, 1},
		"a 404 in pass-through mode":         {[]iamtest.Answer{iamtest.Page(404)}, func(tr *iamhttp.Transport) { tr.PassThrough = true }, 1},
		"an expected 404":                    {[]iamtest.Answer{iamtest.Page(404)}, func(tr *iamhttp.Transport) { tr.Expected = []iamhttp.Code{404} }, 0},
		"a 404 after a retry":                {[]iamtest.Answer{iamtest.Page(408), iamtest.Page(404)}, nil, 1},
		"an attempt without a response":      {[]iamtest.Answer{{Fault: iamtest.Reset}}, nil, 1},
		"the caller cancels the wait":        {[]iamtest.Answer{iamtest.Throttled(time.Hour)}, func(tr *iamhttp.Transport) { tr.MaxWait = 2 * time.Hour }, 1},
		"the gate refuses the first attempt": {nil, func(tr *iamhttp.Transport) { tr.Gate = &refusing{err: tooLate} }, 1},
		"the gate refuses a retry":           {[]iamtest.Answer{iamtest.Throttled(time.Second)}, func(tr *iamhttp.Transport) { tr.Gate = &refusing{n: 1, err: tooLate} }, 1},
		"GateKey returns an empty key": {nil, func(tr *iamhttp.Transport) {
			tr.Gate, tr.GateKey = new(gate.Adaptive), func(*http.Request) string { return "" }
		}, 1},
		"the attempts are used up": {[]iamtest.Answer{iamtest.Page(408), iamtest.Page(408)}, func(tr *iamhttp.Transport) { tr.MaxAttempts = 2 }, 1},
		"a Transport below already reports the failure": {[]iamtest.Answer{iamtest.Page(404)}, func(tr *iamhttp.Transport) {
			tr.Base = &iamhttp.Transport{Base: tr.Base, OnFailure: tr.OnFailure}
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var service iamtest.Server
				service.Next(tt.answers...)
				r := record()
				tr := r.transport(&service)
				if tt.change != nil {
					tt.change(tr)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				time.AfterFunc(time.Hour/2, cancel)
				req, err := http.NewRequestWithContext(ctx, "GET", "https://iam.example/", nil)
				require.NoError(t, err)
				if resp, err := tr.RoundTrip(req); err == nil {
					resp.Body.Close()
				}
				assert.Equal(t, tt.stops, stops(t, r), r.metrics(t))
			})
		})
	}
}

func TestFailureOfATransportBelowSpansIsReportedOnce(t *testing.T) {
	var service iamtest.Server
	service.Next(iamtest.Page(404))
	r := record()
	inner := &iamhttp.Transport{Base: &service, OnFailure: r.OnFailure}
	outer := &iamhttp.Transport{Base: r.Spans(inner), OnFailure: r.OnFailure}
	require.ErrorIs(t, r.call(t, outer, "GET", "https://iam.example/", ""), iamhttp.ErrNotFound)
	assert.Len(t, events(r.spans("GET")[0]), 1)
	assert.Empty(t, events(r.spans("call")[0]))
}

func TestTeeLogsAndRecordsTheSameFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.Next(iamtest.Throttled(time.Second), iamtest.Keystone(404, "No."))
		r := record()
		var logged bytes.Buffer
		tr := r.transport(&service)
		tr.OnFailure = iamhttp.Tee(iamhttp.LogFailures(slog.New(slog.NewTextHandler(&logged, nil))), r.OnFailure)
		require.ErrorIs(t, r.call(t, tr, "GET", "https://iam.example/", ""), iamhttp.ErrNotFound)
		lines, told := strings.Split(strings.TrimSpace(logged.String()), "\n"), events(r.spans("call")[0])
		require.Len(t, lines, 2)
		require.Len(t, told, 2)
		for i, code := range []string{"429", "404"} {
			assert.Contains(t, lines[i], "err.code="+code)
			assert.Contains(t, told[i], "http.response.status_code="+code)
		}
	})
}

func TestOnFailureRecordsFailuresThatNoTransportReported(t *testing.T) {
	for want, f := range map[string]iamhttp.Failure{
		"error.type=*errors.errorString,iamhttp.stop.reason=unknown,server.address=": {Err: errors.New("own"), URL: "::\x00"},
		"error.type=_OTHER,iamhttp.stop.reason=unknown,server.address=":              {},
	} {
		r := record()
		r.OnFailure(t.Context(), f)
		assert.Equal(t, []string{"iamhttp.client.stops 1{request} " + want}, r.metrics(t))
	}
}
