package iamotel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/iamtest"
	iamotel "github.com/iamhttp/iamhttp/otel"
)

// A recording is a Telemetry and what it has recorded, in memory.
type recording struct {
	*iamotel.Telemetry
	exporter *tracetest.InMemoryExporter
	reader   *metric.ManualReader
	provider *sdktrace.TracerProvider
}

func record() *recording {
	exporter, reader := tracetest.NewInMemoryExporter(), metric.NewManualReader()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	return &recording{
		&iamotel.Telemetry{
			TracerProvider: provider,
			MeterProvider:  metric.NewMeterProvider(metric.WithReader(reader)),
			Propagators:    propagation.TraceContext{},
		}, exporter, reader, provider,
	}
}

// transport returns one over the service that records all there is.
func (r *recording) transport(service http.RoundTripper) *iamhttp.Transport {
	return &iamhttp.Transport{Base: r.Spans(service), OnFailure: r.OnFailure}
}

// call sends a request under a span, "call", and reads the answer.
func (r *recording) call(t *testing.T, rt http.RoundTripper, method, url, body string) error {
	t.Helper()
	ctx, span := r.provider.Tracer("test").Start(t.Context(), "call")
	defer span.End()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	require.NoError(t, err)
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.ReadAll(resp.Body)
	require.NoError(t, err)
	return nil
}

// spans returns those with the name, in the order in which they began.
func (r *recording) spans(name string) []tracetest.SpanStub {
	var found []tracetest.SpanStub
	for _, s := range r.exporter.GetSpans() {
		if s.Name == name {
			found = append(found, s)
		}
	}
	slices.SortStableFunc(found, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	return found
}

// text shows attributes in the order of their keys.
func text(attrs ...attribute.KeyValue) string {
	set := attribute.NewSet(attrs...)
	return set.Encoded(attribute.DefaultEncoder())
}

// events shows the events of a span.
func events(s tracetest.SpanStub) []string {
	var texts []string
	for _, e := range s.Events {
		texts = append(texts, e.Name+" "+text(e.Attributes...))
	}
	return texts
}

// metrics shows every data point: counts, and of histograms the sum too.
func (r *recording) metrics(t *testing.T) []string {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, r.reader.Collect(t.Context(), &all))
	var texts []string
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					texts = append(texts, fmt.Sprintf("%s %d%s %s", m.Name, p.Value, m.Unit, text(p.Attributes.ToSlice()...)))
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					texts = append(texts, fmt.Sprintf("%s %d: %v%s %s", m.Name, p.Count, p.Sum, m.Unit, text(p.Attributes.ToSlice()...)))
				}
			}
		}
	}
	slices.Sort(texts)
	return texts
}

func TestEachSendIsASpanByTheConventions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.Next(iamtest.Throttled(0), iamtest.Answer{Status: 408, Delay: time.Second}, iamtest.Keystone(404, "No."))
		r := record()
		tr := r.transport(&service)
		require.ErrorIs(t, r.call(t, tr, "GET", "https://iam.example/v3/users/bob?q=1", ""), iamhttp.ErrNotFound)
		require.NoError(t, r.call(t, tr, "GET", "http://iam.example:8080/", ""))

		calls, sends := r.spans("call"), r.spans("GET")
		require.Len(t, sends, 4)
		const request = "http.request.method=GET"
		const bob = "network.protocol.version=1.1,server.address=iam.example,server.port=443,url.full=https://iam.example/v3/users/bob"
		for i, want := range []string{
			"error.type=429," + request + ",http.response.status_code=429," + bob,
			"error.type=408," + request + ",http.request.resend_count=1,http.response.status_code=408," + bob,
			"error.type=404," + request + ",http.request.resend_count=2,http.response.status_code=404," + bob,
			request + ",http.response.status_code=200,network.protocol.version=1.1,server.address=iam.example,server.port=8080,url.full=http://iam.example:8080/",
		} {
			s := sends[i]
			assert.Equal(t, want, text(s.Attributes...))
			assert.Equal(t, trace.SpanKindClient, s.SpanKind)
			assert.Equal(t, sdktrace.Status{Code: map[bool]codes.Code{true: codes.Error, false: codes.Unset}[i < 3]}, s.Status)
			assert.Equal(t, calls[i/3].SpanContext.SpanID(), s.Parent.SpanID())
			assert.Equal(t, "https://opentelemetry.io/schemas/1.43.0", s.InstrumentationScope.SchemaURL)
		}
		assert.Equal(t, time.Second, sends[1].EndTime.Sub(sends[1].StartTime), "of the send, without the wait")
	})
}

