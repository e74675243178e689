package iamotel_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/iamotel"
	"github.com/iamhttp/iamhttp/iamtest"
)

func TestZeroTelemetryUsesTheGlobalProviders(t *testing.T) {
	var tel iamotel.Telemetry
	service, r := new(iamtest.Server), record()
	rt := tel.Spans(service)
	traces, meters, propagators := otel.GetTracerProvider(), otel.GetMeterProvider(), otel.GetTextMapPropagator()
	defer func() {
		otel.SetTracerProvider(traces)
		otel.SetMeterProvider(meters)
		otel.SetTextMapPropagator(propagators)
	}()
	otel.SetTracerProvider(r.provider) // the global providers are set only after the call to Spans
	otel.SetMeterProvider(r.MeterProvider)
	otel.SetTextMapPropagator(r.Propagators)
	require.NoError(t, r.call(t, rt, "GET", "https://iam.example/", ""))
	tel.OnFailure(t.Context(), iamhttp.Failure{Err: iamhttp.NewStatusError(404, nil, nil), Attempt: 1, Stop: iamhttp.StopNotRetryable})
	assert.Len(t, r.spans("GET"), 1)
	assert.Len(t, r.metrics(t), 1)
	assert.NotEmpty(t, service.Requests()[0].Header.Get("Traceparent"))
}

func TestNothingSecretIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const secret = "s3cr3t"
		var service iamtest.Server
		failing := func(status int) iamtest.Answer {
			return iamtest.Keystone(status, secret).With("X-Subject-Token", secret).With(secret, secret)
		}
		service.Next(failing(429), failing(401))
		r := record()
		tr := r.transport(&service)
		tr.Gate = r.Gate(new(gate.Adaptive))
		ctx, span := r.provider.Tracer("test").Start(t.Context(), "call")
		req, err := http.NewRequestWithContext(ctx, "POST",
			fmt.Sprintf("https://%[1]s:%[1]s@iam.example/v3/users?token=%[1]s&%[1]s#%[1]s", secret), strings.NewReader(secret))
		require.NoError(t, err)
		req.Header = http.Header{"X-Auth-Token": {secret}, "Authorization": {secret}, secret: {secret}}
		_, err = tr.RoundTrip(req)
		require.ErrorIs(t, err, iamhttp.ErrUnauthorized)
		require.ErrorContains(t, err, secret, "the secret must reach the caller, or this test proves nothing")
		service.AssertCount(t, 2)
		span.End()
		recorded := fmt.Sprintf("%+v %q", r.exporter.GetSpans(), r.metrics(t))
		assert.Contains(t, recorded, "url.full")
		assert.Contains(t, recorded, "iamhttp.client.stops")
		assert.NotContains(t, recorded, secret)
	})
}

func TestResendsAddsTheResendCountToOtelhttpSpansBelowTheTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.Next(iamtest.Throttled(time.Second), iamtest.Throttled(time.Second))
		r := record()
		base := otelhttp.NewTransport(r.Resends(&service), otelhttp.WithTracerProvider(r.provider))
		tr := &iamhttp.Transport{Base: base, OnFailure: r.OnFailure}
		require.NoError(t, r.call(t, tr, "POST", "https://iam.example/", "x"))
		service.AssertBodies(t, "x", "x", "x")

		attempts := r.spans("HTTP POST") // otelhttp gives the spans this name
		require.Len(t, attempts, 3)
		require.Len(t, r.exporter.GetSpans(), 4, "want one span for each attempt and one for the caller")
		for i, s := range attempts {
			counted := slices.Contains(s.Attributes, attribute.Int("http.request.resend_count", i))
			assert.Equal(t, i > 0, counted, text(s.Attributes...))
			assert.Equal(t, i < 2, slices.Contains(s.Attributes, attribute.String("error.type", "429")))
			assert.Equal(t, r.spans("call")[0].SpanContext.SpanID(), s.Parent.SpanID())
		}
		assert.Len(t, events(r.spans("call")[0]), 2)
		assert.Contains(t, r.metrics(t), "iamhttp.client.retries 2{request} http.request.method=POST,server.address=iam.example")
	})
}

