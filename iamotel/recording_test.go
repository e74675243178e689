package iamotel_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/iamotel"
)

// A recording is a Telemetry with its TracerProvider, and with the exporter and the reader
// from which tests get what the Telemetry has recorded.
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

// transport returns a Transport that sends requests to the service and records its
// attempts and failures in r.
func (r *recording) transport(service http.RoundTripper) *iamhttp.Transport {
	return &iamhttp.Transport{Base: r.Spans(service), OnFailure: r.OnFailure}
}

// call sends a request within a span named "call" and reads the response.
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

// spans returns the spans with the given name, ordered by start time.
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

// text formats attributes, sorted by key.
func text(attrs ...attribute.KeyValue) string {
	set := attribute.NewSet(attrs...)
	return set.Encoded(attribute.DefaultEncoder())
}

// events formats a span's events.
func events(s tracetest.SpanStub) []string {
	var texts []string
	for _, e := range s.Events {
		texts = append(texts, e.Name+" "+text(e.Attributes...))
	}
	return texts
}

// metrics formats every data point: the metric's name, a counter's value or a histogram's
// count and sum, and the attributes.
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

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