func TestAWaitIsAnEventWithItsReasonAndSoIsTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.Next(iamtest.Throttled(30*time.Second), iamtest.Page(408), iamtest.IAM(401, "IAM.0061", "Locked."))
		r := record()
		waits := make([]time.Duration, 0, 2)
		tr := r.transport(&service)
		tr.OnFailure = func(ctx context.Context, e *iamhttp.StatusError, wait time.Duration) {
			r.OnFailure(ctx, e, wait)
			waits = append(waits, wait)
		}
		require.Error(t, r.call(t, tr, "GET", "https://iam.example/", ""))
		assert.Equal(t, []string{
			fmt.Sprintf("iamhttp.wait http.request.resend_count=1,http.response.status_code=429,iamhttp.reason=throttled,iamhttp.retry_after=30,iamhttp.wait.duration=%v", waits[0].Seconds()),
			fmt.Sprintf("iamhttp.wait http.request.resend_count=2,http.response.status_code=408,iamhttp.wait.duration=%v", waits[1].Seconds()),
			"iamhttp.stop http.response.status_code=401,iamhttp.reason=account locked,iamhttp.stop.reason=not repeatable",
		}, events(r.spans("call")[0]))
	})
}

func TestRepeatsWaitsAndStopReasonsAreMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		r := record()
		tr := r.transport(&service)
		tr.MaxAttempts = 2
		waited := 0.0
		tr.OnFailure = func(ctx context.Context, e *iamhttp.StatusError, wait time.Duration) {
			r.OnFailure(ctx, e, wait)
			waited += wait.Seconds()
		}
		service.Next(iamtest.Throttled(0), iamtest.Throttled(0), iamtest.Throttled(0), iamtest.Answer{}, iamtest.Page(503))
		for range 3 {
			_ = r.call(t, tr, "PUT", "https://iam.example/v3/users", "x")
		}
		assert.Equal(t, []string{
			"iamhttp.client.repeats 2{request} http.request.method=PUT,server.address=iam.example",
			"iamhttp.client.stops 1{request} http.response.status_code=429,iamhttp.stop.reason=attempts used up,server.address=iam.example",
			"iamhttp.client.stops 1{request} http.response.status_code=503,iamhttp.stop.reason=not repeatable,server.address=iam.example",
			fmt.Sprintf("iamhttp.client.wait.duration 2: %vs http.response.status_code=429,server.address=iam.example", waited),
		}, r.metrics(t))
	})
}

func TestASendWithoutAnAnswerTellsTheClassOfItsError(t *testing.T) {
	for want, fault := range map[string]func(*iamtest.Server, context.CancelFunc){
		"*net.OpError": func(s *iamtest.Server, _ context.CancelFunc) { s.Next(iamtest.Answer{Fault: iamtest.Reset}) },
		"timeout":      func(s *iamtest.Server, _ context.CancelFunc) { s.Next(iamtest.Answer{Fault: iamtest.Stall}) },
		"canceled": func(s *iamtest.Server, cancel context.CancelFunc) {
			s.Next(iamtest.Answer{Fault: iamtest.Stall})
			time.AfterFunc(time.Second, cancel)
		},
	} {
		t.Run(want, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var service iamtest.Server
				r := record()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				fault(&service, cancel)
				req, err := http.NewRequestWithContext(ctx, "GET", "https://iam.example/", nil)
				require.NoError(t, err)
				_, err = r.transport(&service).RoundTrip(req)
				require.Error(t, err)
				s := r.spans("GET")[0]
				assert.Contains(t, s.Attributes, attribute.String("error.type", want))
				assert.Equal(t, sdktrace.Status{Code: codes.Error}, s.Status)
			})
		})
	}
}