// A RoundTripper below the Transport may fetch a token with the context of each attempt.
func TestATokenRequestIsNotARetryOfTheRequestThatNeedsTheToken(t *testing.T) {
	for name, spans := range map[string]bool{"Spans": true, "Resends": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var service iamtest.Server
				service.On("GET /v3/users", iamtest.Throttled(time.Second), iamtest.Throttled(time.Second), iamtest.Answer{})
				service.On("POST /v3/auth/tokens", iamtest.Answer{Status: 302}.With("Location", "/moved"))
				r := record()
				base := r.Spans(&service)
				if !spans {
					base = otelhttp.NewTransport(r.Resends(&service), otelhttp.WithTracerProvider(r.provider))
				}
				tr := &iamhttp.Transport{OnFailure: r.OnFailure, Base: roundTripper(func(req *http.Request) (*http.Response, error) {
					token, err := http.NewRequestWithContext(req.Context(), "POST", "https://iam.example/v3/auth/tokens", nil)
					require.NoError(t, err)
					resp, err := (&http.Client{Transport: base}).Do(token)
					require.NoError(t, err)
					resp.Body.Close()
					return base.RoundTrip(req)
				})}
				require.NoError(t, r.call(t, tr, "GET", "https://iam.example/v3/users", ""))
				service.AssertCount(t, 9)
				counted := []int64{}
				for _, s := range r.exporter.GetSpans() {
					for _, a := range s.Attributes {
						if a.Key == "http.request.resend_count" {
							counted = append(counted, a.Value.AsInt64())
						}
					}
				}
				assert.Equal(t, []int64{1, 2}, counted)
				assert.Contains(t, r.metrics(t), "iamhttp.client.retries 2{request} http.request.method=GET,server.address=iam.example")
				assert.NotRegexp(t, `iamhttp.client.retries \d+\{request\} http.request.method=POST`, r.metrics(t))
			})
		})
	}
}

func TestOtelhttpSpanAboveTheTransportCoversTheWholeCall(t *testing.T) {
	for name, passThrough := range map[string]bool{"error mode": false, "pass-through mode": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var service iamtest.Server
				service.Next(iamtest.Throttled(time.Second), iamtest.Keystone(404, "No."))
				r := record()
				tr := r.transport(&service)
				tr.PassThrough = passThrough
				err := r.call(t, otelhttp.NewTransport(tr, otelhttp.WithTracerProvider(r.provider)), "GET", "https://iam.example/", "")
				assert.Equal(t, !passThrough, errors.Is(err, iamhttp.ErrNotFound), "the typed error must pass through otelhttp in error mode only")

				outer, attempts := r.spans("HTTP GET"), r.spans("GET")
				require.Len(t, outer, 1)
				require.Len(t, attempts, 2)
				for i, s := range attempts {
					assert.Equal(t, outer[0].SpanContext.SpanID(), s.Parent.SpanID())
					assert.Equal(t, i > 0, slices.Contains(s.Attributes, attribute.Int("http.request.resend_count", i)))
				}
				require.Len(t, events(outer[0]), 2, "want one wait event and one stop event")
				assert.Empty(t, events(r.spans("call")[0]))
				assert.GreaterOrEqual(t, outer[0].EndTime.Sub(outer[0].StartTime), time.Second, "the span must include the wait")
				assert.Equal(t, codes.Error, outer[0].Status.Code)
				answered := slices.Contains(outer[0].Attributes, attribute.Int("http.response.status_code", 404))
				assert.Equal(t, passThrough, answered)
				parent := service.Requests()[0].Header.Get("Traceparent")
				assert.Contains(t, parent, attempts[0].SpanContext.SpanID().String(), "the server span's parent must be the attempt's span")
			})
		})
	}
}