func TestARefusalOfAProxyIsOfTheClassOfItsCode(t *testing.T) {
	r := record()
	refused := iamhttp.NewStatusError(407, nil, nil)
	rt := r.Spans(roundTripper(func(*http.Request) (*http.Response, error) { return nil, fmt.Errorf("proxy: %w", refused) }))
	require.ErrorIs(t, r.call(t, rt, "GET", "https://iam.example/", ""), refused)
	assert.Contains(t, r.spans("GET")[0].Attributes, attribute.String("error.type", "407"))
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func TestAMethodThatTheConventionsDoNotKnowIsNamedOther(t *testing.T) {
	for method, want := range map[string]string{
		"":      "GET http.request.method=GET",
		"PATCH": "PATCH http.request.method=PATCH",
		"patch": "HTTP http.request.method=_OTHER,http.request.method_original=patch",
	} {
		r := record()
		req, err := http.NewRequestWithContext(t.Context(), "GET", "https://iam.example/", nil)
		require.NoError(t, err)
		req.Method = method
		_, err = r.Spans(new(iamtest.Server)).RoundTrip(req)
		require.NoError(t, err)
		s := r.exporter.GetSpans()[0]
		assert.True(t, strings.HasPrefix(s.Name+" "+text(s.Attributes...), want+",http.response.status_code=200"), "%s %s", s.Name, text(s.Attributes...))
	}
}

func TestTheProtocolVersionIsThatOfTheAnswer(t *testing.T) {
	srv := httptest.NewUnstartedServer(new(iamtest.Server))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	r := record()
	require.NoError(t, r.call(t, r.Spans(srv.Client().Transport), "GET", srv.URL, ""))
	assert.Contains(t, r.spans("GET")[0].Attributes, attribute.String("network.protocol.version", "2"))
}

func TestTheServerIsToldWhichSpanItServesAndTheRequestIsLeftAsItWas(t *testing.T) {
	for name, header := range map[string]http.Header{"no header": nil, "a header": {"X-Auth-Token": {"t"}}} {
		t.Run(name, func(t *testing.T) {
			var service iamtest.Server
			r := record()
			req, err := http.NewRequestWithContext(t.Context(), "GET", "https://iam.example/", nil)
			require.NoError(t, err)
			req.Header = header.Clone()
			_, err = r.Spans(&service).RoundTrip(req)
			require.NoError(t, err)
			s, arrived := r.spans("GET")[0].SpanContext, service.Requests()[0].Header
			assert.Equal(t, fmt.Sprintf("00-%v-%v-01", s.TraceID(), s.SpanID()), arrived.Get("Traceparent"))
			assert.Equal(t, header.Get("X-Auth-Token"), arrived.Get("X-Auth-Token"))
			assert.Equal(t, header, req.Header)
		})
	}
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
		tr.Gate = r.Gate(new(iamhttp.AdaptiveGate))
		ctx, span := r.provider.Tracer("test").Start(t.Context(), "call")
		req, err := http.NewRequestWithContext(ctx, "POST",
			fmt.Sprintf("https://%[1]s:%[1]s@iam.example/v3/users?token=%[1]s&%[1]s#%[1]s", secret), strings.NewReader(secret))
		require.NoError(t, err)
		req.Header = http.Header{"X-Auth-Token": {secret}, "Authorization": {secret}, secret: {secret}}
		_, err = tr.RoundTrip(req)
		require.ErrorIs(t, err, iamhttp.ErrUnauthorized)
		require.ErrorContains(t, err, secret, "it was there to be recorded")
		service.AssertCount(t, 2)
		span.End()
		recorded := fmt.Sprintf("%+v %q", r.exporter.GetSpans(), r.metrics(t))
		assert.Contains(t, recorded, "url.full")
		assert.Contains(t, recorded, "iamhttp.client.stops")
		assert.NotContains(t, recorded, secret)
	})
}

func TestPausesAtTheGateAreMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		r := record()
		tr := r.transport(&service)
		tr.Gate = r.Gate(new(iamhttp.AdaptiveGate))
		require.NoError(t, r.call(t, tr, "GET", "https://iam.example/", ""))
		assert.Empty(t, events(r.spans("call")[0]), "an open gate is no event")
		assert.Equal(t, []string{"iamhttp.gate.pause.duration 1: 0s "}, r.metrics(t))

		service.Next(iamtest.Throttled(20 * time.Second))
		start := time.Now()
		require.NoError(t, r.call(t, tr, "GET", "https://iam.example/", ""))
		took := time.Since(start)
		assert.GreaterOrEqual(t, took, 20*time.Second)
		told := strings.Join(events(r.spans("call")[1]), "\n")
		assert.Contains(t, told, "iamhttp.wait http.request.resend_count=1,http.response.status_code=429,iamhttp.reason=throttled,iamhttp.retry_after=20")
		assert.Contains(t, told, fmt.Sprintf("iamhttp.gate.pause iamhttp.gate.pause.duration=%v", took.Seconds()))
		assert.Contains(t, r.metrics(t), fmt.Sprintf("iamhttp.gate.pause.duration 3: %vs ", took.Seconds()))
	})
}

// closedGate lets nobody out and keeps what it is told.
type closedGate struct {
	err      error
	observed []string
}

func (g *closedGate) Wait(_ context.Context, key string, resend int) (iamhttp.Ticket, error) {
	g.observed = append(g.observed, fmt.Sprint("wait ", key, " ", resend))
	return 7, g.err
}

func (g *closedGate) Observe(key string, t iamhttp.Ticket, throttled bool, retryAfter time.Duration) {
	g.observed = append(g.observed, fmt.Sprint("observe ", key, " ", t, " ", throttled, " ", retryAfter))
}

func TestWhatTheGateDoesNotLetOutIsMeasuredByItsReason(t *testing.T) {
	for want, err := range map[string]error{
		"*iamhttp.GateError": &iamhttp.GateError{Err: errors.New("too late")},
		"canceled":           context.Canceled,
	} {
		r := record()
		g := r.Gate(&closedGate{err: err})
		_, got := g.Wait(t.Context(), "key", 0)
		assert.Same(t, err, got)
		require.Len(t, r.metrics(t), 1)
		assert.Regexp(t, `^iamhttp\.gate\.pause\.duration 1: .*s error\.type=`+strings.ReplaceAll(want, "*", `\\?\*`)+"$", r.metrics(t)[0])
	}
}

func TestAGateIsToldTheSameThroughTheRecording(t *testing.T) {
	own := new(closedGate)
	g := record().Gate(own)
	ticket, err := g.Wait(t.Context(), "key", 3)
	require.NoError(t, err)
	g.Observe("key", ticket, true, time.Second)
	assert.Equal(t, []string{"wait key 3", "observe key 7 true 1s"}, own.observed)
	assert.Nil(t, record().Gate(nil))
}

func TestBelowTheTransportOtelhttpsSpansGetTheResendCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.Next(iamtest.Throttled(time.Second), iamtest.Throttled(time.Second))
		r := record()
		base := otelhttp.NewTransport(r.Resends(&service), otelhttp.WithTracerProvider(r.provider))
		tr := &iamhttp.Transport{Base: base, OnFailure: r.OnFailure}
		require.NoError(t, r.call(t, tr, "POST", "https://iam.example/", "x"))
		service.AssertBodies(t, "x", "x", "x")

		sends := r.spans("HTTP POST") // as otelhttp names them
		require.Len(t, sends, 3)
		require.Len(t, r.exporter.GetSpans(), 4, "and that of the caller: each send is one span")
		for i, s := range sends {
			counted := slices.Contains(s.Attributes, attribute.Int("http.request.resend_count", i))
			assert.Equal(t, i > 0, counted, text(s.Attributes...))
			assert.Equal(t, i < 2, slices.Contains(s.Attributes, attribute.String("error.type", "429")))
			assert.Equal(t, r.spans("call")[0].SpanContext.SpanID(), s.Parent.SpanID())
		}
		assert.Len(t, events(r.spans("call")[0]), 2)
		assert.Contains(t, r.metrics(t), "iamhttp.client.repeats 2{request} http.request.method=POST,server.address=iam.example")
	})
}

func TestAboveTheTransportOtelhttpsSpanIsThatOfTheCall(t *testing.T) {
	for name, passThrough := range map[string]bool{"error mode": false, "pass-through": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var service iamtest.Server
				service.Next(iamtest.Throttled(time.Second), iamtest.Keystone(404, "No."))
				r := record()
				tr := r.transport(&service)
				tr.PassThrough = passThrough
				err := r.call(t, otelhttp.NewTransport(tr, otelhttp.WithTracerProvider(r.provider)), "GET", "https://iam.example/", "")
				assert.Equal(t, !passThrough, errors.Is(err, iamhttp.ErrNotFound), "the typed error passes through otelhttp")

				outer, sends := r.spans("HTTP GET"), r.spans("GET")
				require.Len(t, outer, 1)
				require.Len(t, sends, 2)
				for i, s := range sends {
					assert.Equal(t, outer[0].SpanContext.SpanID(), s.Parent.SpanID())
					assert.Equal(t, i > 0, slices.Contains(s.Attributes, attribute.Int("http.request.resend_count", i)))
				}
				require.Len(t, events(outer[0]), 2, "a wait and the end")
				assert.Empty(t, events(r.spans("call")[0]))
				assert.GreaterOrEqual(t, outer[0].EndTime.Sub(outer[0].StartTime), time.Second, "the wait is in it")
				assert.Equal(t, codes.Error, outer[0].Status.Code)
				answered := slices.Contains(outer[0].Attributes, attribute.Int("http.response.status_code", 404))
				assert.Equal(t, passThrough, answered)
				parent := service.Requests()[0].Header.Get("Traceparent")
				assert.Contains(t, parent, sends[0].SpanContext.SpanID().String(), "the server's parent is the send")
			})
		})
	}
}

func TestTheZeroTelemetryUsesTheGlobalProviders(t *testing.T) {
	var tel iamotel.Telemetry
	service, r := new(iamtest.Server), record()
	rt := tel.Spans(service)
	traces, meters, propagators := otel.GetTracerProvider(), otel.GetMeterProvider(), otel.GetTextMapPropagator()
	defer func() {
		otel.SetTracerProvider(traces)
		otel.SetMeterProvider(meters)
		otel.SetTextMapPropagator(propagators)
	}()
	otel.SetTracerProvider(r.provider) // later than Spans
	otel.SetMeterProvider(r.MeterProvider)
	otel.SetTextMapPropagator(r.Propagators)
	require.NoError(t, r.call(t, rt, "GET", "https://iam.example/", ""))
	tel.OnFailure(t.Context(), &iamhttp.StatusError{Code: 404, Stop: iamhttp.StopNotRepeatable}, 0)
	assert.Len(t, r.spans("GET"), 1)
	assert.Len(t, r.metrics(t), 1)
	assert.NotEmpty(t, service.Requests()[0].Header.Get("Traceparent"))
}

func TestIdleConnectionsAreClosedBelow(t *testing.T) {
	base := new(idle)
	(&iamhttp.Transport{Base: record().Spans(base)}).CloseIdleConnections()
	assert.Equal(t, 1, base.closed)
	(&iamhttp.Transport{Base: record().Resends(new(iamtest.Server))}).CloseIdleConnections()
}

type idle struct {
	http.RoundTripper
	closed int
}

func (i *idle) CloseIdleConnections() { i.closed++ }

func TestARequestWithoutAURLIsLeftToTheBase(t *testing.T) {
	own := errors.New("no URL")
	rt := record().Spans(roundTripper(func(*http.Request) (*http.Response, error) { return nil, own }))
	_, err := rt.RoundTrip(new(http.Request))
	assert.Same(t, own, err)
}
